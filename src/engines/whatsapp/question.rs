//! One question to a WhatsApp bridge, from sending it to the answer.
//!
//! Decides nothing about people: the bridge does not say who answered.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{ApiMode, WhatsappSettings};
use crate::approval::item::{Choice, Item};
use crate::engines::bridge::ANSWER_TIME;
use crate::engines::chat::{Carried, PlainQuestion, Standing};
use crate::engines::http::{Exchange, Patience, Reply, Undelivered};
use crate::engines::request::NOT_SHOWN;
use crate::engines::{CarriedVerdict, CourierContext};
use crate::gate::Failure;

/// The options of a poll, as mcp-extras' bridges know them.
const APPROVE: &str = "✅ Approve";
const DENY: &str = "❌ Deny";
/// In place of the first, if the call was not shown whole.
const IN_INBOX: &str = "Decide in the inbox";
/// The longest id of an approval, in bytes.
const MAX_ID: usize = 128;
/// The shortest time that a bridge is given.
const SHORTEST: Duration = Duration::from_secs(1);

/// One question on its way.
pub(super) struct Question {
    pub(super) settings: WhatsappSettings,
    pub(super) context: CourierContext,
    pub(super) exchange: Exchange,
    pub(super) carried: Arc<Carried>,
    pub(super) item: Item,
}

/// What a bridge says when it has sent the question.
#[derive(Deserialize)]
struct Created {
    id: Value,
}

/// What it says when it is polled.
#[derive(Deserialize)]
struct Polled {
    status: Value,
}

/// What an older bridge says once somebody has decided.
#[derive(Deserialize)]
struct Voted {
    choice: Value,
}

impl Question {
    /// Asks, and delivers the verdict.
    pub(super) async fn run(self) {
        let id = &self.item.id;
        let choice = match self.ask().await {
            Some(Ok(choice)) => choice,
            Some(Err(failure)) => {
                let failure = self.settings.bridge.explained(failure);
                return self.carried.fail(id, failure);
            }
            // The question stays open until its time is up. The gate has the same limit, and says what follows.
            None => return,
        };
        let verdict = CarriedVerdict {
            fields: None,
            choice,
            reason: None,
            approver: Some(self.settings.approver.to_string()),
        };
        let standing = self.carried.decide(id, &self.item.fingerprint(), verdict);
        if standing == Standing::NotShown {
            let failure = self.settings.bridge.rejected(NOT_SHOWN);
            self.carried.fail(id, failure);
        }
    }

    /// Returns `None` if the question's time is up, or if somebody wants to decide in the inbox.
    async fn ask(&self) -> Option<Result<Choice, Failure>> {
        let question = match PlainQuestion::new(&self.item, &self.context).await {
            Ok(question) => question,
            Err(failure) => return Some(Err(failure)),
        };
        if question.is_approvable {
            self.carried.is_shown(&self.item.id);
        }
        if self.settings.mode == ApiMode::Poll {
            return self.ask_by_poll(&question).await;
        }
        match self.create(&question.text).await? {
            Ok(created) => self.follow(&created).await,
            // An older bridge. It does not know the path, so it has asked nobody.
            Err(Undelivered {
                status: Some(StatusCode::NOT_FOUND),
                ..
            }) if self.settings.mode == ApiMode::Auto => self.ask_by_poll(&question).await,
            Err(undelivered) => Some(Err(undelivered.failure)),
        }
    }

    async fn create(&self, text: &str) -> Option<Result<Reply, Undelivered>> {
        let left = self.exchange.limit.unwrap_or(SHORTEST).max(SHORTEST);
        let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let body = json!({"message": text, "timeoutMs": timeout_ms});
        self.post("approvals", &body, Patience::until_answered(ANSWER_TIME))
            .await
    }

    /// Polls until somebody has decided.
    async fn follow(&self, created: &Reply) -> Option<Result<Choice, Failure>> {
        let bridge = &self.settings.bridge;
        let Some(id) = read_id(&created.body) else {
            return Some(Err(bridge.rejected("its answer has no usable `id`")));
        };
        let path = ["approvals", id.as_str()];
        let interval = self.settings.poll_interval;
        let mut pause = interval;
        loop {
            sleep(pause).await;
            let get = || Ok(bridge.request(Method::GET, &path, &[], None));
            let polled = match self.exchange.send_within(ANSWER_TIME, get).await? {
                Ok(polled) => polled,
                Err(failure) => return Some(Err(failure)),
            };
            pause = polled.retry_after.unwrap_or(interval).max(interval);
            match read_status(&polled.body) {
                Status::Pending => {}
                Status::Decided(choice) => return Some(Ok(choice)),
                Status::Unclear => return Some(Err(self.unclear("status", &polled.body))),
            }
        }
    }

    /// Asks an older bridge, which answers once somebody has decided.
    async fn ask_by_poll(&self, question: &PlainQuestion) -> Option<Result<Choice, Failure>> {
        // A poll needs two options.
        let first = match question.is_approvable {
            true => APPROVE,
            false => IN_INBOX,
        };
        let body = json!({"question": question.text, "options": [first, DENY]});
        let sent = self.post("whatsapp_poll", &body, Patience::UNTIL_DECIDED);
        let voted = match sent.await? {
            Ok(voted) => voted,
            Err(undelivered) => return Some(Err(undelivered.failure)),
        };
        match read_choice(&voted.body) {
            Some(Choosing::Decided(choice)) => Some(Ok(choice)),
            Some(Choosing::InInbox) => None,
            None => Some(Err(self.unclear("choice", &voted.body))),
        }
    }

