//! Walks through a space that is too large to be exhausted: each step one of all that may happen, drawn from a
//! seed. A walk proves nothing, but it goes deeper than any level that could be reached.
//!
//! Each walk draws first how rarely faults strike, then what happens at each step: whether a fault, then which
//! of them. Otherwise faults, of which there are always many to choose from, would use up their budgets at once.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::expansion::{Expansion, Successor};
use super::pool::WorkerPool;
use super::settle::MOST_ROUNDS;
use super::space::Space;
use super::table::{Arrival, SHARDS, Shard, shard_of};
use super::{NONE, PAUSE, Worker, broken, lock, path};
use crate::check::{Broken, CheckOptions, CheckProgress, End, Found, Stop, Unsettled};
use crate::spec::system::System;
use crate::world::{Rules, Spent};

/// How long a walk may be if nobody says.
const LONG: usize = 1_000;

/// Walks once for each seed. The first seed that finds something ends the search.
pub fn walk<S: System>(
    rules: &Rules<S>,
    options: &CheckOptions,
    seeds: &Range<u64>,
    progress: &mut dyn FnMut(CheckProgress),
) -> Found<S> {
    let mut crew = WorkerPool::new(options.threads, || None);
    let mut walks = Walks {
        space: Space::new(rules, options.reductions).settling(options.settle),
        settle: options.settle,
        settle_rounds: options.settle_rounds.clamp(1, MOST_ROUNDS),
        invariants: rules.bad(),
        boots: rules.first_boots(),
        longest: options.max_depth.unwrap_or(LONG),
        shards: (0..SHARDS).map(|number| Mutex::new(Shard::new(number))).collect(),
        steps: AtomicUsize::new(0),
        states: AtomicUsize::new(0),
        depth: AtomicUsize::new(0),
        seen: AtomicU64::new(0),
        failed: Mutex::new(None),
        not_known: Mutex::new(None),
    };
    let mut told = Instant::now();
    let all = format!("the end of its walks, seeds {}..{}", seeds.start, seeds.end);
    let mut stopped_by = Stop { end: End::Walked, why: all };
    let mut next = seeds.start;
    while next < seeds.end && lock(&walks.failed).is_none() {
        // All walks of a group end before the next begins: the seed that is told does not depend on the threads.
        let group = next..seeds.end.min(next + 64);
        next = group.end;
        let taken = AtomicU64::new(group.start);
        crew.together(64, |worker| {
            loop {
                let seed = taken.fetch_add(1, Ordering::Relaxed);
                if seed >= group.end {
                    return;
                }
                walks.walk(seed, worker);
            }
        });
        walks.settle &= lock(&walks.not_known).is_none();
        let (unique_states, depth) =
            (walks.states.load(Ordering::Relaxed), walks.depth.load(Ordering::Relaxed));
        if told.elapsed() >= PAUSE {
            told = Instant::now();
            progress(CheckProgress { unique_states, depth, frontier: None });
        }
        let stop = rules.doubt().or_else(|| options.stop_after(walks.steps.load(Ordering::Relaxed)));
        if let Some(Stop { end, why }) = stop {
            let why = format!("{why}, after the walks of seeds {}..{next}", seeds.start);
            stopped_by = Stop { end, why };
            break;
        }
    }
    let failed = lock(&walks.failed).take();
    let not_known = lock(&walks.not_known).take();
    let mut parted = None;
    let mut path = |way: Vec<u64>| {
        let path = path(&walks.space, &way, &mut crew.workers[0]);
        path.map_err(|other| parted.get_or_insert(other).clone()).ok()
    };
    let broken = failed.and_then(|(_, broken, way)| Some((broken, path(way)?)));
    let not_known = not_known.and_then(|(_, why, way)| Some((why, path(way)?)));
    Found {
        steps: walks.steps.into_inner(),
        states: walks.states.into_inner(),
        depth: walks.depth.into_inner(),
        runs: Some(walks.space.runs()),
        seen: walks.seen.into_inner(),
        error: None,
        stopped_by: Some(stopped_by),
        broken,
        parted,
        not_known,
    }
}

