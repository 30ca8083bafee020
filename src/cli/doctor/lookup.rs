//! Finds the file that a command means, as the system does.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// What a command means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lookup {
    /// This program.
    Found(PathBuf),
    /// A file that cannot be run.
    NotExecutable(PathBuf),
    /// A folder.
    Folder(PathBuf),
    /// Nothing.
    Missing,
}

/// Looks for `command`: in the folders of `path`, or from the folder `cwd` if it has a slash.
pub(super) fn find(command: &OsStr, path: Option<&str>, cwd: &Path) -> Lookup {
    if command.as_encoded_bytes().contains(&b'/') {
        return look(&cwd.join(command));
    }
    if command.is_empty() {
        return Lookup::Missing;
    }
    let mut best = Lookup::Missing;
    for folder in std::env::split_paths(path.unwrap_or(USUAL_PATH)) {
        match look(&cwd.join(folder).join(command)) {
            found @ Lookup::Found(_) => return found,
            other @ Lookup::NotExecutable(_) if best == Lookup::Missing => best = other,
            Lookup::NotExecutable(_) | Lookup::Folder(_) | Lookup::Missing => {}
        }
    }
    best
}

fn look(file: &Path) -> Lookup {
    match file.metadata() {
        Err(_) => Lookup::Missing,
        Ok(metadata) if metadata.is_dir() => Lookup::Folder(file.to_owned()),
        Ok(_) => match access(file, Access::EXEC_OK) {
            Ok(()) => Lookup::Found(file.to_owned()),
            Err(_) => Lookup::NotExecutable(file.to_owned()),
        },
    }
}

/// Where systems look if there is no `PATH`.
const USUAL_PATH: &str = "/usr/bin:/bin";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn commands_are_found_in_the_path_or_from_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("1"), dir.path().join("2"));
        for (folder, mode) in [(&first, 0o600), (&second, 0o700)] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("run"), "").unwrap();
            fs::set_permissions(folder.join("run"), fs::Permissions::from_mode(mode)).unwrap();
        }
        let path = format!("{}:{}", first.display(), second.display());
        let found = |command: &str, path: &str| find(command.as_ref(), Some(path), dir.path());
        assert_eq!(found("run", &path), Lookup::Found(second.join("run")));
        assert_eq!(found("run", "1"), Lookup::NotExecutable(first.join("run")));
        assert_eq!(
            found("./2/run", ""),
            Lookup::Found(dir.path().join("./2/run"))
        );
        assert_eq!(found("./1", ""), Lookup::Folder(dir.path().join("./1")));
        assert_eq!(found("gone", &path), Lookup::Missing);
        assert_eq!(found("", &path), Lookup::Missing);
    }
}
