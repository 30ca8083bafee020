//! Bytes in and out of this process: stdio, stderr, and the upstream's child process.
//!
//! Nothing here knows what the bytes mean.

mod child;
mod stderr;
mod wire;

pub use child::{Child, ChildError, Exit, Program};
pub use stderr::Stderr;
pub use wire::{Attempt, Wire};
