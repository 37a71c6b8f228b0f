//! Our own explorer. It visits the same worlds as stateright does over the same [`Rules`], and uses what only
//! pure nodes allow.
//!
//! * [`space`]: a world is a row of numbers that name its parts. Each step of a node is run once for each
//!   local state, and what it comes to is looked up from then on. Fingerprints are sums of the parts' hashes.
//! * [`expansion`]: what may happen at a place is looked up as a whole, by its local state and what is under way
//!   to it.
//! * [`table`]: a state that was seen costs a fingerprint, the number of the state before, and a word of an
//!   index.
//! * [`sleep`]: of steps that may as well come in another order, one order is enough.
//! * [`rows`]: the states of a level that wait take as many bytes as their numbers need.
//!
//! Besides, [`settle`] asks of each state whether it leads to rest, [`orbit`] takes worlds for one that differ only
//! in names, and [`walk`](mod@walk) goes at random where a search would not end.
//!
//! The search goes level by level, and through a level in blocks. In each block all threads first **expand**
//! rows, then **record** the fingerprints found, each thread in its own shards of the table, then **keep** the
//! rows that are new. Within each part the order is that of the search, whoever does the work. So the counts,
//! the counterexample and where a bound stops the search are the same with any number of threads, and a
//! counterexample is as short as any.

mod arena;
mod bytes;
mod checkpoint;
mod costs;
mod expansion;
mod orbit;
mod parts;
mod pool;
mod rows;
mod settle;
mod sleep;
mod space;
mod table;
mod walk;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use self::arena::{Arrived, Cache, Menus};
use self::checkpoint::{Progress, Saved};
use self::expansion::{Caches, Expansion, Successor};
use self::orbit::Orbits;
use self::pool::WorkerPool;
use self::rows::{ROWS, Rows};
use self::settle::{MOST_ROUNDS, Settled, Settling, Tried};
use self::sleep::Asleep;
use self::space::Space;
use self::table::{Arrival, Full, SHARDS, Shard, StateId, shard_of};
use super::again;
use super::{Broken, CheckOptions, CheckProgress, Found, Reductions, Stop, Unsettled};
use crate::spec::system::{NodeOf, System};
use crate::world::rules::PANICKED;
use crate::world::rules::Parted;
use crate::world::{Action, Rules, Transition, World};

/// So many pieces of a level are a block.
const BLOCK: usize = 32;
/// How often the progress is told.
const PAUSE: Duration = Duration::from_millis(50);
/// How often a search is saved, if it is.
const SAVE_EVERY: Duration = Duration::from_secs(300);
/// After so many steps from the rows of one piece it is looked whether the search must end: most have far fewer.
const LOOK: usize = 1 << 20;
/// What else may be wrong where worlds are taken for one that differ only in names.
const OR_NOT_INTERCHANGEABLE: &str =
    "; or members are not as interchangeable as the system says (--symmetry)";
/// No state.
const NONE: StateId = StateId::MAX;

pub use self::walk::walk;

pub use self::settle::{asked as settling_asked, settles};

