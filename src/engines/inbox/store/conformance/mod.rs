//! What every store does, whatever it is made of: a suite that runs against each implementation.
//!
//! What is special to one implementation, such as its files, is tested beside it.

pub(crate) mod elsewhere;
pub(crate) mod lists;
pub(crate) mod logins;
pub(crate) mod model;
pub(crate) mod outliving;
pub(crate) mod requests;
pub(crate) mod words;

use std::time::Duration;

use super::{
    ApprovalRequests, Decided, Elsewhere, Entry, Lease, Logins, SignedVerdict, State, Store,
};
use crate::approval::item::{Assurance, Choice, Item, Verdict};
use crate::evidence::redact::Redaction;
use crate::policy::Risk;

/// Makes a store that nobody else has.
pub(crate) type New = fn() -> Opener;

/// Opens one store, again and again.
pub(crate) struct Opener {
    /// Opens it, for those whose calls have such secrets.
    pub(crate) open: Box<dyn Fn(&Redaction) -> Store>,
    /// Whether it may hold an item that can be resumed.
    pub(crate) may_resume: Box<dyn Fn() -> bool>,
}

/// Makes a test of each named part of the suite, for the stores that a [`New`] makes.
macro_rules! conforms {
    ($new:ident: $($part:ident: $($test:ident),+ $(,)?;)+) => {
        $(mod $part {
            use crate::engines::inbox::store::conformance::$part;

            $(#[test]
            fn $test() {
                $part::$test(super::$new);
            })+
        })+
    };
}

/// Makes tests of the whole suite.
macro_rules! conforms_in_all {
    ($new:ident) => {
        $crate::engines::inbox::store::conformance::conforms! {
            $new:
            requests: what_one_opener_asks_another_sees_and_decides_and_the_first_is_told_once, who_waits_for_a_change_is_told_of_it_and_kept_no_longer_than_wanted, of_many_verdicts_at_once_exactly_one_counts, a_verdict_after_the_items_time_is_too_late_and_a_sweep_closes_it, a_parked_item_waits_past_its_first_time_and_its_yes_stays_to_be_taken, who_parks_or_closes_what_is_decided_changes_nothing, an_item_is_withdrawn_only_while_nobody_has_decided, a_verdict_that_did_not_count_leaves_the_item_as_it_was, a_long_reason_is_cut_between_characters, the_items_of_a_dropped_lease_expire_and_those_of_a_live_one_here_do_not, looking_after_a_store_in_which_nothing_happens_tells_nobody_of_a_change, an_item_with_an_id_that_there_is_already_is_refused_and_changes_nothing;
            lists: what_waits_is_listed_oldest_first_and_history_newest_first, history_is_filtered_by_state_server_and_part_of_the_tools_name, items_are_found_by_how_their_ids_begin, titles_are_kept_with_an_item;
            elsewhere: what_was_decided_elsewhere_is_history_without_its_secrets_and_never_waits, what_is_recorded_cannot_replace_an_item, an_item_that_was_withdrawn_for_a_decision_elsewhere_becomes_its_row;
            words: a_name_stays_with_its_verdict_until_that_does_not_count, what_another_program_wrote_in_place_of_a_name_reaches_no_proxy, what_the_asking_proxy_calls_a_secret_is_none_of_the_history_whoever_decides, a_large_call_is_kept_in_64_kib;
            logins: a_token_is_good_until_its_time_is_over_and_taken_once, of_too_many_tokens_those_that_end_first_are_forgotten, a_token_keeps_its_name_until_it_ends;
            outliving: a_session_that_was_left_an_item_gets_it_as_it_was_asked_and_nobody_else_does, only_its_owner_marks_an_item_and_only_where_it_is_parked, the_items_of_a_dead_proxy_are_resumed_before_a_sweep_and_after_it, a_verdict_is_handed_to_the_next_owner_whenever_it_was_given, of_many_who_resume_at_once_one_gets_the_item, what_was_taken_up_is_nobodys_to_resume_even_if_its_owner_dies_then, who_resumed_an_item_and_dies_before_taking_it_up_leaves_it_to_the_next, what_is_left_without_a_mark_is_withdrawn_and_another_proxys_item_stays, a_verdict_of_a_marked_item_does_not_count_for_good_by_the_passing_of_time, an_item_that_is_decided_comes_before_one_that_is_not_and_a_newer_before_an_older, a_verdict_that_did_not_count_leaves_an_item_to_be_decided_and_resumed_without_an_owner, what_is_closed_is_not_resumed, no_mark_is_lost_to_sweeps_at_the_same_time;
            model: any_order_of_operations_does_what_the_trait_says;
        }
    };
}

pub(crate) use {conforms, conforms_in_all};

/// A store of a test's own, and what a first opener has of it.
pub(crate) struct Scene {
    opener: Opener,
    pub(crate) store: Box<dyn ApprovalRequests>,
    pub(crate) logins: Box<dyn Logins>,
}

