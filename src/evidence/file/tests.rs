//! The log keeps its promises with other writers, rotations, locks and full disks.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::evidence::record::{Origin, Timestamp};

fn line(n: usize) -> Line {
    Line::event(
        &Timestamp::new(0),
        &Origin::new("s", "db"),
        "test",
        &[("n", &n.to_string())],
    )
}

/// A clock that always shows this time.
fn at(millis: u64) -> impl Fn() -> Duration {
    move || Duration::from_millis(millis)
}

fn seqs(path: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(path).unwrap();
    let values = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    values.map(|line| line["seq"].as_u64().unwrap()).collect()
}

#[test]
fn several_writers_share_one_gapless_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let writers = (0..4).map(|_| {
        let path = path.clone();
        std::thread::spawn(move || {
            let mut ledger = LedgerFile::open(&path).unwrap();
            for n in 0..50 {
                ledger.append(&[line(n), line(n)], at(0)).unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.join().unwrap();
    }
    assert_eq!(seqs(&path), (1..=400).collect::<Vec<u64>>());
}

#[test]
fn new_files_are_readable_by_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    LedgerFile::open(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_line_that_somebody_left_torn_is_ended_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    LedgerFile::open(&path)
        .unwrap()
        .append(&[line(1)], at(0))
        .unwrap();
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str(r#"{"v":1,"seq":2,"ts"#);
    std::fs::write(&path, &text).unwrap();
    LedgerFile::open(&path)
        .unwrap()
        .append(&[line(2)], at(0))
        .unwrap();
    assert_eq!(seqs(&path), [1, 2]);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
}

#[test]
fn the_sequence_continues_after_a_huge_line_and_after_a_truncation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut first = LedgerFile::open(&path).unwrap();
    first.append(&[line(1)], at(0)).unwrap();
    // We never write such a long line, but an older version may have.
    let giant = format!(
        "{{\"seq\":2,\"x\":\"{}\"}}\n",
        "x".repeat(3 * TAIL as usize)
    );
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(giant.as_bytes()).unwrap();
    LedgerFile::open(&path)
        .unwrap()
        .append(&[line(3)], at(0))
        .unwrap();
    assert_eq!(seqs(&path), [1, 2, 3]);
    std::fs::write(&path, "").unwrap();
    first.append(&[line(4)], at(0)).unwrap();
    assert_eq!(seqs(&path), [2], "this writer had seen one line");
}

#[test]
fn a_log_that_was_moved_away_is_recreated_and_continues_its_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let old = dir.path().join("audit.jsonl.1");
    let mut ledger = LedgerFile::open(&path).unwrap();
    ledger.append(&[line(1), line(2)], at(0)).unwrap();
    std::fs::rename(&path, &old).unwrap();
    ledger.append(&[line(3)], at(1)).unwrap();
    assert_eq!((seqs(&old), seqs(&path)), (vec![1, 2], vec![3]));
    std::fs::remove_file(&path).unwrap();
    ledger.append(&[line(4)], at(2)).unwrap();
    assert_eq!(seqs(&path), [4]);
}

#[test]
fn nothing_is_written_to_a_file_that_is_gone_and_cannot_be_recreated() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("logs");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("audit.jsonl");
    let mut ledger = LedgerFile::open(&path).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    for millis in [0, 1, 500, 2000] {
        assert!(ledger.append(&[line(1)], at(millis)).is_err(), "{millis}");
    }
    std::fs::create_dir(&folder).unwrap();
    ledger.append(&[line(1)], at(9000)).unwrap();
    assert_eq!(seqs(&path), [1]);
}

#[test]
fn a_lock_that_is_never_free_fails_fast_the_second_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut ledger = LedgerFile::open(&path).unwrap();
    let holder = File::open(&path).unwrap();
    holder.lock().unwrap();
    for _ in 0..1000 {
        let result = ledger.append(&[line(1)], at(0));
        assert!(matches!(result, Err(LedgerError::Locked(_))));
    }
    holder.unlock().unwrap();
    ledger.append(&[line(1)], at(0)).unwrap();
    assert_eq!(seqs(&path), [1]);
}

#[test]
fn the_highest_possible_number_does_not_end_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    std::fs::write(&path, format!("{{\"seq\":{}}}\n", u64::MAX)).unwrap();
    let mut ledger = LedgerFile::open(&path).unwrap();
    ledger.append(&[line(1)], at(0)).unwrap();
}

