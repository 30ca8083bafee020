//! Reads the config file and resolves it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::environment::Environment;
use super::error::ConfigError;
use super::file::ConfigFile;
use super::floor::{Floor, Floors};
use super::guarded::{Guarded, ServerChoice};
use super::resolve::{Flags, InboxSettings, Resolved, UserConfigs, resolve, resolve_inbox};
use super::settings::Layer;
use super::user_config::UserConfig;
use crate::sys::permissions::{Exposure, replaceable_by_others, writable_by_others};

/// Loads the config file that `flags` name, and combines it with the flags and `environment`.
///
/// # Errors
/// A file that cannot be read, that other users may write to, that is larger than 16 MiB, or that has an
/// error; see [`ConfigError`].
pub fn load(flags: Flags, environment: &Environment) -> Result<Resolved, ConfigError> {
    let user = user_configs(&flags.layer, environment)?;
    let guarded = match flags.server {
        ServerChoice::File { upstream, server } => {
            let upstream = environment.in_home(upstream)?;
            let unreadable = |cause| ConfigError::Unreadable {
                file: upstream.clone(),
                cause,
            };
            let bytes = read(&upstream, unreadable)?;
            let file = ConfigFile::parse(&upstream, &bytes)?;
            Guarded::in_file(file, server, environment)?
        }
        ServerChoice::Command {
            program,
            args,
            name,
        } => Guarded::by_command(program, args, name),
        ServerChoice::None { name } => Guarded::none(name),
        ServerChoice::Url {
            url,
            headers,
            bearer,
            url_type,
            name,
        } => Guarded::by_url(
            &url,
            &headers,
            bearer.as_deref(),
            url_type,
            name,
            environment,
        )?,
    };
    resolve(flags.layer, guarded, user, environment)
}

/// Returns the settings of the inbox for commands that guard no server.
///
/// # Errors
/// As [`load`], of the user configurations and the environment.
pub fn load_inbox(flags: &Layer, environment: &Environment) -> Result<InboxSettings, ConfigError> {
    let user = user_configs(flags, environment)?;
    resolve_inbox(flags, &user, environment)
}

/// The user configuration in use, and the floors: of the one in use, of the home folder that the user database names,
/// and of the machine. They apply together, so no flag or variable can bypass one.
fn user_configs(flags: &Layer, environment: &Environment) -> Result<UserConfigs, ConfigError> {
    let named = match &flags.config {
        Some(file) => Some((environment.in_home(file.clone())?, true)),
        None => match environment.user_config()? {
            Some((file, is_named)) => Some((environment.in_home(file)?, is_named)),
            None => None,
        },
    };
    let in_use = match &named {
        Some((file, is_named)) => Opened::user_config(file, *is_named)?,
        None => None,
    };
    let own = match environment.home_config() {
        Some(file) => Opened::user_config(&file, false)?,
        None => None,
    };
    let machines = match &environment.machine().config {
        Some(file) => Opened::user_config(file, false)?,
        None => None,
    };
    let is_in_use = |other: &&Opened| in_use.as_ref().is_some_and(|config| config.id == other.id);
    let is_chosen = in_use.is_some() && !own.as_ref().is_some_and(|own| is_in_use(&own));
    let others: Vec<&Opened> = [&own, &machines]
        .into_iter()
        .flatten()
        .filter(|other| !is_in_use(other))
        .collect();
    let floors: Vec<Floor> = others.iter().filter_map(|other| other.floor()).collect();
    let in_uses = in_use.iter().filter_map(Opened::floor);
    Ok(UserConfigs {
        floors: Floors::new(in_uses.chain(floors.clone()).collect()),
        above: Floors::new(if is_chosen { floors } else { Vec::new() }),
        others: others.iter().map(|other| other.config.clone()).collect(),
        in_use: in_use.map(|opened| opened.config),
    })
}

/// A user configuration that holds on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserConfigFile {
    /// Its path.
    pub path: PathBuf,
    /// Whether it has a floor.
    pub has_floor: bool,
}

