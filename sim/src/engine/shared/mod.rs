//! What the two engines share.

pub mod clients;
pub mod clock;
pub mod disk;
pub mod faults;
pub mod liveness;
pub mod network;
pub mod recorder;
pub mod recording;

use std::ops::Range;
use std::time::Duration;

/// How long a packet is under way.
pub const LATENCY: Range<Duration> = Duration::from_micros(200)..Duration::from_millis(5);
/// How long a client waits for an answer before it asks again.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a client waits at least for an answer, with all that it asks again, before it gives up and asks the next thing,
/// if there is one.
pub const CLIENT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a client waits after a failure before it asks again.
pub const CLIENT_PAUSE: Duration = Duration::from_millis(500);
/// How often it is looked whether the system has come to rest.
pub const LOOK: Duration = Duration::from_millis(50);
