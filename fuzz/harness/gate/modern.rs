//! Stateless messages (2026-07-28) of the client and the upstream.

use super::rounds::Draft;
use super::{TOOLS, World, YES};

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo""#;
const FORMS: &str = r#""io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}"#;
const NO_FORMS: &str = r#""io.modelcontextprotocol/clientCapabilities":{}"#;

impl World {
    pub(super) fn modern_call(&mut self, details: &[u8]) -> Vec<u8> {
        self.count += 1;
        let special = details.get(2);
        let draft = Draft {
            tool: details
                .first()
                .map_or(0, |byte| usize::from(*byte) % TOOLS.len()),
            mark: match special {
                Some(b'i') => "same.".to_owned(),
                _ => format!("t{}.", self.count),
            },
            task: special == Some(&b't'),
            client: if special == Some(&b'd') { "d" } else { "c" },
        };
        let id = self.id(details.get(1));
        let forms = if special == Some(&b'n') {
            NO_FORMS
        } else {
            FORMS
        };
        self.written(&id, draft, forms, "")
    }

    pub(super) fn retry(&mut self, back: usize, details: &[u8]) {
        if let Some(line) = self.retry_of(back, details) {
            self.client_sends(line);
        }
    }

    pub(super) fn retry_together(&mut self, details: &[u8]) {
        let retries = details.chunks(4).take(8).filter_map(|retry| {
            let (back, details) = retry.split_first()?;
            self.retry_of(usize::from(back & 15), details)
        });
        let retries: Vec<Vec<u8>> = retries.collect();
        self.client_sends([&b"["[..], &retries.join(&b","[..]), b"]"].concat());
    }

    /// The answer, the id, and the variant.
    fn retry_of(&mut self, back: usize, details: &[u8]) -> Option<Vec<u8>> {
        self.count += 1;
        let at = self.rounds.states.len().checked_sub(1 + back)?;
        let state = &self.rounds.states[at];
        let mut draft = state.draft.clone()?;
        let state = state.text.clone();
        let yes = YES.trim_start_matches(r#""result":"#);
        let answers = match details.first() {
            Some(b'y') => format!(r#","inputResponses":{{"approval-proxy":{yes}}}"#),
            Some(b'n') => r#","inputResponses":{"approval-proxy":{"action":"decline"}}"#.to_owned(),
            Some(b'z') => r#","inputResponses":{"approval-proxy":{"action":"cancel"}}"#.to_owned(),
            Some(b'g') => r#","inputResponses":{"approval-proxy":[true]}"#.to_owned(),
            Some(b'b') => format!(r#","inputResponses":{{"approval-proxy":{yes},"k":1.0}}"#),
            Some(b'u') => r#","inputResponses":{"k":{"roots":[ 1.0 ]}}"#.to_owned(),
            _ => String::new(),
        };
        let id = self.id(details.get(1));
        let mut forms = FORMS;
        match details.get(2) {
            Some(b'o') => draft.mark = format!("t{}.", self.count),
            Some(b'f') => draft.tool = (draft.tool + 1) % TOOLS.len(),
            Some(b't') => draft.task = !draft.task,
            Some(b'd') => draft.client = "d",
            Some(b'n') => forms = NO_FORMS,
            Some(b'w') => {
                // Without a state.
                return Some(self.written(&id, draft, forms, &answers));
            }
            Some(b'l') => {
                let line = format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{}","arguments":{{"m":"{}"}},"requestState":"{state}"{answers}}}}}"#,
                    TOOLS[draft.tool], draft.mark
                );
                return Some(line.into_bytes());
            }
            _ => {}
        }
        let more = format!(r#"{answers},"requestState":"{state}""#);
        Some(self.written(&id, draft, forms, &more))
    }

    pub(super) fn forge(&mut self, back: usize, how: usize) {
        self.count += 1;
        let Some(at) = self.rounds.states.len().checked_sub(1 + back) else {
            return;
        };
        let state = &self.rounds.states[at];
        let Some(draft) = state.draft.clone() else {
            return;
        };
        let text = &state.text;
        let half = text.len() / 2;
        let forged = match how {
            0 => format!("{}A{}", &text[..half], &text[half + 1..]),
            1 => format!("{}B{}", &text[..half], &text[half + 1..]),
            2 => text[..text.len() - 1].to_owned(),
            3 => format!("{text}A"),
            4 => text.to_lowercase(),
            5 => format!(" {text}"),
            6 => "theirs".to_owned(),
            _ => String::new(),
        };
        let yes = YES.trim_start_matches(r#""result":"#);
        let more =
            format!(r#","requestState":"{forged}","inputResponses":{{"approval-proxy":{yes}}}"#);
        let id = self.id(None);
        let line = self.written(&id, draft, FORMS, &more);
        self.client_sends(line);
    }

    pub(super) fn ask_back(&mut self, how: usize) {
        let Some(id) = self.open.pop() else {
            return;
        };
        let kind = match how {
            2 => r#""resultType":"input_requ\u0069red""#,
            _ => r#""resultType":"input_required""#,
        };
        let state = match how {
            1 => "",
            3 => r#","requestState":7"#,
            4 => r#","requestState":"a\"\u0062 é""#,
            5 => r#","requestState":"a","requestState":"b""#,
            _ => r#","requestState":"theirs""#,
        };
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{{kind},"inputRequests":{{"k":{{"method":"roots/list"}}}}{state}}}}}"#
        );
        self.upstream_sends(line.into_bytes());
    }

    fn id(&self, digit: Option<&u8>) -> String {
        match digit {
            Some(digit @ b'0'..=b'9') => char::from(*digit).to_string(),
            _ => format!("\"u{}\"", self.count),
        }
    }

    fn written(&mut self, id: &str, draft: Draft, forms: &str, more: &str) -> Vec<u8> {
        let task = if draft.task {
            r#","task":{"ttl":5}"#
        } else {
            ""
        };
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{}","arguments":{{"m":"{}"}}{task}{more},"_meta":{{{META}:{{"name":"{}"}},{forms}}}}}}}"#,
            TOOLS[draft.tool], draft.mark, draft.client
        );
        self.rounds.drafts.insert(id.to_owned(), draft);
        line.into_bytes()
    }
}
