//! The user's folder, in which all of a user's proxies meet: it is theirs alone.
//!
//! What the files in it hold is the business of those who write them.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::store::{Problem, StoreError};
use crate::clock::random_seed;

/// A folder that nobody but its owner, who runs us, may look into or write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    path: PathBuf,
}

/// What the environment says about where the folder is. Empty values count as none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Places<'a> {
    /// `APPROVAL_STATE_DIR`.
    pub state_dir: Option<&'a OsStr>,
    /// `XDG_STATE_HOME`. Not used unless it is absolute, as the XDG Base Directory Specification
    /// wants it.
    pub xdg_state_home: Option<&'a OsStr>,
    /// `HOME`. Not used unless it is absolute.
    pub home: Option<&'a OsStr>,
}

impl StateDir {
    /// Where the folder is: at `explicit` if the user named one, else where the environment says.
    /// `None` if nobody says anything of use.
    #[must_use]
    pub fn locate(explicit: Option<&Path>, places: Places<'_>) -> Option<PathBuf> {
        let given = |value: Option<&OsStr>| value.filter(|v| !v.is_empty()).map(PathBuf::from);
        let absolute = |value| given(value).filter(|path| path.is_absolute());
        let home = || absolute(places.home).map(|home| home.join(".local/state"));
        explicit
            .map(Path::to_path_buf)
            .or_else(|| given(places.state_dir))
            .or_else(|| {
                let state = absolute(places.xdg_state_home).or_else(home)?;
                Some(state.join("approval-proxy"))
            })
    }

    /// Uses the folder at `path`, which is made if there is none, for its owner only.
    ///
    /// # Errors
    /// `Exposed` if it is another user's or open to others; `Full` or `Unusable` if it cannot be
    /// made or looked at.
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

    /// The folder, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// 32 random bytes that everybody who may read the folder knows, and nobody else. The first who
    /// asks makes them; of several who do at once, all are told the same.
    ///
    /// # Errors
    /// `Exposed` if other users may read them, `Damaged` if they are not 32, else as the system
    /// says.
    pub fn secret(&self) -> Result<[u8; 32], StoreError> {
        let path = self.path.join("secret");
        let bytes = match self.read("secret", SECRET_LEN)? {
            Some(bytes) => bytes,
            None => {
                let seed = random_seed().map_err(|e| io_error(&path, io::Error::other(e)))?;
                self.write_once("secret", &seed)?;
                self.read("secret", SECRET_LEN)?.unwrap_or_default()
            }
        };
        let damaged = |_| store_error(&path, Problem::Damaged);
        <[u8; SECRET_LEN]>::try_from(bytes.as_slice()).map_err(damaged)
    }

    /// What a small file of ours holds; `None` if there is none. Of one that is longer than `limit`
    /// bytes, `limit + 1` are read.
    pub(super) fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path.join(name);
        let failed = |error| io_error(&path, error);
        // Neither a link nor a pipe is followed or waited for.
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
            return Err(store_error(&path, Problem::Unusable));
        }
        require_private(&path, &metadata)?;
        let mut bytes = Vec::new();
        let longest = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        file.take(longest).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Writes a file as a whole, in place of an older one.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path.join(name);
        let put = |new: &Path| fs::rename(new, &path);
        self.write_new(name, bytes, put)
            .map_err(|error| io_error(&path, error))
    }

    /// Writes a file as a whole, unless there is one; whose it became is not told.
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
        let suffix = random_seed().map_err(io::Error::other)?;
        let suffix: String = suffix.iter().take(8).map(|b| format!("{b:02x}")).collect();
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
        // After a rename there is none.
        let _ = fs::remove_file(&new);
        written.and_then(|()| self.sync())
    }

    /// Files that were made, renamed or removed stay so, even if the power fails.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// The length of the secret, in bytes.
const SECRET_LEN: usize = 32;

