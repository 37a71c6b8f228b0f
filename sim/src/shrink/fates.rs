//! Chance as steps: what links drew for each frame is said in the plan, frame by frame, and then links draw nothing any
//! more. So each of it can be left out by itself, and what is left is told.
//!
//! Which frame is meant must not depend on all that happened before, or nothing could be left out. So it is the first that
//! is sent after a moment close to it, where its direction has another frame at most so close; else it is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use coalmine_core::node::{Node, NodeId};

use crate::spec::faults::{Fault, Passed};
use crate::spec::plan::{Links, Plan, PlanStep, What, When};

/// From when on frames are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From halfway to the frame before it in its direction, but at most this long before it.
    Shortly(Duration),
    /// From the beginning.
    Beginning,
}

/// Ways to say which frames are meant, the one that depends least on other frames first.
pub const WAYS: [Since; 3] =
    [Since::Shortly(Duration::from_millis(50)), Since::Shortly(Duration::MAX), Since::Beginning];

/// The same plan with what became of frames as steps, the last ones; links draw nothing.
pub fn say<N: Node>(plan: &Plan<N>, passed: &[Passed], since: Since) -> Plan<N> {
    let mut directions: BTreeMap<(NodeId, NodeId), Vec<&Passed>> = BTreeMap::new();
    let mut said = Vec::new();
    for frame in passed {
        let sent = directions.entry((frame.from, frame.to)).or_default();
        sent.push(frame);
        for fate in frame.fates.into_iter().flatten() {
            let (at_ms, nth) = moment(sent, since);
            let fault = Fault::Frame { from: frame.from, to: frame.to, nth, fate };
            said.push(PlanStep { when: When::AtMs(at_ms), what: What::Fault(fault) });
        }
    }
    let is_in_time = |step: &PlanStep<N>| !matches!(step.when, When::AtMs(at) if at >= plan.heal_at_ms);
    said.retain(is_in_time);
    let steps = plan.steps.iter().cloned().chain(said).collect();
    Plan { links: Links::default(), steps, ..plan.clone() }
}

/// From when on the last of these frames, which are of one direction, is counted, and which it is then.
fn moment(sent: &[&Passed], since: Since) -> (u64, u32) {
    let count = |frames: usize| u32::try_from(frames).unwrap_or(u32::MAX);
    let (Since::Shortly(most), Some((last, before))) = (since, sent.split_last()) else {
        return (0, count(sent.len()));
    };
    let previous = before.last().map_or(Duration::ZERO, |frame| frame.at);
    let since = (previous + (last.at - previous) / 2).max(last.at.saturating_sub(most));
    let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    // The next full millisecond, if it is not too late by then.
    let ms = if Duration::from_millis(ms + 1) < last.at { ms + 1 } else { ms };
    let is_counted = |frame: &&&Passed| frame.at >= Duration::from_millis(ms);
    (ms, count(sent.iter().filter(is_counted).count()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::faults::FrameFate;

    #[test]
    fn a_frame_is_the_first_after_a_moment_that_no_other_is_near() {
        let sent = [5_000, 1_000_000, 1_000_300, 3_000_000].map(|micros| Passed {
            at: Duration::from_micros(micros),
            from: NodeId(1),
            to: NodeId(2),
            fates: [Some(FrameFate::Lost), None],
        });
        let moments = |since| {
            let sent: Vec<_> = sent.iter().collect();
            (1..=4).map(|frames| moment(&sent[..frames], since)).collect::<Vec<_>>()
        };
        assert_eq!(moments(WAYS[0]), [(3, 1), (951, 1), (1_000, 2), (2_951, 1)]);
        assert_eq!(moments(WAYS[1]), [(3, 1), (503, 1), (1_000, 2), (2_001, 1)]);
        assert_eq!(moments(Since::Beginning), [(0, 1), (0, 2), (0, 3), (0, 4)]);
    }
}
