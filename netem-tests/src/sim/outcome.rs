//! What a run came to.

use std::time::Duration;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// When each agent that has the file had it, from the first to the last, and which it was.
    pub done: Vec<(Duration, u32)>,
    /// Honest agents that stay and did not have it in time.
    pub unfinished: u32,
    /// Bytes of pieces that left the source.
    pub source_bytes: u64,
    /// Bytes of pieces that came to agents.
    pub received_bytes: u64,
    /// Bytes that agents received of pieces that they had.
    pub duplicate_bytes: u64,
    /// Bytes that agents received and that were wrong.
    pub wrong_bytes: u64,
    /// Messages of all kinds but pieces.
    pub messages: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Agents banned and given up by another, each time counted.
    pub banned: u64,
    /// See above.
    pub given_up: u64,
    /// Agents that restarted.
    pub restarted: u32,
    /// Agents that left for good.
    pub left: u32,
    /// Pieces of the file.
    pub pieces: u32,
}
