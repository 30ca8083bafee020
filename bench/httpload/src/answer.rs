//! Compares a response with its call.

use std::borrow::Cow;

use serde::Deserialize;

use crate::connection::Response;

/// The outcome of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Exactly its own result.
    Good,
    /// An HTTP or JSON-RPC error, or a refusal: its status and text.
    Error(u16, String),
    /// Another call's message, several messages, or none.
    Wrong(String),
}

impl Answer {
    pub(crate) fn of(response: &Response, id: u64, tag: &str) -> Answer {
        let status = response.status.as_u16();
        let Ok(body) = std::str::from_utf8(&response.body) else {
            return Answer::Wrong("not UTF-8".to_owned());
        };
        if !response.status.is_success() {
            return Answer::Error(status, excerpt(body));
        }
        let messages = match response.is_events() {
            true => events(body),
            false => vec![body],
        };
        let [message] = messages[..] else {
            let count = messages.len();
            let said = excerpt(body);
            return Answer::Wrong(format!("for {tag}, {status} and {count} messages: {said}"));
        };
        let Ok(read) = serde_json::from_str::<Message<'_>>(message) else {
            return Answer::Wrong(format!("not a response: {}", excerpt(message)));
        };
        if read.id != Some(id) {
            return Answer::Wrong(format!("for {tag}, id {id}: {}", excerpt(message)));
        }
        match read.result {
            Some(Outcome { is_error: true, .. }) | None => Answer::Error(status, excerpt(message)),
            Some(result) if result.content.first().is_some_and(|text| text.text == tag) => {
                Answer::Good
            }
            Some(_) => Answer::Wrong(format!("for {tag}, id {id}: {}", excerpt(message))),
        }
    }
}

/// Returns the messages in an event stream. Our peers write each on one line.
fn events(body: &str) -> Vec<&str> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data:"));
    data.map(str::trim)
        .filter(|data| !data.is_empty())
        .collect()
}

fn excerpt(text: &str) -> String {
    text.chars().take(300).collect()
}

#[derive(Deserialize)]
struct Message<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<Outcome<'a>>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow, default)]
    content: Vec<Text<'a>>,
    #[serde(default, rename = "isError")]
    is_error: bool,
}

#[derive(Deserialize)]
struct Text<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}
