//! The fault vocabulary: everything that may go wrong, in one place. Plans are written in it, engines carry it
//! out, reports count it.
//!
//! # The model
//!
//! **Network.** Messages are frames on links, one link for each ordered pair of nodes. A frame may be *lost*,
//! *duplicated*, or *delayed*, so that later ones overtake it. A link may be *cut* (frames are lost, new
//! connections time out), *clogged* (frames are held, and released when the clog ends), or *slow*. A
//! connection may be *reset*: what was under way on it is lost. [`Shape`] names Jepsen's partitions. What becomes of frames is
//! drawn, by [`Links`](crate::spec::plan::Links), or said of single ones ([`FrameFate`]): of these nothing is drawn.
//!
//! **Process.** A *crash* is that of a machine, as when the power fails: it loses a node's memory, and what was not
//! synced is at risk; the node starts again from its disk. A *kill* ends the process alone: what had left it is there
//! for its next life, although not durable by that, so that a crash soon after may still take it. That crash may come
//! while the node is down. A *wipe* is a crash after which the disk is empty, too; of a node
//! that is down, it replaces the disk. A *pause* stops a node for a while; nothing is lost, but its peers hear nothing,
//! and when it goes on its timers are late. A *clock* may run fast or slow, or jump ahead: all timers of the
//! node follow it. Clocks never go back: nodes measure only durations.
//!
//! **What lasts** ends when its time is over, whatever else begins or ends meanwhile at the same place. A node stands
//! still, and a disk is full, as long as any fault says so. What slows syncs, or frames, adds up. A clock runs as the
//! last fault says that has begun and is not over. A pause is one of a process, and ends with it; clocks and disks are
//! the machine's, and outlive crashes. Healing ends everything.
//!
//! **Disk.** A crash keeps any prefix of the unsynced writes and may leave a torn piece of the next one (see
//! [`coalmine_core::disk`]). A sync may be *slow*. A sync may *fail*: the node must stop, and what it had not
//! synced is at risk. A disk may be *full*: writes fail, and the node must stop. A record written long ago
//! may *rot*: one bit of it changes; the node must refuse to start from it.
//!
//! A node that stops by itself is started again by its supervisor, [`SUPERVISOR_MS`] later.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use coalmine_core::node::NodeId;
use serde::{Deserialize, Serialize};

/// How long a supervisor waits before it starts a node again that has stopped by itself.
pub const SUPERVISOR_MS: u64 = 1_000;

/// How long anything may take, or last: a day. What is not simulated by then would take for ever.
pub const TIMES_MS: RangeInclusive<u64> = 0..=24 * 60 * 60 * 1_000;
/// How fast a clock may run, in percent of the true speed.
pub const PERCENT: RangeInclusive<u32> = 1..=10_000;
/// So many of a thousand.
pub const PERMILLE: RangeInclusive<u32> = 0..=1_000;

/// Who a node is, for headings.
pub fn names(ids: &[NodeId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether a field is in its range; `Err` names it.
pub fn in_range<T: PartialOrd + Display>(
    field: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), String> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(format!("{field}: {value} is not in {}..={}", range.start(), range.end())),
    }
}

/// Directed links.
pub type Directions = BTreeSet<(NodeId, NodeId)>;

