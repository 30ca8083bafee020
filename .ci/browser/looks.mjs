// How the page looks: on a phone, in light and dark, with reduced motion, to a screen reader.

import { aimAt, approve, button, deny, isActive, items, leave, settled } from "./seen.mjs";

const PHONE = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
const LONG = `https://example.com/${"unbroken".repeat(40)}`;

/** Creates three open items, one of them wide, and some decided ones. */
async function someItems(world, options) {
  const agent = await world.agent({ flags: ["--mode", "all"] });
  const { call } = await agent.ask("delete_note", { name: "ideas" });
  const page = await world.page(options);
  await deny(items(page, "ideas"), "No, keep them.");
  await call;
  const read = agent.call("read_note", { name: "welcome" });
  await approve(items(page, "welcome"), { minutes: 15 });
  await read;
  void agent.call("delete_note", { name: "shopping" });
  void agent.call("rename_note", { from: "welcome", to: "hello" });
  void agent.call("add_note", { name: "wide", text: LONG, ["k".repeat(120)]: ["x".repeat(300), 1] });
  await items(page, "wide").waitFor();
  await items(page, "hello").waitFor();
  await items(page, "shopping").waitFor();
  await leave(page);
  return page;
}

/** Yields the pages that people see: a name and a way there. */
async function eachPage(page, look) {
  const home = new URL("/", page.url()).href;
  const link = await items(page, "wide").getByRole("heading").getByRole("link").getAttribute("href");
  await look("the list", page);
  await page.goto(new URL(link, home).href);
  await look("an item's page", page);
  await page.goto(new URL("/history", home).href);
  await look("the history", page);
  await page.goto(new URL("/login", home).href);
  await look("the login page", page);
  await page.goto(home);
}

/** 7: on a phone nothing is cut off, and every button is large enough. */
export async function onAPhone(world, checks) {
  const page = await someItems(world, PHONE);
  await eachPage(page, async (name) => {
    const widths = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth, innerWidth]);
    await checks.check(`${name}: no horizontal scrolling`, widths[0] <= 360 && widths[2] <= 360, widths);
    const wrong = await page.evaluate(async () => {
      const found = [];
      const shown = (element) => element.checkVisibility({ visibilityProperty: true }) && element.getClientRects().length > 0;
      for (const element of [...document.querySelectorAll("button, a.button, select, input, summary")].filter(shown)) {
        element.scrollIntoView({ block: "center", behavior: "instant" });
        const { left, right, top, width, height } = element.getBoundingClientRect();
        const what = `${element.tagName} ${element.name || element.textContent.trim().slice(0, 20)}`;
        if (element.matches("button, .button") && height < 40) found.push(`${what} is ${height} px high`);
        if (left < 0 || right > innerWidth) found.push(`${what} is cut off: ${left} to ${right}`);
        const hit = document.elementFromPoint(left + width / 2, top + height / 2);
        const isHit = hit && (element.contains(hit) || hit.contains(element) || element.labels?.[0]?.contains(hit));
        if (!isHit) found.push(`${what} is covered by ${hit?.outerHTML.slice(0, 60)}`);
      }
      return found;
    });
    await checks.equal(`${name}: everything is in reach, buttons are 40 px high`, wrong, []);
  });
  const denied = button(items(page, "shopping"), "Deny");
  await checks.comes("a button that has moved can be pressed a second later", () => isActive(denied));
  await denied.tap();
  await checks.comes("a tap decides", async () => (await items(page, "shopping").innerText()).includes("Denied."));
}

/** 7: light, dark, and without motion. */
export async function lightAndDark(world, checks) {
  const page = await someItems(world, { colorScheme: "light" });
  const colours = () =>
    page.evaluate(() => {
      const lightness = (text) => {
        const [r, g, b] = text.match(/[\d.]+/g).map(Number);
        return text.startsWith("rgb") ? (0.3 * r + 0.6 * g + 0.1 * b) / 255 : NaN;
      };
      const style = getComputedStyle(document.body);
      return { ground: lightness(style.backgroundColor), text: lightness(style.color) };
    });
  const light = await colours();
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await colours();
  await checks.check("light is dark on light", light.ground > 0.8 && light.text < 0.3, light);
  await checks.check("dark is light on dark", dark.ground < 0.3 && dark.text > 0.7, dark);
  await page.emulateMedia({ colorScheme: "dark", reducedMotion: "reduce" });
  const moving = await page.evaluate(() => {
    const long = (times) => times.split(",").some((time) => parseFloat(time) > (time.includes("ms") ? 10 : 0.01));
    const moves = (element) => {
      const style = getComputedStyle(element);
      return (style.animationName !== "none" && long(style.animationDuration)) || long(style.transitionDuration);
    };
    document.querySelectorAll("article").forEach((card) => card.classList.add("fresh", "chosen"));
    return [...document.querySelectorAll("*")].filter(moves).map((element) => element.outerHTML.slice(0, 80));
  });
  await checks.equal("with reduced motion nothing moves", moving, []);
}

/** 8: axe finds only trifles. */
export async function accessibility(world, checks) {
  const page = await someItems(world, { colorScheme: "light", reducedMotion: "reduce" });
  const inspect = async (name) => {
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.evaluate(world.tools.axe);
      const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      const bad = found.violations.filter(({ impact }) => impact !== "minor");
      const words = bad.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => [id, target.join(" "), failureSummary.slice(0, 300)]));
      await checks.equal(`${name} in ${colorScheme}: axe finds only trifles`, words.slice(0, 6), []);
      const rest = found.violations.filter((violation) => !bad.includes(violation)).map(({ id, impact }) => `${id} (${impact})`);
      if (rest.length > 0) checks.note(`${name} in ${colorScheme}: ${rest.join(", ")}`);
    }
  };
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
  await eachPage(page, inspect);
  await aimAt(button(items(page, "shopping"), "Approve"));
  world.decideInTerminal("deny", "hello");
  void world.agents[0].call("add_note", { name: "long", text: "long ".repeat(600) });
  await checks.comes("one call is new and one is gone", async () => (await page.locator("#news").innerText()) === "1 new, 1 gone");
  await inspect("a list with a gap");
  await page.locator("#news").click();
  await items(page, "Unfold the long text first").waitFor();
  await inspect("a list with a folded text");
  await settled();
  await page.keyboard.press("?");
  await page.getByRole("dialog").waitFor();
  await inspect("the help");
}
