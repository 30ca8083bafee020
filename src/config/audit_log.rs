//! Where the audit log is to be kept.

use std::path::PathBuf;

/// Where decisions are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AuditLog {
    /// In a file of the state folder, with a copy on stderr. The default.
    #[default]
    StateFolder,
    /// In this file of the operator's. A relative path counts from our own working directory.
    File(PathBuf),
    /// On stderr alone.
    Stderr,
}

impl AuditLog {
    /// What `--audit-log` or `auditLog` says, if either says anything.
    pub(super) fn named(name: Option<PathBuf>) -> AuditLog {
        match name {
            None => AuditLog::StateFolder,
            Some(name) if name.as_os_str() == STDERR => AuditLog::Stderr,
            Some(path) => AuditLog::File(path),
        }
    }
}

/// The word for stderr. A file of that name is `./stderr`.
const STDERR: &str = "stderr";
