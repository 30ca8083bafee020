//! An approval request: everything that a person is shown about one call.
//!
//! Plain data, built once for each question. A client's prompt, the inbox's page and the terminal all render it;
//! whether to ask, and whom, is the gate's business.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::digest::{CallDigest, other_params};
use super::item::Item;
use crate::mcp::json::{raw_member, write_string};
use crate::mcp::tool::KeptCall;
use crate::policy::Risk;

/// The longest description that is put into the inbox, in bytes.
const MAX_DESCRIPTION: usize = 64 * 1024;

/// Everything that a person is shown about one call.
///
/// Texts come from the client and the server and are not escaped; every renderer must escape them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRequest {
    /// The server's name in the configuration.
    pub server: Arc<str>,
    /// The tool's exact name.
    pub tool: Arc<str>,
    /// Whether the server lists the tool. If not, its name is only what the client makes of it.
    pub is_listed: bool,
    /// How much harm the call could do.
    pub risk: Risk,
    /// Why the policy wants it asked about, in words.
    pub why: Cow<'static, str>,
    /// Which of the call's questions this is.
    pub round: QuestionKind,
    /// What the server calls the tool, beside its name.
    pub title: Option<String>,
    /// What the server says about the tool.
    pub description: Option<String>,
    /// The hints that the policy went by, in words; empty if there are none.
    pub hints: String,
    /// The call.
    pub call: KeptCall,
    /// The call's digest. A yes is one to exactly this.
    pub digest: CallDigest,
    /// What the client calls itself, if it does.
    pub client: Option<Arc<str>>,
    /// The title that the client gives itself beside that.
    pub client_title: Option<String>,
    /// How long a yes covers identical calls, too; zero is not at all.
    pub covers: Duration,
}

impl ApprovalRequest {
    /// The question, with what a yes covers beside the call.
    fn question(&self) -> String {
        let mut question = self.round.question().to_owned();
        if let Some(covers) = self.covers() {
            question.push(' ');
            question.push_str(&covers);
        }
        question
    }

    /// What a yes covers beside the call, as a sentence; `None` if nothing.
    #[must_use]
    pub fn covers(&self) -> Option<String> {
        let seconds = self.covers.as_secs_f64();
        (!self.covers.is_zero())
            .then(|| format!("A yes also covers identical calls for the next {seconds} seconds."))
    }

    /// The same request as the inbox keeps it, under a name of 32 lower-case hexadecimal digits.
    ///
    /// `asked_ms` and `expires_ms` are in milliseconds since 1970, UTC.
    #[must_use]
    pub fn item(&self, id: String, asked_ms: i64, expires_ms: Option<i64>) -> Item {
        Item {
            id,
            server: self.server.to_string(),
            tool: self.tool.to_string(),
            risk: self.risk,
            why: self.why.to_string(),
            question: self.question(),
            title: self.title.clone(),
            description: self.description.as_deref().map(shortened),
            hints: self.hints.clone(),
            call: shown_call(&self.call),
            digest: self.digest.to_string(),
            client: self.client.as_deref().map(str::to_owned),
            client_title: self.client_title.clone(),
            asked_ms,
            expires_ms,
        }
    }
}

/// Which of a call's questions this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuestionKind {
    /// The only one.
    First,
    /// The first of two.
    FirstOfTwo,
    /// The second of two.
    Second,
    /// The tool's definition changed while a person was thinking.
    Changed,
    /// A person denied the very same call a short while ago, and it was refused without asking.
    DeniedBefore,
}

impl QuestionKind {
    /// The question, in words.
    #[must_use]
    pub fn question(self) -> &'static str {
        match self {
            QuestionKind::First => "Allow this tool call?",
            QuestionKind::FirstOfTwo => "Allow this high-risk tool call? You will be asked twice.",
            QuestionKind::Second => "Second confirmation: allow this high-risk tool call?",
            QuestionKind::Changed => {
                "The server changed this tool while you were asked. Allow the call as it is now?"
            }
            QuestionKind::DeniedBefore => {
                "This call was denied a short while ago, and is refused without asking. Allow it if it is made again?"
            }
        }
    }
}

/// The call as JSON: its name, its arguments as the client wrote them, and every other parameter
/// that a yes is bound to.
fn shown_call(call: &KeptCall) -> String {
    let params = call.params();
    let mut out = String::from(r#"{"name":"#);
    write_string(&params.name, &mut out);
    if let Some(arguments) = raw_member(call.text(), &["params", "arguments"]) {
        out.push_str(r#","arguments":"#);
        out.push_str(arguments);
    }
    for (key, value) in other_params(&params) {
        out.push(',');
        write_string(&key.decode(), &mut out);
        out.push(':');
        value.write_canonical(&mut out);
    }
    out.push('}');
    out
}

fn shortened(text: &str) -> String {
    let mut ends = (0..=MAX_DESCRIPTION.min(text.len())).rev();
    let end = ends.find(|end| text.is_char_boundary(*end));
    match text.get(..end.unwrap_or_default()) {
        Some(kept) if kept.len() < text.len() => format!("{kept} … (shortened)"),
        Some(_) | None => text.to_owned(),
    }
}
