//! Compares listings that the client asked for with ours.
//!
//! Learns nothing from them, except whether they match.

use std::collections::{BTreeMap, BTreeSet};

use super::{MAX_TOOLS, Tool, add_tools};
use crate::approval::digest::DefinitionDigest;
use crate::mcp::json::Value;
use crate::mcp::tool::ListToolsPage;

/// A `tools/list` request from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct ListRequest {
    /// Where its page starts.
    cursor: Option<String>,
    /// It has no other parameters, so the server has no reason to leave tools out.
    is_plain: bool,
}

impl ListRequest {
    /// Reads the parameters.
    pub(in super::super) fn read(params: Option<&str>) -> ListRequest {
        let Some(text) = params else {
            return ListRequest {
                cursor: None,
                is_plain: true,
            };
        };
        let params = Value::parse(text).unwrap_or(Value::Null);
        let cursor = params.get("cursor").and_then(Value::as_str);
        let cursor = cursor.filter(|cursor| cursor.len() <= MAX_CURSOR);
        let mut others = params.members().iter();
        let is_plain = others.all(|(key, value)| match key.is("cursor") {
            true => cursor.is_some() || *value == Value::Null,
            false => key.is("_meta"),
        });
        ListRequest {
            is_plain: is_plain && params.is_object(),
            cursor: cursor.map(|cursor| cursor.into_owned()),
        }
    }
}

/// Longer cursors are not followed.
const MAX_CURSOR: usize = 4_096;

/// A listing that the client got while we read ours.
#[derive(Debug)]
pub(super) struct Seen {
    /// `None` if it cannot be compared.
    tools: Option<BTreeMap<String, DefinitionDigest>>,
    /// It is the whole list.
    is_whole: bool,
}

impl Seen {
    /// Keeps a listing, or, if there is no room, a placeholder that cannot be compared.
    pub(super) fn keep(result: &str, asked: &ListRequest, among: &mut Vec<Seen>) {
        let kept: usize = among.iter().map(|seen| 1 + seen.len()).sum();
        if kept > MAX_TOOLS {
            return;
        }
        let seen = Seen::read(result, asked);
        let has_room = kept + seen.len() < MAX_TOOLS;
        among.push(if has_room {
            seen
        } else {
            Seen::of(None, false)
        });
    }

    fn read(result: &str, asked: &ListRequest) -> Seen {
        let Some((tools, next)) = read_page(result) else {
            return Seen::of(None, false);
        };
        let is_whole = asked.is_plain && asked.cursor.is_none() && next.is_none();
        let digests = tools.into_iter();
        let digests = digests.map(|(name, tool)| (name, tool.definition.digest));
        Seen::of(Some(digests.collect()), is_whole)
    }

    fn of(tools: Option<BTreeMap<String, DefinitionDigest>>, is_whole: bool) -> Seen {
        Seen { tools, is_whole }
    }

    fn len(&self) -> usize {
        self.tools.as_ref().map_or(0, BTreeMap::len)
    }

    /// Returns true if our list differs.
    pub(super) fn differs_from(&self, ours: &BTreeMap<String, Tool>) -> bool {
        let Some(tools) = &self.tools else {
            return true;
        };
        let same = |(name, digest): (&String, &DefinitionDigest)| {
            let tool = ours.get(name);
            tool.is_some_and(|tool| tool.definition.digest == *digest)
        };
        !tools.iter().all(same) || (self.is_whole && tools.len() < ours.len())
    }
}

/// The listings that the client gets while we have a list.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// The last whole listing that matched. Most clients get the same one again and again.
    fitted: Option<blake3::Hash>,
    /// The page that the client may ask for next, and the tools before it. All of them are in our
    /// list, which limits their number.
    next_page: Option<(String, BTreeSet<String>)>,
}

impl Pages {
    /// Returns true if a listing agrees with ours about its tools and, if it is whole, contains all
    /// of ours.
    pub(super) fn fits(
        &mut self,
        result: &str,
        asked: &ListRequest,
        ours: &BTreeMap<String, Tool>,
    ) -> bool {
        let is_first = asked.is_plain && asked.cursor.is_none();
        let hash = is_first.then(|| blake3::hash(result.as_bytes()));
        if hash.is_some() && self.fitted == hash {
            return true;
        }
        let walked = self.next_page.take();
        let Some((page, next)) = read_page(result) else {
            return false;
        };
        let same = |(name, tool): (&String, &Tool)| {
            let of_ours = ours.get(name);
            of_ours.is_some_and(|ours| ours.definition.digest == tool.definition.digest)
        };
        if !page.iter().all(same) {
            return false;
        }
        let before = match (is_first, walked) {
            (true, _) => BTreeSet::new(),
            (false, Some((cursor, names)))
                if asked.is_plain && asked.cursor.as_ref() == Some(&cursor) =>
            {
                names
            }
            // It is one page of an unknown list.
            (false, _) => return true,
        };
        let mut names = before;
        names.extend(page.into_keys());
        if let Some(next) = next {
            self.next_page = Some((next, names));
            return true;
        }
        let is_whole = names.len() >= ours.len();
        if is_whole && is_first {
            self.fitted = hash;
        }
        is_whole
    }
}

/// Returns a page's tools, and where the next page starts.
fn read_page(result: &str) -> Option<(BTreeMap<String, Tool>, Option<String>)> {
    let page = ListToolsPage::parse(result).ok()?;
    let mut tools = BTreeMap::new();
    add_tools(&mut tools, page.tools);
    let next = page.next_cursor.filter(|next| next.len() <= MAX_CURSOR);
    Some((tools, next))
}