/// Something that goes wrong, as a step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// A node's machine crashes, as when the power fails.
    Crash {
        /// Which.
        node: NodeId,
        /// When it starts again; never, if this is missing, until all is healed.
        down_ms: Option<u64>,
    },
    /// A node's process is killed, and its machine lives on.
    Kill {
        /// Which.
        node: NodeId,
        /// When it starts again.
        down_ms: Option<u64>,
    },
    /// A node crashes, and starts again with an empty disk.
    Wipe {
        /// Which.
        node: NodeId,
        /// When it starts again.
        down_ms: Option<u64>,
    },
    /// A node stands still.
    Pause {
        /// Which.
        node: NodeId,
        /// For how long.
        for_ms: u64,
    },
    /// A node's clock runs at another speed.
    Clock {
        /// Whose.
        node: NodeId,
        /// So many percent of the true speed: 50 is slow, 200 is fast.
        percent: u32,
        /// For how long.
        for_ms: u64,
    },
    /// A node's clock jumps ahead.
    ClockJump {
        /// Whose.
        node: NodeId,
        /// How far.
        by_ms: u64,
    },
    /// Frames from one group to another are lost.
    Cut {
        /// The senders.
        from: Vec<NodeId>,
        /// The receivers.
        to: Vec<NodeId>,
        /// Those in the other direction are lost too.
        both_ways: bool,
        /// For how long.
        for_ms: u64,
    },
    /// The cluster falls apart in one of Jepsen's shapes.
    Partition {
        /// How.
        shape: Shape,
        /// For how long.
        for_ms: u64,
    },
    /// Frames from one group to another are held, and released at the end.
    Clog {
        /// The senders.
        from: Vec<NodeId>,
        /// The receivers.
        to: Vec<NodeId>,
        /// For how long.
        for_ms: u64,
    },
    /// Every frame from one group to another takes longer.
    SlowLink {
        /// The senders.
        from: Vec<NodeId>,
        /// The receivers.
        to: Vec<NodeId>,
        /// By how much.
        delay_ms: u64,
        /// For how long.
        for_ms: u64,
    },
    /// The connections between two nodes break.
    Reset {
        /// The one.
        a: NodeId,
        /// The other.
        b: NodeId,
    },
    /// Something becomes of one frame.
    Frame {
        /// Its sender.
        from: NodeId,
        /// Its receiver.
        to: NodeId,
        /// Which: the first (1) that is sent from now on, or a later one.
        nth: u32,
        /// What becomes of it.
        fate: FrameFate,
    },
    /// Every sync of a node's disk takes longer.
    SlowSync {
        /// Whose.
        node: NodeId,
        /// By how much.
        delay_ms: u64,
        /// For how long.
        for_ms: u64,
    },
    /// The next sync of a node's disk fails.
    FailSync {
        /// Whose.
        node: NodeId,
    },
    /// A node's disk is full.
    DiskFull {
        /// Whose.
        node: NodeId,
        /// For how long.
        for_ms: u64,
    },
    /// One bit of a node's journal changes.
    BitRot {
        /// Whose.
        node: NodeId,
        /// Where: this many thousandths into what is durable.
        permille: u32,
    },
}

/// What becomes of one frame. Several may be said of one: it may arrive late and twice; one that is lost is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FrameFate {
    /// It never arrives.
    Lost,
    /// It is held back, so that later ones overtake it.
    Late {
        /// For how long.
        by_ms: u64,
    },
    /// It arrives once more.
    Twice {
        /// How long the second is held back.
        by_ms: u64,
    },
}

impl FrameFate {
    /// In words, of a frame.
    fn describe(self) -> String {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        match self {
            Self::Lost => "is lost".into(),
            Self::Late { by_ms } => format!("is held back for {} s", seconds(by_ms)),
            Self::Twice { by_ms: 0 } => "arrives twice".into(),
            Self::Twice { by_ms } => format!("arrives twice, the second time {} s late", seconds(by_ms)),
        }
    }
}

/// A frame that was sent, and what became of it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// When it was sent.
    pub at: Duration,
    /// Its sender.
    pub from: NodeId,
    /// Its receiver.
    pub to: NodeId,
    /// What became of it and is not what becomes of every frame; the second is that of a copy.
    pub fates: [Option<FrameFate>; 2],
}

/// How a cluster falls apart: the shapes that Jepsen uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// One node is alone.
    Isolate {
        /// Which.
        node: NodeId,
    },
    /// Two groups: these, and the others.
    Halves {
        /// The one group.
        group: Vec<NodeId>,
    },
    /// Each node reaches only a majority around itself on a circle, and no two the same.
    MajorityRing,
    /// Two halves that reach each other through one node only.
    Bridge {
        /// That node.
        node: NodeId,
    },
}

