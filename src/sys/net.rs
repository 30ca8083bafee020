//! Recognizes the network addresses of this machine.

use std::net::IpAddr;

/// Returns true if a host is this machine: `localhost` in any case, or a loopback address.
///
/// `host` has no port. An IPv6 address may be in brackets, as in URLs and `Host` headers.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bare.unwrap_or(host).parse() {
        // Brackets are for IPv6 only.
        Ok(IpAddr::V4(_)) if bare.is_some() => false,
        Ok(address) => is_loopback_address(address),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Like [`is_loopback`], for an address. An IPv4 address mapped to IPv6 counts as the IPv4 address.
#[must_use]
pub fn is_loopback_address(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_recognized_by_name_and_by_every_loopback_address() {
        for host in [
            "localhost",
            "LocalHost",
            "127.0.0.1",
            "127.3.2.1",
            "::1",
            "[::1]",
            "::ffff:127.0.0.1",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example",
            "0.0.0.0",
            "[127.0.0.1]",
            "[localhost]",
            "[::1",
            "::1]",
            "10.0.0.1",
            "::",
            "127.0.0.1:80",
            "0127.0.0.1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
