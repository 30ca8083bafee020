// Notifications for people who look elsewhere, and clients that open the page.

import { until } from "./checks.mjs";
import { approve, deny, isEmpty, items } from "./seen.mjs";

/** Notifications: enabled by a button, shown only while nobody looks at the page, without arguments. */
export async function notifications(world, checks) {
  const context = await world.context();
  // The browser's own class, which records what it shows.
  await context.addInitScript(() => {
    window.shown = [];
    window.Notification = class extends window.Notification {
      constructor(title, options) {
        super(title, options);
        const note = { title, body: options.body, text: JSON.stringify(options), isShown: false };
        window.shown.push(note);
        this.addEventListener("show", () => (note.isShown = true));
      }
    };
  });
  const agent = await world.agent();
  const first = agent.call("delete_note", { name: "ideas" });
  await agent.isAsking();
  const page = await world.page({}, { context });
  await items(page, "ideas").waitFor();
  const permission = () => page.evaluate(() => Notification.permission);
  const bell = page.locator("#notify");
  await checks.check("the page does not ask for permission by itself", (await permission()) !== "granted" && (await page.evaluate(() => window.shown.length)) === 0);
  if ((await permission()) === "default") {
    await checks.check("a button asks for permission", await bell.isVisible());
    await context.grantPermissions(["notifications"]);
    await bell.click();
    await checks.comes("the button disappears once notifications are allowed", async () => !(await bell.isVisible()));
  } else {
    await context.grantPermissions(["notifications"]);
    await page.reload();
    await items(page, "ideas").waitFor();
  }
  await checks.equal("notifications are allowed", await permission(), "granted");

  const second = agent.call("delete_note", { name: "shopping" });
  await items(page, "shopping").waitFor();
  await checks.equal("nobody who looks at the page is notified", await page.evaluate(() => window.shown), []);

  // Look at another tab.
  const devtools = await context.newCDPSession(page);
  await devtools.send("Emulation.setFocusEmulationEnabled", { enabled: false });
  const elsewhere = await context.newPage();
  await elsewhere.goto("about:blank");
  await elsewhere.bringToFront();
  await checks.comes("the page has lost the focus", () => page.evaluate(() => !document.hasFocus()));
  const third = agent.call("delete_note", { name: "welcome" });
  const shown = () => page.evaluate(() => window.shown);
  await checks.comes("somebody who looks elsewhere is notified", async () => (await shown()).length === 1, shown);
  const [note = {}] = await shown();
  await checks.equal("the notification has the number and the tool", [note.title, note.body], ["3 calls need your approval", '"delete_note"']);
  await checks.check("… and no arguments", !`${note.text}`.includes("welcome"), note);
  await checks.comes("the browser shows it", async () => (await shown())[0]?.isShown, shown);

  await page.bringToFront();
  for (const text of ["ideas", "shopping", "welcome"]) await deny(items(page, text));
  await Promise.all([first, second, third]);
  await checks.comes("the page is empty again", () => isEmpty(page));
}

/** A 2026-07-28 client opens URLs for its user: only the page decides. */
export async function sentToThePage(world, checks) {
  const agent = await world.agent();
  const call = await agent.stateless("delete_note", { name: "ideas" });
  const { url } = call.question;
  const context = await world.context();
  const early = await context.newPage();
  await early.goto(url);
  await checks.check("a browser that is not logged in is told how to log in", await early.getByText("approval-proxy inbox").isVisible());
  await world.page({}, { context });
  await checks.comes("… and shows the call once it is logged in", async () => (await early.innerText("main")).includes("ideas"));
  await checks.check("the client is sent to a page on this machine", /^http:\/\/127\.0\.0\.1:\d+\/item\/[0-9a-f]{32}$/.test(url), url);

  const stranger = await (await world.context()).newPage();
  await stranger.goto(url);
  await checks.check("without a login the page shows nothing of the call", !(await stranger.innerText("body")).includes("delete_note"), await stranger.innerText("body"));

  // The browser in which the user is logged in.
  const opened = await context.newPage();
  world.checks.page = opened;
  await opened.goto(url);
  await checks.check("its user sees the call", (await opened.innerText("main")).includes("ideas"), await opened.innerText("main"));
  const again = call.retry({ action: "accept", content: { approved: true } });
  await checks.check("opening the page approves nothing", !(await until(() => !again.isOpen, 300)) && world.noteNames().includes("ideas"));
  await approve(opened.getByRole("article"));
  await checks.equal("the retry gets the tool's own result", await again, { text: "Deleted the note `ideas`.", failed: false });
  await checks.check("it ran", !world.noteNames().includes("ideas"), world.noteNames());
  await checks.equal("the audit log says who decided", await agent.lastDecision(1), ["approved", true, "inbox", "inbox-session"]);

  const late = await agent.stateless("delete_note", { name: "shopping" });
  await opened.goto(late.question.url);
  await deny(opened.getByRole("article"), "It is needed.");
  const refused = await late.retry({ action: "accept" });
  await checks.check("a decision before the client comes back reaches it", refused.failed && refused.text.includes("It is needed."), refused);
}
