//! Environment variables: values for expansion, and a source of settings.
//!
//! The caller passes the variables in; this file does not read the process environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::approver::ApproverName;
use super::error::{ConfigError, Fault, Problem};
use super::nearest::{is_similar, nearest};
use super::pointer::shown;
use super::setting::{PREFIX, Setting};
use super::settings::{Layer, SETTINGS};
use super::token::BearerToken;
use super::value::{Input, Value as _};
use crate::sys::secret::Secret;

/// Environment variables by name. Values may be secret. `None` is a value that is not UTF-8.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, Option<Secret>>,
    machine: Machine,
}

/// What the machine says about the user and its configuration, whatever the variables say.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The home folder that the user database names.
    pub home: Option<PathBuf>,
    /// The configuration for all users of the machine, of which the floor counts. It need not exist.
    pub config: Option<PathBuf>,
}

impl Environment {
    /// The same variables on this machine.
    #[must_use]
    pub fn on(self, machine: Machine) -> Environment {
        Environment { machine, ..self }
    }

    /// What the machine says.
    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Returns the value of `name`; `None` if it is not set.
    ///
    /// # Errors
    /// A variable whose value is not UTF-8.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, Problem> {
        match self.variables.get(name) {
            None => Ok(None),
            Some(Some(value)) => Ok(Some(value.expose())),
            Some(None) => Err(Problem::NotUnicode(shown(name))),
        }
    }

    /// Returns the value of a variable that another program reads; `None` if it is not set, blank or not UTF-8.
    pub(crate) fn of_another_program(&self, name: &str) -> Option<&str> {
        let value = self.get(name).ok().flatten();
        value.filter(|value| !value.trim().is_empty())
    }

    /// Returns the user's home folder: `HOME`, else what the user database says.
    pub(crate) fn home_folder(&self) -> Option<PathBuf> {
        let named = self.home().ok().map(PathBuf::from);
        named.or_else(|| self.machine.home.clone())
    }

    /// Returns true if only the tools of the server are wanted; see `app::probe`.
    pub(crate) fn is_probe(&self) -> bool {
        self.is_set(PROBE)
    }

    /// The same environment with more variables, as a client adds them for a server.
    pub(crate) fn with(&self, more: &BTreeMap<String, Secret>) -> Environment {
        let mut variables = self.variables.clone();
        let more = more.iter();
        variables.extend(more.map(|(name, value)| (name.clone(), Some(value.clone()))));
        let machine = self.machine.clone();
        Environment { variables, machine }
    }

    /// Returns the variables of ours that are set, with their values. Those that are not UTF-8 are left out.
    pub(crate) fn ours(&self) -> impl Iterator<Item = (&str, &Secret)> {
        let variables = self.variables.iter();
        variables
            .filter(|(name, _)| name.starts_with(PREFIX))
            .filter_map(|(name, value)| Some((name.as_str(), value.as_ref()?)))
    }

    /// Returns true if the variable `name` is set, even if its value is not UTF-8.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.variables.contains_key(name)
    }

    /// Reads the `APPROVAL_*` variables of settings that also have a key. As in `${VAR:-default}`, an empty or
    /// blank variable counts as not set, except for a secret.
    ///
    /// # Errors
    /// The first variable with a bad value.
    pub(super) fn layer(&self) -> Result<Layer, ConfigError> {
        self.layer_of(|setting| setting.key().is_some())
    }

    /// Reads the variables of the `wanted` settings.
    fn layer_of(&self, wanted: impl Fn(&Setting) -> bool) -> Result<Layer, ConfigError> {
        let mut layer = Layer::default();
        for setting in SETTINGS.iter().filter(|setting| wanted(setting)) {
            let Some(variable) = setting.variable() else {
                continue;
            };
            let read = |text: &str| {
                let found = setting.read(Input::Text(text))?;
                layer = std::mem::take(&mut layer).over(found);
                Ok(())
            };
            match setting.is_secret {
                true => self.read_secret(&variable, read)?,
                false => self.read_setting(&variable, read)?,
            }
        }
        Ok(layer)
    }

    /// Returns the folder that all proxies of a user share: `APPROVAL_STATE_DIR`, or the default of the XDG
    /// Base Directory Specification. `None` if no variable says where that is.
    ///
    /// # Errors
    /// A variable that is not UTF-8.
    pub(super) fn state_dir(&self) -> Result<Option<PathBuf>, ConfigError> {
        let own = self.layer_of(|setting| setting.name == "stateDir")?;
        if let Some(own) = own.state_dir {
            return Ok(Some(own));
        }
        let folder = |variable: &str, subfolder: &str| {
            let mut found = None;
            self.read_setting(variable, |text| {
                found = Some(Path::new(text.trim()).join(subfolder));
                Ok(())
            })?;
            Ok::<_, ConfigError>(found)
        };
        // "All paths set in these environment variables must be absolute."
        let state = folder("XDG_STATE_HOME", "approval-proxy")?.filter(|path| path.is_absolute());
        match state {
            Some(state) => Ok(Some(state)),
            None => Ok(self.home().ok().map(|home| Path::new(home).join(STATE_DIR))),
        }
    }

    /// The user configuration, if `--config` names none: `APPROVAL_CONFIG`, or where such files are (XDG Base Directory
    /// Specification), and whether a variable of ours names it. `None` where nothing says where that is.
    ///
    /// # Errors
    /// A variable that is not UTF-8.
    pub(super) fn user_config(&self) -> Result<Option<(PathBuf, bool)>, ConfigError> {
        let own = self.layer_of(|setting| setting.name == "config")?;
        if let Some(own) = own.config {
            return Ok(Some((own, true)));
        }
        let mut folder = None;
        self.read_setting("XDG_CONFIG_HOME", |text| {
            // "All paths set in these environment variables must be absolute."
            folder = Some(PathBuf::from(text.trim())).filter(|path| path.is_absolute());
            Ok(())
        })?;
        let folder = folder.or_else(|| Some(Path::new(self.home().ok()?).join(".config")));
        Ok(folder.map(|folder| (folder.join(USER_CONFIG), false)))
    }

    /// The user configuration in the home folder that the user database names.
    pub(super) fn home_config(&self) -> Option<PathBuf> {
        let home = self.machine.home.as_ref()?;
        Some(home.join(".config").join(USER_CONFIG))
    }

    /// The state folder in the home folder that the user database names.
    pub(super) fn home_state_dir(&self) -> Option<PathBuf> {
        Some(self.machine.home.as_ref()?.join(STATE_DIR))
    }

    /// Returns the name to record with this user's verdicts; `None` if it is not set.
    ///
    /// # Errors
    /// A text that cannot be a name, or a variable that is not UTF-8.
    pub(super) fn approver(&self) -> Result<Option<ApproverName>, ConfigError> {
        Ok(self
            .layer_of(|setting| setting.name == "approver")?
            .approver)
    }

    /// Returns the bearer token of HTTP clients; `None` if it is not set.
    ///
    /// # Errors
    /// A token that is empty, that a header cannot carry, or that is shorter than 8 or longer than 4096
    /// characters.
    pub(super) fn auth_token(&self) -> Result<Option<Secret>, ConfigError> {
        let mut token = None;
        self.read_secret(AUTH_TOKEN, |text| {
            token = Some(BearerToken::from_text(text)?.into_secret());
            Ok(())
        })?;
        Ok(token)
    }

    /// Reads a variable that holds a secret. A blank one is an error: the operator who set it believes that
    /// a secret protects them.
    fn read_secret(
        &self,
        variable: &str,
        read: impl FnOnce(&str) -> Result<(), Fault>,
    ) -> Result<(), ConfigError> {
        self.read_variable(variable, |text| match text.trim() {
            "" => Err(Problem::EmptySecret.into()),
            _ => read(text),
        })
    }

    fn read_setting(
        &self,
        variable: &str,
        read: impl FnOnce(&str) -> Result<(), Fault>,
    ) -> Result<(), ConfigError> {
        self.read_variable(variable, |text| match text.trim() {
            "" => Ok(()),
            _ => read(text),
        })
    }

    fn read_variable(
        &self,
        variable: &str,
        read: impl FnOnce(&str) -> Result<(), Fault>,
    ) -> Result<(), ConfigError> {
        let text = self.get(variable).map_err(Fault::from);
        let read = text.and_then(|text| text.map_or(Ok(()), read));
        read.map_err(|fault| ConfigError::InEnvironment {
            variable: variable.to_owned(),
            fault,
        })
    }

    /// Returns a warning for each unknown `APPROVAL_*` variable.
    pub(super) fn warnings(&self) -> Vec<String> {
        let known: Vec<String> = SETTINGS.iter().filter_map(Setting::variable).collect();
        let known = || known.iter().map(String::as_str).chain([DEPTH, PROBE]);
        let ours = self
            .variables
            .keys()
            .filter_map(|name| name.strip_prefix(PREFIX));
        let names = || known().filter_map(|name| name.strip_prefix(PREFIX));
        ours.filter(|rest| names().all(|name| name != *rest))
            .map(|rest| {
                let near = nearest(rest, names()).filter(|near| is_similar(rest, near));
                let hint = match near {
                    Some(near) => format!("did you mean `{PREFIX}{near}`?"),
                    None => "ignore this if another program reads it".to_owned(),
                };
                let rest = shown(rest);
                format!(
                    "environment variable `{PREFIX}{rest}` is unknown and has no effect; {hint}"
                )
            })
            .collect()
    }

    /// Returns the folder that `~` stands for.
    ///
    /// # Errors
    /// `HOME` is not UTF-8; or it is not set or empty, and the user database names no folder either.
    pub(super) fn home(&self) -> Result<&str, Problem> {
        match self.get("HOME") {
            Ok(Some(home)) if !home.is_empty() => Ok(home),
            Ok(_) => {
                let home = self.machine.home.as_deref();
                home.and_then(Path::to_str).ok_or(Problem::NoHome)
            }
            Err(_) => Err(Problem::NoHome),
        }
    }

    /// Replaces a leading `~/` of `path` by `HOME`.
    ///
    /// # Errors
    /// `~/` if `HOME` is not set, empty or not UTF-8.
    pub(super) fn in_home(&self, path: PathBuf) -> Result<PathBuf, ConfigError> {
        let Ok(rest) = path.strip_prefix("~") else {
            return Ok(path);
        };
        match self.home() {
            Ok(home) => Ok(Path::new(home).join(rest)),
            Err(_) => Err(ConfigError::NoHome(path)),
        }
    }
}

/// Collects `std::env::vars_os()`, or pairs of strings in tests.
impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Environment {
        let read = |(name, value): (K, V)| {
            // Skipped: a config file is UTF-8, so it cannot refer to such a name.
            let name = name.into().into_string().ok()?;
            Some((name, value.into().into_string().ok().map(Secret::new)))
        };
        Environment {
            variables: variables.into_iter().filter_map(read).collect(),
            machine: Machine::default(),
        }
    }
}

/// The default state folder, below the home folder.
const STATE_DIR: &str = ".local/state/approval-proxy";

/// The user configuration, below the folder for such files.
const USER_CONFIG: &str = "approval-proxy/config.json";

/// The bearer token of HTTP clients. It has no key in the config file.
pub(super) const AUTH_TOKEN: &str = "APPROVAL_AUTH_TOKEN";

/// Our own variables that are not settings: a counter that keeps the proxy from starting itself in a loop, and one that
/// makes a run a probe.
const DEPTH: &str = "APPROVAL_PROXY_DEPTH";
pub(crate) const PROBE: &str = "APPROVAL_PROXY_PROBE";

#[cfg(test)]
mod tests;
