//! Reads `approvalRules` and `approvalProxy`, the two objects in which every key must be known.
//!
//! What is around them is read by `file` and `entry`.

use super::error::{Fault, Problem};
use super::json::{Node, Object};
use super::keys::{KEYS, Section};
use super::layer::Layer;
use super::nearest::nearest;
use super::value::Input;

impl Section {
    /// The key of the object.
    pub(super) fn name(self) -> &'static str {
        match self {
            Section::Rules => "approvalRules",
            Section::Proxy => "approvalProxy",
        }
    }

    /// Where a key that belongs into this section and was found elsewhere has to go.
    pub(super) fn home(self) -> &'static str {
        match self {
            Section::Rules => "into `approvalRules` of a server",
            Section::Proxy => "into `approvalProxy`",
        }
    }

    /// The layer that this section of `object` holds; an empty one where there is no section.
    ///
    /// # Errors
    /// A [`Fault`] seen from `object`: an unknown, misplaced or repeated key, a bad value.
    pub(super) fn read_from(self, object: &Object) -> Result<Layer, Fault> {
        match object.get(self.name())? {
            Some(node) => self.read(node).map_err(|fault| fault.under(self.name())),
            None => Ok(Layer::default()),
        }
    }

    fn read(self, node: &Node) -> Result<Layer, Fault> {
        let Node::Object(object) = node else {
            return Err(Fault::from(Problem::Unexpected {
                expected: "an object".to_owned(),
                found: node.kind().to_owned(),
            }));
        };
        let mut layer = Layer::default();
        for (name, node) in object.strict_members()? {
            let read = match KEYS.iter().find(|key| key.name == name) {
                Some(key) if key.belongs_in(self) => key.read(&mut layer, name, Input::Node(node)),
                Some(_) => Err(self.misplaced()),
                None => Err(self.unknown(name)),
            };
            read.map_err(|fault| fault.under(name))?;
        }
        Ok(layer)
    }

    fn misplaced(self) -> Fault {
        let home = match self {
            Section::Rules => Section::Proxy.home(),
            Section::Proxy => Section::Rules.home(),
        };
        Fault::from(Problem::Misplaced { home })
    }

    fn unknown(self, name: &str) -> Fault {
        let known = KEYS.iter().filter(|key| key.belongs_in(self));
        let nearest = nearest(name, known.map(|key| key.name)).unwrap_or_default();
        Fault::from(Problem::UnknownKey { nearest })
    }
}

#[cfg(test)]
pub(in crate::config) mod tests;
