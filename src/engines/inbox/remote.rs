//! Where the inbox's page is reached from other devices: its URL, its address, and what protects the way there.
//!
//! Plain data. `config` reads and checks it; `page_server` serves the page there.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use reqwest::Url;

use crate::sys::net::is_loopback;

/// The URL under which people reach the page: an origin, without a path.
///
/// `https:`, or `http:` on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageUrl {
    origin: String,
    authority: String,
}

impl PageUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// Says what is wrong with it, as the rest of a sentence about it.
    pub fn read(text: &str) -> Result<PageUrl, &'static str> {
        let url = Url::parse(text).map_err(|_| "is not a URL such as `https://phone.example`")?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err("must begin with `https://`");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("contains a user name or a password; people pair a device instead");
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(
                "has a path; the page needs a host name of its own, such as `https://phone.example`",
            );
        }
        // An `https:` URL has a host.
        let host = url.host_str().unwrap_or_default();
        if url.scheme() == "http" && !is_loopback(host) {
            return Err(
                "is plain http:, which is for this machine only; use https:, with `tlsCert` and `tlsKey`, or with `behindProxy`",
            );
        }
        let port = url.port().map(|port| format!(":{port}"));
        let authority = format!("{host}{}", port.unwrap_or_default());
        Ok(PageUrl {
            origin: format!("{}://{authority}", url.scheme()),
            authority,
        })
    }

    /// Returns scheme, host and port, as browsers write them in `Origin`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns host and port, as browsers write them in `Host`: without the scheme's own port.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the address that paths are appended to. It ends with `/`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}/", self.origin)
    }

    /// Returns the URL of an item's page. Opening it requires a login, and decides nothing.
    #[must_use]
    pub fn of_item(&self, item: &str) -> String {
        format!("{}/item/{item}", self.origin)
    }

    /// Returns true if it is plain `http:`, so on this machine.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.origin.starts_with("http:")
    }
}

/// The page for paired devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemotePage {
    /// Its URL: `https:`.
    pub url: PageUrl,
    /// Where it listens.
    pub listen: SocketAddr,
    /// What protects the way from the device to it.
    pub protection: Protection,
    /// Whether it sends Web Push notifications.
    pub web_push: bool,
}

/// What protects the way from a device to the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// The page speaks TLS itself.
    Tls {
        /// The certificate and those that vouch for it, as PEM.
        cert: PathBuf,
        /// Its private key, as PEM.
        key: PathBuf,
    },
    /// A reverse proxy speaks TLS. Only these may connect, with plain HTTP.
    BehindProxy(Vec<Network>),
}

/// The addresses that share a prefix, such as `172.18.0.0/16`; a single address without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// The number of leading bits that count.
    prefix: u32,
}

impl Network {
    /// Reads `ADDRESS` or `ADDRESS/PREFIX`. Returns `None` for anything else, also if bits behind the prefix are set.
    #[must_use]
    pub fn read(text: &str) -> Option<Network> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().ok()?;
        // Arrivals are compared as IPv4 addresses, so what is written in this form must be too.
        let address = written.to_canonical();
        let (width, mapped) = (width(address), width(written) - width(address));
        let prefix = match prefix {
            None => width,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let prefix = digits.parse::<u32>().ok()?.checked_sub(mapped)?;
                Some(prefix).filter(|prefix| *prefix <= width)?
            }
            Some(_) => return None,
        };
        let network = Network { address, prefix };
        (bits(address) & !network.mask() == 0).then_some(network)
    }

    /// Returns true if this address is one of them. An IPv4 address mapped to IPv6 counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        width(address) == width(self.address)
            && (bits(address) ^ bits(self.address)) & self.mask() == 0
    }

    /// The bits that count.
    fn mask(&self) -> u128 {
        let rest = width(self.address) - self.prefix;
        u128::MAX.checked_shl(rest).unwrap_or_default()
    }
}

fn width(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_page_url() {
        for (text, origin, authority) in [
            (
                "https://phone.example",
                "https://phone.example",
                "phone.example",
            ),
            (
                "https://Phone.Example:443/",
                "https://phone.example",
                "phone.example",
            ),
            (
                "https://phone.example:8443",
                "https://phone.example:8443",
                "phone.example:8443",
            ),
            (
                "https://[fd00::1]:8443",
                "https://[fd00::1]:8443",
                "[fd00::1]:8443",
            ),
            (
                "http://127.0.0.1:8766",
                "http://127.0.0.1:8766",
                "127.0.0.1:8766",
            ),
            (
                "http://localhost:8766/",
                "http://localhost:8766",
                "localhost:8766",
            ),
        ] {
            let url = PageUrl::read(text).unwrap();
            assert_eq!(
                (url.origin(), url.authority()),
                (origin, authority),
                "{text}"
            );
            assert_eq!(url.address(), format!("{origin}/"));
        }
    }

    #[test]
    fn what_is_not_an_origin_or_not_protected_is_refused() {
        for text in [
            "",
            "phone.example",
            "ftp://phone.example",
            "javascript:alert(1)",
            "https://",
            "https://user@phone.example",
            "https://:secret@phone.example",
            "https://phone.example/approvals",
            "https://phone.example/?a=1",
            "https://phone.example/#pair",
            "http://phone.example",
            "http://192.168.1.10:8766",
            "http://127.0.0.1.evil.example",
        ] {
            assert!(PageUrl::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_has_its_addresses_and_no_other() {
        for (network, inside, outside) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("172.18.0.0/16", "172.18.255.255", "172.19.0.0"),
            ("::ffff:127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("::ffff:172.18.0.0/112", "172.18.255.255", "172.19.0.0"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1", "::1", "::2"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            let read = Network::read(network).unwrap();
            assert!(read.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(
                !read.contains(outside.parse().unwrap()),
                "{network} {outside}"
            );
        }
        for text in [
            "",
            "localhost",
            "10.0.0.1/33",
            "10.0.0.1/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
            "::ffff:0.0.0.0/95",
            "1.2.3.4:80",
        ] {
            assert_eq!(Network::read(text), None, "{text}");
        }
    }
}
