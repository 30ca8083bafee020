//! The gate: the sans-IO engine that decides what each message may do.

mod settings;

pub use settings::{DedupeField, Retry, Settings, TimeoutAction};