/// Returns the user configurations that hold, if no flag names another: the one in use, and those whose floor counts.
///
/// # Errors
/// As [`load`], of these files.
pub fn user_config_files(environment: &Environment) -> Result<Vec<UserConfigFile>, ConfigError> {
    let in_use = match environment.user_config()? {
        Some((file, is_named)) => Some((environment.in_home(file)?, is_named)),
        None => None,
    };
    let own = environment.home_config().map(|file| (file, false));
    let machines = environment
        .machine()
        .config
        .clone()
        .map(|file| (file, false));
    let mut found: Vec<Opened> = Vec::new();
    for (file, is_named) in [in_use, own, machines].into_iter().flatten() {
        if let Some(opened) = Opened::user_config(&file, is_named)?
            && found.iter().all(|known| known.id != opened.id)
        {
            found.push(opened);
        }
    }
    let files = found.into_iter().map(|opened| UserConfigFile {
        has_floor: opened.config.floor.is_some(),
        path: opened.config.file,
    });
    Ok(files.collect())
}

/// A user configuration, and the identity of the file that was read. Files are compared by identity and not by path,
/// because a link could be changed between two looks.
struct Opened {
    config: UserConfig,
    /// The device and the number of the file there.
    id: (u64, u64),
}

impl Opened {
    /// Reads the user configuration in `file`; `None` if there is none and nobody has named it.
    ///
    /// # Errors
    /// A file that cannot be read, even if nobody has named it: it may hold a floor.
    fn user_config(file: &Path, is_named: bool) -> Result<Option<Opened>, ConfigError> {
        let unreadable = |cause| ConfigError::UnreadableUserConfig {
            file: file.to_owned(),
            cause,
        };
        // Without this flag, opening a pipe that nobody writes to would block forever.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let opened = match OpenOptions::new().read(true).custom_flags(flags).open(file) {
            Err(error) if !is_named && is_missing(file, &error) => return Ok(None),
            opened => opened.map_err(unreadable)?,
        };
        let metadata = opened.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(io::Error::other("it is not a regular file")));
        }
        let bytes = contents(file, opened, &metadata, unreadable)?;
        Ok(Some(Opened {
            config: UserConfig::parse(file, &bytes)?,
            id: (metadata.dev(), metadata.ino()),
        }))
    }

    fn floor(&self) -> Option<Floor> {
        Some(Floor {
            file: self.config.file.clone(),
            layer: self.config.floor.clone()?,
        })
    }
}

/// Returns true if there is nothing called `file`. A link that leads nowhere is something.
fn is_missing(file: &Path, error: &io::Error) -> bool {
    let is_absent = matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    );
    is_absent && file.symlink_metadata().is_err()
}

fn read(
    path: &Path,
    unreadable: impl Fn(io::Error) -> ConfigError,
) -> Result<Vec<u8>, ConfigError> {
    let file = File::open(path).map_err(&unreadable)?;
    let metadata = file.metadata().map_err(&unreadable)?;
    contents(path, file, &metadata, unreadable)
}

/// Reads an open `file`, which has this `metadata`.
fn contents(
    path: &Path,
    file: File,
    metadata: &Metadata,
    unreadable: impl Fn(io::Error) -> ConfigError,
) -> Result<Vec<u8>, ConfigError> {
    // Not for a pipe: whoever started us made it.
    if metadata.is_file() {
        refuse_if_writable_by_others(path, metadata)?;
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

    use super::super::entry::Target;
    use super::super::guarded::{UrlChoice, UrlType};
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
    fn the_protocol_of_a_url_is_the_one_that_is_named_or_follows_from_its_path() {
        for (url, url_type, is_sse) in [
            ("https://a/mcp", None, false),
            ("https://a/sse", None, true),
            ("https://a/mcp", Some(UrlType::Sse), true),
            ("https://a/sse", Some(UrlType::Http), false),
        ] {
            let server = ServerChoice::Url {
                url: UrlChoice::Argument(url.to_owned()),
                headers: Vec::new(),
                bearer: None,
                url_type,
                name: None,
            };
            let layer = Layer::default();
            let loaded = load(Flags { server, layer }, &Environment::default()).unwrap();
            let Target::Url(target) = loaded.server.target else {
                panic!("it has a URL");
            };
            assert_eq!(target.is_sse, is_sse, "{url} {url_type:?}");
        }
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
