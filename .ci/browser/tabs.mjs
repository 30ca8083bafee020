// Several tabs, the title, the history.

import { approve, deny, isEmpty, items } from "./seen.mjs";

const main = (page) => page.locator("main").innerText();

/** 5: a decision in one tab counts in all. */
export async function twoTabs(world, checks) {
  const agent = await world.agent();
  const { call: first } = await agent.ask("delete_note", { name: "ideas" });
  const one = await world.page();
  const two = await one.context().newPage();
  await two.goto(one.url());
  await checks.comes("both tabs show a call", async () => (await items(one, "ideas").isVisible()) && (await items(two, "ideas").isVisible()));
  const second = agent.call("delete_note", { name: "welcome" });
  for (const page of [one, two]) {
    await checks.comes("a later call appears in both", () => items(page, "welcome").isVisible());
  }
  await deny(items(two, "ideas"), "from the second tab");
  await checks.comes("a decision in one tab removes the call from the other", async () => (await items(one, "ideas").count()) === 0);
  await checks.check("… and the agent is told", (await first).text.includes("from the second tab"), await first);

  // Two more tabs show a call that is decided elsewhere: its own page, and a list without updates.
  const link = await items(one, "welcome").getByRole("heading").getByRole("link").getAttribute("href");
  const alone = await one.context().newPage();
  await alone.goto(new URL(link, one.url()).href);
  await two.route(/\/fragment/, (route) => route.abort());
  await approve(items(one, "welcome"));
  await checks.equal("the first of three verdicts counts", (await second).text, "Deleted the note `welcome`.");
  checks.page = alone;
  await deny(alone.locator("main"), "too late");
  await checks.comes("on the item's page, the second verdict learns that it is already approved", async () => /already/i.test(await main(alone)), () => main(alone));
  checks.page = two;
  await deny(items(two, "welcome"), "too late, too");
  await checks.comes("on the list, the third one does too", async () => /already/i.test(await main(two)), () => main(two));
  const made = agent.decisions().map((line) => line.decision);
  await checks.equal("one verdict counts", made, ["denied", "approved"]);
}

/** A list that was requested before a decision does not bring that call back. */
export async function lateList(world, checks) {
  const agent = await world.agent();
  const { call } = await agent.ask("delete_note", { name: "ideas" });
  const page = await world.page();
  await items(page, "ideas").waitFor();
  let goOn;
  const may = new Promise((done) => (goOn = done));
  let isOnItsWay = false;
  await page.route(/\/fragment/, async (route) => {
    const answer = await world.fetch(route);
    isOnItsWay = true;
    await may;
    await route.fulfill(answer);
  });
  const second = agent.call("delete_note", { name: "welcome" });
  await checks.comes("a list with a second call is on its way", () => isOnItsWay);
  await approve(items(page, "ideas"));
  await call;
  await checks.comes("meanwhile the first call is decided and disappears", async () => (await items(page, "ideas").count()) === 0);
  await page.evaluate(() => {
    window.names = [];
    new MutationObserver(() => window.names.push(document.querySelector("main").innerText)).observe(document.querySelector("main"), { childList: true, subtree: true });
  });
  goOn();
  await checks.comes("the second call appears", () => items(page, "welcome").isVisible());
  const names = await page.evaluate(() => window.names.join());
  await checks.check("the first call never comes back", names.includes("welcome") && !names.includes("ideas"), names);
  await deny(items(page, "welcome"));
  await second;
}

/** 9: the title counts. The history keeps every outcome. */
export async function titleAndHistory(world, checks) {
  const page = await world.page({}, { keepsInbox: true });
  const counts = (wanted) => async () => ((await page.title()).match(/^\((\d+)\)/)?.[1] ?? "0") === wanted;
  await checks.check("the title has no number if nothing is waiting", await counts("0")(), await page.title());
  const agent = await world.agent({ server: "notes" });
  const one = agent.call("delete_note", { name: "ideas" });
  await checks.comes("the title counts one", counts("1"), () => page.title(), 12_000);
  const two = agent.call("delete_note", { name: "welcome" });
  await checks.comes("… and two", counts("2"), () => page.title());
  await page.getByRole("link", { name: "History" }).click();
  await page.waitForURL(/\/history/);
  await checks.check("… on the history too", await counts("2")(), await page.title());
  await page.goBack();
  await page.waitForURL(/\/$/);
  await deny(items(page, "ideas"), "keep the ideas");
  await checks.comes("… and one again", counts("1"), () => page.title());
  await approve(items(page, "welcome"));
  await checks.comes("… and no number", counts("0"), () => page.title());
  await Promise.all([one, two]);

  void agent.call("rename_note", { from: "shopping", to: "errands" });
  const killed = await world.agent({ server: "other" });
  void killed.call("delete_note", { name: "shopping" });
  await checks.comes("two more are waiting", counts("2"), () => page.title());
  await agent.end();
  await checks.comes("the items of a proxy that ended disappear", async () => (await items(page, "rename_note").count()) === 0);
  await killed.kill();
  await checks.comes("so do those of a killed proxy", () => isEmpty(page), undefined, 15_000);

  const rows = async (query) => {
    await page.goto(new URL(`/history${query}`, page.url()).href);
    return (await items(page).allInnerTexts()).map((row) => `${row.match(/Approved|Denied|Expired|Withdrawn/)?.[0]} ${row.match(/\w+_note/)?.[0]}`);
  };
  const all = await rows("");
  const open = all.filter((row) => !/^(Approved|Denied) delete_note$/.test(row));
  await checks.check("the history has all four", all.length === 4 && open.length === 2, all);
  const closed = /^(Withdrawn|Expired) /;
  await checks.check("… those of ended proxies as withdrawn or expired", open.every((row) => closed.test(row)), open);
  await checks.check("… with the reason", (await main(page)).includes("keep the ideas"));
  await page.locator("[name=state]").selectOption("denied");
  await page.getByRole("button", { name: "Filter" }).click();
  await page.waitForURL(/state=denied/);
  await checks.equal("its filter accepts an outcome", await items(page).count(), 1);
  await page.locator("[name=state]").selectOption("");
  await page.locator("[name=tool]").fill("RENAME");
  await page.locator("[name=tool]").press("Enter");
  await page.waitForURL(/tool=RENAME/);
  await checks.equal("… a part of a tool's name", await items(page).count(), 1);
  await checks.equal("… and a server", (await rows("?server=other")).length, 1);
  await checks.equal("… and says if nothing matches", (await rows("?tool=nothing-like-it")).length, 0);
  await items(page).count();
  await page.getByRole("link", { name: "Clear" }).click();
  await page.waitForURL(/\/history$/);
  await checks.equal("… and can be cleared", await items(page).count(), 4);
}
