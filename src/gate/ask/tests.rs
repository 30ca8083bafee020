//! The table of transitions.
