//! Reads `tools/call` parameters and `tools/list` results from raw text.
//!
//! The gate and the policy decide what to do with a call.

use std::borrow::Cow;
use std::sync::Arc;

use super::json::{JsonError, Outline, Text, Value};
use super::lenient::{folds_to_one_of, shown_key};
use super::message::{Kind, read_message};
use crate::mcp::ToolAnnotations;

pub use super::message::CALL;

/// The method that lists tools.
pub const LIST: &str = "tools/list";
/// The upstream's notification that its list has changed.
pub const LIST_CHANGED: &str = "notifications/tools/list_changed";
/// Key in a request's `_meta`: the revision of the request (2026-07-28 and later).
pub const META_PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Key in a request's `_meta`: the client's capabilities for this request (2026-07-28 and later).
pub const META_CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// Key in a request's `_meta`: the client's name and version (2026-07-28 and later).
pub const META_CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";

/// Why the parameters of a `tools/call` cannot be read safely.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Their text is not strict JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// There are none, or they are not an object.
    #[error("`params` is not an object")]
    NoParams,
    /// A lenient reader could take a key for one of the protocol's.
    #[error(
        "the key `{0}` in `params` differs from a protocol key only by case, white space or \
         invisible characters"
    )]
    FoldedKey(String),
    /// `name` is missing or not a string.
    #[error("`params.name` is not a string")]
    NoName,
    /// `arguments` is neither absent, nor `null`, nor an object.
    #[error("`params.arguments` is not an object")]
    ArgumentsNotAnObject,
    /// `_meta` is neither absent, nor `null`, nor an object.
    #[error("`params._meta` is not an object")]
    MetaNotAnObject,
}

/// The parameters of a `tools/call`, borrowed from its text and parsed at every depth.
#[derive(Debug, Clone, PartialEq)]
pub struct CallToolRequestParams<'a> {
    /// The tool's exact name, unescaped.
    pub name: Cow<'a, str>,
    /// All members in their order, including `name`; no duplicates.
    pub members: Vec<(Text<'a>, Value<'a>)>,
    /// The positions of `arguments` and `_meta` in `members`.
    arguments: Option<usize>,
    meta: Option<usize>,
}

const PARAM_KEYS: [&str; 6] = [
    "name",
    "arguments",
    "_meta",
    "task",
    "inputResponses",
    "requestState",
];
const META_KEYS: [&str; 4] = [
    "progressToken",
    META_PROTOCOL_VERSION,
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
];

impl<'a> CallToolRequestParams<'a> {
    /// Reads the text of `params`.
    ///
    /// # Errors
    /// INVARIANT 4: anything that two readers could read differently, at any depth.
    pub fn parse(text: &'a str) -> Result<CallToolRequestParams<'a>, CallError> {
        CallToolRequestParams::from_tree(Value::parse(text)?)
    }

    /// Reads the tree of `params` or, if there is none, their text.
    ///
    /// # Errors
    /// As [`CallToolRequestParams::parse`].
    pub fn read(
        text: Option<&'a str>,
        tree: Option<Value<'a>>,
    ) -> Result<CallToolRequestParams<'a>, CallError> {
        match (tree, text) {
            (Some(tree), _) => CallToolRequestParams::from_tree(tree),
            (None, Some(text)) => CallToolRequestParams::parse(text),
            (None, None) => Err(CallError::NoParams),
        }
    }

