//! The option `smtp`: which server takes the mails, how the way to it is protected, and the login.
//!
//! Reads a URL; `connection` talks to the server.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use rustls::pki_types::ServerName;

use crate::engines::http::{Scrub, TransportSettings, check_host};
use crate::engines::registry::BadOptions;
use crate::sys::net::is_loopback;
use crate::sys::secret::Secret;

/// The longest user name and the longest password, in bytes.
const MAX_CREDENTIAL: usize = 512;
/// The ports of RFC 8314 section 3.3, RFC 6409 section 3.1 and RFC 5321 section 4.5.4.2.
const TLS_PORT: u16 = 465;
const SUBMISSION_PORT: u16 = 587;
const PLAIN_PORT: u16 = 25;

/// A server that takes mails.
#[derive(Clone)]
pub(super) struct Server {
    /// A name, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) login: Option<Login>,
}

/// What protects the way to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Security {
    /// TLS from the first byte.
    Tls(ServerName<'static>),
    /// TLS before anything is said about mails, or nothing is said at all.
    StartTls(ServerName<'static>),
    /// Nothing: the server is on this machine.
    Loopback,
}

/// The account that sends.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Secret,
}

impl Server {
    /// Reads the URL. Adds its secrets to `scrub`.
    ///
    /// # Errors
    /// Says what is wrong, and quotes at most the host.
    pub(super) fn read(
        text: &str,
        transport: &TransportSettings,
        scrub: &mut Scrub,
    ) -> Result<Server, BadOptions> {
        let bad = |why: &str| BadOptions(format!("`smtp` {why}"));
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "smtps" => true,
            "smtp" => false,
            _ => return Err(bad("must begin with `smtps://` or `smtp://`")),
        };
        // The last one: a user's name often is an address, and a password may have any character.
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials), rest),
            None => (None, rest),
        };
        let no_url = || bad("is not a URL such as `smtps://user:${PASSWORD}@mail.example`");
        // As a URL for mail, because this one keeps every port; as one of the web, because that has names in ASCII.
        let url = Url::parse(&format!("smtp://{rest}")).map_err(|_| no_url())?;
        let web = Url::parse(&format!("https://{rest}")).map_err(|_| no_url())?;
        let host = web.host_str().ok_or_else(no_url)?;
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(bad("has something behind the host that it cannot have"));
        }
        let starts_tls = starts_tls(&url, is_tls)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let bare = bare.unwrap_or(host).to_owned();
        let name = || ServerName::try_from(bare.clone()).map_err(|_| no_url());
        let (security, port) = match (is_tls, starts_tls) {
            (true, _) => (Security::Tls(name()?), TLS_PORT),
            (false, true) => (Security::StartTls(name()?), SUBMISSION_PORT),
            (false, false) if is_loopback(host) => (Security::Loopback, PLAIN_PORT),
            (false, false) => {
                return Err(BadOptions(format!(
                    "`smtp` has no TLS to `{bare}`, which is not a loopback address; write `smtps://…`, or \
                     `smtp://…?starttls=required`"
                )));
            }
        };
        check_host("smtp", host, transport)?;
        Ok(Server {
            security,
            port: url.port().unwrap_or(port),
            login: credentials
                .map(|credentials| Login::read(credentials, scrub))
                .transpose()?,
            host: bare,
        })
    }

    /// Returns how texts refer to the server.
    pub(super) fn peer(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Reads what is behind the question mark.
fn starts_tls(url: &Url, is_tls: bool) -> Result<bool, BadOptions> {
    let mut options = url.query_pairs();
    match (options.next(), options.next()) {
        (None, _) => Ok(false),
        (Some((key, value)), None) if key == "starttls" && value == "required" && !is_tls => {
            Ok(true)
        }
        _ => Err(BadOptions(
            "`smtp` may have nothing behind its `?` but `starttls=required`, and that only with `smtp://`"
                .to_owned(),
        )),
    }
}

impl Login {
    fn read(credentials: &str, scrub: &mut Scrub) -> Result<Login, BadOptions> {
        let bad = |why: &str| BadOptions(format!("`smtp` {why}"));
        let (user, password) = credentials
            .split_once(':')
            .ok_or_else(|| bad("has a user name and no password: `smtps://user:${PASSWORD}@…`"))?;
        scrub.add(password);
        let decoded = [user, password].map(decoded);
        let [Some(user), Some(password)] = decoded else {
            return Err(bad(
                "has a user name or a password that is not UTF-8 once `%` and two digits are decoded",
            ));
        };
        for text in [&user, &password] {
            if text.is_empty() || text.len() > MAX_CREDENTIAL || text.contains('\0') {
                return Err(BadOptions(format!(
                    "`smtp` must have a user name and a password of 1 to {MAX_CREDENTIAL} bytes, without NUL"
                )));
            }
        }
        scrub.add(&password);
        let login = Login {
            user,
            password: Secret::new(password),
        };
        // Servers may repeat what they do not understand.
        scrub.add(&login.plain());
        scrub.add(&STANDARD.encode(login.password.expose()));
        Ok(login)
    }

    /// Returns the response of the mechanism PLAIN, in base64 (RFC 4616 section 2).
    pub(super) fn plain(&self) -> String {
        STANDARD.encode(format!("\0{}\0{}", self.user, self.password.expose()))
    }

    /// Returns the two responses of the mechanism LOGIN.
    pub(super) fn login(&self) -> [String; 2] {
        [self.user.as_str(), self.password.expose()].map(|text| STANDARD.encode(text))
    }
}

/// Decodes `%XX`. Any other `%` stands for itself, because a variable's value may have it.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = match (first, after) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match digits {
            Some((high, low)) => {
                bytes.push(high * 16 + low);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("peer", &self.peer())
            .field("security", &self.security)
            .field("has_login", &self.login.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Server, String> {
        let transport = TransportSettings::default();
        Server::read(text, &transport, &mut Scrub::default()).map_err(|bad| bad.0)
    }

    fn login(text: &str) -> (String, String) {
        let login = read(text).unwrap().login.unwrap();
        (login.user, login.password.expose().to_owned())
    }

    #[test]
    fn a_url_says_server_port_and_protection() {
        for (url, peer, security) in [
            ("smtps://mail.example", "mail.example:465", "tls"),
            ("SMTPS://Mail.Example:443/", "mail.example:443", "tls"),
            (
                "smtp://mail.example?starttls=required",
                "mail.example:587",
                "starttls",
            ),
            (
                "smtp://bücher.example:25?starttls=required",
                "xn--bcher-kva.example:25",
                "starttls",
            ),
            ("smtps://[2001:db8::1]:465", "[2001:db8::1]:465", "tls"),
            ("smtp://127.0.0.1:2525", "127.0.0.1:2525", "loopback"),
            ("smtp://localhost", "localhost:25", "loopback"),
            ("smtp://[::1]:80", "[::1]:80", "loopback"),
        ] {
            let server = read(url).unwrap();
            let found = match server.security {
                Security::Tls(_) => "tls",
                Security::StartTls(_) => "starttls",
                Security::Loopback => "loopback",
            };
            assert_eq!((server.peer().as_str(), found), (peer, security), "{url}");
        }
    }

    #[test]
    fn there_is_no_way_beyond_this_machine_without_tls() {
        for url in [
            "smtp://mail.example",
            "smtp://mail.example:587",
            "smtp://user:hunter2-XK@10.0.0.7",
            "smtp://localhost.evil.example",
            "smtp://user:hunter2-XK@127.0.0.1@mail.example",
        ] {
            let why = read(url).unwrap_err();
            assert!(
                why.contains("no TLS") && !why.contains("hunter2"),
                "{url}: {why}"
            );
        }
        for url in [
            "smtp://mail.example?starttls=optional",
            "smtp://mail.example?starttls=required&x=1",
            "smtps://mail.example?starttls=required",
            "smtp://mail.example?tls=required",
        ] {
            assert!(
                read(url).unwrap_err().contains("starttls=required"),
                "{url}"
            );
        }
    }

    #[test]
    fn credentials_are_decoded_and_may_have_any_character() {
        for (url, user, password) in [
            ("smtps://bot:pw@m.example", "bot", "pw"),
            (
                "smtps://olga@m.example:p@s:s/w?r#d@m.example",
                "olga@m.example",
                "p@s:s/w?r#d",
            ),
            (
                "smtps://olga%40m.example:p%40ss%25@m.example",
                "olga@m.example",
                "p@ss%",
            ),
            ("smtps://bot:100%sure %2@m.example", "bot", "100%sure %2"),
            ("smtps://bot:%C3%A9%e2%82%ac@m.example", "bot", "é€"),
        ] {
            assert_eq!(login(url), (user.to_owned(), password.to_owned()), "{url}");
        }
        assert!(read("smtps://m.example").unwrap().login.is_none());
    }

    #[test]
    fn wrong_urls_are_refused_without_quoting_a_secret() {
        let long = format!("smtps://bot:{}hunter2-XK@m.example", "x".repeat(512));
        for url in [
            "",
            "mail.example",
            "https://bot:hunter2-XK@m.example",
            "smtps://",
            "smtps://bot:hunter2-XK@",
            "smtps://bot:hunter2-XK",
            "smtps://hunter2-XK@m.example",
            "smtps://:hunter2-XK@m.example",
            "smtps://bot:@m.example",
            "smtps://bot:hunter2-XK%00@m.example",
            "smtps://bot:hunter2-XK%ff@m.example",
            "smtps://bot:hunter2-XK@m.example/inbox",
            "smtps://bot:hunter2-XK@m.example#x",
            "smtps://bot:hunter2-XK@m.example:99999",
            "smtps://bot:hunter2-XK@m exam ple",
            &long,
        ] {
            let why = read(url).unwrap_err();
            assert!(
                why.starts_with("`smtp` ") && !why.contains("hunter2"),
                "{url}: {why}"
            );
        }
    }

    #[test]
    fn only_allowed_hosts_are_contacted() {
        let transport = TransportSettings {
            allowed_hosts: vec!["mail.example".to_owned()],
            ..TransportSettings::default()
        };
        let read = |url| Server::read(url, &transport, &mut Scrub::default());
        assert!(read("smtps://Mail.example").is_ok());
        let why = read("smtps://other.example").unwrap_err().0;
        assert!(why.contains("approvalAllowedHosts"), "{why}");
    }

    #[test]
    fn the_password_is_hidden_in_every_form_that_is_sent() {
        let mut scrub = Scrub::default();
        let url = "smtps://bot:p%40ss-wörd@m.example";
        let server = Server::read(url, &TransportSettings::default(), &mut scrub).unwrap();
        let login = server.login.as_ref().unwrap();
        let [_, password] = login.login();
        for text in ["p%40ss-wörd", "p@ss-wörd", &login.plain(), &password] {
            assert_eq!(scrub.clean(text), "[hidden]", "{text}");
        }
        let printed = format!("{server:?} {login:?}");
        assert!(!printed.contains("ss-w"), "{printed}");
    }
}
