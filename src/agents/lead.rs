//! Which process asks an agent's questions: one at a time, however many serve the agent.
//!
//! The others keep their requests in the store, and take over when that process ends. It does not ask anybody.

use sha2::{Digest as _, Sha256};

use crate::engines::inbox::store::{Lease, Liveness, StoreError};

/// A process's claim to ask the questions of one agent.
pub(super) struct Lead {
    liveness: Box<dyn Liveness>,
    /// The lease that one process has at a time.
    name: String,
    lease: Option<Lease>,
}

impl Lead {
    /// Creates the claim. Takes nothing yet.
    pub(super) fn new(liveness: Box<dyn Liveness>, owner: &str) -> Lead {
        Lead {
            liveness,
            name: lease_of(owner),
            lease: None,
        }
    }

    /// Returns true if this process asks.
    pub(super) fn is_ours(&self) -> bool {
        self.lease.is_some()
    }

    /// Takes the lead if nobody has it. Returns true if this process did not have it before and has it now.
    ///
    /// # Errors
    /// [`StoreError`] if the folder cannot be used.
    pub(super) fn take(&mut self) -> Result<bool, StoreError> {
        if self.is_ours() {
            return Ok(false);
        }
        self.lease = self.liveness.try_lease(&self.name)?;
        Ok(self.is_ours())
    }
}

/// Returns the name of the lease that the process has which asks an owner's questions.
pub(super) fn lease_of(owner: &str) -> String {
    let digest = Sha256::digest(owner);
    let digits = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
    format!("agent-{}", digits.collect::<String>())
}

#[cfg(test)]
impl Lead {
    /// Leaves the lead to others, as the end of the process does.
    pub(super) fn leave(&mut self) {
        self.lease = None;
    }
}
