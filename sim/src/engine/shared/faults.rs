//! The one interpreter of faults: what a step of a plan makes go wrong, how long that lasts, and what is left when it
//! ends. The two engines are [`Stage`]s: they can crash a node, make it stand still, turn its clock, change what is
//! wrong with its disk and with links, and nothing else about faults is theirs.
//!
//! What lasts is kept in a table, [`Lasting`], by node. What is true of a node follows from all that lasts there, so
//! each fault lasts as long as its plan says, whatever begins or ends meanwhile; [`crate::spec::faults`] says how those of a
//! kind go together.

use std::time::Duration;

use coalmine_core::node::NodeId;

use super::disk::DiskFault;
use super::network::LinkFault;
use crate::spec::faults::{CrashKind, Directions, Effect, Fault, FrameFate, directions};

/// Where faults take place.
pub trait Stage {
    /// The members, in order.
    fn members(&self) -> Vec<NodeId>;
    /// Whether a node runs.
    fn is_up(&self, node: NodeId) -> bool;
    /// What lasts.
    fn lasting(&mut self) -> &mut Lasting;
    /// A fault took effect.
    fn count(&mut self, effect: Effect);
    /// This ends after so long.
    fn ends_after(&mut self, after: Duration, end: End);
    /// A node stands still from now on, or goes on.
    fn stand_still(&mut self, node: NodeId, still: bool);
    /// A node's clock runs at another speed from now on, after a jump ahead.
    fn turn_clock(&mut self, node: NodeId, percent: Option<u32>, jump: Duration);
    /// Changes what is wrong with a node's disk.
    fn change_disk_fault(&mut self, node: NodeId, change: impl FnOnce(&mut DiskFault));
    /// Begins a fault of links, or ends it.
    fn change_link_fault(&mut self, directions: &Directions, fault: LinkFault, begin: bool);
    /// Breaks the connections that carry these directions.
    fn reset(&mut self, directions: &Directions);
    /// Something becomes of the `nth` frame of a direction from now on, as this step of the plan says.
    fn say(&mut self, step: usize, direction: (NodeId, NodeId), nth: u32, fate: FrameFate);
    /// Crashes a node that is up, or takes what is at risk on the disk of one that is down. It starts again after so
    /// long, if ever.
    fn crash(&mut self, node: NodeId, kind: CrashKind, down: Option<Duration>);
    /// Changes one bit of a node's journal, so many thousandths into it.
    fn rot(&mut self, node: NodeId, permille: u32);
}

/// The end of a fault that lasts.
#[derive(Clone, Debug)]
pub enum End {
    /// That of links.
    Link(Directions, LinkFault),
    /// That of a node: its number in the table.
    Node(u64),
}

/// What may last at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeFault {
    Still,
    Clock { percent: u32 },
    SlowSync { delay_ms: u64 },
    DiskFull,
}

/// All faults that last at a node, by number, in the order in which they began.
#[derive(Debug, Default)]
pub struct Lasting {
    all: Vec<(u64, NodeId, NodeFault)>,
    counted: u64,
}

/// What they make of a node together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Condition {
    still: bool,
    percent: u32,
    slower: Duration,
    full: bool,
}

impl Lasting {
    fn begin(&mut self, node: NodeId, fault: NodeFault) -> u64 {
        self.counted += 1;
        self.all.push((self.counted, node, fault));
        self.counted
    }

    fn end(&mut self, number: u64) {
        self.all.retain(|(known, ..)| *known != number);
    }

    /// Who it is that this number's fault lasts at, if it still does.
    fn node_of(&self, number: u64) -> Option<NodeId> {
        self.all.iter().find(|(known, ..)| *known == number).map(|(_, node, _)| *node)
    }

    /// A node's life has ended: who stands still no longer is its process. Clock and disk are the machine's.
    pub fn ends_life(&mut self, node: NodeId) {
        self.all.retain(|(_, at, fault)| *at != node || *fault != NodeFault::Still);
    }

    /// Nothing lasts any more.
    pub fn heal(&mut self) {
        self.all.clear();
    }

