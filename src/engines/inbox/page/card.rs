//! One item: as a card in the list, and on its own page.

use super::approver;
use super::call::{self, Below, Folds, NAME_LIMIT};
use super::decide::MINUTES;
use super::html::Html;
use super::time::{ago, left, moment};
use crate::approval::item::{Assurance, Choice, Verdict};
use crate::approval::request::QuestionKind;
use crate::engines::inbox::store::{AS_IN_THE_LOG, Closed, DISREGARDED, Entry, State};
use crate::policy::Risk;
use crate::sys::time::span;

/// The longest call, in bytes, that stands in the list; a longer one is shown, and decided about,
/// on its own page.
pub(super) const MAX_LISTED: usize = 16 * 1024;
/// The longest description that is not folded, in characters.
const UNFOLDED: usize = 280;
/// How much of a folded description's two ends is shown, in characters.
const PREVIEW: usize = 140;
/// How much is shown of what a client calls itself, in characters.
const CLIENT_LIMIT: usize = 60;
/// How much is shown of a title, in characters.
const TITLE_LIMIT: usize = 80;

/// What is said above an item about the form that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// The verdict counts.
    Done(Choice),
    /// Another one came first, or the time was over.
    TooLate,
    /// The form was about something else than what waits.
    Changed,
    /// The passphrase is another one.
    WrongPassphrase,
    /// It was another one too often.
    TooManyPassphrases,
    /// Several verdicts at once: so many count, and so many came too late.
    Several {
        choice: Choice,
        done: usize,
        late: usize,
    },
}

/// What somebody typed into a form that could not be used.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Typed<'a> {
    pub(super) reason: &'a str,
    pub(super) minutes: &'a str,
}

/// What the cards of a page have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) csrf: &'a str,
    pub(super) needs_passphrase: bool,
    pub(super) now_ms: i64,
}

/// How an item stands in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// With all of it.
    Whole,
    /// As a row that opens to all of it.
    Row,
}

/// Appends an item as a card of the list.
pub(super) fn card(entry: &Entry, scene: Scene<'_>, form: Form, html: &mut Html) {
    let item = &entry.item;
    html.raw(match form {
        Form::Whole => "<li><article class=\"card ",
        Form::Row => "<li><article class=\"card compact ",
    });
    html.raw(risk_class(item.risk));
    html.raw("\" tabindex=\"-1\" id=\"item-").value(&item.id);
    html.raw("\" data-state=\"").raw(entry.state.as_str());
    // Such a card is another one than before: the page must not keep that.
    html.raw(if entry.was_disregarded {
        " disregarded"
    } else {
        ""
    });
    html.raw("\" aria-labelledby=\"tool-")
        .value(&item.id)
        .raw("\">");
    pick(entry, html);
    if form == Form::Row {
        html.raw("<details class=\"whole\"><summary><span class=\"line-of\">");
        row_of(entry, scene.now_ms, html);
        html.raw("</span></summary>");
    }
    top(entry, scene.now_ms, html);
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
        call::show(&item.call, &item.tool, Below::H2, Folds::Long, html);
        about(entry, html);
        actions(entry, scene, &Typed::default(), "list", html);
    }
    html.raw(match form {
        Form::Whole => "</article></li>",
        Form::Row => "</details></article></li>",
    });
}

/// Appends the box by which an item is selected for a decision about several.
fn pick(entry: &Entry, html: &mut Html) {
    let item = &entry.item;
    html.raw("<label class=\"pick\"><input type=\"checkbox\" form=\"batch\" name=\"pick-")
        .value(&item.id);
    html.raw("\" value=\"").value(&item.fingerprint());
    html.raw("\"><span class=\"unread\">Select this call of ");
    name(&item.tool, NAME_LIMIT, html);
    html.raw("</span></label>");
}

