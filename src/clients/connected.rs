//! When a server was last connected, by the default audit logs.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use memchr::memmem;

use crate::evidence::{LOGS, log_name};

/// Returns the time of the newest `open` record of a server.
pub(super) fn last_connected(state_dir: &Path, server: &str) -> Option<String> {
    let log = state_dir.join(LOGS).join(log_name(server));
    let mut rotated = log.clone().into_os_string();
    rotated.push(".1");
    let newest = |path: &Path| newest_open(path).ok().flatten();
    newest(&log).or_else(|| newest(Path::new(&rotated)))
}

/// Reads a log from its end.
fn newest_open(path: &Path) -> io::Result<Option<String>> {
    let mut file = File::open(path)?;
    let mut start = file.metadata()?.len();
    // The bytes behind `start`, up to the end of the last line that was searched.
    let mut text: Vec<u8> = Vec::new();
    while start > 0 {
        let size = start.min(CHUNK);
        start -= size;
        file.seek(SeekFrom::Start(start))?;
        let mut chunk = Vec::new();
        file.by_ref().take(size).read_to_end(&mut chunk)?;
        chunk.extend_from_slice(&text);
        // The first line may have begun before.
        let from = match start {
            0 => 0,
            _ => memchr::memchr(b'\n', &chunk).map_or(chunk.len(), |newline| newline + 1),
        };
        let lines = chunk.get(from..).unwrap_or_default();
        let mut lines = lines.rsplit(|byte| *byte == b'\n');
        if let Some(time) = lines.find_map(time_of_open) {
            return Ok(Some(time));
        }
        chunk.truncate(from);
        text = chunk;
    }
    Ok(None)
}

const CHUNK: u64 = 256 * 1024;

fn time_of_open(line: &[u8]) -> Option<String> {
    memmem::find(line, br#""event":"open""#)?;
    let record: serde_json::Value = serde_json::from_slice(line).ok()?;
    let is_open = record.get("event")?.as_str()? == "open";
    is_open.then(|| record.get("ts")?.as_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_open_record_counts_however_long_the_log_is() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(LOGS);
        std::fs::create_dir(&folder).unwrap();
        let log = folder.join(log_name("a b"));
        assert_eq!(last_connected(dir.path(), "a b"), None);
        let open = |time| format!("{{\"ts\":\"{time}\",\"event\":\"open\"}}\n");
        let call = format!(
            "{{\"ts\":\"3\",\"tool\":\"t\",\"args\":\"\\\"event\\\":\\\"open\\\"{}\"}}\n",
            "x".repeat(1000)
        );
        let text = open("1") + &open("2") + &call.repeat(2000) + "{\"torn";
        std::fs::write(&log, text).unwrap();
        assert_eq!(last_connected(dir.path(), "a b").as_deref(), Some("2"));
    }
}
