//! Finds the servers in a file, and what kind each of them is.
//!
//! It changes nothing; `guard` does.

use std::path::Path;

use super::client::{Client, Form, Place};
use super::syntax::{Member, Node, Syntax, Value};
use crate::config::{UrlType, names_sse};

/// A server in a file.
#[derive(Debug, Clone)]
pub(super) struct Server<'n> {
    /// The keys of the file that lead to its entry.
    pub(super) path: Vec<String>,
    pub(super) member: &'n Member,
    pub(super) kind: Kind<'n>,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub(super) enum Kind<'n> {
    /// It starts a server.
    Stdio(Words<'n>),
    /// It names a URL.
    Url(UrlOf<'n>),
    /// It starts approval-proxy.
    Guarded(Words<'n>),
    /// Something that we do not change. Holds the reason.
    Kept(String),
}

/// A URL.
#[derive(Debug, Clone, Copy)]
pub(super) struct UrlOf<'n> {
    /// The member that holds it.
    pub(super) member: &'n Member,
    /// The protocol, if the URL does not say it.
    pub(super) url_type: Option<UrlType>,
}

/// A command with its arguments.
#[derive(Debug, Clone)]
pub(super) struct Words<'n> {
    /// The program.
    pub(super) program: &'n Node,
    /// Where the arguments stand: the same array as the program, or an array of their own, if there is one.
    pub(super) list: Option<&'n Member>,
    /// The arguments.
    pub(super) args: &'n [Node],
    /// The member that holds the program.
    pub(super) command: &'n Member,
}

impl Words<'_> {
    /// Returns true if program and arguments stand in one array.
    pub(super) fn is_array(&self) -> bool {
        self.command.node.elements().is_some()
    }

    /// Returns the texts of the arguments; what is no text is empty.
    pub(super) fn texts(&self) -> Vec<&str> {
        let texts = self.args.iter().map(|arg| arg.text().unwrap_or_default());
        texts.collect()
    }
}

impl<'n> Server<'n> {
    /// The name.
    pub(super) fn name(&self) -> &'n str {
        &self.member.key
    }

    /// Returns true if the client does not start it.
    pub(super) fn is_disabled(&self) -> bool {
        let has = |key: &str, wanted: bool| {
            let member = self.member.node.get(key);
            member.is_some_and(|member| member.node.value == Value::Bool(wanted))
        };
        has("disabled", true) || has("enabled", false)
    }
}

/// Returns the servers of a file, in its order.
pub(super) fn servers<'n>(root: &'n Node, client: &Client) -> Vec<Server<'n>> {
    let mut found = Vec::new();
    for place in client.places {
        collect(root, place, &mut Vec::new(), client.form, &mut found);
    }
    // opencode's key means something else in other files.
    if found.is_empty() && client.name == super::registry::UNKNOWN.name {
        let mut maybe = Vec::new();
        collect(root, &["mcp"], &mut Vec::new(), client.form, &mut maybe);
        collect(root, &[], &mut Vec::new(), client.form, &mut maybe);
        maybe.retain(|server| !matches!(server.kind, Kind::Kept(_)));
        found = maybe;
    }
    found.sort_by_key(|server| server.member.at().start);
    found
}

/// Returns true if the file has a list of servers, even an empty one.
pub(super) fn has_a_list(root: &Node, client: &Client) -> bool {
    fn reaches(node: &Node, place: &[&str]) -> bool {
        match place.split_first() {
            None => node.is_map(),
            Some((&"*", rest)) => {
                let members = node.members().iter();
                members
                    .map(|member| &member.node)
                    .any(|node| reaches(node, rest))
            }
            Some((key, rest)) => node
                .get(key)
                .is_some_and(|member| reaches(&member.node, rest)),
        }
    }
    client.places.iter().any(|place| reaches(root, place))
}

fn collect<'n>(
    node: &'n Node,
    place: Place,
    path: &mut Vec<String>,
    form: &Form,
    found: &mut Vec<Server<'n>>,
) {
    let inner = |member: &'n Member, rest: Place, path: &mut Vec<String>, found: &mut Vec<_>| {
        path.push(member.key.clone());
        collect(&member.node, rest, path, form, found);
        path.pop();
    };
    match place.split_first() {
        None => {
            for member in node.members() {
                let mut path = path.clone();
                path.push(member.key.clone());
                found.push(Server {
                    path,
                    member,
                    kind: kind(member, form),
                });
            }
        }
        Some((&"*", rest)) => {
            for member in node.members() {
                inner(member, rest, path, found);
            }
        }
        Some((key, rest)) => {
            if let Some(member) = node.get(key) {
                inner(member, rest, path, found);
            }
        }
    }
}

fn kind<'n>(member: &'n Member, form: &Form) -> Kind<'n> {
    judge(member, form).unwrap_or_else(|why| Kind::Kept(why.to_owned()))
}

