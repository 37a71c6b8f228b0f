//! Whether a system comes to rest from a state, once all is healed: decided, not guessed.
//!
//! Time goes in [`rounds`], by a [`clock`]. What a round does follows from the moment alone (a state, and how much time
//! each timer has left), but for what nodes choose; so the moments between rounds are a graph, with an edge for every way to choose. Where nobody chooses it is a line, which ends in
//! a cycle or never. Whoever chooses by chance comes, sooner or later and almost surely, into a part of the graph that
//! no choice leads out of, and there through every state again and again. So a system settles if and only if every
//! such part (a strongly connected component without a way out: Tarjan, *Depth-first search and linear graph
//! algorithms*, 1972) is at rest: [converged](System::converged) in all its states, and after each step of the rounds
//! between them.
//!
//! All states of a graph that settles settle; they are remembered, so most searches end after a round. A search that
//! finds no end gives up after so many rounds, and says so: then it is not known whether the system settles.
//!
//! Where packets may be lost, it is asked again for [`losses`] of what is under way, before any of the rounds.

mod clock;
mod describe;
mod losses;
mod rounds;
mod settled;

use std::collections::{HashMap, HashSet};

use foldhash::fast::FixedState;

use self::clock::{Line, Moment};
pub use self::losses::asked;
use self::rounds::{Script, Stepped};
pub use self::settled::{MOST_ROUNDS, Settled, Tried};
use super::expansion::Caches;
use super::space::Space;
use crate::check::{Reductions, Unsettled, resident_memory_bytes};
use crate::spec::budget::Budget;
use crate::spec::system::System;
use crate::world::{Rules, World};

/// How much memory a search may take besides: what grows for ever grows fast, if nodes write or remember.
const MEMORY: u64 = 512 << 20;
/// After how many rounds the memory is looked at again.
const LOOK: usize = 256;

/// Whether the system settles from a world.
pub fn settles<S: System>(rules: &Rules<S>, world: &World<S>) -> Result<(), Unsettled> {
    let space = Space::new(rules, Reductions::NONE);
    let (mut caches, mut settled, mut tried) = (Caches::new(), Settled::new(), Tried::new());
    let (caches, settled, tried) = (&mut caches, &mut settled, &mut tried);
    Settling { space: &space, caches, settled, tried, patience: MOST_ROUNDS }.of(&space.row(world))
}

/// Asks whether states settle.
pub struct Settling<'a, 's, S: System> {
    pub space: &'a Space<'s, S>,
    pub caches: &'a mut Caches,
    pub settled: &'a mut Settled,
    /// The states that settle whatever is lost on the way.
    pub tried: &'a mut Tried,
    /// How many rounds may pass before they repeat.
    pub patience: usize,
}

/// A moment between two rounds.
struct Passed {
    at: Moment,
    state: u64,
    /// What may follow, as far as nobody has looked yet.
    todo: Vec<(u64, Moment)>,
    /// Whether it is only one, since nobody chooses.
    is_one: bool,
    /// The first state that is known to be in the same component.
    low: usize,
    /// Whether something outside its component may follow, and the most rounds from there until they repeat.
    beyond: Option<usize>,
    /// How many rounds may pass before they repeat; 0 as long as the component is not complete.
    rounds: usize,
}

impl<S: System> Settling<'_, '_, S> {
    /// Heals all, and goes on until the rounds repeat; whatever is [lost](losses) before one of them of what is under
    /// way then. Whoever is [gone](crate::spec::limits::Limits::without) crashes first, and stays down.
    pub fn of(&mut self, row: &[u32]) -> Result<(), Unsettled> {
        let space = self.space;
        let limits = &space.rules.limits;
        let mut row = row.to_vec();
        if let Some(gone) = space.gone {
            row[gone] = space.crashed(gone, row[gone]);
        }
        let spent = space.budgets.get(row[row.len() - 1]).spent;
        let at = Moment::first(space, row);
        let state = self.state(&at);
        if self.settled.rounds_of(state).is_none() {
            self.decide(at.clone(), state)?;
        }
        if limits.drops == 0 && limits.cuts == 0 {
            Ok(())
        } else if spent[Budget::Drops] == 0 && spent[Budget::Cuts] == 0 {
            self.after_losses_at_any_time(at, state)
        } else {
            self.after_further_losses(&at, state)
        }
    }

