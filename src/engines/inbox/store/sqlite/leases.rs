//! Leases: each proxy holds a lock on its own file, which the system releases when the process dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

use crate::engines::inbox::store::{ErrorKind, Lease, Liveness, StoreError};
use crate::sys::state_dir::{StateDir, io_error, make_private, store_error};

/// The longest name that a proxy may have.
const MAX_NAME: usize = 64;
/// How many times, and how often, we try a lock that another process holds: one second in all.
const TRIES: usize = 100;
const TRY_AGAIN: Duration = Duration::from_millis(10);
/// How many files one check of the folder covers.
const MAX_FILES: usize = 2_000;

/// Knows which proxies are alive, by the locks in a [`StateDir`].
#[derive(Debug)]
pub(in crate::engines::inbox::store) struct Leases(StateDir);

impl Leases {
    /// Creates the leases. Does not touch any file yet.
    pub(in crate::engines::inbox::store) fn new(dir: &StateDir) -> Leases {
        Leases(dir.clone())
    }
}

impl Liveness for Leases {
    fn lease(&mut self, proxy: &str) -> Result<Lease, StoreError> {
        take(&self.0, proxy).map(Lease::new)
    }

    fn try_lease(&mut self, proxy: &str) -> Result<Option<Lease>, StoreError> {
        Ok(take_from_dead(&self.0, proxy)?.map(Lease::new))
    }
}

/// A proxy's lock. The proxy's items wait until this is dropped or the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // First remove the file, then unlock: the next holder of the lock sees that its file is gone.
        if matches!(is_at(&self.file, &self.path), Ok(true)) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}

/// Takes a proxy's lock. Waits up to a second if another process holds it.
pub(super) fn take(dir: &StateDir, proxy: &str) -> Result<Lock, StoreError> {
    let path = path(dir, proxy)?;
    let file = lock_patiently(&path)?;
    let file = file.ok_or_else(|| store_error(&path, ErrorKind::Locked))?;
    Ok(Lock { file, path })
}

/// Takes a proxy's lock if the proxy is dead, so that no new proxy can use its name in the meantime.
pub(super) fn take_from_dead(dir: &StateDir, proxy: &str) -> Result<Option<Lock>, StoreError> {
    let path = path(dir, proxy)?;
    Ok(try_lock(&path)?.map(|file| Lock { file, path }))
}

/// Removes the files of dead proxies.
pub(super) fn remove_dead(dir: &StateDir) -> Result<(), StoreError> {
    let folder = folder(dir);
    let files = match fs::read_dir(&folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(&folder, error)),
    };
    for file in files.take(MAX_FILES) {
        let name = file.map_err(|error| io_error(&folder, error))?.file_name();
        let proxy = name.to_str().and_then(|name| name.strip_suffix(".lock"));
        if let Some(proxy) = proxy.filter(|proxy| is_name(proxy)) {
            drop(take_from_dead(dir, proxy)?);
        }
    }
    Ok(())
}

/// Returns true if this is a valid name of a proxy. It becomes part of a file name.
pub(super) fn is_name(proxy: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=MAX_NAME).contains(&proxy.len()) && proxy.bytes().all(plain)
}

/// Locks a file, and creates it if there is none. Returns `None` if another process held the lock for a second.
pub(super) fn lock_patiently(path: &Path) -> Result<Option<File>, StoreError> {
    for _ in 0..TRIES {
        if let Some(file) = try_lock(path)? {
            return Ok(Some(file));
        }
        std::thread::sleep(TRY_AGAIN);
    }
    Ok(None)
}

/// Locks a file, and creates it if there is none. Returns `None` if another process holds the lock.
fn try_lock(path: &Path) -> Result<Option<File>, StoreError> {
    let failed = |error| io_error(path, error);
    for _ in 0..TRIES {
        let mut options = OpenOptions::new();
        let options = options.create(true).write(true).truncate(false).mode(0o600);
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = options.custom_flags(flags).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) if is_at(&file, path).map_err(failed)? => return Ok(Some(file)),
            // Its previous holder removed it between our opening and our locking.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Ok(None)
}

/// Returns true if the open file is still the one at this path.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let named = match fs::symlink_metadata(path) {
        Ok(named) => named,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let opened = file.metadata()?;
    Ok((opened.dev(), opened.ino()) == (named.dev(), named.ino()))
}

fn folder(dir: &StateDir) -> PathBuf {
    dir.path().join("proxies")
}

fn path(dir: &StateDir, proxy: &str) -> Result<PathBuf, StoreError> {
    let folder = folder(dir);
    if !is_name(proxy) {
        return Err(store_error(&folder, ErrorKind::Unusable));
    }
    make_private(&folder).map_err(|error| io_error(&folder, error))?;
    Ok(folder.join(format!("{proxy}.lock")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::state_dir::for_test;

    #[test]
    fn a_lease_has_one_holder_and_its_file_is_removed_with_it() {
        let (_dir, state) = for_test();
        let lease = take(&state, "p").unwrap();
        let file = state.path().join("proxies/p.lock");
        assert!(file.exists());
        assert!(take_from_dead(&state, "p").unwrap().is_none());
        assert_eq!(take(&state, "p").unwrap_err().kind, ErrorKind::Locked);
        drop(lease);
        assert!(!file.exists());
        drop(take(&state, "p").unwrap());
    }

    #[test]
    fn dropping_a_lease_leaves_a_file_that_replaced_its_own() {
        let (_dir, state) = for_test();
        let file = state.path().join("proxies/p.lock");
        let lost = take(&state, "p").unwrap();
        fs::remove_file(&file).unwrap();
        let lease = take(&state, "p").unwrap();
        drop(lost);
        assert!(file.exists());
        assert!(take_from_dead(&state, "p").unwrap().is_none());
        drop(lease);
    }

    #[test]
    fn files_of_the_dead_are_removed_and_those_of_the_living_are_not() {
        let (_dir, state) = for_test();
        remove_dead(&state).unwrap();
        let _lease = take(&state, "alive").unwrap();
        let folder = state.path().join("proxies");
        fs::write(folder.join("dead.lock"), "").unwrap();
        fs::write(folder.join("no-lease"), "").unwrap();
        remove_dead(&state).unwrap();
        let left = ["alive.lock", "dead.lock", "no-lease"].map(|name| folder.join(name).exists());
        assert_eq!(left, [true, false, true]);
    }

    #[test]
    fn a_proxys_name_cannot_lead_out_of_the_folder() {
        let (_dir, state) = for_test();
        for name in [
            "",
            ".",
            "..",
            "../p",
            "a/b",
            "a.b",
            "a\0",
            "é",
            &"a".repeat(65),
        ] {
            assert!(take(&state, name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_lease_never_has_two_holders_at_once() {
        let (_dir, state) = for_test();
        let held = std::sync::atomic::AtomicUsize::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let Some(lease) = take_from_dead(&state, "p").unwrap() else {
                            continue;
                        };
                        assert_eq!(held.fetch_add(1, order), 0);
                        std::thread::yield_now();
                        held.fetch_sub(1, order);
                        drop(lease);
                    }
                });
            }
        });
    }
}
