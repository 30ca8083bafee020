//! What the fuzz targets check, shared with `tests/it/corpora.rs`, which runs the corpora.
//!
//! Each `check` takes any bytes and panics where something that must hold does not.

#![allow(
    dead_code,
    reason = "each fuzz target is a program of its own and uses one part"
)]

pub(crate) mod config;
pub(crate) mod envelope;
pub(crate) mod framing;
pub(crate) mod gate;
mod readers;
