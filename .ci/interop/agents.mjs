// The TypeScript clients with `approval-proxy mcp`. `agents.py` starts it with one argument, a JSON object: the
// generation of the client, the folder of the packages, the server's command and its URL, and the state folder.

import { begin, check, decide, equal, MODES, plan, sdk, text } from "./driver.mjs";

async function use(how, transport, { era, mode }) {
  begin(`${how}: `);
  const options = plan.generation === 1 ? {} : { versionNegotiation: { mode } };
  const client = new sdk.Client({ name: "interop", version: "1" }, options);
  await client.connect(transport);
  if (plan.generation === 2) equal("the revision", client.getNegotiatedProtocolVersion(), era);
  const names = (await client.listTools()).tools.map((tool) => tool.name);
  equal("the tools", names, ["request_approval", "check_approval", "cancel_approval"]);
  for (const [verdict, status] of [["approve", "approved"], ["deny", "denied"]]) {
    const mark = `${how}: ${verdict}`;
    const asked = sdk.call(client, "request_approval", { action: mark, wait_seconds: 30 });
    const [found] = await Promise.all([asked, decide(plan.state, mark, verdict)]);
    equal(verdict, found.structuredContent?.status, status);
    equal("the text says the same", JSON.parse(text(found)), found.structuredContent);
  }
  const later = await sdk.call(client, "request_approval", { action: "later", wait_seconds: 0 });
  equal("without waiting it is pending", later.structuredContent?.status, "pending");
  const { approval_id } = later.structuredContent;
  const cancelled = await sdk.call(client, "cancel_approval", { approval_id });
  equal("it can be withdrawn", cancelled.structuredContent?.status, "cancelled");
  const wrong = await sdk.call(client, "request_approval", { action: "x", recipients: ["me@evil.example"] });
  check("an unknown recipient is an error", wrong.isError === true && text(wrong).includes("recipients"), wrong);
  await client.close();
}

const { proxy: command, args } = plan;
const requestInit = { headers: { Authorization: `Bearer ${plan.token}` } };
for (const [name, way] of Object.entries(MODES)) {
  if (plan.generation === 1 && name !== "legacy") continue;
  const process = new sdk.StdioClientTransport({ command, args, stderr: "inherit" });
  await use(`stdio, ${name}`, process, way);
  await use(`http, ${name}`, new sdk.StreamableHTTPClientTransport(new URL(plan.url), { requestInit }), way);
}
