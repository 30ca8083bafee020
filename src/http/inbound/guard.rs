//! Checks who may send requests: by `Host`, by the origin of a browser's page, and by bearer token.

use std::net::IpAddr;

use crate::sys::net::is_loopback;
use crate::sys::secret::Secret;

/// Checks requests before anything else looks at them.
#[derive(Debug)]
pub(super) struct Guard {
    token: Option<blake3::Hash>,
    hosts: Hosts,
}

/// The names of this proxy.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    /// True if only loopback is bound, so that no other machine can connect.
    pub(super) is_local: bool,
    /// Further names that the operator allows, in lower case, without ports.
    pub(super) allowed: Vec<String>,
}

impl Hosts {
    /// Returns true if a request with this `Host` may be meant for us.
    ///
    /// A page in a browser can make its own name resolve to our address (DNS rebinding). `Host` is
    /// then that name. It is never an IP address, because browsers do not look up addresses.
    fn include(&self, authority: &str, needs_token: bool) -> bool {
        let host = host_of(authority);
        let is_allowed = || {
            let name = host.strip_suffix('.').unwrap_or(host);
            let mut allowed = self.allowed.iter();
            allowed.any(|allowed| allowed.eq_ignore_ascii_case(name))
        };
        match self.is_local {
            true => is_loopback(host) || is_allowed(),
            // No page has the token, so any name is safe, unless the operator names the allowed ones.
            false if needs_token && self.allowed.is_empty() => true,
            false => is_loopback(host) || host.parse::<IpAddr>().is_ok() || is_allowed(),
        }
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessError {
    /// `Host` is not one of our names.
    Host,
    /// `Origin` is a page of another site.
    Origin,
    /// The token is missing or wrong.
    Token,
}

impl AccessError {
    /// Returns the error text for the client.
    pub(super) fn message(self) -> &'static str {
        match self {
            AccessError::Host => {
                "the Host header does not name this machine; use its IP address or http://localhost, \
                 or allow the name with --allowed-host"
            }
            AccessError::Origin => "the Origin header names another site",
            AccessError::Token => "a bearer token is needed: Authorization: Bearer TOKEN",
        }
    }
}

impl Guard {
    /// Creates a guard for requests that must send `token`, if there is one, and name one of `hosts`.
    pub(super) fn new(token: Option<&Secret>, hosts: Hosts) -> Guard {
        Guard {
            token: token.map(|token| blake3::hash(token.expose().as_bytes())),
            hosts,
        }
    }

    /// Returns true if the `Authorization` header is for us, and not for the server behind us.
    pub(super) fn takes_authorization(&self) -> bool {
        self.token.is_some()
    }

