//! Opens a page in the user's browser.
//!
//! Whether anybody looks at it is found out elsewhere.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;

/// The command that knows the user's browser.
const USUAL: &str = if cfg!(target_os = "macos") {
    "open"
} else {
    "xdg-open"
};

/// Opens `url` with the first of `browsers` that starts, in the words of `$BROWSER`: commands
/// parted by colons, in which `%s` is the URL. Else with the system's own.
///
/// False where none starts. No shell reads the URL, which a server may have had a say in.
#[must_use]
pub fn open_in_browser(browsers: Option<&OsStr>, url: &str) -> bool {
    let browsers = browsers.and_then(OsStr::to_str).unwrap_or_default();
    let mut commands = browsers.split(':').chain([USUAL]);
    commands.any(|command| start(command, url))
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
    // stdout is the wire; and whoever stops the proxy does not mean the browser.
    let command_line = command_line
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let Ok(mut child) = command_line.spawn() else {
        return false;
    };
    let reaper = thread::Builder::new().name("browser".to_owned());
    // How it ends says nothing: many hand the page to one that runs already. Without a thread it
    // stays a zombie as long as we run.
    let _ = reaper.spawn(move || child.wait());
    true
}
