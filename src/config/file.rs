//! The forms of a config file: servers by name, one entry, an array of entries.
//!
//! It opens no file (`load` does) and chooses no server (`resolve` does).

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

/// What a config file says, before flags and environment come in.
#[derive(Debug)]
pub(super) struct ConfigFile {
    /// The file as it was named.
    pub(super) path: PathBuf,
    /// The servers in the order of the file; no name twice.
    pub(super) servers: Vec<Entry>,
    /// What stands among the servers and is none, such as a comment.
    pub(super) no_servers: Vec<NoServer>,
    /// Where there are servers that are not read.
    pub(super) elsewhere: Vec<Pointer>,
    /// `approvalProxy`.
    pub(super) proxy: Layer,
    /// Keys that look as if they were meant for us and are not read.
    pub(super) warnings: Vec<String>,
}

/// A member of the servers that is no object.
#[derive(Debug)]
pub(super) struct NoServer {
    pub(super) name: String,
    /// Where and what, should it be asked for.
    pub(super) fault: Fault,
}

impl ConfigFile {
    /// Reads the text of the file at `path`: JSON, with comments, trailing commas and a byte order mark
    /// where there are any.
    ///
    /// # Errors
    /// Text that is no JSON, none of the forms, and whatever is wrong in a strict object.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<ConfigFile, ConfigError> {
        // Columns count from behind it, as in an editor.
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
        // The first that holds anything, or else the first.
        let chosen = lists.iter().position(|list| !is_empty(list.node));
        let chosen = chosen.unwrap_or_default();
        if let Some(list) = lists.get(chosen) {
            for (at, other) in lists.iter().enumerate() {
                if at != chosen && holds_entries(other.node) {
                    self.warnings.push(format!(
                        "{}: {}: these servers are not read, since there are some in `{}`; move them there",
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

    /// Reads what stands around a list of servers.
    fn read_around(&mut self, object: &Object) -> Result<(), Fault> {
        self.proxy = Section::Proxy.read_from(object)?;
        self.check_misplaced(object, &Pointer::default())?;
        refuse(Section::Rules, object, "into the entry of a server")
    }

    fn read_list(&mut self, list: &List<'_>) -> Result<(), Fault> {
        let home = match list.key {
            "mcpServers" => "beside `mcpServers`",
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

    /// Reads servers by name that stand at the top of the file, as in the plugins of some clients. What
    /// is no entry is something else.
    fn read_bare_list(&mut self, object: &Object) -> Result<(), Fault> {
        // A server may have any name.
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

    /// Adds an entry that stands beside others, where no `approvalProxy` can count: its place is `home`.
    ///
    /// What is no object, such as a comment, is no server and harms no other.
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

    /// Sees to the keys of `object`, which stands at `at`, that could be meant for us and are not
    /// read there; see [`misplaced`].
    fn check_misplaced(&mut self, object: &Object, at: &Pointer) -> Result<(), Fault> {
        let file = shown(&self.path.to_string_lossy());
        for key in misplaced(object).map_err(|fault| fault.within(at))? {
            self.warnings.push(format!(
                "{file}: {}: this key is not read; settings belong into `approvalRules` of a \
                 server or `approvalProxy`",
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

/// The members of `object` that list servers, in the order in which they are preferred.
fn lists(object: &Object) -> Result<Vec<List<'_>>, Fault> {
    let mut lists = Vec::new();
    for key in LISTS {
        let Some((_, node)) = object.members().find(|(name, _)| *name == key) else {
            continue;
        };
        // Refuses a key that is written twice.
        object.get(key)?;
        let at = Pointer::default().child(key);
        let inner = node.as_object();
        match key {
            // Names that mean other things in other files.
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

/// What clients call their list of servers: most of them, VS Code, Zed, Codex, Amp, opencode (and VS
/// Code's settings, with `servers` in it).
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

/// Whether the list holds the entry of a server.
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

/// Whether `object` can be the entry of a server, by what it says about how to reach it.
fn is_entry(object: &Object) -> bool {
    object.members().any(|(key, node)| match (key, node) {
        ("command", Node::Text(_) | Node::Array(_)) => true,
        // Of old versions of Zed. Others have an object of commands there.
        ("command", Node::Object(command)) => command.has("path"),
        ("url" | "httpUrl" | "serverUrl", Node::Text(_)) => true,
        _ => false,
    })
}

/// Where the user's file of Claude Code keeps the servers of single projects.
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

/// Two servers of one name are an error; so is a server beside something else of its name. Comments
/// may share one.
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

/// Where an `approvalProxy` belongs that stands in a list that is not `mcpServers`.
const OUTERMOST: &str = "to the top level of the file";

/// Where an `approvalProxy` belongs that stands in an array.
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
        reason: "a comment that does not end".to_owned(),
        hint: ": close it with `*/`",
    }
}

/// What to do about text that is not JSON, where it is a slip that many make.
fn hint(path: &Path, text: &[u8], line: usize, column: usize, reason: &str) -> &'static str {
    let extension = path.extension().unwrap_or_default();
    let mut known = ["toml", "yaml", "yml"].iter();
    let is_other = match text.trim_ascii_start() {
        // A table of TOML, a key of YAML.
        [b'[', first, ..] | [first, ..] => first.is_ascii_alphabetic(),
        [] => false,
    };
    if is_other || known.any(|known| extension == *known) {
        return ": only JSON is read here; write the server down as \
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
            ": there is a no-break space, which looks like a space; write a space"
        }
        _ if ["True", "False", "None"]
            .iter()
            .any(|word| here.starts_with(word.as_bytes())) =>
        {
            ": write `true`, `false` and `null`, in lower case"
        }
        _ if here.starts_with(b"`") => ": remove the lines with backticks around the JSON",
        "trailing characters" if text.trim_ascii_start().starts_with(b"\"") => {
            ": put `{` before all this and `}` behind it"
        }
        "trailing characters" => ": a file holds one JSON value, and nothing behind it",
        "key must be a string" => ": put keys in double quotes",
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            ": close the string with a double quote, and write a line break in it as `\\n`"
        }
        _ if reason.starts_with("EOF") => ": a closing bracket or quote is missing",
        _ => "",
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests;