/// Appends what a row says of an item: enough to tell it from others, not enough to decide.
fn row_of(entry: &Entry, now_ms: i64, html: &mut Html) {
    let item = &entry.item;
    risk(item.risk, html);
    if entry.state != State::Waiting {
        state(entry.state, html);
    }
    html.raw("<span class=\"tool\">");
    name(&item.tool, NAME_LIMIT, html);
    html.raw("</span><span class=\"begin\">");
    call::beginning(&item.call, html);
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
    scene: Scene<'_>,
    message: Option<Message>,
    typed: &Typed<'_>,
    html: &mut Html,
) {
    let item = &entry.item;
    html.raw("<p class=\"crumb\"><a href=\"/\">← All approvals</a></p>");
    if let Some(message) = message {
        said(message, entry.state, html);
    }
    html.raw("<article class=\"card single ")
        .raw(risk_class(item.risk));
    html.raw("\" tabindex=\"-1\" id=\"item-").value(&item.id);
    html.raw("\" data-state=\"")
        .raw(entry.state.as_str())
        .raw("\">");
    top(entry, scene.now_ms, html);
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
            Closed::Withdrawn => "The call was taken back before anybody decided.",
        });
        html.raw("</strong></div>");
    }
    if !entry.state.is_open() {
        html.raw("<p class=\"quiet kept\">")
            .text(AS_IN_THE_LOG)
            .raw("</p>");
    }
    call::show(&item.call, &item.tool, Below::H1, Folds::Long, html);
    about(entry, html);
    if entry.state.is_open() {
        actions(entry, scene, typed, "item", html);
    }
    facts(entry, html);
    html.raw(
        "</article><p class=\"status\" id=\"status\" role=\"status\" aria-live=\"polite\"></p>",
    );
}

/// Appends a message about what was sent, for everybody to hear.
pub(super) fn said(message: Message, state: State, html: &mut Html) {
    if let Message::Several { choice, done, late } = message {
        return said_of_several(choice, done, late, html);
    }
    let is_good = matches!(message, Message::Done(_));
    html.raw(if is_good {
        "<div class=\"said good\" id=\"said\" role=\"status\">"
    } else {
        "<div class=\"said bad\" id=\"said\" role=\"alert\">"
    });
    html.raw(match message {
        Message::Done(Choice::Approve) => "Approved. The call may run now.",
        Message::Done(Choice::Deny) => "Denied. The call does not run, and the agent is told.",
        Message::TooLate => match state {
            State::Decided(Choice::Approve) => "Too late: it had been approved already. Your decision did not count.",
            State::Decided(Choice::Deny) => "Too late: it had been denied already. Your decision did not count.",
            State::Closed(Closed::Expired) => "Too late: its time was over. The call did not run.",
            State::Closed(Closed::Withdrawn) => "Too late: the call had been taken back.",
            State::Waiting | State::Parked => "Your decision did not count. Please decide again.",
        },
        Message::Changed => "Nothing was decided: the form showed another call than the one that waits. Read it again, below.",
        Message::WrongPassphrase => "That is not the passphrase. Nothing was decided; type it again.",
        Message::Several { .. } => "",
        Message::TooManyPassphrases => "The passphrase was wrong too often. Nothing was decided; wait a minute, then try again.",
    });
    html.raw("</div>");
}

fn said_of_several(choice: Choice, done: usize, late: usize, html: &mut Html) {
    html.raw(match late {
        0 => "<div class=\"said good\" id=\"said\" role=\"status\">",
        _ => "<div class=\"said bad\" id=\"said\" role=\"alert\">",
    });
    html.text(&calls(done)).raw(match choice {
        Choice::Approve => " approved.",
        Choice::Deny => " denied.",
    });
    if late > 0 {
        html.raw(" Of ")
            .text(&calls(late))
            .raw(" your verdict came too late: see the history.");
    }
    html.raw("</div>");
}

/// So many calls, in words.
pub(super) fn calls(count: usize) -> String {
    match count {
        1 => "1 call".to_owned(),
        count => format!("{count} calls"),
    }
}

/// Appends the head of an item.
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

/// Appends a name from outside in quotes, shortened, so that it cannot pass for our own words.
pub(super) fn name(name: &str, limit: usize, html: &mut Html) {
    html.raw("<bdi class=\"name\">")
        .quoted(name, limit, "left out")
        .raw("</bdi>");
}

