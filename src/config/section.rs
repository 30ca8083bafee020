//! Reads `approvalRules` and `approvalProxy`, the two objects where unknown keys are errors.
//!
//! `file` and `entry` read the rest of the file.

use super::error::{Fault, Problem};
use super::floor;
use super::json::{Node, Object};
use super::nearest::nearest;
use super::setting::{Place, Setting};
use super::settings::{Layer, SETTINGS};
use super::value::Input;

/// One of the two strict objects of a config file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// `approvalRules`, in the entry of a server.
    Rules,
    /// `approvalProxy`, once per file.
    Proxy,
    /// `floor`, in a user configuration.
    Floor,
}

impl Section {
    /// The key of the object.
    pub(super) fn name(self) -> &'static str {
        match self {
            Section::Rules => "approvalRules",
            Section::Proxy => "approvalProxy",
            Section::Floor => "floor",
        }
    }

    /// Says where to move a key of this section that was found elsewhere.
    pub(super) fn home(self) -> &'static str {
        match self {
            Section::Rules => "into `approvalRules` of a server",
            Section::Proxy => "into `approvalProxy`",
            Section::Floor => "into `floor`",
        }
    }

    /// Returns true if the key of `setting` belongs in this section.
    pub(super) fn takes(self, setting: &Setting) -> bool {
        if self == Section::Floor {
            return floor::KEYS.contains(&setting.name);
        }
        match setting.place {
            Place::Rules => self == Section::Rules,
            Place::Proxy => self == Section::Proxy,
            Place::Both => true,
            Place::Inbox | Place::Process => false,
        }
    }

    /// Reads this section of `object`. Returns an empty layer if there is none.
    ///
    /// # Errors
    /// An unknown, misplaced or repeated key, or a bad value. The place is relative to `object`.
    pub(super) fn read_from(self, object: &Object) -> Result<Layer, Fault> {
        match object.get(self.name())? {
            Some(node) => self.read(node).map_err(|fault| fault.under(self.name())),
            None => Ok(Layer::default()),
        }
    }

    /// The layer that `node`, the section itself, holds.
    pub(super) fn read(self, node: &Node) -> Result<Layer, Fault> {
        let Node::Object(object) = node else {
            return Err(Fault::from(Problem::Unexpected {
                expected: "an object".to_owned(),
                found: node.kind().to_owned(),
            }));
        };
        let mut layer = Layer::default();
        for (name, node) in object.strict_members()? {
            let mut settings = SETTINGS.iter();
            let read = match settings.find(|setting| setting.key() == Some(name)) {
                Some(setting) if self.takes(setting) => setting.read(Input::Node(node)),
                Some(_) => Err(self.misplaced()),
                None => Err(self.unknown(name)),
            };
            layer = layer.over(read.map_err(|fault| fault.under(name))?);
        }
        Ok(layer)
    }

    fn misplaced(self) -> Fault {
        let home = match self {
            Section::Rules => Section::Proxy.home(),
            Section::Proxy => Section::Rules.home(),
            Section::Floor => "out of the floor, which cannot hold it",
        };
        Fault::from(Problem::Misplaced { home })
    }

    fn unknown(self, name: &str) -> Fault {
        let known = SETTINGS.iter().filter(|setting| self.takes(setting));
        let nearest = nearest(name, known.map(|setting| setting.name)).unwrap_or_default();
        Fault::from(Problem::UnknownKey { nearest })
    }
}

#[cfg(test)]
pub(in crate::config) mod tests;
