//! The file that takes a browser to the inbox's page, logged in.
//!
//! A command line can be read by everybody on the machine, so the secret goes by a file that only
//! its user can read. It is good for one login, and gone with it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::store::{Store, StoreError, Token};

/// A file that leads to the page while this is kept.
#[derive(Debug)]
pub(super) struct Door {
    path: PathBuf,
    /// The hash of the token in it.
    token: [u8; 32],
}

impl Door {
    /// Makes the file in `folder`, in place of an older one. It leads to `link`, whose token has the
    /// hash `token`.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn make(folder: &Path, link: &str, token: [u8; 32]) -> io::Result<Door> {
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
        // A new one: nobody has it open, and no link leads elsewhere.
        let mut options = OpenOptions::new();
        let mut file = options
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        let door = Door { path, token };
        file.write_all(html.as_bytes())?;
        Ok(door)
    }

    /// Its address for a browser.
    ///
    /// # Errors
    /// Where the folder has no absolute path.
    pub(super) fn url(&self) -> io::Result<String> {
        let url = reqwest::Url::from_file_path(&self.path);
        let url = url.map_err(|()| io::Error::other("the folder has no absolute path"))?;
        Ok(url.into())
    }

    /// Whether somebody has logged in by it, or its time is over.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn is_done(&self, store: &mut dyn Store, now_ms: i64) -> Result<bool, StoreError> {
        Ok(!store.has_token(Token::Login, &self.token, now_ms)?)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Its link is good for nothing before long, wherever the file stays.
        let _ = fs::remove_file(&self.path);
    }
}

/// Not hidden: browsers that are snaps see no hidden file, and there is no other kind of browser on
/// a usual Ubuntu.
const NAME: &str = "approval-proxy-login.html";
