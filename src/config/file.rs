//! The three forms of a config file: `mcpServers`, one entry, an array of entries.
//!
//! It opens no file (`load` does) and chooses no server (`resolve` does).

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::error::{ConfigError, Fault, Problem};
use super::json::{Node, Object};
use super::keys::Section;
use super::layer::Layer;
use super::pointer::{Pointer, shown};
use super::strays::strays;
use super::value::Value;

/// What a config file says, before flags and environment come in.
#[derive(Debug)]
pub(super) struct ConfigFile {
    /// The file as it was named.
    pub(super) path: PathBuf,
    /// The servers in the order of the file; no name twice.
    pub(super) servers: Vec<Entry>,
    /// `approvalProxy`.
    pub(super) proxy: Layer,
    /// Keys that look as if they were meant for us and are not read.
    pub(super) warnings: Vec<String>,
}

impl ConfigFile {
    /// Reads the text of the file at `path`. A byte order mark at its start is skipped, since
    /// editors on Windows write one.
    ///
    /// # Errors
    /// Text that is no JSON, none of the three forms, and whatever is wrong in a strict object.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<ConfigFile, ConfigError> {
        let json = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        let node = serde_json::from_slice(json).map_err(|error| not_json(path, &error))?;
        let mut file = ConfigFile {
            path: path.to_owned(),
            servers: Vec::new(),
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
            Node::Array(entries) => self.read_array(entries),
            Node::Object(object) if object.has("mcpServers") => self.read_servers(&object),
            Node::Object(object) if object.has("command") || object.has("url") => {
                self.read_entry(object)
            }
            Node::Object(_) | Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => {
                Err(no_form(&node))
            }
        }
    }

    fn read_servers(&mut self, object: &Object) -> Result<(), Fault> {
        let at = Pointer::default();
        self.proxy = Section::Proxy.read_from(object)?;
        self.look_for_strays(object, &at)?;
        refuse(Section::Rules, object, "into the entry of a server")?;
        let at = at.child("mcpServers");
        let servers = match object.get("mcpServers")? {
            Some(Node::Object(servers)) => servers,
            Some(other) => return Err(no_servers(other).within(&at)),
            None => return Err(no_servers(&Node::Null).within(&at)),
        };
        let members = servers
            .strict_members()
            .map_err(|fault| fault.within(&at))?;
        for (name, node) in members {
            self.add(
                name.to_owned(),
                at.child(name),
                node.clone(),
                "beside `mcpServers`",
            )?;
        }
        Ok(())
    }

    fn read_entry(&mut self, object: Object) -> Result<(), Fault> {
        self.proxy = Section::Proxy.read_from(&object)?;
        self.look_for_strays(&object, &Pointer::default())?;
        let entry = Entry::new(
            "upstream".to_owned(),
            Pointer::default(),
            Node::Object(object),
        )?;
        self.servers.push(entry);
        Ok(())
    }

    fn read_array(&mut self, entries: Vec<Node>) -> Result<(), Fault> {
        let mut names = HashSet::new();
        for (index, node) in entries.into_iter().enumerate() {
            let at = Pointer::default().child(index.to_string());
            let name = array_name(index, &node).map_err(|fault| fault.within(&at))?;
            if !names.insert(name.clone()) {
                return Err(Fault::from(Problem::DuplicateServer(name)).within(&at));
            }
            self.add(name, at, node, NOT_IN_AN_ARRAY)?;
        }
        Ok(())
    }

    /// Adds an entry that stands beside others, where no `approvalProxy` can count: its place is `home`.
    fn add(
        &mut self,
        name: String,
        at: Pointer,
        node: Node,
        home: &'static str,
    ) -> Result<(), Fault> {
        if let Node::Object(object) = &node {
            refuse(Section::Proxy, object, home).map_err(|fault| fault.within(&at))?;
            self.look_for_strays(object, &at)?;
        }
        self.servers.push(Entry::new(name, at, node)?);
        Ok(())
    }

    /// Sees to the keys of `object`, which stands at `at`, that could be meant for us and are not
    /// read there; see [`strays`].
    fn look_for_strays(&mut self, object: &Object, at: &Pointer) -> Result<(), Fault> {
        let file = shown(&self.path.to_string_lossy());
        for key in strays(object).map_err(|fault| fault.within(at))? {
            self.warnings.push(format!(
                "{file}: {}: this key is not read; settings belong into `approvalRules` of a \
                 server or `approvalProxy`",
                at.child(key)
            ));
        }
        Ok(())
    }
}

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
        // What VS Code calls them.
        Node::Object(object) if object.has("servers") => "`servers`, which must be `mcpServers`",
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

fn not_json(path: &Path, error: &serde_json::Error) -> ConfigError {
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
        reason: reason.to_owned(),
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests;
