//! The user's state folder, shared by all of the user's proxies and private to the user.
//!
//! It does not know what its files contain.

use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::sys::clock::{random_hex, random_seed};
use crate::sys::secret::Secret;

/// Returns a command line of `approval-proxy` that a person can type in another terminal, without our environment
/// variables, to use the folder `dir`. Adds `--state-dir` unless `dir` is the default.
#[must_use]
pub fn suggested_command(words: &str, dir: Option<&Path>) -> String {
    let folder = |name| std::env::var_os(name).map(PathBuf::from);
    let state = folder("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(folder("HOME")?.join(".local/state")));
    command_for(
        words,
        dir,
        state.map(|state| state.join("approval-proxy")).as_deref(),
    )
}

fn command_for(words: &str, dir: Option<&Path>, usual: Option<&Path>) -> String {
    let dir = dir.map(|dir| std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()));
    match dir.filter(|dir| Some(dir.as_path()) != usual) {
        Some(dir) => format!(
            "approval-proxy {words} --state-dir {}",
            quoted_for_shell(&dir)
        ),
        None => format!("approval-proxy {words}"),
    }
}

/// Quotes a path for a shell. Control characters cannot be typed, so they are shown as escapes.
pub(crate) fn quoted_for_shell(path: &Path) -> String {
    let path = path.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if !path.is_empty() && path.chars().all(is_plain) {
        return path.into_owned();
    }
    let mut quoted = String::from("'");
    for c in path.chars() {
        match c {
            '\'' => quoted.push_str(r"'\''"),
            c if c.is_control() || is_invisible_or_bidi(c) => quoted.extend(c.escape_unicode()),
            c => quoted.push(c),
        }
    }
    quoted + "'"
}

