//! The entry of one server, and the upstream that it describes.
//!
//! Other clients use the same entries: we read their keys if the meaning is clear, and warn about the
//! others (`ignored_keys`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::error::{Fault, Problem};
use super::expand::{expand, variables_of};
use super::headers::headers;
use super::json::{Node, Object, quoted};
use super::nearest::edits;
use super::pattern::Pattern;
use super::pointer::Pointer;
use super::scalar::{text_of, texts_of};
use super::section::Section;
use super::server_kind::Kind;
use super::settings::Layer;
use super::value::{Value, wrong_type};
use super::{env_file, ignored_keys};
use crate::sys::secret::Secret;

/// The guarded server.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// Its name in the config; `upstream` if the file is one entry.
    pub name: String,
    /// How to start it or connect to it.
    pub target: Target,
}

/// How to start a server or connect to it.
#[derive(Debug, Clone)]
pub enum Target {
    /// We start it and talk to it over its stdin and stdout.
    Command(CommandTarget),
    /// It runs elsewhere, and we talk to it over HTTP.
    Url(UrlTarget),
}

/// A server that we start.
///
/// `Debug` hides arguments and environment values, because they may be secret.
#[derive(Clone)]
pub struct CommandTarget {
    /// The program: not empty, variables expanded, not yet looked up in `PATH`.
    pub command: OsString,
    /// Its arguments, variables expanded.
    pub args: Vec<OsString>,
    /// Its variables in addition to our environment, variables expanded; includes those of `envFile`.
    pub env: BTreeMap<String, Secret>,
    /// Its working directory. As in other clients, a relative path is relative to ours.
    pub cwd: Option<PathBuf>,
}

impl fmt::Debug for CommandTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandTarget")
            .field("command", &self.command)
            .field("args", &format_args!("[{} hidden]", self.args.len()))
            .field("env", &self.env)
            .field("cwd", &self.cwd)
            .finish()
    }
}

/// A server that runs elsewhere.
#[derive(Debug, Clone)]
pub struct UrlTarget {
    /// Its URL, variables expanded. It may contain a secret.
    pub url: Secret,
    /// Headers to send with every request, variables expanded.
    pub headers: BTreeMap<String, Secret>,
    /// Whether it speaks HTTP+SSE of 2024-11-05 instead of streamable HTTP.
    pub is_sse: bool,
}

/// The parsed entry of the chosen server.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) upstream: UpstreamConfig,
    /// Tools to refuse.
    pub(super) deny: Vec<Pattern>,
    /// Warnings for the operator, without the file's name.
    pub(super) warnings: Vec<String>,
}

/// A server of the config file. Its rules are checked; the rest is read when the server is chosen.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) rules: Layer,
    /// The entry's place in the file.
    at: Pointer,
    object: Object,
}

impl Entry {
    /// Reads the object at `at` as the entry of the server `name`.
    ///
    /// # Errors
    /// A value that is not an object, or bad `approvalRules`.
    pub(super) fn new(name: String, at: Pointer, node: Node) -> Result<Entry, Fault> {
        let Node::Object(object) = node else {
            let fault = Fault::from(Problem::Unexpected {
                expected: "the entry of a server, an object with a `command` or a `url`".to_owned(),
                found: node.kind().to_owned(),
            });
            return Err(fault.within(&at));
        };
        let rules = Section::Rules.read_from(&object);
        let rules = rules.map_err(|fault| fault.within(&at))?;
        Ok(Entry {
            name,
            rules,
            at,
            object,
        })
    }

    /// Returns true if the entry is disabled, by the key of any client.
    pub(super) fn is_disabled(&self) -> bool {
        let is = |node: &Node, wanted: bool| match node {
            Node::Bool(value) => *value == wanted,
            Node::Text(text) => text.trim().eq_ignore_ascii_case(&wanted.to_string()),
            Node::Null | Node::Number(_) | Node::Array(_) | Node::Object(_) => false,
        };
        self.object.members().any(|(key, node)| match key {
            "disabled" => is(node, true),
            "enabled" => is(node, false),
            _ => false,
        })
    }

    /// Where the entry stands in the file.
    pub(super) fn at(&self) -> &Pointer {
        &self.at
    }

    /// Returns the variables in the texts of the entry, each with its place. Our own settings do not reach the server.
    pub(super) fn variables(&self) -> Vec<(Pointer, String)> {
        let mut found = Vec::new();
        for (key, node) in self.object.members() {
            if key != Section::Rules.name() && key != Section::Proxy.name() {
                add_variables(node, &self.at.child(key), &mut found);
            }
        }
        found
    }

