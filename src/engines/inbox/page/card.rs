//! Renders one item: as a card in the list, and on its own page.

use super::answers;
use super::approver;
use super::call::{self, Folding, HeadingLevel, NAME_LIMIT};
use super::decide::MINUTES;
use super::form::Form;
use super::html::Html;
use super::time::{ago, left, moment};
use crate::approval::form::BadAnswer;
use crate::approval::item::{Assurance, Choice, Verdict};
use crate::approval::request::QuestionKind;
use crate::engines::inbox::store::{AS_IN_THE_LOG, Closed, DISREGARDED, Entry, State};
use crate::policy::Risk;
use crate::sys::time::span;

/// The longest call, in bytes, that the list shows. A longer one is shown and decided on its own page.
pub(super) const MAX_LISTED: usize = 16 * 1024;
/// The longest description that is not folded, in characters.
const UNFOLDED: usize = 280;
/// How much of a folded description is shown, both ends together, in characters.
const PREVIEW: usize = 140;
/// How much of a client's name is shown, in characters.
const CLIENT_LIMIT: usize = 60;
/// How much of a title is shown, in characters.
const TITLE_LIMIT: usize = 80;

/// The message above an item about the form that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// The verdict counts.
    Done(Choice),
    /// Another verdict was first, or the item had expired.
    TooLate,
    /// The form showed something else than the item.
    Changed,
    /// The passphrase is wrong.
    WrongPassphrase,
    /// The passphrase was wrong too often.
    TooManyPassphrases,
    /// The result of several verdicts: how many count, and how many came too late.
    Several {
        choice: Choice,
        done: usize,
        late: usize,
    },
}

/// What a person typed into a form that was refused.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Typed<'a> {
    pub(super) reason: &'a str,
    pub(super) minutes: &'a str,
    /// The whole form.
    pub(super) sent: Option<&'a Form>,
    /// Why its answers were not taken.
    pub(super) problem: Option<&'a BadAnswer>,
}

/// Values that all cards of a page share.
#[derive(Debug, Clone, Copy)]
pub(super) struct CardContext<'a> {
    pub(super) csrf: &'a str,
    pub(super) needs_passphrase: bool,
    pub(super) now_ms: i64,
}

/// How the list shows an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CardKind {
    /// As a whole card.
    Whole,
    /// As a row that opens to a whole card.
    Row,
}

/// Appends an item as a card of the list.
pub(super) fn card(entry: &Entry, context: CardContext<'_>, kind: CardKind, html: &mut Html) {
    let item = &entry.item;
    html.raw(match kind {
        CardKind::Whole => "<li><article class=\"card ",
        CardKind::Row => "<li><article class=\"card compact ",
    });
    html.raw(risk_class(item.risk));
    html.raw("\" tabindex=\"-1\" id=\"item-").value(&item.id);
    html.raw("\" data-state=\"").raw(entry.state.as_str());
    // The card differs from before, so the page must replace it.
    html.raw(if entry.was_disregarded {
        " disregarded"
    } else {
        ""
    });
    html.raw("\" aria-labelledby=\"tool-")
        .value(&item.id)
        .raw("\">");
    pick(entry, html);
    if kind == CardKind::Row {
        html.raw("<details class=\"whole\"><summary><span class=\"line-of\">");
        row_of(entry, context.now_ms, html);
        html.raw("</span></summary>");
    }
    top(entry, context.now_ms, html);
    remarks(entry, html);
    html.raw("<h2 id=\"tool-")
        .value(&item.id)
        .raw("\"><a href=\"/item/")
        .value(&item.id);
    html.raw("\">");
    name(&item.tool, NAME_LIMIT, html);
    html.raw("</a></h2>");
    if item.call.len() > MAX_LISTED {
        html.raw("<p class=\"large\">This call has ")
            .text(&call::size(item.call.len()));
        html.raw(" of parameters. <a class=\"button\" href=\"/item/")
            .value(&item.id);
        html.raw("\">Open it to read and decide</a></p>");
        about(entry, html);
    } else {
        call::show(
            &item.call,
            &item.tool,
            HeadingLevel::H2,
            Folding::Long,
            html,
        );
        about(entry, html);
        actions(entry, context, &Typed::default(), "list", html);
    }
    html.raw(match kind {
        CardKind::Whole => "</article></li>",
        CardKind::Row => "</details></article></li>",
    });
}