#[test]
fn a_log_that_cannot_be_opened_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("no/such/folder/audit.jsonl");
    let error = LedgerFile::open(&missing).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot open the audit log `"),
        "{error}"
    );
    assert!(LedgerFile::open(dir.path()).is_err());
    assert!(matches!(
        LedgerFile::open(Path::new("/dev/null")),
        Err(LedgerError::NotAFile(_))
    ));
}

#[test]
fn a_full_disk_is_an_error_and_leaves_no_torn_line() {
    // /dev/full acts as a full disk: every write to it fails with ENOSPC.
    let full = Path::new("/dev/full");
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .open(full)
        .unwrap();
    let mut ledger = LedgerFile {
        id: file_id(&file).unwrap(),
        file,
        path: full.to_owned(),
        limit: None,
        known: 0,
        seq: 0,
        text: String::new(),
        verified: None,
        locks_were_free: true,
    };
    assert!(matches!(
        ledger.append(&[line(1)], at(0)),
        Err(LedgerError::Write { .. })
    ));
    assert_eq!(ledger.seq, 0);
}

/// Starts `writers` threads. Each writes `count` batches of two lines, and sometimes reopens the
/// log, as a new process would.
fn write_from_threads(
    writers: usize,
    count: usize,
    open: impl Fn() -> LedgerFile + Clone + Send + 'static,
) -> Vec<std::thread::JoinHandle<()>> {
    let start = tokio::time::Instant::now();
    let write = move |open: &dyn Fn() -> LedgerFile| {
        let mut ledger = open();
        for n in 0..count {
            if n % 50 == 49 {
                ledger = open();
            }
            let lines = [line(n), line(n)];
            ledger.append(&lines, || start.elapsed()).unwrap();
        }
    };
    let thread = |_| {
        let open = open.clone();
        std::thread::spawn(move || write(&open))
    };
    (0..writers).map(thread).collect()
}

// Several proxies write to one log while logrotate moves it away.
#[test]
fn no_number_is_used_twice_while_a_log_keeps_being_moved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let open = path.clone();
    let writers = write_from_threads(4, 600, move || LedgerFile::open(&open).unwrap());
    let mut moved = Vec::new();
    while writers.iter().any(|writer| !writer.is_finished()) {
        let to = dir.path().join(format!("audit.jsonl.{:05}", moved.len()));
        if std::fs::rename(&path, &to).is_ok() {
            moved.push(to);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    for writer in writers {
        writer.join().unwrap();
    }
    assert!(moved.len() > 5, "it was moved {} times only", moved.len());
    let files = moved.iter().map(PathBuf::as_path);
    let files = files.chain(path.exists().then_some(path.as_path()));
    let all: Vec<(u64, &Path)> = files
        .flat_map(|file| seqs(file).into_iter().map(move |seq| (seq, file)))
        .collect();
    for (at, (seq, file)) in all.iter().enumerate() {
        assert_eq!(*seq, at as u64 + 1, "in {file:?}");
    }
    assert_eq!(all.len(), 4800);
}

#[test]
fn a_log_that_rotates_itself_keeps_one_sequence_with_many_writers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("box.jsonl");
    let limit = 16 * 1024;
    let open = path.clone();
    let open = move || LedgerFile::open_rotating(&open, limit).unwrap();
    for writer in write_from_threads(4, 250, open) {
        writer.join().unwrap();
    }
    let rotated = (1..).map(|n| dir.path().join(format!("box.jsonl.{n}")));
    let mut files: Vec<PathBuf> = rotated.take_while(|file| file.exists()).collect();
    assert_eq!(files.len(), 10);
    assert!(!dir.path().join("box.jsonl.11").exists());
    files.reverse();
    files.push(path);
    for file in &files {
        // `v` and `seq` are not counted, and during a lease a few lines may follow.
        let size = std::fs::metadata(file).unwrap().len();
        assert!(size < 2 * limit, "{file:?}: {size}");
    }
    let kept: Vec<u64> = files.iter().flat_map(|file| seqs(file)).collect();
    assert_eq!(
        kept,
        (2001 - kept.len() as u64..=2000).collect::<Vec<u64>>()
    );
}

#[test]
fn a_log_rotates_before_it_exceeds_its_limit_and_a_huge_line_gets_its_own_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("box.jsonl");
    let rotated = |n: u32| dir.path().join(format!("box.jsonl.{n}"));
    let mut ledger = LedgerFile::open_rotating(&path, 1000).unwrap();
    let giant = Line::event(
        &Timestamp::new(0),
        &Origin::new("s", "db"),
        "test",
        &[("x", &"x".repeat(5000))],
    );
    ledger.append(&[giant], at(0)).unwrap();
    assert!(!rotated(1).exists());
    for n in 0..12 {
        ledger.append(&[line(n)], at(0)).unwrap();
    }
    assert_eq!(seqs(&rotated(2)), [1]);
    let size = std::fs::metadata(rotated(1)).unwrap().len();
    assert!((800..=1100).contains(&size), "{size}");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        [seqs(&rotated(1)), seqs(&path)].concat(),
        (2..=13).collect::<Vec<u64>>()
    );
}

#[test]
fn a_process_that_finds_a_rotated_log_continues_its_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let write = |n| {
        let mut ledger = LedgerFile::open(&path).unwrap();
        ledger.append(&[line(n), line(n)], at(0)).unwrap();
    };
    write(1);
    std::fs::rename(&path, dir.path().join("audit.jsonl-20260131")).unwrap();
    write(2);
    assert_eq!(seqs(&path), [3, 4]);
    // `copytruncate`, with one writer that continues and one that started before the others wrote.
    let mut early = LedgerFile::open(&path).unwrap();
    write(3);
    std::fs::copy(&path, dir.path().join("audit.jsonl.1")).unwrap();
    std::fs::write(&path, "").unwrap();
    early.append(&[line(4)], at(0)).unwrap();
    assert_eq!(seqs(&path), [7]);
}

#[test]
fn the_copy_of_an_append_omits_the_line_break_that_ended_a_torn_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut ledger = LedgerFile::open(&path).unwrap();
    std::fs::write(&path, "{\"seq\":6}\n{\"torn").unwrap();
    ledger.append(&[line(1)], at(0)).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(ledger.written().starts_with("{\"v\":1,\"seq\":7,"));
    assert_eq!(
        text,
        format!("{{\"seq\":6}}\n{{\"torn\n{}", ledger.written())
    );
}
