//! The user of this process, as the user database knows them, whatever the environment says.

use std::path::PathBuf;

use nix::unistd::{Uid, User};

/// The user's home folder. `None` if the database does not know the user, or cannot be read.
#[must_use]
pub fn home_folder() -> Option<PathBuf> {
    let user = User::from_uid(Uid::effective()).ok()??;
    (!user.dir.as_os_str().is_empty()).then_some(user.dir)
}