/// Whether an item asks what every item asks. A page says that once.
fn is_standard(entry: &Entry) -> bool {
    entry.item.question == QuestionKind::First.question()
}

/// Appends what is special about an item. It stands above the call.
pub(super) fn remarks(entry: &Entry, html: &mut Html) {
    if !is_standard(entry) {
        html.raw("<p class=\"question special\">")
            .text(&entry.item.question)
            .raw("</p>");
    }
    if entry.state == State::Parked {
        html.raw("<p class=\"note\">The call was refused for now. If you approve, the agent may make it again");
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

/// Appends what is said about the call, below it: a long description must not push the call off the
/// screen.
pub(super) fn about(entry: &Entry, html: &mut Html) {
    let item = &entry.item;
    if !item.hints.is_empty() {
        hints(&item.hints, html);
    }
    html.raw("<dl class=\"about\"><div><dt>Asked because</dt><dd>")
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

/// Appends the hints as chips, in plain words. Each says whose words they are; nobody has verified them.
fn hints(hints: &str, html: &mut Html) {
    html.raw("<ul class=\"hints\" aria-label=\"Hints that nobody has verified\">");
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

/// The hints as items hold them, and in plain words.
const HINTS: [(&str, &str); 8] = [
    ("readOnlyHint true", "says it only reads"),
    ("readOnlyHint false", "says it can change things"),
    ("destructiveHint true", "says it can destroy"),
    ("destructiveHint false", "says it destroys nothing"),
    ("idempotentHint true", "says a repeat changes nothing more"),
    ("idempotentHint false", "says a repeat acts again"),
    ("openWorldHint true", "says it reaches the outside world"),
    ("openWorldHint false", "says it stays in its own world"),
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
    scene: Scene<'_>,
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
        .value(scene.csrf);
    html.raw("\"><input type=\"hidden\" name=\"shown\" value=\"")
        .value(&item.fingerprint());
    html.raw("\"><input type=\"hidden\" name=\"from\" value=\"")
        .raw(from)
        .raw("\">");
    if scene.needs_passphrase {
        passphrase(html);
    }
    // The first button is the one that Enter presses in a field: it must be the harmless one.
    html.raw("<div class=\"deny\"><label class=\"field\"><span>Reason, optional</span><input type=\"text\" placeholder=\"told to the agent\" name=\"reason\" maxlength=\"4000\" autocomplete=\"off\" value=\"");
    html.value(typed.reason);
    html.raw(
        "\"></label><button class=\"button no\" name=\"choice\" value=\"deny\">Deny</button></div>",
    );
    html.raw("<div class=\"approve\"><label class=\"field\"><span>An approval is for</span><select name=\"minutes\">");
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
    // The script says there why a button is inactive. The line takes its room from the start.
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
    through(engine, html);
    html.raw(", ")
        .raw(assurance(verdict.assurance))
        .raw("</span>");
    approver::says(verdict, html);
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
    html.raw("<div><dt>Digest of the call</dt><dd><code>")
        .text(&item.digest);
    html.raw("</code></dd></div><div><dt>Item</dt><dd><code>")
        .text(&item.id);
    html.raw("</code></dd></div></dl>");
}

/// Appends a risk, in words and with a sign.
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

/// Appends where an item stands, in words.
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

/// Appends the channel that a verdict came through.
pub(super) fn through(engine: Option<&str>, html: &mut Html) {
    match engine {
        None => html.raw("inbox"),
        Some("elicitation") => html.raw("client’s prompt"),
        Some(other) => html.text(other),
    };
}

fn assurance(assurance: Assurance) -> &'static str {
    match assurance {
        Assurance::CallerRelayed => "relayed by the client (caller-relayed)",
        Assurance::SharedSecret => "by whoever knows a shared secret (shared-secret)",
        Assurance::InboxSession => "on this page, logged in (inbox-session)",
        Assurance::InboxTerminal => "in a terminal (inbox-terminal)",
        Assurance::InboxPassphrase => "with the passphrase (inbox-passphrase)",
    }
}
