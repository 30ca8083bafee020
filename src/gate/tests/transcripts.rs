//! Compares whole sessions with `tests/fixtures/transcripts/<revision>-<story>.jsonl`, exactly.
//!
//! How to read a transcript: `from` says what a side does (`clock`: time passes). `to` says what the gate then sends to
//! a side, writes to the log or warns the operator about, in order. Messages to the sides are compared byte for byte,
//! records member by member. In what a side sends, the id `@list` stands for the id of the gate's newest `tools/list`,
//! `@prompt` for that of its newest prompt. Everything else is literal, since the scene's seed and clock are fixed.
//!
//! `UPDATE_TRANSCRIPTS=1 cargo test --lib transcripts` rewrites all `to` lines. Read the difference before you keep it.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::scene::{Event, Scene, secs};

/// One line of a transcript.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step<'a> {
    /// A note for the reader; allowed anywhere.
    note: Option<&'a str>,
    from: Option<Side>,
    to: Option<Side>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    /// How much time passes, for the clock.
    seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Client,
    Upstream,
    Clock,
    Log,
    Stderr,
}

const REVISIONS: [&str; 2] = ["2025-06-18", "2025-11-25"];
const STORIES: [&str; 3] = ["approve", "deny", "timeout"];

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/transcripts"]
        .iter()
        .collect()
}

/// Plays what the sides do in a transcript. Returns the transcript with what the gate does now.
fn played(transcript: &str) -> String {
    let mut scene = Scene::new();
    let mut ids = OwnIds::default();
    let mut out = String::new();
    for line in transcript.lines() {
        let step: Step<'_> =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let message = step.message.map(|message| ids.put_into(message.get()));
        match (step.note, step.from, step.to, message, step.seconds) {
            (Some(_), None, None, None, None) => {}
            (None, Some(Side::Client), None, Some(text), None) => scene.client_sends(&text),
            (None, Some(Side::Upstream), None, Some(text), None) => scene.upstream_sends(&text),
            (None, Some(Side::Clock), None, None, Some(seconds)) => scene.advance(secs(seconds)),
            (None, None, Some(_), Some(_), None) => continue,
            _ => panic!("not a step: {line}"),
        }
        out.push_str(line);
        out.push('\n');
        for (_, event) in scene.journal.drain(..) {
            let (to, text) = match event {
                Event::Client(text) | Event::Progress(text) => ("client", text),
                Event::Upstream(text) => ("upstream", text),
                Event::Line { line, .. } => ("log", line.to_string()),
            };
            ids.learn_from(&text);
            writeln!(out, r#"{{"to":"{to}","message":{text}}}"#).unwrap();
        }
        for warning in scene.warnings.drain(..) {
            let text = Value::from(warning);
            writeln!(out, r#"{{"to":"stderr","message":{text}}}"#).unwrap();
        }
    }
    out
}

/// The ids of the gate's newest requests.
#[derive(Default)]
struct OwnIds {
    list: Option<String>,
    prompt: Option<String>,
}

impl OwnIds {
    fn learn_from(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap();
        let id = || Some(message["id"].to_string());
        match message["method"].as_str() {
            Some("tools/list") => self.list = id(),
            Some("elicitation/create") => self.prompt = id(),
            _ => {}
        }
    }

    fn put_into(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, id) in [("\"@list\"", &self.list), ("\"@prompt\"", &self.prompt)] {
            if text.contains(name) {
                text = text.replace(name, id.as_ref().expect("the gate has asked"));
            }
        }
        text
    }
}

#[test]
fn sessions_match_their_transcripts() {
    for revision in REVISIONS {
        for story in STORIES {
            let path = folder().join(format!("{revision}-{story}.jsonl"));
            let expected = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let played = played(&expected);
            if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
                std::fs::write(&path, played).unwrap();
                continue;
            }
            let lines = played.lines().map(Some).chain(std::iter::repeat(None));
            let expected = expected.lines().map(Some).chain([None]);
            for (n, (expected, played)) in expected.zip(lines).enumerate() {
                assert_eq!(played, expected, "{}:{}", path.display(), n + 1);
            }
        }
    }
}

// Otherwise an unread update could turn a refusal into an approval.
#[test]
fn only_the_approved_sessions_hold_a_forwarded_call() {
    let mut files = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (revision, story) = name.split_at("2025-06-18".len());
        let story = story.trim_start_matches('-');
        assert!(
            REVISIONS.contains(&revision) && STORIES.contains(&story),
            "{name}"
        );
        files += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let to = |side: &str, method: &str| {
            let start = format!(r#"{{"to":"{side}","#);
            let method = format!(r#""method":"{method}""#);
            let mut lines = text.lines();
            lines.position(|line| line.starts_with(&start) && line.contains(&method))
        };
        let prompt = to("client", "elicitation/create").expect("a prompt");
        let call = to("upstream", "tools/call");
        assert_eq!(call.is_some(), story == "approve", "{name}");
        assert!(call.is_none_or(|call| call > prompt), "{name}");
        // SPEC 2025-06-18 has no `mode` key.
        let prompt = text.lines().nth(prompt).unwrap();
        assert_eq!(
            prompt.contains(r#""mode":"form""#),
            revision == "2025-11-25",
            "{name}"
        );
    }
    assert_eq!(files, REVISIONS.len() * STORIES.len());
}
