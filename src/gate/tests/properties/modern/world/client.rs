//! The client's lines, and what they mean.

use serde_json::{Value, json};

use super::World;
use crate::gate::tests::properties::lines;
use crate::gate::tests::properties::modern::oracle::{Brings, Era, Kind, Told};
use crate::gate::tests::properties::modern::steps::{Change, FromClient, Meta, Which};
use crate::gate::tests::properties::oracle::Answer;
use crate::gate::tests::properties::reading::{TOOLS, What, meaning};

const YES: &str = r#"{"action":"accept","content":{"approved":true}}"#;
const TASK: &str = r#"{"task":{"ttl":1}}"#;

/// A call in the making.
struct Draft {
    what: What,
    era: Era,
    client: u8,
    meta: Meta,
    token: Option<u64>,
    /// The text of `inputResponses`, and what it says to a question of ours.
    answers: Option<(String, Option<Answer>)>,
    /// The text of `requestState`.
    state: Option<String>,
    change: Change,
}

impl World {
    /// A line, if there is anything to say.
    pub(super) fn client_line(&mut self, entries: &[FromClient]) -> Option<String> {
        let alone = entries.len() == 1;
        let texts: Vec<String> = entries
            .iter()
            .filter_map(|entry| self.client_entry(entry, alone))
            .collect();
        match texts.as_slice() {
            [one] if alone => Some(one.clone()),
            [] => None,
            several => Some(format!("[{}]", several.join(","))),
        }
    }