    /// The rules of [`crate::spec::faults`]: still or full as long as any fault says so, delays add up, and a clock runs as
    /// the last that began says.
    fn condition(&self, node: NodeId) -> Condition {
        let mut now = Condition { still: false, percent: 100, slower: Duration::ZERO, full: false };
        for (_, _, fault) in self.all.iter().filter(|(_, at, _)| *at == node) {
            match fault {
                NodeFault::Still => now.still = true,
                NodeFault::Clock { percent } => now.percent = *percent,
                NodeFault::SlowSync { delay_ms } => now.slower += Duration::from_millis(*delay_ms),
                NodeFault::DiskFull => now.full = true,
            }
        }
        now
    }
}

/// Carries out a fault: that of this step of the plan.
pub fn begin(stage: &mut impl Stage, step: usize, fault: Fault) {
    let ms = Duration::from_millis;
    match fault {
        Fault::Crash { node, down_ms } => stage.crash(node, CrashKind::Power, down_ms.map(ms)),
        Fault::Kill { node, down_ms } => stage.crash(node, CrashKind::Kill, down_ms.map(ms)),
        Fault::Wipe { node, down_ms } => stage.crash(node, CrashKind::Wipe, down_ms.map(ms)),
        Fault::Pause { node, for_ms } => {
            if stage.is_up(node) {
                stage.count(Effect::Pause);
                lasts(stage, node, NodeFault::Still, ms(for_ms));
            }
        }
        Fault::Clock { node, percent, for_ms } => {
            count_if_up(stage, node, if percent < 100 { Effect::ClockSlow } else { Effect::ClockFast });
            lasts(stage, node, NodeFault::Clock { percent }, ms(for_ms));
        }
        Fault::ClockJump { node, by_ms } => {
            count_if_up(stage, node, Effect::ClockJump);
            stage.turn_clock(node, None, ms(by_ms));
        }
        Fault::Cut { .. } | Fault::Partition { .. } | Fault::Clog { .. } | Fault::SlowLink { .. } => {
            if let Some((directions, fault, for_ms)) = LinkFault::of(&fault, &stage.members()) {
                stage.change_link_fault(&directions, fault, true);
                stage.ends_after(ms(for_ms), End::Link(directions, fault));
            }
        }
        Fault::Reset { a, b } => stage.reset(&directions(&[a], &[b], true)),
        Fault::Frame { from, to, nth, fate } => stage.say(step, (from, to), nth, fate),
        Fault::SlowSync { node, delay_ms, for_ms } => {
            lasts(stage, node, NodeFault::SlowSync { delay_ms }, ms(for_ms));
        }
        Fault::FailSync { node } => stage.change_disk_fault(node, |disk| disk.fail_sync = true),
        Fault::DiskFull { node, for_ms } => lasts(stage, node, NodeFault::DiskFull, ms(for_ms)),
        Fault::BitRot { node, permille } => stage.rot(node, permille),
    }
}

/// Ends one that has lasted. What a node's life or healing has ended already stays so.
pub fn end(stage: &mut impl Stage, end: &End) {
    match end {
        End::Link(directions, fault) => stage.change_link_fault(directions, *fault, false),
        End::Node(number) => {
            if let Some(node) = stage.lasting().node_of(*number) {
                change(stage, node, |lasting| lasting.end(*number));
            }
        }
    }
}

fn count_if_up(stage: &mut impl Stage, node: NodeId, effect: Effect) {
    if stage.is_up(node) {
        stage.count(effect);
    }
}

fn lasts(stage: &mut impl Stage, node: NodeId, fault: NodeFault, time: Duration) {
    let number = change(stage, node, |lasting| lasting.begin(node, fault));
    stage.ends_after(time, End::Node(number));
}

/// Changes the table, and with it what is true of a node.
fn change<T>(stage: &mut impl Stage, node: NodeId, by: impl FnOnce(&mut Lasting) -> T) -> T {
    let lasting = stage.lasting();
    let before = lasting.condition(node);
    let done = by(lasting);
    let Condition { still, percent, slower, full } = lasting.condition(node);
    if still != before.still {
        stage.stand_still(node, still);
    }
    if percent != before.percent {
        stage.turn_clock(node, Some(percent), Duration::ZERO);
    }
    if (slower, full) != (before.slower, before.full) {
        stage.change_disk_fault(node, |disk| (disk.slower, disk.full) = (slower, full));
    }
    done
}
