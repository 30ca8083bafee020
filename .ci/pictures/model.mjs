// A model that makes one tool call and then says that it is done. Speaks the streams of Anthropic's Messages API and of
// OpenAI's Responses API, as their documentation describes them, as far as Claude Code and Codex need them.

import { once } from "node:events";
import { createServer } from "node:http";

/** Starts the model. It calls the tool whose name ends in `tool` with `input`. Returns its address and how to end it. */
export async function startModel(tool, input) {
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    if (request.method !== "POST") return response.writeHead(404).end();
    const body = JSON.parse(Buffer.concat(chunks).toString() || "{}");
    if (request.url.includes("/count_tokens")) return response.end(JSON.stringify({ input_tokens: 1 }));
    const events = request.url.includes("/responses") ? openAi(body, tool, input) : anthropic(body, tool, input);
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const event of events) response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
    response.end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${server.address().port}`, end: () => server.closeAllConnections() || server.close() };
}

/** Streams a message. */
function anthropic({ tools = [], messages = [], model }, tool, input) {
  const name = tools.map(({ name }) => name).find((name) => name.endsWith(tool));
  const hasRun = JSON.stringify(messages).includes("tool_result");
  const calls = name !== undefined && !hasRun;
  const block = calls ? { type: "tool_use", id: "toolu_1", name, input: {} } : { type: "text", text: "" };
  const delta = calls ? { type: "input_json_delta", partial_json: JSON.stringify(input) } : { type: "text_delta", text: "Done." };
  const message = { id: "msg_1", type: "message", role: "assistant", model, content: [], stop_reason: null, stop_sequence: null };
  const usage = { input_tokens: 1, output_tokens: 1 };
  return [
    { type: "message_start", message: { ...message, usage } },
    { type: "content_block_start", index: 0, content_block: block },
    { type: "content_block_delta", index: 0, delta },
    { type: "content_block_stop", index: 0 },
    { type: "message_delta", delta: { stop_reason: calls ? "tool_use" : "end_turn", stop_sequence: null }, usage },
    { type: "message_stop" },
  ];
}

/** Streams a response. */
function openAi({ tools = [], input: items = [] }, tool, input) {
  const spaces = tools.flatMap((one) => (one.type === "namespace" ? one.tools.map(({ name }) => [one.name, name]) : [[undefined, one.name]]));
  const found = spaces.find(([, name]) => name?.endsWith(tool));
  const calls = found !== undefined && !items.some(({ type }) => type === "function_call_output");
  const [namespace, name] = found ?? [];
  const item = calls
    ? { type: "function_call", id: "fc_1", call_id: "call_1", namespace, name, arguments: JSON.stringify(input) }
    : { type: "message", id: "msg_1", role: "assistant", content: [{ type: "output_text", text: "Done." }] };
  const usage = { input_tokens: 1, input_tokens_details: null, output_tokens: 1, output_tokens_details: null, total_tokens: 2 };
  return [
    { type: "response.created", response: { id: "resp_1" } },
    { type: "response.output_item.done", output_index: 0, item },
    { type: "response.completed", response: { id: "resp_1", usage } },
  ];
}
