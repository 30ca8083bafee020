// Other pages in the same browser, and other programs.

import { createServer, request } from "node:http";
import { once } from "node:events";

import { items } from "./seen.mjs";

/** Sends exactly this request, without a browser's rules for headers. */
async function ask(url, { method = "GET", headers = {}, form } = {}) {
  const body = form === undefined ? undefined : new URLSearchParams(form).toString();
  const type = body === undefined ? {} : { "content-type": "application/x-www-form-urlencoded" };
  const asked = request(url, { method, headers: { ...type, ...headers } });
  asked.end(body);
  const [response] = await once(asked, "response");
  let text = "";
  for await (const bytes of response) text += bytes;
  return { status: response.statusCode, headers: response.headers, text };
}

/** 12: only the page itself reads or decides. */
export async function otherPrograms(world, checks) {
  const agent = await world.agent();
  const { call } = await agent.ask("delete_note", { name: "ideas" });
  const context = await world.context();
  let token;
  context.on("request", (sent) => {
    if (sent.method() === "POST" && sent.url().endsWith("/login")) token = new URLSearchParams(sent.postData()).get("token");
  });
  const page = await world.page({}, { context });
  const origin = new URL(page.url()).origin;
  const [{ name, value, ...cookieIs }] = await context.cookies();
  const cookie = `${name}=${value}`;
  await checks.equal("scripts cannot read the cookie, other sites do not send it", [cookieIs.httpOnly, cookieIs.sameSite], [true, "Strict"]);
  const form = items(page, "ideas").locator("form");
  const fields = await form.evaluate((element) => Object.fromEntries(new FormData(element)));
  const path = `${origin}${new URL(await form.evaluate((element) => element.action)).pathname}`;
  const yes = { ...fields, choice: "approve" };
  const ours = { cookie, origin };
  const post = (headers, form) => ask(path, { method: "POST", headers, form });

  const status = async (sentence, wanted, asked) => {
    const { status, headers } = await asked;
    await checks.check(`${sentence}: ${wanted.join(" or ")}`, wanted.includes(status), status);
    await checks.check("… and no other origin may read it", !("access-control-allow-origin" in headers), headers);
  };
  await status("the list without a cookie", [401], ask(`${origin}/`));
  await status("the list with a wrong cookie", [401, 403], ask(`${origin}/`, { headers: { cookie: `${name}=${"0".repeat(value.length)}` } }));
  await status("the event stream without a cookie", [401], ask(`${origin}/events`));
  await status("the list from another origin, without a cookie", [401], ask(`${origin}/fragment`, { headers: { origin: "http://evil.example" } }));
  await status("a preflight request from another origin", [403, 405], ask(path, { method: "OPTIONS", headers: { origin: "http://evil.example", "access-control-request-method": "POST" } }));
  await status("another name in Host", [403, 421], ask(`${origin}/`, { headers: { cookie, host: `evil.example:${new URL(origin).port}` } }));
  await status("GET on the decision path", [405], ask(path, { headers: { cookie } }));
  await status("GET on the decision path, with the whole form", [405], ask(`${path}?${new URLSearchParams(yes)}`, { headers: { cookie } }));
  await status("a verdict without a cookie", [401, 403], post({ origin }, yes));
  await status("a verdict with a wrong cookie", [401, 403], post({ origin, cookie: `${name}=${"f".repeat(value.length)}` }, yes));
  await status("a verdict without the CSRF token", [403], post(ours, { ...yes, csrf: "" }));
  await status("a verdict with another CSRF token", [403], post(ours, { ...yes, csrf: "0".repeat(64) }));
  await status("a verdict without an origin", [403], post({ cookie }, yes));
  for (const forged of ["http://evil.example", "null", "http://127.0.0.1:1", origin.replace("127.0.0.1", "localhost")]) {
    await status(`a verdict from ${forged.replace(/:\d+$/, ":PORT")}`, [403], post({ cookie, origin: forged }, yes));
  }
  await status("a verdict from another port, as the browser reports it", [403], post({ ...ours, "sec-fetch-site": "same-site" }, yes));
  await status("a verdict about another call", [409], post(ours, { ...yes, shown: "0".repeat(64) }));
  const login = { method: "POST", headers: { origin }, form: { token } };
  await checks.check("the browser sent a login token", /^[0-9a-f]{64}$/.test(token ?? ""));
  await status("the same token again", [403], ask(`${origin}/login`, login));
  await checks.check("none of this decided anything", call.isOpen && agent.decisions().length === 0 && world.noteNames().includes("ideas"));
  await status("the real form, with cookie and origin", [303], post(ours, yes));
  await checks.equal("… decides", (await call).text, "Deleted the note `ideas`.");
}

/** 12: another page in the same browser, which sends the cookie. */
export async function otherPages(world, checks) {
  const agent = await world.agent();
  const { call } = await agent.ask("delete_note", { name: "ideas" });
  const page = await world.page();
  const form = items(page, "ideas").locator("form");
  const action = await form.evaluate((element) => element.action);
  const fields = await form.evaluate((element) => Object.fromEntries(new FormData(element)));
  const server = createServer((_, response) => response.setHeader("content-type", "text/html").end("<!doctype html><title>another</title>"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const home = new URL("/", page.url()).href;
  try {
    const other = await page.context().newPage();
    const theirs = `http://127.0.0.1:${server.address().port}/`;
    await other.goto(theirs);
    const read = (url, options) => other.evaluate(([url, options]) => fetch(url, options).then((r) => r.text().then((text) => [r.type, r.status, text.length]), (error) => error.name), [url, options]);
    for (const [url, options] of [[home, {}], [home, { credentials: "include" }], [`${home}fragment`, { credentials: "include" }]]) {
      await checks.equal(`another port's page cannot read ${new URL(url).pathname}${options.credentials ? " with the cookie" : ""}`, await read(url, options), "TypeError");
    }
    const body = new URLSearchParams({ ...fields, choice: "approve" }).toString();
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const blind = await read(action, { method: "POST", mode: "no-cors", credentials: "include", headers, body });
    await checks.check("… reads no answer to its POST", blind === "TypeError" || (blind[1] === 0 && blind[2] === 0), blind);
    await other.evaluate(([action, fields]) => {
      const form = Object.assign(document.createElement("form"), { action, method: "post" });
      for (const [name, value] of Object.entries({ ...fields, choice: "approve" })) form.append(Object.assign(document.createElement("input"), { name, value }));
      document.body.append(form);
      form.submit();
    }, [action, fields]);
    await other.waitForURL(/\/decide$/);
    await checks.check("… and its form is refused", /did not come from the inbox/i.test(await other.locator("main").innerText()), await other.locator("main").innerText());
    await other.goto(theirs);
    await other.evaluate((url) => document.body.append(Object.assign(document.createElement("iframe"), { src: url })), home);
    await other.waitForTimeout(300);
    const framed = await Promise.all(other.frames().slice(1).map((frame) => frame.content().catch(() => "")));
    await checks.check("… and cannot frame the page", framed.every((text) => !text.includes("Waiting for you")), framed);
    await checks.check("none of this decided anything", call.isOpen && agent.decisions().length === 0);
  } finally {
    server.close();
  }
}
