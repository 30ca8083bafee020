//! Reads a client's file, and replaces it only if nobody has changed it since.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, CWD, RenameFlags, access, renameat_with};

use crate::sys::clock::random_hex;

/// A file as it was read.
#[derive(Debug)]
pub(super) struct ClientFile {
    /// The path without symbolic links: they stay, and their target changes.
    pub(super) target: PathBuf,
    bytes: Vec<u8>,
    metadata: Metadata,
}

/// Why a file cannot be read or replaced. It has not been changed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("there is no such file; check its path")]
    Missing,
    /// It is a symbolic link to a file that does not exist.
    #[error(
        "it is a symbolic link to a file that does not exist; create that file, or remove the link"
    )]
    Dangling,
    /// It is a folder, a pipe or the like.
    #[error("it is {0}; name a file")]
    NotAFile(&'static str),
    /// The system refuses to read it.
    #[error("it cannot be read; change that, then try again")]
    Read(#[source] io::Error),
    /// It is longer than any client writes.
    #[error("it is larger than {} MiB, which no client writes; name another file", MOST >> 20)]
    TooLarge,
    /// It is not a text.
    #[error("it is not UTF-8 from line {0} on; save it as UTF-8, then try again")]
    NotUtf8(usize),
    /// Its mode, its folder or its file system forbid it.
    #[error("{0}; allow writing, then try again")]
    ReadOnly(&'static str),
    /// Replacing it would separate it from its other names.
    #[error("it has several hard links, which we would break; edit it by hand")]
    Linked,
    /// Somebody else has written it.
    #[error("another program has changed it just now, so nothing was written; try again")]
    Changed,
    /// The system refuses to write.
    #[error("it cannot be written; change that, then try again")]
    Write(#[source] io::Error),
}

/// The longest file that we read.
const MOST: u64 = 64 << 20;
const BYTE_ORDER_MARK: &str = "\u{feff}";

impl ClientFile {
    /// Reads the file at `path`, through symbolic links.
    ///
    /// # Errors
    /// No such file, or an error from the system.
    pub(super) fn read(path: &Path) -> Result<ClientFile, FileError> {
        let target = path.canonicalize().map_err(|error| {
            let missing = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
            match missing.contains(&error.kind()) {
                true if path.is_symlink() => FileError::Dangling,
                true => FileError::Missing,
                false => FileError::Read(error),
            }
        })?;
        let metadata = fs::metadata(&target).map_err(FileError::Read)?;
        if metadata.is_dir() {
            return Err(FileError::NotAFile("a folder"));
        }
        if !metadata.is_file() {
            return Err(FileError::NotAFile("not a regular file"));
        }
        let bytes = read_all(&target)?;
        Ok(ClientFile {
            target,
            bytes,
            metadata,
        })
    }

    /// The bytes of the file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The text behind a byte order mark.
    ///
    /// # Errors
    /// Text that is not UTF-8.
    pub(super) fn text(&self) -> Result<&str, FileError> {
        let text = std::str::from_utf8(&self.bytes).map_err(|error| {
            let valid = self.bytes.get(..error.valid_up_to()).unwrap_or_default();
            FileError::NotUtf8(memchr::memchr_iter(b'\n', valid).count() + 1)
        })?;
        Ok(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text))
    }

    /// Returns the bytes of the file with another text: a byte order mark stays.
    fn with_text(&self, text: &str) -> Vec<u8> {
        let mark = match self.bytes.starts_with(BYTE_ORDER_MARK.as_bytes()) {
            true => BYTE_ORDER_MARK,
            false => "",
        };
        [mark.as_bytes(), text.as_bytes()].concat()
    }

    /// Checks that the file may be replaced.
    ///
    /// # Errors
    /// It is read-only, or its folder is, or it has other names.
    pub(super) fn check_writable(&self) -> Result<(), FileError> {
        let folder = self.target.parent().unwrap_or(Path::new("/"));
        // The superuser may write everything, but the mode says what the owner wants.
        let is_locked = self.metadata.mode() & 0o222 == 0;
        if is_locked || access(&self.target, Access::WRITE_OK).is_err() {
            return Err(FileError::ReadOnly("it is read-only"));
        }
        if access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            return Err(FileError::ReadOnly("its folder is read-only"));
        }
        match self.metadata.nlink() {
            0 | 1 => Ok(()),
            _ => Err(FileError::Linked),
        }
    }

    /// Replaces the text of the file atomically. Keeps its byte order mark, mode and owner.
    ///
    /// # Errors
    /// It is not what was read any more, or an error from the system. The file is as it was.
    pub(super) fn replace(&self, text: &str) -> Result<(), FileError> {
        self.remove_leftovers();
        let suffix = random_hex(8).map_err(|error| FileError::Write(io::Error::other(error)))?;
        let new = self.beside(&suffix);
        let written = self
            .write_beside(&new, &self.with_text(text))
            .map_err(FileError::Write)
            .and_then(|()| self.put(&new));
        // After a rename it no longer exists.
        let _ = fs::remove_file(&new);
        written?;
        if let Some(folder) = self.target.parent() {
            // The file is in place; this only makes it survive a power failure.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }

    fn write_beside(&self, new: &Path, bytes: &[u8]) -> io::Result<()> {
        let mode = self.metadata.mode() & 0o7777;
        let mut options = OpenOptions::new();
        let options = options.create_new(true).write(true).mode(mode & 0o700);
        let mut file = options.open(new)?;
        file.write_all(bytes)?;
        let own = file.metadata()?;
        let (user, group) = (self.metadata.uid(), self.metadata.gid());
        if (own.uid(), own.gid()) != (user, group) {
            fchown(&file, Some(user), Some(group))?;
        }
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    }

    /// Puts the new file in place of the old one, unless that has changed.
    fn put(&self, new: &Path) -> Result<(), FileError> {
        self.check_unchanged(&self.target)?;
        // Exchanging them shows what was replaced, so that not even a write at this very moment is lost.
        let exchange = || renameat_with(CWD, new, CWD, &self.target, RenameFlags::EXCHANGE);
        if exchange().is_err() {
            return fs::rename(new, &self.target).map_err(FileError::Write);
        }
        let unchanged = self.check_unchanged(new);
        if unchanged.is_err() {
            exchange().map_err(|error| FileError::Write(error.into()))?;
        }
        unchanged
    }

    fn check_unchanged(&self, path: &Path) -> Result<(), FileError> {
        match read_all(path)? == self.bytes {
            true => Ok(()),
            false => Err(FileError::Changed),
        }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let name = self.target.file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        self.target
            .with_file_name(format!(".{name}{INFIX}{suffix}{SUFFIX}"))
    }

    /// Removes what a killed run left beside the file. The caller holds the lock, so no other run needs it.
    fn remove_leftovers(&self) {
        let name = self.target.file_name().unwrap_or_default();
        let beginning = format!(".{}{INFIX}", name.to_string_lossy());
        let folder = self.target.parent().map(fs::read_dir);
        for entry in folder.into_iter().flatten().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(&beginning) && name.ends_with(SUFFIX) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

const INFIX: &str = ".approval-proxy-";
const SUFFIX: &str = ".tmp";

fn read_all(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(|error| match error.kind() == io::ErrorKind::NotFound {
        true => FileError::Changed,
        false => FileError::Read(error),
    })?;
    let mut bytes = Vec::new();
    let read = file.take(MOST + 1).read_to_end(&mut bytes);
    match read.map_err(FileError::Read)? as u64 > MOST {
        true => Err(FileError::TooLarge),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests;
