//! One Socket Mode connection: opens it, acknowledges every envelope at once, and passes on what is inside.
//!
//! Written from <https://docs.slack.dev/apis/events-api/using-socket-mode> and
//! <https://api.slack.com/apis/connections/socket-implement>. When to connect is decided in `connection`.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::api::{Api, Token};
use super::interaction::Interaction;
use crate::approval::display::quoted_text;
use crate::engines::CourierContext;
use crate::engines::http::{Exchange, PlainHttp, WebSocket, check_url};
use crate::gate::{Failure, FailureKind};

/// How long Slack may take to say hello.
const HELLO_TIME: Duration = Duration::from_secs(10);
/// How long the tries to get a URL may go on.
const OPEN_TIME: Duration = Duration::from_secs(60);

/// What a connection reports, with its number.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) connection: u64,
    pub(super) news: News,
}

#[derive(Debug)]
pub(super) enum News {
    /// Slack sends clicks from now on.
    Ready,
    /// Somebody did something. The envelope's id tells whether it came twice.
    Did(String, Interaction),
    /// Slack closes the connection soon, and wants another one first.
    Leaving,
    /// It is over: the peer or we closed it, or it failed.
    Ended(Result<(), Failure>),
}

/// What Slack sends.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Frame {
    Hello,
    Disconnect {
        reason: Option<String>,
    },
    #[serde(untagged)]
    Envelope {
        #[serde(rename = "type")]
        kind: String,
        envelope_id: String,
        #[serde(default)]
        payload: Value,
    },
}

#[derive(Deserialize)]
struct Opened {
    url: String,
}

/// Where a connection reports to.
pub(super) struct Reporter {
    pub(super) connection: u64,
    pub(super) reports: mpsc::Sender<Report>,
}

impl Reporter {
    async fn report(&self, news: News) {
        let connection = self.connection;
        // Nobody listens once all connections are given up.
        let _ = self.reports.send(Report { connection, news }).await;
    }
}

/// Holds one connection until it ends, or `stop` changes.
pub(super) async fn hold(
    api: Arc<Api>,
    context: CourierContext,
    reporter: Reporter,
    mut stop: watch::Receiver<bool>,
) {
    let held = async {
        let exchange = api.exchange(&context, Some(OPEN_TIME));
        let mut socket = connect(&api, &context, &exchange).await?;
        let result = read(&mut socket, &reporter, &mut stop).await;
        socket.close().await;
        result
    };
    let result = held.await;
    reporter.report(News::Ended(result)).await;
}

/// Returns the URL of a new connection. It works once, and holds a secret.
///
/// # Errors
/// If Slack cannot be reached, or refuses.
pub(super) async fn url(api: &Api, exchange: &Exchange) -> Option<Result<Url, Failure>> {
    let nothing = json!({});
    let opened = api.call::<Opened>(exchange, "apps.connections.open", Token::App, &nothing);
    let opened = match opened.await? {
        Ok(opened) => opened.value.url,
        Err(failure) => return Some(Err(failure)),
    };
    // `check_url` knows the schemes of HTTP, which the handshake uses.
    let http = match opened.split_once("://") {
        Some(("wss", rest)) => format!("https://{rest}"),
        Some(("ws", rest)) => format!("http://{rest}"),
        _ => opened,
    };
    let transport = &exchange.transport;
    let checked = check_url("url", &http, transport, PlainHttp::IfAllowed);
    Some(checked.map_err(|bad| Failure {
        kind: FailureKind::Misconfigured,
        why: format!("the connection that Slack offers cannot be used: {bad}"),
    }))
}

async fn connect(
    api: &Api,
    context: &CourierContext,
    exchange: &Exchange,
) -> Result<WebSocket, Failure> {
    let url = url(api, exchange).await;
    let url = url.ok_or_else(|| Failure {
        kind: FailureKind::RateLimited,
        why: "Slack offers no connection in time".to_owned(),
    })??;
    WebSocket::open(&context.runtime, &url).await
}

async fn read(
    socket: &mut WebSocket,
    reporter: &Reporter,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), Failure> {
    let silent = || Failure::unreachable("Slack opened a connection and said nothing");
    let mut is_ready = false;
    loop {
        let next = async {
            match is_ready {
                true => socket.next().await,
                false => match timeout(HELLO_TIME, socket.next()).await {
                    Ok(next) => next,
                    Err(_) => Err(silent()),
                },
            }
        };
        // Both may be cancelled: no message is lost.
        let text = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            text = next => text?,
        };
        let Some(text) = text else {
            return match is_ready {
                true => Ok(()),
                false => Err(silent()),
            };
        };
        // What is no frame of theirs is ignored, as is every kind of frame that we do not know.
        let Ok(frame) = serde_json::from_str(&text) else {
            continue;
        };
        match frame {
            Frame::Hello => {
                is_ready = true;
                reporter.report(News::Ready).await;
            }
            Frame::Disconnect { reason } => match reason.as_deref() {
                Some("link_disabled") => return Err(disabled()),
                _ if is_ready => reporter.report(News::Leaving).await,
                // Such as `too_many_websockets`.
                reason => return Err(refused(reason)),
            },
            Frame::Envelope {
                kind,
                envelope_id,
                payload,
            } => {
                // At once: Slack waits three seconds. An empty answer closes a modal.
                let acknowledged = json!({"envelope_id": envelope_id}).to_string();
                socket.send(acknowledged).await?;
                if kind == "interactive"
                    && let Some(interaction) = Interaction::of(&payload)
                {
                    reporter.report(News::Did(envelope_id, interaction)).await;
                }
            }
        }
    }
}

fn refused(reason: Option<&str>) -> Failure {
    let reason = quoted_text(reason.unwrap_or_default(), 40);
    Failure {
        kind: FailureKind::RateLimited,
        why: format!("Slack refuses the connection: {reason}"),
    }
}

fn disabled() -> Failure {
    Failure {
        kind: FailureKind::Misconfigured,
        why:
            "Slack closed the connection (`link_disabled`): Socket Mode is switched off for the app"
                .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_documented() {
        let frame = |text| serde_json::from_str::<Frame>(text);
        let hello = r#"{"type":"hello","num_connections":1,"connection_info":{"app_id":"A1"}}"#;
        assert!(matches!(frame(hello), Ok(Frame::Hello)));
        let leaving = r#"{"type":"disconnect","reason":"warning","debug_info":{"host":"h"}}"#;
        assert!(
            matches!(frame(leaving), Ok(Frame::Disconnect { reason: Some(reason) }) if reason == "warning")
        );
        let envelope = r#"{"envelope_id":"e","type":"interactive","accepts_response_payload":true,"payload":{"a":1}}"#;
        let Ok(Frame::Envelope {
            kind, envelope_id, ..
        }) = frame(envelope)
        else {
            panic!("it is an envelope");
        };
        assert_eq!((&*kind, &*envelope_id), ("interactive", "e"));
        // Acknowledged, too, whatever it is.
        assert!(matches!(
            frame(r#"{"envelope_id":"e","type":"events_api"}"#),
            Ok(Frame::Envelope { .. })
        ));
        for nothing in ["", "[]", "{}", r#"{"type":7}"#, r#"{"type":"ping"}"#] {
            assert!(frame(nothing).is_err(), "{nothing}");
        }
    }
}
