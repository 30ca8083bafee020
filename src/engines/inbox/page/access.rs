//! Accepts only requests from our own pages in a browser on this machine.
//!
//! `login` checks who is logged in.

use axum::http::header::{HOST, HeaderMap, ORIGIN};
use axum::http::{HeaderName, Method, Uri};

use crate::sys::net::is_loopback;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessError {
    /// `Host` is not this machine at our port: somebody may have made a foreign name resolve to it.
    Host,
    /// A request that changes something does not come from one of our pages.
    Origin,
}

/// Checks where a request goes and where it comes from.
pub(super) fn check(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    port: u16,
) -> Result<(), AccessError> {
    let host = only(headers, &HOST).ok_or(AccessError::Host)?;
    let is_named = |authority: &str| is_ours(authority, port);
    if !is_named(host) || uri.authority().is_some_and(|a| !is_named(a.as_str())) {
        return Err(AccessError::Host);
    }
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(());
    }
    let origin = only(headers, &ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
    if !origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host)) {
        return Err(AccessError::Origin);
    }
    // Another port of this machine counts as "same-site". Browsers that do not send this header send `Origin`.
    let site = HeaderName::from_static("sec-fetch-site");
    match headers.contains_key(&site) && only(headers, &site) != Some("same-origin") {
        true => Err(AccessError::Origin),
        false => Ok(()),
    }
}

/// Returns a header's value if it occurs exactly once and is text.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

fn is_ours(authority: &str, port: u16) -> bool {
    let Some((host, given)) = authority.rsplit_once(':') else {
        // Browsers omit the default port.
        return port == 80 && is_loopback(authority);
    };
    // An IPv6 address is in brackets here.
    let is_host = host.starts_with('[') || !host.contains(':');
    given == port.to_string() && is_host && is_loopback(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(method: &Method, pairs: &[(&'static str, &str)]) -> Result<(), AccessError> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        check(method, &Uri::from_static("/"), &headers, 4000)
    }

    #[test]
    fn only_requests_to_this_machine_at_our_port_are_accepted() {
        for host in [
            "127.0.0.1:4000",
            "localhost:4000",
            "LOCALHOST:4000",
            "[::1]:4000",
        ] {
            assert_eq!(outcome(&Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example:4000",
            "127.0.0.1",
            "127.0.0.1:4001",
            "127.0.0.1:04000",
            "127.0.0.1.evil.example:4000",
            "localhost.evil.example:4000",
            "user@localhost:4000",
            "::1:4000",
            "0.0.0.0:4000",
            "",
        ] {
            let found = outcome(&Method::GET, &[("host", host)]);
            assert_eq!(found, Err(AccessError::Host), "{host}");
        }
        assert_eq!(outcome(&Method::GET, &[]), Err(AccessError::Host));
        let twice = [("host", "localhost:4000"), ("host", "evil.example")];
        assert_eq!(outcome(&Method::GET, &twice), Err(AccessError::Host));
        let headers = HeaderMap::from_iter([(HOST, "localhost:4000".parse().unwrap())]);
        let uri = Uri::from_static("http://evil.example:4000/");
        assert_eq!(
            check(&Method::GET, &uri, &headers, 4000),
            Err(AccessError::Host)
        );
    }

    #[test]
    fn only_our_own_pages_may_change_anything() {
        let host = ("host", "127.0.0.1:4000");
        let ours = ("origin", "http://127.0.0.1:4000");
        assert_eq!(outcome(&Method::POST, &[host, ours]), Ok(()));
        assert_eq!(
            outcome(
                &Method::POST,
                &[host, ours, ("sec-fetch-site", "same-origin")]
            ),
            Ok(())
        );
        for origin in [
            "http://evil.example",
            "http://127.0.0.1:4001",
            "http://127.0.0.1",
            "http://localhost:4000",
            "https://127.0.0.1:4000",
            "null",
            "",
        ] {
            let found = outcome(&Method::POST, &[host, ("origin", origin)]);
            assert_eq!(found, Err(AccessError::Origin), "{origin}");
        }
        assert_eq!(outcome(&Method::POST, &[host]), Err(AccessError::Origin));
        for site in ["cross-site", "same-site", "none", ""] {
            let found = outcome(&Method::POST, &[host, ours, ("sec-fetch-site", site)]);
            assert_eq!(found, Err(AccessError::Origin), "{site}");
        }
    }
}
