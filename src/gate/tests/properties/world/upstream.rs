//! The upstream's lines, and what they mean.

use serde_json::{Value, json};

use super::World;
use crate::gate::tests::properties::lines::{self, spelled};
use crate::gate::tests::properties::oracle::End;
use crate::gate::tests::properties::reading::{Listing, add_tools, meaning, write_tools};
use crate::gate::tests::properties::steps::{FromUpstream, ListAnswer};
use crate::mcp::message::RequestId;

impl World {
    /// A line, if there is anything to send.
    pub(super) fn upstream_line(&mut self, entries: &[FromUpstream]) -> Option<String> {
        let alone = entries.len() == 1;
        let texts: Vec<String> = entries
            .iter()
            .filter_map(|entry| self.upstream_entry(entry, alone))
            .collect();
        match texts.as_slice() {
            [one] if alone => Some(one.clone()),
            [] => None,
            several => Some(format!("[{}]", several.join(" , "))),
        }
    }

    fn upstream_entry(&mut self, entry: &FromUpstream, alone: bool) -> Option<String> {
        let k = self.fresh();
        Some(match entry {
            FromUpstream::Answer { which, how } => {
                self.answer_pending(usize::from(*which), *how, alone, k)
            }
            FromUpstream::Round { which, how } => {
                let unanswered = self.oracle.unanswered.values().rev();
                let calls: Vec<&Value> = unanswered
                    .filter(|unanswered| unanswered.call.is_some())
                    .map(|unanswered| &unanswered.id)
                    .collect();
                let nth = usize::from(*which) % calls.len().max(1);
                let id = (*calls.get(nth).filter(|_| alone)?).clone();
                self.round(&id, *how, k)
            }
            FromUpstream::Again { which, how } => {
                if !alone {
                    return None;
                }
                let mut newest = self.used.iter().rev();
                let id = newest.nth(usize::from(*which % 16));
                let id = id.cloned().unwrap_or_else(|| json!(format!("u{k}")));
                let unanswered = self.oracle.unanswered_with(&id);
                // `Answer` models what the gate learns from that.
                unanswered
                    .is_none_or(|unanswered| unanswered.call.is_some())
                    .then(|| self.round(&id, *how, k))?
            }
            FromUpstream::OwnList { which, answer } => {
                let lists = &self.oracle.lists.asked;
                let (count, open) = (lists.len(), lists.last().is_some_and(|list| list.open));
                if count > 0 && (open || *which > 0) {
                    return Some(self.own_list(count - 1 - usize::from(*which) % count, answer));
                }
                if let ListAnswer::Tools(tools, _) = answer {
                    self.tools.clone_from(tools);
                }
                self.list_changed(k)
            }
            FromUpstream::ListChanged => self.list_changed(k),
            FromUpstream::Tools(tools) => {
                for new in tools {
                    self.tools.retain(|(tool, ..)| *tool != new.0);
                    // The last kind of hints means that the tool is gone.
                    if new.1 < 7 {
                        self.tools.push(*new);
                    }
                }
                self.list_changed(k)
            }
            FromUpstream::Redefined => {
                let gated = self.tools.iter_mut();
                gated
                    .filter(|tool| [1, 2].contains(&tool.0))
                    .for_each(|tool| tool.2 = 1 - tool.2);
                self.list_changed(k)
            }
            FromUpstream::Request(which) => {
                let id = lines::IDS[usize::from(*which) % lines::IDS.len()];
                let method = ["ping", "sampling/createMessage", "elicitation/create"]
                    [usize::from(*which) % 3];
                self.relayed_down(spelled(id, method, &format!(r#"{{"k":{k}}}"#), 0))
            }
            FromUpstream::Notification => self.relayed_down(
                json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"k": k}})
                    .to_string(),
            ),
            FromUpstream::UnderOurId(which) => {
                let live: Vec<Value> = self.oracle.live_ids().cloned().collect();
                if live.is_empty() || !alone {
                    return Some(self.relayed_down(lines::notification(0, k)));
                }
                let id = live[usize::from(*which) % live.len()].clone();
                self.oracle.refuses_upstream(id.clone());
                json!({"jsonrpc": "2.0", "id": id, "method": "ping"}).to_string()
            }
            FromUpstream::Spoof(which) => {
                let mut newest = self.oracle.prompts.iter().rev();
                let id = newest
                    .nth(usize::from(*which))
                    .map(|prompt| prompt.id.clone());
                let id = id.unwrap_or_else(|| json!(format!("u{k}")));
                let line = lines::answer(&id, 0).line;
                self.unasked(&id.to_string(), line, alone)
            }
            FromUpstream::Unasked(which) => {
                let mut calls = self.oracle.calls.iter();
                let held = calls.find(|call| call.end == End::Waits);
                let id = match (which % 5, held) {
                    (0, _) => "null".to_owned(),
                    (1, _) => "[1]".to_owned(),
                    // It has not seen this call, so it cannot answer it.
                    (2, Some(call)) => call.id.clone(),
                    (3, Some(call)) => format!("\" {}\\u0000x\"", call.id.trim_matches('"')),
                    _ => format!("\"u{k}\""),
                };
                let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"k":{k}}}}}"#);
                self.unasked(&id, line, alone)
            }
            FromUpstream::Garbage(kind) => lines::garbage(*kind, alone),
        })
    }

    fn round(&mut self, id: &Value, how: u8, k: u64) -> String {
        let answer = lines::round_answer(id, how, k);
        self.upstream_state = answer.state.unwrap_or(self.upstream_state.clone());
        self.oracle
            .upstream_answers(id, answer.line.clone(), answer.asks);
        answer.line
    }

    /// A response that nobody waits for. It is dropped if it could pass for that of a held call.
    fn unasked(&mut self, id: &str, line: String, alone: bool) -> String {
        let (text, id) = (id, RequestId::from_json(id));
        let mut held = self.oracle.calls.iter();
        let is_dropped = held.any(|call| {
            let held = RequestId::from_json(&call.id).unwrap();
            call.end == End::Waits && id.as_ref().is_none_or(|id| id.may_be_confused_with(&held))
        });
        if id.is_some() && (alone || !is_dropped) {
            // With the exact id of a call it may be a late answer to an earlier one.
            let surely = self.oracle.calls.iter().all(|call| call.id != text);
            let id = meaning(&serde_json::from_str(text).unwrap());
            self.oracle.answers_unasked(id, surely);
        }
        match (is_dropped, alone) {
            (false, _) => self.relayed_down(line),
            (true, true) => line,
            // Earlier entries of the batch may let the call run.
            (true, false) => {
                let k = self.fresh();
                self.relayed_down(lines::notification(0, k))
            }
        }
    }

    fn relayed_down(&mut self, text: String) -> String {
        self.oracle.relays_to_client(text.clone());
        text
    }

    fn list_changed(&mut self, k: u64) -> String {
        self.oracle.lists.changed();
        let text = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"k": k}});
        self.relayed_down(text.to_string())
    }

    pub(super) fn answer_pending(&mut self, which: usize, how: u8, alone: bool, k: u64) -> String {
        let mut unanswered = self.oracle.unanswered.iter();
        let nth = which % self.oracle.unanswered.len().max(1);
        let Some((key, unanswered)) = unanswered.nth(nth) else {
            return self.relayed_down(lines::notification(0, k));
        };
        let (key, unanswered) = (key.clone(), unanswered.clone());
        let result = match unanswered.method.as_str() {
            "initialize" => {
                let revision = ["2025-06-18", "2025-11-25", "2024-11-05"][k as usize % 3];
                json!({"protocolVersion": revision, "capabilities": {}, "k": k})
            }
            // Not its answers to the gate.
            "tools/list" => {
                self.oracle.lists.client_is_listed();
                json!({"tools": write_tools(&[(1, 1, 0), (4, 1, 0)]), "k": k})
            }
            _ => json!({"content": [{"type": "text", "text": "ok"}], "k": k}),
        };
        self.oracle.unanswered.remove(&key);
        let text = lines::response(&unanswered.id, &result, how, alone);
        self.relayed_down(text)
    }

    /// Answers a `tools/list` of the gate's own.
    pub(super) fn own_list(&mut self, which: usize, answer: &ListAnswer) -> String {
        let id = self.oracle.lists.asked[which].id.clone();
        let tell = |world: &mut World, page, last| {
            let (ttl, now) = (world.setup.list_ttl_ms, world.scene.now.elapsed);
            world.oracle.lists.answered(which, page, last, ttl, now);
        };
        let (tools, more) = match answer {
            ListAnswer::True => (self.tools.clone(), false),
            ListAnswer::Tools(tools, more) => (tools.clone(), *more),
            ListAnswer::Error => {
                tell(self, None, true);
                let error = json!({"code": -32603, "message": "no list today"});
                return json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string();
            }
            ListAnswer::Nonsense(kind) => {
                tell(self, None, true);
                let nonsense = [
                    json!([]),
                    json!({"tools": 7}),
                    json!(null),
                    json!({"tools": {}}),
                ];
                let result = &nonsense[usize::from(*kind) % 4];
                return json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
            }
        };
        let mut page = Listing::new();
        add_tools(&tools, &mut page);
        tell(self, Some(page), !more);
        let mut result = json!({"resultType": "complete", "tools": write_tools(&tools)});
        if let Some(ttl) = self.setup.list_ttl_ms {
            result["ttlMs"] = json!(ttl);
        }
        if more {
            result["nextCursor"] = json!(format!("next {}", self.oracle.lists.asked.len()));
        }
        json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
    }
}
