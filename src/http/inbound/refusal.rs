//! Requests that are turned away before anything of them is relayed: a status, and an error in the
//! words of JSON-RPC.

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};

use super::conversation::Unsent;
use super::guard::TurnedAway;
use super::sessions::NoSession;
use super::streams::Refused;
use crate::mcp::ErrorCode;
use crate::mcp::error::error_response;
use crate::mcp::message::{MessageError, RequestId, Unreadable};

/// SPEC 2026-07-28, `HeaderMismatch`.
const HEADER_MISMATCH: ErrorCode = ErrorCode(-32_020);
/// What SDKs use for a session that is not there.
const NO_SESSION: ErrorCode = ErrorCode(-32_001);

/// Why a request is turned away.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    id: Option<RequestId>,
    code: ErrorCode,
    why: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        code: ErrorCode,
        why: impl Into<Cow<'static, str>>,
    ) -> Refusal {
        Refusal {
            status,
            id: None,
            code,
            why: why.into(),
        }
    }

    /// The same, for the request with this id.
    pub(super) fn of(mut self, id: Option<&RequestId>) -> Refusal {
        self.id = id.cloned();
        self
    }

    /// What the client is told.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    pub(super) fn bad_request(why: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::INVALID_REQUEST, why)
    }

    /// Header and body differ.
    pub(super) fn mismatch(why: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, HEADER_MISMATCH, why)
    }

    pub(super) fn not_acceptable(wanted: &str) -> Refusal {
        let why = format!("Not Acceptable: the client must accept {wanted}");
        Refusal::new(StatusCode::NOT_ACCEPTABLE, ErrorCode::INVALID_REQUEST, why)
    }

    /// SPEC: "it MUST respond to requests containing that session ID with HTTP 404 Not Found"; the
    /// client then begins a new one.
    pub(super) fn no_such_session() -> Refusal {
        let why = "there is no such session for these credentials; begin one with `initialize`";
        Refusal::new(StatusCode::NOT_FOUND, NO_SESSION, why)
    }

    /// The session has ended in the meantime.
    pub(super) fn over() -> Refusal {
        let why = "the session is over; begin another one";
        Refusal::new(StatusCode::NOT_FOUND, NO_SESSION, why)
    }
}

impl From<TurnedAway> for Refusal {
    fn from(why: TurnedAway) -> Refusal {
        let status = match why {
            TurnedAway::Token => StatusCode::UNAUTHORIZED,
            TurnedAway::Host | TurnedAway::Origin => StatusCode::FORBIDDEN,
        };
        Refusal::new(status, ErrorCode::INVALID_REQUEST, why.message())
    }
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Refusal {
        let is_json = !matches!(unreadable.error, MessageError::Json(_));
        let code = match is_json {
            true => ErrorCode::INVALID_REQUEST,
            false => ErrorCode::PARSE_ERROR,
        };
        let why = unreadable.error.to_string();
        Refusal::new(StatusCode::BAD_REQUEST, code, why).of(unreadable.id.as_ref())
    }
}

impl From<Unsent> for Refusal {
    fn from(why: Unsent) -> Refusal {
        match why {
            Unsent::Over => Refusal::over(),
            Unsent::Late => Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::INTERNAL_ERROR,
                "the server has not read anything for a minute; the message was not sent",
            ),
        }
    }
}

impl From<Refused> for Refusal {
    fn from(why: Refused) -> Refusal {
        match why {
            Refused::IdInUse => Refusal::bad_request("a request with this id waits already"),
            Refused::Gone => Refusal::bad_request("there is nothing behind this event"),
            Refused::Over => Refusal::over(),
            Refused::TooMany => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                Refusal::new(
                    status,
                    ErrorCode::INVALID_REQUEST,
                    "too many streams are open",
                )
            }
        }
    }
}

impl From<NoSession> for Refusal {
    fn from(why: NoSession) -> Refusal {
        let later = StatusCode::SERVICE_UNAVAILABLE;
        let (status, why) = match why {
            NoSession::TooMany => (later, "too many sessions are open".into()),
            NoSession::Ending => (later, "approval-proxy is about to end".into()),
            NoSession::Upstream(why) => (StatusCode::BAD_GATEWAY, why.into()),
        };
        let why: Cow<'static, str> = why;
        Refusal::new(status, ErrorCode::INTERNAL_ERROR, why)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = error_response(self.id.as_ref(), self.code, self.why.into_owned());
        let json = [(CONTENT_TYPE, "application/json")];
        let mut response = (self.status, json, body).into_response();
        let extra = match self.status {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
            StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, "5")),
            _ => None,
        };
        if let Some((name, value)) = extra {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
