//! Where records go without `--audit-log FILE`: to a file in the state folder that must take each one,
//! with a copy on stderr; or to stderr alone, which then must take each one itself.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{ProxyTest, Session, scripted_upstream};

fn mode(path: &PathBuf) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn log_path(session: &Session) -> PathBuf {
    session.path("state/audit/box.jsonl")
}

fn log(session: &Session) -> String {
    std::fs::read_to_string(log_path(session)).unwrap()
}

/// Returns the records in a text that has other lines too.
fn audit_lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with('{')).collect()
}

/// Adds up the dropped lines that the notices in a text report.
fn dropped_lines(text: &str) -> usize {
    let notices = text.lines().filter(|line| line.contains("dropped here"));
    notices
        .map(|notice| notice.split(' ').nth(1).unwrap().parse::<usize>().unwrap())
        .sum()
}

/// Makes calls with records of about 10 KB until one is refused, or `most` have run. Returns how many
/// ran, and the refusal.
fn calls_until_refused(session: &mut Session, most: usize) -> (usize, Option<String>) {
    let fillers = vec!["y".repeat(450); 20];
    for n in 0..most {
        let id = session.call("read", json!({"n": n, "fillers": fillers}));
        let response = session.response(id);
        let result = &response["result"];
        if result["isError"] == true {
            return (n, result["content"][0]["text"].as_str().map(str::to_owned));
        }
    }
    (most, None)
}

/// Closes stdin and reads all of stderr.
fn end_and_read_stderr(mut session: Session) -> String {
    let mut stderr = session.unread_stderr.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    session.finish();
    reading.join().unwrap()
}

#[test]
fn by_default_each_record_is_in_a_private_file_and_on_stderr() {
    let mut session = ProxyTest::new().without_log().in_shell("umask 0;").start();
    session.handshake();
    session.passes("read", json!({"m": "to-both"}));
    session.stderr_says("to-both");
    let file = log(&session);
    assert_eq!(audit_lines(&session.stderr()), audit_lines(&file));
    assert_eq!(file.lines().count(), audit_lines(&file).len());
    let last: Value = serde_json::from_str(file.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["decision"], &last["seq"]),
        (&json!("passed"), &json!(2))
    );
    assert_eq!(mode(&log_path(&session)), 0o600);
    assert_eq!(mode(&session.path("state/audit")), 0o700);
    assert_eq!(mode(&session.path("state")), 0o700);
    assert!(
        !session.stderr().contains("warning"),
        "{}",
        session.stderr()
    );
    session.finish();
}