    async fn post(
        &self,
        path: &str,
        body: &Value,
        patience: Patience,
    ) -> Option<Result<Reply, Undelivered>> {
        let bridge = &self.settings.bridge;
        let post = || Ok(bridge.request(Method::POST, &[path], &[], Some(body)));
        self.exchange.send_once(patience, post).await
    }

    /// INVARIANT 3: what is neither a yes nor a no is a failure.
    fn unclear(&self, key: &str, body: &[u8]) -> Failure {
        let bridge = &self.settings.bridge;
        let quoted = bridge.scrub.quote(body, &self.context.redaction);
        let quoted = quoted.unwrap_or_else(|| "nothing".to_owned());
        bridge.rejected(&format!(
            "the `{key}` of its answer is neither a yes nor a no: {quoted}"
        ))
    }
}

/// What a bridge says about an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Pending,
    Decided(Choice),
    Unclear,
}

/// Reads a status. Only the exact words count.
fn read_status(body: &[u8]) -> Status {
    let polled: Option<Polled> = serde_json::from_slice(body).ok();
    match polled.as_ref().and_then(|polled| polled.status.as_str()) {
        Some("pending") => Status::Pending,
        Some("approved") => Status::Decided(Choice::Approve),
        Some("denied") => Status::Decided(Choice::Deny),
        Some(_) | None => Status::Unclear,
    }
}

/// What somebody chose in a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choosing {
    Decided(Choice),
    InInbox,
}

/// Reads the choice of a poll. Only the exact options count.
fn read_choice(body: &[u8]) -> Option<Choosing> {
    let voted: Voted = serde_json::from_slice(body).ok()?;
    match voted.choice.as_str()? {
        APPROVE => Some(Choosing::Decided(Choice::Approve)),
        DENY => Some(Choosing::Decided(Choice::Deny)),
        IN_INBOX => Some(Choosing::InInbox),
        _ => None,
    }
}

/// Reads the id of an approval, if it can be one segment of a path.
fn read_id(body: &[u8]) -> Option<String> {
    let created: Created = serde_json::from_slice(body).ok()?;
    let id = match created.id {
        Value::String(id) => id,
        Value::Number(id) => id.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let is_part =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'~');
    let is_usable = (1..=MAX_ID).contains(&id.len())
        && id.bytes().all(is_part)
        // `.` and `..` are no segments of their own.
        && id.bytes().any(|b| b.is_ascii_alphanumeric());
    is_usable.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_words_are_a_yes_or_a_no() {
        let status = |body: &str| read_status(body.as_bytes());
        let approved = status(r#"{"status":"approved","by":"x"}"#);
        assert_eq!(approved, Status::Decided(Choice::Approve));
        let denied = status(r#"{"status":"denied"}"#);
        assert_eq!(denied, Status::Decided(Choice::Deny));
        assert_eq!(status(r#"{"status":"pending"}"#), Status::Pending);
        for unclear in [
            "",
            "approved",
            "{}",
            r#"{"status":"Approved"}"#,
            r#"{"status":"approved "}"#,
            r#"{"status":true}"#,
            r#"{"status":["approved"]}"#,
            r#"{"status":"denied","status":"approved"}"#,
            r#"{"status":"approved"} {}"#,
            r#"[{"status":"approved"}]"#,
        ] {
            assert_eq!(status(unclear), Status::Unclear, "{unclear}");
        }
    }

    #[test]
    fn only_the_exact_options_are_a_choice() {
        let choice = |choice: Value| read_choice(json!({"choice": choice}).to_string().as_bytes());
        for (option, chosen) in [
            (APPROVE, Choosing::Decided(Choice::Approve)),
            (DENY, Choosing::Decided(Choice::Deny)),
            (IN_INBOX, Choosing::InInbox),
        ] {
            assert_eq!(choice(json!(option)), Some(chosen));
        }
        for unclear in [
            json!("Approve"),
            json!("✅ Approve "),
            json!(""),
            json!(null),
            json!(0),
            json!([APPROVE]),
        ] {
            assert_eq!(choice(unclear.clone()), None, "{unclear}");
        }
    }

    #[test]
    fn an_id_is_one_segment_of_a_path() {
        let id = |id: Value| read_id(json!({"id": id}).to_string().as_bytes());
        for usable in ["wa1", "3f2b-0.1", "a:b~c_d"] {
            assert_eq!(id(json!(usable)).as_deref(), Some(usable));
        }
        assert_eq!(id(json!(17)).as_deref(), Some("17"));
        for unusable in [
            json!(""),
            json!("."),
            json!(".."),
            json!("a/b"),
            json!("a?b"),
            json!("a%2fb"),
            json!("x".repeat(MAX_ID + 1)),
            json!(null),
            json!(["a"]),
        ] {
            assert_eq!(id(unusable.clone()), None, "{unusable}");
        }
    }
}
