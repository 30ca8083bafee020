//! The server that a run guards, given by a config file, a command or a URL, and the settings that come with it.
//!
//! `load` opens the files, and `resolve` merges the settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::entry::{CommandTarget, Entry, Target, UpstreamConfig, UrlTarget, names_sse};
use super::environment::Environment;
use super::error::{ConfigError, Fault, Problem, names, path};
use super::file::{ConfigFile, NoServer};
use super::floor::Source;
use super::headers::Headers;
use super::pointer::{Pointer, shown};
use super::server_name::{name_of_command, name_of_url};
use super::settings::Layer;
use super::word::Word;
use crate::sys::secret::Secret;

/// Which server the command line says to guard.
#[derive(Debug, Clone)]
pub enum ServerChoice {
    /// One of a config file.
    File {
        /// The config file.
        upstream: PathBuf,
        /// The server's name; the first that is not disabled if `None`.
        server: Option<String>,
    },
    /// The one that a command starts.
    Command {
        /// The program.
        program: OsString,
        /// Its arguments, which nothing expands.
        args: Vec<OsString>,
        /// The server's name; derived from the command if `None`.
        name: Option<String>,
    },
    /// One that is reached over HTTP.
    Url {
        /// Its URL.
        url: UrlChoice,
        /// Headers to send, each with the environment variable that holds its value.
        headers: Vec<(String, String)>,
        /// The environment variable that holds a bearer token.
        bearer: Option<String>,
        /// The protocol; as for a URL in a file if `None`.
        url_type: Option<UrlType>,
        /// The server's name; the host of the URL if `None`.
        name: Option<String>,
    },
    /// None: agents ask by themselves, or a command only reads the settings.
    None {
        /// The name whose settings apply, as if it were a server's.
        name: String,
    },
}

/// The protocol of a server behind a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlType {
    /// Streamable HTTP.
    Http,
    /// HTTP+SSE of 2024-11-05.
    Sse,
}

impl Word for UrlType {
    const WORDS: &'static [(&'static str, UrlType)] =
        &[("http", UrlType::Http), ("sse", UrlType::Sse)];
}

/// Where the URL of a server is given.
#[derive(Debug, Clone)]
pub enum UrlChoice {
    /// On the command line, where every user of the machine can read it.
    Argument(String),
    /// In this environment variable.
    Variable(String),
}

/// The server, and the settings from its own file.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) upstream: UpstreamConfig,
    /// Its `approvalRules`.
    pub(super) rules: Layer,
    /// Where `approvalRules` is.
    pub(super) rules_at: Source,
    /// The `approvalProxy` of its file.
    pub(super) proxy: Layer,
    /// Where `approvalProxy` is.
    pub(super) proxy_at: Source,
    /// The `approvalRules` of all servers in its file.
    pub(super) others: Vec<Layer>,
    /// The variables that the server gets, each with the place that names it.
    pub(super) variables: Vec<(String, String)>,
    /// The config file as it was named, if there is one.
    pub(super) file: Option<PathBuf>,
    /// Whether there is a server at all.
    pub(super) is_any: bool,
    pub(super) warnings: Vec<String>,
}

impl Guarded {
    /// Returns a server without a file, and so without settings of its own.
    fn alone(upstream: UpstreamConfig) -> Guarded {
        Guarded {
            upstream,
            rules: Layer::default(),
            rules_at: Source::Flags,
            proxy: Layer::default(),
            proxy_at: Source::Flags,
            others: Vec::new(),
            variables: Vec::new(),
            file: None,
            is_any: true,
            warnings: Vec::new(),
        }
    }

    /// Returns no server, under a name. What takes its place is never started.
    pub(super) fn none(name: String) -> Guarded {
        let nothing = OsString::new();
        Guarded {
            is_any: false,
            ..Guarded::by_command(nothing, Vec::new(), Some(name))
        }
    }

    /// Returns the server that `program` starts with exactly these `args`.
    pub(super) fn by_command(
        program: OsString,
        args: Vec<OsString>,
        name: Option<String>,
    ) -> Guarded {
        Guarded::alone(UpstreamConfig {
            name: name.unwrap_or_else(|| name_of_command(&program, &args)),
            target: Target::Command(CommandTarget {
                command: program,
                args,
                env: BTreeMap::new(),
                cwd: None,
            }),
        })
    }

