//! Watches what client and upstream agree on by `initialize`.
//!
//! Negotiates nothing; the peers do that between themselves.

use std::sync::Arc;
use std::time::Duration;

use crate::evidence::record::Outcome;
use crate::mcp::json::Value;
use crate::mcp::message::RequestId;
use crate::mcp::revision::{ElicitationFormat, Revision};
use crate::mcp::roots;

/// How long a server may take for `initialize` before the operator is warned.
pub(super) const SLOW: Duration = Duration::from_secs(5);

/// The progress of a legacy session's handshake.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    /// The client's unanswered `initialize`, and what it offers.
    asked: Option<(RequestId, Offers)>,
    agreed: Option<(Revision, Offers)>,
    /// Whether the client has sent `notifications/initialized`, or a request that implies it.
    initialized: bool,
    /// Whether the client declares roots.
    declares_roots: bool,
    /// The client's name for itself.
    client: Option<Arc<str>>,
    /// The client's title for itself.
    client_title: Option<String>,
    /// When to warn the operator that `initialize` is still unanswered; `None` once that is done.
    slow_at: Option<Duration>,
}

/// How a client declares that it can ask its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Offers {
    /// With a form.
    pub(super) forms: bool,
    /// By opening a URL.
    pub(super) urls: bool,
}

impl Offers {
    /// Reads a client's capabilities.
    ///
    /// SPEC 2025-11-25, 2026-07-28: "an empty capabilities object is equivalent to declaring support
    /// for `form` mode only"; 2025-06-18 knows forms only.
    pub(super) fn of(capabilities: Option<&Value<'_>>) -> Offers {
        match capabilities.and_then(|capabilities| capabilities.get("elicitation")) {
            Some(modes @ Value::Object(_)) => Offers {
                forms: modes.get("form").is_some() || modes.get("url").is_none(),
                urls: matches!(modes.get("url"), Some(Value::Object(_))),
            },
            Some(_) | None => Offers::default(),
        }
    }
}

/// Why a client cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CannotAsk {
    /// It does not declare the elicitation capability, or not for forms.
    NoCapability,
    /// It has sent `initialize`, and the server has not answered yet.
    Unanswered,
    /// No `initialize` has led to a revision.
    NoHandshake,
    /// The revision in use has no elicitation, or is unknown.
    Revision(Revision),
    /// The client has closed.
    ClientGone,
    /// The client cannot be told from any other process that can connect.
    Anonymous,
    /// The operator configured no usable engine.
    NoChannel,
}

impl CannotAsk {
    /// Returns how the record calls the end of a call that cannot be asked about.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            CannotAsk::NoChannel => Outcome::Error,
            CannotAsk::NoCapability
            | CannotAsk::Unanswered
            | CannotAsk::NoHandshake
            | CannotAsk::Revision(_)
            | CannotAsk::ClientGone
            | CannotAsk::Anonymous => Outcome::Denied,
        }
    }
}

impl Handshake {
    /// Handles the client's `initialize`, at `now`.
    pub(super) fn initialize(&mut self, id: &RequestId, params: Option<&str>, now: Duration) {
        let params = params.and_then(|text| Value::parse(text).ok());
        let capabilities = params
            .as_ref()
            .and_then(|params| params.get("capabilities"));
        let offers = Offers::of(capabilities);
        self.declares_roots = roots::are_declared(capabilities);
        let info = params.as_ref().and_then(|params| params.get("clientInfo"));
        self.client = info.and_then(client_name);
        self.client_title = info.and_then(client_title);
        self.asked = Some((id.clone(), offers));
        self.agreed = None;
        self.initialized = false;
        self.slow_at = Some(now + SLOW);
    }

    /// Returns true if the client's `initialize` has no answer yet.
    pub(super) fn is_unanswered(&self) -> bool {
        self.asked.is_some()
    }

