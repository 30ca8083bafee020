// A phone at the page for paired devices, behind a reverse proxy with TLS.

import { pause, until } from "./checks.mjs";
import { EVIL, HOST, ask, serve } from "./front.mjs";
import { button, isActive, isEmpty, items } from "./seen.mjs";

const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 3 };
const FINGER = 44;

/** Taps a button of an item, once the page accepts a tap there. */
async function tap(item, name) {
  if (!(await until(() => isActive(button(item, name))))) throw new Error(`cannot be pressed: ${name}`);
  await button(item, name).tap();
}

/** Returns a page that is not paired, and what went wrong on it. */
async function stranger(world) {
  const page = await (await world.context(PHONE)).newPage();
  world.checks.page = page;
  const wrong = [];
  page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
  page.on("request", (asked) => new URL(asked.url()).origin !== new URL(world.home).origin && wrong.push(`asked ${asked.url()}`));
  return { page, wrong };
}

/** The link fills in the code and sends nothing. The code works once. */
export async function pairing(world, checks) {
  const agent = await world.agent();
  await agent.ask("delete_note", { name: "ideas" });
  const { page, wrong } = await stranger(world);
  await page.goto(world.home);
  const text = () => page.locator("main").innerText();
  await checks.check("a phone that is not paired is told how", /not paired/.test(await text()) && /inbox --pair/.test(await text()), await text());
  await checks.check("… and sees no call", !(await text()).includes("ideas"));
  wrong.length = 0;

  const { inbox, code, link } = await world.startPairing();
  await checks.check("the terminal shows a picture to scan", /[█▀▄]{3}/.test(inbox.said), inbox.said);
  const posts = [];
  page.on("request", (asked) => asked.method() === "POST" && posts.push(asked.url()));
  await page.goto(link);
  const field = page.getByLabel("Code");
  await checks.equal("the scanned link fills in the code", await field.inputValue(), code);
  await checks.check("… which the address does not show any more", !page.url().includes("#"), page.url());
  await pause(1500);
  await checks.equal("… and nothing is sent by itself", [posts, world.devices()], [[], "No device is paired.\n"]);
  await checks.equal("… and nothing is wrong on the page", wrong, []);
  await page.getByLabel("Name of this device").fill("Ann’s phone");
  await page.getByRole("button", { name: "Pair this device" }).tap();
  await page.waitForURL(world.home);
  await checks.comes("the list shows what is waiting", () => items(page, "ideas").isVisible());
  await checks.comes("the terminal says which device is paired", () => /Paired: device [0-9a-f]{8}, .*Ann’s phone/.test(inbox.said), () => inbox.said);
  await inbox.ended;
  await checks.check("… and so does the list of devices", /Ann’s phone/.test(world.devices()), world.devices());
  const cookies = await page.context().cookies();
  const { secure, httpOnly, sameSite, domain } = cookies[0];
  await checks.equal("the cookie goes over TLS, to this host, from this site only", [cookies.length, secure, httpOnly, sameSite, domain], [1, true, true, "Strict", HOST]);

  const { page: second } = await stranger(world);
  await second.goto(link);
  await second.getByRole("button", { name: "Pair this device" }).tap();
  await checks.comes("a second use of the code is refused", () => second.getByText("No code is valid now").isVisible(), () => second.locator("main").innerText());
  await second.goto(world.home);
  await checks.check("… and the second phone sees nothing", !(await second.locator("main").innerText()).includes("ideas"));
  await checks.equal("… and one device is paired", world.devices().trim().split("\n").length, 2);
  await checks.equal("no page has caused an alarm", world.alarms, []);
}

/** Approves and denies with a finger. */
export async function deciding(world, checks) {
  const agent = await world.agent({ flags: ["--timeout", "600"] });
  const { call: first } = await agent.ask("delete_note", { name: "ideas" });
  const page = await world.page(PHONE);
  await tap(items(page, "ideas"), "Approve");
  await checks.equal("a tap on Approve lets the call run", (await first).text, "Deleted the note `ideas`.");
  await checks.equal("… and the audit log says so", await agent.lastDecision(1), ["approved", true, "inbox", "inbox-session"]);
  const second = agent.call("delete_note", { name: "welcome" });
  await checks.comes("a new call appears by itself", () => items(page, "welcome").isVisible());
  await items(page, "welcome").locator("[name=reason]").fill("keep it");
  await tap(items(page, "welcome"), "Deny");
  const denied = await second;
  await checks.check("a tap on Deny denies it, with the reason", denied.failed && denied.text.includes("keep it"), denied);
  await checks.check("… and the note is there", world.noteNames().includes("welcome"));
  await checks.comes("nothing is waiting any more", () => isEmpty(page));

  // A link in a message leads to the item. It decides nothing.
  const third = agent.call("delete_note", { name: "shopping" });
  await items(page, "shopping").waitFor();
  const link = await items(page, "shopping").getByRole("heading").getByRole("link").getAttribute("href");
  await page.goto(new URL(link, world.home).href);
  await checks.check("an item has a page of its own", third.isOpen && (await button(page.getByRole("article"), "Approve").isVisible()));
  await tap(page.getByRole("article"), "Approve");
  await checks.equal("… on which a tap decides", (await third).text, "Deleted the note `shopping`.");
  await checks.comes("… and which then says so", async () => /Approved/.test(await page.locator("main").innerText()), () => page.locator("main").innerText());
  await checks.equal("no page has caused an alarm", world.alarms, []);
}