    /// Returns true if the pointer to the entry ends with its name.
    pub(super) fn is_named_by_its_place(&self) -> bool {
        self.at.ends_with(&self.name)
    }

    /// Reads the rest of the entry, with the variables of `environment`. Called for the chosen server only:
    /// mistakes in other entries must not stop this run. `folder` is the folder of the config file.
    ///
    /// # Errors
    /// A [`Fault`] for a missing command or url, a wrong type, an unset variable, a bad `envFile`.
    pub(super) fn chosen(self, environment: &Environment, folder: &Path) -> Result<Chosen, Fault> {
        let at = self.at.clone();
        self.read(environment, folder)
            .map_err(|fault| fault.within(&at))
    }

    fn read(self, environment: &Environment, folder: &Path) -> Result<Chosen, Fault> {
        let kind = self.kind(environment)?;
        let target = match kind {
            Kind::Stdio => Target::Command(self.command_target(environment, folder)?),
            Kind::Http => Target::Url(self.url_target(environment, false)?),
            Kind::Sse => Target::Url(self.url_target(environment, true)?),
            Kind::Remote => {
                Target::Url(self.url_target(environment, self.url_names_sse(environment)?)?)
            }
        };
        let deny = self.disabled_tools()?;
        let mut warnings = ignored_keys::lookalikes(&self.object, environment);
        warnings.splice(..0, self.null_variables());
        for warning in &mut warnings {
            warning.insert_str(0, &self.at.to_string());
        }
        if let Some(warning) = ignored_keys::without_effect(&self.object, kind == Kind::Stdio) {
            warnings.push(match self.at.is_root() {
                true => warning,
                false => format!("{}: {warning}", self.at),
            });
        }
        Ok(Chosen {
            upstream: UpstreamConfig {
                target,
                name: self.name,
            },
            deny,
            warnings,
        })
    }

    fn command_target(
        &self,
        environment: &Environment,
        folder: &Path,
    ) -> Result<CommandTarget, Fault> {
        let (command, mut args) = self.program(environment)?;
        args.extend(self.args(environment)?);
        let cwd = self.cwd(environment)?;
        let mut env = self.env(environment)?;
        if let Some(file) = self.env_file(environment)? {
            let written = PathBuf::from(self.text("envFile")?.unwrap_or_default());
            let written = match file.is_absolute() {
                true => written,
                false => folder.join(written),
            };
            let read = env_file::read(&folder.join(file), &written);
            for (name, value) in read.map_err(under("envFile"))? {
                env.entry(name).or_insert(value);
            }
        }
        let target = CommandTarget {
            command: command.into(),
            args: args.into_iter().map(OsString::from).collect(),
            env,
            cwd,
        };
        self.check_program(&target, environment)?;
        Ok(target)
    }

    /// Reads `command`: the program and the arguments in the same value. It is a string, an array of both
    /// (opencode), or an object with `path` (old versions of Zed).
    fn program(&self, environment: &Environment) -> Result<(String, Vec<String>), Fault> {
        let node = self.object.get("command")?;
        let node = node.ok_or_else(|| self.lacks("command"))?;
        let read = match node {
            Node::Array(_) => paths_or_texts(node, environment).map(|texts| {
                let mut texts = texts.into_iter();
                (texts.next().unwrap_or_default(), texts.collect())
            }),
            Node::Object(command) => match command.get("path")? {
                Some(path) => String::from_node(path)
                    .and_then(|path| Ok(path_or_text(&path, environment)?))
                    .map(|path| (path, Vec::new()))
                    .map_err(|fault| fault.under("path")),
                None => Err(self.lacks("command").into()),
            },
            Node::Text(_) | Node::Null | Node::Bool(_) | Node::Number(_) => String::from_node(node)
                .and_then(|text| Ok((path_or_text(&text, environment)?, Vec::new()))),
        };
        let (command, args) = read.map_err(|fault| fault.under("command"))?;
        if command.trim().is_empty() {
            let empty = Problem::Unexpected {
                expected: "the program to start".to_owned(),
                found: "an empty string".to_owned(),
            };
            return Err(under("command")(empty));
        }
        Ok((command, args))
    }

