//! Whether a state settles, for the [plain checker](crate::plain): written from the words of
//! [`SETTLES`](coalmine_sim::spec::verdict::SETTLES), with whole states, and all that they lead to.

use std::collections::{BTreeMap, BTreeSet};

use crate::plain::Plain;
use crate::state::{CUT, DROP, Packet, Place, State, Step};
use crate::table::{Did, Timer};

/// Whether moments settle, as far as it is known.
pub type Settled = BTreeMap<Moment, Option<bool>>;

/// A state, and when what is armed is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    state: State,
    /// By place and timer: in how many milliseconds.
    due: BTreeMap<(usize, Timer), u64>,
    /// In how many rounds messages arrived since a timer fired.
    trips: usize,
}

impl Moment {
    /// The first: all that is armed has just been armed.
    fn first(state: State) -> Self {
        let armed = |(place, it): (usize, &Place)| {
            let timers = it.up.iter().flat_map(|up| up.timers.iter());
            timers.map(|timer| ((place, *timer), length(*timer))).collect::<Vec<_>>()
        };
        let due = state.places.iter().enumerate().flat_map(armed).collect();
        Self { state, due, trips: 0 }
    }

    /// The same moment in another state, to which a place has come that did this.
    fn after(&self, state: State, place: usize, did: &[Did]) -> Self {
        let mut due = self.due.clone();
        for did in did {
            if let Did::Arm(timer) = did {
                due.insert((place, *timer), length(*timer));
            }
        }
        due.retain(|(at, timer), _| {
            *at != place || state.places[place].up.as_ref().is_some_and(|up| up.timers.contains(timer))
        });
        Self { state, due, trips: self.trips }
    }
}

/// The middle of its range.
fn length(timer: Timer) -> u64 {
    let [min, max] = timer.delay_ms();
    (min + max) / 2
}

/// How many states rounds may lead to, before nobody knows.
const MOST_ROUNDS: usize = 200;
/// In how many ways a round may go, before nobody knows.
const MOST_WAYS: usize = 500;

/// In how many rounds messages may follow from messages before a timer fires all the same.
const TRIPS: usize = 16;

/// Where all may be within a round, each with whether all was at rest until then.
type Ways = BTreeSet<(Moment, bool)>;

/// Goes on from each of these. None: in too many ways.
fn each(now: Ways, go: impl Fn(Moment, bool) -> Option<Ways>) -> Option<Ways> {
    let mut all = Ways::new();
    for (state, calm) in now {
        all.extend(go(state, calm)?);
        if all.len() > MOST_WAYS {
            return None;
        }
    }
    Some(all)
}