    /// Whether the system settles if something is lost once, before any of the rounds.
    fn after_losses_at_any_time(&mut self, at: Moment, state: u64) -> Result<(), Unsettled> {
        let (mut todo, mut passed, mut before) =
            (vec![(state, at)], HashSet::<u64, FixedState>::default(), 0);
        let mut line = Line::default();
        while let Some((state, at)) = todo.pop() {
            if self.tried.contains(state) || !passed.insert(state) {
                line.ends();
                continue;
            }
            self.after_losses(&at, state, before)?;
            before += 1;
            if before > self.patience {
                return Err(self.not_known(&too_many(self.patience), None, &at.row));
            }
            let mut script = Script::default();
            loop {
                todo.push(self.follow(&at, &mut script, &mut line));
                if !script.next() {
                    break;
                }
            }
        }
        passed.into_iter().for_each(|state| self.tried.add(state));
        Ok(())
    }

    /// What tells moments apart: all but the budgets.
    fn state(&self, at: &Moment) -> u64 {
        self.state_of(&at.row).wrapping_add(self.key(at))
    }

    /// What tells moments of one state apart.
    fn key(&self, at: &Moment) -> u64 {
        let waits = self.space.waits(at.row[2 * self.space.places.len()]);
        at.clock.key(waits, self.space.is_quiet(&at.row))
    }

    /// What tells states apart.
    fn state_of(&self, row: &[u32]) -> u64 {
        let budget = self.space.budgets.get(row[row.len() - 1]).hash;
        self.space.fingerprint(row).wrapping_sub(budget)
    }

    /// What a round comes to after this moment of a line; what comes again and again is skipped.
    fn follow(&mut self, at: &Moment, script: &mut Script, line: &mut Line) -> (u64, Moment) {
        let mut next = at.clone();
        let is_first = script.is_empty();
        self.round(&mut next, script, &mut |_| {});
        let of_row = self.state_of(&next.row);
        if is_first && script.is_empty() {
            line.passes(self.state_of(&at.row), at);
            line.skip(of_row, &mut next);
        } else {
            line.ends();
        }
        (of_row.wrapping_add(self.key(&next)), next)
    }

    /// Follows all that rounds may lead to, depth first, until each component is complete.
    fn decide(&mut self, root: Moment, state: u64) -> Result<(), Unsettled> {
        if self.ends_at_once(&root, state) {
            return Ok(());
        }
        let mut budget = Patience { rounds: 0, most: self.patience, resident: 0 };
        let mut numbers = HashMap::<u64, usize, FixedState>::default();
        let (mut passed, mut line) = (Vec::new(), Line::default());
        self.pass(root, state, &mut numbers, &mut passed, &mut line, &mut budget)?;
        let (mut way, mut open) = (vec![0], vec![0]);
        while let Some(&now) = way.last() {
            if let Some((state, at)) = passed[now].todo.pop() {
                if let Some(rounds) = self.settled.rounds_of(state) {
                    passed[now].goes_beyond(rounds);
                } else if let Some(&other) = numbers.get(&state) {
                    match passed[other].rounds {
                        0 => passed[now].low = passed[now].low.min(other),
                        rounds => passed[now].goes_beyond(rounds),
                    }
                } else {
                    if !passed[now].is_one {
                        line.ends();
                    }
                    way.push(passed.len());
                    open.push(passed.len());
                    self.pass(at, state, &mut numbers, &mut passed, &mut line, &mut budget)?;
                }
                continue;
            }
            way.pop();
            let low = passed[now].low;
            if low < now {
                let before =
                    &mut passed[*way.last().expect("the first of all is the first of its component")];
                before.low = before.low.min(low);
                continue;
            }
            let component = open.split_off(open.partition_point(|&number| number < now));
            way.push(now);
            let rounds = self.complete(&component, &mut passed, &way)?;
            way.pop();
            if let Some(&before) = way.last() {
                passed[before].goes_beyond(rounds);
            }
        }
        Ok(())
    }

    /// Whether a round leads to where it is known to settle, which most do.
    fn ends_at_once(&mut self, at: &Moment, state: u64) -> bool {
        let (mut next, mut script) = (at.clone(), Script::default());
        self.round(&mut next, &mut script, &mut |_| {});
        let rounds = if script.is_empty() { self.settled.rounds_of(self.state(&next)) } else { None };
        let Some(rounds) = rounds.filter(|rounds| rounds < &self.patience) else { return false };
        self.settled.add(state, rounds + 1);
        true
    }

