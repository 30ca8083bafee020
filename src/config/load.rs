//! Reads the config file and resolves it.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::error::ConfigError;
use super::file::ConfigFile;
use super::resolve::{Flags, Resolved, resolve};
use crate::sys::permissions::{Exposure, replaceable_by_others, writable_by_others};

/// Loads the config file that `flags` name, and combines it with the flags and `environment`.
///
/// # Errors
/// A file that cannot be read, that other users may write to, that is larger than 16 MiB, or that has an
/// error; see [`ConfigError`].
pub fn load(mut flags: Flags, environment: &Environment) -> Result<Resolved, ConfigError> {
    flags.upstream = environment.in_home(flags.upstream)?;
    let bytes = read(&flags.upstream)?;
    let file = ConfigFile::parse(&flags.upstream, &bytes)?;
    resolve(flags, file, environment)
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |cause| ConfigError::Unreadable {
        file: path.to_owned(),
        cause,
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    // Not for a pipe: whoever started us made it.
    if metadata.is_file() {
        refuse_if_writable_by_others(path, &metadata)?;
    }
    let mut bytes = Vec::new();
    file.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    // Checked after reading: a pipe has no size, and a file may grow.
    if bytes.len() as u64 > LIMIT {
        return Err(ConfigError::TooLarge {
            file: path.to_owned(),
            limit: LIMIT,
        });
    }
    Ok(bytes)
}

/// Refuses a config file that other users may write to or replace. It decides which programs run and which
/// calls need an approval.
fn refuse_if_writable_by_others(path: &Path, metadata: &Metadata) -> Result<(), ConfigError> {
    let Some(open) = open_to_others(path, metadata) else {
        return Ok(());
    };
    let (file, exposure) = (path.to_owned(), open.exposure);
    Err(match open.folder {
        None => ConfigError::ExposedConfig { file, exposure },
        Some(folder) => ConfigError::ExposedFolder {
            file,
            folder,
            exposure,
        },
    })
}

/// How other users can change the contents of a file.
pub(super) struct OpenToOthers {
    pub(super) exposure: Exposure,
    /// The folder in which they may replace the file; `None` if they may write to the file itself.
    pub(super) folder: Option<PathBuf>,
}

/// Returns how other users may write to the file at `path`, which has this `metadata`, or replace it.
pub(super) fn open_to_others(path: &Path, metadata: &Metadata) -> Option<OpenToOthers> {
    if let Some(exposure) = writable_by_others(metadata) {
        let folder = None;
        return Some(OpenToOthers { exposure, folder });
    }
    // If the path is a link, check the folder of the link and the folder of the file.
    let paths = [std::path::absolute(path), path.canonicalize()];
    let mut folders = paths.iter().flatten().filter_map(|path| path.parent());
    folders.find_map(|folder| {
        // Skip folders without metadata, such as that of a deleted file.
        let exposure = replaceable_by_others(&folder.metadata().ok()?)?;
        let folder = Some(folder.to_owned());
        Some(OpenToOthers { exposure, folder })
    })
}

/// 16 MiB: even a client's config that contains its whole history is smaller.
const LIMIT: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tempfile::NamedTempFile;

    use super::*;

    fn loaded(bytes: &[u8]) -> Result<Resolved, ConfigError> {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        load(Flags::new(file.path().to_owned()), &Environment::default())
    }

    #[test]
    fn a_file_is_read_and_resolved() {
        let resolved = loaded(br#"{"mcpServers":{"db":{"command":"db-server"}}}"#).unwrap();
        assert_eq!(resolved.server.name, "db");
        assert!(format!("{resolved:?}").contains("db-server"));
    }

    #[test]
    fn a_missing_file_and_a_directory_are_named() {
        for path in ["/nonexistent/cfg.json", "/"] {
            let error = load(Flags::new(path.into()), &Environment::default()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{path}: cannot read this config file; check the path after `--upstream`"),
            );
            assert!(std::error::Error::source(&error).is_some());
        }
    }

    #[test]
    fn a_file_of_sixteen_mebibytes_is_read_and_a_larger_one_is_refused() {
        let mut bytes = br#"{"command":"a"}"#.to_vec();
        bytes.resize(16 << 20, b' ');
        assert!(loaded(&bytes).is_ok());
        bytes.push(b' ');
        let error = loaded(&bytes).unwrap_err().to_string();
        assert!(error.contains("larger than 16777216 bytes"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_endless_file_is_refused() {
        let error = load(Flags::new("/dev/zero".into()), &Environment::default()).unwrap_err();
        assert!(matches!(error, ConfigError::TooLarge { .. }));
    }
}
