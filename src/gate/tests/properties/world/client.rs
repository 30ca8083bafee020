//! The client's lines, and what they mean.

use serde_json::{Value, json};

use super::World;
use crate::gate::tests::properties::lines::{self, hostile, spelled};
use crate::gate::tests::properties::oracle::Refusal;
use crate::gate::tests::properties::reading::{TOOLS, What, meaning};
use crate::gate::tests::properties::steps::{Args, FromClient, IdPick};
use crate::gate::tests::scene::Log;

impl World {
    pub(super) fn client_line(&mut self, entries: &[FromClient]) -> String {
        let alone = entries.len() == 1;
        let texts: Vec<String> = entries
            .iter()
            .map(|entry| self.client_entry(entry, alone))
            .collect();
        match texts.as_slice() {
            [one] if alone => one.clone(),
            several => format!("[{}]", several.join(" , ")),
        }
    }

    fn client_entry(&mut self, entry: &FromClient, alone: bool) -> String {
        let k = self.fresh();
        match entry {
            FromClient::Call {
                id,
                tool,
                args,
                token,
                task,
                spelling,
            } => {
                let what = self.what(*tool, *args, *task);
                let id = self.pick_id(*id);
                let token = token.then(|| {
                    if k.is_multiple_of(2) {
                        k.to_string()
                    } else {
                        format!("\"t{k}\"")
                    }
                });
                self.call(&id, what, token, if alone { *spelling } else { 0 })
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
                self.request(&id, method, &format!(r#"{{"k":{k}}}"#), spelling)
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
            FromClient::UnderOurId(which) => {
                let live: Vec<Value> = self.oracle.live_ids().cloned().collect();
                if live.is_empty() || !alone {
                    let id = self.pick_id(IdPick::Fresh);
                    return self.request(&id, "ping", "{}", 0);
                }
                let id = live[usize::from(*which) % live.len()].clone();
                if k.is_multiple_of(2) {
                    let what = self.what(*which, Args::Own(0), false);
                    return self.call(&id.to_string(), what, None, 0);
                }
                self.oracle.refuses(Refusal::Unlogged(id.clone()));
                json!({"jsonrpc": "2.0", "id": id, "method": "ping"}).to_string()
            }
            FromClient::Response(kind) => {
                let list = self.oracle.lists.last().map(|list| &list.id);
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
        }
    }

    fn what(&mut self, tool: u8, args: Args, task: bool) -> What {
        let k = self.fresh();
        let earlier = |which: u8| {
            let newest = self.oracle.calls.iter().rev();
            newest
                .take(4)
                .nth(usize::from(which % 4))
                .map(|call| call.what.clone())
        };
        let own = |shape| What {
            tool: TOOLS[usize::from(tool) % TOOLS.len()].to_owned(),
            args: lines::arguments(shape, k),
            others: if task {
                format!(r#"{{"task":{{"ttl":{k}}}}}"#)
            } else {
                String::new()
            },
        };
        match args {
            Args::Own(shape) => own(shape),
            Args::Same(which) => earlier(which).unwrap_or_else(|| own(0)),
            Args::Twin(which) => {
                let mut what = earlier(which).unwrap_or_else(|| own(0));
                what.args = lines::twin(&what.args);
                what
            }
        }
    }

    fn call(&mut self, id: &str, what: What, token: Option<String>, spelling: u8) -> String {
        let params = lines::call_params(&what, token.as_deref(), spelling);
        let text = spelled(id, "tools/call", &params, spelling);
        let writable = self.scene.log_state == Log::Writable;
        let id = serde_json::from_str(id).unwrap();
        self.oracle.calls(&id, what, token, text.clone(), writable);
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

    fn cancel(&mut self, which: u8) -> String {
        let k = self.fresh();
        let mut newest = self.used.iter().rev().take(8);
        let id = newest.nth(usize::from(which % 9)).cloned();
        let id = id.unwrap_or_else(|| json!(format!("unknown{k}")));
        // In a batch, an id stands for one thing only.
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
