//! Opens a page in the user's browser.
//!
//! `inbox::page_server` opens the inbox with it, `http::outbound::oauth` a login.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;

/// The system's command that opens the user's browser.
const DEFAULT_COMMAND: &str = if cfg!(target_os = "macos") {
    "open"
} else {
    "xdg-open"
};

/// Opens `url` with the first of `browsers` that starts, or with the system's command. `browsers`
/// has the format of `$BROWSER`: commands separated by colons, in which `%s` is the URL.
///
/// Returns false if none starts. No shell parses the URL, because a server may have chosen part of
/// it.
#[must_use]
pub fn open_in_browser(browsers: Option<&OsStr>, url: &str) -> bool {
    commands(browsers).any(|command| start(command, url))
}

/// Returns the commands that are tried, in this order.
pub fn commands(browsers: Option<&OsStr>) -> impl Iterator<Item = &str> {
    let browsers = browsers.and_then(OsStr::to_str).unwrap_or_default();
    let browsers = browsers.split(':').chain([DEFAULT_COMMAND]);
    browsers.filter(|command| !command.trim().is_empty())
}

fn start(command: &str, url: &str) -> bool {
    let mut words = command.split_whitespace();
    let Some(program) = words.next() else {
        return false;
    };
    let mut command_line = Command::new(program);
    let mut is_named = false;
    for word in words {
        is_named |= word.contains("%s");
        command_line.arg(word.replace("%s", url));
    }
    if !is_named {
        command_line.arg(url);
    }
    // stdout is the wire. A signal to the proxy's process group must not reach the browser.
    let command_line = command_line
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let Ok(mut child) = command_line.spawn() else {
        return false;
    };
    let reaper = thread::Builder::new().name("browser".to_owned());
    // The exit status means nothing: many commands hand the page to a running browser. The thread
    // only prevents a zombie process.
    let _ = reaper.spawn(move || child.wait());
    true
}