impl Shape {
    /// Which directed links this shape cuts.
    pub fn cuts(&self, members: &[NodeId]) -> Directions {
        let reaches = |a: usize, b: usize| -> bool {
            let (from, to) = (members[a], members[b]);
            match self {
                Self::Isolate { node } => from != *node && to != *node,
                Self::Halves { group } => group.contains(&from) == group.contains(&to),
                Self::MajorityRing => {
                    // The others by distance on a circle, those after a node before those before it: with
                    // itself it reaches the fewest that are a majority. Links are one-way where n is small.
                    let n = members.len();
                    let (ahead, behind) = ((n + b - a) % n, (n + a - b) % n);
                    let rank = if ahead <= behind { 2 * ahead - 1 } else { 2 * behind };
                    rank <= n / 2
                }
                Self::Bridge { node } => {
                    let others: Vec<_> = members.iter().filter(|id| *id != node).collect();
                    let first_half =
                        |id: NodeId| others.iter().take(others.len() / 2).any(|other| **other == id);
                    from == *node || to == *node || first_half(from) == first_half(to)
                }
            }
        };
        let pairs = (0..members.len()).flat_map(|a| (0..members.len()).map(move |b| (a, b)));
        pairs.filter(|&(a, b)| a != b && !reaches(a, b)).map(|(a, b)| (members[a], members[b])).collect()
    }

    /// Whether it cuts anything among these members; `Err` names the field.
    fn check(&self, members: &[NodeId]) -> Result<(), String> {
        if !self.cuts(members).is_empty() {
            return Ok(());
        }
        let (name, least) = match self {
            Self::Halves { group } => {
                return Err(format!("group: {} of {} members", group.len(), members.len()));
            }
            Self::Isolate { .. } => ("isolate", 2),
            Self::MajorityRing => ("majority_ring", 3),
            Self::Bridge { .. } => ("bridge", 3),
        };
        Err(format!("shape: {name} cuts nothing among {} members, it takes {least}", members.len()))
    }
}

/// What cuts links. Each is counted by itself, so that a shape which no frame ever ran into is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see `Fault::Cut` and `Shape`")]
pub enum CutKind {
    OneWay,
    BothWays,
    Isolate,
    Halves,
    MajorityRing,
    Bridge,
}

impl CutKind {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::OneWay, Self::BothWays, Self::Isolate, Self::Halves, Self::MajorityRing, Self::Bridge];

    /// That of a cut between two groups.
    pub fn of_cut(both_ways: bool) -> Self {
        if both_ways { Self::BothWays } else { Self::OneWay }
    }

    /// That of a partition.
    pub fn of_shape(shape: &Shape) -> Self {
        match shape {
            Shape::Isolate { .. } => Self::Isolate,
            Shape::Halves { .. } => Self::Halves,
            Shape::MajorityRing => Self::MajorityRing,
            Shape::Bridge { .. } => Self::Bridge,
        }
    }

    /// What a frame that runs into it counts as.
    pub fn effect(self) -> Effect {
        match self {
            Self::OneWay => Effect::FrameCutOneWay,
            Self::BothWays => Effect::FrameCutBothWays,
            Self::Isolate => Effect::FrameCutByIsolation,
            Self::Halves => Effect::FrameCutByHalves,
            Self::MajorityRing => Effect::FrameCutByMajorityRing,
            Self::Bridge => Effect::FrameCutByBridge,
        }
    }
}

/// How the life of a node ends, other than by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashKind {
    /// Its process alone: see [`Fault::Kill`].
    Kill,
    /// That of its machine: see [`Fault::Crash`].
    Power,
    /// The machine gets a new disk: see [`Fault::Wipe`].
    Wipe,
}

/// The directed links from one group to another.
pub fn directions(from: &[NodeId], to: &[NodeId], both_ways: bool) -> Directions {
    let pairs = from.iter().flat_map(|&a| to.iter().map(move |&b| (a, b))).filter(|(a, b)| a != b);
    pairs.flat_map(|(a, b)| if both_ways { vec![(a, b), (b, a)] } else { vec![(a, b)] }).collect()
}