    /// Refuses a command that is not a program and shows what was meant.
    fn check_program(
        &self,
        target: &CommandTarget,
        environment: &Environment,
    ) -> Result<(), Fault> {
        let command = target.command.to_string_lossy();
        let is_url = ["http://", "https://"]
            .iter()
            .any(|scheme| command.starts_with(scheme));
        if is_url {
            return Err(under("command")(Problem::UrlInCommand));
        }
        let is_for_windows = ["cmd", "cmd.exe"].contains(&&*command)
            && target
                .args
                .first()
                .is_some_and(|arg| arg.eq_ignore_ascii_case("/c"));
        let has_spaces = command.contains(char::is_whitespace);
        if !is_for_windows && !has_spaces || is_program(target, environment) {
            return Ok(());
        }
        if is_for_windows {
            return Err(under("command")(Problem::CommandOfWindows));
        }
        // As written: the values of variables may be secret.
        let Ok(Some(Node::Text(written))) = self.object.get("command") else {
            return Ok(());
        };
        let mut words = written.split_whitespace();
        let program = words.next().unwrap_or_default();
        let args: Vec<String> = words.map(quoted).collect();
        if args.is_empty() {
            return Ok(());
        }
        Err(under("command")(Problem::ArgsInCommand {
            command: written.clone(),
            program: program.to_owned(),
            args: args.join(", "),
        }))
    }

    fn url_target(&self, environment: &Environment, is_sse: bool) -> Result<UrlTarget, Fault> {
        let (key, url) = self.url()?.ok_or_else(|| self.lacks("url"))?;
        let url = expand(url, environment).map_err(under(key))?;
        let lower = url.trim().to_ascii_lowercase();
        let is_web = ["http://", "https://"]
            .iter()
            .any(|scheme| lower.starts_with(scheme));
        let parsed = reqwest::Url::parse(url.trim());
        let is_web = is_web && parsed.is_ok_and(|url| url.has_host());
        if !is_web {
            let problem = Problem::Unexpected {
                expected: "a URL that begins with `http://` or `https://`".to_owned(),
                found: "another text".to_owned(),
            };
            return Err(under(key)(problem));
        }
        Ok(UrlTarget {
            url: Secret::new(url.trim().to_owned()),
            headers: headers(&self.object, environment)?,
            is_sse,
        })
    }