/// Appends the checkbox that selects an item for a decision about several.
fn pick(entry: &Entry, html: &mut Html) {
    let item = &entry.item;
    html.raw("<label class=\"pick\"><input type=\"checkbox\" form=\"batch\" name=\"pick-")
        .value(&item.id);
    html.raw("\" value=\"").value(&item.fingerprint());
    html.raw("\"><span class=\"unread\">Select this call of ");
    name(&item.tool, NAME_LIMIT, html);
    html.raw("</span></label>");
}

/// Appends the summary of an item in a row: enough to recognize it, not enough to decide.
fn row_of(entry: &Entry, now_ms: i64, html: &mut Html) {
    let item = &entry.item;
    risk(item.risk, html);
    if entry.state != State::Waiting {
        state(entry.state, html);
    }
    html.raw("<span class=\"tool\">");
    name(&item.tool, NAME_LIMIT, html);
    html.raw("</span><span class=\"begin\">");
    call::preview(&item.call, html);
    html.raw("</span><span class=\"who\">");
    name(&item.server, NAME_LIMIT, html);
    html.raw("</span>");
    if let (State::Waiting, Some(until)) = (entry.state, item.expires_ms) {
        html.raw("<span class=\"left\">");
        left(until, now_ms, html);
        html.raw("</span>");
    }
}

/// Appends an item's own page.
pub(super) fn detail(
    entry: &Entry,
    context: CardContext<'_>,
    message: Option<Message>,
    typed: &Typed<'_>,
    html: &mut Html,
) {
    let item = &entry.item;
    html.raw("<p class=\"crumb\"><a href=\"/\">← All approvals</a></p>");
    if let Some(message) = message {
        notice(message, entry.state, html);
    }
    if let Some(problem) = typed.problem {
        html.raw("<div class=\"said bad\" id=\"said\" role=\"alert\">Nothing was decided: ")
            .text(&problem.to_string())
            .raw(".</div>");
    }
    html.raw("<article class=\"card single ")
        .raw(risk_class(item.risk));
    html.raw("\" tabindex=\"-1\" id=\"item-").value(&item.id);
    html.raw("\" data-state=\"")
        .raw(entry.state.as_str())
        .raw("\">");
    top(entry, context.now_ms, html);
    if entry.state.is_open() && is_standard(entry) {
        html.raw("<p class=\"question\">")
            .text(&item.question)
            .raw("</p>");
    }
    remarks(entry, html);
    html.raw("<h1>");
    name(&item.tool, NAME_LIMIT, html);
    html.raw("</h1>");
    if let Some(verdict) = &entry.verdict {
        verdict_box(verdict, entry.engine.as_deref(), html);
    } else if let State::Closed(how) = entry.state {
        html.raw("<div class=\"verdict\"><strong>").raw(match how {
            Closed::Expired => "Nobody decided in time, so the call did not run.",
            Closed::Withdrawn => "The call was withdrawn before anybody decided.",
        });
        html.raw("</strong></div>");
    }
    if !entry.state.is_open() {
        html.raw("<p class=\"quiet kept\">")
            .text(AS_IN_THE_LOG)
            .raw("</p>");
    }
    call::show(
        &item.call,
        &item.tool,
        HeadingLevel::H1,
        Folding::Long,
        html,
    );
    about(entry, html);
    if entry.state.is_open() {
        actions(entry, context, typed, "item", html);
    }
    facts(entry, html);
    html.raw(
        "</article><p class=\"status\" id=\"status\" role=\"status\" aria-live=\"polite\"></p>",
    );
}

/// Appends a message about the form that was sent. Screen readers announce it.
pub(super) fn notice(message: Message, state: State, html: &mut Html) {
    if let Message::Several { choice, done, late } = message {
        return notice_for_several(choice, done, late, html);
    }
    let is_good = matches!(message, Message::Done(_));
    html.raw(if is_good {
        "<div class=\"said good\" id=\"said\" role=\"status\">"
    } else {
        "<div class=\"said bad\" id=\"said\" role=\"alert\">"
    });
    html.raw(match message {
        Message::Done(Choice::Approve) => "Approved. The call may run now.",
        Message::Done(Choice::Deny) => "Denied. The call will not run, and the agent is told.",
        Message::TooLate => match state {
            State::Decided(Choice::Approve) => {
                "Too late: already approved. Your decision did not count."
            }
            State::Decided(Choice::Deny) => {
                "Too late: already denied. Your decision did not count."
            }
            State::Closed(Closed::Expired) => "Too late: the call expired and did not run.",
            State::Closed(Closed::Withdrawn) => "Too late: the call was withdrawn.",
            State::Waiting | State::Parked => "Your decision did not count. Please decide again.",
        },
        Message::Changed => {
            "Nothing was decided: the form showed a different call. Read it again below."
        }
        Message::WrongPassphrase => "Wrong passphrase. Nothing was decided; try again.",
        Message::Several { .. } => "",
        Message::TooManyPassphrases => {
            "Too many wrong passphrases. Nothing was decided; wait a minute, then try again."
        }
    });
    html.raw("</div>");
}

