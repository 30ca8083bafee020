//! `inbox`: where people reach the inbox's page, other than on this machine.
//!
//! Its keys are checked together here; the files that they name are read when the page is served.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::error::{Fault, Problem};
use super::json::Node;
use super::nearest::nearest;
use super::value::{Input, Value, wrong_text, wrong_type};
use crate::engines::inbox::remote::{Network, PageUrl, Protection, RemotePage};

/// What `inbox` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InboxPage {
    /// `pageUrl`: what links to the page say.
    pub(super) url: Option<PageUrl>,
    /// The page for paired devices.
    pub(super) remote: Option<RemotePage>,
}

const KEYS: [&str; 6] = [
    "pageUrl",
    "listen",
    "tlsCert",
    "tlsKey",
    "behindProxy",
    "webPush",
];

/// The keys as they are written.
#[derive(Default)]
struct Keys {
    url: Option<PageUrl>,
    listen: Option<SocketAddr>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    behind: Option<Vec<Network>>,
    web_push: bool,
}

impl Value for InboxPage {
    fn expected() -> String {
        "an object with `pageUrl`".to_owned()
    }

    fn schema() -> Json {
        let text = json!({"type": "string", "minLength": 1});
        let addresses =
            json!({"type": "array", "items": text, "minItems": 1, "maxItems": MOST_PROXIES});
        json!({
            "type": "object",
            "properties": {
                "pageUrl": {"type": "string", "pattern": r"^(https://|http://(localhost|127\.|\[::1\]))"},
                "listen": {"type": "string", "pattern": ":[0-9]+$"},
                "tlsCert": text,
                "tlsKey": text,
                "behindProxy": addresses,
                "webPush": {"type": "boolean"},
            },
            "required": ["pageUrl"],
            "dependentRequired": {
                "listen": ["pageUrl"],
                "tlsCert": ["listen", "tlsKey"],
                "tlsKey": ["listen", "tlsCert"],
                "behindProxy": ["listen"],
            },
            "additionalProperties": false,
        })
    }

    fn from_node(node: &Node) -> Result<InboxPage, Fault> {
        let Node::Object(object) = node else {
            return Err(wrong_type::<InboxPage>(node));
        };
        let mut keys = Keys::default();
        for (key, node) in object.strict_members()? {
            let value = Input::Node(node);
            let read = match key {
                "pageUrl" => value.set(&mut keys.url),
                "listen" => value.set(&mut keys.listen),
                "tlsCert" => value.set(&mut keys.cert),
                "tlsKey" => value.set(&mut keys.key),
                "behindProxy" => value.set(&mut keys.behind),
                "webPush" => value.read().map(|is_on| keys.web_push = is_on),
                _ => {
                    let nearest = nearest(key, KEYS).unwrap_or_default();
                    Err(Fault::from(Problem::UnknownKey { nearest }))
                }
            };
            read.map_err(|fault| fault.under(key))?;
        }
        keys.checked()
    }

    fn from_text(text: &str) -> Result<InboxPage, Fault> {
        let node = serde_json::from_str(text);
        let node = node.map_err(|error| Problem::NotJson(error.to_string()))?;
        InboxPage::from_node(&node)
    }
}

impl Keys {
    /// Checks that the keys make a page that can be reached safely, or none.
    fn checked(self) -> Result<InboxPage, Fault> {
        let bad = |key: &str, why| Err(Fault::from(Problem::Page(why)).under(key));
        let Some(url) = self.url else {
            return bad("pageUrl", "is missing: links to the page need it");
        };
        if self.cert.is_some() != self.key.is_some() {
            return match self.cert {
                Some(_) => bad("tlsKey", "is missing: TLS needs the key of `tlsCert`"),
                None => bad(
                    "tlsCert",
                    "is missing: TLS needs the certificate of `tlsKey`",
                ),
            };
        }
        let tls = self.cert.zip(self.key);
        let Some(listen) = self.listen else {
            if tls.is_some() || self.behind.is_some() || self.web_push {
                return bad(
                    "listen",
                    "is missing: say where the page listens, such as `0.0.0.0:8443`",
                );
            }
            if !url.is_plain() {
                return bad(
                    "pageUrl",
                    "leads nowhere: add `listen`, with `tlsCert` and `tlsKey`, or with `behindProxy`",
                );
            }
            return Ok(InboxPage {
                url: Some(url),
                remote: None,
            });
        };
        let protection = match (tls, self.behind) {
            (Some((cert, key)), None) => Protection::Tls { cert, key },
            (None, Some(proxies)) => match proxies.len() {
                0 => return bad("behindProxy", "is empty: name at least one address"),
                // INVARIANT 9: anybody could talk to the page over plain HTTP.
                _ if proxies.iter().any(Network::is_everywhere) => {
                    return bad(
                        "behindProxy",
                        "has a network of all addresses; name those of the reverse proxy, such as `172.18.0.0/16`",
                    );
                }
                1..=MOST_PROXIES => Protection::BehindProxy(proxies),
                _ => {
                    return bad(
                        "behindProxy",
                        "has more than 64 entries; name a network, such as `172.18.0.0/16`",
                    );
                }
            },
            (Some(_), Some(_)) => {
                return bad(
                    "behindProxy",
                    "is set beside `tlsCert`; keep `tlsCert` if the page itself speaks TLS, or this if a reverse proxy does",
                );
            }
            (None, None) => {
                return bad(
                    "listen",
                    "would serve the page over plain HTTP; add `tlsCert` and `tlsKey`, or `behindProxy` with the addresses of a reverse proxy that speaks TLS",
                );
            }
        };
        if url.is_plain() {
            return bad(
                "pageUrl",
                "is plain http:; with `listen` it must be `https:`",
            );
        }
        let remote = RemotePage {
            url: url.clone(),
            listen,
            protection,
            web_push: self.web_push,
        };
        Ok(InboxPage {
            url: Some(url),
            remote: Some(remote),
        })
    }
}

