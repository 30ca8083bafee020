//! The inbox: its page, its store, and its passphrase.

use std::path::Path;

use super::report::{Check, Finding};
use crate::config::InboxSettings;
use crate::engines::inbox::page_server::{
    PageServerError, PageState, address, free_port, page_state, remote_state,
};
use crate::engines::inbox::passphrase::PublicKey;
use crate::engines::inbox::store;
use crate::evidence::redact::Redaction;
use crate::sys::state_dir::{StateDir, suggested_command};
use crate::sys::with_causes;

/// The store, in the state folder.
const STORE: &str = "inbox.db";

/// Checks the inbox. Creates nothing.
pub(super) fn check(inbox: &InboxSettings) -> Vec<Finding> {
    let existing = inbox.state_dir.as_deref().filter(|folder| folder.is_dir());
    let Some(folder) = existing else {
        let port = free_port(inbox.port.unwrap_or(0), inbox.port);
        return vec![
            page(Ok(PageState::Free(port)), inbox),
            passphrase(Ok(None), inbox),
        ]
        .into_iter()
        .chain(remote(None, inbox))
        .collect();
    };
    match StateDir::open(folder) {
        // What is wrong with the folder is said about the folder.
        Err(_) => vec![
            unknown(Check::Inbox, "its page", folder),
            unknown(Check::Passphrase, "whether a passphrase is set", folder),
        ],
        Ok(dir) => {
            let state = page_state(&dir, inbox.port).map_err(|error| with_causes(&error));
            let mut findings = vec![page(state, inbox)];
            findings.extend(remote(Some(&dir), inbox));
            findings.extend(damage(&dir));
            let key = PublicKey::load(&dir).map_err(|error| with_causes(&error));
            let key = key.map(|key| key.map(|key| key.fingerprint().to_string()));
            findings.push(passphrase(key, inbox));
            findings
        }
    }
}

fn unknown(check: Check, what: &str, folder: &Path) -> Finding {
    let what = format!(
        "{what} cannot be checked, because `{}` cannot be used",
        folder.display()
    );
    Finding::advice(check, what, "correct the state folder first; see above")
}

fn page(state: Result<PageState, String>, inbox: &InboxSettings) -> Finding {
    match state {
        Ok(PageState::Served(port)) => {
            let what = format!("the inbox page is served at {} now", address(port));
            Finding::ok(Check::Inbox, what)
        }
        Ok(PageState::Free(Ok(port))) => {
            let what = format!(
                "no inbox page is served now; the first proxy that needs it serves it at {}",
                address(port)
            );
            Finding::ok(Check::Inbox, what)
        }
        Ok(PageState::Free(Err(error))) => {
            let what = format!("the inbox page cannot be served: {error}");
            let fix = format!(
                "allow programs to listen on 127.0.0.1, or decide in a terminal with `{}`",
                command("approvals list", inbox)
            );
            Finding::problem(Check::Inbox, what, fix)
        }
        Ok(PageState::Unproven(port)) => {
            let what = format!(
                "a process says that it serves the inbox page at port {port}, and does not answer as it should"
            );
            let fix = format!(
                "stop that approval-proxy, or decide in a terminal with `{}`",
                command("approvals list", inbox)
            );
            Finding::problem(Check::Inbox, what, fix)
        }
        Err(error) => Finding::of_error(Check::Inbox, &error),
    }
}

/// The page for paired devices, if one is configured.
fn remote(dir: Option<&StateDir>, inbox: &InboxSettings) -> Option<Finding> {
    let page = inbox.remote.as_ref()?;
    let address = page.url.address();
    Some(match remote_state(dir, page) {
        Ok(true) => {
            let what = format!("the inbox page for paired devices is served at {address} now");
            Finding::ok(Check::Inbox, what)
        }
        Ok(false) => {
            let what = format!(
                "the inbox page for paired devices is not served now; the next proxy with a question serves it at {address}"
            );
            let fix = format!(
                "keep `{}` running, so that phones always reach it",
                command("inbox", inbox)
            );
            Finding::advice(Check::Inbox, what, fix)
        }
        Err(error) => {
            let what = format!(
                "the inbox page for paired devices cannot be served: {}",
                with_causes(&error)
            );
            let fix = if let PageServerError::Certificate(_) = error {
                "correct `tlsCert` and `tlsKey` of `approvalProxy.inbox`"
            } else {
                "stop what listens there, or change `listen` of `approvalProxy.inbox`"
            };
            Finding::problem(Check::Inbox, what, fix)
        }
    })
}

