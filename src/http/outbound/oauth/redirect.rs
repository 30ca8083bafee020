//! Where the browser comes back to: one page on the loopback address, for one login.
//!
//! It exchanges nothing; it only hears what the login came to.

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
use super::client::said;
use crate::http::shared::{ConnectionLimits, Connections};
use crate::sys::secret::Secret;

const PATH: &str = "/callback";
/// One browser comes, once; other programs may connect too.
const LIMITS: ConnectionLimits = ConnectionLimits {
    count: 16,
    head_time: Duration::from_secs(10),
    // The browser also sends the cookies that other ports of this machine have set.
    head_bytes: 768 * 1024,
    headers: 64,
    unread_time: Duration::from_millis(500),
};
/// How long the browser has to read its page.
const FAREWELL: Duration = Duration::from_secs(1);

/// A port that waits for the browser.
pub(super) struct Redirect {
    listener: TcpListener,
    uri: String,
}

/// What the browser brought.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: Secret,
    /// Who says so, in the words of RFC 9207.
    pub(super) issuer: Option<String>,
}

impl Redirect {
    /// Takes a free port.
    pub(super) async fn listen() -> io::Result<Redirect> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let uri = format!("http://{}{PATH}", listener.local_addr()?);
        Ok(Redirect { listener, uri })
    }

    /// What the browser is to be sent back to.
    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// Waits for the one request with this `state`; others are turned away and change nothing.
    pub(super) async fn answer(self, state: Secret, limit: Duration) -> Result<Answer, LoginError> {
        let (tell, mut told) = mpsc::channel(1);
        let router = Router::new().route(
            PATH,
            get(move |uri: Uri| async move {
                let Some(answer) = read(&uri, &state) else {
                    return page(
                        StatusCode::BAD_REQUEST,
                        "This is not the login that was asked for.",
                    );
                };
                let text = match &answer {
                    Ok(_) => "approval-proxy has got the login. You can close this page.",
                    Err(_) => "The login was refused. You can close this page.",
                };
                match tell.try_send(answer) {
                    Ok(()) => page(StatusCode::OK, text),
                    Err(_) => page(StatusCode::GONE, "This login is over."),
                }
            }),
        );
        let mut connections = Connections::new(self.listener, LIMITS);
        let serving = async {
            loop {
                tokio::select! {
                    answer = told.recv() => return answer,
                    arrival = connections.next() => connections.serve(arrival, router.clone()),
                }
            }
        };
        let answer = timeout(limit, serving).await;
        connections.end(async {}, FAREWELL).await;
        match answer {
            Ok(answer) => answer.unwrap_or(Err(LoginError::System)),
            Err(_) => Err(LoginError::Late),
        }
    }
}

/// What a request says; `None` if it is not about the login with this `state`.
fn read(uri: &Uri, state: &Secret) -> Option<Result<Answer, LoginError>> {
    let url = Url::parse("http://127.0.0.1").ok()?;
    let url = url.join(&uri.to_string()).ok()?;
    let named = |wanted: &str| {
        let mut values = url.query_pairs().filter(|(name, _)| name == wanted);
        let value = values.next().map(|(_, value)| value.into_owned());
        // Twice is a request that somebody else has had a hand in.
        value.filter(|_| values.next().is_none())
    };
    if named("state")? != state.expose() {
        return None;
    }
    if let Some(error) = named("error") {
        let description = named("error_description");
        let secrets = [state.expose().to_owned()];
        let why = said(&error, description.as_deref(), &secrets);
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