fn notice_for_several(choice: Choice, done: usize, late: usize, html: &mut Html) {
    html.raw(match late {
        0 => "<div class=\"said good\" id=\"said\" role=\"status\">",
        _ => "<div class=\"said bad\" id=\"said\" role=\"alert\">",
    });
    html.text(&calls(done)).raw(match choice {
        Choice::Approve => " approved.",
        Choice::Deny => " denied.",
    });
    if late > 0 {
        html.raw(" For ")
            .text(&calls(late))
            .raw(" your decision came too late: see the history.");
    }
    html.raw("</div>");
}

/// Returns "1 call" or "N calls".
pub(super) fn calls(count: usize) -> String {
    match count {
        1 => "1 call".to_owned(),
        count => format!("{count} calls"),
    }
}

/// Appends the top line of an item: its risk, state, server and times.
pub(super) fn top(entry: &Entry, now_ms: i64, html: &mut Html) {
    let item = &entry.item;
    html.raw("<div class=\"meta\">");
    risk(item.risk, html);
    if entry.state != State::Waiting {
        state(entry.state, html);
    }
    html.raw("<span class=\"who\">Server ");
    name(&item.server, NAME_LIMIT, html);
    html.raw("</span><span class=\"when\">");
    ago(item.asked_ms, now_ms, html);
    match (entry.state, item.expires_ms) {
        (State::Waiting, Some(until)) => {
            html.raw(" <span class=\"left\">");
            left(until, now_ms, html);
            html.raw("</span>");
        }
        (State::Waiting | State::Parked | State::Decided(_) | State::Closed(_), _) => {}
    }
    html.raw("</span></div>");
}

/// Appends a name from outside, shortened and in quotes, so that it cannot pass for our own text.
pub(super) fn name(name: &str, limit: usize, html: &mut Html) {
    html.raw("<bdi class=\"name\">")
        .quoted(name, limit, "left out")
        .raw("</bdi>");
}

/// Returns true if an item has the usual question, which a list shows only once.
fn is_standard(entry: &Entry) -> bool {
    entry.item.question == QuestionKind::First.question()
}

/// Appends what is special about an item, above the call.
pub(super) fn remarks(entry: &Entry, html: &mut Html) {
    if !is_standard(entry) {
        html.raw("<p class=\"question special\">")
            .text(&entry.item.question)
            .raw("</p>");
    }
    let is_advisory = entry.item.question == QuestionKind::Advisory.question();
    if entry.state == State::Parked && !is_advisory {
        html.raw("<p class=\"note\">The call was refused for now. If you approve, the agent can make it again");
        if let Some(until) = entry.parked_until_ms {
            html.raw(" until ");
            moment(until, html);
        }
        html.raw(".</p>");
    }
    if entry.was_disregarded {
        html.raw("<p class=\"warning\">")
            .text(DISREGARDED)
            .raw("</p>");
    }
}

/// Appends what we know about the call, below it, so that a long description does not push the call off
/// the screen.
pub(super) fn about(entry: &Entry, html: &mut Html) {
    let item = &entry.item;
    if !item.hints.is_empty() {
        hints(&item.hints, html);
    }
    html.raw("<dl class=\"about\"><div><dt>Why you are asked</dt><dd>")
        .text(&item.why)
        .raw("</dd></div>");
    if item.client.is_some() || item.client_title.is_some() {
        html.raw("<div><dt>The client</dt><dd>calls itself ");
        let titles = item
            .client_title
            .as_deref()
            .map(|title| (title, TITLE_LIMIT));
        let names = item.client.as_deref().map(|client| (client, CLIENT_LIMIT));
        for (at, (text, limit)) in names.into_iter().chain(titles).enumerate() {
            html.raw(if at > 0 { " and " } else { "" });
            name(text, limit, html);
        }
        html.raw("</dd></div>");
    }
    if let Some(title) = &item.title {
        html.raw("<div><dt>The server</dt><dd>calls this tool ");
        name(title, TITLE_LIMIT, html);
        html.raw("</dd></div>");
    }
    html.raw("<div><dt>The server says</dt><dd class=\"theirs\">");
    match &item.description {
        Some(description) => folded(description, html),
        None => {
            html.raw("<span class=\"quiet\">nothing about this tool</span>");
        }
    }
    html.raw("</dd></div></dl>");
}

