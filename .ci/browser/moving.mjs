// Nothing decides about a call that moved under the pointer, a finger or the focus by itself.

import { pause } from "./checks.mjs";
import { aimAt, button, deny, isActive, isEmpty, items, leave, middle, settled } from "./seen.mjs";

const PHONE = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
/** After this time people still press what they saw before. */
const STALE = 800;

const place = async (item) => JSON.stringify(await item.boundingBox());
const approval = (page, text) => button(items(page, text), "Approve");
const news = (page) => page.locator("#news");
const pressUnmoved = async (page) => {
  await page.mouse.down();
  await page.mouse.up();
};

/** Returns an agent with calls, the oldest first, and the page that lists them. */
async function listOf(world, names, options) {
  const agent = await world.agent({ flags: ["--timeout", "600"] });
  const calls = {};
  for (const name of names) {
    calls[name] = agent.call("delete_note", { name });
    await agent.isAsking();
    await pause(30);
  }
  const page = await world.page(options);
  for (const name of names) await items(page, name).waitFor();
  const nothingWasDecided = () => agent.decisions().length === 0 && names.every((name) => calls[name].isOpen);
  return { agent, calls, page, nothingWasDecided };
}

/** A new call does not push away the one under the pointer. */
export async function comingUnderAPointer(world, checks) {
  const { agent, calls, page } = await listOf(world, ["ideas", "shopping"]);
  await aimAt(approval(page, "ideas"));
  const before = await place(items(page, "ideas"));
  const second = agent.call("delete_note", { name: "welcome" });
  await checks.comes("a new call is announced above the list", async () => (await news(page).innerText()) === "1 new", () => page.locator("main").innerText());
  await pause(STALE);
  await checks.equal("… and moves nothing", [await place(items(page, "ideas")), await items(page).count()], [before, 2]);
  const said = await page.locator("#status").innerText();
  await checks.check("… and a screen reader is told", said.includes("One more call is waiting: press “1 new”"), said);
  const third = agent.call("rename_note", { from: "welcome", to: "hello" });
  await checks.comes("a second new call is counted too", async () => (await news(page).innerText()) === "2 new", () => news(page).innerText());
  await checks.equal("… and the title counts hidden calls", (await page.title()).slice(0, 3), "(4)");
  await pressUnmoved(page);
  await checks.equal("a click with an unmoved pointer decides about the same call", (await calls.ideas).text, "Deleted the note `ideas`.");
  await checks.check("… and nothing else", second.isOpen && third.isOpen && calls.shopping.isOpen && agent.decisions().length === 1);
  await leave(page);
  await checks.comes("after the pointer leaves the list, new calls appear in order", async () => (await items(page).allInnerTexts()).map((text) => text.match(/"(\w+)"/g)[2]).join() === '"delete_note","delete_note","rename_note"', () => items(page).allInnerTexts());
  await checks.check("… and the button disappears", !(await news(page).isVisible()));

  // Through the button, while the focus is in the list.
  await items(page, "shopping").locator("[name=reason]").fill("because");
  const fourth = agent.call("delete_note", { name: "fourth" });
  await checks.comes("a call that comes during typing waits behind the button", async () => (await news(page).innerText()) === "1 new");
  await news(page).click();
  await checks.comes("… which shows it", () => items(page, "fourth").isVisible());
  await checks.equal("… and keeps what was typed", await items(page, "shopping").locator("[name=reason]").inputValue(), "because");
  await items(page, "shopping").locator("[name=reason]").fill("");
  await leave(page);
  await page.evaluate(() => getSelection().selectAllChildren(document.querySelector("#cards .code")));
  const fifth = agent.call("delete_note", { name: "fifth" });
  await checks.comes("… and so does a call that comes while text is selected", async () => (await news(page).innerText()) === "1 new");
  await page.evaluate(() => getSelection().removeAllRanges());
  await checks.comes("… until the selection is cleared", () => items(page, "fifth").isVisible());
  await checks.check("none of this decided anything", fourth.isOpen && fifth.isOpen && agent.decisions().length === 1);
}

