// Who decides: a name is given once, goes with every verdict, and is never shown as a fact.

import { approve, deny, isMarked, items, mark } from "./seen.mjs";

const menu = (page) => page.locator("#me summary");
const field = (page) => page.getByLabel("Your name, for the record (optional)");

async function give(page, name) {
  await menu(page).click();
  await field(page).fill(name);
  await page.getByRole("button", { name: "Save" }).click();
}

/** Returns the rows of the history as text. */
const rows = async (page) => {
  await page.goto(new URL("/history", page.url()).href);
  return items(page).allInnerTexts();
};

/** The page asks for a name once. */
export async function named(world, checks) {
  const agent = await world.agent({ flags: ["--timeout", "600"] });
  const { call: one } = await agent.ask("delete_note", { name: "ideas" });
  const two = agent.call("rename_note", { from: "shopping", to: "errands" });
  const three = agent.call("delete_note", { name: "welcome" });
  const page = await world.page();
  const tab = await page.context().newPage();
  await tab.goto(page.url());
  checks.page = page;
  await items(page, "welcome").waitFor();
  await mark(page);
  await checks.equal("the page asks for a name", await menu(page).innerText(), "Your name");
  await items(page, "welcome").locator("[name=reason]").fill("half a rea");
  const before = await items(page, "ideas").boundingBox();
  // Not with `click`, which scrolls by itself.
  const { x, y } = await menu(page).boundingBox();
  await page.mouse.click(x + 10, y + 10);
  // The browser reports that it is open in a task of its own.
  const isFocused = () => field(page).evaluate((field) => field === document.activeElement);
  await checks.comes("a click opens its field and focuses it", isFocused);
  await checks.equal("… and nothing has moved", await items(page, "ideas").boundingBox(), before);
  await page.keyboard.press("Escape");
  await checks.check("… and Esc closes it", !(await field(page).isVisible()));
  await give(page, "x\u202ey");
  await checks.comes("an invalid name is refused", async () => /invisible/.test(await page.locator("#status").innerText()));
  await checks.equal("… and changes nothing", await menu(page).innerText(), "Your name");
  await page.keyboard.press("Escape");
  const name = "Zoë <b>O'Neil</b>";
  await give(page, `  ${name} `);
  await checks.comes("a valid name is shown at the top of the page", async () => (await menu(page).innerText()) === name, () => menu(page).innerText());
  await checks.check("… without a reload, and typed text is still there", (await isMarked(page)) && (await items(page, "welcome").locator("[name=reason]").inputValue()) === "half a rea");
  await checks.comes("… in the other tab too", async () => (await menu(tab).innerText()) === name, () => menu(tab).innerText());
  const kept = await page.evaluate(() => [JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie].join());
  await checks.check("the browser does not store it", !kept.includes("Neil"), kept);

  await approve(items(page, "ideas"));
  await one;
  await deny(items(page, "errands"), "not today");
  await two;
  await page.reload();
  await checks.equal("a reloaded page knows it", await menu(page).innerText(), name);
  world.decideInTerminal("deny", "welcome");
  await three;
  const seen = await rows(page);
  const by = (tool, state) => seen.find((row) => row.includes(tool) && row.includes(state));
  for (const row of [by("delete_note", "Approved"), by("rename_note", "Denied")]) {
    await checks.check("the history shows it as self-declared", row?.includes(`"${name}" (self-declared), logged in here`), seen);
  }
  await checks.check("… and shows no name if none was given", by("delete_note", "Denied")?.includes("somebody in a terminal"), seen);
  await items(page, "Approved").first().getByRole("link").first().click();
  await page.waitForURL(/\/item\//);
  const text = await page.locator("main").innerText();
  await checks.check("the item's own page does too", text.includes(`The approver gave the name "${name}" (self-declared, not verified).`), text);
  const verdicts = world.history().filter((item) => item.verdict.approver === name);
  await checks.equal("so does the terminal", verdicts.map((item) => item.verdict.approver_verified), [false, false]);

  // From the item's page, and with a form without a script.
  const plain = await world.context({ javaScriptEnabled: false });
  await plain.addCookies(await page.context().cookies());
  const still = await plain.newPage();
  checks.page = still;
  await still.goto(page.url());
  await give(still, "Ann");
  await still.waitForLoadState();
  await checks.equal("it can be changed without a script", await menu(still).innerText(), "Ann");
  await checks.equal("… and stays on its page", still.url(), page.url());
  await give(still, "");
  await checks.comes("… and it can be removed", async () => (await menu(still).innerText()) === "Your name");
}

/** On a phone the name fits the page. `--as` sets it. */
export async function namedOnAPhone(world, checks) {
  const agent = await world.agent({ flags: ["--timeout", "600"] });
  const { call } = await agent.ask("delete_note", { name: "ideas" });
  const options = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
  const long = "Bartholomäus Featherstonehaugh-Cholmondeley of the night shift";
  const page = await world.page(options, { flags: ["--as", long] });
  await items(page, "ideas").waitFor();
  await checks.equal("`approval-proxy inbox --as` sets the name", await menu(page).innerText(), long);
  const boxes = async () => {
    const all = page.locator("header nav a, #me summary, header .plain:visible, #approver");
    return all.evaluateAll((all) => all.map((one) => one.getBoundingClientRect()).map(({ left, right, top, bottom }) => ({ left, right, top, bottom })));
  };
  const shown = await boxes();
  await checks.check("the whole top of the page is in view", shown.every(({ left, right }) => left >= 0 && right <= 360), shown);
  const links = page.locator("header nav a");
  const history = await links.last().boundingBox();
  const name = await menu(page).boundingBox();
  await checks.check("… and the name covers no tab", name.x >= history.x + history.width, { history, name });
  await menu(page).tap();
  const form = await page.locator("#name-form").boundingBox();
  await checks.check("the field fits the screen", form.x >= 0 && form.x + form.width <= 360, form);
  await page.getByRole("button", { name: "Save" }).waitFor();
  const height = (await page.getByRole("button", { name: "Save" }).boundingBox()).height;
  await checks.check("… and its button is large enough for a finger", height >= 40, height);
  await field(page).fill("Ann");
  await page.getByRole("button", { name: "Save" }).tap();
  await checks.comes("a tap saves it", async () => (await menu(page).innerText()) === "Ann");
  await checks.comes("… and closes the field", async () => !(await field(page).isVisible()));
  await approve(items(page, "ideas"));
  await call;
  await checks.check("the verdict carries it", (await rows(page))[0].includes('"Ann" (self-declared)'), await rows(page));
}
