//! INVARIANT 1: a call's record is in the log before the server gets a byte of the call.

use std::time::Duration;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_calls_record_is_in_the_log_when_the_server_gets_the_call_and_records_keep_the_calls_order()
 {
    let mut world = World::passing();
    world.begins().await;
    for id in 1..=200 {
        world.client_says(call(id)).await;
    }
    for id in 1..=200 {
        assert_eq!(world.at_server.expect("tools/call").await["id"], id);
        let logged = world.decisions();
        let expected = (json!(id), "passed".to_owned(), true);
        assert_eq!(logged.get(id as usize - 1), Some(&expected));
    }
    let sequence = world.logged().into_iter().map(|line| line["seq"].as_u64());
    let sequence: Vec<u64> = sequence.map(Option::unwrap).collect();
    assert!(sequence.is_sorted());
}

// A reader in its own thread sees what the session writes immediately, not only once the session waits.
#[tokio::test]
async fn nothing_of_a_call_is_sent_while_its_record_waits_for_the_log() {
    let mut world = World::passing();
    world.begins().await;
    let lock = world.locks_log();
    let server = std::mem::replace(&mut world.at_server.link, link_out().0);
    let log = world.log.clone();
    let watching = std::thread::spawn(move || {
        let mut read = Vec::with_capacity(MAX_LINE);
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(server.try_read(&mut read), Attempt::NotReady);
        drop(lock);
        while server.try_read(&mut read) == Attempt::NotReady {
            std::thread::yield_now();
        }
        let log = std::fs::read_to_string(log).unwrap();
        (String::from_utf8(read).unwrap(), log)
    });
    world.client_says(call(1)).await;
    // The session runs on this thread, and blocks it while the log is locked.
    while !watching.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (sent, log) = watching.join().unwrap();
    assert!(sent.contains("tools/call"), "{sent}");
    assert!(log.contains(r#""decision":"passed""#), "{log}");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_record_cannot_be_written_is_refused_and_everything_else_goes_on() {
    let mut world = World::passing();
    world.begins().await;
    let lock = world.locks_log();
    world.client_says(call(1)).await;
    let refused = world.at_client.expect_answer(1).await;
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    world
        .client_says(json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}))
        .await;
    world.at_server.expect("ping").await;
    world
        .server_says(json!({"jsonrpc": "2.0", "method": "notifications/x"}))
        .await;
    world.at_client.expect("notifications/x").await;
    assert_eq!(world.decisions(), []);
    drop(lock);
    world.client_says(call(3)).await;
    assert_eq!(world.at_server.expect("tools/call").await["id"], 3);
    // What could not be written comes first, and does not say that the call was sent.
    let decisions = world.decisions();
    assert_eq!(decisions.len(), 2, "{decisions:?}");
    assert_eq!((&decisions[0].0, decisions[0].2), (&json!(1), false));
    assert_eq!(decisions[1], (json!(3), "passed".to_owned(), true));
}

#[tokio::test(start_paused = true)]
async fn with_best_effort_a_passed_call_runs_without_its_record_and_an_approved_one_does_not() {
    for mode in [Mode::None, Mode::All] {
        let mut world = World::of(Setup {
            mode,
            best_effort: true,
            ..Setup::default()
        });
        world.begins().await;
        if mode == Mode::None {
            let _lock = world.locks_log();
            world.client_says(call(1)).await;
            world.at_server.expect("tools/call").await;
            continue;
        }
        let prompt = world.is_asked(1).await;
        let _lock = world.locks_log();
        world.client_says(yes(&prompt)).await;
        let refused = world.at_client.expect_answer(1).await;
        assert_eq!(refused["result"]["isError"], true, "{refused}");
        world.at_server.expect_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_call_that_is_cancelled_is_recorded_and_nothing_more_is_sent_about_it() {
    let mut world = World::asking();
    world.begins().await;
    let prompt = world.is_asked(1).await;
    world
        .client_says(
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}),
        )
        .await;
    let withdrawn = world.at_client.expect("notifications/cancelled").await;
    assert_eq!(withdrawn["params"]["requestId"], prompt["id"]);
    // A yes that arrives too late does not make the call run.
    world.client_says(yes(&prompt)).await;
    world.at_server.expect_nothing().await;
    world.at_client.expect_nothing().await;
    let expected = [(json!(1), "cancelled".to_owned(), false)];
    assert_eq!(world.decisions(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_answers_in_time_never_runs() {
    let mut world = World::asking();
    world.begins().await;
    let start = Instant::now();
    world.is_asked(1).await;
    let (first, _) = world.at_client.next().await.unwrap();
    let waited = start.elapsed();
    assert!(first.contains("notifications/cancelled"), "{first}");
    let refused = world.at_client.expect_answer(1).await;
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    let limit = Settings::default().timeout.unwrap();
    assert!(
        waited >= limit && waited < limit + Duration::from_secs(1),
        "{waited:?}"
    );
    let expected = [(json!(1), "timeout".to_owned(), false)];
    assert_eq!(world.decisions(), expected);
    world.at_server.expect_nothing().await;
}
