//! Accepts only requests from our own pages: in a browser on this machine, or at the URL of the remote page.
//!
//! `login` checks who is logged in.

use axum::http::header::{HOST, HeaderMap, ORIGIN};
use axum::http::{HeaderName, Method, Uri};

use crate::engines::inbox::remote::PageUrl;
use crate::sys::net::is_loopback;

/// Where browsers find a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Site {
    /// On this machine, at this port.
    Local(u16),
    /// At this URL.
    Remote(PageUrl),
}

impl Site {
    /// Returns true if an authority is this site's, as browsers write it in `Host`.
    fn is_at(&self, authority: &str) -> bool {
        match self {
            Site::Local(port) => is_ours(authority, *port),
            Site::Remote(url) => {
                // Browsers omit the default port; some reverse proxies add it.
                let given = authority.strip_suffix(":443").unwrap_or(authority);
                given.eq_ignore_ascii_case(url.authority())
            }
        }
    }

    /// Returns true if a request with this `Host` may have this `Origin`.
    fn is_origin(&self, origin: &str, host: &str) -> bool {
        match self {
            Site::Local(_) => origin
                .strip_prefix("http://")
                .is_some_and(|origin| origin.eq_ignore_ascii_case(host)),
            Site::Remote(url) => origin.eq_ignore_ascii_case(url.origin()),
        }
    }
}

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
    site: &Site,
) -> Result<(), AccessError> {
    let host = only(headers, &HOST).ok_or(AccessError::Host)?;
    let is_named = |authority: &str| site.is_at(authority);
    if !is_named(host) || uri.authority().is_some_and(|a| !is_named(a.as_str())) {
        return Err(AccessError::Host);
    }
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(());
    }
    if !only(headers, &ORIGIN).is_some_and(|origin| site.is_origin(origin, host)) {
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

    fn outcome_at(
        site: &Site,
        method: &Method,
        pairs: &[(&'static str, &str)],
    ) -> Result<(), AccessError> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        check(method, &Uri::from_static("/"), &headers, site)
    }

    fn outcome(method: &Method, pairs: &[(&'static str, &str)]) -> Result<(), AccessError> {
        outcome_at(&Site::Local(4000), method, pairs)
    }

    #[test]
    fn only_requests_to_the_url_of_the_remote_page_are_accepted_there() {
        let site = |url| Site::Remote(PageUrl::read(url).unwrap());
        let (usual, other) = (
            site("https://phone.example"),
            site("https://phone.example:8443"),
        );
        for (site, host, expected) in [
            (&usual, "phone.example", Ok(())),
            (&usual, "Phone.Example:443", Ok(())),
            (&other, "phone.example:8443", Ok(())),
            (&usual, "phone.example:8443", Err(AccessError::Host)),
            (&usual, "phone.example:80", Err(AccessError::Host)),
            (&usual, "phone.example.evil.example", Err(AccessError::Host)),
            (&usual, "evil.example", Err(AccessError::Host)),
            (&usual, "127.0.0.1", Err(AccessError::Host)),
            (&other, "phone.example", Err(AccessError::Host)),
            (&other, "phone.example:443", Err(AccessError::Host)),
            (&other, "localhost:8443", Err(AccessError::Host)),
        ] {
            assert_eq!(
                outcome_at(site, &Method::GET, &[("host", host)]),
                expected,
                "{host}"
            );
        }
        for (origin, expected) in [
            ("https://phone.example", Ok(())),
            ("http://phone.example", Err(AccessError::Origin)),
            ("https://phone.example:8443", Err(AccessError::Origin)),
            ("https://evil.example", Err(AccessError::Origin)),
            ("http://127.0.0.1:4000", Err(AccessError::Origin)),
            ("null", Err(AccessError::Origin)),
        ] {
            let headers = [("host", "phone.example"), ("origin", origin)];
            assert_eq!(
                outcome_at(&usual, &Method::POST, &headers),
                expected,
                "{origin}"
            );
        }
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
            check(&Method::GET, &uri, &headers, &Site::Local(4000)),
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
