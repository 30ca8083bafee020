//! The upstream's tools, as it lists them now.
//!
//! Keeps what was read, and decides when to read again. The gate sends the requests.
//!
//! Reading starts when a decision needs the list. A list that could not be read is read again
//! automatically, a few times. Until it is known, calls do not wait for it for long.

mod seen;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::ids::RetiredIds;
use crate::approval::digest::DefinitionDigest;
use crate::approval::display::quoted_text;
use crate::mcp::ToolAnnotations;
use crate::mcp::json::{Value, write_string};
use crate::mcp::message::RequestId;
use crate::mcp::tool::{ListToolsPage, ListedTool};
use crate::policy::Decision;

pub(super) use seen::ListRequest;
use seen::{Pages, Seen};

/// How long calls wait for the list, counted from the first one that needs it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long a reading goes on after calls have stopped waiting for it, counted from its start.
pub(super) const LONGEST_READING: Duration = Duration::from_secs(120);
/// How long after a failed or empty answer the list is requested again automatically.
pub(super) const RETRIES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];
/// How long a list is not requested again after the last retry failed.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// How long a server may be silent before it is asked again with a number as the id. Some servers
/// accept no other ids.
pub(super) const SILENCE: Duration = Duration::from_secs(2);
/// The shortest lifetime that a list is given, so that it is not requested all the time.
const SHORTEST_TTL: Duration = Duration::from_secs(5);
/// Larger lists are not read: they would take unlimited memory.
const MAX_PAGES: usize = 1_000;
const MAX_TOOLS: usize = 10_000;
/// The memory limit for a list's names and descriptions together.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// The longest part of a description that is kept, in characters. Prompts show no more.
const MAX_DESCRIPTION: usize = 4_096;
/// The longest part of a title that is kept, in characters.
const MAX_TITLE: usize = 200;
/// A call with a longer name counts as a call to an unlisted tool.
const MAX_NAME: usize = 1_024;
/// For how many tools the operator is warned that parts of them are ignored.
const MAX_REPORTED: usize = 20;
/// How much of a name, or of the server's error, the operator is shown.
const SHOWN: usize = 200;

/// One tool as the upstream lists it.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    /// Shared with the calls that were asked about with this definition, whatever happens to it
    /// later.
    pub(super) definition: Arc<Definition>,
    /// The policy's cached decision. It depends on nothing but the definition.
    pub(super) decision: Option<Decision>,
}

/// What the upstream says about a tool.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    /// At most 200 characters.
    pub(super) title: Option<String>,
    /// At most 4,096 characters.
    pub(super) description: Option<String>,
    /// Without the title. Hints of a wrong type are left out.
    pub(super) annotations: Option<ToolAnnotations>,
    /// The digest of the whole definition.
    pub(super) digest: DefinitionDigest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Never read, or known to have changed since. The next decision waits for it.
    Stale,
    /// As the upstream lists it. `until` is set if the list has a lifetime.
    Fresh { until: Option<Duration> },
    /// Could not be read so far. No decision waits for it before `until`. `None` while a reading is
    /// under way or the next one is scheduled.
    Unknown { until: Option<Duration> },
}

/// Which form of our ids the server is known to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IdForm {
    /// None yet. Text is tried first: it is longer, so harder to guess.
    Unproven,
    Text,
    Number,
}

#[derive(Debug)]
struct Fetch {
    /// The ids of the request for the current page; a second one if the first got no answer. Either
    /// may be answered.
    ids: Vec<RequestId>,
    /// Where that page starts.
    cursor: Option<String>,
    /// When it was last requested.
    asked_at: Duration,
    /// When the reading is given up.
    ends: Duration,
    pages: usize,
    tools: BTreeMap<String, Tool>,
    generation: u64,
    /// The `_meta` that a stateless upstream requires, as JSON.
    meta: Option<String>,
    /// The shortest lifetime of a page so far, in milliseconds.
    ttl_ms: Option<u64>,
    /// The listings that the client got in the meantime.
    seen: Vec<Seen>,
    /// The reading was restarted because of them. Once is enough: it started after the client's
    /// listing.
    is_second: bool,
}