/** A lost phone is revoked while its page is open. */
export async function revoking(world, checks) {
  const agent = await world.agent({ flags: ["--timeout", "600"] });
  const { call } = await agent.ask("delete_note", { name: "ideas" });
  const page = await world.page(PHONE);
  const item = await page.context().newPage();
  const link = await items(page, "ideas").getByRole("heading").getByRole("link").getAttribute("href");
  await item.goto(new URL(link, world.home).href);
  await page.bringToFront();
  const other = await world.page(PHONE);
  const [id] = world.devices().match(/^[0-9a-f]{8}/m);
  await checks.check("the terminal says which device is revoked", world.devices("--revoke", id.slice(0, 6)).includes(`Revoked: device ${id}`));
  const revoked = performance.now();
  const isOut = async (page) => /not paired/.test(await page.locator("main").innerText());
  await checks.comes("its open page shows nothing any more, untouched", () => isOut(page), () => page.locator("main").innerText());
  checks.note(`${Math.round(performance.now() - revoked)} ms after the revocation`);
  await checks.check("… not even hidden", !(await page.content()).includes("ideas"));
  await item.bringToFront();
  checks.page = item;
  if (!(await isOut(item))) await tap(item.getByRole("article"), "Approve");
  await checks.comes("the item's page decides nothing", () => isOut(item), () => item.locator("main").innerText());
  await checks.check("… and the call still waits", call.isOpen && agent.decisions().length === 0);
  await page.goBack().catch(() => {});
  await checks.check("going back shows nothing", !(await page.content()).includes("ideas"));
  checks.page = other;
  await other.bringToFront();
  await tap(items(other, "ideas"), "Deny");
  await checks.check("the other phone decides", (await call).failed);
}

