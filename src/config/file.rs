//! Parses a config file in any of its forms: servers by name, one entry, an array of entries.
//!
//! `load` opens the file, and `resolve` chooses the server.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::error::{ConfigError, Fault, Problem};
use super::json::{Node, Object};
use super::jsonc::{Unclosed, to_json};
use super::misplaced::misplaced;
use super::pointer::{Pointer, shown};
use super::section::Section;
use super::settings::Layer;
use super::value::Value;

/// A parsed config file, before flags and environment are applied.
#[derive(Debug)]
pub(super) struct ConfigFile {
    /// The file as it was named.
    pub(super) path: PathBuf,
    /// The servers in the order of the file, with unique names.
    pub(super) servers: Vec<Entry>,
    /// Members of the list of servers that are not servers, such as comments.
    pub(super) no_servers: Vec<NoServer>,
    /// Places with servers that are not read.
    pub(super) elsewhere: Vec<Pointer>,
    /// `approvalProxy`.
    pub(super) proxy: Layer,
    /// Warnings about servers and keys that may be meant for us but are not read.
    pub(super) warnings: Vec<String>,
}

/// A member of the list of servers that is not an object.
#[derive(Debug)]
pub(super) struct NoServer {
    pub(super) name: String,
    /// The error if `--server` names it.
    pub(super) fault: Fault,
}