/// The tool list, and the state of reading it.
#[derive(Debug)]
pub(super) struct Catalogue {
    tools: BTreeMap<String, Tool>,
    state: State,
    /// Grows with every `list_changed`.
    generation: u64,
    fetch: Option<Fetch>,
    /// When calls stop waiting for the list.
    deadline: Option<Duration>,
    /// When the list is read again automatically.
    retry: Option<Duration>,
    /// How often that was scheduled since the list was known, or reported as changed.
    tries: usize,
    /// A list was read in this session, so an empty one does not mean that the server is still
    /// starting.
    was_known: bool,
    ids: IdForm,
    /// The `_meta` of the newest reading, for readings that no call waits for.
    meta: Option<String>,
    /// Requests that the upstream may still answer, too late.
    retired: RetiredIds,
    /// The pages of one list that the client got.
    pages: Pages,
    /// Warnings for the operator, in order.
    notices: Vec<String>,
    /// The operator was told that the list is not known.
    is_reported: bool,
    /// The operator was told that the server's list changes unannounced.
    is_drift_reported: bool,
    /// Tools for which the operator was told that parts of them are ignored.
    reported: BTreeSet<String>,
}

/// What to do after a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask for a page with [`Catalogue::request`].
    Ask,
    /// The list is settled: known, or failed.
    Settled,
}