impl Plain<'_> {
    /// Whether a state settles, whatever is lost once, before any round, of what is under way then. None: that takes too
    /// long.
    pub fn settles(&self, state: &State, known: &mut Settled) -> Option<bool> {
        let mut healed =
            State { spent: [0; 9], asked: BTreeSet::new(), cut: BTreeSet::new(), ..state.clone() };
        if let Some(gone) = self.spec.gone() {
            healed.places[gone] = Self::crashed(healed.places[gone].clone(), Some(0));
        }
        let lost_before = state.spent[DROP] + state.spent[CUT];
        let first = Moment::first(healed);
        let (mut all, mut todo, mut seen) = (true, vec![first.clone()], BTreeSet::from([first]));
        while let Some(now) = todo.pop() {
            for lost in self.losses(&now.state, state.spent[DROP], lost_before) {
                let packets = now.state.packets.difference(&lost).copied().collect();
                let state = State { packets, ..now.state.clone() };
                all &= self.comes_to_rest(&Moment { state, ..now.clone() }, known)?;
            }
            if self.spec.budgets.drops + self.spec.budgets.cuts > 0 && lost_before == 0 {
                let next = self.round(&now)?.into_iter().map(|(next, _)| next);
                todo.extend(next.filter(|next| seen.insert(next.clone())));
            }
            if seen.len() > MOST_ROUNDS || todo.iter().any(|at| at.state.is_over()) {
                return None;
            }
        }
        Some(all)
    }

    /// What is lost in turn: of few messages every part; of more all, all of a kind, all on a link if links may be cut,
    /// and as many as may be dropped. What was lost before has been asked for where it was under way.
    fn losses(&self, state: &State, dropped: u8, lost_before: u8) -> Vec<BTreeSet<Packet>> {
        let of = &self.spec.budgets;
        let packets: Vec<_> = state.packets.iter().copied().collect();
        let up_to = |most: u32| {
            let sets = (0..1_u32 << packets.len().min(20)).filter(move |set| set.count_ones() <= most);
            let lost =
                |set: u32| (0..packets.len()).filter(move |at| set >> at & 1 == 1).map(|at| packets[at]);
            sets.map(|set| lost(set).collect()).collect::<Vec<BTreeSet<_>>>()
        };
        if of.drops == 0 && of.cuts == 0 {
            return up_to(0);
        } else if lost_before > 0 {
            return up_to(of.drops.saturating_sub(dropped).into());
        } else if packets.len() <= 4 {
            return up_to(4);
        }
        let mut all = up_to(of.drops.max(1).into());
        let mut alike = |is: &dyn Fn(&Packet, &Packet) -> bool| {
            all.extend(packets.iter().map(|a| packets.iter().copied().filter(|b| is(a, b)).collect()));
        };
        alike(&|_, _| true);
        alike(&|a, b| a.2 == b.2);
        alike(&|a, b| of.cuts > 0 && (a.0, a.1) == (b.0, b.1));
        all
    }

    /// Time goes in rounds, each of which may go in several ways if nodes choose. Where no way leads out of some states
    /// any more, all must be at rest, in each of them and after each step between.
    fn comes_to_rest(&self, from: &Moment, known: &mut Settled) -> Option<bool> {
        if let Some(known) = known.get(from) {
            return *known;
        }
        let mut rounds: BTreeMap<Moment, Ways> = BTreeMap::new();
        let mut todo = vec![from.clone()];
        while let Some(at) = todo.pop() {
            if !rounds.contains_key(&at) && rounds.len() < MOST_ROUNDS {
                let Some(next) = self.round(&at) else {
                    known.insert(from.clone(), None);
                    return None;
                };
                if next.iter().any(|(next, _)| next.state.is_over()) {
                    known.insert(from.clone(), None);
                    return None;
                }
                todo.extend(next.iter().map(|(next, _)| next.clone()));
                rounds.insert(at, next);
            } else if !rounds.contains_key(&at) {
                known.insert(from.clone(), None);
                return None;
            }
        }
        let leads_to = |from: &'_ Moment| {
            let (mut seen, mut todo) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(at) = todo.pop() {
                todo.extend(
                    rounds[&at].iter().map(|it| it.0.clone()).filter(|next| seen.insert(next.clone())),
                );
            }
            seen
        };
        let reach: BTreeMap<&Moment, BTreeSet<Moment>> = rounds.keys().map(|at| (at, leads_to(at))).collect();
        let never_leaves = |at: &Moment| reach[at].iter().all(|next| reach[next].contains(at));
        let is_calm = |at: &Moment| self.is_at_rest(&at.state) && rounds[at].iter().all(|(_, calm)| *calm);
        let settles = rounds.keys().all(|at| !never_leaves(at) || is_calm(at));
        known.insert(from.clone(), Some(settles));
        Some(settles)
    }

    fn is_at_rest(&self, state: &State) -> bool {
        self.spec.is_at_rest(&state.view())
    }

    /// Who is down restarts and disks sync; what is under way arrives, by receiver, sender and message; if nothing is then,
    /// the timer that is due next fires. Each end comes with whether all was at rest after each step.
    fn round(&self, at: &Moment) -> Option<Ways> {
        let places = 0..at.state.places.len();
        let mut begun = Ways::from([(at.clone(), true)]);
        for place in places {
            begun = each(begun, |at, calm| self.quiet(at, calm, place))?;
        }
        each(begun, |at, calm| {
            let mut under_way: Vec<_> = at.state.packets.iter().copied().collect();
            under_way.sort_by_key(|&(from, to, message)| (to, from, message));
            let mut now = Ways::from([(at, calm)]);
            for packet in under_way {
                now = each(now, |mut at, calm| {
                    if !self.spec.budgets.persistent {
                        at.state.packets.remove(&packet);
                    }
                    self.goes(at, calm, packet.1, Step::Deliver { packet, stays: false })
                })?;
            }
            each(now, |at, calm| self.time_passes(at, calm))
        })
    }

    /// Where no message is under way, or messages have followed from messages for long.
    fn time_passes(&self, mut at: Moment, calm: bool) -> Option<Ways> {
        if !at.state.packets.is_empty() && !self.spec.budgets.persistent && at.trips < TRIPS {
            at.trips += 1;
            return Some(Ways::from([(at, calm)]));
        }
        at.trips = 0;
        let next = at.due.iter().min_by_key(|(whose, left)| (**left, **whose));
        let Some((&(place, timer), &left)) = next else { return Some(Ways::from([(at, calm)])) };
        at.due.values_mut().for_each(|due| *due -= left);
        self.goes(at, calm, place, Step::Fire(timer))
    }

    /// A whole step of a place, in all ways, and what happens by itself after it.
    fn goes(&self, at: Moment, calm: bool, place: usize, step: Step) -> Option<Ways> {
        if at.state.places[place].up.is_none() && step != Step::Boot {
            let calm = calm && self.is_at_rest(&at.state);
            return self.quiet(at, calm, place);
        }
        each(self.takes(at, calm, place, step), |at, calm| self.quiet(at, calm, place))
    }

    /// A whole step of a place, in all ways.
    fn takes(&self, at: Moment, calm: bool, place: usize, step: Step) -> Ways {
        let ways = self.ways(&at.state.places[place], place, step).into_iter();
        let ends = ways.map(|way| {
            let mut next = at.state.clone();
            self.happens(&mut next, place, way.place, &way.effects);
            let calm = calm && self.is_at_rest(&next);
            (at.after(next, place, &way.effects), calm)
        });
        ends.collect()
    }

    /// What happens by itself at a place: who is down starts, and a disk syncs what it held then.
    fn quiet(&self, at: Moment, calm: bool, place: usize) -> Option<Ways> {
        let it = &at.state.places[place];
        if self.spec.gone() == Some(place) || it.panicked {
            return Some(Ways::from([(at, calm)]));
        }
        if it.up.is_none() {
            return self.goes(at, calm, place, Step::Boot);
        }
        let syncs = it.disk.len() - it.durable;
        let mut now = Ways::from([(at, calm)]);
        for _ in 0..syncs {
            now = each(now, |at, calm| match at.state.places[place].up {
                Some(_) => Some(self.takes(at, calm, place, Step::Flush)),
                None => Some(Ways::from([(at, calm)])),
            })?;
        }
        Some(now)
    }
}
