//! What the tests of several engines need.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{Answer, CarriedVerdict, Courier, CourierContext, PageLinks, Rows};
use crate::approval::item::Item;
use crate::approval::render::Show;
use crate::evidence::redact::Redaction;
use crate::gate::{EngineId, Failure};
use crate::policy::Risk;

/// Much longer than anything that a test waits for.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// Where a test receives what a courier answers.
pub(super) type Results = Receiver<Result<CarriedVerdict, Failure>>;

/// Returns an item with an id of 32 digits that begins with `id`.
pub(super) fn item(id: &str) -> Item {
    Item {
        form: None,
        id: format!("{id:0<32}"),
        server: "db".to_owned(),
        tool: "drop_table".to_owned(),
        risk: Risk::High,
        why: "it destroys".to_owned(),
        question: "Allow this tool call?".to_owned(),
        title: Some("Drop".to_owned()),
        description: None,
        hints: String::new(),
        call: r#"{"name":"drop_table","arguments":{"n":1.50,"t":"a\nb"}}"#.to_owned(),
        digest: "0".repeat(64),
        client: Some("c 1".to_owned()),
        client_title: None,
        asked_ms: 5,
        expires_ms: None,
    }
}

/// Returns the context of an engine with this name, with default settings.
pub(super) fn context(name: &'static str) -> CourierContext {
    CourierContext {
        name: EngineId::new(name),
        show: Show::Full,
        timeout: None,
        transport: Arc::default(),
        redaction: Redaction::default(),
        withheld: Arc::new([]),
        runtime: Arc::default(),
        page: PageLinks::default(),
        rows: Rows::default(),
    }
}

/// Lets the courier carry an item.
pub(super) fn carry(courier: &mut dyn Courier, item: &Item) -> Results {
    let (sender, results) = channel();
    let answer = Answer::new(move |answer| {
        // The test may have ended already.
        let _ = sender.send(answer);
    });
    courier.carry(item, answer);
    results
}

/// Waits until something is so.
pub(super) fn eventually(mut is_so: impl FnMut() -> bool) {
    const CHECK_EVERY: Duration = Duration::from_millis(5);
    let checks = DEADLINE.as_millis() / CHECK_EVERY.as_millis();
    let is_so = (0..checks).any(|_| {
        std::thread::sleep(CHECK_EVERY);
        is_so()
    });
    assert!(is_so);
}
