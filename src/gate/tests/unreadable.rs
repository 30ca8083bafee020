//! What the client must not get past the gate, and what passes untouched.
