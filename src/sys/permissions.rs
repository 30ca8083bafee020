//! Finds out who else can read or write a file, by its owner and its mode.
//!
//! Callers decide what to do about it.
//!
//! `root` is never reported, since it can read and write everything anyway. Access control lists
//! are covered as far as the mode reflects them: permissions that they grant to others appear in
//! the group's bits.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// How a file is exposed to other users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// Another user owns it and can do anything with it.
    Owner(u32),
    /// Its mode gives others access. Holds the permission bits.
    Mode(u32),
}

impl fmt::Display for Exposure {
    /// `it belongs to user 1001`, `its mode is 0666`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exposure::Owner(user) => write!(f, "it belongs to user {user}"),
            Exposure::Mode(mode) => write!(f, "its mode is {mode:04o}"),
        }
    }
}

/// Returns how users other than us and root can read the file; `None` if they cannot.
#[must_use]
pub fn readable_by_others(metadata: &Metadata) -> Option<Exposure> {
    File::of(metadata).readable_by_others(us())
}

/// Returns how users other than us and root can write to the file; `None` if they cannot.
#[must_use]
pub fn writable_by_others(metadata: &Metadata) -> Option<Exposure> {
    File::of(metadata).writable_by_others(us())
}

/// Returns how users other than us and root can replace a file in this folder; `None` if they
/// cannot.
#[must_use]
pub fn replaceable_by_others(folder: &Metadata) -> Option<Exposure> {
    File::of(folder).replaceable_by_others(us())
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The attributes that matter.
#[derive(Debug, Clone, Copy)]
struct File {
    user: u32,
    group: u32,
    mode: u32,
}

impl File {
    fn of(metadata: &Metadata) -> File {
        File {
            user: metadata.uid(),
            group: metadata.gid(),
            mode: metadata.mode() & 0o7777,
        }
    }

    fn readable_by_others(self, us: u32) -> Option<Exposure> {
        self.owned_by_another(us).or(self.lets_in(0o077))
    }

    fn writable_by_others(self, us: u32) -> Option<Exposure> {
        // With a umask of 002, each user has a private group with the same number as the user, and
        // that group can write to every file. Nobody else is in it.
        let has_private_group = self.group == self.user;
        let others = if has_private_group { 0o002 } else { 0o022 };
        self.owned_by_another(us).or(self.lets_in(others))
    }

    fn replaceable_by_others(self, us: u32) -> Option<Exposure> {
        // In a sandbox, root's folders appear to belong to this user. Treat it as root: if it
        // replaced a file, the file's owner would reveal it.
        let user = if self.user == UNMAPPED {
            ROOT
        } else {
            self.user
        };
        let is_sticky = self.mode & 0o1000 != 0;
        match (File { user, ..self }).writable_by_others(us) {
            // In a sticky folder such as /tmp, only its owner and a file's owner can rename the
            // file.
            Some(Exposure::Mode(_)) if is_sticky => None,
            exposure => exposure,
        }
    }

    fn owned_by_another(self, us: u32) -> Option<Exposure> {
        let is_other = self.user != us && self.user != ROOT;
        is_other.then_some(Exposure::Owner(self.user))
    }

    fn lets_in(self, bits: u32) -> Option<Exposure> {
        (self.mode & bits != 0).then_some(Exposure::Mode(self.mode))
    }
}

const ROOT: u32 = 0;
/// The user that stands for all users outside a user namespace.
const UNMAPPED: u32 = 65534;

#[cfg(test)]
mod tests {
    use super::*;

    const US: u32 = 1000;

    fn file(user: u32, group: u32, mode: u32) -> File {
        File { user, group, mode }
    }

    #[test]
    fn a_secret_is_for_its_owner_only() {
        for mode in [0o600, 0o400, 0o700] {
            assert_eq!(file(US, US, mode).readable_by_others(US), None);
            assert_eq!(file(ROOT, ROOT, mode).readable_by_others(US), None);
        }
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o660, 0o610] {
            let exposed = Some(Exposure::Mode(mode));
            assert_eq!(
                file(US, US, mode).readable_by_others(US),
                exposed,
                "{mode:o}"
            );
            assert_eq!(file(ROOT, ROOT, mode).readable_by_others(US), exposed);
        }
        let exposed = Some(Exposure::Owner(1001));
        assert_eq!(file(1001, 1001, 0o600).readable_by_others(US), exposed);
        assert_eq!(file(1001, 1001, 0o600).readable_by_others(ROOT), exposed);
    }

    #[test]
    fn a_file_may_be_read_by_all_and_written_by_its_owner_and_their_private_group() {
        for mode in [0o600, 0o644, 0o664, 0o444] {
            assert_eq!(file(US, US, mode).writable_by_others(US), None, "{mode:o}");
            assert_eq!(file(ROOT, ROOT, mode).writable_by_others(US), None);
        }
        for (group, mode) in [
            (US, 0o646),
            (US, 0o666),
            (100, 0o664),
            (100, 0o620),
            (0, 0o660),
        ] {
            let exposed = Some(Exposure::Mode(mode));
            assert_eq!(
                file(US, group, mode).writable_by_others(US),
                exposed,
                "{mode:o}"
            );
        }
        let exposed = Some(Exposure::Owner(1001));
        assert_eq!(file(1001, US, 0o644).writable_by_others(US), exposed);
        assert_eq!(file(1001, US, 0o644).writable_by_others(ROOT), exposed);
    }

    #[test]
    fn files_in_roots_sticky_folder_are_not_replaceable() {
        assert_eq!(file(ROOT, ROOT, 0o1777).replaceable_by_others(US), None);
        assert_eq!(file(US, US, 0o775).replaceable_by_others(US), None);
        assert_eq!(
            file(UNMAPPED, UNMAPPED, 0o1777).replaceable_by_others(US),
            None
        );
        assert_eq!(
            file(UNMAPPED, UNMAPPED, 0o755).replaceable_by_others(US),
            None
        );
        assert!(
            file(UNMAPPED, UNMAPPED, 0o775)
                .replaceable_by_others(US)
                .is_some()
        );
        for exposed in [
            file(US, US, 0o777),
            file(US, 100, 0o775),
            file(1001, 1001, 0o1755),
        ] {
            assert!(exposed.replaceable_by_others(US).is_some(), "{exposed:?}");
        }
    }
}