/// Searches everything; goes on from a checkpoint, if there is one. `Err` says what is wrong with it.
pub fn explore<S: System>(
    name: &str,
    rules: &Rules<S>,
    options: &CheckOptions,
    progress: &mut dyn FnMut(CheckProgress),
) -> Result<Found<S>, String> {
    let reductions = options.reductions.together(options, orbits(rules, options).is_some());
    let mut search = Search {
        space: Space::new(rules, reductions).settling(options.settle && !reductions.symmetry),
        shards: (0..SHARDS).map(|number| Mutex::new(Shard::new(number))).collect(),
        pool: WorkerPool::new(options.threads, || orbits(rules, options)),
        invariants: rules.bad(),
        steps: 0,
        states: 0,
        depth: 0,
        seen: 0,
        boots: rules.members.len(),
        starts: Vec::new(),
        settle: options.settle && !reductions.symmetry,
        settle_rounds: options.settle_rounds.clamp(1, MOST_ROUNDS),
        unsettled: None,
        not_known: None,
        broken: None,
        level: VecDeque::new(),
        next: Vec::new(),
        spare: Vec::new(),
        is_full: false,
    };
    let identity = identity(name, rules, reductions, options);
    let saved = options.checkpoint.as_deref().map(|path| checkpoint::load(path, &identity, &search.space));
    match saved.transpose()?.flatten() {
        Some(saved) => search.go_on(saved),
        None => {
            search.begin();
            // Before hours of work and not after it: a file that cannot be written is best known at once.
            if let Some(path) = &options.checkpoint {
                search.save(path, &identity)?;
            }
        }
    }
    let mut saved = (Instant::now(), Ok(()));
    let mut save = |search: &mut Search<'_, S>, after: Duration| {
        let Some(path) = &options.checkpoint else { return };
        if saved.0.elapsed() >= after {
            // Whatever became of it: a disk that is full may have room again.
            let result = search.save(path, &identity);
            saved = (Instant::now(), result);
        }
    };
    let stopped_by = search.run(options, progress, &mut |search| save(search, SAVE_EVERY));
    if search.broken.is_none() && !search.is_full {
        save(&mut search, Duration::ZERO);
    }
    let error = saved.1.err();
    // What must always hold comes first.
    let unsettled = search.unsettled.map(|state| (state, Broken::Settling));
    let (broken, not_known) = (search.broken.take().or(unsettled), search.not_known.take());
    let mut parted = None;
    let mut path = |state| search.path(state).map_err(|other| parted.get_or_insert(other).clone()).ok();
    let broken = broken.and_then(|(state, broken)| Some((broken, path(state)?)));
    let not_known = not_known.and_then(|(state, why)| Some((why, path(state)?)));
    Ok(Found {
        steps: search.steps,
        states: search.states,
        depth: search.depth + usize::from(!search.next.is_empty()),
        runs: Some(search.space.runs()),
        seen: search.seen,
        stopped_by,
        broken,
        parted,
        not_known,
        error,
    })
}

