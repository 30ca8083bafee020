// A question in Slack: what stands in for Slack, and how Slack shows the messages.
//
// Written from https://docs.slack.dev/apis/events-api/using-socket-mode and https://docs.slack.dev/reference/block-kit/.
// It draws only what the proxy's messages have, and throws at other blocks.

import { MONO, SANS, escaped, play, serve, shoot, until } from "./chat.mjs";

const CHANNEL = "C024BE7LR";
const OLGA = "U024BE7LH";
const NAMES = { [OLGA]: "Olga" };

class Slack {
  static async start(WebSocketServer) {
    const slack = new Slack();
    Object.assign(slack, await serve((method, body) => slack.answer(method, body)));
    slack.sockets = new WebSocketServer({ server: slack.server, path: "/link" });
    slack.sockets.on("connection", (socket) => {
      slack.socket = socket;
      socket.send(JSON.stringify({ type: "hello", num_connections: 1, connection_info: { app_id: "A1" } }));
    });
    return slack;
  }

  answer(method, body) {
    if (method === "apps.connections.open") return { ok: true, url: `ws://${this.address}/link` };
    if (method === "chat.postMessage") this.question = body;
    if (method === "views.open") this.view = body.view;
    if (method === "chat.update") this.end = body;
    return { ok: true, channel: CHANNEL, ts: "1790000000.000001" };
  }

  /** Sends what somebody does. */
  deliver(payload) {
    const envelope = { envelope_id: payload.type, type: "interactive", accepts_response_payload: false };
    this.socket.send(JSON.stringify({ ...envelope, payload: { ...payload, user: { id: OLGA } } }));
  }

  /** Denies the call, with a reason. */
  async deny(reason) {
    await until(() => this.question && this.socket, "the engine does not ask");
    const { elements } = this.question.blocks.find(({ type }) => type === "actions");
    const action = elements.find(({ text }) => text.text === "Deny");
    this.deliver({ type: "block_actions", channel: { id: CHANNEL }, trigger_id: "1.2.3", actions: [action] });
    const view = await until(() => this.view, "Deny opens no field");
    const input = view.blocks.find(({ type }) => type === "input");
    const values = { [input.block_id]: { [input.element.action_id]: { type: "plain_text_input", value: reason } } };
    this.deliver({ type: "view_submission", view: { ...view, state: { values } } });
    await until(() => this.end, "the message stays as it was");
  }

  close() {
    this.sockets.close();
    this.server.closeAllConnections();
    this.server.close();
  }
}

const STYLE = `
  .window { background: #fff; border: 1px solid #d5d5d8; border-radius: 10px; padding: 14px 18px 18px; }
  .place { font-weight: bold; padding-bottom: 10px; margin-bottom: 14px; border-bottom: 1px solid #e4e4e7; }
  .message { display: grid; grid-template-columns: 42px 1fr; column-gap: 12px; }
  .avatar { width: 42px; height: 42px; border-radius: 8px; background: #35608f; color: #fff; font: bold 20px/42px ${SANS}; text-align: center; }
  .app { font: bold 11px/16px ${SANS}; color: #5c5d61; background: #e6e6e8; border-radius: 3px; padding: 1px 4px; vertical-align: 1px; }
  .time { color: #66676b; font-size: 14px; }
  .block { margin-top: 8px; overflow-wrap: anywhere; }
  .context { color: #66676b; font-size: 14px; }
  code { font: 15px ${MONO}; color: #bd1f4c; background: #f6f6f7; border: 1px solid #dfdfe2; border-radius: 4px; padding: 1px 4px; }
  pre { font: 14px/20px ${MONO}; margin: 4px 0; padding: 8px; background: #f6f6f7; border: 1px solid #dfdfe2; border-radius: 4px; white-space: pre-wrap; }
  .mention { color: #175c95; background: #e2eef8; border-radius: 3px; padding: 0 3px; }
  .button { display: inline-block; margin: 4px 10px 0 0; padding: 6px 14px; border: 1px solid #b9babd; border-radius: 5px; font-weight: bold; }
  .primary { background: #137a5a; border-color: #137a5a; color: #fff; }
  .danger { background: #d3204f; border-color: #d3204f; color: #fff; }
`;

/** Draws a text's bold words, code and mentions. `&`, `<` and `>` stand in it as entities already. */
function mrkdwn(text) {
  const parts = text.split(/(```\n[^]*?\n```|`[^`\n]+`|<[^>]*>)/);
  return parts.map((part) => {
    if (part.startsWith("```")) return `<pre>${part.slice(4, -4)}</pre>`;
    if (part.startsWith("`")) return `<code>${part.slice(1, -1)}</code>`;
    if (part.startsWith("<")) return mention(part);
    return part.replace(/\*([^*\n]+)\*/g, "<b>$1</b>").replaceAll("\n", "<br>");
  }).join("");
}

function mention(text) {
  const name = NAMES[text.slice("<@".length, -1)];
  if (!name) throw new Error(`cannot draw ${text}`);
  return `<span class="mention">@${name}</span>`;
}

function drawn(block) {
  switch (block.type) {
    case "section":
      return `<div class="block">${mrkdwn(block.text.text)}</div>`;
    case "context":
      return `<div class="block context">${block.elements.map(({ text }) => mrkdwn(text)).join(" ")}</div>`;
    case "actions": {
      const button = ({ text, style = "" }) => `<span class="button ${style}">${escaped(text.text)}</span>`;
      return `<div class="block">${block.elements.map(button).join("")}</div>`;
    }
    default:
      throw new Error(`cannot draw a block of type ${block.type}`);
  }
}

function message({ blocks }) {
  const head = '<b>approval-proxy</b> <span class="app">APP</span> <span class="time">10:42</span>';
  return `<div class="message"><div class="avatar">A</div><div>${head}${blocks.map(drawn).join("")}</div></div>`;
}

/** Takes the picture of a question and of what it becomes. */
export async function slack({ browser, proxy, WebSocketServer, path }) {
  const service = await Slack.start(WebSocketServer);
  try {
    const tokens = { botToken: "xoxb-1", appToken: "xapp-1", apiUrl: `http://${service.address}/api/` };
    const engine = { type: "slack", ...tokens, channel: CHANNEL, approvers: [OLGA] };
    const told = await play(proxy, engine, () => service.deny("Export it first."));
    if (!told.failed) throw new Error("the call has run");
    const question = `<div class="window"><div class="place"># approvals</div>${message(service.question)}</div>`;
    const end = `<div class="window">${message(service.end)}</div>`;
    await shoot(browser, path, STYLE, `${question}<p>The same message, after Olga has clicked Deny:</p>${end}`);
  } finally {
    service.close();
  }
}
