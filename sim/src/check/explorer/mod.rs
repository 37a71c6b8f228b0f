//! Our own explorer. It visits the same worlds as stateright does over the same [`Rules`], and uses what only
//! pure nodes allow.
//!
//! * [`space`]: a world is a row of numbers that name its parts. Each step of a node is run once for each
//!   local state, and what it comes to is looked up from then on. Fingerprints are sums of the parts' hashes.
//! * [`table`]: a state that was seen costs a fingerprint, the number of the state before, and a word of an
//!   index.
//! * [`rows`]: the states of a level that wait take as many bytes as their numbers need.
//!
//! The search goes level by level, and through a level in blocks. In each block all threads first **expand**
//! rows, then **record** the fingerprints found, each thread in its own shards of the table, then **keep** the
//! rows that are new. Within each part the order is that of the search, whoever does the work. So the counts,
//! the counterexample and where a bound stops the search are the same with any number of threads, and a
//! counterexample is as short as any.

mod arena;
mod rows;
mod space;
mod table;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::arena::Cache;
use self::rows::{ROWS, Rows};
use self::space::{Cause, Crash, Local, NOTHING, OfferKind, Outcome, Space};
use self::table::{Full, SHARDS, Shard, StateId, shard_of};
use super::{CheckOptions, CheckProgress, Found, resident_memory_bytes};
use crate::system::{NodeOf, System};
use crate::world::rules::Cost;
use crate::world::{Action, Rules, World};

/// So many pieces of a level are a block.
const BLOCK: usize = 32;
/// How often the progress is told.
const PAUSE: Duration = Duration::from_millis(50);
/// No state.
const NONE: StateId = StateId::MAX;
/// No place.
const NOWHERE: u16 = u16::MAX;

/// Searches everything.
pub fn explore<S: System>(
    rules: &Rules<S>,
    options: &CheckOptions,
    progress: &mut dyn FnMut(CheckProgress),
) -> Found<S> {
    let mut search = Search {
        space: Space::new(rules),
        shards: (0..SHARDS).map(|number| Mutex::new(Shard::new(number))).collect(),
        workers: (0..options.threads.max(1)).map(|_| Worker::new()).collect(),
        invariants: (1 << rules.invariants.len()) - 1,
        steps: 0,
        states: 0,
        depth: 0,
        seen: 0,
        broken: None,
        level: VecDeque::new(),
        next: Vec::new(),
    };
    let stopped_by = search.run(options, progress);
    let broken = search.broken.map(|(state, verdict)| {
        let invariant = verdict.trailing_zeros() as usize;
        (invariant, search.path(state))
    });
    Found {
        steps: search.steps,
        states: search.states,
        depth: search.depth + usize::from(!search.next.is_empty()),
        runs: Some(search.space.runs()),
        seen: search.seen,
        stopped_by,
        broken,
    }
}

struct Search<'r, S: System> {
    space: Space<'r, S>,
    shards: Vec<Mutex<Shard>>,
    workers: Vec<Worker>,
    /// The bits of a verdict that must never be seen.
    invariants: u64,
    steps: usize,
    states: usize,
    depth: usize,
    seen: u64,
    /// The first state that breaks an invariant, and which it breaks.
    broken: Option<(StateId, u64)>,
    /// What is left of the level that is being explored.
    level: VecDeque<Rows>,
    /// The level after it.
    next: Vec<Rows>,
}

/// What one thread remembers, and what it has done.
struct Worker {
    handlers: Cache<[u32; 3], u32>,
    nets: Cache<[u32; 3], u32>,
    uncut: Cache<[u32; 3], u32>,
    pasts: Cache<[u32; 2], u32>,
    verdicts: Cache<u64, u64>,
    done: Vec<(usize, Chunk)>,
    spare: Vec<Chunk>,
}

/// What comes of a piece of a level.
#[derive(Default)]
struct Chunk {
    /// The piece's states.
    states: Vec<StateId>,
    /// What follows them, in order.
    successors: Vec<Successor>,
    /// By shard: the fingerprints of the successors, and which those are.
    fingerprints: Vec<Vec<(u64, u32)>>,
    /// The successors' numbers, as far as they are new.
    new: Vec<AtomicU32>,
    /// The rows of those that are new.
    rows: Vec<Rows>,
    seen: u64,
    broken: Option<(StateId, u64)>,
}

/// How a state differs from the one before it.
#[derive(Clone, Copy)]
struct Successor {
    /// Which row of the piece it follows.
    row: u16,
    /// The place that took a step.
    place: u16,
    slot: u32,
    net: u32,
    past: u32,
    budget: u32,
}