impl Value for PageUrl {
    fn expected() -> String {
        "a URL such as `https://phone.example`".to_owned()
    }

    fn from_text(text: &str) -> Result<PageUrl, Fault> {
        PageUrl::read(text).map_err(|why| Fault::from(Problem::Page(why)))
    }
}

impl Value for SocketAddr {
    fn expected() -> String {
        "an IP address and a port from 1, such as `0.0.0.0:8443`".to_owned()
    }

    fn from_text(text: &str) -> Result<SocketAddr, Fault> {
        let address: Option<SocketAddr> = text.parse().ok();
        address
            .filter(|address| address.port() > 0)
            .ok_or_else(|| wrong_text::<SocketAddr>(text))
    }
}

/// The most entries of `behindProxy`. Each new connection is compared with all of them.
const MOST_PROXIES: usize = 64;

impl Value for Network {
    fn expected() -> String {
        "an IP address, such as `127.0.0.1`, or several, such as `172.18.0.0/16`".to_owned()
    }

    fn from_text(text: &str) -> Result<Network, Fault> {
        Network::read(text).ok_or_else(|| wrong_text::<Network>(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<InboxPage, String> {
        InboxPage::from_text(text).map_err(|fault| fault.to_string())
    }

    #[test]
    fn the_page_is_served_with_tls_or_behind_a_reverse_proxy() {
        let tls = r#"{"pageUrl":"https://phone.example:8443","listen":"0.0.0.0:8443","tlsCert":"c.pem","tlsKey":"k.pem","webPush":true}"#;
        let page = read(tls).unwrap().remote.unwrap();
        assert_eq!(page.listen, "0.0.0.0:8443".parse().unwrap());
        assert_eq!(page.url.authority(), "phone.example:8443");
        assert!(page.web_push);
        let (cert, key) = ("c.pem".into(), "k.pem".into());
        assert_eq!(page.protection, Protection::Tls { cert, key });

        let behind = r#"{"pageUrl":"https://phone.example","listen":"127.0.0.1:8767","behindProxy":["127.0.0.1","172.18.0.0/16"]}"#;
        let page = read(behind).unwrap().remote.unwrap();
        let networks = ["127.0.0.1", "172.18.0.0/16"].map(|text| Network::read(text).unwrap());
        assert_eq!(page.protection, Protection::BehindProxy(networks.to_vec()));
        assert!(!page.web_push);
    }

    #[test]
    fn links_may_lead_to_the_page_on_this_machine() {
        let page = read(r#"{"pageUrl":"http://127.0.0.1:8766"}"#).unwrap();
        assert_eq!(page.url.unwrap().address(), "http://127.0.0.1:8766/");
        assert_eq!(page.remote, None);
    }

    #[test]
    fn each_combination_that_would_be_unsafe_or_useless_says_what_to_add() {
        let url = r#""pageUrl":"https://phone.example""#;
        let listen = r#""listen":"0.0.0.0:8443""#;
        let (cert, key) = (r#""tlsCert":"c.pem""#, r#""tlsKey":"k.pem""#);
        let behind = r#""behindProxy":["127.0.0.1"]"#;
        for (members, place, hint) in [
            (vec![], "/pageUrl", "missing"),
            (vec![listen, cert, key], "/pageUrl", "missing"),
            (vec![url], "/pageUrl", "`listen`"),
            (vec![url, cert, key], "/listen", "missing"),
            (vec![url, r#""webPush":true"#], "/listen", "missing"),
            (vec![url, listen], "/listen", "plain HTTP"),
            (vec![url, listen, cert], "/tlsKey", "`tlsCert`"),
            (vec![url, listen, key], "/tlsCert", "`tlsKey`"),
            (
                vec![url, listen, cert, key, behind],
                "/behindProxy",
                "`tlsCert`",
            ),
            (
                vec![r#""pageUrl":"http://phone.example""#, listen],
                "/pageUrl",
                "plain http:",
            ),
            (
                vec![r#""pageUrl":"http://127.0.0.1:8443""#, listen, cert, key],
                "/pageUrl",
                "`https:`",
            ),
            (
                vec![url, listen, r#""behindProxy":[]"#],
                "/behindProxy",
                "at least one",
            ),
            (
                vec![url, listen, r#""behindProxy":["127.0.0.1","0.0.0.0/0"]"#],
                "/behindProxy",
                "all addresses",
            ),
            (
                vec![url, listen, r#""behindProxy":["::/0"]"#],
                "/behindProxy",
                "all addresses",
            ),
            (
                vec![url, listen, r#""behindProxy":["proxy.example"]"#],
                "/behindProxy/0",
                "IP address",
            ),
            (
                vec![url, r#""listen":"8443""#, cert, key],
                "/listen",
                "port",
            ),
            (
                vec![url, r#""listen":"0.0.0.0:0""#, cert, key],
                "/listen",
                "from 1",
            ),
            (
                vec![url, r#""Listen":"0.0.0.0:8443""#],
                "/Listen",
                "`listen`",
            ),
        ] {
            let text = format!("{{{}}}", members.join(","));
            let error = read(&text).unwrap_err();
            assert!(error.starts_with(&format!("{place}: ")), "{text}: {error}");
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
