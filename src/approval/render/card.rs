//! The message of an engine that carries items out of the client, and how much of the call it may show.

use super::{Facts, Markup, Message};
use crate::approval::item::Item;
use crate::mcp::json::{JsonError, Value};

/// How much of a call's arguments leaves this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// All of them.
    Full,
    /// All of them, with secrets replaced.
    Redacted,
    /// None.
    Summary,
}

impl Show {
    /// Returns the word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Show::Full => "full",
            Show::Redacted => "redacted",
            Show::Summary => "summary",
        }
    }
}

/// What may be shown of an item's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownCall<'a> {
    /// The whole call.
    Whole,
    /// The whole call, but not the form that a yes must fill in.
    WithForm,
    /// The call as JSON, with secrets replaced.
    Redacted(&'a str),
    /// Only which tool is called.
    Hidden,
}

/// What a card says besides the item itself.
#[derive(Debug, Clone, Copy)]
pub struct Card<'a> {
    /// The markup of the medium.
    pub markup: Markup,
    /// The longest message that the medium takes, in bytes; at least 2,000.
    pub max: usize,
    /// What may be shown of the call.
    pub call: ShownCall<'a>,
    /// Whether the call can be denied where the card is shown, even if it cannot be approved there.
    pub can_deny: bool,
    /// What is said if the message is too short for the whole call, such as where to read all of it.
    pub cut_notice: &'a str,
}

/// Writes an item as a message. `is_cut` is also true if the card may not show the whole call.
///
/// # Errors
/// If the call is not JSON.
pub fn card(item: &Item, card: &Card<'_>) -> Result<Message, JsonError> {
    let call = match card.call {
        ShownCall::Whole | ShownCall::WithForm => &item.call,
        ShownCall::Redacted(call) => call,
        ShownCall::Hidden => "{}",
    };
    let call = Value::parse(call)?;
    let mut others = Vec::new();
    let mut arguments = &Value::Null;
    for (key, value) in call.members() {
        if key.is("arguments") {
            arguments = value;
        } else if !key.is("name") {
            others.push((*key, value.clone()));
        }
    }
    let facts = Facts {
        question: &item.question,
        server: &item.server,
        tool: &item.tool,
        is_listed: true,
        risk: item.risk,
        arguments: (card.call != ShownCall::Hidden).then_some(arguments),
        others,
        why: &item.why,
        hints: &item.hints,
        description: item.description.as_deref(),
        covers: None,
        client: item.client.as_deref(),
        digest: &item.digest,
        always_shows_digest: true,
        notice: match card.call {
            ShownCall::Whole => None,
            ShownCall::WithForm if card.can_deny => Some(FORM),
            ShownCall::WithForm => Some(FORM_CARD),
            ShownCall::Redacted(_) if card.can_deny => Some(REDACTED),
            ShownCall::Redacted(_) => Some(REDACTED_CARD),
            ShownCall::Hidden if card.can_deny => Some(HIDDEN),
            ShownCall::Hidden => Some(HIDDEN_CARD),
        },
        cut_notice: card.cut_notice,
    };
    let mut message = facts.message(card.markup, card.max);
    message.is_cut |= card.call != ShownCall::Whole;
    Ok(message)
}

/// What is said about a call that is not shown whole on purpose.
const REDACTED: &str = "Secrets are replaced here. So this call can be denied here, but approved \
    only in the approval inbox.";
const HIDDEN: &str = "The arguments stay on the machine of the client. So this call can be denied here, but \
    approved only in the approval inbox.";
const FORM: &str = "A yes has to fill in a form, which is not here. So this call can be denied here, but approved only in \
    the approval inbox.";
/// The same on a card without buttons.
const FORM_CARD: &str =
    "A yes has to fill in a form, so this call can be decided only in the approval inbox.";
const REDACTED_CARD: &str =
    "Secrets are replaced here. So this call can be decided only in the approval inbox.";
const HIDDEN_CARD: &str = "The arguments stay on the machine of the client. So this call can be decided only in the \
    approval inbox.";
