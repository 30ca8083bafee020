//! The official JSON Schema of each revision, with checks that it leaves open but the
//! specification, or good sense, does not.
//!
//! `schemas` has the situations.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::LazyLock;

use boon::{Compiler, SchemaIndex, Schemas, SchemeUrlLoader};
use serde_json::{Value, json};

/// Names the folder with `<revision>.json`; `.ci/run` sets it.
const FOLDER: &str = "MCP_SCHEMA_DIR";

/// A revision that has an official schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Revision {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

impl Revision {
    const ALL: [Revision; 5] = [
        Revision::V2024_11_05,
        Revision::V2025_03_26,
        Revision::V2025_06_18,
        Revision::V2025_11_25,
        Revision::V2026_07_28,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Revision::V2024_11_05 => "2024-11-05",
            Revision::V2025_03_26 => "2025-03-26",
            Revision::V2025_06_18 => "2025-06-18",
            Revision::V2025_11_25 => "2025-11-25",
            Revision::V2026_07_28 => "2026-07-28",
        }
    }

    /// Up to 2025-06-18 a definition such as `ElicitRequest` leaves out `jsonrpc` and `id`, which
    /// the definitions of JSON-RPC's envelopes have.
    fn keeps_envelopes_apart(self) -> bool {
        self <= Revision::V2025_06_18
    }
}

/// The recipient of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Client,
    Upstream,
}

/// The schema of one revision.
pub(super) struct Official {
    revision: Revision,
    schemas: Schemas,
    /// Its definitions, unchanged.
    published: BTreeMap<String, SchemaIndex>,
    /// The same, without permission for members that they do not name.
    closed: BTreeMap<String, SchemaIndex>,
}