/** Only the reverse proxy, only with TLS, only under the page's name. */
export async function wrongWays(world, checks) {
  const agent = await world.agent();
  await agent.ask("delete_note", { name: "ideas" });
  const page = await world.page(PHONE);
  const cookie = (await page.context().cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
  const port = world.front.port;
  const status = async (sentence, wanted, asked) => {
    const { status, text } = await asked;
    await checks.check(`${sentence}: ${wanted.join(" or ")}`, wanted.includes(status), status);
    await checks.check("… and no call is shown", status === 200 || !text.includes("ideas"), text);
  };
  await status("the phone's own request", [200], world.ask("/", { headers: { cookie } }));
  for (const host of [`${EVIL}:${port}`, HOST, `${HOST}:1`, `127.0.0.1:${port}`, `${HOST}.${EVIL}:${port}`]) {
    await status(`Host ${host.replace(`:${port}`, ":PORT")}`, [403], world.ask("/", { headers: { cookie, host } }));
  }
  await status("X-Forwarded-Host does not help", [403], world.ask("/", { headers: { cookie, host: EVIL, "x-forwarded-host": `${HOST}:${port}` } }));
  const behind = (from, headers = {}) => ask(`http://127.0.0.1:${world.listen}/`, { from, headers: { cookie, host: `${HOST}:${port}`, ...headers } });
  await status("plain HTTP, past the reverse proxy", [403], behind("127.0.0.2"));
  await status("… that claims to be the reverse proxy", [403], behind("127.0.0.2", { "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "https" }));
  const plain = await ask(`http://127.0.0.1:${port}/`, { headers: { cookie, host: `${HOST}:${port}` } }).catch(() => ({ status: 0 }));
  await checks.check("plain HTTP, to the reverse proxy, has no answer", [0, 400].includes(plain.status), plain.status);
  const other = await page.context().newPage();
  checks.page = other;
  await other.goto(`https://${EVIL}:${port}/`).catch(() => {});
  await checks.check("a foreign name that leads here shows nothing", !(await other.content()).includes("ideas") && /not the inbox/.test(await other.locator("main").innerText()), await other.content());
  const login = await world.ask("/login", { method: "POST", headers: { origin: world.home.slice(0, -1) }, form: { token: "0".repeat(64) } });
  await checks.equal("links of the local page log nobody in here", login.status, 405);
}

/** A page of another origin, in the browser of a paired phone. */
export async function theft(world, checks) {
  const agent = await world.agent({ flags: ["--timeout", "600"] });
  const { call } = await agent.ask("delete_note", { name: "ideas" });
  const page = await world.page(PHONE);
  const form = items(page, "ideas").locator("form");
  const action = await form.evaluate((element) => element.action);
  const fields = await form.evaluate((element) => Object.fromEntries(new FormData(element)));
  const seen = [];
  const answer = (asked, response) => {
    seen.push(asked.headers.cookie ?? "");
    response.setHeader("content-type", "text/html").end("<!doctype html><title>another</title><body>");
  };
  const { port, end } = await serve(answer, world.tools.certificate);
  try {
    // Another site, and another port of the same host, which browsers call the same site.
    for (const host of [EVIL, HOST]) {
      const what = host === HOST ? "another port" : "another site";
      const other = await page.context().newPage();
      checks.page = other;
      const theirs = `https://${host}:${port}/`;
      await other.goto(theirs);
      const read = (url, options) => other.evaluate(([url, options]) => fetch(url, options).then((r) => r.text().then((text) => [r.type, text.length]), (error) => error.name), [url, options]);
      for (const path of ["", "fragment", "history", "pair", "events", "manifest.webmanifest"]) {
        await checks.equal(`${what} cannot read /${path}`, await read(world.home + path, { credentials: "include" }), "TypeError");
      }
      const body = new URLSearchParams({ ...fields, choice: "approve" }).toString();
      const headers = { "content-type": "application/x-www-form-urlencoded" };
      for (const path of [action, `${world.home}pair`, `${world.home}logout`, `${world.home}name`]) {
        const blind = await read(path, { method: "POST", mode: "no-cors", credentials: "include", headers, body });
        await checks.check(`${what} reads no answer to a POST to ${new URL(path).pathname.replace(/[0-9a-f]{32}/, "ID")}`, blind === "TypeError" || blind[1] === 0, blind);
      }
      const loads = (tag, url) => other.evaluate(([tag, url]) => new Promise((done) => {
        const element = document.createElement(tag);
        Object.assign(element, { onload: () => done("loaded"), onerror: () => done("error") }, { src: url });
        document.body.append(element);
      }), [tag, url]);
      for (const [tag, path] of [["script", "fragment"], ["script", "assets/app.js"], ["img", "assets/icon-180.png"]]) {
        await checks.equal(`${what} cannot load /${path} as a ${tag}`, await loads(tag, world.home + path), "error");
      }
      await other.evaluate((url) => {
        for (const sandbox of [undefined, "allow-scripts allow-forms"]) {
          const frame = Object.assign(document.createElement("iframe"), { src: url });
          if (sandbox) frame.setAttribute("sandbox", sandbox);
          document.body.append(frame);
        }
      }, world.home);
      await other.waitForTimeout(500);
      const framed = await Promise.all(other.frames().slice(1).map((frame) => frame.content().catch(() => "")));
      await checks.check(`${what} cannot frame the page`, framed.every((text) => !text.includes("Waiting for you") && !text.includes("ideas")), framed);
      const opened = await other.evaluate(async (url) => {
        const handle = window.open(url);
        await new Promise((done) => setTimeout(done, 800));
        if (!handle || handle.closed) return "cut off";
        try {
          return handle.document.title;
        } catch (error) {
          return error.name;
        }
      }, world.home);
      await checks.check(`${what} cannot reach a window with the page`, ["cut off", "SecurityError"].includes(opened), opened);
      await other.evaluate(([action, fields]) => {
        const form = Object.assign(document.createElement("form"), { action, method: "post" });
        for (const [name, value] of Object.entries({ ...fields, choice: "approve" })) form.append(Object.assign(document.createElement("input"), { name, value }));
        document.body.append(form);
        form.submit();
      }, [action, fields]);
      await other.waitForURL(/\/decide$/);
      const main = await other.locator("main").innerText();
      await checks.check(`a form of ${what} is refused`, /did not come from the inbox|not paired/i.test(main), main);
      if (host === EVIL) await checks.equal("… and no cookie has reached it", seen.filter(Boolean), []);
      await other.close();
    }
    // SECURITY.md: cookies do not know ports. So nothing else may speak at the page's host.
    checks.note(`another port of the same host was sent the cookie: ${seen.some(Boolean)}`);
    await checks.check("none of this decided anything", call.isOpen && agent.decisions().length === 0);
    checks.page = page;
    await page.bringToFront();
    await page.reload();
    await checks.check("… and the phone is still paired, under the same name", (await items(page, "ideas").isVisible()) && world.devices().trim().split("\n").length === 2);
  } finally {
    end();
  }
}

/** A phone can install the page, which is all our own. */
export async function installing(world, checks) {
  const agent = await world.agent();
  await agent.ask("delete_note", { name: "ideas" });
  const page = await world.page(PHONE);
  const { wrong, page: fresh } = await stranger(world);
  await fresh.context().addCookies(await page.context().cookies());
  await fresh.goto(world.home);
  await items(fresh, "ideas").waitFor();
  const devtools = await fresh.context().newCDPSession(fresh);
  const manifest = await devtools.send("Page.getAppManifest");
  await checks.equal("the browser finds no fault in the manifest", manifest.errors, []);
  const { name, icons, start_url: start, display } = JSON.parse(manifest.data);
  await checks.check("… which has a name, a start and a display", Boolean(name) && new URL(start, world.home).href === world.home && display === "standalone", manifest.data);
  for (const { src } of icons) {
    const icon = await world.ask(new URL(src, world.home).pathname);
    await checks.check(`… and the icon ${src}, for everybody`, icon.status === 200 && icon.headers["content-type"].startsWith("image/"), icon.status);
  }
  const { installabilityErrors: errors } = await devtools.send("Page.getInstallabilityErrors");
  // A private window never installs anything.
  await checks.equal("the browser would install it", errors.map(({ errorId }) => errorId).filter((id) => id !== "in-incognito"), []);
  for (const path of ["history", "pair", "login"]) await fresh.goto(world.home + path);
  await checks.equal("no page asks anybody else or breaks its own rules", [wrong, world.alarms], [[], []]);
}

/** Everything is in reach of a finger, nothing scrolls sideways, and axe finds only trifles. */
export async function inReach(world, checks) {
  const agent = await world.agent({ flags: ["--mode", "all", "--timeout", "600"] });
  const { call } = await agent.ask("delete_note", { name: "ideas" });
  const page = await world.page({ ...PHONE, colorScheme: "light", reducedMotion: "reduce" });
  await tap(items(page, "ideas"), "Deny");
  await call;
  void agent.call("delete_note", { name: "welcome" });
  void agent.call("add_note", { name: "wide", text: `https://example.com/${"unbroken".repeat(40)}`, ["k".repeat(120)]: "x".repeat(300) });
  void agent.call("add_note", { name: "long", text: "long ".repeat(600) });
  for (const name of ["welcome", "wide", "long"]) await items(page, name).waitFor();
  const link = await items(page, "wide").getByRole("heading").getByRole("link").getAttribute("href");
  const { page: out } = await stranger(world);
  for (const [name, at, path] of [
    ["the list", page, "/"],
    ["an item's page", page, link],
    ["the history", page, "/history"],
    ["the form for the code", out, "/pair"],
    ["the page of a phone that is not paired", out, "/"],
  ]) {
    checks.page = at;
    await at.goto(new URL(path, world.home).href);
    const widths = await at.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    await checks.check(`${name}: no horizontal scrolling`, widths[0] <= 390 && widths[1] <= 390, widths);
    const small = await at.evaluate((finger) => {
      const shown = (element) => element.checkVisibility({ visibilityProperty: true }) && element.getClientRects().length > 0;
      const all = "button, a.button, select, input:not([type=hidden], [type=checkbox]), summary, nav a";
      return [...document.querySelectorAll(all)].filter(shown)
        .map((element) => [`${element.tagName} ${element.name || element.textContent.trim().slice(0, 20)}`, element.getBoundingClientRect().height])
        .filter(([, height]) => height < finger - 0.5);
    }, FINGER);
    await checks.equal(`${name}: what is tapped is ${FINGER} px high`, small, []);
    for (const colorScheme of ["light", "dark"]) {
      await at.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await at.evaluate(world.tools.axe);
      const found = await at.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      const bad = found.violations.filter(({ impact }) => impact !== "minor");
      const words = bad.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => [id, target.join(" "), failureSummary.slice(0, 300)]));
      await checks.equal(`${name} in ${colorScheme}: axe finds only trifles`, words.slice(0, 6), []);
    }
  }
}