impl Fault {
    /// The nodes it names.
    pub fn nodes(&self) -> Vec<NodeId> {
        match self {
            Self::Crash { node, .. }
            | Self::Kill { node, .. }
            | Self::Wipe { node, .. }
            | Self::Pause { node, .. }
            | Self::Clock { node, .. }
            | Self::ClockJump { node, .. }
            | Self::SlowSync { node, .. }
            | Self::FailSync { node }
            | Self::DiskFull { node, .. }
            | Self::BitRot { node, .. } => vec![*node],
            Self::Cut { from, to, .. } | Self::Clog { from, to, .. } | Self::SlowLink { from, to, .. } => {
                [from.as_slice(), to.as_slice()].concat()
            }
            Self::Partition { shape, .. } => match shape {
                Shape::Isolate { node } | Shape::Bridge { node } => vec![*node],
                Shape::Halves { group } => group.clone(),
                Shape::MajorityRing => Vec::new(),
            },
            Self::Reset { a, b } => vec![*a, *b],
            Self::Frame { from, to, .. } => vec![*from, *to],
        }
    }

    /// Whether it can do anything to these members; `Err` says which of its fields makes no sense.
    pub fn check(&self, members: &[NodeId]) -> Result<(), String> {
        let some_link = |links: Directions, field: &str| match links.is_empty() {
            true => {
                Err(format!("{field}: there is no link between these: name other senders than receivers"))
            }
            false => Ok(()),
        };
        match self {
            Self::Crash { down_ms, .. } | Self::Kill { down_ms, .. } | Self::Wipe { down_ms, .. } => {
                in_range("down_ms", down_ms.unwrap_or(0), TIMES_MS)
            }
            Self::Clock { percent, for_ms, .. } => {
                in_range("percent", *percent, PERCENT).and(in_range("for_ms", *for_ms, TIMES_MS))
            }
            Self::ClockJump { by_ms, .. } => in_range("by_ms", *by_ms, TIMES_MS),
            Self::Cut { from, to, both_ways, for_ms } => {
                some_link(directions(from, to, *both_ways), "from, to")?;
                in_range("for_ms", *for_ms, TIMES_MS)
            }
            Self::Clog { from, to, for_ms } => {
                some_link(directions(from, to, false), "from, to")?;
                in_range("for_ms", *for_ms, TIMES_MS)
            }
            Self::SlowLink { from, to, delay_ms, for_ms } => {
                some_link(directions(from, to, false), "from, to")?;
                in_range("delay_ms", *delay_ms, TIMES_MS).and(in_range("for_ms", *for_ms, TIMES_MS))
            }
            Self::Partition { shape, for_ms } => {
                shape.check(members)?;
                in_range("for_ms", *for_ms, TIMES_MS)
            }
            Self::SlowSync { delay_ms, for_ms, .. } => {
                in_range("delay_ms", *delay_ms, TIMES_MS).and(in_range("for_ms", *for_ms, TIMES_MS))
            }
            Self::Pause { for_ms, .. } | Self::DiskFull { for_ms, .. } => {
                in_range("for_ms", *for_ms, TIMES_MS)
            }
            Self::BitRot { permille, .. } => in_range("permille", *permille, PERMILLE),
            Self::Frame { from, to, .. } if from == to => {
                Err(format!("from, to: {from} sends itself no frames"))
            }
            Self::Frame { nth, fate, .. } => {
                in_range("nth", *nth, 1..=u32::MAX)?;
                match fate {
                    FrameFate::Lost => Ok(()),
                    FrameFate::Late { by_ms } | FrameFate::Twice { by_ms } => {
                        in_range("by_ms", *by_ms, TIMES_MS)
                    }
                }
            }
            Self::Reset { a, b } if a == b => Err(format!("a, b: {a} has no connection to itself")),
            Self::Reset { .. } | Self::FailSync { .. } => Ok(()),
        }
    }

