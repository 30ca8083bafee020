//! Checks every message that the gate creates against MCP's official schema of the revision in use.
//!
//! The schemas are not part of this repository: `MCP_SCHEMA_DIR` names their folder. Without it the
//! stories still run, but nothing is validated.

mod noticed;
mod official;
mod refusals;
mod sessions;
mod stateless;
mod urls;

use serde_json::Value;
use serde_json::value::RawValue;

use self::official::{Official, Revision, To};
use super::scene::{Event, Scene};

// ---- the gate's own messages

/// The messages of a scene that no peer sent, oldest first.
fn made_in(scene: &Scene) -> Vec<(To, Value)> {
    let mut heard: Vec<&str> = Vec::new();
    for line in &scene.heard {
        match serde_json::from_str::<Vec<&RawValue>>(line) {
            Ok(entries) => heard.extend(entries.into_iter().map(RawValue::get)),
            Err(_) => heard.push(line),
        }
    }
    let mut made = Vec::new();
    for (_, event) in &scene.journal {
        let (to, text) = match event {
            Event::Client(text) | Event::Progress(text) => (To::Client, text),
            Event::Upstream(text) => (To::Upstream, text),
            Event::Line { .. } => continue,
        };
        // A message received once can be passed on once.
        match heard.iter().position(|line| line == text) {
            Some(relayed) => drop(heard.remove(relayed)),
            None => made.push((to, serde_json::from_str(text).unwrap())),
        }
    }
    made
}

/// How a story names a message.
fn kind(message: &Value) -> String {
    match (&message["method"], &message["error"]["code"]) {
        (Value::String(method), _) => method.clone(),
        (_, Value::Number(code)) => code.to_string(),
        _ if message["result"]["resultType"] == "input_required" => QUESTION.into(),
        _ => REFUSAL.into(),
    }
}

const LIST: &str = "tools/list";
const CALL: &str = "tools/call";
const PROMPT: &str = "elicitation/create";
const WITHDRAWN: &str = "notifications/cancelled";
const PROGRESS: &str = "notifications/progress";
const COMPLETE: &str = "notifications/elicitation/complete";
const REFUSAL: &str = "refusal";
const QUESTION: &str = "question";

const PARSE_ERROR: &str = "-32700";
const INVALID_REQUEST: &str = "-32600";
const INVALID_PARAMS: &str = "-32602";
const INTERNAL_ERROR: &str = "-32603";
const UNSUPPORTED_VERSION: &str = "-32022";

/// Plays a story in each of these revisions. The gate creates exactly these messages, and each of
/// them is valid by the revision's schema.
fn story(revisions: &[Revision], made: &[&str], play: impl Fn(Revision) -> Scene) {
    for revision in revisions {
        let scene = play(*revision);
        let messages = made_in(&scene);
        let kinds: Vec<String> = messages.iter().map(|(_, message)| kind(message)).collect();
        assert_eq!(kinds, made, "{}", revision.name());
        if let Some(official) = Official::of(*revision) {
            for (to, message) in &messages {
                official
                    .check(*to, message)
                    .unwrap_or_else(|fault| panic!("{fault}"));
            }
        }
    }
}
