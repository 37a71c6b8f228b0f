//! The network, as far as both engines share it: what the plan did to each direction, and what becomes of a
//! frame.

use std::collections::BTreeMap;
use std::time::Duration;

use coalmine_core::node::NodeId;
use rand_chacha::ChaCha8Rng;

use crate::engine::report::RunOptions;
use crate::engine::shared::LATENCY;
use crate::spec::faults::{CutKind, Directions, Effect, Effects, Fault, FrameFate, Passed, directions};
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
    /// What the plan says of frames that are still to be sent.
    said: Vec<Said>,
    /// The steps of the plan that have found their frames.
    met: Vec<usize>,
    /// What became of each frame, if that is kept.
    passed: Option<Vec<Passed>>,
}

/// What a step of the plan says of a frame.
#[derive(Clone, Copy, Debug)]
struct Said {
    step: usize,
    direction: (NodeId, NodeId),
    /// How many frames are sent until it is this one's turn.
    nth: u32,
    fate: FrameFate,
}

/// What a network leaves behind.
#[derive(Debug, Default)]
pub struct Remains {
    /// What took effect.
    pub effects: Effects,
    /// The steps of the plan that have found their frames.
    pub met: Vec<usize>,
    /// What became of each frame, if that was kept.
    pub passed: Vec<Passed>,
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
            | Fault::Frame { .. }
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
    pub fn new(options: RunOptions, links: Links) -> Self {
        Self {
            rng: Stream::Network.of(options.seed),
            links,
            effects: Effects::default(),
            directions: BTreeMap::new(),
            fault_free: links.are_fault_free() && !options.keep_frames,
            has_resets: false,
            said: Vec::new(),
            met: Vec::new(),
            passed: options.keep_frames.then(Vec::new),
        }
    }

    /// A step of the plan says what becomes of the `nth` frame of a direction from now on.
    pub fn say(&mut self, step: usize, direction: (NodeId, NodeId), nth: u32, fate: FrameFate) {
        self.said.push(Said { step, direction, nth, fate });
        self.recompute();
    }

    /// What is known at the end.
    pub fn remains(&mut self) -> Remains {
        Remains {
            effects: std::mem::take(&mut self.effects),
            met: std::mem::take(&mut self.met),
            passed: self.passed.take().unwrap_or_default(),
        }
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
        self.said.clear();
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
        let untroubled = self.directions.values().all(untroubled);
        let untouched = self.said.is_empty() && self.passed.is_none();
        self.fault_free = self.links.are_fault_free() && untouched && untroubled;
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

    /// Decides what becomes of a frame: what the plan says of it, or else what is drawn.
    pub fn passage(&mut self, now: Duration, from: NodeId, to: NodeId) -> Passage {
        let direction = self.direction(from, to);
        let delays = if self.said.is_empty() { None } else { self.said_of((from, to)) };
        let delays = delays.unwrap_or_else(|| self.draw_delays());
        if let Some(passed) = &mut self.passed {
            passed.push(Passed { at: now, from, to, fates: fates(delays) });
        }
        let effects = &mut self.effects;
        let [Some(first), second] = delays else {
            effects.count(Effect::FrameLost);
            return Passage { fate: Fate::Lost, copies: [None, None] };
        };
        let slower = Duration::from_millis(direction.slower_ms);
        let copies = [Some(slower + first), second.map(|delay| slower + delay)];
        effects.add(Effect::FrameDuplicated, second.is_some().into());
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

    /// After how long each copy sets out, if links are not slow: none if the frame is lost.
    fn draw_delays(&mut self) -> [Option<Duration>; 2] {
        let Self { rng, links, .. } = self;
        if rng.permille(links.loss_permille) {
            return [None, None];
        }
        let twice = rng.permille(links.duplicate_permille);
        let mut delay = || match rng.permille(links.delay_permille) {
            true => Duration::from_millis(rng.below(u64::from(links.delay_ms) + 1)),
            false => Duration::ZERO,
        };
        [Some(delay()), twice.then(&mut delay)]
    }

    /// The same as the plan says it of the frame that is sent in this direction now, if it does.
    fn said_of(&mut self, direction: (NodeId, NodeId)) -> Option<[Option<Duration>; 2]> {
        let (mut fates, met) = (Vec::new(), &mut self.met);
        self.said.retain_mut(|said| {
            said.nth -= u32::from(said.direction == direction);
            if said.nth == 0 {
                fates.push(said.fate);
                met.push(said.step);
            }
            said.nth > 0
        });
        if fates.is_empty() {
            return None;
        }
        self.recompute();
        let mut delays = [Some(Duration::ZERO), None];
        for fate in &fates {
            match fate {
                FrameFate::Late { by_ms } => delays[0] = Some(Duration::from_millis(*by_ms)),
                FrameFate::Twice { by_ms } => delays[1] = Some(Duration::from_millis(*by_ms)),
                FrameFate::Lost => {}
            }
        }
        Some(if fates.contains(&FrameFate::Lost) { [None, None] } else { delays })
    }
}

/// What is said of a frame whose copies set out after so long, and not of every frame.
fn fates([first, second]: [Option<Duration>; 2]) -> [Option<FrameFate>; 2] {
    let ms = |delay: Duration| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    let first = match first {
        None => Some(FrameFate::Lost),
        Some(Duration::ZERO) => None,
        Some(delay) => Some(FrameFate::Late { by_ms: ms(delay) }),
    };
    [first, second.map(|delay| FrameFate::Twice { by_ms: ms(delay) })]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame that runs into several cuts counts for each of them, as long as it lasts.
    #[test]
    fn each_kind_of_cut_counts_by_itself() {
        let (a, b) = (NodeId(1), NodeId(2));
        let mut network_state = NetworkState::new(RunOptions::of(1), Links::default());
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
