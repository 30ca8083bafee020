//! The log, dry run, explanations, and the ends of a session.