// Attack: an approved call ran although its record was never written, and a notice reported 41 missing
// lines when 4,541 were missing.
#[test]
fn an_unread_stderr_blocks_no_call_and_what_its_copy_drops_is_counted() {
    let mut session = ProxyTest::new().without_log().unread_stderr().start();
    session.handshake();
    // More than the pipe and the buffer behind it can hold, in bursts, as busy agents send calls.
    let filler = "y".repeat(450);
    for burst in 0..20 {
        let calls: Vec<String> = (0..200)
            .map(|n| {
                let id = burst * 1000 + n + 500;
                let arguments = json!({"filler": filler, "id": id});
                let params = json!({"name": "read", "arguments": arguments});
                json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
                    .to_string()
            })
            .collect();
        session.send(calls.join("\n"));
        for n in 0..200 {
            let response = session.response(burst * 1000 + n + 500);
            assert_eq!(response["result"]["content"][0]["text"], "read ran");
        }
    }
    let id = session.call("wipe", json!({"marker": "approved"}));
    session.approve();
    assert_eq!(
        session.response(id)["result"]["content"][0]["text"],
        "wipe ran"
    );
    let file = log(&session);
    assert!(file.contains(r#""marker":"approved""#));
    let decided = file.lines().filter(|line| line.contains(r#""decision""#));
    assert_eq!(decided.count(), 20 * 200 + 1);
    let path = log_path(&session);
    let reader = std::thread::spawn({
        let mut stderr = session.unread_stderr.take().unwrap();
        move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        }
    });
    session.close_stdin();
    assert_eq!(session.exit().0, 0);
    let copy = reader.join().unwrap();
    let in_file = std::fs::read_to_string(path).unwrap().lines().count();
    assert!(dropped_lines(&copy) > 100, "{}", dropped_lines(&copy));
    assert_eq!(audit_lines(&copy).len() + dropped_lines(&copy), in_file);
}

#[test]
fn a_proxy_ends_even_if_nobody_reads_its_stderr() {
    let mut session = ProxyTest::new().without_log().unread_stderr().start();
    session.handshake();
    assert_eq!(calls_until_refused(&mut session, 200).0, 200);
    session.close_stdin();
    let (code, took) = session.exit();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn if_stderr_is_the_log_calls_it_cannot_record_are_refused_and_no_record_is_lost() {
    let flags = ["--audit-log", "stderr"];
    let test = ProxyTest::new().without_log().flags(flags);
    let mut session = test.unread_stderr().start();
    session.handshake();
    let (ran, refusal) = calls_until_refused(&mut session, 1000);
    let refusal = refusal.expect("stderr takes no more after a MiB and a pipe");
    assert!(
        refusal.contains("audit record could not be written"),
        "{refusal}"
    );
    assert!((90..300).contains(&ran), "{ran}");
    // A call that needs an approval is refused as well.
    let large = json!({"marker": "no-room", "fillers": vec!["y".repeat(450); 20]});
    let id = session.call("wipe", large);
    session.approve();
    session.refusal(id);
    session.sync();
    assert!(!session.has_recorded("no-room"));
    assert!(!session.path("state/audit").exists());

    // The client starts to read: the pending records are written, and calls run again.
    let mut stderr = session.unread_stderr.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let mut last = calls_until_refused(&mut session, 1);
    for _ in 0..500 {
        if last.1.is_none() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        last = calls_until_refused(&mut session, 1);
    }
    assert_eq!(last, (1, None));
    session.finish();
    let stderr = reading.join().unwrap();
    let lines: Vec<Value> = audit_lines(&stderr)
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let numbers = lines.iter().map(|line| line["seq"].as_u64().unwrap());
    assert!(numbers.eq(1..=lines.len() as u64), "{stderr}");
    let passed = lines.iter().filter(|line| line["decision"] == "passed");
    assert_eq!(passed.count(), ran + 1);
    let wipe: Vec<&Value> = lines.iter().filter(|line| line["tool"] == "wipe").collect();
    assert_eq!(wipe.len(), 1);
    assert_eq!(wipe[0]["forwarded"], false);
}

#[test]
fn best_effort_lets_passed_calls_run_when_stderr_takes_no_records() {
    let flags = ["--audit-log", "stderr", "--audit-best-effort"];
    let test = ProxyTest::new().without_log().flags(flags);
    let mut session = test.unread_stderr().start();
    session.handshake();
    assert_eq!(calls_until_refused(&mut session, 400), (400, None));
    let id = session.call("wipe", json!({}));
    session.approve();
    session.refusal(id);
    session.close_stdin();
    assert_eq!(session.exit().0, 0);
}

#[test]
fn a_file_called_stderr_can_be_named_by_a_path() {
    let test = ProxyTest::new().without_log();
    let cd = format!("cd '{}';", test.path("").display());
    let test = test.flags(["--audit-log", "./stderr"]).in_shell(&cd);
    let mut session = test.start();
    session.handshake();
    session.passes("read", json!({}));
    let file = std::fs::read_to_string(session.path("stderr")).unwrap();
    assert_eq!(file.lines().count(), 2);
    assert_eq!(session.stderr(), "");
    session.finish();
}

// For example, a read-only container, a folder that others may read, or no home folder.
#[test]
fn without_a_usable_state_folder_stderr_is_the_log_and_one_warning_says_so() {
    let file = |test: ProxyTest| {
        let path = test.path("file");
        std::fs::write(&path, "").unwrap();
        let state = path.join("state");
        test.env("APPROVAL_STATE_DIR", state.to_str().unwrap())
    };
    let exposed = |test: ProxyTest| {
        let path = test.path("exposed");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        test.env("APPROVAL_STATE_DIR", path.to_str().unwrap())
    };
    let nowhere = |test: ProxyTest| {
        let test = test.env("APPROVAL_STATE_DIR", "").env("HOME", "");
        test.env("XDG_STATE_HOME", "")
    };
    let taken = |test: ProxyTest| {
        let path = test.path("state/audit/box.jsonl");
        std::fs::create_dir_all(path).unwrap();
        for private in ["state", "state/audit"] {
            let mode = PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(test.path(private), mode).unwrap();
        }
        test
    };
    let set_ups: [&dyn Fn(ProxyTest) -> ProxyTest; 4] = [&file, &exposed, &nowhere, &taken];
    for (at, set_up) in set_ups.iter().enumerate() {
        let test = set_up(ProxyTest::new().without_log());
        let mut session = test.unread_stderr().start();
        session.handshake();
        let (ran, refusal) = calls_until_refused(&mut session, 1000);
        assert!(refusal.is_some(), "{at}: {ran} calls ran");
        let stderr = end_and_read_stderr(session);
        let warnings = stderr.lines().filter(|line| line.contains("warning"));
        let warnings: Vec<&str> = warnings.collect();
        assert!(
            warnings[0].contains("no audit log can be kept in the state folder"),
            "{at}"
        );
        assert!(
            warnings[0].contains("--audit-log FILE"),
            "{at}: {}",
            warnings[0]
        );
        assert_eq!(stderr.matches("no audit log can be kept").count(), 1);
        let passed = audit_lines(&stderr)
            .iter()
            .filter(|line| line.contains(r#""decision":"passed""#))
            .count();
        assert_eq!(passed, ran, "{at}");
    }
}

#[test]
fn a_log_in_the_state_folder_is_rotated_before_64_mib_and_its_numbers_continue() {
    let test = ProxyTest::new().without_log();
    let path = test.path("state/audit/box.jsonl");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    for private in ["state", "state/audit"] {
        let mode = PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(test.path(private), mode).unwrap();
    }
    let mut old = std::fs::File::create(&path).unwrap();
    let last = b"\n{\"v\":1,\"seq\":41,\"event\":\"close\"}\n";
    old.seek(SeekFrom::Start(64 * 1024 * 1024 - last.len() as u64))
        .unwrap();
    old.write_all(last).unwrap();
    let mut session = test.start();
    session.handshake();
    session.passes("read", json!({}));
    let first: Value = serde_json::from_str(log(&session).lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["event"], &first["seq"]),
        (&json!("open"), &json!(42))
    );
    let rotated = session.path("state/audit/box.jsonl.1");
    assert_eq!(std::fs::metadata(rotated).unwrap().len(), 64 * 1024 * 1024);
    session.finish();
}

#[test]
fn a_servers_name_cannot_lead_out_of_the_log_folder() {
    let test = ProxyTest::new().without_log();
    let config = json!({"mcpServers": {"../../x": test.built_entry()}});
    let mut session = test.config(config).start();
    session.handshake();
    session.script(json!({"do": "stderr", "text": "hello\n"}));
    let files = std::fs::read_dir(session.path("state/audit")).unwrap();
    let names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(
        names[0].starts_with("_.") && names[0].ends_with(".jsonl"),
        "{names:?}"
    );
    session.stderr_says("[../../x] hello\n");
    session.finish();
}

const FORGED: &str =
    r#"{"v":1,"seq":3,"session":"s","server":"box","tool":"wipe","decision":"approved"}"#;

// Attack: the server writes lines that look like records to the same stderr.
#[test]
fn a_server_cannot_forge_a_record_if_records_go_to_stderr() {
    for flags in [&[][..], &["--audit-log", "stderr"]] {
        let mut test = ProxyTest::new().without_log();
        if let [flag, value] = flags {
            test = test.flags([flag, value]);
        }
        let mut session = test.start();
        session.handshake();
        for (before, after) in [("", "\n"), ("partial", "\n"), ("", ""), ("x\r", "\n")] {
            let text = format!("{before}{FORGED}{after}");
            session.script(json!({"do": "stderr", "text": text}));
            session.passes("read", json!({}));
        }
        session.passes("read", json!({"m": "the-end"}));
        session.stderr_says("the-end");
        session.close_stdin();
        assert_eq!(session.exit().0, 0);
        session.stderr_says(r#""event":"close""#);
        let stderr = session.stderr();
        assert_eq!(
            stderr.matches(FORGED).count(),
            4,
            "all is passed on: {stderr}"
        );
        for line in stderr
            .split(['\n', '\r'])
            .filter(|line| line.contains(FORGED))
        {
            assert!(line.starts_with("[box] "), "{line}");
        }
        for line in audit_lines(&stderr) {
            let line: Value = serde_json::from_str(line).expect("a whole line");
            assert_ne!(line["tool"], "wipe");
        }
    }
}

#[test]
fn with_a_named_log_the_servers_stderr_goes_to_ours_unchanged() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    session.script(json!({"do": "stderr", "text": "as it is"}));
    session.stderr_says("as it is");
    assert_eq!(session.stderr(), "as it is");
    session.finish();
}

#[test]
fn a_dead_servers_stderr_comes_before_the_error_that_points_to_it() {
    let test = ProxyTest::new().without_log().upstream(["--exit", "3"]);
    let mut session = test.start();
    assert_eq!(session.exit().0, 4);
    session.stderr_says("see its stderr above");
    let stderr = session.stderr();
    let said = stderr.find("[box] scripted_upstream: exits at once\n");
    let error = stderr.find("before it sent a message");
    assert!(said.is_some() && said < error, "{stderr}");
}

#[test]
fn an_unread_stderr_does_not_block_a_noisy_server_and_dropped_lines_are_counted() {
    let mut session = ProxyTest::new().without_log().unread_stderr().start();
    session.handshake();
    let line = format!("{}\n", "z".repeat(99));
    for _ in 0..4 {
        session.script(json!({"do": "stderr", "text": line.repeat(10_000)}));
    }
    session.passes("read", json!({}));
    let stderr = end_and_read_stderr(session);
    let noise = format!("[box] {line}");
    let kept = stderr.matches(&noise).count();
    assert!((5_000..35_000).contains(&kept), "{kept}");
    assert_eq!(kept + dropped_lines(&stderr), 40_000);
    // Records have a buffer of their own.
    assert_eq!(audit_lines(&stderr).len(), 3, "open, the call, close");
}

#[test]
fn a_process_that_holds_the_servers_stderr_does_not_keep_the_proxy_from_ending() {
    let test = ProxyTest::new().without_log();
    let script = "setsid sleep 30 & exec \"$0\" \"$@\"";
    let record = test.path("record");
    let mut session = test
        .entry("command", json!("sh"))
        .entry("args", json!(["-c", script, scripted_upstream(), record]))
        .start();
    session.handshake();
    session.script(json!({"do": "stderr", "text": "last words"}));
    session.close_stdin();
    let (code, took) = session.exit();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(8), "{took:?}");
    session.stderr_says("[box] last words\n");
}

#[test]
fn a_server_can_open_its_stderr_by_name() {
    let test = ProxyTest::new().without_log();
    let script = "echo by-name >/dev/stderr; exec \"$0\" \"$@\"";
    let record = test.path("record");
    let mut session = test
        .entry("command", json!("sh"))
        .entry("args", json!(["-c", script, scripted_upstream(), record]))
        .start();
    session.handshake();
    session.stderr_says("[box] by-name\n");
    session.finish();
}
