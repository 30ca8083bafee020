// Without a connection nobody knows what waits; and the history knows of every person's decision.

import { approve, deny, isEmpty, items } from "./seen.mjs";

/** A lost connection is never shown beside "nothing waits". */
export async function lost(world, checks) {
  const page = await world.page({}, { keepsInbox: true });
  await checks.check("with a connection the empty page says that nothing waits", await isEmpty(page));
  const [inbox] = world.inboxes;
  inbox.kill("SIGTERM");
  await inbox.ended;
  await checks.comes("without one it says so", () => page.locator("#offline").isVisible(), undefined, 15_000);
  await checks.check("… and not that nothing waits", !(await isEmpty(page)) && !(await page.locator("#count").isVisible()));
  const main = await page.locator("main").innerText();
  await checks.check("… but that nobody knows", main.includes("Without a connection nobody knows what waits."), main);
}

/** What was decided in a client's own prompt is in the history, with the others. */
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
  await checks.comes("the history has what was decided in prompts", async () => (await rows()).length === 3, rows);
  const all = await rows();
  const of = (text) => all.find((row) => row.includes(text)) ?? "";
  await checks.check("… with how the arguments begin, the channel and who decided", /"name": "ideas"/.test(of("ideas")) && /client’s prompt/.test(of("ideas")) && /somebody at the client/.test(of("ideas")) && /Approved/.test(of("ideas")), all);
  await checks.check("… and the reason", of("ideas").includes("in the editor") && of("welcome").includes("not there") && /Denied/.test(of("welcome")), all);
  await checks.check("… beside what was decided here", /inbox/.test(of("errands")) && /you, logged in here/.test(of("errands")), all);
  const lefts = await page.locator(".row").evaluateAll((rows) => rows.map((row) => [...row.children].slice(0, 4).map((part) => Math.round(part.getBoundingClientRect().left)).join()));
  await checks.check("… all in the same columns", new Set(lefts).size === 1, lefts);
  await items(page, "ideas").getByRole("link").click();
  await page.waitForURL(/\/item\//);
  const own = await page.locator("main").innerText();
  await checks.check("its page says what the client calls itself, as its own words", own.includes('calls itself "editor 1" and "The <b>Editor</b>"'), own);
}

/** A call that comes after the page was made, and before it listens, is shown all the same. */
export async function between(world, checks) {
  const agent = await world.agent();
  const other = await world.page({}, { keepsInbox: true });
  // Another browser listens all the time: what it is told, nobody is told again.
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
  await checks.comes("another one knows of the call", () => items(other, "ideas").isVisible());
  await checks.check("before it listens it cannot know of a call", await isEmpty(page));
  goOn();
  await checks.comes("once it listens it shows the call", () => items(page, "ideas").isVisible());
  await deny(items(page, "ideas"));
  await call;
}
