//! The tool list: read, learned, changed, late, hostile.
