//! What a push service and a user agent see.
