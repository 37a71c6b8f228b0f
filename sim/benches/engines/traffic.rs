//! What every contender carries: n nodes, and every 100 ms each sends 64 bytes to each other.

use std::time::Duration;

/// How often a node speaks.
pub const PERIOD: Duration = Duration::from_millis(100);
/// The length of what it says, with all that is around it.
pub const FRAME_BYTES: usize = 64;
/// How long a packet is under way.
pub const LATENCY: std::ops::Range<Duration> = Duration::from_micros(200)..Duration::from_millis(5);
/// How long a run goes on after the last frame has been sent.
pub const LAST_WORDS: Duration = Duration::from_millis(50);

/// How many speak, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// The nodes.
    pub nodes: u32,
    /// Simulated seconds.
    pub seconds: u64,
}

impl Traffic {
    /// How often each node speaks.
    pub fn rounds(self) -> u64 {
        self.seconds * 1000 / PERIOD.as_millis() as u64
    }

    /// How many frames that is.
    pub fn frames(self) -> u64 {
        self.rounds() * u64::from(self.nodes) * u64::from(self.nodes - 1)
    }
}
