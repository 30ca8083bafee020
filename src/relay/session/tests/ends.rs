//! The end of a session: the side that is still there gets what is queued for it, in time.

use super::*;
use crate::relay::session::{DRAIN_TIME, STALLED};

fn ping(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "ping"})
}

fn last_line(world: &World) -> Value {
    world.logged().pop().unwrap()
}

#[tokio::test(start_paused = true)]
async fn after_a_client_closes_its_calls_still_run_and_it_gets_the_results() {
    let mut world = World::passing();
    world.begins().await;
    for id in 1..=50 {
        world.client_says(call(id)).await;
    }
    world.client_closes();
    for id in 1..=50 {
        assert_eq!(world.at_server.expect("tools/call").await["id"], id);
        world.server_says(result(id)).await;
    }
    assert_eq!(world.at_server.next().await, None);
    world.server.close();
    world.server_ends();
    let (ended, _) = world.ends().await;
    assert!(matches!(ended, Ended::ClientClosed), "{ended:?}");
    let rest = world.at_client.rest().await;
    assert_eq!(rest, (1..=50).map(result).collect::<Vec<_>>());
    assert_eq!(last_line(&world)["event"], "close");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_keeps_running_after_the_client_has_closed_is_ended() {
    let mut world = World::passing();
    world.begins().await;
    world.client_closes();
    let (ended, took) = world.ends().await;
    assert!(matches!(ended, Ended::ClientClosed), "{ended:?}");
    assert!(took <= 2 * DRAIN_TIME, "{took:?}");
}

// Phase `Closing`.
#[tokio::test(start_paused = true)]
async fn a_server_that_reads_nothing_has_limited_time_after_its_client_has_gone() {
    let mut world = World::passing();
    world.begins().await;
    // More than a link holds, less than what the relay reads ahead.
    let client = Arc::clone(world.client.as_ref().unwrap());
    assert_eq!(floods(&client, 1_000, 300).await, 300);
    drop(client);
    world.client_closes();
    tokio::time::sleep(DRAIN_TIME / 2).await;
    assert!(!world.session.is_finished());
    // We still read what it sends.
    world.server_says(ping(9)).await;
    world.at_client.expect("ping").await;
    let (ended, took) = world.ends().await;
    assert!(matches!(ended, Ended::ClientClosed), "{ended:?}");
    assert!(took >= DRAIN_TIME / 2 && took <= 3 * DRAIN_TIME, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_reads_within_that_time_gets_everything_that_was_queued() {
    let mut world = World::passing();
    world.begins().await;
    let client = Arc::clone(world.client.as_ref().unwrap());
    assert_eq!(floods(&client, 1_000, 300).await, 300);
    drop(client);
    world.client_closes();
    tokio::time::sleep(DRAIN_TIME / 2).await;
    let start = Instant::now();
    let rest = world.at_server.rest().await;
    assert_eq!(rest.len(), 300);
    // It does not have to wait until the time is up.
    assert!(start.elapsed() < DRAIN_TIME / 2);
    world.server.close();
    world.server_ends();
    assert!(matches!(world.ends().await.0, Ended::ClientClosed));
}

// While the server reads nothing, we do not read from the client, so we do not notice its end by reading.
#[tokio::test(start_paused = true)]
async fn we_notice_that_a_client_is_gone_even_if_the_server_reads_nothing() {
    for reads_on in [false, true] {
        let mut world = World::passing();
        world.begins().await;
        let client = Arc::clone(world.client.as_ref().unwrap());
        assert!(floods(&client, 1_000, 100_000).await < 100_000);
        drop(client);
        world.client_closes();
        if !reads_on {
            world.at_client = Reader::new(link_out().0);
        }
        let (ended, took) = world.ends().await;
        assert!(matches!(ended, Ended::ClientClosed), "{ended:?}");
        // A client that has only closed its sending end may wait for answers. The flood took a minute of that time.
        let most = match reads_on {
            false => 4 * DRAIN_TIME,
            true => STALLED + 3 * DRAIN_TIME,
        };
        assert!(took <= most, "{reads_on}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_call_is_over_when_its_client_closes() {
    let mut world = World::asking();
    world.begins().await;
    world.is_asked(1).await;
    world.client_closes();
    assert_eq!(world.at_server.next().await, None);
    let (ended, _) = world.ends().await;
    assert!(matches!(ended, Ended::ClientClosed), "{ended:?}");
    let decisions = world.decisions();
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    assert!(!decisions[0].2, "{decisions:?}");
}

#[tokio::test(start_paused = true)]
async fn a_servers_last_output_arrives_before_pending_requests_are_failed() {
    let mut world = World::passing();
    world.begins().await;
    for id in [1, 2] {
        world.client_says(call(id)).await;
        world.at_server.expect("tools/call").await;
    }
    let server = Arc::clone(&world.server);
    for number in 0..100 {
        let line = chatter(number, 10);
        server.send_line(&line, None).await.unwrap();
    }
    world.server_says(result(1)).await;
    server.close();
    world.server_ends();
    let (ended, _) = world.ends().await;
    assert!(matches!(ended, Ended::UpstreamDied(_)), "{ended:?}");
    let rest = world.at_client.rest().await;
    assert_eq!(rest.len(), 102);
    assert_eq!(rest[99]["params"]["n"], 99);
    assert_eq!(rest[100], result(1));
    assert_eq!(rest[101]["id"], 2);
    let why = rest[101]["error"]["message"].as_str().unwrap();
    assert!(why.contains("closed the connection"), "{why}");
    assert_eq!(last_line(&world)["event"], "close");
}

#[tokio::test(start_paused = true)]
async fn a_held_call_is_refused_when_its_server_ends_and_its_prompt_is_withdrawn() {
    let mut world = World::asking();
    world.begins().await;
    let prompt = world.is_asked(1).await;
    world.server.close();
    world.server_ends();
    let (ended, _) = world.ends().await;
    assert!(matches!(ended, Ended::UpstreamDied(_)), "{ended:?}");
    let rest = world.at_client.rest().await;
    let withdrawn = |line: &Value| line["params"]["requestId"] == prompt["id"];
    assert!(rest.iter().any(withdrawn), "{rest:?}");
    assert!(rest.iter().any(|line| line["id"] == 1), "{rest:?}");
    assert!(!world.decisions()[0].2);
}

// Phase `Explaining`.
#[tokio::test(start_paused = true)]
async fn if_the_server_never_sent_a_message_the_clients_first_request_is_answered_with_why() {
    let mut world = World::passing();
    world.server.close();
    world.server_ends();
    tokio::time::sleep(Duration::from_millis(100)).await;
    world
        .client_says(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}))
        .await;
    let (ended, _) = world.ends().await;
    assert!(matches!(ended, Ended::UpstreamNeverSpoke(_)), "{ended:?}");
    let rest = world.at_client.rest().await;
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert!(rest[0]["error"]["message"].is_string(), "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn if_the_server_never_sent_a_message_a_silent_client_does_not_delay_the_end_for_long() {
    let mut world = World::passing();
    world.server.close();
    world.server_ends();
    let (ended, took) = world.ends().await;
    assert!(matches!(ended, Ended::UpstreamNeverSpoke(_)), "{ended:?}");
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(took <= Duration::from_secs(4), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_signal_ends_the_wait_for_a_client_that_has_not_asked() {
    let mut world = World::passing();
    world.server.close();
    world.server_ends();
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.is_signalled();
    let (ended, took) = world.ends().await;
    assert!(matches!(ended, Ended::UpstreamNeverSpoke(_)), "{ended:?}");
    assert_eq!(took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_signal_fails_pending_requests_and_is_recorded() {
    let mut world = World::asking();
    world.begins().await;
    let prompt = world.is_asked(1).await;
    world.is_signalled();
    assert_eq!(world.at_server.next().await, None);
    world.server.close();
    world.server_ends();
    let (ended, took) = world.ends().await;
    assert!(matches!(ended, Ended::Signal(15)), "{ended:?}");
    assert!(took <= DRAIN_TIME, "{took:?}");
    let rest = world.at_client.rest().await;
    let withdrawn = |line: &Value| line["params"]["requestId"] == prompt["id"];
    assert!(rest.iter().any(withdrawn), "{rest:?}");
    assert!(rest.iter().any(|line| line["id"] == 1), "{rest:?}");
    assert_eq!(last_line(&world)["reason"], "signal 15");
    assert!(!world.decisions()[0].2);
}

// We could not send it a prompt, so no call may wait for its answer.
#[tokio::test(start_paused = true)]
async fn a_client_that_cannot_be_written_to_counts_as_gone() {
    let mut world = World::passing();
    world.begins().await;
    world.at_client = Reader::new(link_out().0);
    world.server_says(ping(1)).await;
    let (ended, _) = world.ends().await;
    assert!(matches!(ended, Ended::ClientClosed), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_confirmed_after_everything_that_was_sent_before_it() {
    let mut world = World::passing();
    world.begins().await;
    world.client_says(call(1)).await;
    tokio::task::yield_now().await;
    let why = "it knows no such session".to_owned();
    world.events.send(RemoteEvent::Restarted { why }).unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.client_says(call(2)).await;
    assert_eq!(world.at_server.expect("tools/call").await["id"], 1);
    assert_eq!(
        world.at_server.line().await.0,
        crate::transport::RESTART_HEARD
    );
    assert_eq!(world.at_server.expect("tools/call").await["id"], 2);
}
