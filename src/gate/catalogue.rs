//! The upstream's tools as it lists them now.
//!
//! It keeps what was read and says when to read again; sending is the gate's business.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::ToolAnnotations;

use crate::approval::digest::DefinitionDigest;
use crate::mcp::json::write_string;
use crate::mcp::message::RequestId;
use crate::mcp::tool::{ListToolsPage, ListedTool};
use crate::policy::Decision;

/// How long calls wait for the list, counted from the first that needs it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long a list that could not be read is not asked for again.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// The shortest time that a list with a lifetime is trusted, against asking all the time.
const SHORTEST_TTL: Duration = Duration::from_secs(5);
/// Beyond these a list is not read: it would cost memory without bound.
const MAX_PAGES: usize = 1_000;
const MAX_TOOLS: usize = 10_000;
/// What a list's names and descriptions may take together.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// The longest part of a description that a prompt could show, in characters.
const MAX_DESCRIPTION: usize = 4_096;
/// A call with a longer name is one of an unlisted tool.
const MAX_NAME: usize = 1_024;

/// One tool as the upstream lists it.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    /// Shared with the calls that were asked about as it is now, whatever becomes of it later.
    pub(super) definition: Arc<Definition>,
    /// The policy's answer, once it was asked for; it depends on nothing else.
    pub(super) decision: Option<Decision>,
}

/// What the upstream says of a tool.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    /// At most 4,096 characters.
    pub(super) description: Option<String>,
    /// Without the title. `None` where the hints cannot be read: the tool then counts as unlisted.
    pub(super) annotations: Option<Option<ToolAnnotations>>,
    /// Of all that it says.
    pub(super) digest: DefinitionDigest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Never read, or known to have changed since.
    Stale,
    /// As the upstream lists it; until then, where the list has a lifetime.
    Fresh { until: Option<Duration> },
    /// It could not be read: every tool is unlisted.
    Failed { until: Duration },
}

#[derive(Debug)]
struct Fetch {
    id: RequestId,
    pages: usize,
    tools: BTreeMap<String, Tool>,
    generation: u64,
    /// The `_meta` that a stateless upstream wants to see, as JSON.
    meta: Option<String>,
    /// The shortest lifetime of a page so far, in milliseconds.
    ttl_ms: Option<u64>,
}

/// The list, and how it is read.
#[derive(Debug)]
pub(super) struct Catalogue {
    tools: BTreeMap<String, Tool>,
    state: State,
    /// Grows with every `list_changed`.
    generation: u64,
    fetch: Option<Fetch>,
    /// When those who wait for the list stop waiting.
    deadline: Option<Duration>,
}

/// What to do after a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask for a page with [`Catalogue::request`].
    Ask,
    /// The list is settled, for good or bad.
    Settled,
}

impl Catalogue {
    pub(super) fn new() -> Catalogue {
        Catalogue {
            tools: BTreeMap::new(),
            state: State::Stale,
            generation: 0,
            fetch: None,
            deadline: None,
        }
    }

    /// Whether decisions may go by the list now.
    pub(super) fn is_settled(&self, now: Duration) -> bool {
        match self.state {
            State::Stale => false,
            State::Fresh { until } => until.is_none_or(|until| now < until),
            State::Failed { until } => now < until,
        }
    }

    /// The tool of exactly this name, if the settled list has it.
    pub(super) fn tool_mut(&mut self, name: &str) -> Option<&mut Tool> {
        self.tools.get_mut(name)
    }