/// The answer to our request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer<'a> {
    /// A result.
    Result(&'a str),
    /// An error, or neither result nor error.
    Error(Option<&'a str>),
}

impl Catalogue {
    pub(super) fn new() -> Catalogue {
        Catalogue {
            tools: BTreeMap::new(),
            state: State::Stale,
            generation: 0,
            fetch: None,
            deadline: None,
            retry: None,
            tries: 0,
            was_known: false,
            ids: IdForm::Unproven,
            meta: None,
            retired: RetiredIds::default(),
            pages: Pages::default(),
            notices: Vec::new(),
            is_reported: false,
            is_drift_reported: false,
            reported: BTreeSet::new(),
        }
    }

    /// Returns true if decisions may use the list now, or need not wait for it.
    pub(super) fn is_settled(&self, now: Duration) -> bool {
        match self.state {
            State::Stale => false,
            State::Fresh { until } | State::Unknown { until } => {
                until.is_none_or(|until| now < until)
            }
        }
    }

    /// Returns true if the list could not be read so far, so nothing is known about any tool.
    pub(super) fn is_unknown(&self) -> bool {
        match self.state {
            State::Unknown { .. } => true,
            State::Stale | State::Fresh { .. } => false,
        }
    }

    /// Returns the tool with exactly this name, if the settled list has it.
    pub(super) fn tool_mut(&mut self, name: &str) -> Option<&mut Tool> {
        self.tools.get_mut(name)
    }

    /// Returns the tool with exactly this name, if the settled list has it.
    pub(super) fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.get(name)
    }

    /// Notes that a call needs the list.
    pub(super) fn want(&mut self, now: Duration) {
        self.deadline.get_or_insert(now + PATIENCE);
    }

    /// Returns when calls stop waiting for the list.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Returns when reading the list needs the gate again, while both sides are there.
    pub(super) fn next_step(&self) -> Option<Duration> {
        let reading = self.fetch.as_ref().map(|fetch| fetch.ends);
        let times = [reading, self.number_id_due(), self.retry];
        times.into_iter().flatten().min()
    }

    /// Returns true if the list is needed and has not been requested yet.
    pub(super) fn is_to_be_asked_for(&self) -> bool {
        self.deadline.is_some() && self.fetch.is_none()
    }

    /// Returns the `_meta` for an automatic reading, if one is due now.
    pub(super) fn take_retry(&mut self, now: Duration) -> Option<Option<String>> {
        self.retry.take_if(|retry| *retry <= now)?;
        self.fetch.is_none().then(|| self.meta.clone())
    }

    /// Starts to read the list from its first page.
    pub(super) fn start(&mut self, meta: Option<String>, now: Duration) {
        self.retry = None;
        self.meta.clone_from(&meta);
        self.fetch = Some(Fetch {
            ids: Vec::new(),
            cursor: None,
            asked_at: now,
            ends: now + LONGEST_READING,
            pages: 0,
            tools: BTreeMap::new(),
            generation: self.generation,
            ttl_ms: None,
            meta,
            seen: Vec::new(),
            is_second: false,
        });
    }

    /// Returns true if the next request needs a number as its id.
    pub(super) fn wants_number_id(&self) -> bool {
        self.ids == IdForm::Number
    }

    /// Writes the request for the next page under a fresh id.
    pub(super) fn request(&mut self, id: RequestId, cursor: Option<&str>, now: Duration) -> String {
        if let Some(fetch) = &mut self.fetch {
            fetch.cursor = cursor.map(str::to_owned);
            fetch.pages += 1;
            fetch.asked_at = now;
            fetch.ids = vec![id.clone()];
        }
        self.write_request(&id, cursor)
    }

    fn write_request(&self, id: &RequestId, cursor: Option<&str>) -> String {
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
        out
    }

    /// Returns true if a request is open and the server may not understand its text id.
    pub(super) fn is_unsure_of_text_ids(&self) -> bool {
        let asked = self.fetch.as_ref().map(|fetch| &fetch.ids[..]);
        self.ids == IdForm::Unproven && matches!(asked, Some([RequestId::Text(_)]))
    }

    fn number_id_due(&self) -> Option<Duration> {
        let fetch = self
            .fetch
            .as_ref()
            .filter(|_| self.is_unsure_of_text_ids())?;
        Some(fetch.asked_at + SILENCE)
    }

    /// Returns true if the server was silent for so long that it should be asked again with a
    /// number as the id.
    pub(super) fn is_number_id_due(&self, now: Duration) -> bool {
        self.number_id_due().is_some_and(|at| at <= now)
    }

    /// Writes the open request again, with a number as its id.
    pub(super) fn request_with_number_id(
        &mut self,
        id: RequestId,
        now: Duration,
    ) -> Option<String> {
        let fetch = self.fetch.as_mut()?;
        fetch.asked_at = now;
        fetch.ids.push(id.clone());
        let cursor = fetch.cursor.clone();
        Some(self.write_request(&id, cursor.as_deref()))
    }

    /// Returns true if this is the id of our open request.
    pub(super) fn is_asked(&self, id: &RequestId) -> bool {
        (self.fetch.as_ref()).is_some_and(|fetch| fetch.ids.contains(id))
    }

    /// Returns true if this is the id of a request of ours that no longer waits.
    pub(super) fn is_retired(&self, id: &RequestId) -> bool {
        self.retired.contains(id)
    }

    /// Handles the answer to our request. For [`Next::Ask`], also returns the cursor of the next
    /// page.
    pub(super) fn answered(
        &mut self,
        id: &RequestId,
        answer: Answer<'_>,
        now: Duration,
    ) -> (Next, Option<String>) {
        let Some(mut fetch) = self.take_fetch() else {
            return (Next::Settled, None);
        };
        self.ids = match id {
            RequestId::Text(_) => IdForm::Text,
            RequestId::Integer(_) | RequestId::Number(_) => IdForm::Number,
        };
        let (text, error) = match answer {
            Answer::Result(text) => (Some(text), None),
            Answer::Error(error) => (None, error),
        };
        let page = text.and_then(|text| ListToolsPage::parse(text).ok());
        let Some(page) = page.filter(|_| fetch.pages < MAX_PAGES) else {
            let words = error.map(|error| {
                let message = Value::parse(error).ok();
                let message = message
                    .as_ref()
                    .and_then(|error| error.get("message")?.as_str());
                quoted_text(message.as_deref().unwrap_or(error), SHOWN)
            });
            let why = match words {
                Some(words) => format!("its answer was an error: {words}"),
                None => "its answer is not a readable list".to_owned(),
            };
            self.fail(&why, now);
            return (Next::Settled, None);
        };
        self.report_ignored(&page.tools);
        add_tools(&mut fetch.tools, page.tools);
        // SPEC 2026-07-28: "If `ttlMs` is absent, clients SHOULD assume a default of `0`".
        // Servers need not announce changes there.
        let stateless = fetch.meta.is_some();
        let ttl_ms = page.ttl_ms.or(stateless.then_some(0));
        fetch.ttl_ms = fetch.ttl_ms.into_iter().chain(ttl_ms).min();
        let bytes: usize = fetch
            .tools
            .iter()
            .map(|(name, tool)| tool.bytes(name))
            .sum();
        if fetch.tools.len() > MAX_TOOLS || bytes > MAX_BYTES {
            self.fail("it is too large", now);
            return (Next::Settled, None);
        }
        // A cursor that leads back to this page is ignored. Tools that are missed because of that
        // count as unlisted.
        let next = page
            .next_cursor
            .filter(|next| fetch.cursor.as_ref() != Some(next));
        if next.is_some() {
            self.fetch = Some(fetch);
            return (Next::Ask, next);
        }
        let is_drift = fetch
            .seen
            .iter()
            .any(|seen| seen.differs_from(&fetch.tools));
        if fetch.generation != self.generation || (is_drift && !fetch.is_second) {
            // The list changed while it was read. The deadline stays, so this ends.
            let ends = fetch.ends;
            self.start(fetch.meta, now);
            if let Some(again) = &mut self.fetch {
                again.ends = ends;
                again.is_second = fetch.is_second || is_drift;
            }
            return (Next::Ask, None);
        }
        self.settle(fetch.tools, fetch.ttl_ms, now);
        (Next::Settled, None)
    }

    /// Handles a changed list, or the start of a client's session.
    pub(super) fn list_changed(&mut self) {
        self.generation += 1;
        self.tries = 0;
        self.retry = None;
        if self.deadline.is_none() {
            // Nobody waits for this reading. Its result would be old, and it may be stuck.
            self.take_fetch();
        }
        self.state = State::Stale;
    }

    /// Handles the start of a client's session: the other side may be another server.
    pub(super) fn session_begins(&mut self) {
        self.list_changed();
        self.was_known = false;
        self.ids = IdForm::Unproven;
        self.pages = Pages::default();
    }

    /// Compares a listing that the client got with ours. The gate learns nothing from it, but if it
    /// differs, the list is read again before the next decision.
    pub(super) fn compare_client_listing(
        &mut self,
        asked: &ListRequest,
        result: Option<&str>,
        now: Duration,
    ) {
        let Some(result) = result else {
            return;
        };
        if let Some(fetch) = &mut self.fetch {
            // It is compared when that reading is done.
            return Seen::keep(result, asked, &mut fetch.seen);
        }
        match self.state {
            // It will be read before the next decision anyway.
            State::Stale => {}
            State::Fresh { .. } => {
                if !self.pages.fits(result, asked, &self.tools) {
                    self.state = State::Stale;
                    self.report_drift();
                }
            }
            // Every decision already needs approval, so no call needs to wait. But the
            // server evidently answers now.
            State::Unknown { .. } => {
                let soon = now + SOON;
                self.retry = Some(self.retry.map_or(soon, |retry| retry.min(soon)));
            }
        }
    }

    /// Stops waiting, or gives up a reading, when its time is up.
    pub(super) fn expire(&mut self, now: Duration) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.tools = BTreeMap::new();
            self.deadline = None;
            let until = self.fetch.is_none().then(|| now + AFTER_FAILURE);
            self.state = State::Unknown { until };
            self.report_unknown("no answer within 5 seconds");
        }
        if (self.fetch.as_ref()).is_some_and(|fetch| fetch.ends <= now) {
            self.take_fetch();
            self.fail("no answer within 2 minutes", now);
        }
    }

    /// Takes the warnings for the operator.
    pub(super) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// Takes out the current reading. An answer to it is now late.
    fn take_fetch(&mut self) -> Option<Fetch> {
        let fetch = self.fetch.take()?;
        for id in &fetch.ids {
            self.retired.add(id.clone());
        }
        Some(fetch)
    }

    fn settle(&mut self, tools: BTreeMap<String, Tool>, ttl_ms: Option<u64>, now: Duration) {
        if tools.is_empty() && !self.was_known && self.tries < RETRIES.len() {
            return self.fail("it is empty so far", now);
        }
        self.tools = tools;
        self.state = State::Fresh {
            until: ttl_ms.map(|ms| now.saturating_add(Duration::from_millis(ms).max(SHORTEST_TTL))),
        };
        self.deadline = None;
        self.retry = None;
        self.tries = 0;
        self.was_known = true;
        self.pages = Pages::default();
        if std::mem::take(&mut self.is_reported) {
            let count = self.tools.len();
            self.notices.push(format!(
                "the server's tool list is now known; tools: {count}"
            ));
        }
    }

    /// Handles a list that could not be read. It is read again a few times automatically, and after
    /// that when it is needed.
    fn fail(&mut self, why: &str, now: Duration) {
        self.tools = BTreeMap::new();
        self.deadline = None;
        self.retry = RETRIES.get(self.tries).map(|after| now + *after);
        self.tries = (self.tries + 1).min(RETRIES.len());
        let until = self.retry.is_none().then(|| now + AFTER_FAILURE);
        self.state = State::Unknown { until };
        self.report_unknown(why);
    }

    /// Warns once per phase. Calls that are decided in the meantime say so themselves.
    fn report_unknown(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_reported, true) {
            self.notices.push(format!(
                "the server's tool list is not known yet: {why}; until it is, every call that \
                 depends on it needs approval"
            ));
        }
    }

    fn report_drift(&mut self) {
        if !std::mem::replace(&mut self.is_drift_reported, true) {
            let notice = "the server changed its tool list without announcing it; the list is \
                          read again before the next decision";
            self.notices.push(notice.to_owned());
        }
    }

    /// Warns once per tool, and only for a limited number of tools.
    fn report_ignored(&mut self, tools: &[ListedTool<'_>]) {
        for tool in tools.iter().filter(|tool| !tool.ignored.is_empty()) {
            if self.reported.len() > MAX_REPORTED || self.reported.contains(&*tool.name) {
                continue;
            }
            self.reported
                .insert(tool.name.chars().take(MAX_NAME).collect());
            if self.reported.len() > MAX_REPORTED {
                let notice = "more tools have members of a wrong type, which are ignored";
                self.notices.push(notice.to_owned());
                continue;
            }
            let name = quoted_text(&tool.name, SHOWN);
            let members = tool.ignored.join("`, `");
            self.notices.push(format!(
                "in the server's list, tool {name} has members of a wrong type, which are \
                 ignored: `{members}`"
            ));
        }
    }
}

