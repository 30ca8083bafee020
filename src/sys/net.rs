//! Recognizes the network addresses of this machine, and those of the public Internet.
//!
//! It resolves no names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// Returns true if any machine on the Internet can be reached under this address, and only there: it is not of this
/// machine, a private network, a link, a group, a document, or a range without hosts. In doubt returns false.
///
/// An IPv6 address that leads to an IPv4 address counts as that: mapped (RFC 4291, section 2.5.5.2), NAT64 (RFC 6052),
/// or 6to4 (RFC 3056). The ranges are those that IANA's registries of special-purpose addresses call not globally
/// reachable (<https://www.iana.org/assignments/iana-ipv4-special-registry>,
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>).
#[must_use]
pub fn is_public_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => match embedded_v4(v6) {
            Some(v4) => is_public_v4(v4),
            None => is_public_v6(v6),
        },
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    !matches!(
        v4.octets(),
        // "This network", private networks, and this machine.
        [0 | 10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..]
        // Carrier-grade NAT, and links, with the metadata services of clouds.
        | [100, 64..=127, ..] | [169, 254, ..]
        // Protocol assignments, and the relays of 6to4, which are gone.
        | [192, 0, 0, _] | [192, 88, 99, _]
        // Documents and benchmarks.
        | [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18 | 19, ..]
        // Groups, and what is reserved, with the broadcast address.
        | [224..=255, ..]
    )
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, ..] = v6.segments();
    // Only this eighth of the space is global unicast (RFC 4291, section 2.4).
    let is_global_unicast = a & 0xe000 == 0x2000;
    // Protocol assignments, with Teredo, which hides the address that it leads to.
    let is_assigned_to_protocols = a == 0x2001 && b < 0x0200;
    let is_documentation = (a == 0x2001 && b == 0x0db8) || (a == 0x3fff && b < 0x1000);
    is_global_unicast && !is_assigned_to_protocols && !is_documentation
}

/// Returns the IPv4 address that an IPv6 address leads to. Local NAT64 (`64:ff9b:1::/48`) is not read: its networks
/// choose where the address stands.
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, g, h] | [0x64, 0xff9b, 0, 0, 0, 0, g, h] => Some(v4(g, h)),
        [0x2002, b, c, ..] => Some(v4(b, c)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_whole_internet_are_public() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450::1",
            "3ffe:ffff::1",
            "3fff:1000::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert!(is_public_address(address.parse().unwrap()), "{address}");
        }
        for address in [
            // This machine, and no machine.
            "127.0.0.1",
            "127.255.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "::1",
            "::",
            // Private networks, carrier-grade NAT, unique-local and site-local addresses.
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.0",
            "100.127.255.255",
            "fc00::1",
            "fdff:ffff::1",
            "fec0::1",
            // Links.
            "169.254.169.254",
            "fe80::1",
            "febf::1",
            // Groups and broadcast.
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "ff02::1",
            // Documents and benchmarks.
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.18.0.1",
            "198.19.255.255",
            "2001:db8::1",
            "3fff::1",
            "3fff:fff::1",
            "2001:2::1",
            // Protocols, and what is reserved.
            "192.0.0.1",
            "192.88.99.1",
            "240.0.0.1",
            "100::1",
            "2001::1",
            "2001:1ff::1",
            "4000::1",
            "5f00::1",
            // IPv4 addresses in other forms.
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:8.8.8.8",
            "::8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::192.168.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:0:1::8.8.8.8",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2002:a9fe:a9fe::1",
            "2002:c0a8:1::1",
        ] {
            assert!(!is_public_address(address.parse().unwrap()), "{address}");
        }
    }

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
