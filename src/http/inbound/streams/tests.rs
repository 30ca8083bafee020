//! Messages on a stream reach its reader once and in order, however often the reader reconnects.

use proptest::prelude::*;
use tokio::runtime::Builder;

use super::*;

fn id(n: u64) -> RequestId {
    RequestId::Integer(n as i64)
}

/// Reads without waiting. Returns the messages and the id of the newest event.
fn read(reader: &mut Reader) -> (Vec<String>, Option<String>) {
    let mut messages = Vec::new();
    let mut last = None;
    while let Ok(delivery) = reader.receiver.try_recv() {
        reader.count(Some(&delivery));
        if let Delivery::Message { data, event_id, .. } = delivery {
            messages.push(String::from_utf8(data.to_vec()).unwrap());
            last = event_id.or(last);
        }
    }
    (messages, last)
}

/// One stream as its client sees it.
struct Client {
    request: RequestId,
    reader: Option<Reader>,
    last: String,
    seen: Vec<String>,
    said: Vec<String>,
    is_over: bool,
}

impl Client {
    fn read(&mut self) {
        if let Some(reader) = &mut self.reader {
            let (messages, last) = read(reader);
            self.seen.extend(messages);
            self.last = last.unwrap_or_else(|| self.last.clone());
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Open,
    Say(usize),
    Answer(usize),
    Read(usize),
    Leave(usize),
    ComeBack(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..6usize;
    prop_oneof![
        Just(Step::Open),
        which.clone().prop_map(Step::Say),
        which.clone().prop_map(Step::Say),
        which.clone().prop_map(Step::Answer),
        which.clone().prop_map(Step::Read),
        which.clone().prop_map(Step::Leave),
        which.prop_map(Step::ComeBack),
    ]
}

fn come_back(streams: &mut Streams, client: &mut Client) {
    if client.reader.is_none() {
        let (reader, _) = streams.resume(&client.last).unwrap();
        client.reader = Some(reader);
    }
}

proptest! {
    #[test]
    fn no_message_is_lost_duplicated_or_put_on_another_stream(steps in prop::collection::vec(step(), 1..60)) {
        let mut streams = Streams::new(true, 1 << 20);
        let mut clients: Vec<Client> = Vec::new();
        let mut count = 0;
        for step in steps {
            match step {
                Step::Open if clients.len() < 6 => {
                    let request = id(clients.len() as u64);
                    let reader = streams.open(std::slice::from_ref(&request), None).unwrap();
                    let last = reader.first_event_id();
                    let reader = Some(reader);
                    clients.push(Client {
                        request, reader, last, seen: vec![], said: vec![], is_over: false,
                    });
                }
                Step::Say(n) | Step::Answer(n) if clients.get(n).is_some_and(|c| !c.is_over) => {
                    let client = &mut clients[n];
                    count += 1;
                    let text = format!("{n}: {count}");
                    client.said.push(text.clone());
                    let key = streams.of_request(&client.request).unwrap();
                    if matches!(step, Step::Answer(_)) {
                        streams.deliver_answer(key, text.into());
                        streams.answered(&client.request);
                        client.is_over = true;
                    } else {
                        streams.deliver(key, text.into());
                    }
                }
                Step::Read(n) if n < clients.len() => clients[n].read(),
                Step::Leave(n) if n < clients.len() => {
                    // Messages in transit are lost with the connection.
                    if let Some(reader) = clients[n].reader.take() {
                        let waiting = streams.reader_gone(&reader);
                        prop_assert_eq!(waiting.is_empty(), clients[n].is_over);
                    }
                }
                Step::ComeBack(n) if n < clients.len() && !clients[n].said.is_empty() => {
                    come_back(&mut streams, &mut clients[n]);
                }
                Step::Open
                | Step::Say(_)
                | Step::Answer(_)
                | Step::Read(_)
                | Step::Leave(_)
                | Step::ComeBack(_) => {}
            }
        }
        for client in &mut clients {
            if !client.said.is_empty() {
                come_back(&mut streams, client);
            }
            client.read();
            prop_assert_eq!(&client.seen, &client.said);
        }
    }

    #[test]
    fn the_kept_events_are_bounded(sizes in prop::collection::vec(0usize..400_000, 1..40)) {
        let mut streams = Streams::new(true, usize::MAX);
        for (n, size) in sizes.into_iter().enumerate() {
            let request = id(n as u64);
            let reader = streams.open(std::slice::from_ref(&request), None).unwrap();
            streams.deliver_answer(reader.key, vec![b'x'; size].into());
            streams.answered(&request);
            let kept = streams.open.values().flat_map(|stream| &stream.sent);
            let kept: usize = kept.map(|(_, data)| data.len()).sum();
            prop_assert_eq!(kept, streams.replay_bytes);
            prop_assert!(kept <= MAX_REPLAY && streams.open.len() <= MAX_STREAMS_KEPT);
        }
    }
}

#[test]
fn a_reader_that_does_not_keep_up_is_cut_off_and_delays_no_other() {
    let mut streams = Streams::new(false, 1_000);
    let mut slow = streams.open(&[id(1)], None).unwrap();
    let mut quick = streams.open(&[id(2)], None).unwrap();
    for _ in 0..100 {
        streams.deliver(slow.key, vec![b'x'; 100].into());
        streams.deliver(quick.key, vec![b'y'; 100].into());
        assert_eq!(read(&mut quick).0.len(), 1);
    }
    assert_eq!(read(&mut slow).0.len(), 10);
    let runtime = Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(slow.next()).is_none());
}

#[test]
fn an_id_can_be_pending_only_once() {
    let mut streams = Streams::new(true, 1_000);
    let reader = streams.open(&[id(1)], Some("\"t\"")).unwrap();
    assert_eq!(
        streams.open(&[id(1)], None).unwrap_err(),
        StreamError::IdInUse
    );
    assert_eq!(
        streams.open(&[id(2), id(2)], None).unwrap_err(),
        StreamError::IdInUse
    );
    assert_eq!(streams.of_token("\"t\""), Some(reader.key));
    streams.answered(&id(1));
    assert_eq!(streams.of_token("\"t\""), None);
    assert!(streams.open(&[id(1)], None).is_ok());
}

#[test]
fn a_new_listener_gets_the_kept_messages_and_the_old_one_ends() {
    let mut streams = Streams::new(true, 1_000);
    streams.keep_for_listener("a".into());
    let mut first = streams.listen().unwrap();
    assert_eq!(read(&mut first).0, ["a"]);
    let mut second = streams.listen().unwrap();
    streams.deliver(streams.listening().unwrap(), "b".into());
    assert_eq!(
        (read(&mut first).0.len(), read(&mut second).0),
        (0, vec!["b".to_owned()])
    );
    let last = "2-1";
    streams.reader_gone(&second);
    streams.keep_for_listener("c".into());
    let (mut again, _) = streams.resume(last).unwrap();
    assert_eq!(read(&mut again).0, ["c"]);
    // However often clients open or resume the stream, only one is open.
    for _ in 0..100 {
        let _ = streams.listen().unwrap();
        let _ = streams.resume("2-1");
    }
    assert!(
        streams.open.len() <= MAX_STREAMS_KEPT + 1,
        "{}",
        streams.open.len()
    );
}

// Resuming it ends the newest listener, which adds an ended stream and may push out the oldest one.
#[test]
fn the_oldest_kept_listener_can_be_resumed() {
    let mut streams = Streams::new(true, 1024 * 1024);
    let mut first = streams.listen().unwrap();
    streams.deliver(first.key, "a".into());
    let (_, last) = read(&mut first);
    for _ in 0..MAX_STREAMS_KEPT {
        let mut next = streams.listen().unwrap();
        streams.deliver(next.key, "x".into());
        assert_eq!(read(&mut next).0, ["x"]);
    }
    let (mut again, _) = streams.resume(last.as_deref().unwrap()).unwrap();
    assert_eq!(streams.listening(), Some(again.key));
    streams.deliver(streams.listening().unwrap(), "b".into());
    assert_eq!(read(&mut again).0, ["b"]);
}

#[test]
fn the_messages_kept_for_a_listener_are_bounded() {
    let mut streams = Streams::new(true, usize::MAX);
    for n in 0..10_000 {
        streams.keep_for_listener(n.to_string().into());
    }
    assert_eq!(read(&mut streams.listen().unwrap()).0.len(), MAX_BACKLOG);
    for _ in 0..10 {
        streams.keep_for_listener(vec![b'x'; MAX_BACKLOG_BYTES / 2].into());
    }
    assert!(streams.backlog_bytes <= MAX_BACKLOG_BYTES);
}
