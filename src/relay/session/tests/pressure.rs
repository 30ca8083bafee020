//! A side that does not read slows the other one down and costs little memory. Nothing is lost.

use super::*;

/// The most bytes in transit in one direction: two links, the output of one batch, and the queue.
const IN_TRANSIT: usize = 1024 * 1024;

fn numbers(lines: &[Value]) -> Vec<usize> {
    let number = |line: &Value| line["params"]["n"].as_u64().map(|n| n as usize);
    lines.iter().filter_map(number).collect()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_stops_the_server_and_later_gets_everything() {
    let mut world = World::passing();
    let length = 1_000;
    let taken = floods(&world.server, length, 100_000).await;
    assert!(
        taken > 200 && taken * length < IN_TRANSIT,
        "{taken} lines were taken"
    );
    let mut read = Vec::new();
    for _ in 0..taken {
        read.push(world.at_client.message().await);
    }
    assert_eq!(numbers(&read), (0..taken).collect::<Vec<_>>());
    // The server can then continue.
    assert_eq!(floods(&world.server, length, 100).await, 100);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_not_read_either() {
    let world = World::passing();
    floods(&world.server, 1_000, 100_000).await;
    let client = world.client.as_ref().unwrap();
    let taken = floods(client, 1_000, 100_000).await;
    // As much as one link holds.
    assert!(taken * 1_000 < 256 * 1024, "{taken} lines were taken");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_reads_nothing_stops_the_client_but_its_output_is_still_read() {
    let mut world = World::passing();
    let client = Arc::clone(world.client.as_ref().unwrap());
    let taken = floods(&client, 1_000, 100_000).await;
    assert!(
        taken > 200 && taken * 1_000 < IN_TRANSIT,
        "{taken} lines were taken"
    );
    // It may read only once its output is taken.
    for number in 0..2_000 {
        world.server_sends(&chatter(number, 1_000), None).await;
        let said = world.at_client.message().await;
        assert_eq!(said["params"]["n"], number);
    }
    let mut read = Vec::new();
    for _ in 0..taken {
        read.push(world.at_server.message().await);
    }
    assert_eq!(numbers(&read), (0..taken).collect::<Vec<_>>());
}

// The answer comes behind what the client has sent before.
#[tokio::test(start_paused = true)]
async fn while_a_person_is_asked_a_server_that_reads_nothing_does_not_block_the_answer() {
    let mut world = World::asking();
    world.begins().await;
    let prompt = world.is_asked(1).await;
    let client = Arc::clone(world.client.as_ref().unwrap());
    assert_eq!(floods(&client, 10_000, 300).await, 300);
    world.client_says(yes(&prompt)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let expected = [(json!(1), "approved".to_owned(), true)];
    assert_eq!(world.decisions(), expected);
}

#[tokio::test(start_paused = true)]
async fn lines_of_every_size_pass_both_ways_at_once_in_order_and_whole() {
    let mut world = World::passing();
    let count = 400;
    let length = |number: usize| match number % 7 {
        0 => 300_000,
        1 => 0,
        other => other * 997,
    };
    let line = move |number: usize| chatter(number, length(number));
    let mut sending = Vec::new();
    for writer in [
        Arc::clone(world.client.as_ref().unwrap()),
        Arc::clone(&world.server),
    ] {
        sending.push(tokio::spawn(async move {
            for number in 0..count {
                writer.send_line(&line(number), None).await.unwrap();
            }
        }));
    }
    let World {
        at_client,
        at_server,
        ..
    } = &mut world;
    let reads = |reader: &'static str, at: Reader| async move {
        let mut at = at;
        for number in 0..count {
            let read = at.line().await.0;
            assert!(read == line(number), "{reader}: line {number} differs");
        }
    };
    let at_client = std::mem::replace(at_client, Reader::new(link_out().0));
    let at_server = std::mem::replace(at_server, Reader::new(link_out().0));
    tokio::join!(
        reads("the client", at_client),
        reads("the server", at_server)
    );
    for task in sending {
        task.await.unwrap();
    }
}

/// Sends without end.
fn never_stops(writer: &Arc<LinkWriter>) {
    let writer = Arc::clone(writer);
    tokio::spawn(async move { while writer.send_line(&chatter(0, 60_000), None).await.is_ok() {} });
}

#[tokio::test(start_paused = true)]
async fn peers_that_never_stop_sending_do_not_delay_a_signal() {
    let mut world = World::passing();
    never_stops(world.client.as_ref().unwrap());
    never_stops(&world.server);
    for reader in [&mut world.at_client, &mut world.at_server] {
        let mut reader = std::mem::replace(reader, Reader::new(link_out().0));
        tokio::spawn(async move { while reader.next().await.is_some() {} });
    }
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    world.is_signalled();
    let (ended, _) = world.ends().await;
    assert!(matches!(ended, Ended::Signal(15)), "{ended:?}");
}