/// Makes a folder and those above it, where they are not there yet, for their owner only.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Refuses what another user owns or may read or write.
pub(super) fn require_private(path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if is_ours && metadata.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(store_error(path, Problem::Exposed))
    }
}

/// A problem that needs no explanation.
pub(super) fn store_error(path: &Path, problem: Problem) -> StoreError {
    StoreError {
        path: path.to_path_buf(),
        problem,
        source: None,
    }
}

/// What the system said of a file or folder.
pub(super) fn io_error(path: &Path, error: io::Error) -> StoreError {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    let is_full = full.contains(&error.kind());
    let problem = if is_full {
        Problem::Full
    } else {
        Problem::Unusable
    };
    StoreError {
        source: Some(Box::new(error)),
        ..store_error(path, problem)
    }
}

/// A folder that goes with the first of both.
#[cfg(test)]
pub(super) fn for_test() -> (tempfile::TempDir, StateDir) {
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
    fn the_folder_is_the_users_word_before_the_environments_before_the_usual_place() {
        let places = Places {
            state_dir: Some(OsStr::new("/env")),
            xdg_state_home: Some(OsStr::new("/xdg")),
            home: Some(OsStr::new("/home/me")),
        };
        let at = |explicit: Option<&str>, places| StateDir::locate(explicit.map(Path::new), places);
        assert_eq!(at(Some("mine"), places), Some("mine".into()));
        assert_eq!(at(None, places), Some("/env".into()));
        let places = Places {
            state_dir: Some(OsStr::new("")),
            ..places
        };
        assert_eq!(at(None, places), Some("/xdg/approval-proxy".into()));
        let places = Places {
            xdg_state_home: Some(OsStr::new("not/absolute")),
            ..places
        };
        let usual = "/home/me/.local/state/approval-proxy";
        assert_eq!(at(None, places), Some(usual.into()));
        assert_eq!(at(None, Places::default()), None);
    }

    #[test]
    fn the_folder_and_those_above_it_are_made_for_their_owner_only() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a/b");
        let state = StateDir::open(&path).unwrap();
        assert_eq!(state.path(), path);
        assert_eq!((mode(&path), mode(&dir.path().join("a"))), (0o700, 0o700));
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_look_into_or_write_to_is_refused() {
        let dir = TempDir::new().unwrap();
        for exposed in [0o750, 0o705, 0o720, 0o702, 0o710, 0o777] {
            set_mode(dir.path(), exposed);
            let error = StateDir::open(dir.path()).unwrap_err();
            assert_eq!(error.problem, Problem::Exposed, "{exposed:o}");
        }
        set_mode(dir.path(), 0o700);
        StateDir::open(dir.path()).unwrap();
    }

    #[test]
    fn a_file_in_the_folders_place_is_no_folder() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        let error = StateDir::open(&path).unwrap_err();
        assert_eq!(error.problem, Problem::Unusable);
    }

    #[test]
    fn all_who_ask_for_the_secret_at_once_are_told_the_same() {
        let (dir, state) = for_test();
        let secrets: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..16).map(|_| scope.spawn(|| state.secret())).collect();
            let told = asking.into_iter().map(|one| one.join().unwrap().unwrap());
            told.collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
        assert_ne!(secrets[0], [0; 32]);
        assert_eq!(state.secret().unwrap(), secrets[0]);
        assert_eq!(mode(&dir.path().join("secret")), 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_that_is_exposed_cut_or_a_link_is_refused() {
        let (dir, state) = for_test();
        let path = dir.path().join("secret");
        state.secret().unwrap();
        set_mode(&path, 0o640);
        assert_eq!(state.secret().unwrap_err().problem, Problem::Exposed);
        set_mode(&path, 0o600);
        for length in [0, 31, 33] {
            fs::write(&path, vec![1; length]).unwrap();
            assert_eq!(state.secret().unwrap_err().problem, Problem::Damaged);
        }
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        assert_eq!(state.secret().unwrap_err().problem, Problem::Unusable);
    }
}
