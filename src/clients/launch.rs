//! What a client starts for an entry, or which URL it asks: the entry's texts, with the client's variables expanded.
//!
//! It starts nothing; `cli::doctor` does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::client::{Client, Folders};
use super::server::{HEADER_KEYS, Kind, Server, UrlOf, Words};
use super::syntax::{Member, Node, Value};
use crate::config::{UrlType, read_env_file, shown};
use crate::sys::secret::Secret;

/// How a client reaches a server.
#[derive(Debug, Clone)]
pub enum Launch {
    /// It starts it.
    Command(CommandLaunch),
    /// It asks a URL.
    Url(UrlLaunch),
    /// Only the client knows. Holds the reason.
    Unknown(String),
}

/// A server that a client starts.
#[derive(Debug, Clone)]
pub struct CommandLaunch {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The variables that the entry sets.
    pub env: BTreeMap<String, Secret>,
    /// The folder that the entry names, or the folder of the project that the entry is for.
    pub cwd: Option<PathBuf>,
}

/// A server behind a URL.
#[derive(Debug, Clone)]
pub struct UrlLaunch {
    /// The URL.
    pub url: Secret,
    /// The headers that the entry sets.
    pub headers: BTreeMap<String, Secret>,
    /// The protocol, if the URL does not say it.
    pub url_type: Option<UrlType>,
}

/// How a client writes variables in the texts of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variables {
    /// Not at all.
    None,
    /// `${NAME}` and `${NAME:-default}`.
    Braces,
    /// `${env:NAME}`.
    Env,
    /// `{env:NAME}`.
    Opencode,
    /// We do not know. `${env:NAME}` can mean only one thing.
    Unknown,
}

impl Launch {
    /// Reads an entry.
    pub(super) fn of(server: &Server<'_>, client: &Client, folders: &Folders<'_>) -> Launch {
        let reader = Reader {
            variables: client.form.variables,
            folders,
        };
        let entry = &server.member.node;
        let launch = match &server.kind {
            Kind::Stdio(words) | Kind::Guarded(words) => {
                let launch = reader.command(entry, words);
                launch.map(|launch| {
                    let cwd = launch.cwd.or_else(|| project_of(server).map(PathBuf::from));
                    Launch::Command(CommandLaunch { cwd, ..launch })
                })
            }
            Kind::Url(url) => reader.url(entry, *url).map(Launch::Url),
            Kind::Kept(why) => Err(why.clone()),
        };
        launch.unwrap_or_else(Launch::Unknown)
    }
}

/// Returns the folder of the project that an entry in a user's file is for.
pub(super) fn project_of<'s>(server: &'s Server<'_>) -> Option<&'s str> {
    match server.path.as_slice() {
        [projects, folder, _, _] if projects == "projects" => Some(folder),
        _ => None,
    }
}

/// Returns true if an entry holds values that may be secrets: of variables or headers, and not variables of the client.
pub(super) fn holds_values(entry: &Node) -> bool {
    let keys = ENV_KEYS.iter().chain(&HEADER_KEYS);
    let members = keys.filter_map(|key| entry.get(key));
    let mut values = members.flat_map(|member| member.node.members());
    values.any(|value| {
        let text = value.node.text().unwrap_or_default();
        !text.is_empty() && !text.contains("${") && !text.contains("{env:")
    })
}

struct Reader<'r> {
    variables: Variables,
    folders: &'r Folders<'r>,
}

