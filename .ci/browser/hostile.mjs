// Texts of an agent and of a server that try to be more than text.

import { fileURLToPath } from "node:url";

import { approve, deny, isActive, isEmpty, items, leave, unfold } from "./seen.mjs";

const SERVER = [process.execPath, fileURLToPath(new URL("hostile_server.mjs", import.meta.url))];
const ARGUMENTS = {
  script: '<script>window.hacked = 4; alert(4)</script>',
  image: '<img src=x onerror="window.hacked = 5; alert(5)">',
  quotes: `"'\`></textarea></form><form action="https://evil.example/"><button>Approve</button>`,
  bidi: "invoice\u202Efdp.exe",
  unseen: "pay\u200Bpal\u2060\uFEFF",
  terminal: "\u001b[31mred\u001b[0m\u0007",
  entity: "&lt;script&gt;alert(6)&lt;/script&gt;",
  'key"><script>alert(7)</script>': "{{7*7}} ${7*7}",
  nested: [{ "<svg onload=alert(8)>": ["</script><script>alert(8)</script>"] }],
};

/** Returns what must not be on the page: foreign elements and invisible characters. */
const intruders = (page) =>
  page.evaluate(() => {
    const markup = "script:not([src^='/assets/']), style, iframe, object, svg, base, img:not([src^='/assets/']), ";
    const found = [...document.querySelectorAll(`${markup}[onerror], [onload], meta[http-equiv], a[href^='javascript']`)];
    const forms = [...document.forms].filter((form) => new URL(form.action).origin !== location.origin);
    const raw = document.documentElement.textContent.match(/[\u202a-\u202e\u2066-\u2069\u200b\u2060\ufeff\u001b\u0007]/gu);
    return [...[...found, ...forms].map((element) => element.outerHTML.slice(0, 80)), ...(raw ?? []).map(escape)];
  });

async function isUnharmed(world, checks, page, where) {
  await checks.equal(`${where}: no foreign markup, no invisible character`, await intruders(page), []);
  const hacked = await page.evaluate(() => window.hacked);
  await checks.check(`${where}: no foreign script ran`, hacked === undefined, hacked);
  await checks.equal(`${where}: no dialog, no violation of the policy, no error`, world.alarms, []);
}

/** 4: everything is shown as text, in full, with nothing invisible. */
export async function hostileTexts(world, checks) {
  const name = '<img src=x onerror="alert(9)">';
  const agent = await world.agent({ command: SERVER, server: "<b>notes</b>", name });
  const { call } = await agent.ask("delete_all", ARGUMENTS);
  const page = await world.page();
  const item = items(page);
  await item.locator("details").filter({ hasText: "<style>" }).locator("summary").click();
  const text = await item.innerText();
  for (const part of [ARGUMENTS.script, ARGUMENTS.image, ARGUMENTS.entity, "<style>body", "<b>notes</b>", name]) {
    const readable = part.replaceAll('"', '\\"');
    await checks.check(`the list shows ${part} as text`, text.includes(part) || text.includes(readable), text);
  }
  await checks.check("a bidirectional override is written out", text.includes("invoice\\u{202e}fdp.exe"), text);
  await checks.check("zero-width characters are written out", text.includes("pay\\u{200b}pal\\u{2060}\\u{feff}"), text);
  await checks.check("control characters are written out", text.includes("\\u{1b}[31mred") && text.includes("\\u{7}"), text);
  await isUnharmed(world, checks, page, "the list");
  await item.getByRole("heading").getByRole("link").click();
  await page.waitForURL(/\/item\//);
  await checks.check("the item's page shows it as text", (await page.locator("main").innerText()).includes(ARGUMENTS.script));
  await isUnharmed(world, checks, page, "the item's page");
  const reason = '<script>alert(10)</script>"\'><img src=x onerror=alert(10)>';
  await deny(page.getByRole("main"), reason);
  const got = await call;
  await checks.check("the agent gets the reason as it was typed", got.failed && got.text.includes(JSON.stringify(reason)), got);
  await page.getByRole("link", { name: "History" }).click();
  await page.waitForURL(/\/history/);
  await checks.check("the history shows the reason as text", (await page.locator("main").innerText()).includes(reason));
  await isUnharmed(world, checks, page, "the history");
}

/** 4: long texts are folded, and can be read to the end. */
export async function longTexts(world, checks) {
  const agent = await world.agent({ command: SERVER, server: "notes" });
  const input = { name: "middling", text: `${"words and words, ".repeat(400)}<b>THE LAST WORD</b>` };
  const { call: first } = await agent.ask("delete_all", input);
  const page = await world.page();
  const middling = items(page, "middling");
  const fold = middling.locator("details").filter({ hasText: "THE LAST WORD" });
  const whole = fold.locator(".body");
  await checks.check("a text of 7 kB is folded", (await fold.getAttribute("open")) === null && !(await whole.isVisible()));
  const ends = await fold.innerText();
  await checks.check("… with both its ends", ends.includes('"words and words') && ends.includes("THE LAST WORD</b>\""), ends);
  await fold.locator("summary").click();
  await checks.comes("… and unfolds to its end", async () => (await whole.innerText()).endsWith("THE LAST WORD</b>"));
  await approve(middling);
  await checks.check("… and the call runs", (await first).text.startsWith("ran with"), await first);

  const size = 1024 * 1024;
  const huge = `${"0123456789abcde\n".repeat(size / 16)}<script>alert(11)</script>THE LAST WORD`;
  const second = agent.call("delete_all", { name: "huge", text: huge });
  const item = items(page, "delete_all");
  await checks.comes("a call of 1 MiB appears", () => item.isVisible());
  const canApprove = await item.getByRole("button", { name: "Approve" }).count();
  await checks.check("… and cannot be approved unread on the list", canApprove === 0);
  await item.getByRole("link", { name: /Open it/ }).click();
  await page.waitForURL(/\/item\//);
  const box = page.getByRole("article").locator("details").filter({ hasText: "THE LAST WORD" });
  await checks.check("on its own page it is folded", (await box.getAttribute("open")) === null);
  const approveIt = page.getByRole("button", { name: "Approve" });
  await leave(page);
  await checks.check("… and cannot be approved before it is unfolded", !(await isActive(approveIt)));
  await unfold(page.getByRole("article"));
  const shown = await box.locator(".body").textContent();
  const isWhole = shown.includes("<script>alert(11)</script>THE LAST WORD") && shown.length > size;
  await checks.check("… and unfolds in full", isWhole, `${shown.length} characters`);
  await isUnharmed(world, checks, page, "a huge item");
  await approve(page.getByRole("article"));
  const got = await second;
  const sent = JSON.stringify({ name: "huge", text: huge }).length;
  await checks.equal("… and runs unchanged", got.text, `ran with ${sent}`);
  await page.goto(new URL("/", page.url()).href);
  await checks.comes("nothing is waiting any more", () => isEmpty(page));
}
