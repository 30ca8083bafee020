//! Keeps other processes of the same user out of this process's memory and descriptors.
//!
//! It does not hide the servers that this process starts: the system turns this off for every
//! program that is started.

use std::io;

/// Forbids other processes of the same user to read this process's memory and environment, to
/// open its descriptors through `/proc`, and to trace it. The process leaves no core dump either.
///
/// Only Linux can do this; elsewhere nothing happens.
///
/// # Errors
/// What the system says.
pub fn forbid_inspection() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}
