//! Follows a server's redirects, but only within its own origin.
//!
//! Returns a redirect that it does not follow like any other response.

use reqwest::header::LOCATION;
use reqwest::{Client, Method, Response, StatusCode, Url};

/// How many redirects are followed for one request.
const MAX_REDIRECTS: usize = 5;

/// Sends a request and follows redirects that repeat it unchanged. `client` must not follow any itself.
///
/// A redirect to another origin would send arguments and credentials to a server that nobody chose.
pub(super) async fn execute(
    client: &Client,
    mut request: reqwest::Request,
) -> reqwest::Result<Response> {
    for _ in 0..MAX_REDIRECTS {
        let again = request.try_clone();
        let is_get = request.method() == Method::GET;
        let from = request.url().clone();
        let response = client.execute(request).await?;
        let next = match may_follow(response.status(), is_get) {
            true => target(&response, &from).filter(|url| url.origin() == from.origin()),
            false => None,
        };
        // Always clonable: only a body that is a stream is not.
        let (Some(mut again), Some(next)) = (again, next) else {
            return Ok(response);
        };
        *again.url_mut() = next;
        request = again;
    }
    client.execute(request).await
}

/// Returns the target of a redirect, without credentials.
pub(super) fn target(response: &Response, from: &Url) -> Option<Url> {
    if !response.status().is_redirection() {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let mut url = from.join(location).ok()?;
    if url.has_host() {
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
    }
    Some(url)
}

/// Returns true if the same request may be sent to the target of a redirect.
///
/// A 302 or 303 turns a POST into a GET without a body, so the message would be lost. A 301 may do so
/// too, but servers use it to correct a missing or extra slash.
fn may_follow(status: StatusCode, is_get: bool) -> bool {
    match status {
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => true,
        StatusCode::FOUND | StatusCode::SEE_OTHER => is_get,
        _ => false,
    }
}