/** A call that expires under the pointer cannot be decided by that click. */
export async function changingUnderAPointer(world, checks) {
  const agent = await world.agent({ flags: ["--timeout", "6", "--timeout-action", "park"] });
  const { call } = await agent.ask("delete_note", { name: "ideas" });
  const page = await world.page();
  const item = items(page, "ideas");
  await aimAt(button(item, "Approve"));
  const before = await place(item);
  await checks.check("the call is refused for now", (await call).failed);
  await checks.comes("its card says so", async () => (await item.locator(".hint").innerText()).startsWith("Refused for now."), () => item.innerText());
  await checks.equal("… and moves nothing", await place(item), before);
  await pressUnmoved(page);
  await pause(300);
  await checks.check("a click with an unmoved pointer decides nothing", (await items(page, "ideas").count()) === 1 && (await button(item, "Approve").count()) === 1);
  await checks.equal("the button above the list counts it", await news(page).innerText(), "1 changed");
  await leave(page);
  await checks.comes("after the pointer leaves the list, the whole change appears", () => item.getByText("Parked").isVisible());
}

/** A click with an unmoved pointer does not decide about a call that took another one's place. */
export async function underAStillPointer(world, checks) {
  const names = ["first", "second", "third", "fourth", "fifth"];
  const { agent, calls, page, nothingWasDecided } = await listOf(world, names);
  const refusesAClick = async (sentence) => {
    await pause(STALE);
    await pressUnmoved(page);
    await pause(300);
    const status = await page.locator("#status").innerText();
    await checks.check(`${sentence}: a click ${STALE} ms later decides nothing`, nothingWasDecided(), agent.decisions());
    await checks.check("… and the page says why", /just moved or changed/.test(status), status);
  };
  /** Scrolls the page, as it could by itself, until a call's button is under the pointer. */
  const bring = (name) =>
    page.evaluate(([name, y]) => {
      const card = [...document.querySelectorAll("#cards .card")].find((card) => card.textContent.includes(`"${name}"`));
      const { top, height } = card.querySelector(".primary").getBoundingClientRect();
      scrollBy({ top: top + height / 2 - y, behavior: "instant" });
    }, [name, at.y]);
  const isUnderPointer = (name) =>
    page.evaluate(([name, x, y]) => document.elementFromPoint(x, y)?.closest(".card")?.textContent.includes(`"${name}"`), [name, at.x, at.y]);

  await aimAt(approval(page, "first"));
  let at = await middle(approval(page, "first"));
  await page.mouse.move(at.x, at.y);
  await bring("second");
  await checks.check("scrolling by itself brings the second call under the pointer", await isUnderPointer("second"));
  await refusesAClick("scrolled");

  await page.evaluate(() => scrollTo(0, 0));
  await aimAt(approval(page, "first"));
  at = await middle(approval(page, "first"));
  await page.mouse.move(at.x, at.y);
  await page.keyboard.press("/");
  await page.keyboard.type("second");
  await checks.comes("a filter brings the second call under the pointer", () => isUnderPointer("second"));
  await refusesAClick("filtered");
  await page.keyboard.press("/");
  await page.keyboard.press("Control+A");
  await page.keyboard.press("Delete");
  await checks.comes("… and clearing it brings the first back", async () => (await items(page).count()) === 5 && isUnderPointer("first"));
  await refusesAClick("filtered back");
  await page.keyboard.press("Escape");

  await aimAt(approval(page, "second"));
  at = await middle(approval(page, "second"));
  await page.mouse.move(at.x, at.y);
  await pause(500);
  const sixth = agent.call("delete_note", { name: "newest" });
  await checks.comes("a sixth call arrives", () => news(page).isVisible());
  await page.keyboard.press("n");
  await checks.comes("n shows it", () => items(page, "newest").isVisible());
  await bring("first");
  await refusesAClick("shown by n");

  await leave(page);
  await aimAt(approval(page, "second"));
  await page.setViewportSize({ width: 1180, height: 800 });
  await refusesAClick("resized");
  await page.setViewportSize({ width: 1200, height: 800 });

  await aimAt(approval(page, "second"));
  const before = await place(items(page, "second"));
  await page.route(/\/fragment/, (route) => route.abort());
  void agent.call("delete_note", { name: "unseen" });
  await checks.comes("without a connection the page says so", () => page.locator("#offline").isVisible());
  await checks.equal("… and moves nothing", await place(items(page, "second")), before);
  await page.unroute(/\/fragment/);
  void agent.call("delete_note", { name: "seen" });
  await checks.comes("… and nothing moves when the connection comes back", async () => !(await page.locator("#offline").isVisible()) && (await place(items(page, "second"))) === before, undefined, 15_000);

  await checks.check("none of this decided anything", nothingWasDecided() && sixth.isOpen);
  await aimAt(approval(page, "second"));
  at = await middle(approval(page, "second"));
  await page.mouse.move(at.x, at.y);
  const down = await page.evaluate((y) => {
    const card = [...document.querySelectorAll("#cards .card")].find((card) => card.textContent.includes('"third"'));
    const { top, height } = card.querySelector(".primary").getBoundingClientRect();
    return Math.round(top + height / 2 - y);
  }, at.y);
  await page.mouse.wheel(0, down);
  await checks.comes("the wheel brings the third call under the pointer", () => isUnderPointer("third"));
  await pause(300);
  await pressUnmoved(page);
  await checks.check("… and a click then decides about it", (await calls.third).text.includes("`third`"));
}