impl ConfigFile {
    /// Parses the text of the file at `path`: JSON, which may have comments, trailing commas and a byte
    /// order mark.
    ///
    /// # Errors
    /// Text that is not JSON or none of the forms, or an error in one of our objects.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<ConfigFile, ConfigError> {
        // Removed first, so that columns are those that an editor shows.
        let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] = text {
            return Err(ConfigError::Utf16 {
                file: path.to_owned(),
            });
        }
        let json = to_json(text).map_err(|unclosed| unclosed_comment(path, text, &unclosed))?;
        let node = serde_json::from_slice(&json).map_err(|error| not_json(path, text, &error))?;
        let mut file = ConfigFile {
            path: path.to_owned(),
            servers: Vec::new(),
            no_servers: Vec::new(),
            elsewhere: Vec::new(),
            proxy: Layer::default(),
            warnings: Vec::new(),
        };
        match file.read(node) {
            Ok(()) => Ok(file),
            Err(fault) => Err(ConfigError::InFile {
                file: file.path,
                fault,
            }),
        }
    }

    fn read(&mut self, node: Node) -> Result<(), Fault> {
        match node {
            Node::Array(entries) => self.read_array(&Pointer::default(), entries),
            Node::Object(object) => self.read_object(object),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => Err(no_form(&node)),
        }
    }

    fn read_object(&mut self, object: Object) -> Result<(), Fault> {
        self.elsewhere = projects(&object);
        let lists = lists(&object)?;
        // The first that is not empty, else the first.
        let chosen = lists.iter().position(|list| !is_empty(list.node));
        let chosen = chosen.unwrap_or_default();
        if let Some(list) = lists.get(chosen) {
            for (at, other) in lists.iter().enumerate() {
                if at != chosen && holds_entries(other.node) {
                    self.warnings.push(format!(
                        "{}: {}: these servers are not read, because `{}` has servers; move them there",
                        shown(&self.path.to_string_lossy()),
                        other.at,
                        list.at,
                    ));
                }
            }
            self.read_around(&object)?;
            return self.read_list(list);
        }
        if is_entry(&object) {
            return self.read_entry(object);
        }
        let node = Node::Object(object);
        match node.as_object().filter(|_| holds_entries(&node)) {
            Some(object) => self.read_bare_list(object),
            None if self.elsewhere.is_empty() => Err(no_form(&node)),
            None => Ok(()),
        }
    }

    /// Reads the members next to a list of servers.
    fn read_around(&mut self, object: &Object) -> Result<(), Fault> {
        self.proxy = Section::Proxy.read_from(object)?;
        self.check_misplaced(object, &Pointer::default())?;
        refuse(Section::Rules, object, "into the entry of a server")
    }

    fn read_list(&mut self, list: &List<'_>) -> Result<(), Fault> {
        let home = match list.key {
            "mcpServers" => "next to `mcpServers`",
            _ => OUTERMOST,
        };
        let servers = match list.node {
            Node::Object(servers) => servers,
            Node::Array(entries) => return self.read_array(&list.at, entries.clone()),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => {
                return Err(no_servers(list.node).within(&list.at));
            }
        };
        refuse_twins(servers).map_err(|fault| fault.within(&list.at))?;
        for (name, node) in servers.members() {
            self.add(name.to_owned(), list.at.child(name), node.clone(), home)?;
        }
        Ok(())
    }

    /// Reads servers by name at the top level of the file, as in the plugins of some clients. Members that
    /// are not entries are ignored.
    fn read_bare_list(&mut self, object: &Object) -> Result<(), Fault> {
        // Without the entries: a server may have the name of one of our keys.
        self.read_around(&object.without(is_entry_node))?;
        refuse_twins(object)?;
        for (name, node) in object.members() {
            if is_entry_node(node) {
                let at = Pointer::default().child(name);
                self.add(name.to_owned(), at, node.clone(), OUTERMOST)?;
            }
        }
        Ok(())
    }

    fn read_entry(&mut self, object: Object) -> Result<(), Fault> {
        self.proxy = Section::Proxy.read_from(&object)?;
        self.check_misplaced(&object, &Pointer::default())?;
        let entry = Entry::new(
            "upstream".to_owned(),
            Pointer::default(),
            Node::Object(object),
        )?;
        self.servers.push(entry);
        Ok(())
    }

    fn read_array(&mut self, list: &Pointer, entries: Vec<Node>) -> Result<(), Fault> {
        let home = match list.is_root() {
            true => NOT_IN_AN_ARRAY,
            false => OUTERMOST,
        };
        let mut names = HashSet::new();
        for (index, node) in entries.into_iter().enumerate() {
            let at = list.child(index.to_string());
            let name = array_name(index, &node).map_err(|fault| fault.within(&at))?;
            if !names.insert(name.clone()) {
                return Err(Fault::from(Problem::DuplicateServer(name)).within(&at));
            }
            self.add(name, at, node, home)?;
        }
        Ok(())
    }

    /// Adds an entry of a list. It must not contain `approvalProxy`, which belongs `home`.
    ///
    /// A member that is not an object, such as a comment, is not a server and does not affect the others.
    fn add(
        &mut self,
        name: String,
        at: Pointer,
        node: Node,
        home: &'static str,
    ) -> Result<(), Fault> {
        let Node::Object(object) = &node else {
            match Entry::new(name.clone(), at, node) {
                Ok(entry) => self.servers.push(entry),
                Err(fault) => self.no_servers.push(NoServer { name, fault }),
            }
            return Ok(());
        };
        refuse(Section::Proxy, object, home).map_err(|fault| fault.within(&at))?;
        self.check_misplaced(object, &at)?;
        self.servers.push(Entry::new(name, at, node)?);
        Ok(())
    }

    /// Checks the `object` at `at` for keys that may be meant for us but are not read there; see
    /// [`misplaced`].
    fn check_misplaced(&mut self, object: &Object, at: &Pointer) -> Result<(), Fault> {
        let file = shown(&self.path.to_string_lossy());
        for key in misplaced(object).map_err(|fault| fault.within(at))? {
            self.warnings.push(format!(
                "{file}: {}: this key is not read; settings belong in `approvalRules` of a \
                 server or in `approvalProxy`",
                at.child(key)
            ));
        }
        Ok(())
    }
}

/// A member of the file that lists servers.
struct List<'a> {
    key: &'static str,
    at: Pointer,
    node: &'a Node,
}

