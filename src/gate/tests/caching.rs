//! Approvals that cover identical calls.
