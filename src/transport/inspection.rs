//! Keeps other processes of the same user out of this process's memory and descriptors.
//!
//! Does not protect the servers that this process starts: the system resets this setting for every
//! program that it starts.

use std::io;

/// Prevents other processes of the same user from reading this process's memory and environment,
/// from opening its descriptors through `/proc`, and from tracing it. Also disables core dumps.
///
/// Works only on Linux. Does nothing elsewhere.
///
/// # Errors
/// The system's error.
pub fn forbid_inspection() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}