    fn from_tree(tree: Value<'a>) -> Result<CallToolRequestParams<'a>, CallError> {
        let Value::Object(members) = tree else {
            return Err(CallError::NoParams);
        };
        let mut name = None;
        let (mut arguments, mut meta) = (None, None);
        for (at, (key, value)) in members.iter().enumerate() {
            match (&*key.decode(), value) {
                ("name", Value::String(text)) => name = Some(text.decode()),
                ("name", _) => return Err(CallError::NoName),
                ("arguments", Value::Null | Value::Object(_)) => arguments = Some(at),
                ("arguments", _) => return Err(CallError::ArgumentsNotAnObject),
                ("_meta", Value::Null | Value::Object(_)) => meta = Some(at),
                ("_meta", _) => return Err(CallError::MetaNotAnObject),
                (key, _) => not_folded(key, &PARAM_KEYS)?,
            }
        }
        let call = CallToolRequestParams {
            name: name.ok_or(CallError::NoName)?,
            members,
            arguments,
            meta,
        };
        for (key, _) in call.meta() {
            not_folded(&key.decode(), &META_KEYS)?;
        }
        Ok(call)
    }

    /// Returns a member of `params`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        let member = self.members.iter().find(|(name, _)| name.is(key));
        member.map(|(_, value)| value)
    }

    /// Returns the arguments: an object or `null`, if present.
    #[must_use]
    pub fn arguments(&self) -> Option<&Value<'a>> {
        self.member_at(self.arguments)
    }

    /// Returns the members of `_meta`; none if it is absent.
    #[must_use]
    pub fn meta(&self) -> &[(Text<'a>, Value<'a>)] {
        self.member_at(self.meta).map_or(&[], Value::members)
    }

    fn member_at(&self, at: Option<usize>) -> Option<&Value<'a>> {
        self.members.get(at?).map(|(_, value)| value)
    }

    /// Returns the progress token as it was written. MCP allows a string or an integer.
    #[must_use]
    pub fn progress_token(&self) -> Option<&Value<'a>> {
        self.meta_member("progressToken")
            .filter(|value| match value {
                Value::String(_) => true,
                Value::Number(token) => !token.contains(['.', 'e', 'E']),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
            })
    }

    /// Returns the revision named in `_meta`, which marks a request as stateless (2026-07-28 and later).
    #[must_use]
    pub fn protocol_version(&self) -> Option<&Value<'a>> {
        self.meta_member(META_PROTOCOL_VERSION)
    }

    /// Returns the capabilities that the client declares for this request (2026-07-28 and later).
    #[must_use]
    pub fn client_capabilities(&self) -> Option<&Value<'a>> {
        self.meta_member(META_CLIENT_CAPABILITIES)
    }

    /// Returns the client's name and version as it declares them (2026-07-28 and later).
    #[must_use]
    pub fn client_info(&self) -> Option<&Value<'a>> {
        self.meta_member(META_CLIENT_INFO)
    }

    fn meta_member(&self, key: &str) -> Option<&Value<'a>> {
        let found = self.meta().iter().find(|(name, _)| name.is(key));
        found.map(|(_, value)| value)
    }
}

/// A stored `tools/call`: its message, and the positions of its parameters in it.
///
/// Clones share both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCall {
    text: Arc<str>,
    params: Arc<KeptParams>,
}

#[derive(Debug, PartialEq, Eq)]
struct KeptParams {
    outline: Outline,
    arguments: Option<usize>,
    meta: Option<usize>,
}

impl KeptCall {
    /// Stores a call whose parameters were read from `text`.
    ///
    /// `None` if they were read from another text, or if `text` is longer than 4 GiB.
    #[must_use]
    pub fn new(text: &str, params: &CallToolRequestParams<'_>) -> Option<KeptCall> {
        Some(KeptCall {
            params: Arc::new(KeptParams {
                outline: Outline::of_members(&params.members, text)?,
                arguments: params.arguments,
                meta: params.meta,
            }),
            text: text.into(),
        })
    }

    /// Reads a call's message and stores it; `None` if it is not a readable call.
    #[must_use]
    pub fn read(text: &str) -> Option<KeptCall> {
        let Kind::Call { params, tree, .. } = read_message(text).ok()?.kind else {
            return None;
        };
        KeptCall::new(text, &CallToolRequestParams::read(params, tree).ok()?)
    }