    /// As [`Catalogue::tool_mut`].
    pub(super) fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.get(name)
    }

    /// Somebody needs the list.
    pub(super) fn want(&mut self, now: Duration) {
        self.deadline.get_or_insert(now + PATIENCE);
    }

    /// When [`Catalogue::expire`] is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Whether the list is wanted and nobody has asked for it yet.
    pub(super) fn is_to_be_asked_for(&self) -> bool {
        self.deadline.is_some() && self.fetch.is_none()
    }

    /// Starts to read the list from its first page.
    pub(super) fn start(&mut self, meta: Option<String>) {
        self.fetch = Some(Fetch {
            id: RequestId::Integer(0),
            pages: 0,
            tools: BTreeMap::new(),
            generation: self.generation,
            ttl_ms: None,
            meta,
        });
    }

    /// Writes the request for the next page under a fresh id.
    pub(super) fn request(&mut self, id: RequestId, cursor: Option<&str>) -> String {
        let mut out = String::from(r#"{"jsonrpc":"2.0","id":"#);
        id.write(&mut out);
        out.push_str(r#","method":"tools/list""#);
        let meta = self.fetch.as_ref().and_then(|fetch| fetch.meta.as_deref());
        if cursor.is_some() || meta.is_some() {
            out.push_str(r#","params":{"#);
            if let Some(cursor) = cursor {
                out.push_str(r#""cursor":"#);
                write_string(cursor, &mut out);
            }
            if let Some(meta) = meta {
                out.push_str(if cursor.is_some() { "," } else { "" });
                out.push_str(r#""_meta":"#);
                out.push_str(meta);
            }
            out.push('}');
        }
        out.push('}');
        if let Some(fetch) = &mut self.fetch {
            fetch.id = id;
            fetch.pages += 1;
        }
        out
    }

    /// Whether this answers our request.
    pub(super) fn is_asked(&self, id: &RequestId) -> bool {
        self.fetch.as_ref().is_some_and(|fetch| fetch.id == *id)
    }

    /// Our request was answered. The cursor is that of the next page, for [`Next::Ask`].
    pub(super) fn answered(
        &mut self,
        result: Option<&str>,
        now: Duration,
    ) -> (Next, Option<String>) {
        let Some(mut fetch) = self.fetch.take() else {
            return (Next::Settled, None);
        };
        let page = result.and_then(|text| ListToolsPage::parse(text).ok());
        let Some(page) = page.filter(|_| fetch.pages < MAX_PAGES) else {
            self.fail(now);
            return (Next::Settled, None);
        };
        add_tools(&mut fetch.tools, page.tools);
        // SPEC 2026-07-28: "If `ttlMs` is absent, clients SHOULD assume a default of `0`"; nobody
        // need say there that the list has changed.
        let stateless = fetch.meta.is_some();
        let ttl_ms = page.ttl_ms.or(stateless.then_some(0));
        fetch.ttl_ms = fetch.ttl_ms.into_iter().chain(ttl_ms).min();
        let bytes: usize = fetch
            .tools
            .iter()
            .map(|(name, tool)| tool.bytes(name))
            .sum();
        if fetch.tools.len() > MAX_TOOLS || bytes > MAX_BYTES {
            self.fail(now);
            return (Next::Settled, None);
        }
        if page.next_cursor.is_some() {
            self.fetch = Some(fetch);
            return (Next::Ask, page.next_cursor);
        }
        if fetch.generation != self.generation {
            // It changed while it was read. The deadline stays, so this ends.
            self.start(fetch.meta);
            return (Next::Ask, None);
        }
        self.settle(fetch.tools, fetch.ttl_ms, now);
        (Next::Settled, None)
    }

    /// The upstream says that its list has changed.
    pub(super) fn changed(&mut self) {
        self.generation += 1;
        self.state = State::Stale;
    }

    /// Gives up when the deadline is over. Returns the id of the request that was given up.
    pub(super) fn expire(&mut self, now: Duration) -> Option<RequestId> {
        let due = self.deadline.is_some_and(|deadline| deadline <= now);
        if !due {
            return None;
        }
        let given_up = self.fetch.take().map(|fetch| fetch.id);
        self.fail(now);
        given_up
    }

    fn settle(&mut self, tools: BTreeMap<String, Tool>, ttl_ms: Option<u64>, now: Duration) {
        self.tools = tools;
        self.state = State::Fresh {
            until: ttl_ms.map(|ms| now.saturating_add(Duration::from_millis(ms).max(SHORTEST_TTL))),
        };
        self.deadline = None;
    }

    fn fail(&mut self, now: Duration) {
        self.tools = BTreeMap::new();
        self.state = State::Failed {
            until: now + AFTER_FAILURE,
        };
        self.deadline = None;
    }
}

fn add_tools(tools: &mut BTreeMap<String, Tool>, listed: Vec<ListedTool<'_>>) {
    for listed in listed
        .into_iter()
        .filter(|listed| listed.name.len() <= MAX_NAME)
    {
        let definition = Definition {
            description: listed
                .description
                .map(|text| text.chars().take(MAX_DESCRIPTION).collect()),
            annotations: listed.annotations.ok().map(hints_alone),
            digest: DefinitionDigest::of(&listed.definition),
        };
        let tool = Tool {
            definition: Arc::new(definition),
            decision: None,
        };
        match tools.entry(listed.name.into_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(tool);
            }
            Entry::Occupied(mut entry) => {
                Arc::make_mut(&mut entry.get_mut().definition).meet(&tool.definition);
            }
        }
    }
}

/// What the policy and the prompts go by. A title may be as long as a message.
fn hints_alone(annotations: Option<ToolAnnotations>) -> Option<ToolAnnotations> {
    annotations.map(|mut annotations| {
        annotations.title = None;
        annotations
    })
}

impl Tool {
    fn bytes(&self, name: &str) -> usize {
        let description = self.definition.description.as_ref();
        let own = size_of::<Tool>() + size_of::<Definition>();
        name.len() + description.map_or(0, String::len) + own
    }
}

impl Definition {
    /// Two tools have one name: the stricter reading counts. Which of the two a call runs,
    /// only the upstream knows, so nothing that either says in its favour is believed.
    fn meet(&mut self, other: &Definition) {
        if self.digest == other.digest {
            return;
        }
        self.annotations = match (self.annotations.take(), other.annotations.clone()) {
            (Some(a), Some(b)) => {
                Some(Some(stricter(a.unwrap_or_default(), b.unwrap_or_default())))
            }
            (None, _) | (_, None) => None,
        };
        // Either definition may change under a waiting prompt.
        self.digest = self.digest.and(&other.digest);
        self.description = None;
    }
}

fn stricter(a: ToolAnnotations, b: ToolAnnotations) -> ToolAnnotations {
    // For each hint: the value that lets less through wins, then silence, then the other.
    fn pick(a: Option<bool>, b: Option<bool>, strict: bool) -> Option<bool> {
        if a == Some(strict) || b == Some(strict) {
            Some(strict)
        } else if a == b {
            a
        } else {
            None
        }
    }
    ToolAnnotations::from_raw(
        None,
        pick(a.read_only_hint, b.read_only_hint, false),
        pick(a.destructive_hint, b.destructive_hint, true),
        pick(a.idempotent_hint, b.idempotent_hint, false),
        pick(a.open_world_hint, b.open_world_hint, true),
    )
}

#[cfg(test)]
mod tests;