/// Appends the hints as chips, in plain words. Each says that it is only a claim: nobody has verified them.
fn hints(hints: &str, html: &mut Html) {
    html.raw("<ul class=\"hints\" aria-label=\"Unverified hints\">");
    for hint in hints.split(", ") {
        html.raw("<li>");
        let words = HINTS.iter().find(|(known, _)| *known == hint);
        match words {
            Some((_, words)) => html.raw(words),
            None => html.text(hint),
        };
        html.raw("</li>");
    }
    html.raw("</ul>");
}

/// The hints as stored in items, and in plain words.
const HINTS: [(&str, &str); 8] = [
    ("readOnlyHint true", "says it only reads"),
    ("readOnlyHint false", "says it can change things"),
    ("destructiveHint true", "says it can destroy"),
    ("destructiveHint false", "says it destroys nothing"),
    (
        "idempotentHint true",
        "says repeating it changes nothing more",
    ),
    ("idempotentHint false", "says repeating it acts again"),
    ("openWorldHint true", "says it reaches the outside world"),
    (
        "openWorldHint false",
        "says it does not reach the outside world",
    ),
];

fn folded(text: &str, html: &mut Html) {
    if text.chars().nth(UNFOLDED).is_none() {
        html.quoted(text, usize::MAX, "left out");
        return;
    }
    html.raw("<details><summary><span class=\"size\">text, ")
        .text(&call::size(text.len()))
        .raw("</span> <span class=\"preview\">")
        .quoted(text, PREVIEW, "folded")
        .raw("</span></summary><div class=\"body\">")
        .lines(text)
        .raw("</div></details>");
}

fn actions(
    entry: &Entry,
    context: CardContext<'_>,
    typed: &Typed<'_>,
    from: &'static str,
    html: &mut Html,
) {
    let item = &entry.item;
    html.raw("<form class=\"actions")
        .raw(if item.risk == Risk::High {
            " risky"
        } else {
            ""
        });
    html.raw("\" method=\"post\" action=\"/item/")
        .value(&item.id);
    html.raw("/decide\"><input type=\"hidden\" name=\"csrf\" value=\"")
        .value(context.csrf);
    html.raw("\"><input type=\"hidden\" name=\"shown\" value=\"")
        .value(&item.fingerprint());
    html.raw("\"><input type=\"hidden\" name=\"from\" value=\"")
        .raw(from)
        .raw("\">");
    answers::fields(item, typed.sent, html);
    if context.needs_passphrase {
        passphrase(html);
    }
    // Enter in a field presses the first button, so that must be the harmless one.
    html.raw("<div class=\"deny\"><label class=\"field\"><span>Reason (optional)</span><input type=\"text\" placeholder=\"the agent sees it\" name=\"reason\" maxlength=\"4000\" autocomplete=\"off\" value=\"");
    html.value(typed.reason);
    html.raw("\"></label><button class=\"button no\" name=\"choice\" value=\"deny\"");
    // A no fills in nothing.
    html.raw(match item.form.is_some() {
        true => " formnovalidate>Deny</button></div>",
        false => ">Deny</button></div>",
    });
    html.raw("<div class=\"approve\"><label class=\"field\"><span>Approval covers</span><select name=\"minutes\">");
    for minutes in MINUTES {
        html.raw("<option value=\"").number(minutes).raw("\"");
        html.raw(if typed.minutes == minutes.to_string() {
            " selected>"
        } else {
            ">"
        });
        match minutes {
            0 => html.raw("this call only"),
            _ => html.raw("the same call for ").number(minutes).raw(" min"),
        };
        html.raw("</option>");
    }
    html.raw("</select></label><button class=\"button primary\" name=\"choice\" value=\"approve\" aria-describedby=\"hint-");
    // The hint says why a button is inactive. It takes its space from the start, so nothing moves later.
    html.value(&item.id)
        .raw("\">Approve</button></div><p class=\"hint\" id=\"hint-");
    html.value(&item.id).raw("\"></p></form>");
}