    /// Checks a request's `Host`, `Origin`, `Sec-Fetch-Site` and `Authorization`. Pass an empty text for a header
    /// that occurs twice or is not text.
    ///
    /// A page in a browser can make its own name resolve to this machine. `Host` and `Origin` are then
    /// that name.
    pub(super) fn check(
        &self,
        host: Option<&str>,
        origin: Option<&str>,
        fetch_site: Option<&str>,
        authorization: Option<&str>,
    ) -> Result<(), AccessError> {
        let needs_token = self.token.is_some();
        if !host.is_some_and(|host| self.hosts.include(host, needs_token)) {
            return Err(AccessError::Host);
        }
        if let Some(origin) = origin {
            let authority = origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"));
            let is_ours = authority.is_some_and(|authority| {
                let own = host.is_some_and(|host| host.eq_ignore_ascii_case(authority));
                is_loopback(host_of(authority)) || own
            });
            if !is_ours {
                return Err(AccessError::Origin);
            }
        }
        // A page can start a session at `/sse` with an image, for which a browser sends no `Origin`.
        if origin.is_none() && fetch_site == Some("cross-site") {
            return Err(AccessError::Origin);
        }
        let Some(token) = &self.token else {
            return Ok(());
        };
        let given = authorization.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        // Comparing BLAKE3 hashes takes the same time wherever they differ.
        match given {
            Some(given) if blake3::hash(given.as_bytes()) == *token => Ok(()),
            Some(_) | None => Err(AccessError::Token),
        }
    }
}

/// Returns an authority without its port.
fn host_of(authority: &str) -> &str {
    if let Some((host, rest)) = authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        let port = rest.strip_prefix(':').unwrap_or(rest);
        let is_port =
            rest.is_empty() || (rest.starts_with(':') && port.bytes().all(|b| b.is_ascii_digit()));
        return if is_port { host } else { "" };
    }
    authority
        .rsplit_once(':')
        .map_or(authority, |(host, port)| {
            match port.bytes().all(|b| b.is_ascii_digit()) {
                true => host,
                false => authority,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<&str> = Some("127.0.0.1:8765");

    fn guard(token: Option<&str>, is_local: bool, allowed: &[&str]) -> Guard {
        let token = token.map(|token| Secret::new(token.to_owned()));
        let hosts = Hosts {
            is_local,
            allowed: allowed.iter().copied().map(str::to_owned).collect(),
        };
        Guard::new(token.as_ref(), hosts)
    }

    // `--host 0.0.0.0 --insecure-no-auth` once accepted any name, so a page could make its own name
    // resolve to us.
    #[test]
    fn beyond_loopback_without_a_token_only_addresses_and_allowed_names_are_accepted() {
        let open = guard(None, false, &["proxy.example", "build-7"]);
        for host in [
            "192.168.1.7:8765",
            "10.0.0.1",
            "[2001:db8::1]:8765",
            "127.0.0.1",
            "[::1]:80",
            "LocalHost:8765",
            "proxy.example",
            "PROXY.example.:8765",
            "build-7:1",
        ] {
            assert_eq!(open.check(Some(host), None, None, None), Ok(()), "{host}");
            let own = format!("http://{host}");
            let from_own_page = open.check(Some(host), Some(&own), None, None);
            assert_eq!(from_own_page, Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8765",
            "192.168.1.7.evil.example",
            "x.proxy.example",
            "proxy.example.evil.example",
            "localhost.evil.example",
            "0x7f000001",
            "127.1",
            "1.2.3.4:x",
            "[::1].evil.example",
            "",
            " ",
        ] {
            let found = open.check(Some(host), None, None, None);
            assert_eq!(found, Err(AccessError::Host), "{host}");
        }
        assert_eq!(open.check(None, None, None, None), Err(AccessError::Host));
    }

    #[test]
    fn with_a_token_any_name_will_do_unless_names_are_given() {
        let bearer = Some("Bearer s3cret");
        let any = guard(Some("s3cret"), false, &[]);
        assert_eq!(any.check(Some("proxy.example"), None, None, bearer), Ok(()));
        let named = guard(Some("s3cret"), false, &["proxy.example"]);
        let check = |host| named.check(Some(host), None, None, bearer);
        assert_eq!(check("proxy.example:8765"), Ok(()));
        assert_eq!(check("10.0.0.1:8765"), Ok(()));
        assert_eq!(check("other.example"), Err(AccessError::Host));
        let local = guard(Some("s3cret"), true, &["proxy.example"]);
        let check = |host| local.check(Some(host), None, None, bearer);
        assert_eq!(check("proxy.example"), Ok(()));
        assert_eq!(check("other.example"), Err(AccessError::Host));
    }

    #[test]
    fn a_page_that_makes_its_name_resolve_to_us_is_refused() {
        let guard = guard(None, true, &[]);
        for host in [
            "127.0.0.1:1",
            "localhost",
            "LocalHost:8765",
            "[::1]:8765",
            "127.0.0.2",
        ] {
            assert_eq!(guard.check(Some(host), None, None, None), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8765",
            "127.0.0.1.evil.example",
            "evil.example:127.0.0.1",
            "[::1].evil.example",
            "192.168.1.7",
            "",
        ] {
            assert_eq!(
                guard.check(Some(host), None, None, None),
                Err(AccessError::Host),
                "{host}"
            );
        }
        assert_eq!(guard.check(None, None, None, None), Err(AccessError::Host));
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let guard = guard(None, true, &[]);
        for origin in [
            "http://localhost:3000",
            "http://127.0.0.1",
            "https://[::1]:1",
        ] {
            assert_eq!(
                guard.check(HERE, Some(origin), None, None),
                Ok(()),
                "{origin}"
            );
        }
        for origin in [
            "http://evil.example",
            "https://localhost.evil.example",
            "null",
            "",
            "file://",
            "http://localhost@evil.example",
            "vscode-webview://x",
        ] {
            let found = guard.check(HERE, Some(origin), None, None);
            assert_eq!(found, Err(AccessError::Origin), "{origin}");
        }
        let check = |origin, site| guard.check(HERE, origin, Some(site), None);
        assert_eq!(check(None, "cross-site"), Err(AccessError::Origin));
        assert_eq!(check(Some("http://localhost:3000"), "cross-site"), Ok(()));
        assert_eq!(check(None, "none"), Ok(()));
        let open = self::guard(None, false, &["proxy.example"]);
        let host = Some("proxy.example:80");
        assert_eq!(
            open.check(host, Some("http://proxy.example:80"), None, None),
            Ok(())
        );
        assert_eq!(
            open.check(host, Some("http://evil.example"), None, None),
            Err(AccessError::Origin)
        );
    }

    #[test]
    fn only_the_exact_token_is_accepted() {
        let guard = guard(Some("s3cret"), false, &[]);
        let check = |value: Option<&str>| guard.check(Some("x"), None, None, value);
        assert_eq!(check(Some("Bearer s3cret")), Ok(()));
        assert_eq!(check(Some("bearer  s3cret")), Ok(()));
        for value in [
            "s3cret",
            "Bearer S3cret",
            "Bearer",
            "Basic s3cret",
            "Bearer s3cret x",
            "",
        ] {
            assert_eq!(check(Some(value)), Err(AccessError::Token), "{value}");
        }
        assert_eq!(check(None), Err(AccessError::Token));
    }
}
