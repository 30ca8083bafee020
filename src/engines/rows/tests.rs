//! Who gets the only connection of a credential. Each `Rows` stands for a process.

use std::future::Future;
use std::pin::pin;

use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use super::*;
use crate::engines::inbox::passphrase;
use crate::sys::secret::Secret;
use crate::sys::state_dir::for_test;

/// Within this time another process must take over.
const TAKE_OVER: Duration = Duration::from_secs(5);

struct Folder {
    dir: TempDir,
    signer: Box<dyn Fn() -> Signer>,
}

impl Folder {
    fn new() -> Folder {
        let (dir, state) = for_test();
        let secret = Secret::new("correct horse".to_owned());
        passphrase::set(&state, None, &secret).unwrap();
        let signer = Box::new(move || passphrase::unlock(&state, &secret).unwrap());
        Folder { dir, signer }
    }

    fn process(&self) -> Rows {
        Rows::new(Some(self.dir.path().to_owned()), Redaction::default(), None)
    }

    fn signing(&self) -> Rows {
        let signer = Some((self.signer)());
        Rows::new(
            Some(self.dir.path().to_owned()),
            Redaction::default(),
            signer,
        )
    }
}

async fn in_time<T>(waits: impl Future<Output = T>) -> T {
    timeout(TAKE_OVER, waits).await.expect("it is in time")
}

async fn is_waiting<T>(waits: impl Future<Output = T>) -> bool {
    timeout(3 * TAKE_OVER, waits).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn a_credential_has_one_connection_and_another_process_takes_over_in_time() {
    let folder = Folder::new();
    let (first, second) = (folder.process(), folder.process());
    let elected = in_time(first.elect("token")).await;
    assert!(is_waiting(second.elect("token")).await);
    // Another credential has its own.
    let other = in_time(second.elect("another")).await;
    assert!(is_waiting(elected.preempted()).await);
    let mut waits = pin!(second.elect("token"));
    assert!(timeout(Duration::from_secs(2), &mut waits).await.is_err());
    drop(elected);
    let began = Instant::now();
    let _elected = in_time(waits).await;
    assert!(began.elapsed() < TAKE_OVER);
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_signs_comes_first() {
    let folder = Folder::new();
    let (plain, signing, later) = (folder.process(), folder.signing(), folder.signing());
    let elected = in_time(plain.elect("token")).await;
    let mut takes = pin!(signing.elect("token"));
    let preempted = async {
        elected.preempted().await;
        drop(elected);
    };
    let (signed, ()) = in_time(async { tokio::join!(&mut takes, preempted) }).await;
    // It keeps the connection: neither kind takes it away.
    assert!(is_waiting(signed.preempted()).await);
    assert!(is_waiting(plain.elect("token")).await);
    assert!(is_waiting(later.elect("token")).await);
    drop(signed);
    let _again = in_time(plain.elect("token")).await;
}

#[tokio::test(start_paused = true)]
async fn a_credential_is_in_no_file_name() {
    let folder = Folder::new();
    let _elected = in_time(folder.process().elect("xoxb-123")).await;
    let files = std::fs::read_dir(folder.dir.path().join("proxies")).unwrap();
    let names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.is_empty());
    assert!(names.iter().all(|name| !name.contains("123")), "{names:?}");
}
