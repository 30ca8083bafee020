//! The conformance suite: tests that every implementation of the store must pass.
//!
//! Tests of a single implementation, such as of its files, are next to that implementation.

pub(crate) mod approvals;
pub(crate) mod devices;
pub(crate) mod elsewhere;
pub(crate) mod keys;
pub(crate) mod lists;
pub(crate) mod logins;
pub(crate) mod model;
pub(crate) mod outliving;
pub(crate) mod requests;
pub(crate) mod words;

use std::time::Duration;

use super::{
    ApprovalRequests, Approvals, Decided, Devices, Elsewhere, Entry, Lease, Logins, SignedVerdict,
    State, Store,
};
use crate::approval::item::{Assurance, Choice, Item, Verdict};
use crate::evidence::redact::Redaction;
use crate::policy::Risk;

/// Creates a new, separate store.
pub(crate) type New = fn() -> Opener;

/// Opens the same store any number of times.
pub(crate) struct Opener {
    /// Opens it with this redaction.
    pub(crate) open: Box<dyn Fn(&Redaction) -> Store>,
    /// Returns true if it may contain an item that can be resumed.
    pub(crate) may_resume: Box<dyn Fn() -> bool>,
}

/// Defines the named tests of the suite for the stores that a [`New`] creates.
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

/// Defines all tests of the suite.
macro_rules! conforms_in_all {
    ($new:ident) => {
        $crate::engines::inbox::store::conformance::conforms! {
            $new:
            requests: a_form_is_shown_as_it_was_asked_and_only_the_asker_gets_its_answers, another_user_of_the_store_sees_and_decides_an_item_and_the_asker_takes_the_verdict_once, waiting_for_a_change_ends_with_the_change_or_the_time_limit, of_many_verdicts_at_once_exactly_one_counts, a_verdict_after_the_deadline_is_too_late_and_a_sweep_closes_the_item, a_parked_item_waits_past_its_first_deadline_and_its_approval_can_be_taken_later, parking_or_closing_a_decided_item_changes_nothing, an_item_is_withdrawn_only_while_nobody_has_decided, a_verdict_that_did_not_count_leaves_the_item_as_it_was, a_long_reason_is_cut_between_characters, the_items_of_a_dropped_lease_expire_and_those_of_a_live_one_here_do_not, maintenance_of_an_idle_store_is_not_reported_as_a_change, an_item_with_an_existing_id_is_refused_and_changes_nothing;
            lists: waiting_items_are_listed_oldest_first_and_history_newest_first, history_is_filtered_by_state_server_and_part_of_the_tools_name, items_are_found_by_the_beginning_of_their_ids, titles_are_kept_with_an_item;
            elsewhere: a_decision_made_elsewhere_is_history_without_secrets_and_never_waits, a_recorded_decision_cannot_replace_an_item, a_decision_made_elsewhere_updates_its_withdrawn_item;
            words: a_name_stays_with_its_verdict_until_that_does_not_count, an_invalid_name_written_by_another_program_reaches_no_proxy, secrets_of_the_asking_proxy_stay_out_of_the_history_whoever_decides, a_large_call_is_kept_in_64_kib;
            keys: a_key_stands_for_its_item_as_long_as_the_row_exists, an_unknown_item_has_no_keys_and_a_known_one_only_so_many;
            approvals: an_approval_is_its_agents_alone_and_ends_once, a_key_stands_for_one_approval_of_its_agent, an_agent_has_only_so_many_pending_approvals;
            devices: a_code_pairs_one_device_once_and_until_it_expires, a_device_that_cannot_be_recorded_is_not_paired, five_wrong_codes_void_a_code_and_the_next_one_is_valid, a_device_is_known_by_its_session_until_it_is_revoked_or_expires, only_so_many_devices_are_paired_and_a_revoked_or_expired_one_makes_room, a_subscription_ends_with_its_device;
            logins: a_token_is_valid_until_it_expires_and_can_be_taken_once, of_too_many_tokens_those_that_expire_first_are_forgotten, a_token_keeps_its_name_until_it_ends;
            outliving: an_item_that_was_left_is_resumed_as_it_was_asked_and_only_with_its_key, only_its_owner_marks_an_item_and_only_while_it_is_parked, the_items_of_a_dead_proxy_are_resumed_before_a_sweep_and_after_it, a_verdict_reaches_the_next_owner_whenever_it_was_given, of_many_proxies_that_resume_at_once_one_gets_the_item, nobody_resumes_an_item_that_was_taken_up_even_if_its_owner_dies, a_proxy_that_dies_before_taking_up_an_item_leaves_it_to_the_next, leaving_an_unmarked_item_withdraws_it_and_leaving_another_proxys_item_does_nothing, the_verdict_of_a_marked_item_is_not_settled_by_time_alone, resuming_prefers_decided_items_and_then_newer_ones, an_item_without_an_owner_can_be_decided_and_resumed_after_a_verdict_that_did_not_count, a_closed_item_is_not_resumed, no_mark_is_lost_to_sweeps_at_the_same_time;
            model: any_order_of_operations_agrees_with_the_model;
        }
    };
}

pub(crate) use {conforms, conforms_in_all};

/// A test's own store, opened once.
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

    /// Takes the lease of a proxy with this name.
    fn lease(&self, proxy: &str) -> Lease {
        self.open().liveness.lease(proxy).unwrap()
    }

    /// Opens the store again.
    fn other(&self) -> Box<dyn ApprovalRequests> {
        self.open().requests
    }

    /// Opens the store again, with this redaction.
    fn redacting(&self, redaction: &Redaction) -> Box<dyn ApprovalRequests> {
        (self.opener.open)(redaction).requests
    }

    /// Opens the store again and returns its logins.
    fn logins(&self) -> Box<dyn Logins> {
        self.open().logins
    }

    /// Opens the store again and returns its devices.
    fn devices(&self) -> Box<dyn Devices> {
        self.open().devices
    }

    /// Opens the store again and returns its approvals.
    fn approvals(&self) -> Box<dyn Approvals> {
        self.open().approvals
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

/// The end of the parked time that [`park`] sets.
pub(crate) const UNTIL: i64 = 100_000;

pub(crate) fn state_of(store: &mut dyn ApprovalRequests, id: &str) -> State {
    store.find(id).unwrap().unwrap().state
}

/// Asks as a proxy, then parks and marks the item.
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

/// Resumes an item as a proxy, and returns its id if there is one.
pub(crate) fn resume(store: &mut dyn ApprovalRequests, proxy: &str, now_ms: i64) -> Option<String> {
    let resumed = store.resume("key", proxy, now_ms).unwrap();
    resumed.map(|resumed| resumed.id)
}

/// Returns true if other users of the store have changed something since the last call.
pub(crate) fn is_changed(store: &mut dyn ApprovalRequests) -> bool {
    store.changed(Duration::ZERO, None).unwrap()
}

pub(crate) fn item(id: &str) -> Item {
    Item {
        form: None,
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
            fields: None,
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

/// The call of [`item`] once it no longer waits.
pub(crate) const REDACTED: &str =
    r#"{"name":"delete_User","arguments":{"n":1.0,"password":"[redacted]"}}"#;