    /// Returns the message.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the parameters, without parsing them again.
    #[must_use]
    pub fn params(&self) -> CallToolRequestParams<'_> {
        let KeptParams {
            outline,
            arguments,
            meta,
        } = &*self.params;
        let members = outline.members(&self.text);
        let name = members.iter().find(|(key, _)| key.is("name"));
        let name = name.and_then(|(_, name)| name.as_str());
        CallToolRequestParams {
            name: name.unwrap_or_default(),
            members,
            arguments: *arguments,
            meta: *meta,
        }
    }

    /// Returns true if the other call is from the same client, as far as the calls show. Without a session, only a
    /// request's own claims distinguish one client from another.
    #[must_use]
    pub fn is_of_same_client(&self, other: &KeptCall) -> bool {
        let client = |call: &KeptCall| {
            let params = call.params();
            params.protocol_version()?;
            let mut text = String::new();
            if let Some(info) = params.client_info() {
                info.write_canonical(&mut text);
            }
            Some(text)
        };
        client(self) == client(other)
    }

    /// Returns true if both share the same memory.
    #[must_use]
    pub fn is_copy_of(&self, other: &KeptCall) -> bool {
        Arc::ptr_eq(&self.text, &other.text)
    }

    /// Returns its size in memory, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len() + self.params.outline.bytes()
    }
}

fn not_folded(key: &str, known: &[&str]) -> Result<(), CallError> {
    if folds_to_one_of(key, known) {
        return Err(CallError::FoldedKey(shown_key(key)));
    }
    Ok(())
}

/// One tool of a `tools/list` result.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedTool<'a> {
    /// The tool's exact name.
    pub name: Cow<'a, str>,
    /// The tool's display name: its `title`, or the one in its annotations.
    pub title: Option<Cow<'a, str>>,
    /// The server's description of the tool.
    pub description: Option<Cow<'a, str>>,
    /// The server's hints without the title, as far as they can be read.
    pub annotations: Option<ToolAnnotations>,
    /// Members of a wrong type, which count as absent.
    pub ignored: Vec<&'static str>,
    /// The whole definition.
    pub definition: Value<'a>,
}

/// One page of a `tools/list` result.
#[derive(Debug, Clone, PartialEq)]
pub struct ListToolsPage<'a> {
    /// The tools on this page.
    pub tools: Vec<ListedTool<'a>>,
    /// The cursor of the next page; `None` on the last one.
    pub next_cursor: Option<String>,
    /// How long the list stays fresh, in milliseconds (2026-07-28 and later).
    pub ttl_ms: Option<u64>,
}

impl<'a> ListToolsPage<'a> {
    /// Reads the text of a `result`. A tool without a readable name is left out, so calls to it count as calls to an
    /// unlisted tool.
    ///
    /// # Errors
    /// `JsonError` if the text cannot be read; `Syntax` if it is not a list of tools.
    pub fn parse(text: &'a str) -> Result<ListToolsPage<'a>, JsonError> {
        let Value::Object(members) = Value::parse_lossy(text)? else {
            return Err(JsonError::Syntax(0));
        };
        let mut page = ListToolsPage {
            tools: Vec::new(),
            next_cursor: None,
            ttl_ms: None,
        };
        let mut found = false;
        for (key, value) in members {
            match (&*key.decode(), value) {
                ("tools", Value::Array(tools)) => {
                    found = true;
                    page.tools = tools.into_iter().filter_map(ListedTool::read).collect();
                }
                // Some servers, such as Go's, write an empty list as `null`.
                ("tools", Value::Null) => found = true,
                // Some servers mark the end with an empty cursor. If a server means more by it, the missed tools count
                // as unlisted.
                ("nextCursor", Value::String(cursor)) => {
                    let cursor = cursor.decode();
                    page.next_cursor =
                        Some(cursor.into_owned()).filter(|cursor| !cursor.is_empty());
                }
                // A lifetime that cannot be read counts as zero, not as endless.
                ("ttlMs", Value::Number(token)) => page.ttl_ms = Some(token.parse().unwrap_or(0)),
                ("ttlMs", _) => page.ttl_ms = Some(0),
                _ => {}
            }
        }
        if found {
            Ok(page)
        } else {
            Err(JsonError::Syntax(0))
        }
    }
}

impl<'a> ListedTool<'a> {
    /// Reads one tool. Only the name is required; other members of a wrong type are ignored.
    fn read(definition: Value<'a>) -> Option<ListedTool<'a>> {
        let name = definition.get("name")?.as_str()?;
        let title_of = |value: &Value<'a>| value.get("title").and_then(Value::as_str);
        let title =
            title_of(&definition).or_else(|| definition.get("annotations").and_then(title_of));
        let mut ignored = Vec::new();
        let description = match definition.get("description") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let text = value.as_str();
                ignored.extend(text.is_none().then_some("description"));
                text
            }
        };
        let annotations = match definition.get("annotations") {
            None | Some(Value::Null) => None,
            Some(hints @ Value::Object(_)) => Some(read_hints(hints, &mut ignored)),
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                ignored.push("annotations");
                None
            }
        };
        Some(ListedTool {
            name,
            title,
            description,
            annotations,
            ignored,
            definition,
        })
    }
}