    /// Returns the server at a URL.
    ///
    /// # Errors
    /// A URL that is not `http` or `https`, or that could contain a secret on the command line; a variable that is not set or
    /// empty; a header that HTTP does not allow.
    pub(super) fn by_url(
        url: &UrlChoice,
        headers: &[(String, String)],
        bearer: Option<&str>,
        url_type: Option<UrlType>,
        name: Option<String>,
        environment: &Environment,
    ) -> Result<Guarded, ConfigError> {
        let text = match url {
            UrlChoice::Argument(text) => text.clone(),
            UrlChoice::Variable(variable) => secret_variable("--url-env", variable, environment)?,
        };
        let wrong = |problem: Problem| match url {
            UrlChoice::Argument(_) => ConfigError::InFlag {
                flag: "--url",
                problem: Box::new(problem),
            },
            UrlChoice::Variable(variable) => ConfigError::InEnvironment {
                variable: shown(variable),
                fault: problem.into(),
            },
        };
        let parsed = Url::parse(text.trim()).ok();
        let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        let Some(parsed) = parsed.filter(is_web) else {
            return Err(wrong(Problem::Unexpected {
                expected: "a URL that begins with `http://` or `https://`".to_owned(),
                found: "another text".to_owned(),
            }));
        };
        let may_be_secret = parsed.query().is_some()
            || parsed.fragment().is_some()
            || !parsed.username().is_empty()
            || parsed.password().is_some();
        if matches!(url, UrlChoice::Argument(_)) && may_be_secret {
            return Err(wrong(Problem::SecretInArgument));
        }
        let mut all = Headers::default();
        for (header, variable) in headers {
            let value = secret_variable("--header-env", variable, environment)?;
            let added = all.add(header.clone(), &value);
            added.map_err(|fault| in_variable(variable, fault.under(header.as_str())))?;
        }
        if let Some(variable) = bearer {
            let token = secret_variable("--bearer-env", variable, environment)?;
            let added = all.add(
                "Authorization".to_owned(),
                &format!("Bearer {}", token.trim()),
            );
            added.map_err(|fault| in_variable(variable, fault))?;
        }
        let of_url = match url {
            UrlChoice::Argument(_) => None,
            UrlChoice::Variable(variable) => Some(("`--url-env`", variable.as_str())),
        };
        let of_headers = headers
            .iter()
            .map(|(_, variable)| ("`--header-env`", &**variable));
        let of_bearer = bearer.map(|variable| ("`--bearer-env`", variable));
        let variables = of_url.into_iter().chain(of_headers).chain(of_bearer);
        let variables = variables.map(|(flag, name)| (flag.to_owned(), name.to_owned()));
        Ok(Guarded {
            variables: variables.collect(),
            ..Guarded::alone(UpstreamConfig {
                name: name.unwrap_or_else(|| name_of_url(&parsed)),
                target: Target::Url(UrlTarget {
                    is_sse: url_type.map_or_else(|| names_sse(&text), |kind| kind == UrlType::Sse),
                    url: Secret::new(text.trim().to_owned()),
                    headers: all.into_map(),
                }),
            })
        })
    }

    /// The server called `server` of a `file`, or the first that is not disabled.
    ///
    /// # Errors
    /// There is none, or its entry is wrong.
    pub(super) fn in_file(
        file: ConfigFile,
        server: Option<String>,
        environment: &Environment,
    ) -> Result<Guarded, ConfigError> {
        let mut warnings = file.warnings;
        let config_path = file.path;
        let names_of = |is_wanted: fn(&Entry) -> bool| -> Vec<String> {
            let servers = file.servers.iter();
            let wanted = servers.filter(|entry| is_wanted(entry));
            wanted.map(|entry| entry.name.clone()).collect()
        };
        let known = names_of(|_| true);
        let enabled = names_of(|entry| !entry.is_disabled());
        let others = file.servers.iter().map(|entry| entry.rules.clone());
        let others: Vec<Layer> = others.collect();
        let Some(mut entry) = choose(file.servers, server.as_deref()) else {
            let (elsewhere, no_servers) = (file.elsewhere, file.no_servers);
            return Err(no_such_server(
                config_path,
                server,
                known,
                no_servers,
                elsewhere,
            ));
        };
        if entry.is_disabled() {
            warnings.push(format!(
                "{}: server `{}` is disabled in this file, but used because `--server` names it",
                path(&config_path),
                shown(&entry.name),
            ));
        }
        if server.is_none() && enabled.len() > 1 {
            warnings.push(format!(
                "{}: there are several servers ({}); using `{}`; choose another with `--server NAME`",
                path(&config_path),
                names(&enabled),
                shown(&entry.name),
            ));
        }
        let variables = entry.variables().into_iter();
        let variables = variables
            .map(|(at, name)| (format!("{}: {at}", path(&config_path)), name))
            .collect();
        let mut rules = std::mem::take(&mut entry.rules);
        let rules_at = Source::File {
            file: config_path.clone(),
            at: entry.at().child("approvalRules"),
        };
        let proxy_at = Source::File {
            file: config_path.clone(),
            at: Pointer::default().child("approvalProxy"),
        };
        let server_name = (!entry.is_named_by_its_place()).then(|| entry.name.clone());
        let folder = config_path.parent().unwrap_or(Path::new(""));
        let chosen = match entry.chosen(environment, folder) {
            Ok(chosen) => chosen,
            Err(fault) => return Err(in_entry(config_path, server_name, fault)),
        };
        let about = path(&config_path);
        let chosen_warnings = chosen.warnings.into_iter();
        warnings.extend(chosen_warnings.map(|warning| match &server_name {
            Some(name) => format!("{about}: server `{}`: {warning}", shown(name)),
            None => format!("{about}: {warning}"),
        }));
        rules.deny.extend(chosen.deny);
        Ok(Guarded {
            upstream: chosen.upstream,
            rules,
            rules_at,
            proxy: file.proxy,
            proxy_at,
            others,
            variables,
            file: Some(config_path),
            is_any: true,
            warnings,
        })
    }
}

