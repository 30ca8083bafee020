//! Ways to reach people outside of the client.

pub mod inbox;
