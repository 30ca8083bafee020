//! The client's lines, and what they mean.

use serde_json::{Value, json};

use super::World;
use crate::gate::tests::properties::lines::{self, Draft, hostile, spelled};
use crate::gate::tests::properties::oracle::{Brings, IntendedCall, Kind, Refusal};
use crate::gate::tests::properties::reading::{TOOLS, What, meaning, write_tools};
use crate::gate::tests::properties::steps::{Args, Change, FromClient, IdPick, Meta, Which, Words};
use crate::gate::tests::scene::{Log, Scene};
use crate::gate::{Gate, Settings};
use crate::policy::Policy;

const TASK: &str = r#"{"task":{"ttl":1}}"#;

impl World {
    /// A line, if there is anything to send.
    pub(super) fn client_line(&mut self, entries: &[FromClient]) -> Option<String> {
        let alone = entries.len() == 1;
        let texts: Vec<String> = entries
            .iter()
            .filter_map(|entry| self.client_entry(entry, alone))
            .collect();
        match texts.as_slice() {
            [one] if alone => Some(one.clone()),
            [] => None,
            several => Some(format!("[{}]", several.join(" , "))),
        }
    }

    fn client_entry(&mut self, entry: &FromClient, alone: bool) -> Option<String> {
        let k = self.fresh();
        Some(match entry {
            FromClient::Call {
                id,
                words,
                tool,
                args,
                token,
                task,
                bare_answers,
                spelling,
            } => {
                let draft = Draft {
                    what: self.what(*tool, *args, *task),
                    words: *words,
                    token: token.then(|| token_text(k)),
                    answers: bare_answers.then(|| lines::input_responses(0)).flatten(),
                    state: None,
                    change: Change::None,
                    spelling: if alone { *spelling } else { 0 },
                };
                let id = self.pick_id(*id);
                self.call(&id, &draft, alone)
            }
            FromClient::Retry {
                id,
                state,
                answer,
                change,
            } => {
                let at = self.pick_state(*state)?;
                let draft = self.retry_of(at, *answer, *change);
                let id = self.pick_id(*id);
                self.call(&id, &draft, alone)
            }
            FromClient::Forged { id, state, how } => {
                let at = self.pick_state(*state)?;
                let mut draft = self.draft_of(at);
                draft.answers = lines::input_responses(0);
                let state = self.oracle.states[at].text.clone();
                draft.state = Some(self.forged(&draft, &state, *how));
                let id = self.pick_id(*id);
                self.call(&id, &draft, alone)
            }
            FromClient::Hostile { id, tool, kind } => {
                let id = self.pick_id(*id);
                let hostile = hostile(&id, *tool, *kind, alone);
                self.oracle.refuses(hostile.refusal);
                hostile.line
            }
            FromClient::Cancel(which) => self.cancel(*which),
            FromClient::Answer { prompt, how } => self.answer(*prompt, *how, k, alone),
            FromClient::Request {
                id,
                method,
                spelling,
            } => {
                let id = self.pick_id(*id);
                let method = lines::METHODS[usize::from(*method) % lines::METHODS.len()];
                let spelling = if alone { *spelling } else { 0 };
                self.request(&id, method, &format!(r#"{{"k":{k},"n":1.0}}"#), spelling)
            }
            FromClient::Initialize { id, forms } => {
                let id = self.pick_id(*id);
                let capabilities = if *forms {
                    r#"{"elicitation":{}}"#
                } else {
                    "{}"
                };
                let params = format!(r#"{{"capabilities":{capabilities},"k":{k}}}"#);
                self.request(&id, "initialize", &params, 0)
            }
            FromClient::Initialized => {
                let text = json!({"jsonrpc": "2.0", "method": "notifications/initialized", "params": {"k": k}});
                self.relayed_up(text.to_string())
            }
            FromClient::Notification(kind) => self.relayed_up(lines::notification(*kind, k)),
            FromClient::UnderOurId(which) => self.under_our_id(*which, k, alone),
            FromClient::Response(kind) => {
                let list = self.oracle.lists.asked.last().map(|list| &list.id);
                let prompt = self.oracle.prompts.last();
                let id = match (kind % 4, list, prompt) {
                    (1, Some(id), _) => id.clone(),
                    (2, _, _) => Value::Null,
                    (3, _, Some(prompt)) => json!(format!("{}0", prompt.id.as_str().unwrap())),
                    _ => json!(format!("q{k}")),
                };
                let yes = json!({"action": "accept", "content": {"approved": true}, "k": k});
                self.relayed_up(json!({"jsonrpc": "2.0", "id": id, "result": yes}).to_string())
            }
        })
    }

    fn what(&mut self, tool: u8, args: Args, task: bool) -> What {
        let k = self.fresh();
        let earlier = |which: u8| {
            let newest = self.oracle.calls.iter().rev();
            let mut newest = newest.take(4);
            newest
                .nth(usize::from(which % 4))
                .map(|call| call.intended.what.clone())
        };
        let own = |args: String| What {
            tool: tool_name(tool),
            args,
            others: if task {
                format!(r#"{{"task":{{"ttl":{k}}}}}"#)
            } else {
                String::new()
            },
        };
        match args {
            Args::Own(shape) => own(lines::arguments(shape, k)),
            Args::Few(n) => own(format!(r#"{{"n":{n}}}"#)),
            Args::Same(which) => earlier(which).unwrap_or_else(|| own(lines::arguments(0, k))),
            Args::Twin(which) => {
                let what = earlier(which).unwrap_or_else(|| own(lines::arguments(0, k)));
                What {
                    args: lines::twin(&what.args),
                    ..what
                }
            }
        }
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
        let intended = &self.oracle.calls[self.oracle.states[at].call].intended;
        let client = match intended.words {
            Words::Stateless { client, .. } => client,
            Words::Legacy => 0,
        };
        Draft {
            what: intended.what.clone(),
            words: Words::Stateless {
                client,
                meta: Meta::Usual,
            },
            token: k.is_multiple_of(3).then(|| token_text(k)),
            answers: None,
            state: None,
            change: Change::None,
            spelling: 0,
        }
    }

    fn retry_of(&mut self, at: usize, answer: u8, change: Change) -> Draft {
        let mut draft = self.draft_of(at);
        let state = &self.oracle.states[at];
        draft.state = Some(json!(state.text).to_string());
        draft.answers = match state.kind {
            Kind::Question { .. } => lines::input_responses(answer),
            Kind::Round { .. } => lines::their_responses(answer),
        };
        draft.change = change;
        let Words::Stateless { client, meta } = &mut draft.words else {
            unreachable!();
        };
        match change {
            Change::None | Change::Spelling | Change::Twice | Change::Folded => {}
            Change::Client => *client = 1 - *client,
            Change::Meta(other) => *meta = other,
            Change::Arguments => draft.what.args = r#"{"n":99}"#.to_owned(),
            Change::Number => draft.what.args = lines::twin(&draft.what.args),
            Change::Tool(tool) => draft.what.tool = tool_name(tool),
            Change::Task => draft.what.others = TASK.to_owned(),
            Change::Legacy => draft.words = Words::Legacy,
        }
        draft
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
            5 => self.foreign_state(&draft.text("1")),
            6 => self.upstream_state.clone(),
            7 => String::new(),
            8 => return "7".to_owned(),
            _ => return json!([state]).to_string(),
        };
        json!(forged).to_string()
    }

    /// A state from another proxy, with another key, for the same call.
    fn foreign_state(&self, call: &str) -> String {
        let (settings, rules) = super::settings(&self.setup);
        let settings = Settings {
            server: "db".into(),
            max_pending: 4096,
            ..settings
        };
        let mut scene = Scene::new();
        scene.gate = Gate::new(settings, Policy::new(rules).unwrap(), "s", [8; 32]);
        scene.tools = write_tools(&self.tools);
        scene.client_sends(call);
        scene.answer_lists();
        // If its list calls the tool harmless, it asks nothing.
        let answer = scene.client.pop_front().unwrap_or_default();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let state = answer["result"]["requestState"].as_str();
        state.unwrap_or("none was given").to_owned()
    }

    fn call(&mut self, id: &str, draft: &Draft, alone: bool) -> String {
        let text = draft.text(id);
        let id: Value = serde_json::from_str(id).unwrap();
        if matches!(draft.change, Change::Twice | Change::Folded) {
            self.oracle.refuses(Refusal::Answered(id));
            return text;
        }
        let state = draft.state.as_ref();
        let brings = Brings {
            state: state.and_then(|state| serde_json::from_str(state).ok()),
            answer: draft.answers.as_ref().and_then(|(_, answer)| *answer),
        };
        let intended = IntendedCall {
            id,
            text: text.clone(),
            what: draft.what.clone(),
            words: draft.words,
            token: draft.token.clone(),
            brings: (draft.state.is_some() || draft.answers.is_some()).then_some(brings),
        };
        let writable = self.scene.log_state == Log::Writable;
        self.oracle.calls(intended, alone, writable);
        text
    }

    fn request(&mut self, id: &str, method: &str, params: &str, spelling: u8) -> String {
        let text = spelled(id, method, params, spelling);
        let id = serde_json::from_str(id).unwrap();
        self.oracle.requests(id, method, text.clone());
        text
    }

    fn relayed_up(&mut self, text: String) -> String {
        self.oracle.relays_to_upstream(text.clone());
        text
    }

    fn under_our_id(&mut self, which: u8, k: u64, alone: bool) -> String {
        let live: Vec<Value> = self.oracle.live_ids().cloned().collect();
        if live.is_empty() || !alone {
            let id = self.pick_id(IdPick::Fresh);
            return self.request(&id, "ping", "{}", 0);
        }
        let id = live[usize::from(which) % live.len()].clone();
        if k.is_multiple_of(2) {
            let draft = Draft {
                what: self.what(which, Args::Own(0), false),
                words: Words::Legacy,
                token: None,
                answers: None,
                state: None,
                change: Change::None,
                spelling: 0,
            };
            return self.call(&id.to_string(), &draft, alone);
        }
        self.oracle.refuses(Refusal::Unlogged(id.clone()));
        json!({"jsonrpc": "2.0", "id": id, "method": "ping"}).to_string()
    }

    fn cancel(&mut self, which: u8) -> String {
        let k = self.fresh();
        let mut newest = self.used.iter().rev().take(8);
        let id = newest.nth(usize::from(which % 9)).cloned();
        let id = id.unwrap_or_else(|| json!(format!("unknown{k}")));
        // In a batch, an id has only one meaning.
        let id = if self.in_line.insert(meaning(&id)) {
            id
        } else {
            json!(format!("unknown{k}"))
        };
        let text = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": id, "k": k}})
        .to_string();
        self.oracle.cancels(&id, text.clone());
        text
    }

    fn answer(&mut self, which: u8, how: u8, k: u64, alone: bool) -> String {
        let prompts = self.oracle.prompts.len();
        if prompts == 0 {
            return self.relayed_up(lines::notification(0, k));
        }
        let at = prompts - 1 - usize::from(which) % prompts;
        let id = self.oracle.prompts[at].id.clone();
        let answer = lines::answer(&id, how);
        match answer.refusal {
            Some(refusal) => self.oracle.refuses(refusal),
            None => self.oracle.answers(at, answer.meaning, alone),
        }
        answer.line
    }
}

fn tool_name(tool: u8) -> String {
    TOOLS[usize::from(tool) % TOOLS.len()].to_owned()
}

/// A progress token, as JSON.
fn token_text(k: u64) -> String {
    if k.is_multiple_of(2) {
        k.to_string()
    } else {
        format!("\"t{k}\"")
    }
}
