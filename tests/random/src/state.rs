//! The states of the [plain checker](crate::plain), and what may happen in them.

#![allow(missing_docs, reason = "they mean what they mean in the world")]

use std::collections::{BTreeSet, VecDeque};

use crate::table::{Did, Fact, Message, Record, TableNode, Timer};
use crate::view::View;

/// A node that is up: its memory, its timers, and what waits until so many records are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Up {
    pub node: TableNode,
    pub timers: BTreeSet<Timer>,
    /// Each with the request that it is about.
    pub held: VecDeque<(usize, Did, Option<usize>)>,
}

impl Up {
    /// How many questions wait for the disk.
    pub fn questions(&self) -> usize {
        self.held.iter().filter(|held| matches!(held.1, Did::WhenDurable(_))).count()
    }
}

/// A node and its disk, of which the first records are durable, and of these the first may vanish.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub up: Option<Up>,
    pub disk: Vec<Record>,
    pub durable: usize,
    pub forgettable: usize,
    /// How many have vanished before those on the disk.
    pub gone: usize,
    pub lives: u64,
    /// Its node has panicked: nothing happens any more.
    pub panicked: bool,
}

impl Place {
    /// The records before this number, counted from 1, may vanish, as far as they are durable.
    pub fn forget(&mut self, before: u64) {
        let may = (before as usize).saturating_sub(1 + self.gone).min(self.durable);
        self.forgettable = self.forgettable.max(may);
    }

    /// So many do.
    pub fn vanish(&mut self, count: usize) {
        self.disk.drain(..count);
        (self.gone, self.durable, self.forgettable) =
            (self.gone + count, self.durable - count, self.forgettable - count);
    }
}

/// What budgets are for; each has its number.
pub const CRASH: usize = 0;
pub const WIPE: usize = 1;
pub const CUT: usize = 2;
pub const DROP: usize = 3;
pub const DUPLICATE: usize = 4;
pub const TIMEOUT: usize = 5;
pub const PERIODIC: usize = 6;
pub const RETRY: usize = 7;
pub const UNHEALTHY: usize = 8;

/// From, to, what.
pub type Packet = (usize, usize, Message);

/// The whole system.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    pub places: Vec<Place>,
    pub packets: BTreeSet<Packet>,
    pub cut: BTreeSet<(usize, usize)>,
    pub told: Vec<(usize, Fact)>,
    pub spent: [u8; 9],
    pub asked: BTreeSet<usize>,
}

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Boot,
    Flush,
    Deliver { packet: Packet, stays: bool },
    Fire(Timer),
    Ask(usize),
}

/// What happens. A crash keeps so many records that are not durable, or nothing at all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Step { place: usize, step: Step, answers: Vec<u32>, crash: Option<(usize, Option<usize>)> },
    Crash { place: usize, keeps: Option<usize> },
    Drop(Packet),
    Cut { from: usize, to: usize, both: bool },
    Heal { from: usize, to: usize },
}

impl State {
    /// Whether a node has panicked.
    pub fn is_over(&self) -> bool {
        self.places.iter().any(|place| place.panicked)
    }

    /// What can be seen of it.
    pub fn view(&self) -> View {
        let node = |it: &Place| (it.up.as_ref().map(|up| up.node.clone()), it.disk[..it.durable].to_vec());
        View { nodes: self.places.iter().map(node).collect(), told: self.told.clone() }
    }
}

impl Action {
    /// Whether another means the same. Answers that it does not give are 0.
    pub fn means(&self, other: &Self) -> bool {
        let plainly = |action: &Self| match action.clone() {
            Self::Step { place, step, mut answers, crash } => {
                let given = answers.iter().rposition(|answer| *answer != 0).map_or(0, |last| last + 1);
                answers.truncate(given);
                Self::Step { place, step, answers, crash }
            }
            it @ (Self::Crash { .. } | Self::Drop(_) | Self::Cut { .. } | Self::Heal { .. }) => it,
        };
        plainly(self) == plainly(other)
    }
}
