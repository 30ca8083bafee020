//! The destination of the audit log.

use std::path::PathBuf;

/// Where records are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AuditLog {
    /// A file in the state folder, with a copy on stderr. The default.
    #[default]
    StateFolder,
    /// This file. A relative path is relative to our working directory.
    File(PathBuf),
    /// Only stderr.
    Stderr,
}

impl AuditLog {
    /// Reads the value of `--audit-log` or `auditLog`, if one is set.
    pub(super) fn named(name: Option<PathBuf>) -> AuditLog {
        match name {
            None => AuditLog::StateFolder,
            Some(name) if name.as_os_str() == STDERR => AuditLog::Stderr,
            Some(path) => AuditLog::File(path),
        }
    }
}

/// The keyword for stderr. To name such a file, write `./stderr`.
const STDERR: &str = "stderr";
