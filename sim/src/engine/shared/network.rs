//! The network, as far as both engines share it: what the plan did to each direction, and what becomes of a
//! frame.

use std::collections::BTreeMap;
use std::time::Duration;

use coalmine_core::node::NodeId;
use rand_chacha::ChaCha8Rng;

use crate::engine::shared::LATENCY;
use crate::spec::faults::{CutKind, Directions, Effect, Effects, Fault, directions};
use crate::spec::plan::{Draw, Links, Stream};
use crate::trace::Fate;

/// The network's network_state.
pub struct NetworkState {
    rng: ChaCha8Rng,
    links: Links,
    /// What took effect so far.
    pub effects: Effects,
    directions: BTreeMap<(NodeId, NodeId), Direction>,
    /// Whether every frame passes untouched.
    fault_free: bool,
    /// Whether any connection ever broke.
    has_resets: bool,
}

/// What the plan did to one direction; the same done twice must be undone twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direction {
    /// Frames are lost.
    pub cuts: Cuts,
    /// Frames are held.
    pub clogs: u32,
    /// Frames take so much longer.
    pub slower_ms: u64,
    /// How often its connection broke so far.
    pub resets: u64,
}

/// How many cuts of each kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts([u32; CutKind::ALL.len()]);

impl Cuts {
    /// Whether there are any.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// Something that a plan does to directions, and may undo.
#[derive(Clone, Copy, Debug)]
pub enum LinkFault {
    /// Frames are lost.
    Cut(CutKind),
    /// Frames are held.
    Clog,
    /// Frames take longer.
    Slow(u64),
}

impl LinkFault {
    /// What a fault does to which directions between these members, and for how many milliseconds, if it is one of
    /// links that lasts.
    pub fn of(fault: &Fault, members: &[NodeId]) -> Option<(Directions, Self, u64)> {
        Some(match fault {
            Fault::Cut { from, to, both_ways, for_ms } => {
                let cut = Self::Cut(CutKind::of_cut(*both_ways));
                (directions(from, to, *both_ways), cut, *for_ms)
            }
            Fault::Partition { shape, for_ms } => {
                (shape.cuts(members), Self::Cut(CutKind::of_shape(shape)), *for_ms)
            }
            Fault::Clog { from, to, for_ms } => (directions(from, to, false), Self::Clog, *for_ms),
            Fault::SlowLink { from, to, delay_ms, for_ms } => {
                (directions(from, to, false), Self::Slow(*delay_ms), *for_ms)
            }
            Fault::Crash { .. }
            | Fault::Kill { .. }
            | Fault::Wipe { .. }
            | Fault::Pause { .. }
            | Fault::Clock { .. }
            | Fault::ClockJump { .. }
            | Fault::Reset { .. }
            | Fault::SlowSync { .. }
            | Fault::FailSync { .. }
            | Fault::DiskFull { .. }
            | Fault::BitRot { .. } => return None,
        })
    }
}

/// How a frame passes.
#[derive(Clone, Copy, Debug)]
pub struct Passage {
    /// What becomes of it.
    pub fate: Fate,
    /// After how long each copy sets out: none if it is lost.
    pub copies: [Option<Duration>; 2],
}

impl NetworkState {
    /// A network that draws from this seed.
    pub fn new(seed: u64, links: Links) -> Self {
        let (rng, effects, directions) = (Stream::Network.of(seed), Effects::default(), BTreeMap::new());
        Self { rng, links, effects, directions, fault_free: links.are_fault_free(), has_resets: false }
    }

    /// Begins a fault of these directions, or ends it. Faults add up.
    pub fn change_fault(&mut self, directions: &Directions, fault: LinkFault, begin: bool) {
        for &direction in directions {
            let it = self.directions.entry(direction).or_default();
            let step = |n: u64, by: u64| if begin { n + by } else { n.saturating_sub(by) };
            match fault {
                LinkFault::Cut(kind) => {
                    let cuts = &mut it.cuts.0[kind as usize];
                    *cuts = step((*cuts).into(), 1) as u32;
                }
                LinkFault::Clog => it.clogs = step(it.clogs.into(), 1) as u32,
                LinkFault::Slow(ms) => it.slower_ms = step(it.slower_ms, ms),
            }
        }
        self.recompute();
    }

    /// Breaks the connections that carry these directions.
    pub fn reset(&mut self, directions: &Directions) {
        for &direction in directions {
            self.directions.entry(direction).or_default().resets += 1;
            self.has_resets = true;
        }
    }

    /// No faults from now on.
    pub fn heal(&mut self) {
        self.links = Links::default();
        for direction in self.directions.values_mut() {
            *direction = Direction { resets: direction.resets, ..Direction::default() };
        }
        self.recompute();
    }