/** A call that no longer waits leaves a gap, and clicks do not decide about the one below it. */
export async function goingUnderAPointer(world, checks) {
  const { agent, calls, page } = await listOf(world, ["first", "second", "third", "fourth"]);
  const decided = () => agent.decisions().map((line) => line.decision);
  const goes = async (name, how, words, decisions) => {
    await aimAt(approval(page, name));
    const below = items(page, "fourth");
    const [own, before] = [await place(items(page, name)), await place(below)];
    how();
    await checks.comes(`${words}: its place says so`, async () => (await items(page, name).innerText()).includes(words), () => items(page, name).innerText());
    await checks.check("… and has no buttons", (await approval(page, name).count()) === 0);
    await checks.equal("… and keeps its size", [await place(items(page, name)), await place(below)], [own, before]);
    await pause(STALE);
    await pressUnmoved(page);
    await pause(300);
    await checks.equal("… and a click there decides nothing", decided(), decisions);
  };
  await goes("first", () => agent.withdraw(calls.first), "withdrawn before anybody decided", ["cancelled"]);
  await goes("second", () => world.decideInTerminal("deny", "second"), "Denied elsewhere", ["cancelled", "denied"]);
  await goes("third", () => world.decideInTerminal("approve", "third"), "Approved elsewhere", ["cancelled", "denied", "approved"]);
  await checks.equal("the button above the list counts the gaps", await news(page).innerText(), "3 gone");
  await leave(page);
  await checks.comes("after the pointer leaves the list, the gaps close", async () => (await items(page).count()) === 1 && !(await news(page).isVisible()));
  await checks.check("… and the last call still waits", calls.fourth.isOpen);
}

/** A double click decides once. */
export async function doubleClick(world, checks) {
  const { agent, calls, page } = await listOf(world, ["first", "second", "third"]);
  await aimAt(approval(page, "first"));
  await pressUnmoved(page);
  await pressUnmoved(page);
  await calls.first;
  for (const wait of [100, 300, STALE]) {
    await pause(wait);
    await pressUnmoved(page);
  }
  await pause(300);
  await checks.check("five clicks in one place decide once", agent.decisions().length === 1 && calls.second.isOpen && calls.third.isOpen, agent.decisions());
  await leave(page);
  await checks.comes("the gaps close once the pointer has left", async () => (await items(page).count()) === 2);
  const enter = async () => {
    await page.keyboard.press("a");
    await page.keyboard.press("Enter");
  };
  await settled();
  await page.keyboard.press("k");
  await enter();
  await enter();
  await calls.second;
  await enter();
  await pause(300);
  await checks.check("a and Enter, pressed three times, decide once", agent.decisions().length === 2 && calls.third.isOpen, agent.decisions());
  await settled();
  await enter();
  await checks.check("… and once more a second later", (await calls.third).text.includes("`third`"));
  await leave(page);
  await checks.comes("nothing is waiting any more", () => isEmpty(page));
}

