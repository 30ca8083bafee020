//! The file through which a browser logs in to the inbox's page.
//!
//! Everybody on the machine can read a command line, so the secret is in a file that only the user can read. Its link
//! is valid for one login, after which the file is removed.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::store::{Logins, StoreError, Token};

/// A file that redirects to the page. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct LoginFile {
    path: PathBuf,
    /// The open file, which identifies it: another process may have replaced the file at `path`. While it
    /// is open, no other file has its inode number.
    file: File,
    /// The hash of the token in it.
    token: [u8; 32],
}

impl LoginFile {
    /// Creates the file in the first of `folders` where that works, and replaces an older one. It
    /// redirects to `link`, whose token has the hash `token`. Skips folders that others can write to:
    /// they could put their own page there.
    ///
    /// # Errors
    /// The error for the last folder.
    pub(super) fn make<'a>(
        folders: impl IntoIterator<Item = &'a Path>,
        link: &str,
        token: [u8; 32],
    ) -> io::Result<LoginFile> {
        let mut made = Err(io::ErrorKind::NotFound.into());
        for folder in folders {
            made = LoginFile::make_in(folder, link, token);
            if made.is_ok() {
                break;
            }
        }
        made
    }

    fn make_in(folder: &Path, link: &str, token: [u8; 32]) -> io::Result<LoginFile> {
        let metadata = fs::metadata(folder)?;
        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if !is_ours || metadata.mode() & 0o022 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let path = folder.join(NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let html = format!(
            "<!doctype html><meta charset=\"utf-8\"><title>Approvals</title>\
             <meta http-equiv=\"refresh\" content=\"0; url={link}\">\
             <p><a href=\"{link}\">Open the approval inbox</a></p>\n"
        );
        // Create a new file: nobody else has it open, and it is not a symbolic link.
        let mut options = OpenOptions::new();
        let file = options
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        let mut login_file = LoginFile { path, file, token };
        login_file.file.write_all(html.as_bytes())?;
        Ok(login_file)
    }

    /// Removes the file that a killed process left in a folder, if it is older than `ms`, in Unix
    /// milliseconds.
    pub(super) fn tidy(folder: &Path, ms: i64) {
        let path = folder.join(NAME);
        let made = fs::symlink_metadata(&path).map(|found| found.mtime().saturating_mul(1000));
        if made.is_ok_and(|made_ms| made_ms < ms) {
            // A leftover file is harmless.
            let _ = fs::remove_file(path);
        }
    }

    /// Returns the file's URL for a browser.
    ///
    /// # Errors
    /// If the folder has no absolute path.
    pub(super) fn url(&self) -> io::Result<String> {
        let url = reqwest::Url::from_file_path(&self.path);
        let url = url.map_err(|()| io::Error::other("the folder has no absolute path"))?;
        Ok(url.into())
    }

    /// Returns true if a browser has logged in with it, or it has expired.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) fn is_done(&self, logins: &mut dyn Logins, now_ms: i64) -> Result<bool, StoreError> {
        Ok(!logins.has_token(Token::Login, &self.token, now_ms)?)
    }
}

impl Drop for LoginFile {
    fn drop(&mut self) {
        let number = |found: Metadata| (found.dev(), found.ino());
        let found = fs::symlink_metadata(&self.path).map(number).ok();
        if found.is_some() && found == self.file.metadata().map(number).ok() {
            // If this fails, the link expires soon anyway.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Not a hidden file: browsers installed as snaps, the default on Ubuntu, cannot see hidden files.
const NAME: &str = "approval-proxy-login.html";

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;

    fn folder(mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        folder
    }

    fn login_file(folders: &[&Path], link: &str) -> io::Result<LoginFile> {
        LoginFile::make(folders.iter().copied(), link, [0; 32])
    }

    fn leads_to(folder: &Path) -> Option<String> {
        let html = fs::read_to_string(folder.join(NAME)).ok()?;
        let link = html.split_once("href=\"")?.1;
        Some(link.split_once('"')?.0.to_owned())
    }

    #[test]
    fn only_its_user_can_read_it_and_it_is_removed_when_dropped() {
        let folder = folder(0o755);
        let login_file = login_file(&[folder.path()], "http://a/#1").unwrap();
        let mode = fs::metadata(folder.path().join(NAME)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(leads_to(folder.path()).unwrap(), "http://a/#1");
        drop(login_file);
        assert_eq!(leads_to(folder.path()), None);
    }

    #[test]
    fn dropping_one_leaves_the_file_that_replaced_it() {
        let folder = folder(0o700);
        let first = login_file(&[folder.path()], "http://a/#1").unwrap();
        let second = login_file(&[folder.path()], "http://a/#2").unwrap();
        drop(first);
        assert_eq!(leads_to(folder.path()).unwrap(), "http://a/#2");
        drop(second);
        assert_eq!(leads_to(folder.path()), None);
    }

    #[test]
    fn a_folder_that_will_not_do_is_passed_over() {
        let own = folder(0o700);
        let (for_all, for_group) = (folder(0o777), folder(0o770));
        let blocked = folder(0o700);
        fs::create_dir(blocked.path().join(NAME)).unwrap();
        let missing = own.path().join("missing");
        for useless in [for_all.path(), for_group.path(), blocked.path(), &missing] {
            let made = login_file(&[useless, own.path()], "http://a/#1").unwrap();
            assert!(leads_to(own.path()).is_some(), "{}", useless.display());
            assert_eq!(leads_to(useless), None);
            drop(made);
            assert!(login_file(&[useless], "http://a/#1").is_err());
        }
    }

    #[test]
    fn what_a_killed_process_has_left_is_tidied_up_when_it_is_good_for_nothing() {
        let folder = folder(0o700);
        let path = folder.path().join(NAME);
        fs::write(&path, "left").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let made = std::time::UNIX_EPOCH + Duration::from_secs(1_000);
        file.set_modified(made).unwrap();
        LoginFile::tidy(folder.path(), 1_000_000);
        assert!(path.exists());
        LoginFile::tidy(folder.path(), 1_000_001);
        assert!(!path.exists());
        LoginFile::tidy(folder.path(), 1_000_001);
    }
}