    fn client_entry(&mut self, entry: &FromClient, alone: bool) -> Option<String> {
        match entry {
            FromClient::Call {
                id,
                tool,
                args,
                client,
                meta,
                bare_answers,
            } => {
                let k = self.fresh();
                let draft = Draft {
                    what: What {
                        tool: tool_name(*tool),
                        args: format!(r#"{{"n":{args}}}"#),
                        others: String::new(),
                    },
                    era: Era::Modern,
                    client: *client,
                    meta: *meta,
                    token: k.is_multiple_of(3).then_some(k),
                    answers: bare_answers.then(|| answers(0)),
                    state: None,
                    change: Change::None,
                };
                let id = self.pick_id(*id);
                Some(self.call(&id, &draft, alone))
            }
            FromClient::Retry {
                id,
                state,
                answer,
                change,
            } => self.retry(*id, *state, *answer, *change, alone),
            FromClient::Forged { id, state, how } => {
                let at = self.pick_state(*state)?;
                let mut draft = self.draft_of(at);
                draft.answers = Some(answers(0));
                let state = self.oracle.states[at].text.clone();
                draft.state = Some(self.forged(&draft, &state, *how));
                let id = self.pick_id(*id);
                Some(self.call(&id, &draft, alone))
            }
            FromClient::Cancel(which) => Some(self.cancel(*which)),
            FromClient::Legacy(tool) => Some(self.legacy_call(*tool, alone)),
            FromClient::Answer(which, yes) => self.answer_prompt(*which, *yes),
            FromClient::Request => {
                let id = self.pick_id(None);
                let text = lines::spelled(&id, "server/discover", r#"{"n":1.0}"#, 5);
                let id = serde_json::from_str(&id).unwrap();
                self.oracle.requests(&id, text.clone());
                Some(text)
            }
            FromClient::Initialize => {
                if self.setup.legacy {
                    self.shake_hands();
                }
                None
            }
        }
    }

    fn retry(
        &mut self,
        id: Option<u8>,
        state: Which,
        answer: u8,
        change: Change,
        alone: bool,
    ) -> Option<String> {
        let at = self.pick_state(state)?;
        let mut draft = self.draft_of(at);
        let state = &self.oracle.states[at];
        draft.state = Some(json!(state.text).to_string());
        draft.answers = match state.kind {
            Kind::Question { .. } => Some(answers(answer)).filter(|(text, _)| !text.is_empty()),
            Kind::Round { .. } => [
                Some((r#"{"theirs":{"roots":[1.0]}}"#.to_owned(), None)),
                Some(("{}".to_owned(), None)),
                None,
                Some((format!(r#"{{"approval-proxy":{YES},"theirs":1}}"#), None)),
            ][usize::from(answer) % 4]
                .clone(),
        };
        draft.change = change;
        match change {
            Change::None | Change::Spelling | Change::Twice | Change::Folded => {}
            Change::Client => draft.client = 1 - draft.client,
            Change::Meta(meta) => draft.meta = meta,
            Change::Arguments => draft.what.args = r#"{"n":99}"#.to_owned(),
            Change::Number => draft.what.args = draft.what.args.replace('}', ".0}"),
            Change::Tool(tool) => draft.what.tool = tool_name(tool),
            Change::Task => draft.what.others = TASK.to_owned(),
            Change::Legacy => draft.era = Era::Legacy,
        }
        let id = self.pick_id(id);
        Some(self.call(&id, &draft, alone))
    }

    fn pick_state(&self, which: Which) -> Option<usize> {
        let newest = (0..self.oracle.states.len()).rev();
        let mut good: Vec<usize> = match which {
            Which::Any(_) => newest.collect(),
            Which::Unused(_) => newest.filter(|at| !self.oracle.states[*at].used).collect(),
        };
        let (Which::Unused(nth) | Which::Any(nth)) = which;
        if good.is_empty() {
            return None;
        }
        let nth = usize::from(nth) % good.len();
        Some(good.swap_remove(nth))
    }

    /// The call that a state was given for.
    fn draft_of(&mut self, at: usize) -> Draft {
        let k = self.fresh();
        let told = &self.oracle.requests[self.oracle.states[at].request].told;
        Draft {
            what: told.what.clone(),
            era: Era::Modern,
            client: told.client,
            meta: Meta::Usual,
            token: k.is_multiple_of(3).then_some(k),
            answers: None,
            state: None,
            change: Change::None,
        }
    }

    /// The text of a `requestState` that was never given out.
    fn forged(&mut self, draft: &Draft, state: &str, how: u8) -> String {
        let half = state.len() / 2;
        let forged = match how {
            0 => {
                let (flipped, after) = (&state[half..=half], &state[half + 1..]);
                let other = if flipped == "A" { "B" } else { "A" };
                format!("{}{other}{after}", &state[..half])
            }
            1 => state[..state.len() - 1].to_owned(),
            2 => state[1..].to_owned(),
            3 => format!("{state}A"),
            4 => format!(" {state}"),
            5 => self.foreign_state(&self.text_of("1", draft)),
            6 => self.upstream_state.clone(),
            7 => String::new(),
            8 => return "7".to_owned(),
            _ => return json!([state]).to_string(),
        };
        json!(forged).to_string()
    }

    fn call(&mut self, id: &str, draft: &Draft, alone: bool) -> String {
        let text = self.text_of(id, draft);
        let id: Value = serde_json::from_str(id).unwrap();
        if matches!(draft.change, Change::Twice | Change::Folded) {
            self.oracle.refuses(id);
            return text;
        }
        let state = draft.state.as_ref();
        let brings = Brings {
            state: state.and_then(|state| serde_json::from_str(state).ok()),
            answer: draft.answers.as_ref().and_then(|(_, answer)| *answer),
        };
        let told = Told {
            id,
            text: text.clone(),
            what: draft.what.clone(),
            era: draft.era,
            client: draft.client,
            meta: draft.meta,
            token: draft.token,
            brings: (draft.state.is_some() || draft.answers.is_some()).then_some(brings),
        };
        self.oracle.calls(told, alone);
        text
    }

    fn text_of(&self, id: &str, draft: &Draft) -> String {
        let mut params = vec![
            format!(r#""name":{}"#, json!(draft.what.tool)),
            format!(r#""arguments":{}"#, draft.what.args),
        ];
        if !draft.what.others.is_empty() {
            params.push(draft.what.others[1..draft.what.others.len() - 1].to_owned());
        }
        let is_odd = draft.change == Change::Spelling;
        if let Some((answers, _)) = &draft.answers {
            let key = if is_odd {
                r"input\u0052esponses"
            } else {
                "inputResponses"
            };
            params.push(format!(r#""{key}":{answers}"#));
        }
        if let Some(state) = &draft.state {
            let key = if is_odd {
                r"request\u0053tate"
            } else {
                "requestState"
            };
            params.push(format!(r#""{key}":{state}"#));
            match draft.change {
                Change::Twice => params.push(format!(r#""requestState":{state}"#)),
                Change::Folded => params.push(format!(r#""RequestState":{state}"#)),
                _ => {}
            }
        }
        params.push(format!(r#""_meta":{}"#, meta(draft)));
        if is_odd {
            params.reverse();
        }
        let params = format!("{{{}}}", params.join(","));
        lines::spelled(id, "tools/call", &params, if is_odd { 3 } else { 0 })
    }

    fn cancel(&mut self, which: u8) -> String {
        let k = self.fresh();
        let mut newest = self.used.iter().rev().take(8);
        let id = newest.nth(usize::from(which % 9)).cloned();
        let id = id.unwrap_or_else(|| json!(format!("unknown{k}")));
        let text = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": id, "k": k}})
        .to_string();
        self.oracle.cancels(&id, text.clone());
        text
    }

    /// Every legacy call has arguments of its own; the first ones are those of modern calls.
    fn legacy_call(&mut self, tool: u8, alone: bool) -> String {
        let n = self.legacy_calls;
        self.legacy_calls += 1;
        let draft = Draft {
            what: What {
                tool: tool_name(tool),
                args: format!(r#"{{"n":{n}}}"#),
                others: String::new(),
            },
            era: Era::Legacy,
            client: 0,
            meta: Meta::Usual,
            token: None,
            answers: None,
            state: None,
            change: Change::None,
        };
        let id = format!("\"legacy {n}\"");
        self.used.push(serde_json::from_str(&id).unwrap());
        self.call(&id, &draft, alone)
    }

    fn answer_prompt(&mut self, which: u8, yes: bool) -> Option<String> {
        let prompts = self.oracle.prompts.len();
        let at = prompts.checked_sub(1 + usize::from(which))?;
        let id = self.oracle.prompts[at].id.clone();
        let answer = lines::answer(&id, if yes { 0 } else { 2 });
        self.oracle.answers(at, answer.meaning);
        Some(answer.line)
    }

    fn shake_hands(&mut self) {
        let id = json!(self.fresh());
        let text = json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}}});
        if self.oracle.requests(&id, text.to_string()) {
            self.oracle.begins_session();
        }
        self.scene.client_says(&text);
        self.look(false);
        if self.oracle.owed.contains_key(&meaning(&id)) {
            let text = json!({"jsonrpc": "2.0", "id": id, "result": {
                "protocolVersion": "2025-11-25", "capabilities": {}}});
            self.oracle.upstream_answers(&id, text.to_string(), None);
            self.scene.upstream_says(&text);
            self.look(false);
        }
        let text = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.oracle.relays_to_upstream(text.to_string());
        self.scene.client_says(&text);
    }
}

fn tool_name(tool: u8) -> String {
    TOOLS[usize::from(tool) % TOOLS.len()].to_owned()
}

fn meta(draft: &Draft) -> String {
    if draft.era == Era::Legacy {
        return "{}".to_owned();
    }
    let version = match draft.meta {
        Meta::Unknown => "2027-01-01",
        Meta::Usual | Meta::NoForms | Meta::Bare => "2026-07-28",
    };
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": draft.client},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    });
    match draft.meta {
        Meta::Usual | Meta::Unknown => {}
        Meta::NoForms => {
            meta["io.modelcontextprotocol/clientCapabilities"] =
                json!({"elicitation": {"url": {}}});
        }
        Meta::Bare => {
            let fields = meta.as_object_mut().unwrap();
            fields.remove("io.modelcontextprotocol/clientCapabilities");
        }
    }
    if let Some(token) = draft.token {
        meta["progressToken"] = json!(token);
    }
    meta.to_string()
}

/// What a retry answers, and what that says to our question; an empty text is no answers.
fn answers(how: u8) -> (String, Option<Answer>) {
    let ours = |answer: &str| format!(r#"{{"approval-proxy":{answer}}}"#);
    let yes = (ours(YES), Some(Answer::Yes));
    let says = |answer, how| (ours(answer), Some(how));
    let invalid = |answer| says(answer, Answer::Invalid);
    match how {
        1 => (
            ours(r#"{"content":{"reason":"fine","approved":true},"action":"accept"}"#),
            Some(Answer::Yes),
        ),
        2 => says(r#"{"action":"decline"}"#, Answer::Declined),
        3 => says(r#"{"action":"cancel"}"#, Answer::Dismissed),
        4 => invalid(r#"{"action":"accept"}"#),
        5 => invalid(r#"{"action":"accept","content":{"approved":"true"}}"#),
        6 => invalid(r#"{"action":"accept","content":{"approved":1}}"#),
        7 => says(
            r#"{"action":"accept","content":{"approved":false,"reason":"no"}}"#,
            Answer::Declined,
        ),
        8 => invalid(r#"{"action":"Accept","content":{"approved":true}}"#),
        9 => invalid("null"),
        10 => says(
            r#"{"action":"decline","content":{"approved":true}}"#,
            Answer::Declined,
        ),
        11 => invalid("\"yes\""),
        12 => ("{}".to_owned(), None),
        13 => (format!(r#"{{"other":{YES}}}"#), None),
        14 => ("[]".to_owned(), None),
        15 => (String::new(), None),
        16 => (
            format!(r#"{{"other":1,"approval-proxy":{YES}}}"#),
            Some(Answer::Yes),
        ),
        17 => (format!(r#"{{"Approval-Proxy":{YES}}}"#), None),
        18 => (YES.to_owned(), None),
        19 => ("null".to_owned(), None),
        _ => yes,
    }
}
