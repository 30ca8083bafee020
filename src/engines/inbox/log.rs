//! Records about the inbox itself: which devices were paired with its page, and which were revoked.
//!
//! They are in a log of their own, because no server and no session is involved.

use std::fmt;

use crate::evidence::record::{Line, Origin, Timestamp};
use crate::evidence::{StateFolderLogError, open_in_state_folder};
use crate::sys::clock::Clock;
use crate::sys::state_dir::StateDir;

/// The log of the inbox in a state folder. Its file is open only while something is written.
#[derive(Debug, Clone)]
pub struct InboxLog(StateDir);

/// What these records have in place of a server's name. The file is called like it.
const NAME: &str = "inbox";

/// An event cannot be recorded.
#[derive(Debug, thiserror::Error)]
#[error("the audit log of the inbox cannot be written")]
pub struct Unrecorded(#[from] StateFolderLogError);

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceEvent {
    /// A device was paired.
    Paired,
    /// A device was revoked.
    Revoked,
}

impl fmt::Display for DeviceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceEvent::Paired => "device_paired",
            DeviceEvent::Revoked => "device_revoked",
        })
    }
}

impl InboxLog {
    /// Returns the log of a state folder. Opens nothing.
    #[must_use]
    pub fn new(dir: &StateDir) -> InboxLog {
        InboxLog(dir.clone())
    }

    /// Records what happened to a device with this id and name. `by` says where: `page` or `terminal`. When this returns,
    /// the record survives a power failure.
    ///
    /// # Errors
    /// [`Unrecorded`].
    pub fn record(
        &self,
        event: DeviceEvent,
        id: &str,
        name: &str,
        by: &str,
    ) -> Result<(), Unrecorded> {
        let clock = Clock::start();
        let time = Timestamp::new(clock.now().unix_ms);
        let members = [("device", id), ("name", name), ("by", by)];
        let line = Line::event(&time, &Origin::new("", NAME), &event.to_string(), &members);
        let write = || {
            let mut file = open_in_state_folder(self.0.path(), NAME)?;
            file.append(&[line], || clock.now().elapsed)?;
            file.sync()?;
            Ok::<(), StateFolderLogError>(())
        };
        Ok(write()?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::sys::state_dir::for_test;

    #[test]
    fn each_event_is_a_line_that_names_the_device() {
        let (_dir, state) = for_test();
        let log = InboxLog::new(&state);
        log.record(DeviceEvent::Paired, "3f2a91c0", "Ann’s phone", "page")
            .unwrap();
        log.record(DeviceEvent::Revoked, "3f2a91c0", "Ann’s phone", "terminal")
            .unwrap();
        let text = std::fs::read_to_string(state.path().join("audit/inbox.jsonl")).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        for (at, (event, by)) in [("device_paired", "page"), ("device_revoked", "terminal")]
            .into_iter()
            .enumerate()
        {
            assert_eq!(lines[at]["seq"], at + 1);
            assert_eq!(lines[at]["event"], event);
            assert_eq!(lines[at]["device"], "3f2a91c0");
            assert_eq!(lines[at]["name"], "Ann’s phone");
            assert_eq!(lines[at]["by"], by);
        }
    }
}