    /// Returns when the server will have taken too long for `initialize`.
    pub(super) fn slow_at(&self) -> Option<Duration> {
        self.slow_at
    }

    /// Returns true, once, if the server has taken too long.
    pub(super) fn is_newly_slow(&mut self, now: Duration) -> bool {
        self.slow_at.take_if(|at| *at <= now).is_some()
    }

    /// Returns the client's name for itself, if it gave one.
    pub(super) fn client(&self) -> Option<&Arc<str>> {
        self.client.as_ref()
    }

    /// Returns the client's title for itself, if it gave one.
    pub(super) fn client_title(&self) -> Option<&str> {
        self.client_title.as_deref()
    }

    /// Returns true if the client declares roots, so it can be asked for them.
    pub(super) fn declares_roots(&self) -> bool {
        self.declares_roots
    }

    /// Returns true if this is the id of the client's `initialize`.
    pub(super) fn is_asked(&self, id: &RequestId) -> bool {
        self.asked.as_ref().is_some_and(|(asked, _)| asked == id)
    }

    /// Handles the upstream's answer to `initialize`.
    pub(super) fn answered(&mut self, result: Option<&str>) {
        let Some((_, offers)) = self.asked.take() else {
            return;
        };
        self.slow_at = None;
        let result = result.and_then(|text| Value::parse_lossy(text).ok());
        let revision = result
            .as_ref()
            .and_then(|result| result.get("protocolVersion")?.as_str());
        self.agreed = revision.map(|name| (Revision::from_name(&name), offers));
    }

    /// Handles the client's `notifications/initialized`.
    pub(super) fn initialized(&mut self) {
        self.initialized = self.asked.is_some() || self.agreed.is_some();
    }

    /// Handles a client request other than `initialize` and `ping`. Some clients never send
    /// `notifications/initialized`; servers accept such a request instead, and so do we.
    pub(super) fn request_sent(&mut self) {
        self.initialized();
    }

    /// Returns true if requests of ours may go to either side.
    ///
    /// SPEC 2025-11-25, lifecycle: "The server SHOULD NOT send requests other than pings and
    /// logging before receiving the `initialized` notification", and the client none before
    /// the server has answered.
    pub(super) fn is_complete(&self) -> bool {
        self.initialized && self.agreed.is_some()
    }

    /// Returns true if the client is done with the handshake and only the upstream's answer is missing.
    pub(super) fn is_under_way(&self) -> bool {
        self.initialized && self.asked.is_some()
    }

    /// Returns true if the client can be sent to a URL. SPEC 2025-11-25 is the first revision with URL mode.
    pub(super) fn offers_urls(&self) -> bool {
        let agreed = self.agreed.as_ref();
        agreed.is_some_and(|(revision, offers)| offers.urls && *revision == Revision::V2025_11_25)
    }

    /// Returns the format in which the client can be asked.
    pub(super) fn elicitation_format(&self) -> Result<ElicitationFormat, CannotAsk> {
        match (&self.agreed, &self.asked) {
            (Some((_, offers)), _) | (None, Some((_, offers))) if !offers.forms => {
                Err(CannotAsk::NoCapability)
            }
            (Some((revision, _)), _) => revision
                .elicitation()
                .ok_or_else(|| CannotAsk::Revision(revision.clone())),
            (None, Some(_)) => Err(CannotAsk::Unanswered),
            (None, None) => Err(CannotAsk::NoHandshake),
        }
    }
}

/// Returns the name and version of an `Implementation`, limited in length.
pub(super) fn client_name(info: &Value<'_>) -> Option<Arc<str>> {
    let text = |key: &str| {
        Some(
            info.get(key)?
                .as_str()?
                .chars()
                .take(100)
                .collect::<String>(),
        )
    };
    let name = text("name")?;
    Some(match text("version") {
        Some(version) => format!("{name} {version}").into(),
        None => name.into(),
    })
}