/// Appends the field for the passphrase.
pub(super) fn passphrase(html: &mut Html) {
    html.raw("<label class=\"field pass\"><span>Passphrase</span><input type=\"password\" name=\"passphrase\" autocomplete=\"off\" required></label>");
}

fn verdict_box(verdict: &Verdict, engine: Option<&str>, html: &mut Html) {
    html.raw(match verdict.choice {
        Choice::Approve => "<div class=\"verdict yes\"><strong>Approved</strong> ",
        Choice::Deny => "<div class=\"verdict no\"><strong>Denied</strong> ",
    });
    moment(verdict.decided_ms, html);
    if !verdict.cover.is_zero() {
        let ms = i64::try_from(verdict.cover.as_millis()).unwrap_or(i64::MAX);
        html.raw(", and the same call for ").text(&span(ms));
    }
    html.raw("<br><span class=\"quiet\">");
    engine_name(engine, html);
    html.raw(", ")
        .raw(assurance(verdict.assurance))
        .raw("</span>");
    approver::claim(verdict, html);
    if let Some(reason) = &verdict.reason {
        html.raw("<p class=\"reason\">").text(reason).raw("</p>");
    }
    html.raw("</div>");
}

fn facts(entry: &Entry, html: &mut Html) {
    let item = &entry.item;
    html.raw("<dl class=\"facts\"><div><dt>Asked</dt><dd>");
    moment(item.asked_ms, html);
    html.raw("</dd></div>");
    if let (true, Some(until)) = (entry.state == State::Waiting, item.expires_ms) {
        html.raw("<div><dt>Waits until</dt><dd>");
        moment(until, html);
        html.raw("</dd></div>");
    }
    if let Some(closed) = entry.closed_ms {
        html.raw("<div><dt>Closed</dt><dd>");
        moment(closed, html);
        html.raw("</dd></div>");
    }
    html.raw("<div><dt>Call digest</dt><dd><code>")
        .text(&item.digest);
    html.raw("</code></dd></div><div><dt>Item</dt><dd><code>")
        .text(&item.id);
    html.raw("</code></dd></div></dl>");
}

/// Appends a risk as text with a symbol.
pub(super) fn risk(risk: Risk, html: &mut Html) {
    html.raw("<span class=\"chip ")
        .raw(risk_class(risk))
        .raw("\">")
        .raw(match risk {
            Risk::High => "<span aria-hidden=\"true\">▲</span> High risk",
            Risk::Medium => "<span aria-hidden=\"true\">◆</span> Medium risk",
            Risk::Low => "<span aria-hidden=\"true\">●</span> Low risk",
            Risk::Unknown => "<span aria-hidden=\"true\">?</span> Unknown risk",
        });
    html.raw("</span>");
}

fn risk_class(risk: Risk) -> &'static str {
    match risk {
        Risk::High => "high",
        Risk::Medium => "medium",
        Risk::Low => "low",
        Risk::Unknown => "unknown",
    }
}

/// Appends the state of an item.
pub(super) fn state(state: State, html: &mut Html) {
    html.raw("<span class=\"state ")
        .raw(state.as_str())
        .raw("\">")
        .raw(match state {
            State::Waiting => "Waiting",
            State::Parked => "Parked",
            State::Decided(Choice::Approve) => "<span aria-hidden=\"true\">✓</span> Approved",
            State::Decided(Choice::Deny) => "<span aria-hidden=\"true\">✕</span> Denied",
            State::Closed(Closed::Expired) => "Expired",
            State::Closed(Closed::Withdrawn) => "Withdrawn",
        });
    html.raw("</span>");
}

/// Appends the engine that a verdict came through.
pub(super) fn engine_name(engine: Option<&str>, html: &mut Html) {
    match engine {
        None => html.raw("inbox"),
        Some("elicitation") => html.raw("client’s prompt"),
        Some(other) => html.text(other),
    };
}

fn assurance(assurance: Assurance) -> &'static str {
    match assurance {
        Assurance::CallerRelayed => "relayed by the client (caller-relayed)",
        Assurance::SharedSecret => "by somebody with a shared secret (shared-secret)",
        Assurance::InboxSession => "on this page, logged in (inbox-session)",
        Assurance::InboxTerminal => "in a terminal (inbox-terminal)",
        Assurance::ChannelAuthenticated => {
            "by a named account of a chat service (channel-authenticated)"
        }
        Assurance::InboxPassphrase => "with the passphrase (inbox-passphrase)",
    }
}
