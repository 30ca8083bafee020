//! Why rules cannot become a policy.
//!
//! A call that is blocked or needs approval is a `Decision`, never an error.

/// Rules that are ambiguous or invalid. The proxy does not start with them.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A glob has a `[` without a matching `]`. Holds the glob.
    #[error(
        "the pattern `{0}` has a `[` without a matching `]`; close it, or write `?` to match any one character"
    )]
    UnclosedClass(String),
    /// A range in a class runs backwards or has two ends. Holds the glob.
    #[error(
        "the pattern `{0}` has a range that runs backwards or has two ends; write ranges like `[a-z0-9]`"
    )]
    BadRange(String),
    /// A class contains characters that should not be in a tool name. Holds the glob.
    #[error(
        "the pattern `{0}` has characters outside printable ASCII between `[` and `]`; write `?` in place of the brackets"
    )]
    UnreadableClass(String),
    /// A glob is too big to compile.
    #[error("the pattern `{pattern}` cannot be compiled; make it shorter")]
    Glob {
        /// The glob as the operator wrote it.
        pattern: String,
        /// The compiler's error.
        #[source]
        source: globset::Error,
    },
    /// Each glob compiles, but not all of them together.
    #[error("the {count} patterns of one list cannot be compiled together; use fewer patterns")]
    TooManyGlobs {
        /// The number of globs.
        count: usize,
        /// The compiler's error.
        #[source]
        source: globset::Error,
    },
    /// Names are case-insensitive, so these two entries conflict.
    #[error(
        "`customAnnotations` names `{first}` and `{second}`, which differ only in case; keep one of them"
    )]
    AmbiguousAnnotations {
        /// The entry that sorts first.
        first: String,
        /// The other entry for the same tool.
        second: String,
    },
}
