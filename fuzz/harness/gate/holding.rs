//! The properties of everything that the gate lets through.

use std::time::Duration;

use approval_proxy::gate::{Engine, TimeoutAction};
use approval_proxy::policy::Mode;

use super::super::envelope::is_yes;
use super::super::readers::{Call, calls, has_equal_keys, items, members, only, string};
use super::rounds::shows;
use super::{Claims, Input, Prompt, State, World, holds, lossy};

impl World {
    /// Notes the answers in a line, as a reader that rejects equal keys sees them.
    pub(super) fn note_answers(&mut self, line: &[u8]) {
        let Ok(text) = std::str::from_utf8(line) else {
            return;
        };
        let messages = items(text).unwrap_or_else(|| vec![text]);
        for message in messages {
            let Some(members) = members(message).filter(|members| !has_equal_keys(members)) else {
                continue;
            };
            let Some(id) = only(&members, "id").and_then(string) else {
                continue;
            };
            let result = only(&members, "result");
            let has = |key| only(&members, key).is_some();
            let elapsed = self.now.elapsed;
            // If the inbox shows the question too, a verdict may take a moment to arrive, and so may an answer.
            let channels = &self.settings.channels;
            let has_inbox = channels
                .iter()
                .any(|channel| channel.engine == Engine::INBOX);
            let grace = Duration::from_millis(if has_inbox { 500 } else { 0 });
            let limit = self.settings.timeout.map(|limit| limit + grace);
            let mut prompts = self.prompts.iter_mut();
            let open = prompts.find(|prompt| prompt.id == id && prompt.item.is_none());
            let Some(prompt) = open.filter(|prompt| prompt.state == State::Open) else {
                continue;
            };
            if let Some(result) = result.filter(|_| !has("error") && !has("method")) {
                self.claims.add(result, elapsed.saturating_sub(prompt.got));
            }
            let is_in_time = limit.is_none_or(|limit| elapsed - prompt.sent < limit);
            if !has("error") && !has("method") && result.is_some_and(is_yes) {
                // If an answer is late, the timer may come first.
                if is_in_time {
                    prompt.state = State::Yes(elapsed);
                }
            } else if members.len() == 3
                && has("jsonrpc")
                && (has("result") || has("error"))
                && line.len() < 1000
                && is_in_time
            {
                prompt.state = State::Over;
            }
        }
    }

    pub(super) fn client_gets(&mut self, line: &[u8], own: bool) {
        let in_input = match &self.input {
            Input::Upstream(input) => holds(input, line) > 0,
            Input::Client(_) | Input::None => false,
        };
        // A request of the upstream is not our prompt, in a batch or alone.
        if !own || in_input {
            return;
        }
        let text = std::str::from_utf8(line).expect("what is ours is text");
        let members = members(text).expect("what is ours is an object");
        if let (Some(id), Some(result)) = (only(&members, "id"), only(&members, "result")) {
            self.expect_true_claims(result);
            return self.note_state(id, result);
        }
        assert!(!self.client_is_gone || !text.contains("elicitation/create"));
        let method = only(&members, "method").and_then(string);
        let params = only(&members, "params").and_then(self::members);
        match (method.as_deref(), params) {
            (Some("elicitation/create"), Some(params)) => {
                let id = only(&members, "id").and_then(string);
                let message = only(&params, "message").and_then(string);
                self.prompts.push(Prompt {
                    id: id.expect("a prompt has an id"),
                    message: message.expect("a prompt has a message"),
                    sent: self.now.elapsed,
                    got: self.now.elapsed,
                    delivered: false,
                    state: State::Open,
                    used: false,
                    item: None,
                });
            }
            (Some("notifications/cancelled"), Some(params)) => {
                let id = only(&params, "requestId").and_then(string);
                let prompt = self
                    .prompts
                    .iter_mut()
                    .find(|prompt| Some(&prompt.id) == id.as_ref());
                let prompt = prompt.expect("a prompt is withdrawn");
                let ran_out = (self.settings.timeout)
                    .is_some_and(|limit| self.now.elapsed - prompt.sent >= limit);
                let silence_is_yes = self.settings.timeout_action == TimeoutAction::Approve;
                prompt.state = match prompt.delivered && ran_out && silence_is_yes {
                    true => State::Silence,
                    false => State::Over,
                };
            }
            _ => {}
        }
    }

    /// A refusal may claim that a person said no only if a person can have said so just now.
    fn expect_true_claims(&self, result: &str) {
        let text = members(result).and_then(|members| {
            let content = items(only(&members, "content")?)?;
            let block = self::members(content.first()?)?;
            string(only(&block, "text")?)
        });
        let fate = text.as_deref().and_then(fate).unwrap_or_default();
        let Claims { denied, instant } = self.claims;
        let claims_denial = fate.starts_with("denied by a person");
        assert!(!claims_denial || denied, "nobody said no: {result}");
        let claims_instant = fate.contains(" ms, faster than a person can read");
        assert!(!claims_instant || instant, "nobody was so fast: {result}");
    }