    /// Returns the URL and its key.
    fn url(&self) -> Result<Option<(&'static str, &str)>, Fault> {
        let mut found: Option<(&'static str, &str)> = None;
        for key in ["url", "httpUrl", "serverUrl"] {
            let url = match self.object.get(key)? {
                None => continue,
                Some(Node::Text(url)) => url,
                Some(node) => return Err(wrong_type::<String>(node).under(key)),
            };
            match found {
                Some((one, known)) if !known.trim().is_empty() && !url.trim().is_empty() => {
                    return Err(Problem::SameMeaning { one, other: key }.into());
                }
                Some((_, known)) if !known.trim().is_empty() => {}
                Some(_) | None => found = Some((key, url)),
            }
        }
        Ok(found)
    }

    /// Returns true if the expanded URL is that of an HTTP+SSE server. `httpUrl` never is: Gemini CLI uses
    /// that key to distinguish the two.
    fn url_names_sse(&self, environment: &Environment) -> Result<bool, Fault> {
        match self.url()? {
            Some(("httpUrl", _)) | None => Ok(false),
            Some((key, url)) => Ok(names_sse(&expand(url, environment).map_err(under(key))?)),
        }
    }

    /// Determines the kind by `type` or `transport`, else by the keys: a `command`, or a `url`, which means
    /// HTTP+SSE if its expanded path ends in `/sse`.
    fn kind(&self, environment: &Environment) -> Result<Kind, Fault> {
        let url = self.url()?;
        let is_blank = |text: &str| text.trim().is_empty();
        // Settings forms of some clients also write the key of the other kind, with an empty value.
        let has_command = match self.object.get("command")? {
            Some(Node::Text(command)) if is_blank(command) => url.is_none(),
            command => command.is_some(),
        };
        let url = url.filter(|(_, url)| !is_blank(url) || !has_command);
        let named = match self.object.get("type")? {
            Some(node) => Kind::of_type(node).map_err(|fault| fault.under("type"))?,
            None => None,
        };
        let named = match named {
            Some(kind) => Some(kind),
            None => self.transport()?,
        };
        match (named, has_command, url) {
            (Some(Kind::Stdio), false, Some((found, _))) => Err(Fault::from(Problem::WrongKind {
                missing: "command",
                found,
            })),
            (Some(Kind::Stdio), false, None) => Err(self.lacks("command").into()),
            (Some(Kind::Http | Kind::Sse | Kind::Remote), true, None) => {
                let (missing, found) = ("url", "command");
                Err(Problem::WrongKind { missing, found }.into())
            }
            (Some(Kind::Http | Kind::Sse | Kind::Remote), false, None) => {
                Err(self.lacks("url").into())
            }
            (Some(kind), _, _) => Ok(kind),
            (None, true, Some(_)) => Err(Problem::TwoTargets.into()),
            (None, true, None) => Ok(Kind::Stdio),
            (None, false, Some(_)) => match self.url_names_sse(environment)? {
                true => Ok(Kind::Sse),
                false => Ok(Kind::Http),
            },
            (None, false, None) => {
                if self.object.get("source")? == Some(&Node::Text("extension".to_owned())) {
                    return Err(Problem::ZedExtension.into());
                }
                let slips = ["command", "url"];
                let meant = slips.into_iter().find(|key| self.slip(key).is_some());
                Err(meant
                    .map_or(Problem::NoTargetAtAll, |key| self.lacks(key))
                    .into())
            }
        }
    }

    /// Reads `transport`, which some clients write instead of `type`. Ignores unknown values.
    fn transport(&self) -> Result<Option<Kind>, Fault> {
        let Some(Node::Text(text)) = self.object.get("transport")? else {
            return Ok(None);
        };
        Ok(Kind::named(text))
    }

    /// Returns the tools that the user disabled in another client, as deny rules.
    fn disabled_tools(&self) -> Result<Vec<Pattern>, Fault> {
        let mut deny = Vec::new();
        for key in ["disabledTools", "disabled_tools", "excludeTools"] {
            if let Some(node) = self.object.get(key)? {
                let tools = Vec::<Pattern>::from_node(node).map_err(|fault| fault.under(key))?;
                deny.extend(tools);
            }
        }
        Ok(deny)
    }

    fn lacks(&self, missing: &'static str) -> Problem {
        Problem::NoTarget {
            missing,
            found: self.slip(missing).map(str::to_owned),
        }
    }

    /// Finds a key that is a misspelling of `wanted`, or its name in another program.
    fn slip(&self, wanted: &str) -> Option<&str> {
        let elsewhere: &[&str] = match wanted {
            "command" => &["cmd", "program", "executable"],
            _ => &["uri", "server_url", "baseUrl", "endpoint"],
        };
        let mut keys = self.object.members().map(|(key, _)| key);
        keys.find(|key| edits(key, wanted) <= wanted.len() / 3 || elsewhere.contains(key))
    }

    fn args(&self, environment: &Environment) -> Result<Vec<String>, Fault> {
        let (key, object) = self.inner("args")?;
        let Some(node) = object.get("args")? else {
            return Ok(Vec::new());
        };
        let read = paths_or_texts(node, environment);
        read.map_err(|fault| within(key, fault.under("args")))
    }

    /// Reads the variables of the entry. `null` sets none.
    fn env(&self, environment: &Environment) -> Result<BTreeMap<String, Secret>, Fault> {
        let (inner, object) = self.inner("env")?;
        let (key, node) = match (object.get("env")?, object.get("environment")?) {
            (Some(_), Some(_)) => {
                let (one, other) = ("env", "environment");
                return Err(Problem::SameMeaning { one, other }.into());
            }
            (Some(node), None) => ("env", node),
            (None, Some(node)) => ("environment", node),
            (None, None) => return Ok(BTreeMap::new()),
        };
        let read = variables(node, environment);
        read.map_err(|fault| within(inner, fault.under(key)))
    }

    /// Returns the object that contains `key`: the one under `command`, if that is an object with the key,
    /// or the entry.
    fn inner(&self, key: &str) -> Result<(Option<&'static str>, &Object), Fault> {
        match self.object.get("command")? {
            Some(Node::Object(command)) if command.has(key) => Ok((Some("command"), command)),
            _ => Ok((None, &self.object)),
        }
    }

    /// Returns a warning if a variable is `null`, which VS Code treats as "not set".
    fn null_variables(&self) -> Option<String> {
        ["env", "environment"].iter().find_map(|key| {
            let Ok(Some(Node::Object(env))) = self.object.get(key) else {
                return None;
            };
            let (name, _) = env.members().find(|(_, node)| **node == Node::Null)?;
            let at = Pointer::default().child(*key).child(name);
            Some(format!(
                "{at}: `null` sets no variable; remove it, or write `\"\"` for an empty value"
            ))
        })
    }

    /// Reads `cwd`. Some clients write an empty string for none.
    fn cwd(&self, environment: &Environment) -> Result<Option<PathBuf>, Fault> {
        self.path("cwd", environment)
    }

    fn env_file(&self, environment: &Environment) -> Result<Option<PathBuf>, Fault> {
        self.path("envFile", environment)
    }

    fn path(&self, key: &str, environment: &Environment) -> Result<Option<PathBuf>, Fault> {
        let Some(text) = self.text(key)?.filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let text = match text.as_str() {
            "~" => environment.home().map(str::to_owned),
            _ => path_or_text(&text, environment),
        };
        let path = text.map_err(Fault::from);
        let path = path.and_then(|text| PathBuf::from_text(&text));
        path.map(Some).map_err(|fault| fault.under(key))
    }

    fn text(&self, key: &str) -> Result<Option<String>, Fault> {
        let node = self.object.get(key)?;
        let text = node.map(String::from_node).transpose();
        text.map_err(|fault| fault.under(key))
    }
}

/// Returns true if the system would find a file for the program.
fn is_program(target: &CommandTarget, environment: &Environment) -> bool {
    let own = target.env.get("PATH").map(Secret::expose);
    let path = own.or(environment.get("PATH").ok().flatten());
    let folders = match target.command.as_encoded_bytes().contains(&b'/') {
        true => vec![target.cwd.clone().unwrap_or_default()],
        false => std::env::split_paths(path.unwrap_or_default()).collect(),
    };
    let mut folders = folders.iter();
    folders.any(|folder| folder.join(&target.command).exists())
}

/// Reads an object of variables; numbers and booleans count as text.
fn variables(node: &Node, environment: &Environment) -> Result<BTreeMap<String, Secret>, Fault> {
    let Node::Object(object) = node else {
        return Err(wrong_type::<BTreeMap<String, String>>(node));
    };
    let mut variables = BTreeMap::new();
    for (name, node) in object.strict_members()? {
        if name.contains(['=', '\0']) || name.is_empty() {
            let problem = Problem::Unexpected {
                expected: "the name of a variable, without `=` and NUL".to_owned(),
                found: "another key".to_owned(),
            };
            return Err(under(name)(problem));
        }
        if *node != Node::Null {
            let text = text_of(node).and_then(|text| Ok(expand(&text, environment)?));
            let text = text.map_err(|fault| fault.under(name))?;
            variables.insert(name.to_owned(), Secret::new(text));
        }
    }
    Ok(variables)
}

fn add_variables(node: &Node, at: &Pointer, found: &mut Vec<(Pointer, String)>) {
    match node {
        Node::Text(text) => {
            found.extend(variables_of(text).map(|name| (at.clone(), name.to_owned())));
        }
        Node::Array(nodes) => {
            let nodes = nodes.iter().enumerate();
            nodes.for_each(|(n, node)| add_variables(node, &at.child(n.to_string()), found));
        }
        Node::Object(object) => {
            let members = object.members();
            members.for_each(|(key, node)| add_variables(node, &at.child(key), found));
        }
        Node::Null | Node::Bool(_) | Node::Number(_) => {}
    }
}

/// Expands the variables of `text` and a leading `~/`. A `~/` in the value of a variable is not expanded.
fn path_or_text(text: &str, environment: &Environment) -> Result<String, Problem> {
    match text.strip_prefix("~/") {
        Some(rest) => {
            let home = environment.home()?.trim_end_matches('/');
            Ok(format!("{home}/{}", expand(rest, environment)?))
        }
        None => expand(text, environment),
    }
}

/// Reads the texts of `node`, each with [`path_or_text`]. An error has the place of the text.
fn paths_or_texts(node: &Node, environment: &Environment) -> Result<Vec<String>, Fault> {
    let texts = texts_of(node)?;
    let read = texts.iter().enumerate().map(|(index, text)| {
        let fault = |problem| Fault::from(problem).under(index.to_string());
        path_or_text(text, environment).map_err(fault)
    });
    read.collect()
}

fn within(key: Option<&str>, fault: Fault) -> Fault {
    match key {
        Some(key) => fault.under(key),
        None => fault,
    }
}

/// Returns true if a URL is that of an HTTP+SSE server by convention. The query does not matter.
pub(crate) fn names_sse(url: &str) -> bool {
    reqwest::Url::parse(url.trim()).is_ok_and(|url| {
        let path = url.path().trim_end_matches('/');
        path.ends_with("/sse")
    })
}

fn under(key: &str) -> impl Fn(Problem) -> Fault {
    move |problem| Fault::from(problem).under(key)
}

#[cfg(test)]
mod tests;