/// Whether the store can be read, if there is one.
fn damage(dir: &StateDir) -> Option<Finding> {
    if !dir.path().join(STORE).exists() {
        return None;
    }
    let opened = store::open(dir, &Redaction::default());
    let checked = opened.and_then(|mut store| store.requests.check());
    let error = checked.err()?;
    Some(Finding::of_error(Check::Inbox, &with_causes(&error)))
}

fn passphrase(key: Result<Option<String>, String>, inbox: &InboxSettings) -> Finding {
    match key {
        Ok(Some(key)) => Finding::ok(
            Check::Passphrase,
            format!("a passphrase is set; its key is {key}"),
        ),
        Ok(None) => Finding::advice(
            Check::Passphrase,
            "no passphrase is set, so every program of this user can approve a call in the inbox",
            format!(
                "set one with `{}`, so that only a person can approve",
                command("inbox --set-passphrase", inbox)
            ),
        ),
        Err(error) => Finding::of_error(Check::Passphrase, &error),
    }
}

fn command(words: &str, inbox: &InboxSettings) -> String {
    suggested_command(words, inbox.state_dir.as_deref())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::report::Level;
    use super::*;

    fn settings(folder: &Path) -> InboxSettings {
        InboxSettings {
            state_dir: Some(folder.to_owned()),
            port: Some(0),
            opens_browser: false,
            approver: None,
            page_url: None,
            remote: None,
        }
    }

    #[test]
    fn a_new_folder_is_left_empty() {
        let (dir, _) = crate::sys::state_dir::for_test();
        let found = check(&settings(dir.path()));
        let levels: Vec<Level> = found.iter().map(|found| found.level).collect();
        assert_eq!(levels, [Level::Ok, Level::Advice], "{found:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_store_and_a_damaged_passphrase_are_problems() {
        use std::os::unix::fs::PermissionsExt as _;
        let (dir, _) = crate::sys::state_dir::for_test();
        for name in [STORE, "passphrase.json"] {
            let path = dir.path().join(name);
            std::fs::write(&path, "not what it should be").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let found = check(&settings(dir.path()));
        let problems: Vec<Check> = (found.iter())
            .filter(|found| found.level == Level::Problem && found.fix.is_some())
            .map(|found| found.check)
            .collect();
        assert_eq!(problems, [Check::Inbox, Check::Passphrase], "{found:?}");
    }

    #[test]
    fn the_page_for_devices_is_checked_before_a_phone_needs_it() {
        use crate::engines::inbox::remote::{Network, PageUrl, Protection, RemotePage};
        let (dir, _) = crate::sys::state_dir::for_test();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let behind = || Protection::BehindProxy(vec![Network::read("127.0.0.1").unwrap()]);
        let missing = Protection::Tls {
            cert: dir.path().join("no.crt"),
            key: dir.path().join("no.key"),
        };
        for (listen, protection, level, part) in [
            (free, behind(), Level::Advice, "https://phone.example/"),
            (
                taken.local_addr().unwrap(),
                behind(),
                Level::Problem,
                "cannot listen",
            ),
            (free, missing, Level::Problem, "no.crt"),
        ] {
            let page = RemotePage {
                url: PageUrl::read("https://phone.example").unwrap(),
                listen,
                protection,
                web_push: false,
            };
            let settings = InboxSettings {
                remote: Some(page),
                ..settings(dir.path())
            };
            let found = check(&settings);
            let found = found
                .iter()
                .find(|found| found.what.contains(part))
                .unwrap();
            assert_eq!(found.level, level, "{found:?}");
        }
    }

    #[test]
    fn each_state_of_the_page_has_its_sentence() {
        let settings = settings(Path::new("/s"));
        let found = |state| page(state, &settings);
        let served = found(Ok(PageState::Served(8766)));
        assert!(served.what.contains("http://127.0.0.1:8766/"), "{served:?}");
        for state in [
            Ok(PageState::Unproven(1)),
            Ok(PageState::Free(Err(io::ErrorKind::AddrInUse.into()))),
            Err("it is damaged; remove it".to_owned()),
        ] {
            let found = found(state);
            assert_eq!(found.level, Level::Problem);
            assert!(found.fix.is_some());
        }
    }
}