impl Official {
    /// Returns the schema of a revision, or `None` if the tests that need it are to be skipped.
    pub(super) fn of(revision: Revision) -> Option<&'static Official> {
        static ALL: LazyLock<Option<BTreeMap<Revision, Official>>> = LazyLock::new(|| {
            let Some(folder) = std::env::var_os(FOLDER) else {
                // The test harness hides the `eprintln!` output of passing tests.
                let mut stderr = std::io::stderr();
                let note = format!(
                    "left out: {FOLDER} is not set, so no message is held against MCP's official \
                     schemas\n"
                );
                stderr.write_all(note.as_bytes()).unwrap();
                return None;
            };
            let read = |revision| (revision, Official::read(Path::new(&folder), revision));
            Some(Revision::ALL.into_iter().map(read).collect())
        });
        Some(&ALL.as_ref()?[&revision])
    }

    fn read(folder: &Path, revision: Revision) -> Official {
        let path = folder.join(revision.name()).with_extension("json");
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{FOLDER}: {}: {error}", path.display()));
        let published: Value = serde_json::from_str(&text).unwrap();
        let mut closed = published.clone();
        close(&mut closed);
        let mut schemas = Schemas::new();
        Official {
            revision,
            published: compile(published, &mut schemas, "published"),
            closed: compile(closed, &mut schemas, "closed"),
            schemas,
        }
    }

    /// Returns an error if a message of the gate is invalid.
    pub(super) fn check(&self, to: To, message: &Value) -> Result<(), String> {
        let has = |member| message.get(member).is_some();
        match (has("method"), has("id"), has("error")) {
            (true, true, false) => self.check_request(to, message),
            (true, false, false) => self.check_notification(to, message),
            (false, _, true) => self.check_error(message),
            (false, true, false) => self.check_result(to, message),
            _ => Err("it is neither request, notification nor response".into()),
        }
        .map_err(|fault| format!("{}: {fault}\n{message}", self.revision.name()))
    }

    fn check_request(&self, to: To, message: &Value) -> Result<(), String> {
        self.is_a("JSONRPCMessage", message)?;
        self.is_a("JSONRPCRequest", message)?;
        let body = self.body(message);
        // From 2026-07-28 on there is no `ServerRequest` at all.
        let any = match to {
            To::Client => "ServerRequest",
            To::Upstream => "ClientRequest",
        };
        match (to, message["method"].as_str()) {
            (To::Client, Some("elicitation/create")) => {
                self.is_a(any, &body)?;
                self.is_a("ElicitRequest", &body)?;
                self.check_mode(&message["params"])
            }
            (To::Upstream, Some("tools/list")) => {
                self.is_a(any, &body)?;
                self.is_a("ListToolsRequest", &body)
            }
            // The client's part of a call may have members that no schema knows.
            (To::Upstream, Some("tools/call")) => {
                self.is_a_published(any, &body)?;
                self.is_a_published("CallToolRequest", &body)
            }
            _ => Err("the gate has no business with this method".into()),
        }
    }

    /// The `params` of `elicitation/create`.
    fn check_mode(&self, params: &Value) -> Result<(), String> {
        let has_modes = self.revision > Revision::V2025_06_18;
        match params.get("mode").map(Value::as_str) {
            // SPEC 2025-06-18 has no `mode`; in later revisions we always send it.
            None if !has_modes => Ok(()),
            Some(Some("form")) if has_modes => Ok(()),
            Some(Some("url")) if has_modes => self.is_a("ElicitRequestURLParams", params),
            _ => Err("its `mode` is not that of the revision".into()),
        }
    }

    fn check_notification(&self, to: To, message: &Value) -> Result<(), String> {
        if to == To::Upstream {
            return Err("the gate has nothing to notify the upstream of".into());
        }
        self.is_a("JSONRPCMessage", message)?;
        self.is_a("JSONRPCNotification", message)?;
        let body = self.body(message);
        self.is_a("ServerNotification", &body)?;
        match message["method"].as_str() {
            // SPEC 2026-07-28: "Servers MUST NOT use this notification to cancel any other
            // request" than `subscriptions/listen`.
            Some("notifications/cancelled") if self.revision >= Revision::V2026_07_28 => {
                Err("a server cancels nothing in this revision".into())
            }
            // SPEC 2025-11-25 leaves `requestId` out for tasks; we cancel requests.
            Some("notifications/cancelled") if message["params"]["requestId"].is_null() => {
                Err("it cancels nothing".into())
            }
            Some("notifications/cancelled") => self.is_a("CancelledNotification", &body),
            Some("notifications/progress") => self.is_a("ProgressNotification", &body),
            Some("notifications/elicitation/complete")
                if self.revision == Revision::V2025_11_25 =>
            {
                self.is_a("ElicitationCompleteNotification", &body)
            }
            _ => Err("the gate has no business with this method".into()),
        }
    }

    fn check_error(&self, message: &Value) -> Result<(), String> {
        let message = &self.with_id_of_the_schema(message);
        self.is_a("JSONRPCMessage", message)?;
        let error = &message["error"];
        if self.revision < Revision::V2025_11_25 {
            self.is_a("JSONRPCError", message)?;
        } else {
            self.is_a("JSONRPCErrorResponse", message)?;
        }
        let definition = match error["code"].as_i64() {
            Some(-32700) => "ParseError",
            Some(-32600) => "InvalidRequestError",
            Some(-32602) => "InvalidParamsError",
            Some(-32603) => "InternalError",
            // JSON-RPC's own codes end here. -32002 and -32042 are not in the latest revision.
            Some(-32022) if self.revision >= Revision::V2026_07_28 => {
                return self.is_a("UnsupportedProtocolVersionError", message);
            }
            _ => return Err("the revision has no such error".into()),
        };
        if self.revision >= Revision::V2026_07_28 {
            self.is_a(definition, error)?;
        }
        Ok(())
    }

    /// JSON-RPC 2.0, section 5: "If there was an error in detecting the id in the Request object
    /// […], it MUST be Null"; and an error answers under the id that the peer has chosen, even
    /// `1.5`. The schemas know neither: before 2025-11-25 they have no error without an id, and
    /// then one that may be left out.
    fn with_id_of_the_schema(&self, message: &Value) -> Value {
        let mut message = message.clone();
        let id = &message["id"];
        if id.is_null() || id.is_f64() {
            if self.revision < Revision::V2025_11_25 {
                message["id"] = json!(0);
            } else {
                message.as_object_mut().unwrap().remove("id");
            }
        }
        message
    }

    fn check_result(&self, to: To, message: &Value) -> Result<(), String> {
        if to == To::Upstream {
            return Err("the upstream has asked for nothing".into());
        }
        self.is_a("JSONRPCMessage", message)?;
        let result = &message["result"];
        if self.revision < Revision::V2025_11_25 {
            self.is_a("JSONRPCResponse", message)?;
        } else {
            self.is_a("JSONRPCResultResponse", message)?;
        }
        if self.revision >= Revision::V2026_07_28 {
            self.is_a("CallToolResultResponse", message)?;
        }
        match result["resultType"].as_str() {
            Some("input_required") => return self.check_question(result),
            None if self.revision < Revision::V2026_07_28 => {}
            Some("complete") if self.revision >= Revision::V2026_07_28 => {}
            _ => return Err("its `resultType` is not that of the revision".into()),
        }
        self.is_a("CallToolResult", result)?;
        // The gate itself never reports success for a call.
        if result["isError"] != true || result["content"].as_array().unwrap().is_empty() {
            return Err("it refuses nothing".into());
        }
        Ok(())
    }

    fn check_question(&self, result: &Value) -> Result<(), String> {
        self.is_a("InputRequiredResult", result)?;
        let requests = result["inputRequests"].as_object();
        let requests = requests.ok_or("it asks nothing")?;
        for request in requests.values() {
            self.is_a("ElicitRequest", request)?;
            self.check_mode(&request["params"])?;
        }
        // The schema makes it optional for servers that need none; we need it.
        match result["requestState"].as_str() {
            Some(state) if !state.is_empty() && !requests.is_empty() => Ok(()),
            _ => Err("its answer could not be told from another's".into()),
        }
    }

    /// Returns a request or notification in the form of its own definition.
    fn body(&self, message: &Value) -> Value {
        let mut body = message.clone();
        if self.revision.keeps_envelopes_apart() {
            let members = body.as_object_mut().unwrap();
            members.remove("jsonrpc");
            members.remove("id");
        }
        body
    }

    fn is_a(&self, definition: &str, value: &Value) -> Result<(), String> {
        self.is_a_published(definition, value)?;
        self.validate(&self.closed, definition, value)
    }

    fn is_a_published(&self, definition: &str, value: &Value) -> Result<(), String> {
        self.validate(&self.published, definition, value)
    }

    fn validate(
        &self,
        definitions: &BTreeMap<String, SchemaIndex>,
        definition: &str,
        value: &Value,
    ) -> Result<(), String> {
        let index = definitions.get(definition);
        let index = index.ok_or_else(|| format!("there is no `{definition}`"))?;
        let found = self.schemas.validate(value, *index);
        found.map_err(|error| format!("it is no `{definition}`: {error}"))
    }
}

