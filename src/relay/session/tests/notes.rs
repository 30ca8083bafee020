//! A note stays with its own line and never moves to another.

use super::*;
use crate::mcp::message::RequestId;
use crate::transport::Reply;

fn over_http(mode: Mode) -> World {
    World::of(Setup {
        mode,
        over_http: true,
        ..Setup::default()
    })
}

fn about(id: i64) -> Note {
    Note::About(RequestId::Integer(id))
}

fn headers(id: i64) -> Note {
    Note::Headers {
        call: RequestId::Integer(id),
        headers: vec![("mcp-param-region".to_owned(), b"eu".to_vec())],
    }
}

fn stateless_call(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "read", "arguments": {},
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}}})
}

#[tokio::test(start_paused = true)]
async fn equal_lines_from_the_server_each_keep_their_own_note() {
    let mut world = over_http(Mode::None);
    let notes = [Some(about(1)), None, Some(about(2)), Some(about(1))];
    for note in &notes {
        world.server_sends(&chatter(0, 5), note.clone()).await;
    }
    for note in notes {
        let (line, found) = world.at_client.line().await;
        assert_eq!(line, chatter(0, 5));
        assert_eq!(found, note);
    }
}

#[tokio::test(start_paused = true)]
async fn the_note_of_a_line_that_is_not_forwarded_does_not_go_to_a_later_line() {
    let mut world = over_http(Mode::None);
    let reply = Note::Reply(Box::new(Reply {
        status: 404,
        headers: Vec::new(),
        body: b"gone".to_vec(),
    }));
    world.server_sends("no message", Some(reply)).await;
    world.server_sends(&chatter(1, 5), None).await;
    assert_eq!(world.at_client.line().await, (chatter(1, 5), None));
    // The gate splits a batch into new lines, which are not the line that the note belongs to.
    let batch = format!("[{}]", chatter(2, 5));
    world.server_sends(&batch, Some(about(1))).await;
    world.server_sends(&chatter(3, 5), None).await;
    assert_eq!(world.at_client.line().await, (chatter(2, 5), None));
    assert_eq!(world.at_client.line().await, (chatter(3, 5), None));
}

#[tokio::test(start_paused = true)]
async fn notes_stay_with_their_lines_while_the_client_reads_slowly() {
    let mut world = over_http(Mode::None);
    let server = Arc::clone(&world.server);
    let sending = tokio::spawn(async move {
        for number in 0..2_000 {
            let note = (number % 3 == 0).then(|| about(number as i64));
            let line = chatter(number, number % 1_000);
            server.send_line(&line, note).await.unwrap();
        }
    });
    for number in 0..2_000 {
        if number % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let note = (number % 3 == 0).then(|| about(number as i64));
        let expected = (chatter(number, number % 1_000), note);
        assert_eq!(world.at_client.line().await, expected);
    }
    sending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_questions_note_names_its_call() {
    let mut world = over_http(Mode::All);
    world.begins().await;
    world.client_says(call(5)).await;
    world.server_lists_tools().await;
    let (line, note) = world.at_client.line().await;
    assert!(line.contains("elicitation/create"), "{line}");
    assert_eq!(note, Some(about(5)));
    assert!(world.sideband.is_holding());
}

#[tokio::test(start_paused = true)]
async fn headers_are_forwarded_with_their_own_call_if_it_passes() {
    let mut world = over_http(Mode::None);
    for (id, note) in [(1, Some(headers(1))), (2, None), (3, Some(headers(3)))] {
        let line = stateless_call(id).to_string();
        world.client_sends(&line, note.clone()).await;
        assert_eq!(world.at_server.line().await, (line, note));
    }
}

// The client already knows the tool list. Its call waits until the gate has the list, too.
#[tokio::test(start_paused = true)]
async fn headers_stay_with_a_call_that_waits_for_the_tool_list() {
    let mut world = over_http(Mode::Destructive);
    for id in [1, 2] {
        let line = stateless_call(id).to_string();
        let note = (id == 1).then(|| headers(1));
        world.client_sends(&line, note).await;
    }
    let list = world.at_server.expect("tools/list").await;
    let tools = json!([{"name": "read", "annotations": {"readOnlyHint": true},
        "inputSchema": {"type": "object"}}]);
    world
        .server_says(json!({"jsonrpc": "2.0", "id": list["id"], "result": {"tools": tools}}))
        .await;
    let line = |id| stateless_call(id).to_string();
    assert_eq!(world.at_server.line().await, (line(1), Some(headers(1))));
    assert_eq!(world.at_server.line().await, (line(2), None));
}

// INVARIANT 2: the person was not shown the headers.
#[tokio::test(start_paused = true)]
async fn a_call_that_a_person_was_shown_is_forwarded_without_headers() {
    let mut world = over_http(Mode::All);
    world.begins().await;
    let line = call(5).to_string();
    world.client_sends(&line, Some(headers(5))).await;
    world.server_lists_tools().await;
    let prompt = world.at_client.expect("elicitation/create").await;
    world.client_says(yes(&prompt)).await;
    assert_eq!(world.at_server.line().await, (line, None));
}
