//! Random interleavings, held against a small oracle.
