//! Prompts over time: timeouts, retries, cancellation, progress, double confirmation.
