//! The checks of the fuzz targets, shared with `tests/it/corpora.rs`, which runs the corpora.
//!
//! Each `check` accepts any bytes and panics if a property does not hold.

#![allow(
    dead_code,
    reason = "each fuzz target is a program of its own and uses one part"
)]

pub(crate) mod callback;
pub(crate) mod config;
pub(crate) mod envelope;
pub(crate) mod framing;
pub(crate) mod gate;
mod readers;