impl<S: System> Search<'_, S> {
    /// Searches; says what stopped it before everything was visited.
    fn run(&mut self, options: &CheckOptions, progress: &mut dyn FnMut(CheckProgress)) -> Option<String> {
        self.begin();
        let mut told = Instant::now();
        while self.broken.is_none() {
            if self.level.is_empty() {
                if self.next.is_empty() {
                    return None;
                }
                if let Some(depth) = options.max_depth.filter(|&depth| self.depth + 1 >= depth) {
                    return Some(format!("--depth {depth}"));
                }
                self.level.extend(self.next.drain(..));
                self.depth += 1;
            }
            let block: Vec<_> = self.level.drain(..self.level.len().min(BLOCK)).collect();
            if self.explore(&block).is_err() {
                return Some("a full table".into());
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
            if self.level.is_empty() && self.next.is_empty() {
                continue;
            }
            if let Some(max) = options.max_states.filter(|&max| self.steps >= max) {
                return Some(format!("--max-states {max}"));
            }
            if let Some(limit) = options.memory_limit.filter(|&limit| resident_memory_bytes() >= limit) {
                return Some(format!("memory (--memory-limit {limit} bytes)"));
            }
            if options.stop.load(Ordering::Relaxed) {
                return Some("Ctrl-C".into());
            }
        }
        None
    }

    fn begin(&mut self) {
        let mut row = self.space.row(&self.space.rules.initial());
        let fingerprint = self.space.fingerprint(&row);
        let shard = self.shards[shard_of(fingerprint)].get_mut().unwrap_or_else(PoisonError::into_inner);
        let entered = shard.insert_all(&[(fingerprint, ())], |(), id| {
            row.push(id);
            NONE
        });
        entered.expect("there is room for one");
        let mut rows = Rows::default();
        rows.push(&row);
        self.next.push(rows);
        (self.steps, self.states) = (1, 1);
        self.seen = self.space.judge(&row);
        if self.seen & self.invariants != 0 {
            self.broken = Some((row[row.len() - 1], self.seen & self.invariants));
        }
    }

    /// Explores a block, whatever number of threads there is in the same order.
    fn explore(&mut self, block: &[Rows]) -> Result<(), Full> {
        let mut chunks = self.expand(block);
        let entered = self.record(&chunks);
        self.keep(block, &mut chunks);
        for chunk in &mut chunks {
            self.steps += chunk.successors.len();
            self.states += chunk.rows.iter().map(Rows::len).sum::<usize>();
            self.seen |= chunk.seen;
            self.broken = self.broken.or(chunk.broken);
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
        let workers = self.workers.len();
        for (i, chunk) in chunks.into_iter().enumerate() {
            self.workers[i % workers].spare.push(chunk);
        }
        entered
    }

    /// Works out what follows each row.
    fn expand(&mut self, block: &[Rows]) -> Vec<Chunk> {
        let next = AtomicUsize::new(0);
        let space = &self.space;
        together(&mut self.workers, block.len(), |worker| {
            let mut row = Vec::new();
            loop {
                let piece = next.fetch_add(1, Ordering::Relaxed);
                let Some(rows) = block.get(piece) else { return };
                let mut chunk = worker.spare.pop().unwrap_or_default();
                chunk.clear();
                for number in 0..rows.len() {
                    rows.get(number, &mut row);
                    chunk.states.push(row.pop().expect("a row ends with its state's number"));
                    let fingerprint = space.fingerprint(&row);
                    let mut step = Expansion { space, worker, chunk: &mut chunk, row: &row, fingerprint };
                    step.all();
                }
                chunk.new.resize_with(chunk.successors.len(), || AtomicU32::new(NONE));
                worker.done.push((piece, chunk));
            }
        });
        let mut done: Vec<_> = self.workers.iter_mut().flat_map(|worker| worker.done.drain(..)).collect();
        done.sort_unstable_by_key(|(piece, _)| *piece);
        done.into_iter().map(|(_, chunk)| chunk).collect()
    }

    /// Enters what was found into the table, in order.
    fn record(&mut self, chunks: &[Chunk]) -> Result<(), Full> {
        let next = AtomicUsize::new(0);
        let full = Mutex::new(Ok(()));
        let shards = &self.shards;
        together(&mut self.workers, chunks.len(), |_| {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(shard) = shards.get(number) else { return };
                let mut shard = lock(shard);
                for chunk in chunks {
                    let entered = shard.insert_all(&chunk.fingerprints[number], |successor, id| {
                        chunk.new[successor as usize].store(id, Ordering::Relaxed);
                        chunk.states[usize::from(chunk.successors[successor as usize].row)]
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
        let invariants = self.invariants;
        let pieces = chunks.len();
        let work = Mutex::new(chunks.iter_mut().zip(block));
        together(&mut self.workers, pieces, |worker| {
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
                    }
                    row.clone_from(&before);
                    successor.apply(&mut row, id);
                    let verdict = worker.verdicts.get(space.view(&row), || space.judge(&row));
                    chunk.seen |= verdict;
                    if verdict & invariants != 0 {
                        chunk.broken = chunk.broken.or(Some((id, verdict & invariants)));
                    }
                    if chunk.rows.last().is_none_or(|rows| rows.len() == ROWS) {
                        chunk.rows.push(Rows::default());
                    }
                    chunk.rows.last_mut().expect("it was added").push(&row);
                }
            }
        });
    }

    /// The way to a state: the actions are found again by the fingerprints of what they lead to.
    fn path(&mut self, mut state: StateId) -> Vec<Action<NodeOf<S>>> {
        let mut fingerprints = Vec::new();
        while state != NONE {
            let (fingerprint, parent) = lock(&self.shards[state as usize % SHARDS]).get(state);
            fingerprints.push(fingerprint);
            state = parent;
        }
        let mut world: World<S> = self.space.rules.initial();
        let mut successors = Vec::new();
        let mut actions = Vec::new();
        for fingerprint in fingerprints.into_iter().rev().skip(1) {
            self.space.rules.successors(&world, &mut successors);
            let leads_there =
                |world: &World<S>| self.space.fingerprint(&self.space.row(world)) == fingerprint;
            let next = successors.drain(..).find(|transition| leads_there(&transition.next));
            let next = next.expect("the rules lead from each state of a path to the next");
            successors.clear();
            actions.push(next.action);
            world = next.next;
        }
        actions
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets all workers work, each in a thread of its own; one alone if there is only one piece of work.
fn together(workers: &mut [Worker], pieces: usize, work: impl Fn(&mut Worker) + Sync) {
    let Some((first, others)) = workers.split_first_mut() else { return };
    if pieces < 2 || others.is_empty() {
        return work(first);
    }
    std::thread::scope(|scope| {
        for worker in others {
            scope.spawn(|| work(worker));
        }
        work(first);
    });
}

impl Worker {
    fn new() -> Self {
        Self {
            handlers: Cache::new(16),
            nets: Cache::new(16),
            uncut: Cache::new(12),
            pasts: Cache::new(14),
            verdicts: Cache::new(15),
            done: Vec::new(),
            spare: Vec::new(),
        }
    }
}

impl Chunk {
    fn clear(&mut self) {
        self.states.clear();
        self.successors.clear();
        self.fingerprints.resize_with(SHARDS, Vec::new);
        self.fingerprints.iter_mut().for_each(Vec::clear);
        self.new.clear();
        self.rows.clear();
        self.seen = 0;
        self.broken = None;
    }
}

impl Successor {
    /// Turns the row before into this one's.
    fn apply(&self, row: &mut [u32], id: StateId) {
        if self.place != NOWHERE {
            row[usize::from(self.place)] = self.slot;
        }
        let rest = row.len() - 4;
        row[rest..].copy_from_slice(&[self.net, self.past, self.budget, id]);
    }
}

/// One row being expanded.
struct Expansion<'a, 'r, S: System> {
    space: &'a Space<'r, S>,
    worker: &'a mut Worker,
    chunk: &'a mut Chunk,
    row: &'a [u32],
    fingerprint: u64,
}

impl<'a, S: System> Expansion<'a, '_, S> {
    /// All that may happen next, in the order of [`Rules::successors`].
    fn all(&mut self) {
        let space = self.space;
        let places = space.places.len();
        let (rules, limits) = (space.rules, &space.rules.limits);
        let (net, budget) = (self.row[places], self.row[places + 2]);
        let now = space.budgets.get(budget);
        for &packet in &space.nets.get(net).packets {
            let place = space.place_of(packet);
            let local = self.local(place);
            let outcomes = self.caused(place, Cause::Packet(packet));
            let without = (!space.is_persistent()).then_some(packet);
            self.step(place, local, outcomes, without, budget);
            if without.is_some() && local.slot.host.is_some() && now.spent.duplicates < limits.duplicates {
                self.step(place, local, outcomes, None, space.pay(budget, Cost::Duplicate));
            }
            if now.spent.drops < limits.drops {
                let net = self.change(net, Some(packet), NOTHING);
                self.rest(net, space.pay(budget, Cost::Drop));
            }
        }
        for place in 0..places {
            let local = self.local(place);
            for offer in space.offers(local) {
                let after = match offer.kind {
                    OfferKind::Free | OfferKind::Crash => budget,
                    OfferKind::Fire { is_periodic, .. } if !rules.may_fire(&now.spent, is_periodic) => {
                        continue;
                    }
                    OfferKind::Fire { is_periodic: true, .. } => space.pay(budget, Cost::Periodic),
                    OfferKind::Fire { .. } if limits.timeouts.is_some() => space.pay(budget, Cost::Timeout),
                    OfferKind::Fire { .. } => budget,
                };
                if offer.kind == OfferKind::Crash && !now.crashes.crash && !now.crashes.wipe {
                    continue;
                }
                let outcomes = space.outcomes_of_offer(place, local, offer);
                self.step(place, local, outcomes, None, after);
            }
        }
        for (index, request) in rules.requests.iter().enumerate() {
            if !rules.may_ask(&now.spent, index) {
                continue;
            }
            let place = rules.place(request.to);
            let local = self.local(place);
            if local.slot.host.is_some() {
                let outcomes = self.caused(place, Cause::Request(index as u32));
                self.step(place, local, outcomes, None, space.pay(budget, Cost::Ask(index)));
            }
        }
        for &after in space.links(now) {
            let net = self.worker.uncut.get([net, after, 1], || space.net_under(net, after));
            self.rest(net, after);
        }
    }

    fn local(&self, place: usize) -> &'a Local<NodeOf<S>> {
        self.space.places[place].get(self.row[place])
    }

    fn caused(&mut self, place: usize, cause: Cause) -> &'a [Outcome] {
        let space = self.space;
        let slot = self.row[place];
        let (key, kind) = match cause {
            Cause::Packet(packet) => (packet, place as u32),
            Cause::Request(index) => (index, u32::MAX - place as u32),
        };
        let handlers = &mut self.worker.handlers;
        let id = handlers.get([slot, key, kind], || space.outcomes_of_cause(place, slot, cause));
        space.outcomes(id)
    }

    fn change(&mut self, net: u32, without: Option<u32>, sends: u32) -> u32 {
        let space = self.space;
        if without.is_none() && sends == NOTHING {
            return net;
        }
        let key = [net, without.map_or(u32::MAX, |packet| packet), sends];
        self.worker.nets.get(key, || space.change(net, without, sends))
    }

    /// A step of a place, in all the ways that the budgets allow.
    fn step(
        &mut self,
        place: usize,
        local: &Local<NodeOf<S>>,
        outcomes: &[Outcome],
        without: Option<u32>,
        budget: u32,
    ) {
        let space = self.space;
        let places = space.places.len();
        let (net, past) = (self.row[places], self.row[places + 1]);
        let now = space.budgets.get(self.row[places + 2]);
        for outcome in outcomes {
            let after = match outcome.crash {
                None => budget,
                Some(Crash::Crash) if now.crashes.crash => space.pay(budget, Cost::Crash),
                Some(Crash::Wipe) if now.crashes.wipe => space.pay(budget, Cost::Wipe),
                Some(Crash::Crash | Crash::Wipe) => continue,
            };
            let mut sends = outcome.sends;
            if sends != NOTHING && !now.cut.is_empty() {
                let key = [sends, self.row[places + 2], 0];
                sends = self.worker.uncut.get(key, || space.sends_under(sends, key[1]));
            }
            let net = self.change(net, without, sends);
            let mut next = past;
            if outcome.facts != NOTHING {
                let facts = outcome.facts;
                next = self.worker.pasts.get([past, facts], || space.observe(past, facts));
            }
            let slot = outcome.slot;
            let successor = Successor { row: 0, place: place as u16, slot, net, past: next, budget: after };
            self.emit(successor, outcome.hash.wrapping_sub(local.hash), slot != self.row[place]);
        }
    }

    /// Something that happens at no place.
    fn rest(&mut self, net: u32, budget: u32) {
        let past = self.row[self.space.places.len() + 1];
        self.emit(Successor { row: 0, place: NOWHERE, slot: 0, net, past, budget }, 0, false);
    }

    /// What changes nothing is not a step.
    fn emit(&mut self, mut successor: Successor, local: u64, mut changes: bool) {
        let space = self.space;
        let places = space.places.len();
        let (net, past, budget) = (self.row[places], self.row[places + 1], self.row[places + 2]);
        let mut fingerprint = self.fingerprint.wrapping_add(local);
        let mut replace = |before: u64, after: u64| {
            changes = true;
            fingerprint = fingerprint.wrapping_sub(before).wrapping_add(after);
        };
        if successor.net != net {
            replace(space.nets.get(net).hash, space.nets.get(successor.net).hash);
        }
        if successor.past != past {
            replace(space.histories.get(past).hash, space.histories.get(successor.past).hash);
        }
        if successor.budget != budget {
            replace(space.budgets.get(budget).hash, space.budgets.get(successor.budget).hash);
        }
        if !changes {
            return;
        }
        successor.row = (self.chunk.states.len() - 1) as u16;
        let number = self.chunk.successors.len() as u32;
        self.chunk.fingerprints[shard_of(fingerprint)].push((fingerprint, number));
        self.chunk.successors.push(successor);
    }
}