/// Returns true for characters that a terminal does not show or that change the text direction.
fn is_invisible_or_bidi(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A folder that only we and our user can read or write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Opens the folder at `path`, and creates it, private to its owner, if it does not exist.
    ///
    /// # Errors
    /// `Exposed` if it belongs to another user or others have access; `Full` or `Unusable` if it cannot be created or
    /// read.
    pub fn open(path: &Path) -> Result<StateDir, StoreError> {
        let failed = |error| io_error(path, error);
        let path = std::path::absolute(path).map_err(failed)?;
        make_private(&path).map_err(failed)?;
        let metadata = fs::metadata(&path).map_err(failed)?;
        if !metadata.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        require_private(&path, &metadata)?;
        Ok(StateDir { path })
    }

    /// Returns the folder's absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns 32 random bytes that are known exactly to those who can read the folder. The first caller creates them;
    /// concurrent callers get the same bytes.
    ///
    /// # Errors
    /// `Exposed` if other users can read them, `Damaged` if there are not 32, or an error from the system.
    pub fn secret(&self) -> Result<[u8; 32], StoreError> {
        let (bytes, _) = self.read_or_create("secret", SECRET_LEN, |seed| seed.to_vec())?;
        let damaged = |_| store_error(&self.path.join("secret"), ErrorKind::Damaged);
        <[u8; SECRET_LEN]>::try_from(bytes.as_slice()).map_err(damaged)
    }

    /// Returns the same bytes, if there are any yet.
    ///
    /// # Errors
    /// As [`StateDir::secret`].
    pub fn existing_secret(&self) -> Result<Option<[u8; 32]>, StoreError> {
        let damaged = |_| store_error(&self.path.join("secret"), ErrorKind::Damaged);
        let bytes = self.read("secret", SECRET_LEN)?;
        let secret = bytes.map(|bytes| <[u8; SECRET_LEN]>::try_from(bytes.as_slice()));
        secret.transpose().map_err(damaged)
    }

    /// Returns the bearer token of HTTP clients from the file `auth-token`: 64 hexadecimal digits and a newline. The
    /// first process that asks creates the file.
    ///
    /// # Errors
    /// `Exposed` if other users can read the file, or an error from the system.
    pub fn auth_token(&self) -> Result<StoredToken, StoreError> {
        let make = |seed: [u8; 32]| format!("{}\n", blake3::Hash::from_bytes(seed)).into_bytes();
        let (bytes, is_new) = self.read_or_create(AUTH_TOKEN, MAX_TOKEN, make)?;
        Ok(StoredToken {
            path: self.path.join(AUTH_TOKEN),
            text: Secret::new(String::from_utf8_lossy(&bytes).into_owned()),
            is_new,
        })
    }

    /// Returns a private key from the file `name`, as `read` understands it. The first process that asks creates the
    /// file with what `make` generates; concurrent processes get the same key.
    ///
    /// # Errors
    /// `Exposed` if other users can read the file, `Damaged` if `read` cannot, or an error from the system.
    pub(crate) fn private_key<K>(
        &self,
        name: &str,
        make: impl FnOnce() -> io::Result<Vec<u8>>,
        read: impl FnOnce(&[u8]) -> Option<K>,
    ) -> Result<K, StoreError> {
        let (bytes, _) = self.read_or_generate(name, MAX_PRIVATE_KEY, make)?;
        read(&bytes).ok_or_else(|| store_error(&self.path.join(name), ErrorKind::Damaged))
    }

    /// Like [`StateDir::read_or_generate`], with content that `make` derives from 32 random bytes.
    fn read_or_create(
        &self,
        name: &str,
        limit: usize,
        make: impl FnOnce([u8; 32]) -> Vec<u8>,
    ) -> Result<(Vec<u8>, bool), StoreError> {
        let make = || random_seed().map(make).map_err(io::Error::other);
        self.read_or_generate(name, limit, make)
    }

    /// Reads a small file. If it does not exist, creates it first, with the content that `make` generates. Processes
    /// that create it at the same time all read the same content. Also returns whether the file was new.
    fn read_or_generate(
        &self,
        name: &str,
        limit: usize,
        make: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> Result<(Vec<u8>, bool), StoreError> {
        if let Some(bytes) = self.read(name, limit)? {
            return Ok((bytes, false));
        }
        let made = make().map_err(|error| io_error(&self.path.join(name), error))?;
        self.write_once(name, &made)?;
        Ok((self.read(name, limit)?.unwrap_or_default(), true))
    }

    /// Reads a small file of ours; `None` if there is none. Of a file longer than `limit` bytes, reads `limit + 1`.
    pub(crate) fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path.join(name);
        let failed = |error| io_error(&path, error);
        // Do not follow a link or wait for a pipe.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&path)
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(store_error(&path, ErrorKind::Unusable));
        }
        require_private(&path, &metadata)?;
        let mut bytes = Vec::new();
        let longest = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        file.take(longest).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Writes a whole file atomically, replacing an older one.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path.join(name);
        let put = |new: &Path| fs::rename(new, &path);
        self.write_new(name, bytes, put)
            .map_err(|error| io_error(&path, error))
    }

    /// Writes a whole file atomically, unless it exists. Does not report which process created it.
    fn write_once(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path.join(name);
        let put = |new: &Path| match fs::hard_link(new, &path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
        self.write_new(name, bytes, put)
            .map_err(|error| io_error(&path, error))
    }

    fn write_new(
        &self,
        name: &str,
        bytes: &[u8],
        put: impl Fn(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let suffix = random_hex(8).map_err(io::Error::other)?;
        let new = self.path.join(format!("{name}.{suffix}.new"));
        let mut options = OpenOptions::new();
        let mut file = options
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        let written = file
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| put(&new));
        // After a rename it no longer exists.
        let _ = fs::remove_file(&new);
        written.and_then(|()| self.sync())
    }

    /// Makes created, renamed and removed files durable, even across a power failure.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// A file, the folder or a store cannot be used. The failed operation has changed nothing.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {kind}")]
pub struct StoreError {
    /// Its location.
    pub place: Place,
    /// The kind of error.
    pub kind: ErrorKind,
    /// The error of the library or the system.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The location of an unusable resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file or folder on this machine.
    Path(PathBuf),
    /// A server, by host and port.
    Host(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Path(path) => path.display().fmt(f),
            Place::Host(host) => f.write_str(host),
        }
    }
}

/// The kinds of error. Each text ends with what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The server does not respond.
    #[error(
        "it cannot be reached; check that it is running and accepts connections from this machine"
    )]
    Unreachable,
    /// The disk or the inbox is full.
    #[error("there is no space left; free disk space, or answer pending approval requests")]
    Full,
    /// Another process holds its lock.
    #[error("another process has locked it; stop that process")]
    Locked,
    /// It is not a database, or a damaged one.
    #[error("it is damaged; move it away, and a new one will be created")]
    Damaged,
    /// A newer version wrote it.
    #[error("it was written by a newer version of approval-proxy; use that version")]
    Newer,
    /// Another user owns it, or others can read or write it.
    #[error(
        "it belongs to another user, or others can read it; run `chmod go-rwx` on it and its folder, or \
         choose another folder with --state-dir"
    )]
    Exposed,
    /// It cannot be opened, read or written.
    #[error("it cannot be used; check its permissions, or choose another folder with --state-dir")]
    Unusable,
}

/// The token that `--auth-token-file auto` keeps in the folder.
#[derive(Debug)]
pub struct StoredToken {
    /// The file.
    pub path: PathBuf,
    /// The content of the file, including its newline. A person may have replaced it.
    pub text: Secret,
    /// Whether the file has just been created.
    pub is_new: bool,
}

/// The length of the secret, in bytes.
const SECRET_LEN: usize = 32;
/// The file with the bearer token of HTTP clients.
const AUTH_TOKEN: &str = "auth-token";
/// The longest token and its line break, in bytes.
const MAX_TOKEN: usize = 4096 + 2;
/// The longest file with a private key, in bytes.
const MAX_PRIVATE_KEY: usize = 1024;