/// Returns the title of an `Implementation`, limited in length.
pub(super) fn client_title(info: &Value<'_>) -> Option<String> {
    let title = info.get("title")?.as_str()?;
    Some(title.chars().take(100).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(capabilities: &str, revision: &str) -> Result<ElicitationFormat, CannotAsk> {
        let mut handshake = Handshake::default();
        let id = RequestId::Integer(0);
        let params = format!(r#"{{"capabilities":{capabilities}}}"#);
        handshake.initialize(&id, Some(&params), Duration::ZERO);
        assert!(!handshake.is_complete());
        handshake.answered(Some(&format!(r#"{{"protocolVersion":"{revision}"}}"#)));
        assert!(!handshake.is_complete());
        handshake.initialized();
        assert!(handshake.is_complete());
        handshake.elicitation_format()
    }

    #[test]
    fn only_a_client_that_declared_forms_in_a_revision_that_has_them_can_be_asked() {
        use CannotAsk::{NoCapability, Revision as Old};
        for (capabilities, revision, expected) in [
            (
                r#"{"elicitation":{}}"#,
                "2025-06-18",
                Ok(ElicitationFormat::V2025_06_18),
            ),
            (
                r#"{"elicitation":{}}"#,
                "2025-11-25",
                Ok(ElicitationFormat::V2025_11_25),
            ),
            (
                r#"{"elicitation":{"form":{}}}"#,
                "2025-11-25",
                Ok(ElicitationFormat::V2025_11_25),
            ),
            (
                r#"{"elicitation":{"form":{},"url":{}}}"#,
                "2025-11-25",
                Ok(ElicitationFormat::V2025_11_25),
            ),
            (
                r#"{"elicitation":{"url":{}}}"#,
                "2025-11-25",
                Err(NoCapability),
            ),
            (r#"{"elicitation":true}"#, "2025-11-25", Err(NoCapability)),
            (
                r#"{"elicitation":{},"elicitation":{}}"#,
                "2025-11-25",
                Err(NoCapability),
            ),
            ("{}", "2025-11-25", Err(NoCapability)),
            (
                r#"{"elicitation":{}}"#,
                "2025-03-26",
                Err(Old(Revision::V2025_03_26)),
            ),
            (
                r#"{"elicitation":{}}"#,
                "2024-11-05",
                Err(Old(Revision::V2024_11_05)),
            ),
            (
                r#"{"elicitation":{}}"#,
                "2031-01-01",
                Err(Old(Revision::Other("2031-01-01".into()))),
            ),
        ] {
            assert_eq!(
                format(capabilities, revision),
                expected,
                "{capabilities} {revision}"
            );
        }
    }

    #[test]
    fn an_incomplete_handshake_reports_what_is_missing() {
        let mut handshake = Handshake::default();
        let id = RequestId::Integer(0);
        assert_eq!(handshake.elicitation_format(), Err(CannotAsk::NoHandshake));
        let params = r#"{"capabilities":{"elicitation":{}}}"#;
        handshake.initialize(&id, Some(params), Duration::ZERO);
        assert_eq!(handshake.elicitation_format(), Err(CannotAsk::Unanswered));
        handshake.answered(None);
        assert_eq!(handshake.elicitation_format(), Err(CannotAsk::NoHandshake));
        // Whatever the server answers, this client cannot be asked.
        handshake.initialize(&id, Some("{}"), Duration::ZERO);
        assert_eq!(handshake.elicitation_format(), Err(CannotAsk::NoCapability));
    }

    #[test]
    fn an_initialized_without_an_initialize_is_no_handshake() {
        let mut handshake = Handshake::default();
        handshake.initialized();
        assert!(!handshake.is_complete() && !handshake.is_under_way());
        handshake.initialize(&RequestId::Integer(0), None, Duration::ZERO);
        handshake.initialized();
        assert!(handshake.is_under_way());
        handshake.answered(None);
        assert!(!handshake.is_complete());
    }
}