/// How soon the list is read again when the client got one and we have none.
const SOON: Duration = Duration::from_secs(1);

fn add_tools(tools: &mut BTreeMap<String, Tool>, listed: Vec<ListedTool<'_>>) {
    for listed in listed
        .into_iter()
        .filter(|listed| listed.name.len() <= MAX_NAME)
    {
        let definition = Definition {
            title: listed
                .title
                .map(|text| text.chars().take(MAX_TITLE).collect()),
            description: listed
                .description
                .map(|text| text.chars().take(MAX_DESCRIPTION).collect()),
            annotations: listed.annotations,
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
                Arc::make_mut(&mut entry.get_mut().definition).merge_strictly(&tool.definition);
            }
        }
    }
}

impl Tool {
    fn bytes(&self, name: &str) -> usize {
        let Definition {
            title, description, ..
        } = &*self.definition;
        let texts = [title, description].map(|text| text.as_ref().map_or(0, String::len));
        let own = size_of::<Tool>() + size_of::<Definition>();
        name.len() + texts.iter().sum::<usize>() + own
    }
}

impl Definition {
    /// Merges two tools with one name: the stricter reading counts. Only the upstream knows which
    /// of the two a call runs, so nothing that either says in its favour is believed.
    fn merge_strictly(&mut self, other: &Definition) {
        if self.digest == other.digest {
            return;
        }
        self.annotations = Some(stricter(
            self.annotations.take().unwrap_or_default(),
            other.annotations.clone().unwrap_or_default(),
        ));
        // Either definition may change while a prompt is open.
        self.digest = self.digest.and(&other.digest);
        self.title = None;
        self.description = None;
    }
}

fn stricter(a: ToolAnnotations, b: ToolAnnotations) -> ToolAnnotations {
    // If either tool has the stricter value, it counts. Otherwise a hint counts only if both tools give it.
    fn pick(a: Option<bool>, b: Option<bool>, strict: bool) -> Option<bool> {
        if a == Some(strict) || b == Some(strict) {
            Some(strict)
        } else if a == b {
            a
        } else {
            None
        }
    }
    ToolAnnotations {
        title: None,
        read_only_hint: pick(a.read_only_hint, b.read_only_hint, false),
        destructive_hint: pick(a.destructive_hint, b.destructive_hint, true),
        idempotent_hint: pick(a.idempotent_hint, b.idempotent_hint, false),
        open_world_hint: pick(a.open_world_hint, b.open_world_hint, true),
    }
}

#[cfg(test)]
mod tests;