    /// The same fault in a system without this member; `None` if nothing is left of it.
    pub fn without(&self, gone: NodeId) -> Option<Self> {
        let mut fault = self.clone();
        match &mut fault {
            Self::Cut { from, to, .. } | Self::Clog { from, to, .. } | Self::SlowLink { from, to, .. } => {
                from.retain(|node| *node != gone);
                to.retain(|node| *node != gone);
                (!from.is_empty() && !to.is_empty()).then_some(fault)
            }
            Self::Partition { shape: Shape::Halves { group }, .. } => {
                group.retain(|node| *node != gone);
                (!group.is_empty()).then_some(fault)
            }
            Self::Crash { .. }
            | Self::Kill { .. }
            | Self::Wipe { .. }
            | Self::Pause { .. }
            | Self::Clock { .. }
            | Self::ClockJump { .. }
            | Self::Partition { .. }
            | Self::Reset { .. }
            | Self::Frame { .. }
            | Self::SlowSync { .. }
            | Self::FailSync { .. }
            | Self::DiskFull { .. }
            | Self::BitRot { .. } => (!self.nodes().contains(&gone)).then_some(fault),
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        let seconds = |ms: &u64| *ms as f64 / 1000.0;
        match self {
            Self::Crash { node, .. } => format!("{node} crashes"),
            Self::Kill { node, .. } => format!("the process of {node} is killed"),
            Self::Wipe { node, .. } => format!("{node} crashes and loses its disk"),
            Self::Pause { node, for_ms } => format!("{node} stands still for {} s", seconds(for_ms)),
            Self::Clock { node, percent, for_ms } => {
                format!("the clock of {node} runs at {percent} % for {} s", seconds(for_ms))
            }
            Self::ClockJump { node, by_ms } => {
                format!("the clock of {node} jumps ahead by {} s", seconds(by_ms))
            }
            Self::Cut { from, to, both_ways, for_ms } => {
                let arrow = if *both_ways { "↮" } else { "↛" };
                format!("cut {} {arrow} {} for {} s", names(from), names(to), seconds(for_ms))
            }
            Self::Partition { shape, for_ms } => {
                let shape = match shape {
                    Shape::Isolate { node } => format!("{node} is isolated"),
                    Shape::Halves { group } => format!("{} are cut off from the others", names(group)),
                    Shape::MajorityRing => "a ring of majorities".into(),
                    Shape::Bridge { node } => format!("two halves, {node} is the bridge"),
                };
                format!("partition for {} s: {shape}", seconds(for_ms))
            }
            Self::Clog { from, to, for_ms } => {
                format!("clog {} → {} for {} s", names(from), names(to), seconds(for_ms))
            }
            Self::SlowLink { from, to, delay_ms, for_ms } => {
                let (from, to) = (names(from), names(to));
                format!("slow link {from} → {to}: {delay_ms} ms more, for {} s", seconds(for_ms))
            }
            Self::Reset { a, b } => format!("the connections between {a} and {b} are reset"),
            Self::Frame { from, to, nth: 1, fate } => {
                format!("the next frame {from} → {to} {}", fate.describe())
            }
            Self::Frame { from, to, nth, fate } => {
                format!("of the next frames {from} → {to}, number {nth} {}", fate.describe())
            }
            Self::SlowSync { node, delay_ms, for_ms } => {
                format!("the disk of {node} syncs {delay_ms} ms slower for {} s", seconds(for_ms))
            }
            Self::FailSync { node } => format!("the next sync of {node}'s disk fails"),
            Self::DiskFull { node, for_ms } => {
                format!("the disk of {node} is full for {} s", seconds(for_ms))
            }
            Self::BitRot { node, .. } => format!("a bit of {node}'s journal rots"),
        }
    }
}

/// What happened to a run, by kind: how often each fault took *effect*. A crash of a node that was down, or a
/// cut that no frame ran into, does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Effects(BTreeMap<Effect, u64>);

/// A kind of effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "their names say it")]
pub enum Effect {
    FrameLost,
    FrameDuplicated,
    FrameDelayed,
    FrameCutOneWay,
    FrameCutBothWays,
    FrameCutByIsolation,
    FrameCutByHalves,
    FrameCutByMajorityRing,
    FrameCutByBridge,
    FrameClogged,
    FrameSlowed,
    ConnectionReset,
    Crash,
    Kill,
    UnsyncedWriteLost,
    UnsyncedWriteKept,
    TornWrite,
    DiskWiped,
    Pause,
    ClockFast,
    ClockSlow,
    ClockJump,
    SyncSlowed,
    SyncFailed,
    DiskFull,
    BitRot,
    Restart,
}

impl Effect {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::FrameLost,
        Self::FrameDuplicated,
        Self::FrameDelayed,
        Self::FrameCutOneWay,
        Self::FrameCutBothWays,
        Self::FrameCutByIsolation,
        Self::FrameCutByHalves,
        Self::FrameCutByMajorityRing,
        Self::FrameCutByBridge,
        Self::FrameClogged,
        Self::FrameSlowed,
        Self::ConnectionReset,
        Self::Crash,
        Self::Kill,
        Self::UnsyncedWriteLost,
        Self::UnsyncedWriteKept,
        Self::TornWrite,
        Self::DiskWiped,
        Self::Pause,
        Self::ClockFast,
        Self::ClockSlow,
        Self::ClockJump,
        Self::SyncSlowed,
        Self::SyncFailed,
        Self::DiskFull,
        Self::BitRot,
        Self::Restart,
    ];

