//! Important or secret files that other users of the machine can write to or read.
//!
//! Cases with another owner or group are skipped unless the tests run as root.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use serde_json::json;

use super::support::{ProxyTest, Session};

/// A user and a group that do not exist here.
const STRANGER: u32 = 54_321;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root(test: &ProxyTest) -> bool {
    fs::metadata(test.path("")).unwrap().uid() == 0
}

/// Starts the proxy after a shell has run `before` in the folder with the configuration.
fn after(test: ProxyTest, before: &str) -> Session {
    let shell = format!("cd '{}' && {before} || exit 77;", test.path("").display());
    test.in_shell(&shell).start()
}

#[track_caller]
fn refuses(mut session: Session, words: &[&str]) {
    assert_eq!(session.exit().0, 3);
    session.stderr_says("\n");
    let stderr = session.stderr();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
    assert!(!session.path("record").exists(), "the server was started");
}

#[track_caller]
fn works(mut session: Session) {
    session.handshake();
    session.passes("read", json!({}));
    session.finish();
}

#[test]
fn a_config_file_that_others_may_write_to_is_refused() {
    for mode in ["0666", "0602", "0777"] {
        let session = after(ProxyTest::new(), &format!("chmod {mode} config.json"));
        refuses(session, &["config.json", mode, "`chmod go-w`"]);
    }
    for mode in ["0600", "0644", "0444"] {
        works(after(
            ProxyTest::new(),
            &format!("chmod {mode} config.json"),
        ));
    }
}

#[test]
fn a_config_file_of_another_user_or_of_a_group_with_others_in_it_is_refused() {
    if !is_root(&ProxyTest::new()) {
        return;
    }
    let owned = after(ProxyTest::new(), &format!("chown {STRANGER} config.json"));
    refuses(owned, &["config.json", "belongs to user 54321"]);
    let grouped = format!("chgrp {STRANGER} config.json && chmod 0664 config.json");
    refuses(after(ProxyTest::new(), &grouped), &["config.json", "0664"]);
    // As with a umask of 002 and a group with the user's own number.
    works(after(ProxyTest::new(), "chmod 0664 config.json"));
}

#[test]
fn a_config_file_that_others_may_replace_is_refused() {
    for mode in ["0777", "0707"] {
        let session = after(ProxyTest::new(), &format!("chmod {mode} ."));
        refuses(
            session,
            &["config.json", mode, "replace this config file", "folder"],
        );
    }
    works(after(ProxyTest::new(), "chmod 1777 ."));
    // A link, and its target.
    let folder = tempfile::tempdir().unwrap();
    set_mode(folder.path(), 0o777);
    let elsewhere = folder.path().join("real.json");
    let elsewhere = elsewhere.to_str().unwrap();
    let moved = format!("mv config.json {elsewhere} && ln -s {elsewhere} config.json");
    refuses(
        after(ProxyTest::new(), &moved),
        &["config.json", folder.path().to_str().unwrap()],
    );
    let moved = "mkdir -m 755 own && mv config.json own/ && ln -s own/config.json . && chmod 777 .";
    refuses(after(ProxyTest::new(), moved), &["config.json", "0777"]);
}

#[test]
fn a_config_from_a_pipe_is_read() {
    let pipe = "mv config.json real && mkfifo -m 666 config.json && { cat real >config.json & }";
    works(after(ProxyTest::new(), pipe));
}

#[test]
fn a_token_that_others_may_read_is_refused() {
    const SERVE: [&str; 4] = ["--transport", "streamable-http", "--port", "0"];
    let with_token = |prepare: &dyn Fn(&Path)| {
        let test = ProxyTest::new();
        let file = test.path("token");
        fs::write(&file, "a-token-of-ours\n").unwrap();
        set_mode(&file, 0o600);
        prepare(&file);
        let flags = ["--auth-token-file", file.to_str().unwrap()];
        test.flags(flags).flags(SERVE).start()
    };
    for mode in [0o644, 0o640, 0o604, 0o660, 0o620] {
        let session = with_token(&|file| set_mode(file, mode));
        refuses(
            session,
            &[
                "token",
                "`chmod go-rwx`",
                "APPROVAL_AUTH_TOKEN",
                &format!("{mode:04o}"),
            ],
        );
    }
    // Containers mount secrets like this: a link to a file that everybody may read.
    let linked = with_token(&|file| {
        let target = file.with_file_name("..data");
        fs::rename(file, &target).unwrap();
        set_mode(&target, 0o644);
        symlink(&target, file).unwrap();
    });
    refuses(linked, &["token", "0644"]);
    for prepare in [0o600, 0o400].map(|mode| move |file: &Path| set_mode(file, mode)) {
        let session = with_token(&prepare);
        session.stderr_says("listening");
    }
    if is_root(&ProxyTest::new()) {
        let session = with_token(&|file| chown(file, Some(STRANGER), None).unwrap());
        refuses(session, &["token", "belongs to user 54321"]);
    }
}

#[test]
fn a_log_that_others_may_write_to_is_warned_about() {
    let with_log = |mode| {
        let test = ProxyTest::new();
        fs::write(test.log_path(), "").unwrap();
        set_mode(&test.log_path(), mode);
        let mut session = test.start();
        session.handshake();
        session.passes("read", json!({}));
        session
    };
    for mode in [0o666, 0o602] {
        let session = with_log(mode);
        session.stderr_says("other users may write to the audit log");
        let stderr = session.stderr();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        for word in ["audit.jsonl", &format!("{mode:04o}"), "`chmod go-w`"] {
            assert!(stderr.contains(word), "{word}: {stderr}");
        }
        session.finish();
    }
    for mode in [0o600, 0o644] {
        let session = with_log(mode);
        assert_eq!(session.stderr(), "", "{mode:o}");
        session.finish();
    }
}
