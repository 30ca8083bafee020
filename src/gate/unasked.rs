//! Records the upstream's answers to requests that it was not sent or has already answered.
//!
//! Another process of the user can write to the server's stdout. The client accepts such a forged
//! answer, but then the real one comes second and is recorded here. `from_upstream` decides whether
//! an answer is passed on.

use super::output::Output;
use super::state::{Gate, Now};
use crate::approval::display::quoted_name;
use crate::evidence::record::Line;
use crate::mcp::message::RequestId;

/// How many are recorded per session: the upstream must not fill the log.
const MOST: u32 = 100;

impl Gate {
    /// Records an answer without an open request, unless it may be a late answer to a cancelled
    /// one.
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
            "the server answered request {named}, which was not sent to it or was already answered"
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