    /// In words.
    pub fn name(&self) -> &'static str {
        match self {
            Self::FrameLost => "frame lost",
            Self::FrameDuplicated => "frame duplicated",
            Self::FrameDelayed => "frame delayed",
            Self::FrameCutOneWay => "frame cut off one way",
            Self::FrameCutBothWays => "frame cut off both ways",
            Self::FrameCutByIsolation => "frame cut off from one node",
            Self::FrameCutByHalves => "frame cut off between halves",
            Self::FrameCutByMajorityRing => "frame cut off in a ring of majorities",
            Self::FrameCutByBridge => "frame cut off beside a bridge",
            Self::FrameClogged => "frame clogged",
            Self::FrameSlowed => "frame slowed",
            Self::ConnectionReset => "connection reset",
            Self::Crash => "crash",
            Self::Kill => "process killed",
            Self::UnsyncedWriteLost => "unsynced write lost",
            Self::UnsyncedWriteKept => "unsynced write kept",
            Self::TornWrite => "torn write",
            Self::DiskWiped => "disk wiped",
            Self::Pause => "pause",
            Self::ClockFast => "clock fast",
            Self::ClockSlow => "clock slow",
            Self::ClockJump => "clock jump",
            Self::SyncSlowed => "sync slowed",
            Self::SyncFailed => "sync failed",
            Self::DiskFull => "disk full",
            Self::BitRot => "bit rot",
            Self::Restart => "restart",
        }
    }
}

impl Effects {
    /// One more of a kind.
    pub fn count(&mut self, effect: Effect) {
        self.add(effect, 1);
    }

    /// So many more of a kind.
    pub fn add(&mut self, effect: Effect, times: u64) {
        if times > 0 {
            *self.0.entry(effect).or_default() += times;
        }
    }

    /// All of another run too.
    pub fn merge(&mut self, other: &Self) {
        for (&effect, &times) in &other.0 {
            self.add(effect, times);
        }
    }

    /// How often.
    pub fn of(&self, effect: Effect) -> u64 {
        self.0.get(&effect).copied().unwrap_or(0)
    }

    /// The kinds that never took effect.
    pub fn never(&self) -> Vec<Effect> {
        Effect::ALL.into_iter().filter(|effect| self.of(*effect) == 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(n: u32) -> Vec<NodeId> {
        (1..=n).map(NodeId).collect()
    }

    #[test]
    fn shapes_cut_what_they_say() {
        let alone = Shape::Isolate { node: NodeId(2) }.cuts(&ids(3));
        assert_eq!(alone, directions(&[NodeId(2)], &[NodeId(1), NodeId(3)], true));
        let halves = Shape::Halves { group: ids(2) }.cuts(&ids(5));
        assert_eq!(halves.len(), 2 * 2 * 3);
        let bridge = Shape::Bridge { node: NodeId(5) }.cuts(&ids(5));
        assert_eq!(bridge, directions(&ids(2), &[NodeId(3), NodeId(4)], true));
    }

    #[test]
    fn in_a_ring_everybody_reaches_a_majority_and_nobody_everybody() {
        for n in [3, 5, 7, 9] {
            let cuts = Shape::MajorityRing.cuts(&ids(n));
            for node in ids(n) {
                let lost = cuts.iter().filter(|(from, _)| *from == node).count() as u32;
                let reached = n - lost;
                assert!(reached > n / 2, "of {n}, {node} reaches only {reached}");
                assert!(reached < n, "of {n}, {node} reaches all");
            }
        }
    }
}