fn judge<'n>(member: &'n Member, form: &Form) -> Result<Kind<'n>, &'static str> {
    let entry = &member.node;
    if !entry.is_map() {
        return Err("unknown form: it is not an object");
    }
    let text = |key: &str| entry.get(key).and_then(|member| member.node.text());
    if text("source").is_some_and(|source| source != "custom") {
        return Err("an extension of the client starts it; the entry has no command");
    }
    let url = URL_KEYS.iter().filter_map(|key| entry.get(key));
    let is_given = |member: &&Member| match &member.node.value {
        Value::Text(text) => !text.trim().is_empty(),
        Value::Null => false,
        Value::Bool(_) | Value::List(_) | Value::Map(_) | Value::Other => true,
    };
    let url: Vec<&Member> = url.filter(is_given).collect();
    let command = entry.get("command").filter(is_given);
    match (command, url.as_slice()) {
        (Some(command), []) => stdio(entry, command),
        (None, [url]) => remote(entry, url, form),
        (None, []) => Err("unknown form: it has neither a command nor a URL"),
        (Some(_), [_, ..]) => Err("unknown form: it has both a command and a URL"),
        (None, [_, ..]) => Err("unknown form: it has several URLs"),
    }
}

fn stdio<'n>(entry: &'n Node, command: &'n Member) -> Result<Kind<'n>, &'static str> {
    const UNKNOWN: &str = "unknown form: its command is not a text";
    const NO_LIST: &str = "unknown form: its arguments are not a list";
    let args_of = |node: &'n Node| match node.get("args") {
        Some(list) if list.node.value != Value::Null => match list.node.elements() {
            Some(elements) => Ok((Some(list), elements)),
            None => Err(NO_LIST),
        },
        list => Ok((list, &[][..])),
    };
    let words = match &command.node.value {
        Value::Text(_) => {
            let (list, args) = args_of(entry)?;
            Words {
                program: &command.node,
                list,
                args,
                command,
            }
        }
        Value::List(words) => {
            let (program, args) = words
                .split_first()
                .ok_or("unknown form: its command is empty")?;
            Words {
                program,
                list: Some(command),
                args,
                command,
            }
        }
        Value::Map(_) => {
            let (list, args) = args_of(&command.node)?;
            let path = command.node.get("path").ok_or(UNKNOWN)?;
            Words {
                program: &path.node,
                list,
                args,
                command: path,
            }
        }
        Value::Null | Value::Bool(_) | Value::Other => return Err(UNKNOWN),
    };
    let program = words.program.text().ok_or(UNKNOWN)?;
    Ok(match is_ours(program) {
        true => Kind::Guarded(words),
        false => Kind::Stdio(words),
    })
}

fn remote<'n>(entry: &'n Node, url: &'n Member, form: &Form) -> Result<Kind<'n>, &'static str> {
    let Some(text) = url.node.text() else {
        return Err("unknown form: its URL is not a text");
    };
    if form.inimitable.iter().any(|key| entry.get(key).is_some()) {
        return Err(
            "the client makes its headers or its login itself, which only the client can do",
        );
    }
    // Forms of settings also write the keys of the other kind, with an empty value.
    let is_empty = |node: &Node| match &node.value {
        Value::Null => true,
        Value::List(elements) => elements.is_empty(),
        Value::Map(members) => members.is_empty(),
        Value::Bool(_) | Value::Text(_) | Value::Other => false,
    };
    let has = |key: &&str| entry.get(key).is_some_and(|member| !is_empty(&member.node));
    if ["env", "environment", "args", "env_vars"].iter().any(has) {
        return Err("unknown form: it has a URL, and keys of a command");
    }
    let headers = HEADER_KEYS.iter().filter_map(|key| entry.get(key));
    for member in headers {
        let are_texts = member
            .node
            .members()
            .iter()
            .all(|header| header.node.text().is_some());
        if member.node.value != Value::Null && (!member.node.is_map() || !are_texts) {
            return Err("unknown form: its headers are not texts");
        }
    }
    let word = |key: &str| entry.get(key).and_then(|member| member.node.text());
    let word = word("type")
        .or_else(|| word("transport"))
        .unwrap_or_default();
    let word = word.to_ascii_lowercase().replace(['-', '_'], "");
    let is_sse = match word.as_str() {
        "sse" => true,
        "http" | "streamablehttp" => false,
        // Gemini CLI uses this key to distinguish the two.
        _ if url.key == "httpUrl" => false,
        // Any of the two; the URL decides.
        _ => form.is_url_sse && url.key == "url" || names_sse(text),
    };
    let kind = match is_sse {
        true => UrlType::Sse,
        false => UrlType::Http,
    };
    Ok(Kind::Url(UrlOf {
        member: url,
        url_type: (is_sse != names_sse(text)).then_some(kind),
    }))
}

/// Returns true for our own program.
fn is_ours(program: &str) -> bool {
    let path = Path::new(program.trim());
    let is_named = path
        .file_name()
        .is_some_and(|name| name == "approval-proxy" || name == "approval-proxy.exe");
    let is_running = || {
        let running = std::env::current_exe().and_then(|path| path.canonicalize());
        running.is_ok_and(|running| path.canonicalize().is_ok_and(|path| path == running))
    };
    is_named || path.is_absolute() && is_running()
}

/// Returns the language of a file by its name; `None` for YAML, which we do not edit.
pub(super) fn syntax_of(path: &Path) -> Option<Syntax> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Some(Syntax::Toml),
        Some("yaml" | "yml") => None,
        Some(_) | None => Some(Syntax::Json),
    }
}

/// The keys of a URL.
pub(super) const URL_KEYS: [&str; 3] = ["url", "serverUrl", "httpUrl"];
/// The keys of headers with their values.
pub(super) const HEADER_KEYS: [&str; 2] = ["headers", "http_headers"];
