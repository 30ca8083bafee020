//! Golden transcripts, one set per revision.