    pub(super) fn upstream_gets(&mut self, line: &[u8]) {
        let input = match &self.input {
            Input::Client(line) | Input::Upstream(line) => line.as_slice(),
            Input::None => &[],
        };
        for prompt in self.prompts.iter().filter(|p| p.state == State::Open) {
            let id = prompt.id.as_bytes();
            // The client may reveal the id itself, in a call that was held since then.
            let is_told = || self.sent.iter().any(|(sent, _)| holds(sent, id) > 0);
            let leaks = holds(line, id) > 0 && holds(input, id) == 0 && !is_told();
            assert!(!leaks, "the upstream learns the id of a prompt");
        }
        let text = String::from_utf8_lossy(line);
        let Some(members) = members(&text) else {
            return;
        };
        let method = only(&members, "method").and_then(string);
        let Some(id) = only(&members, "id") else {
            return;
        };
        let names_one = id.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
        if method.as_deref() == Some("initialize") && names_one {
            // Earlier questions are void, and a yes to one of them lets nothing run.
            let prompts = self.prompts.iter_mut();
            // Items are closed one by one, and those of stateless requests stay open.
            let prompts = prompts.filter(|prompt| prompt.item.is_none());
            prompts.for_each(|prompt| prompt.state = State::Over);
            let lines = self.sent.len();
            self.rounds.forget_what_is_covered(lines);
        }
        if method.as_deref() == Some("tools/list") && holds(input, line) == 0 {
            self.lists.extend(string(id));
        } else if method.is_some() && id.len() < 64 {
            self.open.push(id.to_owned());
        }
    }

    pub(super) fn upstream_runs(&mut self, line: &[u8]) {
        let call = self.only_call(line);
        self.expect_no_state(line);
        let Some(name) = call.names.first() else {
            panic!("a call without a name: {}", lossy(line));
        };
        assert!(name != "never", "a denied tool runs");
        // A call that the gate has rewritten was approved, whatever the policy says.
        let is_rewritten = self.is_rewritten(line);
        if !is_rewritten {
            let sent: usize = self.sent.iter().map(|(sent, _)| holds(sent, line)).sum();
            let ran = self.ran.entry(line.to_vec()).or_default();
            *ran += 1;
            assert!(*ran <= sent, "{ran} runs of {}", lossy(line));
        }
        if is_rewritten || self.is_gated(name) {
            assert!(self.use_up(line), "nobody said yes to {}", lossy(line));
        }
    }

    fn only_call(&self, line: &[u8]) -> Call {
        let mut calls = calls(line);
        let call = calls.pop().filter(|call| call.is_plain && calls.is_empty());
        call.unwrap_or_else(|| panic!("readers differ about {}", lossy(line)))
    }

    fn is_gated(&self, name: &str) -> bool {
        match self.mode {
            Mode::Destructive => name.starts_with("delete_"),
            // An entry allows an ASCII name in any case.
            Mode::Cautious | Mode::All | Mode::Annotated | Mode::None => {
                !name.eq_ignore_ascii_case("free")
            }
        }
    }

    /// Returns true if the call has the approvals that it needs, and uses them up.
    pub(super) fn use_up(&mut self, line: &[u8]) -> bool {
        let call = self.only_call(line);
        if let Some(found) = self.use_up_modern(line, &call) {
            return found;
        }
        let ttl = self.settings.approval_ttl;
        // An approval covers calls that arrive within its lifetime. The call that it was given for may wait longer, for
        // the tool list.
        let covers = |at: Duration| {
            let mut sent = self.sent.iter().filter(|(sent, _)| holds(sent, line) > 0);
            sent.any(|(_, sent)| sent.saturating_sub(at) <= ttl)
        };
        let is_high = call.names.iter().any(|name| name.starts_with("delete_"));
        let needed = match self.settings.double_confirm && is_high {
            true => 2,
            false => 1,
        };
        let found: Vec<&mut Prompt> = self
            .prompts
            .iter_mut()
            .filter(|prompt| match prompt.state {
                State::Yes(at) => !prompt.used || covers(at),
                State::Silence => needed == 1,
                State::Open | State::Over => false,
            })
            .filter(|prompt| shows(&prompt.message, &call))
            .collect();
        if found.len() < needed {
            return false;
        }
        for prompt in found.into_iter().take(needed) {
            prompt.used = true;
            if ttl.is_zero() {
                prompt.state = State::Over;
            }
        }
        true
    }
}

/// Returns the outcome that a refusal states, after the quoted name.
fn fate(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("The call to tool \"")?;
    let mut is_escaped = false;
    let end = rest.find(|c: char| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    })?;
    rest[end..].strip_prefix("\" was ")
}
