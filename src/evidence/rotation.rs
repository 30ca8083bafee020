//! The rotated files of a log: how they are named, and how to find them.
//!
//! `file` decides when to rotate, and which number comes next.

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
/// Renames the log to `NAME.1`, that file to `NAME.2`, and so on. The tenth is overwritten.
///
/// If we are killed halfway, there is a gap in the numbers but no file is lost. The next time, only
/// the files before the gap move.
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

/// Opens a rotated file, for reading only: it must not change any more.
pub(super) fn open_rotated(path: &Path) -> Option<File> {
    // If the path is now a link or a pipe, do not follow it or wait for it.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags).open(path).ok()
}

/// Returns the files next to a log that were probably the log before: those with the log's name and
/// a suffix after `.` or `-`, such as `audit.jsonl.1` and `audit.jsonl-20260131`.
pub(super) fn rotated(path: &Path) -> Vec<PathBuf> {
    // If the path is a link, they are next to its target.
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

/// Returns the regular files among these with their modification times, newest first.
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
        // As if we were killed after three renames, or an operator removed the file.
        fs::remove_file(numbered(&path, 4)).unwrap();
        fs::write(&path, "13").unwrap();
        shift(&path).unwrap();
        let kept: Vec<_> = (1..=10).filter_map(read).collect();
        assert_eq!(kept, ["13", "12", "11", "10", "8", "7", "6", "5", "4", "3"]);
    }

    #[test]
    fn only_regular_files_that_start_with_the_logs_name_are_rotated_files() {
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
