// Deciding by mouse.

import { pause } from "./checks.mjs";
import { approve, deny, isEmpty, isMarked, items, mark } from "./seen.mjs";

/** 1: a call appears by itself, and runs once after its approval. */
export async function approving(world, checks) {
  const agent = await world.agent({ name: "Ada’s agent" });
  const page = await world.page({}, { keepsInbox: true });
  await checks.check("the browser is logged in by the file that `approval-proxy inbox` opens", await isEmpty(page));
  await mark(page);
  const call = agent.call("delete_note", { name: "ideas" });
  const item = items(page, "ideas");
  await checks.comes("a call appears on an open page", () => item.isVisible(), undefined, 2000);
  await item.waitFor({ timeout: 12_000 });
  await checks.check("… without a reload", await isMarked(page));
  await checks.check("… with the name of the tool", await item.getByRole("heading", { name: "delete_note" }).isVisible());
  await checks.check("… and of the agent", (await item.innerText()).includes("Ada’s agent"), await item.innerText());
  await checks.check("it has not run", call.isOpen && world.noteNames().includes("ideas"));
  await approve(item);
  const got = await call;
  await checks.equal("the agent gets the tool's own result", got, { text: "Deleted the note `ideas`.", failed: false });
  await checks.check("it ran", !world.noteNames().includes("ideas"), world.noteNames());
  await checks.equal("the audit log says who decided", await agent.lastDecision(1), ["approved", true, "inbox", "inbox-session"]);
  await checks.comes("the page shows that nothing is waiting", async () => (await item.count()) === 0 && (await isEmpty(page)));
  await checks.check("… without a reload", await isMarked(page));
  await pause(300);
  await checks.check("… and keeps saying that it is approved", (await page.locator("main").innerText()).includes("Approved"), await page.locator("main").innerText());
}

/** 2: the agent gets the reason. */
export async function denying(world, checks) {
  const agent = await world.agent();
  const { call } = await agent.ask("delete_note", { name: "shopping" });
  const page = await world.page();
  const reason = "Not today: “the list” is needed <b>tomorrow</b> & later.";
  await deny(items(page, "shopping"), reason);
  const got = await call;
  await checks.check("the agent gets the reason", got.failed && got.text.includes(reason), got);
  await checks.check("nothing ran", world.noteNames().includes("shopping"));
  await checks.equal("the audit log says that it was denied", await agent.lastDecision(1), ["denied", false, "inbox", "inbox-session"]);
  await checks.comes("the page is empty again", () => isEmpty(page));
}

/** 3: an approval for some minutes covers the same call and no other. */
export async function forMinutes(world, checks) {
  const agent = await world.agent();
  const { call: first } = await agent.ask("delete_note", { name: "ideas" });
  const page = await world.page();
  await approve(items(page, "ideas"), { minutes: 5 });
  await checks.equal("the first call runs", (await first).text, "Deleted the note `ideas`.");
  const again = await agent.call("delete_note", { name: "ideas" });
  await checks.equal("the same call runs again without a question", again.text, "There is no note `ideas`.");
  const [decision, forwarded] = await agent.lastDecision(2);
  await checks.equal("… and the audit log says so", [decision, forwarded], ["approved", true]);
  await checks.comes("… and nothing is waiting", () => isEmpty(page));
  const other = agent.call("delete_note", { name: "welcome" });
  await checks.comes("another call is asked about", () => items(page, "welcome").isVisible());
  await checks.check("… and has not run", other.isOpen && world.noteNames().includes("welcome"));
  await deny(items(page, "welcome"));
  await other;
}
