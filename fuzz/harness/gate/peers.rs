//! Messages of the client and the upstream, and the passing of time.

use std::time::Duration;

use super::{Claims, Input, TOOLS, World};

impl World {
    pub(super) fn filled(&self, line: &[u8]) -> Vec<u8> {
        let states = &self.rounds.states;
        let state = |back: usize| {
            let at = states.len().checked_sub(back);
            at.map_or("", |at| states[at].text.as_str())
        };
        let newest = |back: usize| self.prompt_id(back - 1).unwrap_or_default();
        let mut out = Vec::new();
        let mut rest = line;
        while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
            out.extend_from_slice(&rest[..at]);
            let id = match rest.get(at + 1) {
                Some(b'P') => newest(1),
                Some(b'O') => newest(2),
                Some(b'S') => state(1),
                Some(b'Q') => state(2),
                Some(b'L') => self.lists.last().map_or("", String::as_str),
                _ => "$",
            };
            out.extend_from_slice(id.as_bytes());
            let taken = if id == "$" { 1 } else { 2 };
            rest = rest.get(at + taken..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
        out
    }

    pub(super) fn call(&mut self, details: &[u8]) -> Vec<u8> {
        self.count += 1;
        let mut details = details.iter();
        let tool = details
            .next()
            .map_or(0, |byte| usize::from(*byte) % TOOLS.len());
        let id = match details.next() {
            Some(digit @ b'0'..=b'9') => char::from(*digit).to_string(),
            _ => format!("\"u{}\"", self.count),
        };
        let special = details.next();
        let mark = match special {
            Some(b'i') => "same.".to_owned(),
            _ => format!("t{}.", self.count),
        };
        let more = match special {
            Some(b't') => r#","task":{"ttl":5}"#,
            Some(b'p') => r#","_meta":{"progressToken":7}"#,
            Some(b's') => r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
            _ => "",
        };
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{}","arguments":{{"m":"{mark}"}}{more}}}}}"#,
            TOOLS[tool]
        )
        .into_bytes()
    }

    pub(super) fn shake_hands(&mut self, revision: &str, capabilities: Option<&u8>) {
        let capabilities = match capabilities {
            Some(b'n') => "{}",
            Some(b'u') => r#"{"elicitation":{"url":{}}}"#,
            _ => r#"{"elicitation":{}}"#,
        };
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":"init","method":"initialize","params":{{"protocolVersion":"{revision}","capabilities":{capabilities},"clientInfo":{{"name":"c","version":"1"}}}}}}"#
        );
        self.client_sends(line.into_bytes());
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":"init","result":{{"protocolVersion":"{revision}","capabilities":{{"tools":{{}}}}}}}}"#
        );
        self.upstream_sends(line.into_bytes());
        let line = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        self.client_sends(line.to_vec());
    }

    pub(super) fn response_to_prompt(&self, back: usize, members: &str) -> Vec<u8> {
        // The oldest, if there are not that many.
        let id = (0..=back).rev().find_map(|back| self.prompt_id(back));
        let id = id.unwrap_or("none");
        format!(r#"{{"jsonrpc":"2.0","id":"{id}",{members}}}"#).into_bytes()
    }

    /// Returns the id of a prompt that the client has received, counted from the newest.
    fn prompt_id(&self, back: usize) -> Option<&str> {
        let prompts = self.prompts.iter().rev();
        let mut prompts = prompts.filter(|prompt| prompt.item.is_none());
        prompts.nth(back).map(|prompt| prompt.id.as_str())
    }

    pub(super) fn answer(&mut self, back: usize, members: &str) {
        let line = self.response_to_prompt(back, members);
        self.client_sends(line);
    }

    pub(super) fn answer_list(&mut self, variant: usize) {
        let Some(id) = self.lists.pop() else {
            return;
        };
        self.count += 1;
        let changed = format!(
            r#"{{"tools":[{{"name":"delete_user","description":"number {}"}},{{"name":"add_note","title":"{}"}}]}}"#,
            self.count, self.count
        );
        let result = match variant {
            1 => {
                r#"{"tools":[{"name":"delete_user","annotations":{"readOnlyHint":true,"destructiveHint":false}},{"name":"add_note","annotations":{"readOnlyHint":true}}]}"#
            }
            2 => r#"{"tools":[]}"#,
            3 => r#"{"tools":{}}"#,
            4 => r#"{"tools":[{"name":"ponder"}],"nextCursor":"n"}"#,
            5 => {
                r#"{"tools":[{"name":"add_note","annotations":{"readOnlyHint":true}},{"name":"add_note"}]}"#
            }
            6 => r#"{"tools":[{"name":"add_note"}],"ttlMs":0}"#,
            7 => changed.as_str(),
            8 => {
                r#"{"tools":[{"name":"free"},{"name":"delete_user","description":"Deletes."},{"name":"add_note"},{"name":"never"},{"name":"read_note","annotations":{"readOnlyHint":true}},{"name":"ponder"}],"ttlMs":3600000}"#
            }
            _ => {
                r#"{"tools":[{"name":"free"},{"name":"delete_user","description":"Deletes."},{"name":"add_note"},{"name":"never"},{"name":"read_note","annotations":{"readOnlyHint":true}},{"name":"ponder"}]}"#
            }
        };
        let line = format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{result}}}"#);
        self.upstream_sends(line.into_bytes());
    }

    pub(super) fn client_sends(&mut self, line: Vec<u8>) {
        self.claims = Claims::default();
        self.note_answers(&line);
        self.note_calls(&line);
        self.sent.push((line.clone(), self.now.elapsed));
        self.gate.from_client(&line, self.now);
        self.input = Input::Client(line);
        self.carry_out();
    }

    pub(super) fn upstream_sends(&mut self, line: Vec<u8>) {
        self.gate.from_upstream(&line, self.now);
        self.input = Input::Upstream(line);
        self.carry_out();
    }

    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now.elapsed + by;
        while let Some(due) = self.gate.poll_timeout().filter(|due| *due <= end) {
            self.set_clock(due.max(self.now.elapsed));
            self.tick();
            let next = self.gate.poll_timeout();
            assert!(
                next.is_none_or(|next| next > self.now.elapsed),
                "a timer that is over stays due"
            );
        }
        self.set_clock(end);
    }

    pub(super) fn set_clock(&mut self, elapsed: Duration) {
        let passed = elapsed.saturating_sub(self.now.elapsed);
        self.now.elapsed = elapsed;
        self.now.unix_ms += i64::try_from(passed.as_millis()).unwrap_or(0);
    }

    pub(super) fn tick(&mut self) {
        self.gate.tick(self.now);
        self.carry_out();
    }
}
