//! Receives the browser's answer: serves one page on the loopback address, for one login.
//!
//! `flow` exchanges the code for a token.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::get;
use reqwest::Url;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::LoginError;
use super::client::oauth_error;
use crate::http::shared::{ConnectionLimits, Connections};
use crate::sys::secret::Secret;

const PATH: &str = "/callback";
/// One browser connects, once, but other programs may connect, too.
const LIMITS: ConnectionLimits = ConnectionLimits {
    count: 16,
    head_time: Duration::from_secs(10),
    // The browser also sends the cookies that other ports of this machine have set.
    head_bytes: 768 * 1024,
    headers: 64,
    unread_time: Duration::from_millis(500),
};
/// How long the browser has to read its page.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// A listener that waits for the browser.
pub(super) struct Redirect {
    listener: TcpListener,
    uri: String,
}

/// The browser's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: Secret,
    /// The `iss` parameter of RFC 9207.
    pub(super) issuer: Option<String>,
}

impl Redirect {
    /// Listens on a free port.
    pub(super) async fn listen() -> io::Result<Redirect> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let uri = format!("http://{}{PATH}", listener.local_addr()?);
        Ok(Redirect { listener, uri })
    }

    /// Returns the URI that the browser must be redirected to.
    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// Waits for the one request with this `state`. Refuses others, which have no effect.
    pub(super) async fn answer(self, state: Secret, limit: Duration) -> Result<Answer, LoginError> {
        let (sender, mut receiver) = mpsc::channel(1);
        let router = Router::new().route(
            PATH,
            get(move |uri: Uri| async move {
                let Some(answer) = read(&uri, &state) else {
                    return page(
                        StatusCode::BAD_REQUEST,
                        "approval-proxy did not request this login.",
                    );
                };
                let text = match &answer {
                    Ok(_) => "approval-proxy has received the login. You can close this page.",
                    Err(_) => "The login was refused. You can close this page.",
                };
                match sender.try_send(answer) {
                    Ok(()) => page(StatusCode::OK, text),
                    Err(_) => page(StatusCode::GONE, "This login has already ended."),
                }
            }),
        );
        let mut connections = Connections::new(self.listener, LIMITS);
        let serving = async {
            loop {
                tokio::select! {
                    answer = receiver.recv() => return answer,
                    arrival = connections.next() => connections.serve(arrival, router.clone()),
                }
            }
        };
        let answer = timeout(limit, serving).await;
        connections.end(async {}, DRAIN_TIME).await;
        match answer {
            Ok(answer) => answer.unwrap_or(Err(LoginError::System)),
            Err(_) => Err(LoginError::Late),
        }
    }
}

/// Reads the answer from a request; `None` if it is not about the login with this `state`.
fn read(uri: &Uri, state: &Secret) -> Option<Result<Answer, LoginError>> {
    let url = Url::parse("http://127.0.0.1").ok()?;
    let url = url.join(&uri.to_string()).ok()?;
    let named = |wanted: &str| {
        let mut values = url.query_pairs().filter(|(name, _)| name == wanted);
        let value = values.next().map(|(_, value)| value.into_owned());
        // A parameter that occurs twice suggests that somebody has tampered with the request.
        value.filter(|_| values.next().is_none())
    };
    if named("state")? != state.expose() {
        return None;
    }
    if let Some(error) = named("error") {
        let description = named("error_description");
        let secrets = [state.expose().to_owned()];
        let why = oauth_error(&error, description.as_deref(), &secrets);
        return Some(Err(LoginError::Refused(why)));
    }
    let code = Secret::new(named("code")?);
    let issuer = named("iss");
    Some(Ok(Answer { code, issuer }))
}

fn page(status: StatusCode, text: &'static str) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, text)
}