/// Creates a folder and its missing parents, private to their owner.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Refuses a file or folder that another user owns or can read or write.
pub(crate) fn require_private(path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if is_ours && metadata.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(store_error(path, ErrorKind::Exposed))
    }
}

/// Returns an error without a cause.
pub(crate) fn store_error(path: &Path, kind: ErrorKind) -> StoreError {
    StoreError {
        place: Place::Path(path.to_path_buf()),
        kind,
        source: None,
    }
}

/// Returns the error for a failed operation on a file or folder.
pub(crate) fn io_error(path: &Path, error: io::Error) -> StoreError {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    let is_full = full.contains(&error.kind());
    let kind = if is_full {
        ErrorKind::Full
    } else {
        ErrorKind::Unusable
    };
    StoreError {
        source: Some(Box::new(error)),
        ..store_error(path, kind)
    }
}

/// Returns a new folder that is removed with the first value.
#[cfg(test)]
pub(crate) fn for_test() -> (tempfile::TempDir, StateDir) {
    use std::os::unix::fs::PermissionsExt as _;

    let mut builder = tempfile::Builder::new();
    let private = fs::Permissions::from_mode(0o700);
    let dir = builder.permissions(private).tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    (dir, state)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use tempfile::TempDir;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_suggested_command_can_be_typed_unchanged_and_uses_the_folder() {
        let usual = Path::new("/home/u/.local/state/approval-proxy");
        let command = |dir: &str| command_for("inbox", Some(Path::new(dir)), Some(usual));
        assert_eq!(
            command_for("inbox", None, Some(usual)),
            "approval-proxy inbox"
        );
        assert_eq!(
            command("/home/u/.local/state/approval-proxy"),
            "approval-proxy inbox"
        );
        assert_eq!(
            command("/srv/state"),
            "approval-proxy inbox --state-dir /srv/state"
        );
        assert_eq!(
            command("/it's; rm -rf $HOME"),
            r"approval-proxy inbox --state-dir '/it'\''s; rm -rf $HOME'"
        );
        let odd = command("/a\n\u{1b}\u{202e}b");
        assert!(!odd.contains(['\n', '\u{1b}', '\u{202e}']), "{odd}");
    }

    #[test]
    fn the_folder_and_its_parents_are_created_private() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a/b");
        let state = StateDir::open(&path).unwrap();
        assert_eq!(state.path(), path);
        assert_eq!((mode(&path), mode(&dir.path().join("a"))), (0o700, 0o700));
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn a_folder_that_others_can_read_or_write_is_refused() {
        let dir = TempDir::new().unwrap();
        for exposed in [0o750, 0o705, 0o720, 0o702, 0o710, 0o777] {
            set_mode(dir.path(), exposed);
            let error = StateDir::open(dir.path()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Exposed, "{exposed:o}");
        }
        set_mode(dir.path(), 0o700);
        StateDir::open(dir.path()).unwrap();
    }

    #[test]
    fn a_file_in_place_of_the_folder_is_refused() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        let error = StateDir::open(&path).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unusable);
    }

    #[test]
    fn concurrent_callers_get_the_same_secret() {
        let (dir, state) = for_test();
        let secrets: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..16).map(|_| scope.spawn(|| state.secret())).collect();
            let secrets = asking.into_iter().map(|one| one.join().unwrap().unwrap());
            secrets.collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
        assert_ne!(secrets[0], [0; 32]);
        assert_eq!(state.secret().unwrap(), secrets[0]);
        assert_eq!(mode(&dir.path().join("secret")), 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_token_of_http_clients_is_created_once_and_private() {
        let (dir, state) = for_test();
        let first = state.auth_token().unwrap();
        let again = state.auth_token().unwrap();
        assert!(first.is_new && !again.is_new);
        assert_eq!(first.text.expose(), again.text.expose());
        let digits = first.text.expose().trim_end();
        assert_eq!(digits.len(), 64);
        assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let path = dir.path().join("auth-token");
        assert_eq!((&first.path, mode(&path)), (&path, 0o600));
        set_mode(&path, 0o644);
        let exposed = state.auth_token().unwrap_err();
        assert_eq!(exposed.kind, ErrorKind::Exposed);
    }

    #[test]
    fn an_exposed_truncated_or_linked_secret_is_refused() {
        let (dir, state) = for_test();
        let path = dir.path().join("secret");
        state.secret().unwrap();
        set_mode(&path, 0o640);
        assert_eq!(state.secret().unwrap_err().kind, ErrorKind::Exposed);
        set_mode(&path, 0o600);
        for length in [0, 31, 33] {
            fs::write(&path, vec![1; length]).unwrap();
            assert_eq!(state.secret().unwrap_err().kind, ErrorKind::Damaged);
        }
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        assert_eq!(state.secret().unwrap_err().kind, ErrorKind::Unusable);
    }
}