fn compile(document: Value, schemas: &mut Schemas, name: &str) -> BTreeMap<String, SchemaIndex> {
    let key = ["$defs", "definitions"]
        .into_iter()
        .find(|key| document.get(key).is_some())
        .unwrap();
    let names: Vec<String> = document[key].as_object().unwrap().keys().cloned().collect();
    let mut compiler = Compiler::new();
    // Nothing is read from anywhere else.
    compiler.use_loader(Box::new(SchemeUrlLoader::new()));
    let url = format!("mem:///{name}.json");
    compiler.add_resource(&url, document).unwrap();
    let compile = |name: String| {
        let pointer = format!("{url}#/{key}/{name}");
        let index = compiler.compile(&pointer, schemas);
        let index = index.unwrap_or_else(|error| panic!("{pointer}: {error:#}"));
        (name, index)
    };
    names.into_iter().map(compile).collect()
}

/// Forbids members that an object's schema does not name, unless it explicitly allows others. Never
/// permits more than before.
fn close(schema: &mut Value) {
    close_parts(schema);
    if let Some(members) = schema.as_object_mut()
        && members.contains_key("properties")
    {
        let others = members.entry("additionalProperties");
        others.or_insert(Value::Bool(false));
    }
}

fn close_parts(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else {
        return;
    };
    for (keyword, part) in members.iter_mut() {
        match (keyword.as_str(), part) {
            ("$defs" | "definitions" | "properties", Value::Object(schemas)) => {
                schemas.values_mut().for_each(close);
            }
            ("anyOf", Value::Array(schemas)) => schemas.iter_mut().for_each(close),
            // Each names only some of the members.
            ("allOf", Value::Array(schemas)) => schemas.iter_mut().for_each(close_parts),
            ("additionalProperties" | "items", part) => close(part),
            _ => {}
        }
    }
}
