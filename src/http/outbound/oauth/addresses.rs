//! Restricts the addresses that a login may connect to. A remote server must not use us to reach what it
//! cannot reach itself: listeners on this machine, and hosts in a private network.
//!
//! Checks a name by the addresses that it resolves to. The rules are those of rmcp's own client, for which
//! we could not set a `User-Agent`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::sys::net::is_loopback_address;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

/// The kind of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Public,
    Loopback,
    Private,
    /// Never allowed: link-local addresses, such as that of cloud metadata, and addresses that no server
    /// has.
    Never,
}

/// The addresses that a login of one server may connect to.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    /// The server's own address, if its URL has one.
    own: Option<IpAddr>,
    class: Option<Class>,
    /// The hosts of the proxies from the environment. Proxies resolve names themselves.
    proxies: Arc<[String]>,
}

impl Addresses {
    /// Creates the rules for the server at `url`, with the proxies from the environment.
    pub(super) fn new(url: &Url, proxies: impl IntoIterator<Item = String>) -> Addresses {
        let own = literal(url);
        let is_local = url.domain().is_some_and(super::flow::is_here);
        let class = match own {
            Some(address) => Some(class(address)),
            None => is_local.then_some(Class::Loopback),
        };
        let host = |proxy: String| {
            let proxy = match proxy.contains("://") {
                true => proxy,
                false => format!("http://{proxy}"),
            };
            Url::parse(&proxy).ok()?.host_str().map(normal)
        };
        Addresses {
            own,
            class,
            proxies: proxies.into_iter().filter_map(host).collect(),
        }
    }

    /// Returns true if we may connect to this URL. Checks only addresses: a name is checked when it is
    /// resolved.
    pub(super) fn allow(&self, url: &Url) -> bool {
        literal(url).is_none_or(|address| self.own == Some(address) || self.allow_address(address))
    }

    fn allow_address(&self, address: IpAddr) -> bool {
        match class(address) {
            Class::Public => true,
            class @ (Class::Loopback | Class::Private) => self.class == Some(class),
            Class::Never => false,
        }
    }
}

impl Resolve for Addresses {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.collect();
            let is_proxy = this.proxies.contains(&normal(name.as_str()));
            let may = |address: &SocketAddr| is_proxy || this.allow_address(address.ip());
            let allowed: Vec<SocketAddr> = found.into_iter().filter(may).collect();
            if allowed.is_empty() {
                let why = "its name resolves to an address that only this machine or its network can reach";
                return Err(io::Error::other(why).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn normal(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.trim_end_matches('.').to_ascii_lowercase()
}

fn literal(url: &Url) -> Option<IpAddr> {
    normal(url.host_str()?).parse().ok()
}

fn class(address: IpAddr) -> Class {
    let address = match address {
        IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    match address {
        IpAddr::V4(v4) => class_of_v4(v4),
        IpAddr::V6(v6) => class_of_v6(v6),
    }
}

fn class_of_v4(v4: Ipv4Addr) -> Class {
    let [a, b, ..] = v4.octets();
    let is_shared = a == 100 && (64..=127).contains(&b);
    let is_for_tests = a == 198 && matches!(b, 18 | 19);
    if is_loopback_address(v4.into()) {
        Class::Loopback
    } else if v4.is_private() || is_shared {
        Class::Private
    } else if v4.is_link_local() || v4.is_broadcast() || v4.is_multicast() || a == 0 || is_for_tests
    {
        Class::Never
    } else {
        Class::Public
    }
}

fn class_of_v6(v6: Ipv6Addr) -> Class {
    let segments = v6.segments();
    let [a, b, c, ..] = segments;
    // Teredo and local NAT64 hide the address that they lead to.
    let is_tunnel = (a == 0x2001 && b == 0) || (a == 0x64 && b == 0xff9b && c == 1);
    if is_loopback_address(v6.into()) {
        Class::Loopback
    } else if v6.is_unique_local() {
        Class::Private
    } else if v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local() || is_tunnel {
        Class::Never
    } else {
        Class::Public
    }
}

/// Returns the IPv4 address in an IPv6 one that is mapped, compatible, NAT64 or 6to4.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => Some(v4(g, h)),
        [0, 0, 0, 0, 0, 0] if !v6.is_loopback() && !v6.is_unspecified() => Some(v4(g, h)),
        [0x2002, ..] => Some(v4(b, c)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(server: &str, address: &str) -> bool {
        let addresses = Addresses::new(&Url::parse(server).unwrap(), []);
        let host = match address.contains(':') {
            true => format!("[{address}]"),
            false => address.to_owned(),
        };
        let by_url = addresses.allow(&Url::parse(&format!("https://{host}/x")).unwrap());
        let is_own = addresses.own == Some(address.parse().unwrap());
        assert_eq!(
            by_url,
            is_own || addresses.allow_address(address.parse().unwrap())
        );
        by_url
    }

    #[test]
    fn the_login_of_a_remote_server_may_reach_only_public_addresses() {
        let server = "https://mcp.example/mcp";
        for address in [
            "203.0.113.1",
            "8.8.8.8",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
        ] {
            assert!(allowed(server, address), "{address}");
        }
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "2001::1",
            "64:ff9b:1::1",
        ] {
            assert!(!allowed(server, address), "{address}");
        }
    }

    #[test]
    fn the_login_of_a_local_or_private_server_may_reach_addresses_of_the_same_kind() {
        for server in ["http://127.0.0.1:1/", "http://localhost/", "http://[::1]/"] {
            assert!(
                allowed(server, "127.0.0.1") && allowed(server, "::1"),
                "{server}"
            );
            assert!(!allowed(server, "10.0.0.1"), "{server}");
            assert!(!allowed(server, "169.254.169.254"), "{server}");
        }
        assert!(allowed("https://10.0.0.1/", "192.168.0.1"));
        assert!(!allowed("https://10.0.0.1/", "127.0.0.1"));
        // A link-local server may reach only its own address.
        assert!(allowed("https://169.254.0.7/", "169.254.0.7"));
        assert!(!allowed("https://169.254.0.7/", "169.254.169.254"));
    }

    #[tokio::test]
    async fn a_name_of_this_machine_does_not_resolve_for_a_remote_server() {
        let addresses = |url: &str, proxies: &[&str]| {
            let proxies = proxies.iter().map(|proxy| (*proxy).to_owned());
            Addresses::new(&Url::parse(url).unwrap(), proxies)
        };
        let resolve = async |addresses: Addresses| {
            addresses
                .resolve("localhost".parse().unwrap())
                .await
                .map(Iterator::count)
        };
        assert!(resolve(addresses("https://a.example/", &[])).await.is_err());
        assert!(resolve(addresses("http://localhost/", &[])).await.unwrap() > 0);
        // The operator has chosen the proxy.
        let behind_proxy = addresses("https://a.example/", &["http://LOCALHOST:3128"]);
        assert!(resolve(behind_proxy).await.unwrap() > 0);
    }
}