    /// Adds a moment and what may follow it.
    fn pass(
        &mut self,
        at: Moment,
        state: u64,
        numbers: &mut HashMap<u64, usize, FixedState>,
        passed: &mut Vec<Passed>,
        line: &mut Line,
        budget: &mut Patience,
    ) -> Result<(), Unsettled> {
        let mut todo: Vec<(u64, Moment)> = Vec::new();
        let (mut script, mut is_one) = (Script::default(), true);
        loop {
            if self.space.rules.is_in_doubt() {
                return Err(self.not_known("a step cannot be relied upon, or has no end", None, &at.row));
            }
            if let Some(limit) = budget.ends() {
                let before = passed.last().map(|before: &Passed| before.at.row.as_slice());
                return Err(self.not_known(&limit, before, &at.row));
            }
            let (after, next) = self.follow(&at, &mut script, line);
            is_one &= script.is_empty();
            if let Some(panic) = self.space.panic_in(&next.row) {
                return Err(Unsettled::Panicked(panic.clone()));
            }
            if todo.iter().all(|(there, _)| *there != after) {
                todo.push((after, next));
            }
            if !script.next() {
                break;
            }
        }
        let number = passed.len();
        numbers.insert(state, number);
        passed.push(Passed { at, state, todo, is_one, low: number, beyond: None, rounds: 0 });
        Ok(())
    }

    /// Judges a component, and says how many rounds may pass in it and after it before they repeat.
    fn complete(
        &mut self,
        component: &[usize],
        passed: &mut [Passed],
        way: &[usize],
    ) -> Result<usize, Unsettled> {
        let beyond = component.iter().filter_map(|&number| passed[number].beyond).max();
        if beyond.is_none() {
            self.at_rest(component, passed, way)?;
        }
        let rounds = component.len() + beyond.unwrap_or(0);
        if rounds > self.patience {
            let row = &passed[component[0]].at.row;
            return Err(self.not_known(&too_many(self.patience), None, row));
        }
        for &number in component {
            passed[number].rounds = rounds;
            self.settled.add(passed[number].state, rounds);
        }
        Ok(rounds)
    }

    /// Whether a component that nothing leads out of is at rest, at every moment.
    fn at_rest(&mut self, component: &[usize], passed: &[Passed], way: &[usize]) -> Result<(), Unsettled> {
        let (mut missing, mut restless) = (None, 0);
        for &number in component {
            let at = &passed[number].at;
            let mut why = self.space.converged(&at.row).err();
            let mut script = Script::default();
            loop {
                let space = self.space;
                let mut judge = |stepped: Stepped<'_, S>| {
                    if why.is_none() {
                        why = space.converged(stepped.row).err();
                    }
                };
                self.round(&mut at.clone(), &mut script, &mut judge);
                if !script.next() {
                    break;
                }
            }
            restless += usize::from(why.is_some());
            missing = missing.or(why);
        }
        let why = match missing {
            None => return Ok(()),
            Some(Unsettled::Never { why, .. }) => why,
            Some(why) => return Err(why),
        };
        let count = |count: usize, of: &str| format!("{count} {of}{}", if count == 1 { "" } else { "s" });
        let len = component.len();
        let always =
            if restless == len { String::new() } else { format!(", {restless} of them not at rest") };
        let rounds = self.describe(passed, way);
        let why = format!(
            "{why}: after {} the same {} again and again{always}; in each round what is under way arrives, and \
             where nothing is, the timer that is due next fires; all is healed{}",
            count(way.len() - 1, "round"),
            if len == 1 { "round comes".into() } else { format!("{len} rounds come") },
            self.but_gone(),
        );
        Err(Unsettled::Never { why, rounds })
    }

    /// Nothing has come to an end.
    fn not_known(&self, limit: &str, before: Option<&[u32]>, row: &[u32]) -> Unsettled {
        let grows = before.map_or(String::new(), |before| self.space.what_differs(before, row));
        Unsettled::Unknown(format!("{limit}{grows}; all is healed{}", self.but_gone()))
    }

    fn but_gone(&self) -> String {
        self.space.rules.limits.without.map_or(String::new(), |gone| format!(", but {gone} is down"))
    }
}

impl Passed {
    fn goes_beyond(&mut self, rounds: usize) {
        self.beyond = self.beyond.max(Some(rounds));
    }
}

/// How long a search may go on.
struct Patience {
    rounds: usize,
    most: usize,
    /// How much memory the process used when it was first looked at.
    resident: u64,
}

impl Patience {
    /// Counts a round; says which limit is reached, if one is.
    fn ends(&mut self) -> Option<String> {
        self.rounds += 1;
        if self.rounds > self.most {
            return Some(too_many(self.most));
        }
        if !self.rounds.is_multiple_of(LOOK) {
            return None;
        }
        let resident = resident_memory_bytes();
        if self.rounds == LOOK {
            self.resident = resident;
        }
        let grown = resident.saturating_sub(self.resident);
        let rounds = self.rounds;
        (grown > MEMORY).then(|| format!("{rounds} rounds took {} MiB, and no end was seen", grown >> 20))
    }
}

fn too_many(rounds: usize) -> String {
    format!("no end was seen in {rounds} rounds (--settle-rounds)")
}
