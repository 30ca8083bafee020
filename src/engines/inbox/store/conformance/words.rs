//! Text from calls and people: which names are kept, and which secrets are not.

use super::{New, Scene, asked, item, verdict};
use crate::approval::item::{Choice, Item};
use crate::engines::inbox::store::{ApprovalRequests, Closed, Filter, SignedVerdict};
use crate::evidence::redact::Redaction;

fn named(name: Option<&str>, decided_ms: i64) -> SignedVerdict {
    let mut given = verdict(Choice::Approve, decided_ms);
    given.verdict.approver = name.map(str::to_owned);
    given
}

fn approver_of(store: &mut dyn ApprovalRequests, id: &str) -> Option<String> {
    let entry = store.find(id).unwrap().unwrap();
    entry.verdict.unwrap().approver
}

pub(crate) fn a_name_stays_with_its_verdict_until_that_does_not_count(new: New) {
    let mut scene = Scene::new(new);
    let _lease = scene.lease("p");
    for (id, name) in [("a", Some("Zoë")), ("b", None)] {
        scene.store.ask(&item(id), "p").unwrap();
        let given = named(name, 2_000);
        scene.other().decide(id, &given).unwrap();
        assert_eq!(approver_of(&mut *scene.store, id).as_deref(), name);
        let taken = scene.store.take_verdicts("p").unwrap();
        assert_eq!(taken, [(id.to_owned(), given)]);
    }
    scene.store.settle("p").unwrap();
    let history = scene.store.history(&Filter::default(), 9).unwrap();
    let names = history
        .into_iter()
        .map(|entry| entry.verdict.unwrap().approver);
    assert_eq!(names.collect::<Vec<_>>(), [None, Some("Zoë".to_owned())]);

    // The first verdict has a name, and the next one has none.
    scene.store.ask(&asked("c", 1_000), "p").unwrap();
    scene.store.decide("c", &named(Some("Zoë"), 2_000)).unwrap();
    scene.store.take_verdicts("p").unwrap();
    scene.store.reopen("c").unwrap();
    scene.store.decide("c", &named(None, 3_000)).unwrap();
    assert_eq!(approver_of(&mut *scene.store, "c"), None);
}

pub(crate) fn an_invalid_name_written_by_another_program_reaches_no_proxy(new: New) {
    let mut scene = Scene::new(new);
    let _lease = scene.lease("p");
    let long = "x".repeat(65);
    for bad in ["", " Ann", "An\u{202e}n", "Ann\n", &long] {
        let id = format!("{bad:?}");
        scene.store.ask(&item(&id), "p").unwrap();
        scene.store.decide(&id, &named(Some(bad), 2_000)).unwrap();
        let taken = scene.store.take_verdicts("p").unwrap();
        assert_eq!(taken, [(id, named(None, 2_000))]);
    }
}

pub(crate) fn secrets_of_the_asking_proxy_stay_out_of_the_history_whoever_decides(new: New) {
    let mut scene = Scene::new(new);
    let _lease = scene.lease("p");
    let pattern = regex::Regex::new("EMP-[0-9]+").unwrap();
    let redaction = Redaction::with(vec!["employeeId".to_owned()], vec![pattern]);
    let mut asking = scene.redacting(&redaction);
    let asked = |id: &str| Item {
        call: r#"{"name":"t","arguments":{"employee_id":"x7","note":"EMP-12 left"}}"#.to_owned(),
        ..asked(id, 1_000)
    };
    let expected =
        r#"{"name":"t","arguments":{"employee_id":"[redacted]","note":"[redacted] left"}}"#;
    for id in ["decided", "expired", "again"] {
        asking.ask(&asked(id), "p").unwrap();
        assert_eq!(scene.store.find(id).unwrap().unwrap().item, asked(id));
    }
    scene
        .store
        .decide("decided", &verdict(Choice::Deny, 2_000))
        .unwrap();
    scene
        .store
        .close("expired", Closed::Expired, 2_000)
        .unwrap();
    // After a verdict that did not count, the call is unchanged for the next one.
    scene
        .store
        .decide("again", &verdict(Choice::Approve, 2_000))
        .unwrap();
    scene.store.reopen("again").unwrap();
    assert_eq!(
        scene.store.find("again").unwrap().unwrap().item,
        asked("again")
    );
    scene
        .store
        .decide("again", &verdict(Choice::Deny, 2_000))
        .unwrap();
    for id in ["decided", "expired", "again"] {
        assert_eq!(
            scene.store.find(id).unwrap().unwrap().item.call,
            expected,
            "{id}"
        );
    }
}

pub(crate) fn a_large_call_is_kept_in_64_kib(new: New) {
    let mut scene = Scene::new(new);
    let large = Item {
        call: format!(
            r#"{{"name":"t","arguments":{{"rows":[{}]}}}}"#,
            vec!["1234567"; 400_000].join(",")
        ),
        ..asked("a", 1_000)
    };
    scene.store.ask(&large, "p").unwrap();
    scene.store.close("a", Closed::Withdrawn, 2_000).unwrap();
    let kept = scene.store.find("a").unwrap().unwrap().item.call;
    assert!(kept.len() <= 64 * 1024, "{}", kept.len());
    assert!(kept.contains(r#""[shortened: "#), "{kept:.100}");
    crate::mcp::json::Value::parse(&kept).unwrap();
}
