//! Runs the conformance tests with the in-memory store of these tests, except those about redaction, dead proxies and
//! resumed items, which it does not implement.

use super::devices::SharedDevices;
use super::visitor::Shared;
use crate::engines::inbox::store::conformance::{Opener, conforms};
use crate::engines::inbox::store::{
    Added, Approvals, Lease, Liveness, Store, StoreError, StoredApproval,
};

/// No proxy ever dies.
struct Alive;

impl Liveness for Alive {
    fn lease(&mut self, _proxy: &str) -> Result<Lease, StoreError> {
        Ok(Lease::new(()))
    }

    fn try_lease(&mut self, _proxy: &str) -> Result<Option<Lease>, StoreError> {
        Ok(Some(Lease::new(())))
    }
}

/// The page knows nothing about agents.
struct NoApprovals;

impl Approvals for NoApprovals {
    fn add(&mut self, _: &StoredApproval) -> Result<Added, StoreError> {
        Ok(Added::TooMany)
    }

    fn find(&mut self, _: &str, _: &str) -> Result<Option<StoredApproval>, StoreError> {
        Ok(None)
    }

    fn end(&mut self, _: &str, _: &str) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn pending(&mut self, _: &str) -> Result<Vec<StoredApproval>, StoreError> {
        Ok(Vec::new())
    }

    fn owners_of_pending(&mut self, _: &str) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn forget_old(&mut self, _: i64) -> Result<(), StoreError> {
        Ok(())
    }
}

fn memory() -> Opener {
    let (shared, devices) = (Shared::default(), SharedDevices::default());
    Opener {
        open: Box::new(move |_| Store {
            requests: Box::new(shared.clone()),
            liveness: Box::new(Alive),
            logins: Box::new(shared.clone()),
            devices: Box::new(devices.clone()),
            approvals: Box::new(NoApprovals),
        }),
        may_resume: Box::new(|| false),
    }
}

conforms! {
    memory:
    requests:
        of_many_verdicts_at_once_exactly_one_counts,
        parking_or_closing_a_decided_item_changes_nothing,
        a_long_reason_is_cut_between_characters;
    lists:
        waiting_items_are_listed_oldest_first_and_history_newest_first,
        history_is_filtered_by_state_server_and_part_of_the_tools_name,
        items_are_found_by_the_beginning_of_their_ids,
        titles_are_kept_with_an_item;
    elsewhere:
        a_recorded_decision_cannot_replace_an_item,
        a_decision_made_elsewhere_updates_its_withdrawn_item;
    devices:
        a_code_pairs_one_device_once_and_until_it_expires,
        a_device_that_cannot_be_recorded_is_not_paired,
        five_wrong_codes_void_a_code_and_the_next_one_is_valid,
        a_device_is_known_by_its_session_until_it_is_revoked_or_expires,
        only_so_many_devices_are_paired_and_a_revoked_or_expired_one_makes_room,
        a_subscription_ends_with_its_device;
    logins:
        a_token_is_valid_until_it_expires_and_can_be_taken_once,
        of_too_many_tokens_those_that_expire_first_are_forgotten,
        a_token_keeps_its_name_until_it_ends;
}
