//! The files that a log was before: how they are named, and how they are found again.
//!
//! When a log is rotated, and what numbers the next one goes on with, is `file`'s business.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;

/// How many rotated files are kept.
const KEPT: u32 = 10;
/// Renames the log to `NAME.1`, after that to `NAME.2`, and so on. The tenth is overwritten.
///
/// If we are killed halfway, a number is missing, and no file is lost: the next time, only the
/// files up to that gap move on.
pub(super) fn shift(path: &Path) -> io::Result<()> {
    let is_free = |number: &u32| fs::symlink_metadata(numbered(path, *number)).is_err();
    let free = (1..KEPT).find(is_free).unwrap_or(KEPT);
    for number in (1..free).rev() {
        fs::rename(numbered(path, number), numbered(path, number + 1))?;
    }
    fs::rename(path, numbered(path, 1))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Opens a file that was the log once. Only for reading: it is no longer ours to change.
pub(super) fn open_rotated(path: &Path) -> Option<File> {
    // Neither a link nor a pipe is followed or waited for, should one be there by now.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags).open(path).ok()
}

/// What stands beside a log and was probably the log once: what has the log's name with something
/// added after a `.` or a `-`, as in `audit.jsonl.1` and `audit.jsonl-20260131`.
pub(super) fn rotated(path: &Path) -> Vec<PathBuf> {
    // Where the path is a link, they stand beside the file.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().unwrap_or_default();
    let was_the_log = |other: &OsString| {
        let added = other.as_bytes().strip_prefix(name.as_bytes());
        added.is_some_and(|added| added.starts_with(b".") || added.starts_with(b"-"))
    };
    let folder = path.parent().map(fs::read_dir);
    let entries = folder.into_iter().flatten().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    names
        .filter(was_the_log)
        .map(|name| path.with_file_name(name))
        .collect()
}

/// The plain files among these, and when each was written to, the newest first.
pub(super) fn newest_first(paths: Vec<PathBuf>) -> Vec<(SystemTime, PathBuf)> {
    let mut found: Vec<(SystemTime, PathBuf)> = paths
        .into_iter()
        .filter_map(|path| {
            let metadata = fs::symlink_metadata(&path).ok()?;
            let modified = metadata.is_file().then(|| metadata.modified().ok())?;
            Some((modified?, path))
        })
        .collect();
    found.sort();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ten_rotated_files_are_kept_and_a_gap_is_filled_before_any_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("box.jsonl");
        let read = |number| fs::read_to_string(numbered(&path, number)).ok();
        for round in 1..=12 {
            fs::write(&path, format!("{round}")).unwrap();
            shift(&path).unwrap();
        }
        let kept: Vec<_> = (1..=11).map(read).collect();
        let mut expected: Vec<_> = (3..=12)
            .rev()
            .map(|round| Some(format!("{round}")))
            .collect();
        expected.push(None);
        assert_eq!(kept, expected);
        // Somebody was killed after three renames, or an operator took one away.
        fs::remove_file(numbered(&path, 4)).unwrap();
        fs::write(&path, "13").unwrap();
        shift(&path).unwrap();
        let kept: Vec<_> = (1..=10).filter_map(read).collect();
        assert_eq!(kept, ["13", "12", "11", "10", "8", "7", "6", "5", "4", "3"]);
    }

    #[test]
    fn only_plain_files_with_the_logs_name_in_front_were_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        for name in [
            "a.jsonl",
            "a.jsonl.1",
            "a.jsonl-2026",
            "a.jsonlx",
            "b.jsonl.1",
            "a.json",
        ] {
            let file = File::create(dir.path().join(name)).unwrap();
            let age = Duration::from_secs(if name.ends_with(".1") { 1000 } else { 2000 });
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(9000) - age)
                .unwrap();
        }
        fs::create_dir(dir.path().join("a.jsonl.d")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("a.jsonl.2")).unwrap();
        let found = newest_first(rotated(&path));
        let names: Vec<_> = found
            .iter()
            .map(|(_, path)| path.file_name().unwrap())
            .collect();
        assert_eq!(names, ["a.jsonl.1", "a.jsonl-2026"]);
    }
}
