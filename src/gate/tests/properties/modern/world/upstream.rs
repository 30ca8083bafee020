//! The upstream's lines, and what they mean.

use serde_json::{Value, json};

use super::World;
use crate::gate::tests::properties::modern::steps::FromUpstream;
use crate::gate::tests::properties::reading::{Listing, add_tools, write_tools};

impl World {
    /// A line, if there is anything to say.
    pub(super) fn upstream_line(&mut self, entry: &FromUpstream) -> Option<String> {
        let k = self.fresh();
        match entry {
            FromUpstream::Answer { which, how } => {
                let mut owed = self.oracle.owed.values().rev();
                let nth = usize::from(*which) % self.oracle.owed.len().max(1);
                let id = owed.nth(nth)?.id.clone();
                Some(self.answer(&id, *how, k))
            }
            FromUpstream::Again { which, how } => {
                let mut newest = self.used.iter().rev();
                let id = newest.nth(usize::from(*which % 16)).cloned();
                let id = id.unwrap_or_else(|| json!(format!("u{k}")));
                Some(self.answer(&id, *how, k))
            }
            FromUpstream::ListChanged(tools) => {
                for new in tools {
                    self.tools.retain(|(tool, ..)| *tool != new.0);
                    // The last kind of hints says that the tool is gone.
                    if new.1 < 7 {
                        self.tools.push(*new);
                    }
                }
                Some(self.list_changed(k))
            }
            FromUpstream::Redefined => {
                for tool in self
                    .tools
                    .iter_mut()
                    .filter(|tool| [1, 2].contains(&tool.0))
                {
                    tool.2 = 1 - tool.2;
                }
                Some(self.list_changed(k))
            }
            FromUpstream::OwnList(fails) => self.own_list(*fails),
            FromUpstream::Notification => {
                let text = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"k": k}});
                Some(self.relayed_down(text.to_string()))
            }
        }
    }

    fn list_changed(&mut self, k: u64) -> String {
        self.oracle.lists.changed();
        let text = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"k": k}});
        self.relayed_down(text.to_string())
    }

    fn relayed_down(&mut self, text: String) -> String {
        self.oracle.relays_to_client(text.clone());
        text
    }

    /// The answer to a request of the client's; 1, 2, 4 and 7 are questions.
    fn answer(&mut self, id: &Value, how: u8, k: u64) -> String {
        let (state, odd) = (format!("theirs-{k}"), format!("their \"{k}\" é\\\n"));
        let question = r#""inputRequests":{"theirs":{"method":"roots/list","params":{"n":1.0}}}"#;
        let result = match how {
            1 => {
                format!(r#"{{"resultType":"input_required",{question},"requestState":"{state}"}}"#)
            }
            2 => format!(r#"{{{question},"resultType":"input_required","k":{k}}}"#),
            4 => format!(
                r#"{{"requestState":{},"resultType":"input_required",{question}}}"#,
                json!(odd)
            ),
            5 => format!(r#"{{"resultType":"input_required","requestState":{k},{question}}}"#),
            6 => format!(r#"{{"resultType":"complete","requestState":"{state}",{question}}}"#),
            7 => format!(
                r#"{{"resultT\u0079pe":"input_requ\u0069red",{question},"request\u0053tate":"{state}"}}"#
            ),
            8 => format!(
                r#"{{"resultType":"input_required","requestState":"a{k}","requestState":"{state}"}}"#
            ),
            _ => format!(r#"{{"resultType":"complete","content":[],"k":{k}}}"#),
        };
        let error = r#""error":{"code":-1,"message":"no","data":1.50}"#;
        let text = match how {
            3 => format!(r#"{{"jsonrpc":"2.0","id":{id},{error}}}"#),
            9 => format!(r#"{{"result":{result},"jsonrpc":"2.0","id":{id}}}"#),
            _ => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        };
        let asks = matches!(how, 1 | 2 | 4 | 7);
        let asks = asks.then(|| serde_json::from_str(&result).unwrap());
        match how {
            1 | 5..=8 => self.upstream_state = state,
            4 => self.upstream_state = odd,
            _ => {}
        }
        self.oracle.upstream_answers(id, text.clone(), asks);
        text
    }

    /// Answers the gate's own `tools/list`.
    pub(super) fn own_list(&mut self, fails: bool) -> Option<String> {
        let id = self.oracle.lists.open()?.clone();
        let now = self.scene.now.elapsed;
        if fails {
            self.oracle.lists.answered(None, now, None);
            let error = json!({"code": -32603, "message": "no list today"});
            return Some(json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string());
        }
        let mut listing = Listing::new();
        add_tools(&self.tools, &mut listing);
        let ttl = self.setup.list_ttl_ms;
        self.oracle.lists.answered(Some(listing), now, ttl);
        let mut result = json!({"resultType": "complete", "tools": write_tools(&self.tools)});
        if let Some(ttl) = ttl {
            result["ttlMs"] = json!(ttl);
        }
        Some(json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
    }
}
