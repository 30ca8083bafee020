//! The audit log: whether it can be written, and whether its last line is whole.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::report::{Check, Finding};
use crate::config::AuditLog;
use crate::evidence::LOGS;
use crate::sys::permissions::writable_by_others;
use crate::sys::state_dir::{StateDir, quoted_for_shell};
use crate::sys::with_causes;

/// Checks the log of servers without settings of their own. Creates nothing.
pub(super) fn check(log: &AuditLog, state_dir: Option<&Path>) -> Vec<Finding> {
    match log {
        AuditLog::File(path) => file(path),
        AuditLog::Stderr => vec![Finding::advice(
            Check::Audit,
            "the audit log goes to stderr only, which most clients do not keep",
            "name a file with `auditLog`, or remove that setting",
        )],
        AuditLog::StateFolder => match state_dir {
            None => vec![Finding::problem(
                Check::Audit,
                "no audit log is kept, because there is no state folder",
                "set `HOME`, or name a folder with --state-dir",
            )],
            Some(folder) => logs(&folder.join(LOGS)),
        },
    }
}

/// A log that somebody has named.
pub(super) fn file(path: &Path) -> Vec<Finding> {
    let shown = path.display();
    let problem = |what: String, fix: &str| vec![Finding::problem(Check::Audit, what, fix)];
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() => problem(
            format!("the audit log `{shown}` is not a regular file, so no proxy starts"),
            "name a regular file with `auditLog` or --audit-log",
        ),
        Ok(metadata) => {
            if access(path, Access::READ_OK | Access::WRITE_OK).is_err() {
                return problem(
                    format!("the audit log `{shown}` is not writable, so no proxy starts"),
                    "allow reading and writing, or name another file",
                );
            }
            let what = format!(
                "the audit log `{shown}` is writable ({})",
                size(metadata.len())
            );
            let mut findings = vec![Finding::ok(Check::Audit, what)];
            findings.extend(writable_by_others(&metadata).map(|exposure| {
                let what = format!("other users may change the audit log `{shown}` ({exposure})");
                Finding::advice(
                    Check::Audit,
                    what,
                    format!("chmod go-w {}", quoted_for_shell(path)),
                )
            }));
            findings.extend(torn(path));
            findings
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                Some(_) | None => Path::new("."),
            };
            let can_create =
                parent.is_dir() && access(parent, Access::WRITE_OK | Access::EXEC_OK).is_ok();
            match can_create {
                true => vec![Finding::ok(
                    Check::Audit,
                    format!(
                        "the audit log `{shown}` does not exist yet; the first proxy creates it"
                    ),
                )],
                false => problem(
                    format!("the audit log `{shown}` cannot be created, so no proxy starts"),
                    "create its folder and allow writing there, or name another file",
                ),
            }
        }
        Err(error) => problem(
            format!("the audit log `{shown}` cannot be opened: {error}"),
            "correct its permissions, or name another file",
        ),
    }
}

/// The logs in the state folder.
fn logs(folder: &Path) -> Vec<Finding> {
    let shown = folder.display();
    if !folder.exists() {
        let what = format!("there is no audit log yet; the first proxy begins one in `{shown}`");
        return vec![Finding::ok(Check::Audit, what)];
    }
    if let Err(error) = StateDir::open(folder) {
        return vec![Finding::of_error(Check::Audit, &with_causes(&error))];
    }
    let mut findings = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    for path in files(folder) {
        count += 1;
        bytes += path.metadata().map_or(0, |metadata| metadata.len());
        let is_current = path
            .extension()
            .is_some_and(|extension| extension == "jsonl");
        if !is_current {
            continue;
        }
        if !path.is_file() || access(&path, Access::READ_OK | Access::WRITE_OK).is_err() {
            let what = format!("the audit log `{}` cannot be written", path.display());
            let fix = "allow reading and writing, or move it away";
            findings.push(Finding::problem(Check::Audit, what, fix));
            continue;
        }
        findings.extend(torn(&path));
    }
    let count = match count {
        1 => "1 file".to_owned(),
        many => format!("{many} files"),
    };
    let what = format!("the audit logs are in `{shown}` ({count}, {})", size(bytes));
    findings.insert(0, Finding::ok(Check::Audit, what));
    findings
}

/// Returns the logs in a folder, also those that were rotated.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains(".jsonl"))
        .take(MOST)
        .collect();
    files.sort();
    files
}

/// Ten files for each of many servers.
const MOST: usize = 10_000;

/// Whether the last line is incomplete.
fn torn(path: &Path) -> Option<Finding> {
    let last = last_byte(path).ok().flatten();
    (last? != b'\n').then(|| {
        let what = format!(
            "the last line of the audit log `{}` is incomplete, as after a crash or a full disk",
            path.display()
        );
        Finding::advice(
            Check::Audit,
            what,
            "look at that line; the next record begins on a line of its own",
        )
    })
}

fn last_byte(path: &Path) -> io::Result<Option<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let Some(last) = length.checked_sub(1) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(last))?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    Ok(byte.first().copied())
}

fn size(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes} bytes"),
        0x400..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Level;
    use super::*;

    #[test]
    fn a_named_file_must_be_writable_or_be_creatable() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log.jsonl");
        let level = |path: &Path| file(path)[0].level;
        assert_eq!(level(&log), Level::Ok);
        assert!(!log.exists());
        fs::write(&log, "{}\n").unwrap();
        assert_eq!(file(&log).len(), 1);
        assert_eq!(level(dir.path()), Level::Problem);
        assert_eq!(level(&dir.path().join("gone/log")), Level::Problem);
        assert_eq!(level(Path::new("")), Level::Ok);
    }

    #[test]
    fn a_torn_last_line_is_advice() {
        let (dir, _) = crate::sys::state_dir::for_test();
        let folder = dir.path().join(LOGS);
        StateDir::open(&folder).unwrap();
        fs::write(folder.join("a.jsonl"), "{}\n").unwrap();
        fs::write(folder.join("b.jsonl.1"), "{").unwrap();
        assert_eq!(logs(&folder).len(), 1);
        fs::write(folder.join("b.jsonl"), "{}\n{\"ts").unwrap();
        let found = logs(&folder);
        assert!(found[0].what.contains("3 files"), "{found:?}");
        assert_eq!(found[1].level, Level::Advice);
        assert!(found[1].what.contains("b.jsonl"), "{found:?}");
    }

    #[test]
    fn stderr_is_advice_and_no_folder_is_a_problem() {
        assert_eq!(check(&AuditLog::Stderr, None)[0].level, Level::Advice);
        assert_eq!(check(&AuditLog::StateFolder, None)[0].level, Level::Problem);
    }
}
