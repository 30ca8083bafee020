//! `whatsapp`: a bridge of yours that asks in WhatsApp, and is polled for the answer.
//!
//! docs/engines/whatsapp.md describes the formats. `question` asks and polls.

mod question;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Map, Value, json};

use self::question::Question;
use super::bridge::{self, Bridge, Credential};
use super::chat::Carried;
use super::courier::{Answer, Courier, CourierContext, CourierSettings, Ending};
use super::http::TransportSettings;
use super::registry::{BadOptions, EngineOption, Registration, text};
use super::webhook::approver_of;
use crate::approval::item::{Assurance, Item};
use crate::gate::{EngineId, Failure};

/// The entry in the registry. Anybody who controls the bridge can answer, and it does not say who did, so the level is that
/// of a shared secret.
pub(super) const REGISTRATION: Registration = Registration::new(
    EngineId::new("whatsapp"),
    Assurance::SharedSecret,
    &[
        EngineOption::required("bridgeUrl"),
        EngineOption::optional("apiMode")
            .with_schema(|| json!({"enum": ["approvals", "whatsapp_poll", "auto"]})),
        EngineOption::optional("pollInterval").with_schema(bridge::poll_interval_schema),
    ],
    read,
);

/// The pause between two polls, unless `pollInterval` says otherwise.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Which API the bridge has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ApiMode {
    /// `POST /approvals`, and then `GET /approvals/{id}`.
    Approvals,
    /// `POST /whatsapp_poll`, which is answered once somebody has decided.
    Poll,
    /// The first, or the second if the bridge does not have it.
    Auto,
}

/// The options, checked. Cheap to clone.
#[derive(Debug, Clone)]
struct WhatsappSettings {
    bridge: Bridge,
    mode: ApiMode,
    poll_interval: Duration,
    /// The name that records carry: `whatsapp:NAME`.
    approver: Arc<str>,
}

fn read(
    name: EngineId,
    options: &Map<String, Value>,
    transport: &TransportSettings,
) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions> {
    let url = text(options, "bridgeUrl")?.unwrap_or_default();
    let mode = match text(options, "apiMode")? {
        Some("approvals") => ApiMode::Approvals,
        Some("whatsapp_poll") => ApiMode::Poll,
        Some("auto") | None => ApiMode::Auto,
        Some(_) => {
            return Err(BadOptions(
                "`apiMode` must be `approvals`, `whatsapp_poll` or `auto`".to_owned(),
            ));
        }
    };
    let token = transport.auth_token.as_ref().map(|token| Credential {
        header: AUTHORIZATION,
        scheme: "Bearer ",
        secret: token.expose(),
    });
    Ok(Some(Arc::new(WhatsappSettings {
        bridge: Bridge::new("bridgeUrl", url, transport, TOKEN_KEY, token)?,
        mode,
        poll_interval: bridge::poll_interval(options, POLL_INTERVAL)?,
        approver: approver_of("whatsapp", name, None)?.into(),
    })))
}

/// Where the bridge's token is configured.
const TOKEN_KEY: &str = "approvalAuthToken";

impl CourierSettings for WhatsappSettings {
    fn courier(&self, context: &CourierContext) -> Box<dyn Courier> {
        Box::new(WhatsappCourier {
            settings: self.clone(),
            context: context.clone(),
            carried: Arc::default(),
        })
    }

    fn needs_page(&self, _: &CourierContext) -> bool {
        // Any call may be too long for a message.
        true
    }

    fn test(&self, context: &CourierContext, deadline: Duration) -> Result<String, Failure> {
        let bridge = self.bridge.clone();
        let exchange = bridge.exchange(context, None);
        // Asks nobody: the first is no approval that exists, and the second takes only POST.
        let path: &'static [&str] = match self.mode {
            ApiMode::Approvals | ApiMode::Auto => &["approvals", "test"],
            ApiMode::Poll => &["whatsapp_poll"],
        };
        let seen = context.runtime.wait(deadline, async move {
            let get = || Ok(bridge.request(Method::GET, path, &[], None));
            exchange.probe(get).await
        })??;
        self.bridge.accepts(seen)?;
        Ok(format!(
            "{} answers ({} to GET); only a question can show whether it reaches WhatsApp",
            self.bridge.peer(),
            seen.as_u16()
        ))
    }
}

/// Sends the questions, and waits for the answers.
struct WhatsappCourier {
    settings: WhatsappSettings,
    context: CourierContext,
    carried: Arc<Carried>,
}

impl Courier for WhatsappCourier {
    fn carry(&mut self, item: &Item, answer: Answer) {
        let question = Question {
            settings: self.settings.clone(),
            exchange: self.settings.bridge.exchange(&self.context, Some(item)),
            context: self.context.clone(),
            carried: Arc::clone(&self.carried),
            item: item.clone(),
        };
        let work = |ended| async move {
            tokio::select! {
                // Nobody waits for the verdict any more. The bridge has no way to take a question back.
                _ = ended => {}
                () = question.run() => {}
            }
        };
        self.carried
            .carry(item, answer, &self.context.runtime, work);
    }

    fn withdraw(&mut self, item: &str, ending: &Ending) {
        self.carried.settle(item, ending);
    }
}

impl Drop for WhatsappCourier {
    fn drop(&mut self) {
        // Ends the tasks, too.
        self.carried.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_options_are_named() {
        let read = |options: &Value| {
            let options = options.as_object().unwrap();
            let transport = TransportSettings::default();
            let read = super::read(EngineId::new("wa"), options, &transport);
            read.map(|_| ()).map_err(|bad| bad.0)
        };
        let url = "http://localhost:9003";
        assert_eq!(read(&json!({"bridgeUrl": url})), Ok(()));
        for (options, named) in [
            (json!({}), "`bridgeUrl`"),
            (json!({"bridgeUrl": 9003}), "`bridgeUrl` must be a string"),
            (
                json!({"bridgeUrl": "http://bridge.example:9003"}),
                "`approvalAllowInsecureHttp`",
            ),
            (json!({"bridgeUrl": url, "apiMode": "poll"}), "`apiMode`"),
            (
                json!({"bridgeUrl": url, "pollInterval": 0}),
                "`pollInterval`",
            ),
        ] {
            let error = read(&options).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
