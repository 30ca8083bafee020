//! Why a request does not get what it wants, and the page that says so.

use axum::http::StatusCode;
use axum::http::header::{ALLOW, RETRY_AFTER};
use axum::response::{IntoResponse, Response};

use super::access::TurnedAway;
use super::html::Html;
use super::layout::{answer, bare};
use crate::engines::inbox::store::StoreError;

/// Why a request does not get what it wants.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It is not from a page of ours.
    TurnedAway(TurnedAway),
    /// Nobody is logged in; a link from another site may still be followed once more, to here.
    NeedLogin(Option<String>),
    /// The link to log in with is used up, or was never good.
    BadToken,
    /// The form is not one that we gave to this session.
    Csrf,
    /// The form says something that none of ours can say.
    Form(&'static str),
    /// The body is larger than any form of ours.
    TooLarge,
    /// There is no such page, or no such item.
    NotFound,
    /// The page cannot be asked in this way.
    Method,
    /// Tried too often.
    TooMany,
    /// The system has no random numbers.
    NoRandom,
    /// The store fails.
    Store(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble::Store(error)
    }
}

impl Trouble {
    fn status(&self) -> StatusCode {
        match self {
            Trouble::TurnedAway(_) | Trouble::Csrf | Trouble::BadToken => StatusCode::FORBIDDEN,
            Trouble::NeedLogin(_) => StatusCode::UNAUTHORIZED,
            Trouble::Form(_) => StatusCode::BAD_REQUEST,
            Trouble::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Trouble::NotFound => StatusCode::NOT_FOUND,
            Trouble::Method => StatusCode::METHOD_NOT_ALLOWED,
            Trouble::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Trouble::NoRandom | Trouble::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn words(&self) -> (&'static str, &'static str) {
        match self {
            Trouble::TurnedAway(TurnedAway::Host) => (
                "This address is not the inbox’s",
                "Open it as http://127.0.0.1 or http://localhost, with the port that `approval-proxy inbox` names.",
            ),
            Trouble::TurnedAway(TurnedAway::Origin) => (
                "That did not come from the inbox",
                "Another page tried to act for you, or the browser hid where the form came from. Nothing was decided.",
            ),
            Trouble::NeedLogin(_) => ("Log in to see your approvals", ""),
            Trouble::BadToken => (
                "This link does not log in any more",
                "Each link works once, and for a short time.",
            ),
            Trouble::Csrf => (
                "That form is out of date",
                "You have logged in again since it was shown. Nothing was decided; go back, reload the page, and decide again.",
            ),
            Trouble::Form(why) => ("That form cannot be used", why),
            Trouble::TooLarge => (
                "That is too much text",
                "A form may have at most 64 KiB. Nothing was decided; go back and shorten the reason.",
            ),
            Trouble::NotFound => (
                "There is nothing here",
                "The item may be so old that it was forgotten, or the link is incomplete.",
            ),
            Trouble::Method => (
                "Nothing is decided by following a link",
                "Open the item, and use its buttons.",
            ),
            Trouble::TooMany => ("Too many tries", "Wait a minute, then try again."),
            Trouble::NoRandom => (
                "Nobody can log in now",
                "The system has no random numbers to give. Try again; if it stays like this, restart the machine.",
            ),
            Trouble::Store(_) => ("The inbox cannot be read", ""),
        }
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let status = self.status();
        let (title, text) = self.words();
        let mut body = Html::new();
        body.raw("<section class=\"notice\" id=\"trouble\"><h1>")
            .text(title)
            .raw("</h1>");
        match &self {
            Trouble::Store(error) => {
                body.raw("<p role=\"alert\">")
                    .text(&sentence(error))
                    .raw("</p>");
                body.raw("<p class=\"quiet\">Nothing was decided. Calls go on waiting until their time is over, and then do not run.</p>");
                body.raw("<p><a class=\"button\" href=\"/\">Try again</a></p>");
            }
            Trouble::NeedLogin(_) | Trouble::BadToken => {
                if !text.is_empty() {
                    body.raw("<p>").text(text).raw("</p>");
                }
                how_to_log_in(&mut body);
            }
            Trouble::TurnedAway(_)
            | Trouble::Csrf
            | Trouble::Form(_)
            | Trouble::TooLarge
            | Trouble::NotFound
            | Trouble::Method
            | Trouble::TooMany
            | Trouble::NoRandom => {
                body.raw("<p>").text(text).raw("</p>");
                body.raw("<p><a class=\"button\" href=\"/\">To the inbox</a></p>");
            }
        }
        body.raw("</section>");
        let again = if let Trouble::NeedLogin(again) = &self {
            again.as_deref()
        } else {
            None
        };
        let mut response = answer(status, bare(title, again, &body));
        let headers = response.headers_mut();
        if matches!(self, Trouble::TooMany) {
            headers.insert(RETRY_AFTER, 60.into());
        }
        if matches!(self, Trouble::Method) {
            headers.insert(ALLOW, axum::http::HeaderValue::from_static("POST"));
        }
        response
    }
}

/// Says how to log in.
pub(super) fn how_to_log_in(body: &mut Html) {
    body.raw(
        "<p>Run this in a terminal on this machine. It opens the inbox, logged in:</p>\
         <pre class=\"command\"><code>approval-proxy inbox</code></pre>\
         <p class=\"quiet\">If this inbox’s proxies have a <code>--state-dir</code>, add it. A login holds for twelve hours in this browser.</p>",
    );
}

/// An error as a sentence, with what the system says of it.
pub(super) fn sentence(error: &StoreError) -> String {
    // It begins with a path or a host, which stays as it is.
    let mut text = format!("{error}.");
    if let Some(source) = &error.source {
        text.push_str(&format!(" ({source})"));
    }
    text
}