/// Returns the members of `object` that list servers, in order of preference.
fn lists(object: &Object) -> Result<Vec<List<'_>>, Fault> {
    let mut lists = Vec::new();
    for key in LISTS {
        let Some((_, node)) = object.members().find(|(name, _)| *name == key) else {
            continue;
        };
        // Refuses a duplicate key.
        object.get(key)?;
        let at = Pointer::default().child(key);
        let inner = node.as_object();
        match key {
            // These names mean other things in other files.
            "servers" | "context_servers" => {
                if matches!(node, Node::Object(_) | Node::Array(_)) {
                    lists.push(List { key, at, node });
                }
            }
            "mcp" => {
                let servers = inner.map(|inner| inner.get("servers")).transpose();
                let servers = servers.map_err(|fault| fault.within(&at))?.flatten();
                if let Some(servers @ Node::Object(_)) = servers {
                    let at = at.child("servers");
                    let node = servers;
                    lists.push(List { key, at, node });
                } else if holds_entries(node) {
                    lists.push(List { key, at, node });
                }
            }
            _ => lists.push(List { key, at, node }),
        }
    }
    Ok(lists)
}

/// The keys of the list of servers in most clients, VS Code, Zed, Codex, Amp, and opencode (`mcp` is also
/// in VS Code's settings, with `servers` in it).
pub(super) const LISTS: [&str; 6] = [
    "mcpServers",
    "servers",
    "context_servers",
    "mcp_servers",
    "amp.mcpServers",
    "mcp",
];

fn is_empty(list: &Node) -> bool {
    match list {
        Node::Object(servers) => servers.members().next().is_none(),
        Node::Array(entries) => entries.is_empty(),
        Node::Null => true,
        Node::Bool(_) | Node::Number(_) | Node::Text(_) => false,
    }
}

/// Returns true if the list contains the entry of a server.
fn holds_entries(list: &Node) -> bool {
    match list {
        Node::Object(servers) => servers.members().any(|(_, node)| is_entry_node(node)),
        Node::Array(entries) => entries.iter().any(is_entry_node),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => false,
    }
}

fn is_entry_node(node: &Node) -> bool {
    node.as_object().is_some_and(is_entry)
}

/// Returns true if `object` has a key that makes it the entry of a server.
fn is_entry(object: &Object) -> bool {
    object.members().any(|(key, node)| match (key, node) {
        ("command", Node::Text(_) | Node::Array(_)) => true,
        // Written by old versions of Zed. Other programs have an object of commands here.
        ("command", Node::Object(command)) => command.has("path"),
        ("url" | "httpUrl" | "serverUrl", Node::Text(_)) => true,
        _ => false,
    })
}

/// Returns the places where Claude Code's user file lists the servers of single projects.
fn projects(object: &Object) -> Vec<Pointer> {
    let projects = object.members().filter(|(key, _)| *key == "projects");
    let projects =
        projects.filter_map(|(key, node)| Some((Pointer::default().child(key), node.as_object()?)));
    let servers = projects.flat_map(|(at, projects)| {
        projects.members().filter_map(move |(folder, node)| {
            let mut lists = node.as_object()?.members();
            lists
                .any(|(key, list)| key == "mcpServers" && holds_entries(list))
                .then(|| at.child(folder).child("mcpServers"))
        })
    });
    servers.collect()
}

/// Refuses a server that shares its name with another member. Comments may share a name.
fn refuse_twins(servers: &Object) -> Result<(), Fault> {
    let mut all = HashSet::new();
    let mut entries = HashSet::new();
    for (name, node) in servers.members() {
        let is_new = all.insert(name);
        let is_twin = match node.as_object() {
            Some(_) => !entries.insert(name) || !is_new,
            None => entries.contains(name),
        };
        if is_twin {
            return Err(Fault::from(Problem::DuplicateKey).under(name));
        }
    }
    Ok(())
}

/// Where to move an `approvalProxy` from an entry in a list other than `mcpServers`.
const OUTERMOST: &str = "to the top level of the file";

/// Where to move an `approvalProxy` from an array.
const NOT_IN_AN_ARRAY: &str = "out of the array, which has no place for it: write `{\"mcpServers\": {…}, \"approvalProxy\": {…}}`";

fn array_name(index: usize, node: &Node) -> Result<String, Fault> {
    let Node::Object(object) = node else {
        return Ok(format!("server-{index}"));
    };
    match object.get("name")? {
        Some(name) => String::from_node(name).map_err(|fault| fault.under("name")),
        None => Ok(format!("server-{index}")),
    }
}