struct Walks<'r, S: System> {
    space: Space<'r, S>,
    /// Whether every state must settle; once nobody knows of one, the next group of walks does not ask.
    settle: bool,
    settle_rounds: usize,
    invariants: u64,
    /// How many members boot before anything else happens.
    boots: usize,
    longest: usize,
    /// The states that some walk came through.
    shards: Vec<Mutex<Shard>>,
    steps: AtomicUsize,
    states: AtomicUsize,
    depth: AtomicUsize,
    seen: AtomicU64,
    /// The lowest seed that found something, what, and the fingerprints on its way.
    failed: Mutex<Option<(u64, Broken, Vec<u64>)>>,
    /// The lowest seed that came to a state of which it is not known whether it settles, why, and the way there.
    not_known: Mutex<Option<(u64, String, Vec<u64>)>>,
}

impl<S: System> Walks<'_, S> {
    fn walk(&self, seed: u64, worker: &mut Worker<S>) {
        let space = &self.space;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rarely = 1 << (rng.next_u32() % 8);
        let mut row = space.row(&space.rules.before_boot());
        let mut way = vec![space.fingerprint(&row)];
        let mut settle = self.settle;
        loop {
            let is_starting = way.len() <= self.boots;
            let is_first = way.len() == 1 && is_starting;
            let mut broken = if is_first { None } else { self.judge(&row, &way, worker) };
            if broken.is_none() && settle && !is_starting {
                match worker.settles(space, &row, self.settle_rounds) {
                    Ok(()) => {}
                    Err(Unsettled::Never { .. }) => broken = Some(Broken::Settling),
                    Err(Unsettled::Panicked(_)) => broken = Some(Broken::SettlingPanics),
                    Err(Unsettled::Unknown(why)) => {
                        settle = false;
                        keep_lowest(&self.not_known, (seed, why, way.clone()));
                    }
                }
            }
            if let Some(broken) = broken {
                return keep_lowest(&self.failed, (seed, broken, way));
            }
            let depth = way.len().saturating_sub(self.boots);
            self.depth.fetch_max(depth, Ordering::Relaxed);
            if depth >= self.longest {
                return;
            }
            let spent = space.budgets.get(row[row.len() - 1]).spent;
            let (mut faults, mut others) = (Vec::new(), Vec::new());
            let Worker { menus, caches, .. } = worker;
            let found = |fingerprint, successor: Successor, _| {
                let after = space.budgets.get(successor.budget).spent;
                let is_fault = Spent { asked: spent.asked, ..after } != spent;
                let to = if is_fault { &mut faults } else { &mut others };
                to.push((fingerprint, successor));
            };
            let fingerprint = way[way.len() - 1];
            let mut expansion = Expansion { space, caches, row: &row, fingerprint, asleep: 0, found };
            if is_starting {
                expansion.boots(menus)
            } else {
                expansion.all(menus)
            }
            let is_fault = others.is_empty() || !faults.is_empty() && rng.next_u32() % rarely == 0;
            let from = if is_fault { faults } else { others };
            if from.is_empty() {
                return; // nothing may happen any more
            }
            let (fingerprint, successor) = from[rng.next_u32() as usize % from.len()];
            successor.apply(space, &mut worker.caches, &mut row);
            way.push(fingerprint);
            self.steps.fetch_add(usize::from(!is_starting), Ordering::Relaxed);
        }
    }

    /// What is broken where a walk has come to, if anything is. Where members have still to boot before anything else
    /// happens nobody asks whether it settles, and nobody counts.
    fn judge(&self, row: &[u32], way: &[u64], worker: &mut Worker<S>) -> Option<Broken> {
        let (space, fingerprint, is_starting) = (&self.space, way[way.len() - 1], way.len() <= self.boots);
        let here = Arrival { fingerprint, of: (0, 0), asleep: 0 };
        if !is_starting {
            let _ = lock(&self.shards[shard_of(fingerprint)]).insert_all(&[here], |_, _| {
                self.states.fetch_add(1, Ordering::Relaxed);
                NONE
            });
        }
        let verdict = worker.verdicts.get(space.view(row), || space.judge(row));
        self.seen.fetch_or(verdict, Ordering::Relaxed);
        broken(verdict & self.invariants)
    }
}

/// Keeps what the lowest seed has found.
fn keep_lowest<T>(kept: &Mutex<Option<(u64, T, Vec<u64>)>>, found: (u64, T, Vec<u64>)) {
    let mut kept = lock(kept);
    if kept.as_ref().is_none_or(|(seed, ..)| found.0 < *seed) {
        *kept = Some(found);
    }
}
