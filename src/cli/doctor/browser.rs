//! The browser: what would open the inbox page. Opens nothing.

use std::ffi::OsStr;
use std::path::Path;

use super::lookup::{Lookup, find};
use super::report::{Check, Finding};
use crate::config::{Environment, InboxSettings};
use crate::engines::inbox::page_server::PageServerSettings;
use crate::sys::browser_commands;
use crate::sys::state_dir::suggested_command;

pub(super) fn check(
    page: &PageServerSettings,
    inbox: &InboxSettings,
    environment: &Environment,
) -> Finding {
    let path = environment.of_another_program("PATH");
    let is_there = |program: &str| {
        matches!(
            find(program.as_ref(), path, Path::new(".")),
            Lookup::Found(_)
        )
    };
    judge(page, inbox, is_there)
}

fn judge(
    page: &PageServerSettings,
    inbox: &InboxSettings,
    is_there: impl Fn(&str) -> bool,
) -> Finding {
    let elsewhere = format!(
        "answer in the client, or in a terminal with `{}`",
        suggested_command("approvals list", inbox.state_dir.as_deref())
    );
    let advice = |what: String| Finding::advice(Check::Browser, what, elsewhere.clone());
    if page.browser.is_none() && !page.has_display {
        return advice(
            "this machine has no display, so no browser opens when a question waits in the inbox"
                .to_owned(),
        );
    }
    let programs = |browser: Option<&OsStr>| -> Vec<String> {
        let commands = browser_commands(browser);
        let programs = commands.filter_map(|command| command.split_whitespace().next());
        programs.map(str::to_owned).collect()
    };
    let all = programs(page.browser.as_deref());
    let first = all.iter().find(|program| is_there(program));
    let wanted = all.first().map_or("", String::as_str);
    match first {
        Some(program) if program == wanted => Finding::ok(
            Check::Browser,
            format!("`{program}` opens the browser when a question waits in the inbox"),
        ),
        Some(program) => Finding::advice(
            Check::Browser,
            format!("`{wanted}` of `BROWSER` is not there, so `{program}` opens the browser"),
            "correct `BROWSER`, or unset it",
        ),
        None => advice(format!(
            "no browser opens when a question waits in the inbox, because there is no {}",
            all.iter()
                .map(|program| format!("`{program}`"))
                .collect::<Vec<_>>()
                .join(" and no ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::report::Level;
    use super::*;

    fn judged(browser: Option<&str>, has_display: bool, there: &[&str]) -> (Level, String) {
        let inbox = InboxSettings {
            state_dir: None,
            port: None,
            opens_browser: true,
            approver: None,
            page_url: None,
            remote: None,
        };
        let page = PageServerSettings {
            port: None,
            opens_browser: true,
            approver: None,
            browser: browser.map(Into::into),
            has_display,
            open_folder: None,
            callbacks: Arc::default(),
            invites_to: None,
            remote: None,
        };
        let found = judge(&page, &inbox, |program| there.contains(&program));
        assert_eq!(found.level == Level::Ok, found.fix.is_none());
        (found.level, found.what)
    }

    #[test]
    fn the_browser_that_would_open_is_named() {
        let system = browser_commands(None).next().unwrap();
        assert_eq!(judged(None, true, &[system]).0, Level::Ok);
        let (level, what) = judged(Some("firefox %s:lynx"), false, &["firefox"]);
        assert_eq!(level, Level::Ok);
        assert!(what.contains("`firefox`"), "{what}");
    }

    #[test]
    fn no_browser_is_advice() {
        assert!(judged(None, false, &[]).1.contains("no display"));
        assert!(judged(None, true, &[]).1.contains("there is no"));
        let (level, what) = judged(
            Some("firefox"),
            true,
            &[browser_commands(None).next().unwrap()],
        );
        assert_eq!(level, Level::Advice);
        assert!(what.contains("`firefox` of `BROWSER`"), "{what}");
    }
}
