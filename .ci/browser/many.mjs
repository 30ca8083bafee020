// One item, five and two hundred, in light, in dark and on a phone: the oldest comes first, the arguments are
// right below the name, and nothing is cut off.

import { aimAt, button, deny, isActive, items, leave, settled } from "./seen.mjs";

const PHONE = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
const LOOKS = [
  ["light", { colorScheme: "light", reducedMotion: "reduce" }],
  ["dark", { colorScheme: "dark", reducedMotion: "reduce" }],
  ["on a phone", { ...PHONE, colorScheme: "light", reducedMotion: "reduce" }],
];
const DIFF = "--- a/notes.txt\n+++ b/notes.txt\n@@ -1,3 +1,3 @@\n \tkept\n-    old line\n+    new line\n";
const SQL = "SELECT name,\n       count(*) AS n\nFROM notes\nWHERE owner = 'ada'\nGROUP BY name;";

/** Returns calls of every risk, one with a diff and one with SQL. */
function call(agent, at) {
  if (at % 4 === 0) return agent.call("add_note", { name: `note-${at}`, text: DIFF });
  if (at % 4 === 1) return agent.call("rename_note", { from: `note-${at}`, to: `done-${at}` });
  if (at % 4 === 2) return agent.call("add_note", { name: `note-${at}`, text: SQL });
  return agent.call("delete_note", { name: `note-${at}` });
}

const named = (page) => page.evaluate(() => [...document.querySelectorAll("#cards .card")].map((card) => Number(card.textContent.match(/"note-(\d+)"/)[1])));

async function inspect(world, checks, page, what) {
  const widths = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  await checks.check(`${what}: no horizontal scrolling`, widths[0] <= widths[1], widths);
  await page.evaluate(world.tools.axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const bad = found.violations.filter(({ impact }) => impact !== "minor");
  const words = bad.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => [id, target.join(" "), failureSummary.slice(0, 300)]));
  await checks.equal(`${what}: axe finds only trifles`, words.slice(0, 6), []);
  await checks.equal(`${what}: the usual question appears once`, (await page.locator("main").innerText()).split("Allow this tool call?").length - 1, 1);
}

export async function many(world, checks) {
  const agent = await world.agent({ flags: ["--timeout", "3600"], name: "desk" });
  let made = 0;
  const ask = async (count) => {
    while (made < count) {
      void call(agent, made);
      made += 1;
      // Each in its own moment, so that their order is known.
      await new Promise((done) => setTimeout(done, 3));
    }
  };
  await ask(1);
  await agent.isAsking();
  const first = await world.page(LOOKS[0][1]);
  const pages = [[LOOKS[0][0], first]];
  for (const [name, options] of LOOKS.slice(1)) {
    const context = await world.context(options);
    await context.addCookies(await first.context().cookies());
    const page = await context.newPage();
    await page.goto(first.url());
    pages.push([name, page]);
  }
  for (const count of [1, 5, 200]) {
    await ask(count);
    const shown = Math.min(count, 100);
    for (const [name, page] of pages) {
      checks.page = page;
      await page.bringToFront();
      await page.goto(first.url());
      const what = `${count} in ${name}`.replace("in on", "on");
      await checks.comes(`${what}: all are counted`, async () => (await page.title()).startsWith(`(${count})`), () => page.title(), 60_000);
      await page.reload();
      const order = await named(page);
      await checks.equal(`${what}: the oldest comes first`, order, Array.from({ length: shown }, (_, at) => at));
      await inspect(world, checks, page, what);
      const rows = await page.locator(".compact").count();
      await checks.equal(`${what}: ${count > 20 ? "each is a row" : "none is a row"}`, rows, count > 20 ? shown : 0);
    }
  }

  const page = first;
  checks.page = page;
  await page.bringToFront();
  await page.goto(first.url());
  const row = items(page).first();
  const height = (await row.boundingBox()).height;
  await checks.check("a row is one line", height < 60, height);
  const text = await row.innerText();
  await checks.check("… with the name, the start of the arguments, and the time", /add_note/.test(text) && /note-0/.test(text) && /left/.test(text), text);
  await checks.check("… and no Approve button", !(await button(row, "Approve").isVisible()));
  await row.locator("summary").first().click();
  await checks.comes("it opens to the whole card", () => button(row, "Approve").isVisible());
  const opened = await row.innerText();
  await checks.check("… with the lines of a diff one below the other", opened.includes("-    old line\n") && opened.includes("+    new line\n"), opened);
  const marked = await row.locator(".line.added, .line.removed, .line.hunk").allInnerTexts();
  await checks.equal("… coloured like a diff", marked.map((line) => line[0]).sort(), ["+", "+", "-", "-", "@"]);
  const numbers = await row.locator(".body .line").evaluateAll((lines) => lines.map((line) => line.dataset.n).join());
  await checks.equal("… and numbered", numbers, "1,2,3,4,5,6,7");
  const isBelow = await row.evaluate((card) => card.querySelector("h2").nextElementSibling.nextElementSibling.matches(".code"));
  await checks.check("… and the arguments right below the name", isBelow);
  const says = await items(page, "note-1").first().evaluate((card) => card.textContent);
  await checks.check("hints and title are shown as the server's words", says.includes("says it destroys nothing") && says.includes('calls this tool "Rename a note"'), says);
  await leave(page);

  // By keys: the first press opens the row and decides nothing.
  await page.goto(first.url());
  await settled();
  const third = items(page).nth(2);
  for (const _ of [1, 2, 3]) await page.keyboard.press("j");
  await page.keyboard.press("a");
  await page.keyboard.press("Enter");
  await checks.comes("a opens a row", () => button(third, "Approve").isVisible());
  await checks.check("… and decides nothing", agent.decisions().length === 0);
  await settled();
  await page.keyboard.press("a");
  await page.keyboard.press("Enter");
  await checks.comes("… and approves once the row is open", () => agent.decisions().length === 1, () => agent.decisions());
  await leave(page);
  const fourth = items(page, '"note-3"').first();
  await fourth.locator("summary").first().click();
  const calm = await fourth.evaluate((card) => {
    const fill = (value) => getComputedStyle(card.querySelector(`[value=${value}]`)).backgroundColor;
    return [fill("deny"), fill("approve"), getComputedStyle(card).backgroundColor];
  });
  await checks.check("of a high-risk call Deny is the filled button", calm[0] !== calm[2] && calm[1] === calm[2], calm);
  await deny(fourth);
  await checks.comes("a row can be denied", () => agent.decisions().length === 2);

  // A row that is decided elsewhere keeps its place, and nothing moves.
  await page.mouse.move(600, 400);
  const before = await page.evaluate(() => document.querySelectorAll("#cards > li")[8].getBoundingClientRect().top);
  world.decideInTerminal("deny", '"note-4"');
  await checks.comes("a row that is decided elsewhere says so", async () => (await items(page).allInnerTexts()).some((it) => it.includes("Denied elsewhere")));
  const after = await page.evaluate(() => document.querySelectorAll("#cards > li")[8].getBoundingClientRect().top);
  await checks.check("… and moves nothing", Math.abs(before - after) < 1, [before, after]);
  await aimAt(items(page, '"note-5"').first().locator("summary").first()).catch(() => {});
  await checks.check("… and a gap cannot be selected", await items(page, "Denied elsewhere").first().locator(".pick input").isDisabled());
  void isActive;
}