    /// Whether any connection ever broke.
    pub fn has_resets(&self) -> bool {
        self.has_resets
    }

    fn recompute(&mut self) {
        let untroubled = |it: &Direction| !it.cuts.any() && it.clogs == 0 && it.slower_ms == 0;
        self.fault_free = self.links.are_fault_free() && self.directions.values().all(untroubled);
    }

    /// Whether every frame passes untouched: its [passage](Self::passage) need not be asked for, it draws nothing.
    pub fn is_fault_free(&self) -> bool {
        self.fault_free
    }

    /// What the plan did to a direction.
    pub fn direction(&self, from: NodeId, to: NodeId) -> Direction {
        self.directions.get(&(from, to)).copied().unwrap_or_default()
    }

    /// Whether frames pass.
    pub fn passes(&self, from: NodeId, to: NodeId) -> bool {
        !self.direction(from, to).cuts.any()
    }

    /// A frame ran into these cuts: it counts for each kind that would have kept it.
    pub fn cut_off(&mut self, cuts: Cuts) {
        for (kind, cuts) in CutKind::ALL.into_iter().zip(cuts.0) {
            self.effects.add(kind.effect(), (cuts > 0).into());
        }
    }

    /// Draws how long a packet is under way.
    pub fn latency(&mut self) -> Duration {
        Duration::from_nanos(self.latency_nanos())
    }

    /// The same in nanoseconds.
    pub fn latency_nanos(&mut self) -> u64 {
        const LEAST: u64 = LATENCY.start.as_nanos() as u64;
        const SPREAD: u64 = LATENCY.end.as_nanos() as u64 - LEAST;
        LEAST + self.rng.below(SPREAD)
    }

    /// Draws what becomes of a frame.
    pub fn passage(&mut self, from: NodeId, to: NodeId) -> Passage {
        let direction = self.direction(from, to);
        let Self { rng, links, effects, .. } = self;
        if rng.permille(links.loss_permille) {
            effects.count(Effect::FrameLost);
            return Passage { fate: Fate::Lost, copies: [None, None] };
        }
        let twice = rng.permille(links.duplicate_permille);
        let slower = Duration::from_millis(direction.slower_ms);
        let mut delay = || match rng.permille(links.delay_permille) {
            true => slower + Duration::from_millis(rng.below(u64::from(links.delay_ms) + 1)),
            false => slower,
        };
        let copies = [Some(delay()), twice.then(&mut delay)];
        effects.add(Effect::FrameDuplicated, twice.into());
        effects.add(Effect::FrameDelayed, copies.iter().flatten().filter(|it| **it > slower).count() as u64);
        effects.add(Effect::FrameSlowed, (!slower.is_zero()).into());
        effects.add(Effect::FrameClogged, (direction.clogs > 0).into());
        let fate = match copies {
            [_, Some(_)] => Fate::Doubled,
            _ if direction.clogs > 0 => Fate::Clogged,
            [Some(delay), None] if delay.is_zero() => Fate::Passes,
            _ => Fate::HeldBack,
        };
        Passage { fate, copies }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame that runs into several cuts counts for each of them, as long as it lasts.
    #[test]
    fn each_kind_of_cut_counts_by_itself() {
        let (a, b) = (NodeId(1), NodeId(2));
        let mut network_state = NetworkState::new(1, Links::default());
        let both = directions(&[a], &[b], true);
        let counted = |from: NodeId, to: NodeId, network_state: &mut NetworkState| {
            network_state.effects = Effects::default();
            network_state.cut_off(network_state.direction(from, to).cuts);
            CutKind::ALL
                .map(CutKind::effect)
                .into_iter()
                .filter(|cut| network_state.effects.of(*cut) == 1)
                .collect()
        };
        let none: Vec<Effect> = counted(a, b, &mut network_state);
        assert!(none.is_empty() && network_state.passes(a, b));
        network_state.change_fault(&both, LinkFault::Cut(CutKind::Bridge), true);
        network_state.change_fault(&directions(&[a], &[b], false), LinkFault::Cut(CutKind::OneWay), true);
        assert_eq!(counted(a, b, &mut network_state), [Effect::FrameCutOneWay, Effect::FrameCutByBridge]);
        assert_eq!(counted(b, a, &mut network_state), [Effect::FrameCutByBridge]);
        network_state.change_fault(&both, LinkFault::Cut(CutKind::Bridge), false);
        assert_eq!(counted(a, b, &mut network_state), [Effect::FrameCutOneWay]);
        assert!(network_state.passes(b, a) && !network_state.passes(a, b) && !network_state.is_fault_free());
        network_state.heal();
        assert!(network_state.passes(a, b) && network_state.is_fault_free());
    }
}
