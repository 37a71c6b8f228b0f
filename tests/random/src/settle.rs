//! Whether a state settles, for the [plain checker](crate::plain): written from the words of
//! [`SETTLES`](coalmine_sim::spec::verdict::SETTLES), with whole states, and all that they lead to.

use std::collections::{BTreeMap, BTreeSet};

use crate::plain::Plain;
use crate::state::{CUT, DROP, Packet, State, Step};

/// Whether states settle, as far as it is known.
pub type Settled = BTreeMap<State, Option<bool>>;

/// How many states rounds may lead to, before nobody knows.
const MOST_ROUNDS: usize = 200;
/// In how many ways a round may go, before nobody knows.
const MOST_WAYS: usize = 500;

/// Where all may be within a round, each with whether all was at rest until then.
type Ways = BTreeSet<(State, bool)>;

/// Goes on from each of these. None: in too many ways.
fn each(now: Ways, go: impl Fn(State, bool) -> Option<Ways>) -> Option<Ways> {
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
        let (mut all, mut todo, mut seen) = (true, vec![healed.clone()], BTreeSet::from([healed]));
        while let Some(now) = todo.pop() {
            for lost in self.losses(&now, state.spent[DROP], lost_before) {
                let packets = now.packets.difference(&lost).copied().collect();
                all &= self.comes_to_rest(&State { packets, ..now.clone() }, known)?;
            }
            if self.spec.budgets.drops + self.spec.budgets.cuts > 0 && lost_before == 0 {
                let next = self.round(&now)?.into_iter().map(|(next, _)| next);
                todo.extend(next.filter(|next| seen.insert(next.clone())));
            }
            if seen.len() > MOST_ROUNDS || todo.iter().any(State::is_over) {
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
    fn comes_to_rest(&self, from: &State, known: &mut Settled) -> Option<bool> {
        if let Some(known) = known.get(from) {
            return *known;
        }
        let mut rounds: BTreeMap<State, BTreeSet<(State, bool)>> = BTreeMap::new();
        let mut todo = vec![from.clone()];
        while let Some(state) = todo.pop() {
            if !rounds.contains_key(&state) && rounds.len() < MOST_ROUNDS {
                let Some(next) = self.round(&state) else {
                    known.insert(from.clone(), None);
                    return None;
                };
                if next.iter().any(|(next, _)| next.is_over()) {
                    known.insert(from.clone(), None);
                    return None;
                }
                todo.extend(next.iter().map(|(next, _)| next.clone()));
                rounds.insert(state, next);
            } else if !rounds.contains_key(&state) {
                known.insert(from.clone(), None);
                return None;
            }
        }
        let leads_to = |state: &'_ State| {
            let (mut seen, mut todo) = (BTreeSet::new(), vec![state.clone()]);
            while let Some(at) = todo.pop() {
                todo.extend(
                    rounds[&at].iter().map(|it| it.0.clone()).filter(|next| seen.insert(next.clone())),
                );
            }
            seen
        };
        let reach: BTreeMap<&State, BTreeSet<State>> =
            rounds.keys().map(|state| (state, leads_to(state))).collect();
        let never_leaves = |state: &State| reach[state].iter().all(|next| reach[next].contains(state));
        let is_calm = |state: &State| self.is_at_rest(state) && rounds[state].iter().all(|(_, calm)| *calm);
        let settles = rounds.keys().all(|state| !never_leaves(state) || is_calm(state));
        known.insert(from.clone(), Some(settles));
        Some(settles)
    }

    fn is_at_rest(&self, state: &State) -> bool {
        self.spec.is_at_rest(&state.view())
    }

    /// Who is down restarts and disks sync; what is under way arrives, by receiver, sender and message; timers fire.
    /// Each end comes with whether all was at rest after each step.
    fn round(&self, state: &State) -> Option<Ways> {
        let places = 0..state.places.len();
        let mut begun = Ways::from([(state.clone(), true)]);
        for place in places.clone() {
            begun = each(begun, |state, calm| self.quiet(state, calm, place))?;
        }
        each(begun, |state, calm| {
            let mut under_way: Vec<_> = state.packets.iter().copied().collect();
            under_way.sort_by_key(|&(from, to, message)| (to, from, message));
            let mut now = Ways::from([(state, calm)]);
            for packet in under_way {
                now = each(now, |mut state, calm| {
                    if !self.spec.budgets.persistent {
                        state.packets.remove(&packet);
                    }
                    self.goes(state, calm, packet.1, Step::Deliver { packet, stays: false })
                })?;
            }
            for place in places.clone() {
                now = each(now, |state, calm| self.timers_fire(state, calm, place))?;
            }
            Some(now)
        })
    }

    fn timers_fire(&self, state: State, calm: bool, place: usize) -> Option<Ways> {
        let armed =
            |state: &State| state.places[place].up.as_ref().map(|up| up.timers.clone()).unwrap_or_default();
        let timers = armed(&state);
        let mut now = Ways::from([(state, calm)]);
        for timer in timers {
            now = each(now, |state, calm| match armed(&state).contains(&timer) {
                true => self.goes(state, calm, place, Step::Fire(timer)),
                false => Some(Ways::from([(state, calm)])),
            })?;
        }
        Some(now)
    }

    /// A whole step of a place, in all ways, and what happens by itself after it.
    fn goes(&self, state: State, calm: bool, place: usize, step: Step) -> Option<Ways> {
        if state.places[place].up.is_none() && step != Step::Boot {
            let calm = calm && self.is_at_rest(&state);
            return self.quiet(state, calm, place);
        }
        each(self.takes(state, calm, place, step), |state, calm| self.quiet(state, calm, place))
    }

    /// A whole step of a place, in all ways.
    fn takes(&self, state: State, calm: bool, place: usize, step: Step) -> Ways {
        let ways = self.ways(&state.places[place], place, step).into_iter();
        let ends = ways.map(|way| {
            let mut next = state.clone();
            self.happens(&mut next, place, way.place, &way.effects);
            let calm = calm && self.is_at_rest(&next);
            (next, calm)
        });
        ends.collect()
    }

    /// What happens by itself at a place: who is down starts, and a disk syncs what it held then.
    fn quiet(&self, state: State, calm: bool, place: usize) -> Option<Ways> {
        let it = &state.places[place];
        if self.spec.gone() == Some(place) || it.panicked {
            return Some(Ways::from([(state, calm)]));
        }
        if it.up.is_none() {
            return self.goes(state, calm, place, Step::Boot);
        }
        let syncs = it.disk.len() - it.durable;
        let mut now = Ways::from([(state, calm)]);
        for _ in 0..syncs {
            now = each(now, |state, calm| match state.places[place].up {
                Some(_) => Some(self.takes(state, calm, place, Step::Flush)),
                None => Some(Ways::from([(state, calm)])),
            })?;
        }
        Some(now)
    }
}
