//! Why a set of rules cannot become a policy.
//!
//! A call that is blocked or asked about is a `Decision`, never an error.

/// Rules that could be read in two ways, or in none; nothing runs under them.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A glob opens a class and does not close it; holds the glob.
    #[error(
        "the pattern `{0}` has a `[` without its `]`; close it, or write `?` for any one character"
    )]
    UnclosedClass(String),
    /// A range in a class runs backwards or has two ends; holds the glob.
    #[error(
        "the pattern `{0}` has a range that runs backwards or has two ends; write ranges like `[a-z0-9]`"
    )]
    BadRange(String),
    /// A class has members that a tool name should not have; holds the glob.
    #[error(
        "the pattern `{0}` has characters outside printable ASCII between `[` and `]`; write `?` in place of the brackets"
    )]
    UnreadableClass(String),
    /// A glob is too big to compile.
    #[error("the pattern `{pattern}` cannot be compiled; make it shorter")]
    Glob {
        /// The glob, as the operator wrote it.
        pattern: String,
        /// What the compiler says.
        #[source]
        source: globset::Error,
    },
    /// Each glob compiles, all of them together do not.
    #[error("the {count} patterns of one list cannot be compiled together; use fewer")]
    TooManyGlobs {
        /// How many there are.
        count: usize,
        /// What the compiler says.
        #[source]
        source: globset::Error,
    },
    /// Names compare without case, so that nobody could say which of the two entries holds.
    #[error(
        "`customAnnotations` names `{first}` and `{second}`, which differ only in case; keep one of them"
    )]
    AmbiguousAnnotations {
        /// The entry that sorts first.
        first: String,
        /// The entry that means the same tool.
        second: String,
    },
}
