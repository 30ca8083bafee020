//! The errors of the page's requests, and the page that reports them.

use axum::http::StatusCode;
use axum::http::header::{ALLOW, RETRY_AFTER};
use axum::response::{IntoResponse, Response};

use super::access::AccessError;
use super::html::Html;
use super::layout::{answer, bare};
use crate::engines::inbox::log::DeviceEvent;
use crate::engines::inbox::store::StoreError;

/// Why a device was not paired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotPaired {
    /// The code is wrong.
    WrongCode,
    /// No code is valid.
    NoCode,
    /// Too many devices are paired.
    TooMany,
}

/// Why a request is refused or fails.
#[derive(Debug)]
pub(super) enum PageError {
    /// It does not come from one of our pages.
    Access(AccessError),
    /// The browser is not logged in. If the request came through a link on another site, repeat it from here at this
    /// path: then the browser sends its cookie.
    NeedLogin(Option<String>),
    /// Likewise on the remote page: the device is not paired.
    NeedPairing(Option<String>),
    /// A code for pairing does not pair this device.
    NotPaired(NotPaired),
    /// The audit log cannot be written: this did not happen if it is a pairing, and did if it is a revocation.
    Unrecorded(DeviceEvent),
    /// The login link was used already, has expired, or never existed.
    BadToken,
    /// We did not give this form to this session.
    Csrf,
    /// The form has a content that none of ours can have.
    Form(&'static str),
    /// The body is larger than any of our forms.
    TooLarge,
    /// There is no such page or item.
    NotFound,
    /// The page does not support this method.
    Method,
    /// There were too many attempts.
    TooMany,
    /// The system has no random numbers.
    NoRandom,
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> PageError {
        PageError::Store(error)
    }
}

impl PageError {
    fn status(&self) -> StatusCode {
        match self {
            PageError::Access(_) | PageError::Csrf | PageError::BadToken => StatusCode::FORBIDDEN,
            PageError::NeedLogin(_) | PageError::NeedPairing(_) => StatusCode::UNAUTHORIZED,
            PageError::NotPaired(NotPaired::TooMany) => StatusCode::CONFLICT,
            PageError::NotPaired(_) => StatusCode::FORBIDDEN,
            PageError::Form(_) => StatusCode::BAD_REQUEST,
            PageError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            PageError::NotFound => StatusCode::NOT_FOUND,
            PageError::Method => StatusCode::METHOD_NOT_ALLOWED,
            PageError::TooMany => StatusCode::TOO_MANY_REQUESTS,
            PageError::NoRandom | PageError::Unrecorded(_) | PageError::Store(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn text(&self) -> (&'static str, &'static str) {
        match self {
            PageError::Access(AccessError::Host) => (
                "This is not the inbox’s address",
                "Open the inbox at the address that `approval-proxy inbox` prints, or at its `pageUrl`. A reverse proxy must pass on the header `Host`, with the port.",
            ),
            PageError::Access(AccessError::Origin) => (
                "This request did not come from the inbox",
                "Another page tried to act for you, or the browser hid where the form came from. Nothing was decided.",
            ),
            PageError::NeedLogin(_) => ("Log in to see your approvals", ""),
            PageError::NeedPairing(_) => ("This device is not paired", ""),
            PageError::NotPaired(NotPaired::WrongCode) => (
                "The code is wrong",
                "Compare it with the one in the terminal. After five wrong codes, it is no longer valid.",
            ),
            PageError::NotPaired(NotPaired::NoCode) => (
                "No code is valid now",
                "A code works once, for five minutes, and not after five wrong ones. Run `approval-proxy inbox --pair` again.",
            ),
            PageError::NotPaired(NotPaired::TooMany) => (
                "Too many devices are paired",
                "Revoke one of the 20 with `approval-proxy inbox --devices --revoke ID`, then enter the code again.",
            ),
            PageError::Unrecorded(DeviceEvent::Paired) => (
                "This cannot be recorded",
                "The audit log in the state folder cannot be written, so nothing has changed. `approval-proxy doctor` says why.",
            ),
            PageError::Unrecorded(DeviceEvent::Revoked) => (
                "This device is no longer paired, but that is not recorded",
                "The audit log in the state folder cannot be written. `approval-proxy doctor` says why.",
            ),
            PageError::BadToken => (
                "This link is no longer valid",
                "Each login link works once, for a short time.",
            ),
            PageError::Csrf => (
                "This form is out of date",
                "You have logged in again since it was shown. Nothing was decided; go back, reload the page, and decide again.",
            ),
            PageError::Form(why) => ("This form cannot be used", why),
            PageError::TooLarge => (
                "The text is too long",
                "A form may have at most 64 KiB. Nothing was decided; go back and shorten the reason.",
            ),
            PageError::NotFound => (
                "Page not found",
                "The call may be too old and deleted, or the link is incomplete.",
            ),
            PageError::Method => (
                "A link cannot decide anything",
                "Open the call and use its buttons.",
            ),
            PageError::TooMany => ("Too many attempts", "Wait a minute, then try again."),
            PageError::NoRandom => (
                "Login is not possible now",
                "The system provides no random numbers. Try again; if that does not help, restart the machine.",
            ),
            PageError::Store(_) => ("The inbox cannot be read", ""),
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let status = self.status();
        let (title, text) = self.text();
        let mut body = Html::new();
        body.raw("<section class=\"notice\" id=\"error\"><h1>")
            .text(title)
            .raw("</h1>");
        match &self {
            PageError::Store(error) => {
                body.raw("<p role=\"alert\">")
                    .text(&sentence(error))
                    .raw("</p>");
                body.raw("<p class=\"quiet\">Nothing was decided. Calls keep waiting until they expire; then they do not run.</p>");
                body.raw("<p><a class=\"button\" href=\"/\">Try again</a></p>");
            }
            PageError::NeedLogin(_) | PageError::BadToken => {
                if !text.is_empty() {
                    body.raw("<p>").text(text).raw("</p>");
                }
                how_to_log_in(&mut body);
            }
            PageError::NeedPairing(_) => how_to_pair(&mut body),
            PageError::NotPaired(_) => {
                body.raw("<p role=\"alert\">").text(text).raw("</p>");
                body.raw("<p><a class=\"button\" href=\"/pair\">Enter a code</a></p>");
            }
            PageError::Access(_)
            | PageError::Csrf
            | PageError::Form(_)
            | PageError::TooLarge
            | PageError::NotFound
            | PageError::Method
            | PageError::TooMany
            | PageError::Unrecorded(_)
            | PageError::NoRandom => {
                body.raw("<p>").text(text).raw("</p>");
                body.raw("<p><a class=\"button\" href=\"/\">Back to the inbox</a></p>");
            }
        }
        body.raw("</section>");
        let redirect = if let PageError::NeedLogin(path) | PageError::NeedPairing(path) = &self {
            path.as_deref()
        } else {
            None
        };
        let mut response = answer(status, bare(title, redirect, &body));
        let headers = response.headers_mut();
        if matches!(self, PageError::TooMany) {
            headers.insert(RETRY_AFTER, 60.into());
        }
        if matches!(self, PageError::Method) {
            headers.insert(ALLOW, axum::http::HeaderValue::from_static("POST"));
        }
        response
    }
}

/// Appends the instructions for logging in.
pub(super) fn how_to_log_in(body: &mut Html) {
    body.raw(
        "<p>Run this in a terminal on this machine. It opens the inbox, logged in:</p>\
         <pre class=\"command\"><code>approval-proxy inbox</code></pre>\
         <p class=\"quiet\">If your proxies use <code>--state-dir</code>, add the same here. A login lasts twelve hours in this browser.</p>",
    );
}

/// Appends the instructions for pairing a device.
pub(super) fn how_to_pair(body: &mut Html) {
    body.raw(
        "<p>Run this in a terminal on the machine of your proxies, and scan the code that it shows:</p>\
         <pre class=\"command\"><code>approval-proxy inbox --pair</code></pre>\
         <p>Or <a href=\"/pair\">enter the code</a> by hand.</p>\
         <p class=\"quiet\">A device stays paired for 30 days.</p>",
    );
}

/// Returns an error as a sentence, with the system's message.
pub(super) fn sentence(error: &StoreError) -> String {
    // No capital at the start: it begins with a path or a host.
    let mut text = format!("{error}.");
    if let Some(source) = &error.source {
        text.push_str(&format!(" ({source})"));
    }
    text
}
