//! The name of an approver, for `APPROVAL_APPROVER` and `--as`.
//!
//! Nobody verifies the name.

use super::error::{Fault, Problem};
use super::value::Value;
use crate::approval::item::{BadApprover, MAX_APPROVER, read_approver};

/// The name that an approver has chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApproverName(String);

impl ApproverName {
    /// Reads a name.
    ///
    /// # Errors
    /// See [`read_approver`].
    pub fn read(text: &str) -> Result<ApproverName, BadApprover> {
        read_approver(text).map(ApproverName)
    }

    /// Returns the name, without surrounding space.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl Value for ApproverName {
    fn expected() -> String {
        format!("a name of at most {MAX_APPROVER} visible characters")
    }

    fn from_text(text: &str) -> Result<ApproverName, Fault> {
        ApproverName::read(text).map_err(|why| {
            Fault::from(Problem::Unexpected {
                expected: ApproverName::expected(),
                found: format!("another value: {why}"),
            })
        })
    }
}
