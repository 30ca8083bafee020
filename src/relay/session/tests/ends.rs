//! How a session ends: who is still there gets what it is owed, in time.

use super::*;
use crate::relay::session::{FAREWELL, STALLED};

fn ping(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "ping"})
}

fn last_line(world: &World) -> Value {
    world.logged().pop().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_has_had_its_last_words_heard_and_gets_the_servers() {
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
async fn a_server_that_goes_on_when_the_client_has_closed_is_ended() {
    let mut world = World::passing();
    world.begins().await;
    world.client_closes();
    let (ended, took) = world.ends().await;
    assert!(matches!(ended, Ended::ClientClosed), "{ended:?}");
    assert!(took <= 2 * FAREWELL, "{took:?}");
}

// Phase `Closing`.
#[tokio::test(start_paused = true)]
async fn a_server_that_takes_nothing_from_a_client_that_has_gone_has_a_moment_and_no_more() {
    let mut world = World::passing();
    world.begins().await;
    // More than a link, less than what is read at the most.
    let client = Arc::clone(world.client.as_ref().unwrap());
    assert_eq!(floods(&client, 1_000, 300).await, 300);
    drop(client);
    world.client_closes();
    tokio::time::sleep(FAREWELL / 2).await;
    assert!(!world.session.is_finished());
    // What it says meanwhile is still heard.
    world.server_says(ping(9)).await;
    world.at_client.expect("ping").await;
    let (ended, took) = world.ends().await;
    assert!(matches!(ended, Ended::ClientClosed), "{ended:?}");
    assert!(took >= FAREWELL / 2 && took <= 3 * FAREWELL, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_what_it_is_owed_in_that_moment_gets_all_of_it() {
    let mut world = World::passing();
    world.begins().await;
    let client = Arc::clone(world.client.as_ref().unwrap());
    assert_eq!(floods(&client, 1_000, 300).await, 300);
    drop(client);
    world.client_closes();
    tokio::time::sleep(FAREWELL / 2).await;
    let start = Instant::now();
    let rest = world.at_server.rest().await;
    assert_eq!(rest.len(), 300);
    // It is not made to wait for the end of the moment.
    assert!(start.elapsed() < FAREWELL / 2);
    world.server.close();
    world.server_ends();
    assert!(matches!(world.ends().await.0, Ended::ClientClosed));
}

// While the server takes nothing, nothing is read from the client, and so its end does not show by reading.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_is_noticed_behind_a_server_that_takes_nothing() {
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
        // One that has only closed its end may wait for answers. The flood took a minute of that.
        let most = match reads_on {
            false => 4 * FAREWELL,
            true => STALLED + 3 * FAREWELL,
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
async fn what_a_server_said_before_it_ended_arrives_and_then_what_waits_is_answered() {
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
async fn where_the_server_never_spoke_a_client_that_asks_soon_is_told_why() {
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
async fn where_the_server_never_spoke_a_silent_client_is_not_waited_for_long() {
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
async fn a_signal_answers_what_waits_and_is_recorded() {
    let mut world = World::asking();
    world.begins().await;
    let prompt = world.is_asked(1).await;
    world.is_signalled();
    assert_eq!(world.at_server.next().await, None);
    world.server.close();
    world.server_ends();
    let (ended, took) = world.ends().await;
    assert!(matches!(ended, Ended::Signal(15)), "{ended:?}");
    assert!(took <= FAREWELL, "{took:?}");
    let rest = world.at_client.rest().await;
    let withdrawn = |line: &Value| line["params"]["requestId"] == prompt["id"];
    assert!(rest.iter().any(withdrawn), "{rest:?}");
    assert!(rest.iter().any(|line| line["id"] == 1), "{rest:?}");
    assert_eq!(last_line(&world)["reason"], "signal 15");
    assert!(!world.decisions()[0].2);
}

// The client could not be told anything, so nothing that it would have to decide may wait.
#[tokio::test(start_paused = true)]
async fn a_client_that_nobody_can_write_to_is_gone() {
    let mut world = World::passing();
    world.begins().await;
    world.at_client = Reader::new(link_out().0);
    world.server_says(ping(1)).await;
    let (ended, _) = world.ends().await;
    assert!(matches!(ended, Ended::ClientClosed), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_confirmed_behind_all_that_was_sent_before() {
    let mut world = World::passing();
    world.begins().await;
    world.client_says(call(1)).await;
    tokio::task::yield_now().await;
    let why = "it knows no such session".to_owned();
    world.told.send(RemoteEvent::Restarted { why }).unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.client_says(call(2)).await;
    assert_eq!(world.at_server.expect("tools/call").await["id"], 1);
    assert_eq!(
        world.at_server.line().await.0,
        crate::transport::RESTART_HEARD
    );
    assert_eq!(world.at_server.expect("tools/call").await["id"], 2);
}
