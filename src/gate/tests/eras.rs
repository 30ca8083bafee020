//! Revisions, capabilities, and the handshake.
