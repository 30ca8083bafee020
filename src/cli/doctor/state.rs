//! The state folder: whether it is there or can be created, is private, and is writable.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::report::{Check, Finding};
use crate::sys::permissions::replaceable_by_others;
use crate::sys::state_dir::quoted_for_shell;

/// Less free space than this is worth a word.
const LITTLE: u64 = 100 << 20;

pub(super) fn check(folder: Option<&Path>) -> Vec<Finding> {
    let Some(folder) = folder else {
        let what = "there is no state folder, because `HOME` is not set";
        let fix = "set `HOME`, or name a folder with --state-dir";
        return vec![problem(what, fix)];
    };
    let path = folder.display();
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let folder = folder.as_path();
    let mut findings = match folder.metadata() {
        Ok(metadata) => existing(folder, &metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => missing(folder),
        Err(error) => {
            let what = format!("`{path}` cannot be looked at: {error}");
            vec![problem(what, ELSEWHERE)]
        }
    };
    findings.extend(replaceable(folder));
    findings.extend(full(folder));
    findings
}

fn existing(folder: &Path, metadata: &Metadata) -> Vec<Finding> {
    let path = folder.display();
    let quoted = quoted_for_shell(folder);
    if !metadata.is_dir() {
        let fix =
            format!("move it away (`mv {quoted} {quoted}.old`), or name a folder with --state-dir");
        return vec![problem(format!("`{path}` is not a folder"), fix)];
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let what = format!(
            "`{path}` belongs to user {}, so it is not used",
            metadata.uid()
        );
        return vec![problem(what, ELSEWHERE)];
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let what = format!(
            "other users have access to `{path}` (its mode is {mode:04o}), so it is not used"
        );
        return vec![problem(what, format!("chmod 700 {quoted}"))];
    }
    // The superuser may write everything, but the mode says what the owner wants.
    let is_writable =
        mode & 0o300 == 0o300 && access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    match is_writable {
        true => vec![Finding::ok(
            Check::State,
            format!("`{path}` is yours, private and writable"),
        )],
        false => {
            let what =
                format!("`{path}` is not writable, so no question can wait and no log is kept");
            vec![problem(what, format!("chmod 700 {quoted}; or {ELSEWHERE}"))]
        }
    }
}

fn missing(folder: &Path) -> Vec<Finding> {
    let path = folder.display();
    let mut above = folder.ancestors().skip(1);
    let parent = above.find(|parent| parent.exists());
    let can_create = |parent: &&Path| {
        parent.is_dir() && access(*parent, Access::WRITE_OK | Access::EXEC_OK).is_ok()
    };
    match parent.filter(can_create) {
        Some(_) => {
            let what =
                format!("`{path}` does not exist yet; the first proxy that needs it creates it");
            vec![Finding::ok(Check::State, what)]
        }
        None => {
            let parent = parent.unwrap_or(folder).display();
            let what = format!("`{path}` does not exist and cannot be created in `{parent}`");
            vec![problem(what, ELSEWHERE)]
        }
    }
}

/// Whether other users can put another folder in its place.
fn replaceable(folder: &Path) -> Option<Finding> {
    let mut above = folder.ancestors().skip(1);
    let (parent, exposure) = above
        .find_map(|parent| Some((parent, replaceable_by_others(&parent.metadata().ok()?)?)))?;
    let what = format!(
        "other users may replace `{}`, because they may write to `{}` ({exposure})",
        folder.display(),
        parent.display()
    );
    let fix = format!("chmod go-w {}", quoted_for_shell(parent));
    Some(Finding::advice(Check::State, what, fix))
}

fn full(folder: &Path) -> Option<Finding> {
    let place = folder.ancestors().find(|place| place.exists())?;
    let system = statvfs(place).ok()?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    // Some systems, such as `/proc`, have no blocks at all.
    (free < LITTLE && system.f_blocks > 0).then(|| {
        let what = format!(
            "only {} MiB are free for `{}`",
            free >> 20,
            folder.display()
        );
        Finding::advice(
            Check::State,
            what,
            "free some disk space: without it, calls that must be recorded are refused",
        )
    })
}

fn problem(what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding::problem(Check::State, what, fix)
}

const ELSEWHERE: &str = "correct its permissions, or choose another folder with --state-dir";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::report::Level;
    use super::*;

    #[test]
    fn a_private_folder_is_sound_and_one_that_is_not_there_is_not_created() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        let found = check(Some(&folder));
        assert_eq!(found[0].level, Level::Ok);
        assert!(found[0].what.contains("does not exist yet"), "{found:?}");
        assert!(!folder.exists());
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(check(Some(&folder))[0].level, Level::Ok);
    }

    #[test]
    fn each_other_state_is_a_problem_with_a_fix() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        let expect = |says: &str| {
            let found = check(Some(&folder));
            assert_eq!(found[0].level, Level::Problem, "{found:?}");
            assert!(found[0].what.contains(says), "{found:?}");
            assert!(found[0].fix.is_some());
        };
        fs::write(&folder, "").unwrap();
        expect("is not a folder");
        fs::remove_file(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        for (mode, says) in [(0o755, "its mode is 0755"), (0o500, "is not writable")] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            expect(says);
        }
        assert_eq!(check(None)[0].level, Level::Problem);
    }

    #[test]
    fn a_parent_that_others_may_write_to_is_advice() {
        let dir = tempfile::tempdir().unwrap();
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(dir.path(), open).unwrap();
        let found = check(Some(&dir.path().join("state")));
        assert!(
            found
                .iter()
                .any(|found| found.level == Level::Advice && found.what.contains("may replace")),
            "{found:?}"
        );
    }
}
