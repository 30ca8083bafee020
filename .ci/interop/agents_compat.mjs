// The TypeScript clients with `approval-proxy mcp --compat`. `agents_compat.py` starts it with one argument, a JSON
// object: the generation of the client, the folder of the packages, and for each product the server's arguments and its
// state folder.

import { createHmac, timingSafeEqual } from "node:crypto";
import { begin, check, decide, equal, MODES, plan, sdk, text } from "./driver.mjs";

const { sesame, looppause } = plan.products;

async function connected(product, how, { era, mode }) {
  begin(`${how}: `);
  const options = plan.generation === 1 ? {} : { versionNegotiation: { mode } };
  const client = new sdk.Client({ name: "interop", version: "1" }, options);
  const { proxy: command } = plan;
  const env = { ...process.env, LOOPPAUSE_SIGNING_SECRET: plan.secret };
  await client.connect(new sdk.StdioClientTransport({ command, args: product.args, env, stderr: "inherit" }));
  if (plan.generation === 2) equal("the revision", client.getNegotiatedProtocolVersion(), era);
  return client;
}

const names = async (client) => (await client.listTools()).tools.map((tool) => tool.name);

async function useSesame(how, way) {
  const client = await connected(sesame, how, way);
  equal("the tool", await names(client), ["request_approval"]);
  for (const [verdict, status] of [["approve", "approved"], ["deny", "denied"]]) {
    const mark = `${how}: ${verdict}`;
    const asked = sdk.call(client, "request_approval", { action: mark, summary: "s" });
    const [{ structuredContent: found }] = await Promise.all([asked, decide(sesame.state, mark, verdict)]);
    equal(verdict, found, { approval_id: found?.approval_id, status, decided: true });
  }
  await client.close();
}

/** How receivers of LoopPause's decisions check them: the members of the response, sorted, without the signature. */
function verifies({ signature, ...unsigned }) {
  const sorted = JSON.stringify(Object.fromEntries(Object.entries(unsigned).sort()));
  const expected = Buffer.from(`sha256=${createHmac("sha256", plan.secret).update(sorted).digest("hex")}`);
  const found = Buffer.from(String(signature));
  return expected.length === found.length && timingSafeEqual(expected, found);
}

async function useLoopPause(how, way) {
  const client = await connected(looppause, how, way);
  equal("the tools", await names(client), ["request_approval", "check_approval"]);
  for (const [verdict, decision] of [["approve", "approved"], ["deny", "rejected"]]) {
    const mark = `${how}: ${verdict}`;
    const request = { action_description: mark, action_details: plan.details, recipient_email: plan.recipient };
    const { structuredContent: asked } = await sdk.call(client, "request_approval", request);
    equal(`${verdict}: it returns at once`, asked?.status, "pending");
    const look = async () => (await sdk.call(client, "check_approval", { pause_id: asked.pause_id })).structuredContent;
    equal(`${verdict}: pending`, await look(), { status: "pending" });
    await decide(looppause.state, mark, verdict);
    let answer = await look();
    for (let tries = 0; answer.status === "pending" && tries < 400; tries += 1) {
      await new Promise((done) => setTimeout(done, 20));
      answer = await look();
    }
    equal(verdict, [answer.status, answer.response?.decision], ["responded", decision]);
    check(`${verdict}: the signature verifies`, verifies(answer.response ?? {}), answer);
    const altered = { ...answer.response, decision: decision === "approved" ? "rejected" : "approved" };
    check(`${verdict}: an altered decision does not`, !verifies(altered));
  }
  const request = { action_description: "x", action_details: {} };
  const wrong = await sdk.call(client, "request_approval", request);
  check("without a recipient it is an error", wrong.isError === true && text(wrong).includes("recipient"), wrong);
  await client.close();
}

for (const [name, way] of Object.entries(MODES)) {
  if (plan.generation === 1 && name !== "legacy") continue;
  await useSesame(`sesame, generation ${plan.generation}, ${name}`, way);
  await useLoopPause(`looppause, generation ${plan.generation}, ${name}`, way);
}