/// What must be the same for a search to go on from a checkpoint.
fn identity<S: System>(
    name: &str,
    rules: &Rules<S>,
    reductions: Reductions,
    options: &CheckOptions,
) -> serde_json::Map<String, serde_json::Value> {
    let invariants = rules.invariants.iter().map(|invariant| invariant.name);
    let witnesses = rules.witnesses.iter().map(|witness| witness.name);
    let properties: Vec<_> = invariants.chain(witnesses).collect();
    let fields = [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("model", json!(name)),
        ("nodes", json!(rules.members.len())),
        ("operations", json!(rules.operations)),
        ("limits", json!(rules.limits)),
        ("reductions", json!(reductions)),
        ("settle", json!(options.settle)),
        ("settle_rounds", json!(options.settle_rounds)),
        ("properties", json!(properties)), // what was seen is kept as a bit each
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

struct Search<'r, S: System> {
    space: Space<'r, S>,
    shards: Vec<Mutex<Shard>>,
    pool: WorkerPool<S>,
    /// The bits of a verdict that must never be seen.
    invariants: u64,
    steps: usize,
    states: usize,
    depth: usize,
    seen: u64,
    /// How many members have still to boot, as long as nothing else happens: so many levels.
    boots: usize,
    /// Where so many have booted meanwhile that other things may begin to happen.
    starts: Vec<Rows>,
    /// Whether every state must settle; as soon as one does not, or nobody knows, no other is asked.
    settle: bool,
    /// After how many rounds nobody knows.
    settle_rounds: usize,
    /// The first state that does not.
    unsettled: Option<StateId>,
    /// The first state of which nobody knows, and why.
    not_known: Option<(StateId, String)>,
    /// The first state in which an invariant is broken.
    broken: Option<(StateId, Broken)>,
    /// What is left of the level that is being explored.
    level: VecDeque<Rows>,
    /// The level after it.
    next: Vec<Rows>,
    /// Room that can be used again.
    spare: Vec<Chunk>,
    /// Whether the table was full: then not all of the last block was entered.
    is_full: bool,
}

/// What one thread remembers, and what it has done.
struct Worker<S: System> {
    /// If worlds are one that differ only in who is who.
    orbits: Option<Orbits<S>>,
    menus: Menus,
    caches: Caches,
    /// What was found a short while ago.
    recent: Arrived,
    verdicts: Cache<u64, u64>,
    settled: Settled,
    tried: Tried,
    done: Vec<(usize, Chunk)>,
}

/// What comes of a piece of a level.
#[derive(Default)]
struct Chunk {
    /// The piece's states.
    states: Vec<StateId>,
    /// By state: whose steps need not be taken.
    asleep: Vec<Asleep>,
    /// What follows them, in order.
    successors: Vec<Successor>,
    /// By shard: the successors, each with its number and that of the state it follows.
    arrivals: Vec<Vec<Arrival>>,
    /// The successors' numbers, as far as they are new.
    new: Vec<AtomicU32>,
    /// The rows of those that are new.
    rows: Vec<Rows>,
    /// How many more successors there are, which the same thread had found shortly before.
    repeated: usize,
    seen: u64,
    broken: Option<(StateId, Broken)>,
    /// The first of the new states that does not settle.
    unsettled: Option<StateId>,
    /// The first of which nobody knows, and why.
    not_known: Option<(StateId, String)>,
}

impl<S: System> Search<'_, S> {
    /// Searches; says what stopped it before everything was visited.
    fn run(
        &mut self,
        options: &CheckOptions,
        progress: &mut dyn FnMut(CheckProgress),
        after_block: &mut dyn FnMut(&mut Self),
    ) -> Option<Stop> {
        let mut told = Instant::now();
        while self.broken.is_none() {
            if self.level.is_empty() {
                if self.next.is_empty() {
                    return None;
                }
                let is_too_deep = |&depth: &usize| self.boots == 0 && self.depth + 1 >= depth;
                if let Some(depth) = options.max_depth.filter(is_too_deep) {
                    return Some(Stop::capped(format!("--depth {depth}")));
                }
                self.level.extend(self.next.drain(..));
                self.depth += usize::from(self.boots == 0);
                self.shards.iter_mut().for_each(|shard| unlocked(shard).begin_level());
            }
            let block: Vec<_> = self.level.drain(..self.level.len().min(BLOCK)).collect();
            match self.explore(&block, options) {
                Ok(Ok(())) => {}
                Ok(Err(Full)) => {
                    self.is_full = true;
                    return Some(Stop::capped("a full table"));
                }
                Err(stop) => {
                    // Nothing of the block was entered: whoever goes on begins with it.
                    block.into_iter().rev().for_each(|rows| self.level.push_front(rows));
                    return Some(stop);
                }
            }
            if told.elapsed() >= PAUSE {
                told = Instant::now();
                let frontier = self.level.iter().chain(&self.next).map(Rows::len).sum();
                progress(CheckProgress {
                    unique_states: self.states,
                    depth: self.depth,
                    frontier: Some(frontier),
                });
            }
            if self.level.is_empty() && self.boots > 0 {
                if self.may_start() {
                    self.starts.extend(self.next.iter().cloned());
                }
                self.boots -= 1;
                if self.boots == 0 {
                    self.next = std::mem::take(&mut self.starts);
                    self.plainest_first();
                    // Counts begin where all may begin to happen.
                    self.states = self.next.iter().map(Rows::len).sum();
                    self.steps = self.states;
                }
            }
            if self.level.is_empty() && self.next.is_empty() {
                continue;
            }
            if self.broken.is_none() {
                after_block(self);
            }
            if let Some(stop) = self.space.rules.doubt().or_else(|| options.stop_after(self.steps)) {
                return Some(stop);
            }
        }
        None
    }

    /// Whether other things may begin to happen in the worlds of this level of boots.
    fn may_start(&self) -> bool {
        let rules = self.space.rules;
        rules.members.len() - self.boots + 1 >= rules.first_boots()
    }

    /// Of stories that are as long as each other, that is told which begins without a crash, and where most have booted.
    fn plainest_first(&mut self) {
        let mut rows = Vec::new();
        for piece in self.next.drain(..) {
            rows.extend((0..piece.len()).map(|number| {
                let mut row = Vec::new();
                piece.get(number, &mut row);
                row
            }));
        }
        let places = &self.space.places;
        let is_to_boot = |(place, slot): (usize, &u32)| places[place].get(*slot).slot.lives == 0;
        rows.sort_by_key(|row| {
            let spent = self.space.budgets.get(row[2 * places.len() + 1]).spent;
            let to_boot = row[..places.len()].iter().enumerate().filter(|it| is_to_boot(*it)).count();
            (spent.lives_ended(), to_boot)
        });
        for rows in rows.chunks(ROWS) {
            let mut piece = Rows::default();
            rows.iter().for_each(|row| piece.push(row));
            self.next.push(piece);
        }
    }

    fn begin(&mut self) {
        let mut row = self.space.row(&self.space.rules.before_boot());
        let fingerprint = self.pool.workers[0].fingerprint(&self.space, &row);
        let shard = unlocked(&mut self.shards[shard_of(fingerprint)]);
        let entered = shard.insert_all(&[Arrival { fingerprint, of: (0, 0), asleep: 0 }], |_, id| {
            row.push(id);
            NONE
        });
        entered.expect("there is room for one");
        let mut rows = Rows::default();
        rows.push(&row);
        self.next.push(rows);
        (self.steps, self.states) = (1, 1);
    }

    /// Takes up what another process left.
    fn go_on(&mut self, saved: Saved) {
        let Progress { steps, states, depth, seen, boots, settle, unsettled, not_known } = saved.progress;
        (self.steps, self.states, self.depth, self.seen) = (steps, states, depth, seen);
        (self.settle, self.unsettled, self.not_known) = (self.settle && settle, unsettled, not_known);
        self.boots = boots;
        self.shards = saved.shards.into_iter().map(Mutex::new).collect();
        let [level, next, starts] = saved.rows;
        (self.level, self.next, self.starts) = (level.into(), next, starts);
    }

    fn save(
        &mut self,
        path: &Path,
        identity: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<(), String> {
        let progress = Progress {
            steps: self.steps,
            states: self.states,
            depth: self.depth,
            seen: self.seen,
            boots: self.boots,
            settle: self.settle,
            unsettled: self.unsettled,
            not_known: self.not_known.clone(),
        };
        let rows =
            [self.level.iter().collect::<Vec<_>>(), self.next.iter().collect(), self.starts.iter().collect()];
        let shards = self.shards.iter_mut().map(|shard| &*unlocked(shard));
        checkpoint::save(path, identity, &self.space, progress, shards, &rows)
    }

    /// Explores a block, whatever number of threads there is in the same order.
    fn explore(&mut self, block: &[Rows], options: &CheckOptions) -> Result<Result<(), Full>, Stop> {
        let mut chunks = self.expand(block, options)?;
        let entered = self.record(&chunks);
        self.keep(block, &mut chunks);
        self.settle &= chunks.iter().all(|chunk| chunk.unsettled.is_none() && chunk.not_known.is_none());
        for chunk in &mut chunks {
            self.steps += chunk.steps();
            self.states += chunk.rows.iter().map(Rows::len).sum::<usize>();
            self.seen |= chunk.seen;
            self.broken = self.broken.take().or(chunk.broken.take());
            self.unsettled = self.unsettled.or(chunk.unsettled);
            self.not_known = self.not_known.take().or(chunk.not_known.take());
            for mut rows in chunk.rows.drain(..) {
                match self.next.last_mut() {
                    Some(last) if last.len() + rows.len() <= ROWS => last.append(&rows),
                    Some(_) | None => {
                        rows.shrink();
                        self.next.push(rows);
                    }
                }
            }
        }
        self.spare.append(&mut chunks);
        Ok(entered)
    }

    /// Works out what follows each row. Where that is very much, it looks on the way whether the search must end.
    fn expand(&mut self, block: &[Rows], options: &CheckOptions) -> Result<Vec<Chunk>, Stop> {
        let (next, stopped, steps) = (AtomicUsize::new(0), OnceLock::new(), self.steps);
        let (space, spare) = (&self.space, Mutex::new(&mut self.spare));
        let is_starting = self.boots > 0;
        let shards: Vec<&Shard> = self.shards.iter_mut().map(|shard| &*unlocked(shard)).collect();
        self.pool.together(block.len(), |worker| {
            let mut row = Vec::new();
            loop {
                let piece = next.fetch_add(1, Ordering::Relaxed);
                let Some(rows) = block.get(piece) else { return };
                let mut chunk = lock(&spare).pop().unwrap_or_default();
                chunk.clear();
                let ids = (0..rows.len()).map(|number| rows.last(number));
                chunk.asleep.extend(ids.map(|id| shards[id as usize % SHARDS].asleep(id)));
                let mut looked = 0;
                for number in 0..rows.len() {
                    if chunk.steps() - looked >= LOOK {
                        looked = chunk.steps();
                        let stop = space.rules.doubt().or_else(|| options.stop_after(steps + looked));
                        stop.into_iter().for_each(|stop| drop(stopped.set(stop)));
                    }
                    if stopped.get().is_some() {
                        return;
                    }
                    rows.get(number, &mut row);
                    chunk.states.push(row.pop().expect("a row ends with its state's number"));
                    let fingerprint = space.fingerprint(&row);
                    worker.expand(space, &row, fingerprint, is_starting, &mut chunk);
                }
                chunk.new.resize_with(chunk.successors.len(), || AtomicU32::new(NONE));
                worker.done.push((piece, chunk));
            }
        });
        let mut done: Vec<_> =
            self.pool.workers.iter_mut().flat_map(|worker| worker.done.drain(..)).collect();
        if let Some(stop) = stopped.into_inner() {
            return Err(stop);
        }
        done.sort_unstable_by_key(|(piece, _)| *piece);
        Ok(done.into_iter().map(|(_, chunk)| chunk).collect())
    }

    /// Enters what was found into the table, in order.
    fn record(&mut self, chunks: &[Chunk]) -> Result<(), Full> {
        let next = AtomicUsize::new(0);
        let full = Mutex::new(Ok(()));
        let shards = &self.shards;
        self.pool.together(chunks.len(), |_| {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(shard) = shards.get(number) else { return };
                let mut shard = lock(shard);
                for chunk in chunks {
                    let entered = shard.insert_all(&chunk.arrivals[number], |(successor, row), id| {
                        chunk.new[successor as usize].store(id, Ordering::Relaxed);
                        chunk.states[usize::from(row)]
                    });
                    if entered.is_err() {
                        *lock(&full) = entered;
                        return;
                    }
                }
            }
        });
        full.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the rows that are new, and judges them.
    fn keep(&mut self, block: &[Rows], chunks: &mut [Chunk]) {
        let space = &self.space;
        // Where not all have booted that must, the others do so next: what comes then is asked whether it settles.
        let settle = self.settle && (self.boots == 0 || self.may_start());
        let (invariants, rounds) = (self.invariants, self.settle_rounds);
        let pieces = chunks.len();
        let work = Mutex::new(chunks.iter_mut().zip(block));
        self.pool.together(pieces, |worker| {
            let (mut before, mut row) = (Vec::new(), Vec::new());
            loop {
                let Some((chunk, rows)) = lock(&work).next() else { return };
                let mut number = None;
                for (successor, id) in chunk.successors.iter().zip(&mut chunk.new) {
                    let id = *id.get_mut();
                    if id == NONE {
                        continue;
                    }
                    if number != Some(successor.row) {
                        number = Some(successor.row);
                        rows.get(usize::from(successor.row), &mut before);
                        before.pop();
                    }
                    row.clone_from(&before);
                    successor.apply(space, &mut worker.caches, &mut row);
                    let verdict = worker.verdicts.get(space.view(&row), || space.judge(&row));
                    chunk.seen |= verdict;
                    if chunk.broken.is_none() {
                        chunk.broken = broken(verdict & invariants).map(|broken| (id, broken));
                    }
                    if settle && chunk.unsettled.is_none() && chunk.not_known.is_none() {
                        match worker.settles(space, &row, rounds) {
                            Ok(()) => {}
                            Err(Unsettled::Never { .. }) => chunk.unsettled = Some(id),
                            Err(Unsettled::Unknown(why)) => chunk.not_known = Some((id, why)),
                            Err(Unsettled::Panicked(_)) => {
                                chunk.broken.get_or_insert((id, Broken::SettlingPanics));
                            }
                        }
                    }
                    if chunk.rows.last().is_none_or(|rows| rows.len() == ROWS) {
                        chunk.rows.push(Rows::default());
                    }
                    row.push(id);
                    chunk.rows.last_mut().expect("it was added").push(&row);
                }
            }
        });
    }

    /// The way to a state: the actions are found again by the fingerprints of what they lead to.
    fn path(&mut self, mut state: StateId) -> Result<Vec<Action<NodeOf<S>>>, Parted> {
        let mut fingerprints = Vec::new();
        while state != NONE {
            let (fingerprint, parent) = lock(&self.shards[state as usize % SHARDS]).get(state);
            fingerprints.push(fingerprint);
            state = parent;
        }
        fingerprints.reverse();
        path(&self.space, &fingerprints, &mut self.pool.workers[0])
    }
}

/// The actions that lead along these fingerprints, from before all boots. Each is taken again for it.
fn path<S: System>(
    space: &Space<'_, S>,
    fingerprints: &[u64],
    worker: &mut Worker<S>,
) -> Result<Vec<Action<NodeOf<S>>>, Parted> {
    let mut world: World<S> = space.rules.before_boot();
    let mut successors = Vec::new();
    let mut actions = Vec::new();
    for &fingerprint in &fingerprints[1..] {
        space.rules.successors(&world, &mut successors);
        let mut leads_there = |world: &World<S>| worker.fingerprint(space, &space.row(world)) == fingerprint;
        let next = successors.drain(..).find(|transition| leads_there(&transition.next));
        successors.clear();
        let Some(Transition { action, next }) = next else {
            let place = worker.place_that_led(space, &space.row(&world), fingerprint);
            let mut lost = again::lost(space.rules, &actions, &world, place);
            if worker.orbits.is_some() {
                lost.again += OR_NOT_INTERCHANGEABLE;
            }
            return Err(lost);
        };
        actions.push(action);
        world = next;
    }
    Ok(actions)
}

/// What is interchangeable in a system, if that is to count.
fn orbits<S: System>(rules: &Rules<S>, options: &CheckOptions) -> Option<Orbits<S>> {
    let is_on = options.reductions.symmetry;
    is_on.then(|| Orbits::of(&rules.system, |id| rules.place(id))).flatten()
}

/// The first of what is broken: a panic comes after the invariants that were asked before it.
pub fn broken(invariants: u64) -> Option<Broken> {
    match invariants {
        0 => None,
        PANICKED => Some(Broken::Panic),
        bits => Some(Broken::Invariant(bits.trailing_zeros() as usize)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What nobody else can hold at the moment.
fn unlocked<T>(mutex: &mut Mutex<T>) -> &mut T {
    mutex.get_mut().unwrap_or_else(PoisonError::into_inner)
}

impl<S: System> Worker<S> {
    fn new(orbits: Option<Orbits<S>>) -> Self {
        Self {
            orbits,
            menus: Menus::new(13),
            caches: Caches::new(),
            recent: Arrived::new(15),
            verdicts: Cache::new(15),
            settled: Settled::new(),
            tried: Tried::new(),
            done: Vec::new(),
        }
    }
}

impl<S: System> Worker<S> {
    /// Adds what follows a row: only first boots if all is still starting.
    fn expand(
        &mut self,
        space: &Space<'_, S>,
        row: &[u32],
        fingerprint: u64,
        is_starting: bool,
        chunk: &mut Chunk,
    ) {
        let Self { menus, caches, recent, orbits, .. } = self;
        let asleep = chunk.asleep[chunk.states.len() - 1];
        let mut found = Vec::new();
        let mut add = |fingerprint, successor, asleep| {
            if recent.knows(fingerprint, asleep) {
                chunk.repeated += 1;
                return;
            }
            match orbits {
                None => chunk.add(fingerprint, successor, asleep),
                Some(_) => found.push(successor),
            }
        };
        let mut expansion = Expansion { space, caches, row, fingerprint, asleep, found: &mut add };
        if is_starting {
            expansion.boots(menus)
        } else {
            expansion.all(menus)
        }
        let mut next = Vec::new();
        let Some(orbits) = orbits else { return };
        for successor in found {
            next.clear();
            next.extend_from_slice(row);
            successor.apply(space, caches, &mut next);
            chunk.add(orbits.fingerprint(space, &next), successor, 0);
        }
    }

    /// Whose step has led from a row to this fingerprint, by what is remembered of it.
    fn place_that_led(&mut self, space: &Space<'_, S>, row: &[u32], to: u64) -> Option<usize> {
        let Self { menus, caches, .. } = self;
        let mut led = None;
        let mut found = |fingerprint, successor: Successor, _| {
            if fingerprint == to {
                led = led.or(successor.place());
            }
        };
        let (fingerprint, asleep) = (space.fingerprint(row), Asleep::default());
        for is_starting in [true, false] {
            let mut expansion = Expansion { space, caches, row, fingerprint, asleep, found: &mut found };
            if is_starting {
                expansion.boots(menus);
            } else {
                expansion.all(menus);
            }
        }
        led
    }

    /// Whether the system settles from a row.
    fn settles(&mut self, space: &Space<'_, S>, row: &[u32], patience: usize) -> Result<(), Unsettled> {
        let Self { caches, settled, tried, .. } = self;
        Settling { space, caches, settled, tried, patience }.of(row)
    }

    /// What tells a row from others: of all that are one but for names, the same.
    fn fingerprint(&mut self, space: &Space<'_, S>, row: &[u32]) -> u64 {
        match &mut self.orbits {
            None => space.fingerprint(row),
            Some(orbits) => orbits.fingerprint(space, row),
        }
    }
}

impl Chunk {
    /// How many steps were taken.
    fn steps(&self) -> usize {
        self.successors.len() + self.repeated
    }

    /// Adds what follows the last of the piece's states so far.
    fn add(&mut self, fingerprint: u64, mut successor: Successor, asleep: Asleep) {
        successor.row = (self.states.len() - 1) as u16;
        let number = self.successors.len() as u32;
        let arrival = Arrival { fingerprint, of: (number, successor.row), asleep };
        self.arrivals[shard_of(fingerprint)].push(arrival);
        self.successors.push(successor);
    }

    fn clear(&mut self) {
        self.states.clear();
        self.asleep.clear();
        self.successors.clear();
        self.arrivals.resize_with(SHARDS, Vec::new);
        self.arrivals.iter_mut().for_each(Vec::clear);
        self.new.clear();
        self.rows.clear();
        self.repeated = 0;
        self.seen = 0;
        self.broken = None;
        self.unsettled = None;
        self.not_known = None;
    }
}
