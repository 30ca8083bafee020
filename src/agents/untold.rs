//! Withdraws an approval whose id never reaches the agent.

use super::approvals::Approvals;
use super::request::Request;

/// An approval whose id the agent does not know yet. Dropping this withdraws the approval, unless the agent can find it with
/// its idempotency key: nobody could ask about it.
pub(super) struct Untold<'a> {
    approvals: &'a Approvals,
    id: Option<&'a str>,
}

impl<'a> Untold<'a> {
    pub(super) fn of(approvals: &'a Approvals, id: &'a str, request: &Request) -> Untold<'a> {
        Untold {
            approvals,
            id: request.idempotency_key.is_none().then_some(id),
        }
    }

    pub(super) fn told(mut self) {
        self.id = None;
    }
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.approvals.withdraw(id);
        }
    }
}