impl Reader<'_> {
    fn command(&self, entry: &Node, words: &Words<'_>) -> Result<CommandLaunch, String> {
        let text = |node: &Node| match node.text() {
            Some(text) => self.expand(text),
            None => Err("an argument is not a text".to_owned()),
        };
        let args: Result<Vec<String>, String> = words.args.iter().map(text).collect();
        let path = |key: &str| match entry.get(key).and_then(|member| member.node.text()) {
            Some(path) if !path.is_empty() => self.expand(path).map(PathBuf::from).map(Some),
            Some(_) | None => Ok(None),
        };
        let mut env = match path("envFile")? {
            Some(file) => read_env_file(&file, &file).map_err(|error| error.to_string())?,
            None => BTreeMap::new(),
        };
        let inner = entry.get("command").map(|command| &command.node);
        let places = [Some(entry), inner].into_iter().flatten();
        for place in places {
            for key in ENV_KEYS {
                env.extend(self.secrets(place.get(key))?);
            }
        }
        Ok(CommandLaunch {
            program: text(words.program)?,
            args: args?,
            env,
            cwd: path("cwd")?,
        })
    }

    fn url(&self, entry: &Node, url: UrlOf<'_>) -> Result<UrlLaunch, String> {
        let mut headers = BTreeMap::new();
        for key in HEADER_KEYS {
            headers.extend(self.secrets(entry.get(key))?);
        }
        let by_name = entry.get("env_http_headers");
        for header in by_name.iter().flat_map(|member| member.node.members()) {
            let value = self.variable(header.node.text().unwrap_or_default())?;
            headers.insert(header.key.clone(), Secret::new(value));
        }
        let bearer = entry.get("bearer_token_env_var");
        if let Some(name) = bearer.and_then(|member| member.node.text()) {
            let value = format!("Bearer {}", self.variable(name)?);
            headers.insert("Authorization".to_owned(), Secret::new(value));
        }
        let text = self.expand(url.member.node.text().unwrap_or_default())?;
        Ok(UrlLaunch {
            url: Secret::new(text),
            headers,
            url_type: url.url_type,
        })
    }

    fn secrets(&self, member: Option<&Member>) -> Result<BTreeMap<String, Secret>, String> {
        let members = member
            .map(|member| member.node.members())
            .unwrap_or_default();
        let mut secrets = BTreeMap::new();
        for member in members {
            let text = match &member.node.value {
                Value::Text(text) => self.expand(text)?,
                Value::Null => continue,
                Value::Bool(value) => value.to_string(),
                Value::List(_) | Value::Map(_) | Value::Other => {
                    return Err(format!(
                        "the value of `{}` is not a text",
                        shown(&member.key)
                    ));
                }
            };
            let is_name = !member.key.is_empty() && !member.key.contains(['=', '\0']);
            if !is_name || text.contains('\0') {
                return Err(format!("`{}` cannot be a variable", shown(&member.key)));
            }
            secrets.insert(member.key.clone(), Secret::new(text));
        }
        Ok(secrets)
    }

    /// Expands the variables of the client.
    fn expand(&self, text: &str) -> Result<String, String> {
        let open = match self.variables {
            Variables::None => return Ok(text.to_owned()),
            Variables::Opencode => "{",
            Variables::Braces | Variables::Env | Variables::Unknown => "${",
        };
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once(open) {
            expanded.push_str(before);
            let inner = behind.split_once('}');
            let Some((inner, after)) = inner.filter(|(inner, _)| self.is_variable(inner)) else {
                expanded.push_str(open);
                rest = behind;
                continue;
            };
            expanded.push_str(&self.value(inner)?);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn is_variable(&self, inner: &str) -> bool {
        match self.variables {
            Variables::Opencode => inner.starts_with("env:") || inner.starts_with("file:"),
            Variables::None | Variables::Braces | Variables::Env | Variables::Unknown => true,
        }
    }

    /// Returns the value of the variable that is written as `inner`, between braces.
    fn value(&self, inner: &str) -> Result<String, String> {
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        match (self.variables, inner.strip_prefix("env:")) {
            (Variables::Env | Variables::Unknown | Variables::Opencode, Some(name)) => {
                self.variable(name)
            }
            (Variables::Env, None) if inner == "userHome" => {
                Ok(self.folders.home().to_string_lossy().into_owned())
            }
            (Variables::Braces, None) => match (self.variable(name), default) {
                (Err(_), Some(default)) => Ok(default.to_owned()),
                (value, _) => value,
            },
            _ => {
                // A default may be a secret.
                let name = shown(name);
                Err(format!("only the client knows the value of `{name}`"))
            }
        }
    }

    fn variable(&self, name: &str) -> Result<String, String> {
        let value = self.folders.variable(name);
        let value = value.and_then(|value| value.into_os_string().into_string().ok());
        value.ok_or_else(|| {
            let name = shown(name);
            format!("the variable `{name}` is not set here, though it may be for the client")
        })
    }
}

/// The keys of the environment.
const ENV_KEYS: [&str; 3] = ["env", "environment", "envs"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn expanded(variables: Variables, text: &str) -> Result<String, String> {
        let environment: Environment = [("HOME", "/h"), ("A", "1")].into_iter().collect();
        let folders = Folders::of(&environment).unwrap();
        let folders = &folders;
        Reader { variables, folders }.expand(text)
    }

    #[test]
    fn variables_are_expanded_as_their_client_does() {
        let ok = |variables, text, wanted: &str| {
            assert_eq!(expanded(variables, text).as_deref(), Ok(wanted), "{text}");
        };
        ok(Variables::None, "${A}", "${A}");
        ok(Variables::Braces, "x${A}y${B:-z}", "x1yz");
        ok(Variables::Env, "${userHome}/${env:A}", "/h/1");
        ok(Variables::Opencode, "{env:A} {x} {", "1 {x} {");
        ok(Variables::Unknown, "$A ${env:A} ${", "$A 1 ${");
    }

    #[test]
    fn what_only_the_client_knows_is_named_without_its_default() {
        for (variables, text) in [
            (Variables::Env, "${input:key}"),
            (Variables::Env, "${workspaceFolder}"),
            (Variables::Unknown, "${A}"),
            (Variables::Braces, "${B}"),
            (Variables::Env, "${env:B}"),
            (Variables::Opencode, "{file:./key}"),
            (Variables::Unknown, "${key:-hunter2}"),
        ] {
            let why = expanded(variables, text).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
