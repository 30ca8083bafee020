//! The store of these tests does what every store does, as far as the page can tell. It redacts nothing, and knows of no
//! proxy that dies or resumes an item.

use super::visitor::Shared;
use crate::engines::inbox::store::conformance::{Opener, conforms};
use crate::engines::inbox::store::{Lease, Liveness, Store, StoreError};

/// Nobody dies.
struct Alive;

impl Liveness for Alive {
    fn lease(&mut self, _proxy: &str) -> Result<Lease, StoreError> {
        Ok(Lease::new(()))
    }
}

fn memory() -> Opener {
    let shared = Shared::default();
    Opener {
        open: Box::new(move |_| Store {
            requests: Box::new(shared.clone()),
            liveness: Box::new(Alive),
            logins: Box::new(shared.clone()),
        }),
        may_resume: Box::new(|| false),
    }
}

conforms! {
    memory:
    requests:
        of_many_verdicts_at_once_exactly_one_counts,
        who_parks_or_closes_what_is_decided_changes_nothing,
        a_long_reason_is_cut_between_characters;
    lists:
        what_waits_is_listed_oldest_first_and_history_newest_first,
        history_is_filtered_by_state_server_and_part_of_the_tools_name,
        items_are_found_by_how_their_ids_begin,
        titles_are_kept_with_an_item;
    elsewhere:
        what_is_recorded_cannot_replace_an_item,
        an_item_that_was_withdrawn_for_a_decision_elsewhere_becomes_its_row;
    logins:
        a_token_is_good_until_its_time_is_over_and_taken_once,
        of_too_many_tokens_those_that_end_first_are_forgotten,
        a_token_keeps_its_name_until_it_ends;
}
