//! Finds the servers in a file, and what kind each of them is.
//!
//! It changes nothing; `guard` does.

use std::borrow::Cow;
use std::path::Path;

use super::client::{COMMON, Client, Form, Place};
use super::syntax::{Member, Node, Syntax, Value};
use crate::config::{UrlType, names_sse, shown};

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

/// Returns true if the entry at these keys is guarded, whichever client lists it.
pub(super) fn is_guarded_at(root: &Node, path: &[String]) -> bool {
    let Some((name, above)) = path.split_last() else {
        return false;
    };
    let member = root.at_path(above).and_then(|node| node.get(name));
    member.is_some_and(|member| matches!(kind(member, &COMMON), Kind::Guarded(_)))
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
    judge(member, form).unwrap_or_else(|why| Kind::Kept(why.into_owned()))
}

fn judge<'n>(member: &'n Member, form: &Form) -> Result<Kind<'n>, Cow<'static, str>> {
    let entry = &member.node;
    if !entry.is_map() {
        return Err("unknown form: it is not an object".into());
    }
    let text = |key: &str| entry.get(key).and_then(|member| member.node.text());
    if text("source").is_some_and(|source| source != "custom") {
        return Err("an extension of the client starts it; the entry has no command".into());
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
        (Some(command), []) => Ok(stdio(entry, command)?),
        (None, [url]) => remote(entry, url, form),
        (None, []) => Err("unknown form: it has neither a command nor a URL".into()),
        (Some(_), [_, ..]) => Err("unknown form: it has both a command and a URL".into()),
        (None, [_, ..]) => Err("unknown form: it has several URLs".into()),
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

fn remote<'n>(
    entry: &'n Node,
    url: &'n Member,
    form: &Form,
) -> Result<Kind<'n>, Cow<'static, str>> {
    let Some(text) = url.node.text() else {
        return Err("unknown form: its URL is not a text".into());
    };
    if !is_web(text) {
        return Err("its URL does not begin with `http://` or `https://` and a host, and we can ask no other".into());
    }
    if form.inimitable.iter().any(|key| entry.get(key).is_some()) {
        return Err(
            "the client makes its headers or its login itself, which only the client can do".into(),
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
        return Err("unknown form: it has a URL, and keys of a command".into());
    }
    check_headers(entry)?;
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

/// Returns true for a URL that we can ask, as far as it can be known before the client expands its variables.
fn is_web(url: &str) -> bool {
    let url = url.trim();
    if let Some(variable) = url.find(['$', '{']) {
        let scheme = url
            .get(..variable)
            .and_then(|before| before.split_once("://"));
        let is_known = |scheme: &str| {
            ["http", "https"]
                .iter()
                .any(|web| scheme.eq_ignore_ascii_case(web))
        };
        return variable == 0 || scheme.is_some_and(|(scheme, _)| is_known(scheme));
    }
    let has_scheme = |scheme: &str| {
        let start = url.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    (has_scheme("http://") || has_scheme("https://"))
        && reqwest::Url::parse(url).is_ok_and(|url| url.has_host())
}

/// Checks that we can send the headers of a remote entry: otherwise it would not start any more.
fn check_headers(entry: &Node) -> Result<(), Cow<'static, str>> {
    let mut names: Vec<&str> = Vec::new();
    let lists = HEADER_KEYS.iter().filter_map(|key| entry.get(key));
    let lists: Vec<&Member> = lists
        .filter(|member| member.node.value != Value::Null)
        .collect();
    let is_full = |member: &&&Member| !member.node.members().is_empty();
    if lists.iter().filter(is_full).count() > 1 {
        return Err("unknown form: it has headers in several places".into());
    }
    for member in lists {
        let are_texts = |header: &Member| header.node.text().is_some();
        if !member.node.is_map() || !member.node.members().iter().all(are_texts) {
            return Err("unknown form: its headers are not texts".into());
        }
        for header in member.node.members() {
            let (name, value) = (shown(&header.key), header.node.text().unwrap_or_default());
            let value = value.trim_matches([' ', '\t', '\r', '\n']);
            if value.is_empty() {
                return Err(
                    format!("the header `{name}` is empty, and we do not send empty ones").into(),
                );
            }
            if reqwest::header::HeaderValue::try_from(value).is_err() {
                return Err(format!(
                    "the value of the header `{name}` has characters that a header cannot contain"
                )
                .into());
            }
            names.push(&header.key);
        }
    }
    let is_variable = |node: &Node| {
        let name = node.text().unwrap_or_default();
        !name.trim().is_empty() && !name.contains(['=', '\0'])
    };
    if let Some(by_name) = entry.get("env_http_headers") {
        let mut headers = by_name.node.members().iter();
        if !by_name.node.is_map() || !headers.all(|header| is_variable(&header.node)) {
            return Err(
                "unknown form: `env_http_headers` does not name a variable for each header".into(),
            );
        }
        names.extend(
            by_name
                .node
                .members()
                .iter()
                .map(|header| header.key.as_str()),
        );
    }
    if let Some(bearer) = entry.get("bearer_token_env_var") {
        if !is_variable(&bearer.node) {
            return Err(
                "unknown form: `bearer_token_env_var` is not the name of a variable".into(),
            );
        }
        names.push("Authorization");
    }
    for (index, name) in names.iter().enumerate() {
        if reqwest::header::HeaderName::try_from(*name).is_err() {
            return Err(format!("`{}` is not the name of a header", shown(name)).into());
        }
        let before = names.get(..index).unwrap_or_default();
        if before.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(format!("the header `{}` stands in it twice", shown(name)).into());
        }
    }
    Ok(())
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
