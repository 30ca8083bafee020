// Which process serves the page, and how many items it can show.

import { readFileSync } from "node:fs";

import { pause, until } from "./checks.mjs";
import { aimAt, approve, button, deny, isEmpty, isMarked, items, mark } from "./seen.mjs";

const MANY = 1000;

/** 10: the proxy that serves the page is killed. Another takes over, and the open tab recovers. */
export async function takingOver(world, checks) {
  const first = await world.agent({ server: "first" });
  await first.ask("delete_note", { name: "ideas" });
  const second = await world.agent({ server: "second" });
  const { call } = await second.ask("delete_note", { name: "shopping" });
  const page = await world.page();
  await checks.check("one page shows the items of two proxies", (await items(page).count()) === 2);
  await mark(page);
  const link = await items(page, "shopping").getByRole("heading").getByRole("link").getAttribute("href");
  const alone = await page.context().newPage();
  await alone.goto(new URL(link, page.url()).href);

  await first.kill();
  const killed = performance.now();
  const answers = () => fetch(new URL("/login", page.url())).then((response) => response.ok, () => false);
  const isBack = await until(answers, 5000);
  const took = Math.round(performance.now() - killed);
  checks.note(`served again at the same port after ${took} ms`);
  await checks.check("another serves the page within 2 s", isBack && took < 2000, `${took} ms`);

  // The cookie was for the killed process: another program at its port could have received it.
  const old = (await page.context().cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
  const asOld = await fetch(new URL("/fragment", page.url()), { headers: { cookie: old } });
  await checks.equal("… and does not accept the old cookie", asOld.status, 401);
  await deny(alone.locator("main"), "of nobody");
  const needsLogin = () => alone.getByText("approval-proxy inbox").first().isVisible();
  await checks.comes("… and says how to log in when somebody decides", needsLogin, () => alone.locator("main").innerText());
  const again = await world.page({}, { context: page.context() });
  const isBackAtItem = async () => alone.url().endsWith(link) && (await button(alone.locator("main"), "Deny").isVisible());
  await checks.comes("after a new login, the item's tab shows it again", isBackAtItem, () => alone.url());
  await checks.comes("after a new login, the list shows what is waiting", async () => (await items(again, "shopping").count()) === 1);

  const isOffline = () => page.getByText(/No connection to the inbox/).isVisible();
  const isFresh = async () => (await items(page, "ideas").count()) === 0 && !(await isOffline());
  await checks.comes("the open tab recovers by itself, and the killed proxy's items disappear", isFresh, async () => [await isOffline(), await items(page).allInnerTexts()], 15_000);
  checks.note(`the tab is fresh after ${Math.round(performance.now() - killed)} ms`);
  await checks.check("… without a reload", await isMarked(page));
  await approve(items(page, "shopping"));
  await checks.equal("… and can decide", (await call).text, "Deleted the note `shopping`.");
  await checks.comes("nothing is waiting any more", () => isEmpty(page));
}

/** Returns the resident memory of a process, in MiB. */
function memory(pid) {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Math.round(Number(status.match(/VmRSS:\s+(\d+)/)[1]) / 1024);
}

/** Returns the memory of the browser's largest page process. */
async function pageMemory(browser) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  const pages = processInfo.filter(({ type }) => type === "renderer");
  return Math.max(...pages.map(({ id }) => memory(id)));
}

/** 11: a thousand items. */
export async function aThousand(world, checks) {
  const agent = await world.agent({ flags: ["--timeout", "600"] });
  const page = await world.page({}, { keepsInbox: true });
  const calls = Array.from({ length: MANY }, (_, at) => agent.call("delete_note", { name: `note-${at}` }));
  const began = performance.now();
  const isThere = async () => (await page.title()).startsWith(`(${MANY})`);
  await checks.comes("an open page counts a thousand calls", isThere, () => page.title(), 30_000);
  checks.note(`they were there after ${Math.round(performance.now() - began)} ms`);
  await pause(300);
  const start = performance.now();
  await page.goto(new URL("/", page.url()).href);
  const took = Math.round(performance.now() - start);
  const count = await items(page).count();
  const answered = await page.evaluate(() => Math.round(performance.getEntriesByType("navigation")[0].responseEnd));
  checks.note(`the list with ${count} of them loads in ${took} ms, of which ${answered} ms are the server's`);
  checks.note(`the page's process takes ${await pageMemory(world.tools.browser)} MiB, the proxy ${memory(agent.pid)} MiB`);
  await checks.check("the list loads in less than 2 s", took < 2000, `${took} ms`);
  await page.mouse.move(600, 400);
  const top = () => page.evaluate(() => scrollY);
  await page.mouse.wheel(0, 5000);
  await checks.comes("the wheel scrolls", async () => (await top()) > 3000, top);
  await items(page).last().scrollIntoViewIfNeeded();
  const open = (item) => item.locator("summary").first().click();
  await open(items(page).last());
  await checks.comes("… down to the last item, which opens", () => button(items(page).last(), "Approve").isVisible());
  await page.getByRole("link", { name: "Show more" }).click();
  await checks.comes("more can be shown", async () => (await items(page).count()) > count, () => items(page).count());
  await page.goto(new URL("/", page.url()).href);
  const oldest = items(page).first();
  await open(oldest);
  const name = (await oldest.innerText()).match(/note-\d+/)[0];
  const pressed = performance.now();
  await approve(oldest);
  const at = Number(name.slice(5));
  await checks.equal("the oldest can be approved", (await calls[at]).text, `There is no note \`${name}\`.`);
  checks.note(`the agent had its answer ${Math.round(performance.now() - pressed)} ms after the click`);
  await checks.comes("… and disappears", async () => (await page.title()).startsWith(`(${MANY - 1})`) && (await items(page, `"${name}"`).count()) === 0, () => page.title());
  const second = items(page).first();
  const other = (await second.innerText()).match(/note-\d+/)[0];
  await checks.check("the list continues with the next", other !== name, other);
  const shown = await items(page).count();
  await open(second);
  await aimAt(button(second, "Approve"));
  const before = await second.boundingBox();
  void agent.call("delete_note", { name: "one-more" });
  await checks.comes("a new item is counted", async () => (await page.title()).startsWith(`(${MANY})`), () => page.title());
  const status = await page.locator("#status").innerText();
  await checks.equal("… and announced, although the list ends before it", status, "One more call is waiting.");
  await checks.equal("… and nothing else changes", [await page.locator("#news").isVisible(), await items(page).count(), await second.boundingBox()], [false, shown, before]);
}
