//! The lists of waiting items and of the history, and their order.

use super::{New, Scene, asked, ids, item, verdict};
use crate::approval::item::{Choice, Item};
use crate::engines::inbox::store::{ApprovalRequests, Closed, Filter};

pub(crate) fn waiting_items_are_listed_oldest_first_and_history_newest_first(new: New) {
    let mut scene = Scene::new(new);
    let _lease = scene.lease("p");
    let mut texts = vec![("a", 3_000), ("b", 1_000), ("c", 2_000), ("d", 2_000)];
    for (id, asked_ms) in &texts {
        scene.store.ask(&asked(id, *asked_ms), "p").unwrap();
    }
    let (two, all) = scene.store.waiting(2).unwrap();
    assert_eq!((ids(&two), all), (vec!["b", "c"], 4));
    texts.reverse();
    for (id, _) in texts {
        scene
            .store
            .decide(id, &verdict(Choice::Deny, 4_000))
            .unwrap();
    }
    let all = scene.store.history(&Filter::default(), 3).unwrap();
    assert_eq!(ids(&all), ["a", "d", "c"]);
    let filter = Filter {
        before_ms: Some(2_000),
        ..Filter::default()
    };
    assert_eq!(ids(&scene.store.history(&filter, 3).unwrap()), ["b"]);
}

pub(crate) fn history_is_filtered_by_state_server_and_part_of_the_tools_name(new: New) {
    let mut scene = Scene::new(new);
    let ask = |store: &mut dyn ApprovalRequests, id: &str, server: &str, tool: &str| {
        let (server, tool) = (server.to_owned(), tool.to_owned());
        let item = Item {
            server,
            tool,
            ..item(id)
        };
        store.ask(&item, "p").unwrap();
    };
    ask(&mut *scene.store, "a", "files", "delete_User");
    ask(&mut *scene.store, "b", "mail", "LÖSCHEN%");
    ask(&mut *scene.store, "c", "mail", "send");
    ask(&mut *scene.store, "open", "mail", "send");
    scene
        .store
        .decide("a", &verdict(Choice::Approve, 2_000))
        .unwrap();
    scene
        .store
        .decide("b", &verdict(Choice::Deny, 2_000))
        .unwrap();
    scene.store.close("c", Closed::Withdrawn, 2_000).unwrap();
    for (state, server, tool, expected) in [
        (Some("approved"), None, None, vec!["a"]),
        (Some("withdrawn"), None, None, vec!["c"]),
        (Some("waiting"), None, None, vec![]),
        (Some("x' OR 1"), None, None, vec![]),
        (None, Some("mail"), None, vec!["c", "b"]),
        (None, Some("mai"), None, vec![]),
        (None, None, Some("TE_u"), vec!["a"]),
        (None, None, Some("lösch"), vec!["b"]),
        (None, None, Some("%"), vec!["b"]),
        (Some("denied"), Some("mail"), Some("en"), vec!["b"]),
        (None, None, None, vec!["c", "b", "a"]),
    ] {
        let [state, server, tool] = [state, server, tool].map(|text| text.map(str::to_owned));
        let filter = Filter {
            state,
            server,
            tool,
            before_ms: None,
        };
        let found = scene.store.history(&filter, 10).unwrap();
        assert_eq!(ids(&found), expected, "{filter:?}");
    }
}

pub(crate) fn items_are_found_by_the_beginning_of_their_ids(new: New) {
    let mut scene = Scene::new(new);
    let _lease = scene.lease("p");
    for id in ["ab01", "ab02", "ab", "ac", "b%", "bx", "b_", "\u{10fffe}"] {
        scene.store.ask(&item(id), "p").unwrap();
    }
    scene.store.close("ab02", Closed::Expired, 2_000).unwrap();
    let mut found = |beginning: &str, limit| -> Vec<String> {
        let found = scene.store.find_by_beginning(beginning, limit).unwrap();
        found.into_iter().map(|entry| entry.item.id).collect()
    };
    // Waiting items first, then newest first.
    assert_eq!(found("ab", 9), ["ab", "ab01", "ab02"]);
    assert_eq!(found("ab0", 9), ["ab01", "ab02"]);
    assert_eq!(found("ab", 2), ["ab", "ab01"]);
    assert_eq!(found("b%", 9), ["b%"]);
    assert_eq!(found("b_", 9), ["b_"]);
    assert_eq!(found("\u{10fffe}", 9), ["\u{10fffe}"]);
    assert_eq!(found("c", 9), [""; 0]);
    assert_eq!(found("", 9).len(), 8);
}

pub(crate) fn titles_are_kept_with_an_item(new: New) {
    let mut scene = Scene::new(new);
    let _lease = scene.lease("p");
    let titled = Item {
        title: Some("Delete\u{202e} it".to_owned()),
        client_title: Some("C".to_owned()),
        ..item("a")
    };
    scene.store.ask(&titled, "p").unwrap();
    assert_eq!(scene.other().find("a").unwrap().unwrap().item, titled);
}
