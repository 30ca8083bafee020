//! Refuses requests before they are relayed, with an HTTP status and a JSON-RPC error.

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};

use super::conversation::SendError;
use super::guard::AccessError;
use super::sessions::NoSession;
use super::streams::StreamError;
use crate::mcp::ErrorCode;
use crate::mcp::error::error_response;
use crate::mcp::message::{MessageError, RequestId, Unreadable};

/// SPEC 2026-07-28, `HeaderMismatch`.
const HEADER_MISMATCH: ErrorCode = ErrorCode(-32_020);
/// The code that SDKs use for an unknown session.
const NO_SESSION: ErrorCode = ErrorCode(-32_001);

/// A refused request.
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

    /// Sets the id of the refused request.
    pub(super) fn of(mut self, id: Option<&RequestId>) -> Refusal {
        self.id = id.cloned();
        self
    }

    /// Returns the error text.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    pub(super) fn bad_request(why: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::INVALID_REQUEST, why)
    }

    /// Refuses a request whose headers and body differ.
    pub(super) fn mismatch(why: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, HEADER_MISMATCH, why)
    }

    pub(super) fn not_acceptable(wanted: &str) -> Refusal {
        let why = format!("Not Acceptable: the client must accept {wanted}");
        Refusal::new(StatusCode::NOT_ACCEPTABLE, ErrorCode::INVALID_REQUEST, why)
    }

    /// SPEC: "it MUST respond to requests containing that session ID with HTTP 404 Not Found". The
    /// client then starts a new session.
    pub(super) fn no_such_session() -> Refusal {
        let why = "no such session for these credentials; start one with `initialize`";
        Refusal::new(StatusCode::NOT_FOUND, NO_SESSION, why)
    }

    /// Refuses a request whose session has ended in the meantime.
    pub(super) fn session_ended() -> Refusal {
        let why = "the session has ended; start a new one with `initialize`";
        Refusal::new(StatusCode::NOT_FOUND, NO_SESSION, why)
    }
}

impl From<AccessError> for Refusal {
    fn from(why: AccessError) -> Refusal {
        let status = match why {
            AccessError::Token => StatusCode::UNAUTHORIZED,
            AccessError::Host | AccessError::Origin => StatusCode::FORBIDDEN,
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

impl From<SendError> for Refusal {
    fn from(why: SendError) -> Refusal {
        match why {
            SendError::SessionEnded => Refusal::session_ended(),
            SendError::Timeout => Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::INTERNAL_ERROR,
                "the server has not read anything for a minute; the message was not sent",
            ),
        }
    }
}

impl From<StreamError> for Refusal {
    fn from(why: StreamError) -> Refusal {
        match why {
            StreamError::IdInUse => Refusal::bad_request("a request with this id is still pending"),
            StreamError::Gone => Refusal::bad_request(
                "this event is unknown or no longer kept; the stream cannot be resumed",
            ),
            StreamError::SessionEnded => Refusal::session_ended(),
            StreamError::TooMany => {
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
            NoSession::Ending => (later, "approval-proxy is shutting down".into()),
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