fn refuse(section: Section, object: &Object, home: &'static str) -> Result<(), Fault> {
    match object.has(section.name()) {
        true => Err(Fault::from(Problem::Misplaced { home }).under(section.name())),
        false => Ok(()),
    }
}

fn no_form(node: &Node) -> Fault {
    let found = match node {
        Node::Object(_) => "an object without these keys",
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Array(_) => {
            node.kind()
        }
    };
    Fault::from(Problem::Unexpected {
        expected:
            "an object with `mcpServers`, one entry with a `command` or a `url`, or an array of \
                   entries"
                .to_owned(),
        found: found.to_owned(),
    })
}

fn no_servers(node: &Node) -> Fault {
    Fault::from(Problem::Unexpected {
        expected: "an object of servers by name".to_owned(),
        found: node.kind().to_owned(),
    })
}

fn not_json(path: &Path, text: &[u8], error: &serde_json::Error) -> ConfigError {
    let (line, column) = (error.line(), error.column());
    let reason = error.to_string();
    let position = format!(" at line {line} column {column}");
    let reason = match (line, column) {
        (1, 0) => "the file is empty",
        _ => reason.trim_end_matches(&position),
    };
    ConfigError::NotJson {
        file: path.to_owned(),
        line,
        column: column.max(1),
        hint: hint(path, text, line, column, reason),
        reason: reason.to_owned(),
    }
}

fn unclosed_comment(path: &Path, text: &[u8], unclosed: &Unclosed) -> ConfigError {
    let before = text.get(..unclosed.0).unwrap_or_default();
    let lines = before.split(|byte| *byte == b'\n');
    let column = lines.clone().next_back().map_or(0, <[u8]>::len) + 1;
    ConfigError::NotJson {
        file: path.to_owned(),
        line: lines.count(),
        column,
        reason: "unterminated comment".to_owned(),
        hint: ": close it with `*/`",
    }
}

/// Returns what to do about a common mistake in JSON; empty for others.
fn hint(path: &Path, text: &[u8], line: usize, column: usize, reason: &str) -> &'static str {
    let extension = path.extension().unwrap_or_default();
    let mut known = ["toml", "yaml", "yml"].iter();
    let is_other = match text.trim_ascii_start() {
        // A TOML table, or a YAML key.
        [b'[', first, ..] | [first, ..] => first.is_ascii_alphabetic(),
        [] => false,
    };
    if is_other || known.any(|known| extension == *known) {
        return ": the file must be JSON; write the server as \
                `{\"mcpServers\": {\"NAME\": {\"command\": \"PROGRAM\"}}}`";
    }
    let mut lines = text.split(|byte| *byte == b'\n');
    let here = lines.nth(line.saturating_sub(1)).unwrap_or_default();
    let here = here.get(column.saturating_sub(1)..).unwrap_or_default();
    let has_quotes = |quotes: [&str; 4]| {
        quotes
            .iter()
            .any(|quote| here.starts_with(quote.as_bytes()))
    };
    match reason {
        _ if here.starts_with(b"'") => ": put strings and keys in double quotes",
        _ if has_quotes(["\u{201c}", "\u{201d}", "\u{2018}", "\u{2019}"]) => {
            ": put strings and keys in straight double quotes, `\"`"
        }
        _ if here.starts_with("\u{a0}".as_bytes()) => {
            ": replace the no-break space, which looks like a space, by a space"
        }
        _ if ["True", "False", "None"]
            .iter()
            .any(|word| here.starts_with(word.as_bytes())) =>
        {
            ": write `true`, `false` and `null`, in lower case"
        }
        _ if here.starts_with(b"`") => ": remove the lines with backticks around the JSON",
        "trailing characters" if text.trim_ascii_start().starts_with(b"\"") => {
            ": put `{` before the whole text and `}` after it"
        }
        "trailing characters" => ": a file must hold one JSON value and nothing after it",
        "key must be a string" => ": put keys in double quotes",
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            ": close the string with a double quote, and write line breaks as `\\n`"
        }
        _ if reason.starts_with("EOF") => ": a closing bracket or quote is missing",
        _ => "",
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests;
