//! Answers of the upstream to requests that it was not sent, or that have been answered already.
//!
//! Another process of the user can write to the server's stdout. The client takes an answer that
//! is forged so, but then the true one comes second, and is recorded here. Whether an answer is
//! relayed is decided in `from_upstream`.

use super::output::Output;
use super::state::{Gate, Now};
use crate::approval::display::quoted_name;
use crate::evidence::record::Line;
use crate::mcp::message::RequestId;

/// How many are recorded in a session: the upstream must not fill the log.
const MOST: u32 = 100;

impl Gate {
    /// Records an answer for which no request is open, unless it may be a late one to a request
    /// that was cancelled.
    pub(super) fn record_unasked(&mut self, id: &RequestId, now: Now) {
        if self.unasked >= MOST || self.ambiguous.contains_any(id) {
            return;
        }
        self.unasked += 1;
        let named = match id {
            RequestId::Integer(_) => id.to_string(),
            RequestId::Number(text) | RequestId::Text(text) => quoted_name(text),
        };
        let mut reason = format!(
            "the server answered request {named}, which it was not sent or which had been answered already"
        );
        if self.unasked == MOST {
            reason.push_str("; further answers of this kind are not recorded in this session");
        }
        self.time.set(now.unix_ms);
        // The reason shows the beginning of an id that is too long.
        let id = Some(id).filter(|id| !id.is_too_long());
        let members = [("reason", reason.as_str())];
        let line = Line::event_about(&self.time, &self.origin, "unasked_answer", id, &members);
        self.put(Output::Record(line));
    }
}
