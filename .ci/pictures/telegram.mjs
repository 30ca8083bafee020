// A question in Telegram: what stands in for the Bot API, and how Telegram shows the messages.
//
// Written from https://core.telegram.org/bots/api. It draws only what the proxy's messages have, and throws at other
// tags.

import { MONO, SANS, escaped, play, serve, shoot, until } from "./chat.mjs";

const CHAT = { id: -1001234567890, title: "Approvals", type: "supergroup" };
const OLGA = { id: 77310045, is_bot: false, first_name: "Olga", username: "olga" };

class Telegram {
  static async start() {
    const telegram = new Telegram();
    telegram.updates = [];
    Object.assign(telegram, await serve((method, body) => telegram.answer(method, body)));
    return telegram;
  }

  async answer(method, body) {
    if (method === "getUpdates") return { ok: true, result: await this.poll(body) };
    if (method === "sendMessage") this.question = body;
    if (method === "editMessageText") this.end = body;
    return { ok: true, result: { message_id: 101, date: 0, chat: CHAT, text: body.text ?? "" } };
  }

  async poll({ offset = 0, timeout = 0 }) {
    for (const end = Date.now() + timeout * 1000; ; ) {
      const waiting = this.updates.filter((update) => update.update_id >= offset);
      if (waiting.length > 0 || this.isClosed || Date.now() > end) return waiting;
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  /** Approves the call. */
  async approve() {
    await until(() => this.question, "the engine does not ask");
    const button = this.question.reply_markup.inline_keyboard.flat().find(({ text }) => text.includes("Approve"));
    const message = { message_id: 101, date: 0, chat: CHAT };
    const query = { id: "1", from: OLGA, message, chat_instance: "1", data: button.callback_data };
    this.updates.push({ update_id: 1, callback_query: query });
    await until(() => this.end, "the message stays as it was");
  }

  close() {
    this.isClosed = true;
    this.server.closeAllConnections();
    this.server.close();
  }
}

const STYLE = `
  .window { background: #cfdfe6; border: 1px solid #b9cbd3; border-radius: 10px; overflow: hidden; }
  .place { background: #fff; padding: 10px 18px; border-bottom: 1px solid #b9cbd3; }
  .place small { color: #6c7780; font-size: 14px; }
  .message { display: grid; grid-template-columns: 36px 1fr; column-gap: 8px; align-items: end; padding: 12px 8px; }
  .avatar { width: 36px; height: 36px; border-radius: 50%; background: #3c83b0; color: #fff; font: bold 17px/36px ${SANS}; text-align: center; }
  .bubble { background: #fff; border-radius: 14px 14px 14px 4px; padding: 8px 12px; overflow-wrap: anywhere; }
  .name { color: #2b72a0; font-weight: bold; }
  .time { color: #7c8891; font-size: 13px; text-align: right; }
  .row { grid-column: 2; display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 4px; margin-top: 4px; }
  .button { background: #6f909f; color: #fff; border-radius: 8px; padding: 9px; text-align: center; font-weight: bold; }
  code { font: 15px ${MONO}; color: #1f6a96; }
  pre { font: 14px/20px ${MONO}; margin: 4px 0; padding: 6px 10px; background: #edf4f8; border-left: 3px solid #3c83b0; border-radius: 4px; white-space: pre-wrap; }
  svg { width: 19px; height: 19px; vertical-align: -3px; }
`;

// A machine without an emoji font draws them too.
const EMOJI = {
  "\u2705": '<rect width="20" height="20" rx="4" fill="#2e9e4f"/><path d="M5 10.5l3.5 3.5L15 6.5" fill="none" stroke="#fff" stroke-width="2.6"/>',
  "\u274c": '<path d="M3 3l14 14M17 3L3 17" fill="none" stroke="#d8342b" stroke-width="4"/>',
};

function emoji(html) {
  return html.replace(/\p{Emoji_Presentation}/gu, (letter) => {
    if (!(letter in EMOJI)) throw new Error(`cannot draw ${letter}`);
    return `<svg viewBox="0 0 20 20">${EMOJI[letter]}</svg>`;
  });
}

/** Draws a text in Telegram's HTML style, where a line break is a line break. */
function text(html) {
  const strange = html.match(/<(?!\/?(?:code|pre)>)[^>]*>?/);
  if (strange) throw new Error(`cannot draw ${strange[0]}`);
  return emoji(html.replaceAll("\n", "<br>").replace(/<pre>[^]*?<\/pre>/g, (block) => block.replaceAll("<br>", "\n")));
}

function message({ text: html, reply_markup: markup }, time) {
  const button = ({ text }) => `<div class="button">${emoji(escaped(text))}</div>`;
  const rows = markup.inline_keyboard.map((row) => `<div class="row">${row.map(button).join("")}</div>`);
  const bubble = `<div class="bubble"><div class="name">approval-proxy</div>${text(html)}<div class="time">${time}</div></div>`;
  return `<div class="message"><div class="avatar">A</div>${bubble}${rows.join("")}</div>`;
}

/** Takes the picture of a question and of what it becomes. */
export async function telegram({ browser, proxy, path }) {
  const service = await Telegram.start();
  try {
    const token = "7000000001:AAFakeSecret-of_the_bot_0123456789abcd";
    const options = { botToken: token, chatId: CHAT.id, approvers: [OLGA.id] };
    const engine = { type: "telegram", ...options, apiUrl: `http://${service.address}` };
    const told = await play(proxy, engine, () => service.approve());
    if (told.failed) throw new Error("the call has not run");
    const place = `<div class="place"><b>${CHAT.title}</b><br><small>group, 3 members</small></div>`;
    const question = `<div class="window">${place}${message(service.question, "10:42")}</div>`;
    const end = `<div class="window">${message(service.end, "edited 10:42")}</div>`;
    await shoot(browser, path, STYLE, `${question}<p>The same message, after Olga has tapped Approve:</p>${end}`);
  } finally {
    service.close();
  }
}
