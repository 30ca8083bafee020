//! An approval request: everything that a person is shown about one call.
//!
//! Plain data, built once per question. A client's prompt, the inbox's page and the terminal all render it. The gate
//! decides whether and whom to ask.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::digest::{CallDigest, other_params};
use super::item::Item;
use crate::mcp::json::{raw_member, write_string};
use crate::mcp::tool::KeptCall;
use crate::policy::Risk;

/// The longest description that goes into the inbox, in bytes.
const MAX_DESCRIPTION: usize = 64 * 1024;

/// Everything that a person is shown about one call.
///
/// Texts come from the client and the server and are not escaped. Every renderer must escape them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRequest {
    /// The server's name in the configuration.
    pub server: Arc<str>,
    /// The tool's exact name.
    pub tool: Arc<str>,
    /// Whether the server lists the tool. If not, only the client vouches for the name.
    pub is_listed: bool,
    /// How much harm the call could do.
    pub risk: Risk,
    /// Why the policy asks about the call, as text.
    pub why: Cow<'static, str>,
    /// Which of the call's questions this is.
    pub round: QuestionKind,
    /// The tool's title, from the server.
    pub title: Option<String>,
    /// The tool's description, from the server.
    pub description: Option<String>,
    /// The hints that the policy used, as text; empty if there are none.
    pub hints: String,
    /// The call.
    pub call: KeptCall,
    /// The call's digest. An approval is bound to exactly this.
    pub digest: CallDigest,
    /// The client's name for itself, if it gives one.
    pub client: Option<Arc<str>>,
    /// The client's title for itself, if it gives one.
    pub client_title: Option<String>,
    /// How long an approval also covers identical calls; zero means not at all.
    pub covers: Duration,
    /// The [form](super::form::Form) that a yes must fill in, as JSON; `None` if there is none.
    pub form: Option<Arc<str>>,
}

impl ApprovalRequest {
    /// Returns the question, and what an approval covers besides the call.
    fn question(&self) -> String {
        let mut question = self.round.question().to_owned();
        if let Some(covers) = self.covers() {
            question.push(' ');
            question.push_str(&covers);
        }
        question
    }

    /// Returns what an approval covers besides the call, as a sentence, or `None` if nothing.
    #[must_use]
    pub fn covers(&self) -> Option<String> {
        let seconds = self.covers.as_secs_f64();
        (!self.covers.is_zero())
            .then(|| format!("A yes also covers identical calls for the next {seconds} seconds."))
    }

    /// Returns the request as an inbox item. `id` is 32 lower-case hexadecimal digits.
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
            form: self.form.as_deref().map(str::to_owned),
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
    /// A person denied the same call recently, so it was refused without asking.
    DeniedBefore,
    /// No call waits: an agent asks by itself.
    Advisory,
}

impl QuestionKind {
    /// Returns the question as text.
    #[must_use]
    pub fn question(self) -> &'static str {
        match self {
            QuestionKind::First => "Allow this tool call?",
            QuestionKind::FirstOfTwo => "Allow this high-risk tool call? You will be asked twice.",
            QuestionKind::Second => "Second confirmation: allow this high-risk tool call?",
            QuestionKind::Changed => {
                "The server changed this tool while you were being asked. Allow the call as it is now?"
            }
            QuestionKind::DeniedBefore => {
                "This call was denied recently and is now refused without asking. Allow it if it is made again?"
            }
            QuestionKind::Advisory => {
                "An agent asks for your approval. This is advisory: nothing stops the agent from acting without it. Do you approve?"
            }
        }
    }
}

/// Returns the call as JSON: its name, its arguments as the client wrote them, and every other parameter that an
/// approval is bound to.
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