impl Scene {
    fn new(new: New) -> Scene {
        let opener = new();
        let Store {
            requests, logins, ..
        } = (opener.open)(&Redaction::default());
        Scene {
            opener,
            store: requests,
            logins,
        }
    }

    fn open(&self) -> Store {
        (self.opener.open)(&Redaction::default())
    }

    /// What a proxy of this name has while it lives.
    fn lease(&self, proxy: &str) -> Lease {
        self.open().liveness.lease(proxy).unwrap()
    }

    /// Another opener.
    fn other(&self) -> Box<dyn ApprovalRequests> {
        self.open().requests
    }

    /// Another opener, whose calls have such secrets.
    fn redacting(&self, redaction: &Redaction) -> Box<dyn ApprovalRequests> {
        (self.opener.open)(redaction).requests
    }

    /// Another opener's logins.
    fn logins(&self) -> Box<dyn Logins> {
        self.open().logins
    }

    fn may_resume(&self) -> bool {
        (self.opener.may_resume)()
    }

    fn state_of(&mut self, id: &str) -> State {
        state_of(&mut *self.store, id)
    }

    fn park(&mut self, id: &str, proxy: &str) {
        park(&mut *self.store, id, proxy);
    }

    fn decide(&mut self, id: &str, choice: Choice) -> SignedVerdict {
        decide(&mut *self.store, id, choice)
    }

    fn resume(&mut self, proxy: &str, now_ms: i64) -> Option<String> {
        resume(&mut *self.store, proxy, now_ms)
    }
}

/// Until when [`park`] parks.
pub(crate) const UNTIL: i64 = 100_000;

pub(crate) fn state_of(store: &mut dyn ApprovalRequests, id: &str) -> State {
    store.find(id).unwrap().unwrap().state
}

/// A proxy asks, and its session parks and marks the item.
pub(crate) fn park(store: &mut dyn ApprovalRequests, id: &str, proxy: &str) {
    store.ask(&asked(id, 1_000), proxy).unwrap();
    store.park(id, UNTIL).unwrap();
    assert!(store.mark(id, proxy, "key").unwrap());
}

pub(crate) fn decide(store: &mut dyn ApprovalRequests, id: &str, choice: Choice) -> SignedVerdict {
    let given = verdict(choice, 2_000);
    assert_eq!(store.decide(id, &given).unwrap(), Decided::Recorded);
    given
}

/// The id of the item that the proxy resumes, if there is one.
pub(crate) fn resume(store: &mut dyn ApprovalRequests, proxy: &str, now_ms: i64) -> Option<String> {
    let resumed = store.resume("key", proxy, now_ms).unwrap();
    resumed.map(|resumed| resumed.id)
}

/// Whether others have changed something since this was last called.
pub(crate) fn is_changed(store: &mut dyn ApprovalRequests) -> bool {
    store.changed(Duration::ZERO, None).unwrap()
}

pub(crate) fn item(id: &str) -> Item {
    Item {
        id: id.to_owned(),
        server: "files".to_owned(),
        tool: "delete_User".to_owned(),
        risk: Risk::High,
        why: "it deletes".to_owned(),
        question: "Allow this tool call?".to_owned(),
        title: None,
        description: Some("Deletes a user.\0".to_owned()),
        hints: "destructive".to_owned(),
        call: r#"{"name":"delete_User","arguments":{"n":1.0,"password":"hunter2"}}"#.to_owned(),
        digest: "ab".repeat(32),
        client: None,
        client_title: None,
        asked_ms: 1_000,
        expires_ms: Some(5_000),
    }
}

pub(crate) fn asked(id: &str, asked_ms: i64) -> Item {
    Item {
        asked_ms,
        expires_ms: None,
        ..item(id)
    }
}

pub(crate) fn verdict(choice: Choice, decided_ms: i64) -> SignedVerdict {
    SignedVerdict {
        verdict: Verdict {
            choice,
            reason: Some("because".to_owned()),
            cover: Duration::from_millis(1_500),
            assurance: Assurance::InboxPassphrase,
            approver: Some("Ann".to_owned()),
            decided_ms,
        },
        signature: Some(vec![1, 2, 3]),
        engine: None,
    }
}

pub(crate) fn elsewhere(id: &str, decided_ms: i64) -> Elsewhere {
    let SignedVerdict { mut verdict, .. } = verdict(Choice::Approve, decided_ms);
    verdict.assurance = Assurance::CallerRelayed;
    Elsewhere {
        item: item(id),
        verdict,
        engine: "elicitation".to_owned(),
    }
}

pub(crate) fn ids(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.item.id.as_str()).collect()
}

/// The call of [`item`], once it waits no more.
pub(crate) const REDACTED: &str =
    r#"{"name":"delete_User","arguments":{"n":1.0,"password":"[redacted]"}}"#;
