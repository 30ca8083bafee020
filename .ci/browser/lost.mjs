// Without a connection the page cannot know what is waiting. The history has every person's decision.

import { approve, deny, isEmpty, items } from "./seen.mjs";

/** Without a connection, the page never says that nothing is waiting. */
export async function lost(world, checks) {
  const page = await world.page({}, { keepsInbox: true });
  await checks.check("with a connection the empty page says that nothing is waiting", await isEmpty(page));
  const [inbox] = world.inboxes;
  inbox.kill("SIGTERM");
  await inbox.ended;
  await checks.comes("without a connection it says so", () => page.locator("#offline").isVisible(), undefined, 15_000);
  // While the server ends, it may still answer one more request, and then the page knows that nothing is waiting.
  const hidesNothing = async () => !(await isEmpty(page)) && !(await page.locator("#count").isVisible());
  await checks.comes("… and not that nothing is waiting", hidesNothing, undefined, 15_000);
  const main = await page.locator("main").innerText();
  await checks.check("… but that it cannot know", main.includes("No connection. Calls may be waiting."), main);
}

/** Decisions in a client's own prompt are in the history too. */
export async function everywhere(world, checks) {
  const asked = await world.agent({ name: "editor", title: "The <b>Editor</b>", answers: [{ action: "accept", content: { approved: true, reason: "in the editor" } }, { action: "accept", content: { approved: false, reason: "not there" } }] });
  await asked.call("delete_note", { name: "ideas" });
  await asked.call("delete_note", { name: "welcome" });
  const agent = await world.agent({ server: "other" });
  const { call } = await agent.ask("rename_note", { from: "shopping", to: "errands" });
  const page = await world.page();
  await approve(items(page, "errands"));
  await call;
  const rows = async () => {
    await page.goto(new URL("/history", page.url()).href);
    return items(page).allInnerTexts();
  };
  await checks.comes("the history has the decisions from prompts", async () => (await rows()).length === 3, rows);
  const all = await rows();
  const of = (text) => all.find((row) => row.includes(text)) ?? "";
  await checks.check("… with the start of the arguments, the channel and who decided", /"name": "ideas"/.test(of("ideas")) && /client’s prompt/.test(of("ideas")) && /somebody at the client/.test(of("ideas")) && /Approved/.test(of("ideas")), all);
  await checks.check("… and the reason", of("ideas").includes("in the editor") && of("welcome").includes("not there") && /Denied/.test(of("welcome")), all);
  await checks.check("… beside the decisions made here", /inbox/.test(of("errands")) && /you, logged in here/.test(of("errands")), all);
  const lefts = await page.locator(".row").evaluateAll((rows) => rows.map((row) => [...row.children].slice(0, 4).map((part) => Math.round(part.getBoundingClientRect().left)).join()));
  await checks.check("… all in the same columns", new Set(lefts).size === 1, lefts);
  await items(page, "ideas").getByRole("link").click();
  await page.waitForURL(/\/item\//);
  const own = await page.locator("main").innerText();
  await checks.check("its page shows the client's names as its own words", own.includes('calls itself "editor 1" and "The <b>Editor</b>"'), own);
}

/** A call that arrives after the page was built and before it listens is shown. */
export async function between(world, checks) {
  const agent = await world.agent();
  const other = await world.page({}, { keepsInbox: true });
  // Another browser listens all the time: the server announces each change only once.
  const context = await world.context();
  await context.addCookies(await other.context().cookies());
  const page = await context.newPage();
  checks.page = page;
  await page.goto(other.url());
  let goOn;
  const may = new Promise((done) => (goOn = done));
  await page.route("**/events", async (route) => {
    await may;
    await route.continue();
  });
  await page.reload();
  await checks.check("the page is empty", await isEmpty(page));
  const { call } = await agent.ask("delete_note", { name: "ideas" });
  await new Promise((done) => setTimeout(done, 1500));
  await checks.comes("another browser shows the call", () => items(other, "ideas").isVisible());
  await checks.check("before the page listens it cannot show the call", await isEmpty(page));
  goOn();
  await checks.comes("once it listens it shows the call", () => items(page, "ideas").isVisible());
  await deny(items(page, "ideas"));
  await call;
}
