//! What is this machine, on the network.

use std::net::IpAddr;

/// Whether a host is this machine: `localhost` in any case, or a loopback address.
///
/// `host` has no port. An IPv6 address may stand in brackets, as URLs and `Host` headers write it.
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

/// The same of an address; an IPv4 address that is written as an IPv6 one is itself.
#[must_use]
pub fn is_loopback_address(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_name_and_by_every_loopback_address() {
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