/// The value of a variable that the command line names after `flag`: not empty, since somebody believes that it holds a
/// secret.
///
/// # Errors
/// They quote the name only if it looks like one: `--bearer-env "$TOKEN"` gives the token itself.
fn secret_variable(
    flag: &'static str,
    name: &str,
    environment: &Environment,
) -> Result<String, ConfigError> {
    if !environment.is_set(name) && !looks_like_a_variable(name) {
        return Err(ConfigError::InFlag {
            flag,
            problem: Box::new(Problem::Unexpected {
                expected: "the name of an environment variable that is set, such as `MY_TOKEN`"
                    .to_owned(),
                found: "another text".to_owned(),
            }),
        });
    }
    let value = environment.get(name).and_then(|value| match value {
        None => Err(Problem::UnsetName(name.to_owned())),
        Some(value) if value.trim().is_empty() => Err(Problem::EmptySecret),
        Some(value) => Ok(value.to_owned()),
    });
    value.map_err(|problem| in_variable(name, problem.into()))
}

/// Returns true if `name` is in capitals, or in small letters without digits, as a token hardly ever is.
fn looks_like_a_variable(name: &str) -> bool {
    let has = |kind: fn(&char) -> bool| name.chars().any(|letter| kind(&letter));
    let is_name = name
        .chars()
        .all(|letter| letter == '_' || letter.is_ascii_alphanumeric());
    is_name
        && !(has(char::is_ascii_lowercase)
            && (has(char::is_ascii_uppercase) || has(char::is_ascii_digit)))
}

fn in_variable(variable: &str, fault: Fault) -> ConfigError {
    ConfigError::InEnvironment {
        variable: shown(variable),
        fault,
    }
}

/// Returns the server called `name`, or the first that is not disabled.
fn choose(servers: Vec<Entry>, name: Option<&str>) -> Option<Entry> {
    let is_chosen = |entry: &Entry| match name {
        Some(name) => entry.name == name,
        None => !entry.is_disabled(),
    };
    servers.into_iter().find(is_chosen)
}

/// Returns the error if no server can be chosen. `known` are the names of the file's servers, `others` the
/// members of its list that are not servers.
fn no_such_server(
    file: PathBuf,
    name: Option<String>,
    known: Vec<String>,
    others: Vec<NoServer>,
    elsewhere: Vec<Pointer>,
) -> ConfigError {
    let Some(name) = name else {
        if !known.is_empty() {
            let disabled = known;
            return ConfigError::AllDisabled { file, disabled };
        }
        return match others.into_iter().next() {
            Some(NoServer { fault, .. }) => ConfigError::InFile { file, fault },
            None => ConfigError::NoServers { file, elsewhere },
        };
    };
    if let Some(NoServer { fault, .. }) = others.into_iter().find(|other| other.name == name) {
        return ConfigError::InFile { file, fault };
    }
    match known.is_empty() {
        true => ConfigError::NoServers { file, elsewhere },
        false => ConfigError::UnknownServer {
            file,
            name,
            known,
            elsewhere,
        },
    }
}

/// Returns the error for a fault in an entry, with the server's name if the place does not contain it.
fn in_entry(file: PathBuf, server: Option<String>, fault: Fault) -> ConfigError {
    match server {
        Some(server) => ConfigError::InServer {
            file,
            server,
            fault,
        },
        None => ConfigError::InFile { file, fault },
    }
}