/** The same for keys. */
export async function underTheFocus(world, checks) {
  const { agent, calls, page } = await listOf(world, ["first", "second"]);
  await settled();
  await page.keyboard.press("j");
  await page.keyboard.press("a");
  const before = await place(items(page, "first"));
  const newest = agent.call("delete_note", { name: "newest" });
  await checks.comes("a new call waits behind the button while the focus is in the list", async () => (await news(page).innerText()) === "1 new");
  await checks.equal("… and moves nothing", await place(items(page, "first")), before);
  agent.withdraw(calls.first);
  await checks.comes("the focused call is withdrawn", async () => (await approval(page, "first").count()) === 0);
  await page.keyboard.press("Enter");
  await page.keyboard.press("Space");
  await pause(STALE);
  await page.keyboard.press("Enter");
  await checks.check("Enter decides nothing then", calls.second.isOpen && newest.isOpen && agent.decisions().every((line) => line.decision === "cancelled"), agent.decisions());
  await page.keyboard.press("n");
  await checks.comes("n shows the new call", () => items(page, "newest").isVisible());
  const focus = () => page.evaluate(() => document.activeElement.innerText ?? "");
  await checks.check("… and focuses it", (await focus()).includes("newest"), await focus());
  await page.keyboard.press("a");
  await page.keyboard.press("Enter");
  await pause(300);
  await checks.check("… where a and Enter do nothing at once", newest.isOpen);
}

/** The same for a finger, which is over no call before it touches. */
export async function underAFinger(world, checks) {
  const { agent, calls, page } = await listOf(world, ["first", "second", "third"], PHONE);
  const decided = () => agent.decisions().map((line) => line.decision);
  await page.waitForFunction(() => !document.querySelector("#cards [aria-disabled]"));
  const at = await middle(button(items(page, "second"), "Deny"));
  const tap = () => page.touchscreen.tap(at.x, at.y);
  const newest = agent.call("delete_note", { name: "newest" });
  await checks.comes("a new call is announced above the list", async () => (await news(page).innerText()) === "1 new");
  await pause(STALE);
  await checks.equal("… and moves nothing", await middle(button(items(page, "second"), "Deny")), at);
  agent.withdraw(calls.second);
  await checks.comes("a withdrawn call leaves a gap", async () => (await items(page, "second").innerText()).includes("withdrawn before"));
  await pause(STALE);
  await tap();
  await pause(300);
  await checks.equal("a tap there decides nothing", decided(), ["cancelled"]);
  await checks.comes("new and gone calls are counted", async () => (await news(page).innerText()) === "1 new, 1 gone", () => news(page).innerText());
  await news(page).tap();
  await checks.comes("a tap on the count shows the current list", async () => (await items(page).count()) === 3 && (await items(page, "newest").isVisible()));
  const denial = button(items(page, "newest"), "Deny");
  const now = await middle(denial);
  await page.touchscreen.tap(now.x, now.y);
  await pause(300);
  await checks.check("a tap right after that decides nothing", newest.isOpen && decided().length === 1);
  await checks.comes("a second later the buttons are active again", () => isActive(denial));
  await denial.tap();
  await checks.check("… and a tap decides", (await newest).failed && decided().at(-1) === "denied", decided());
  const gap = items(page, "newest");
  await checks.comes("… and leaves a gap", async () => (await gap.innerText()).includes("Denied."));
  await page.touchscreen.tap(now.x, now.y);
  await pause(STALE);
  await page.touchscreen.tap(now.x, now.y);
  await pause(300);
  await checks.check("further taps there decide nothing", calls.first.isOpen && calls.third.isOpen && decided().length === 2, decided());
}

/** A pointer that rests where the next page has a button decides nothing. */
export async function onANewPage(world, checks) {
  const { agent, page, nothingWasDecided } = await listOf(world, ["first", "second"]);
  const link = await items(page, "first").getByRole("heading").getByRole("link").getAttribute("href");
  const own = new URL(link, page.url()).href;
  await page.goto(own);
  const approveIt = page.getByRole("button", { name: "Approve" });
  await aimAt(approveIt);
  const at = await middle(approveIt);
  await page.mouse.move(at.x, at.y);
  await page.reload();
  await approveIt.waitFor();
  await pressUnmoved(page);
  await pause(STALE);
  await pressUnmoved(page);
  await pause(300);
  await checks.check("clicks with an unmoved pointer decide nothing on a new page", nothingWasDecided(), agent.decisions());
  await aimAt(approveIt);
  await pressUnmoved(page);
  await page.getByText("Approved. The call may run now.").waitFor();
  await checks.equal("a click after the pointer has moved decides", agent.decisions().length, 1);
  await page.goto(new URL("/", page.url()).href);
  await deny(items(page, "second"));
}