/// Reads each hint separately: a hint of a wrong type does not spoil the others.
fn read_hints(hints: &Value<'_>, ignored: &mut Vec<&'static str>) -> ToolAnnotations {
    let mut hint = |key: &'static str| match hints.get(key) {
        Some(Value::Bool(value)) => Some(*value),
        None | Some(Value::Null) => None,
        Some(Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => {
            ignored.push(key);
            None
        }
    };
    ToolAnnotations {
        title: None,
        read_only_hint: hint("readOnlyHint"),
        destructive_hint: hint("destructiveHint"),
        idempotent_hint: hint("idempotentHint"),
        open_world_hint: hint("openWorldHint"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_with_all_its_members() {
        let call = CallToolRequestParams::parse(
            r#"{"name":"wr\u0069te","arguments":{"n":1.0},"task":{"ttl":5},"_meta":{"progressToken":7}}"#,
        )
        .unwrap();
        assert_eq!(call.name, "write");
        assert_eq!(call.progress_token(), Some(&Value::Number("7")));
        assert_eq!(call.protocol_version(), None);
        assert!(call.get("task").unwrap().is_object());
        assert!(
            CallToolRequestParams::parse(r#"{"name":"x","arguments":null,"_meta":null}"#).is_ok()
        );
    }

    #[test]
    fn a_call_that_readers_could_read_differently_is_refused() {
        use JsonError::{DuplicateKey, LoneSurrogate};
        for (text, error) in [
            (r#"{"name":"a","name":"b"}"#, CallError::Json(DuplicateKey)),
            (
                r#"{"name":"a","arguments":{"x":{"y":1,"\u0079":2}}}"#,
                CallError::Json(DuplicateKey),
            ),
            (
                r#"{"name":"a","arguments":{"x":"\ud800"}}"#,
                CallError::Json(LoneSurrogate),
            ),
            (
                r#"{"name":"a","Name":"b"}"#,
                CallError::FoldedKey("Name".into()),
            ),
            (
                r#"{"name":"a","argument\u017f":{}}"#,
                CallError::FoldedKey("argument\u{17f}".into()),
            ),
            (
                r#"{"name":"a","_META":{}}"#,
                CallError::FoldedKey("_META".into()),
            ),
            (
                r#"{"name":"a","name ":"b"}"#,
                CallError::FoldedKey("name ".into()),
            ),
            (
                r#"{"name":"a","na\u200bme":"b"}"#,
                CallError::FoldedKey(r"na\u{200b}me".into()),
            ),
            (
                r#"{"name":"a","\uff4eame":"b"}"#,
                CallError::FoldedKey("\u{ff4e}ame".into()),
            ),
            (
                r#"{"name":"a","_meta":{"progressToken ":1}}"#,
                CallError::FoldedKey("progressToken ".into()),
            ),
            (
                r#"{"name":"a","_meta":{"ProgressToken":1}}"#,
                CallError::FoldedKey("ProgressToken".into()),
            ),
            (r#"{"name":["a"]}"#, CallError::NoName),
            (r#"{"arguments":{}}"#, CallError::NoName),
            (
                r#"{"name":"a","arguments":[1]}"#,
                CallError::ArgumentsNotAnObject,
            ),
            (r#"{"name":"a","_meta":1}"#, CallError::MetaNotAnObject),
            (r#"["a"]"#, CallError::NoParams),
        ] {
            assert_eq!(CallToolRequestParams::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn one_odd_tool_does_not_spoil_the_list() {
        let page = ListToolsPage::parse(
            r#"{"tools":[{"name":"a","annotations":{"readOnlyHint":true}},{"name":7},{"name":"b","annotations":{"readOnlyHint":"yes"}}],"nextCursor":"n","ttlMs":1000}"#,
        )
        .unwrap();
        assert_eq!(page.next_cursor.as_deref(), Some("n"));
        assert_eq!(page.ttl_ms, Some(1000));
        let [a, b] = &page.tools[..] else {
            panic!("{page:?}")
        };
        assert_eq!(a.annotations.as_ref().unwrap().read_only_hint, Some(true));
        assert!(a.ignored.is_empty());
        assert_eq!(b.name, "b");
        assert_eq!(b.annotations.as_ref().unwrap().read_only_hint, None);
        assert_eq!(b.ignored, ["readOnlyHint"]);
        assert!(ListToolsPage::parse(r#"{"tools":{}}"#).is_err());
        assert!(ListToolsPage::parse("[]").is_err());
        // As Go writes an empty list.
        let page = ListToolsPage::parse(r#"{"tools":null}"#).unwrap();
        assert!(page.tools.is_empty());
    }

    #[test]
    fn members_of_a_wrong_type_are_ignored_and_named() {
        for (members, ignored, read_only, destructive) in [
            (
                r#""annotations":{"readOnlyHint":"true"}"#,
                vec!["readOnlyHint"],
                None,
                None,
            ),
            (
                r#""annotations":{"readOnlyHint":1,"destructiveHint":true}"#,
                vec!["readOnlyHint"],
                None,
                Some(true),
            ),
            (
                r#""annotations":{"readOnlyHint":true,"destructiveHint":"no","title":7}"#,
                vec!["destructiveHint"],
                Some(true),
                None,
            ),
            (
                r#""annotations":{"readOnlyHint":true,"idempotentHint":[],"openWorldHint":{}}"#,
                vec!["idempotentHint", "openWorldHint"],
                Some(true),
                None,
            ),
            (r#""annotations":[]"#, vec!["annotations"], None, None),
            (
                r#""annotations":"readOnly""#,
                vec!["annotations"],
                None,
                None,
            ),
            (
                r#""annotations":null,"description":null"#,
                vec![],
                None,
                None,
            ),
            (r#""annotations":{"readOnlyHint":null}"#, vec![], None, None),
            (
                r#""description":["d"],"title":5"#,
                vec!["description"],
                None,
                None,
            ),
            (r#""inputSchema":null"#, vec![], None, None),
            (
                r#""inputSchema":"object","outputSchema":7"#,
                vec![],
                None,
                None,
            ),
        ] {
            let page = format!(r#"{{"tools":[{{"name":"a",{members}}}]}}"#);
            let page = ListToolsPage::parse(&page).unwrap();
            let [tool] = &page.tools[..] else {
                panic!("{members}")
            };
            assert_eq!(tool.ignored, ignored, "{members}");
            let hints = tool.annotations.as_ref();
            let hint = |get: fn(&ToolAnnotations) -> Option<bool>| hints.and_then(get);
            assert_eq!(hint(|hints| hints.read_only_hint), read_only, "{members}");
            assert_eq!(
                hint(|hints| hints.destructive_hint),
                destructive,
                "{members}"
            );
            assert_eq!(tool.description, None, "{members}");
        }
    }
}
