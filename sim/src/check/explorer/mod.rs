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
mod costs;
mod rows;
mod settle;
mod space;
mod table;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon_core::{ThreadPool, ThreadPoolBuilder};

use self::arena::{Cache, Menus, Recent};
use self::rows::{ROWS, Rows};
use self::space::{Choice, NO_PACKET, NOTHING, Space};
use self::table::{Full, SHARDS, Shard, StateId, shard_of};
use super::{Broken, CheckOptions, CheckProgress, Found, resident_memory_bytes};
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

pub use self::settle::settles;

/// Searches everything.
pub fn explore<S: System>(
    rules: &Rules<S>,
    options: &CheckOptions,
    progress: &mut dyn FnMut(CheckProgress),
) -> Found<S> {
    let mut search = Search {
        space: Space::new(rules, options.reductions),
        shards: (0..SHARDS).map(|number| Mutex::new(Shard::new(number))).collect(),
        crew: Crew::new(options.threads),
        invariants: (1 << rules.invariants.len()) - 1,
        steps: 0,
        states: 0,
        depth: 0,
        seen: 0,
        settle: options.settle,
        broken: None,
        level: VecDeque::new(),
        next: Vec::new(),
        spare: Vec::new(),
    };
    let stopped_by = search.run(options, progress);
    let broken = search.broken.take().map(|(state, broken)| (broken, search.path(state)));
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
    crew: Crew,
    /// The bits of a verdict that must never be seen.
    invariants: u64,
    steps: usize,
    states: usize,
    depth: usize,
    seen: u64,
    /// Whether every state must settle.
    settle: bool,
    /// The first state in which something is broken.
    broken: Option<(StateId, Broken)>,
    /// What is left of the level that is being explored.
    level: VecDeque<Rows>,
    /// The level after it.
    next: Vec<Rows>,
    /// Room that can be used again.
    spare: Vec<Chunk>,
}

/// Those who do the work: the first in the caller's thread, the others in threads of their own.
struct Crew {
    workers: Vec<Worker>,
    threads: Option<ThreadPool>,
}

/// What one thread remembers, and what it has done.
struct Worker {
    menus: Menus,
    caches: Caches,
    verdicts: Cache<u64, u64>,
    settled: Recent,
    done: Vec<(usize, Chunk)>,
}

/// What was worked out before.
struct Caches {
    /// Inboxes without one of their packets.
    without: Cache<[u32; 3], u32>,
    /// Inboxes with further packets, and what those add to the fingerprint.
    with: Cache<[u32; 3], (u32, u64)>,
    /// Packets without those on links that are cut.
    uncut: Cache<[u32; 3], u32>,
    /// Histories with further facts.
    pasts: Cache<[u32; 2], u32>,
    /// What was found a short while ago.
    recent: Recent,
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
    /// How many more successors there are, which the same thread had found shortly before.
    repeated: usize,
    seen: u64,
    broken: Option<(StateId, Broken)>,
}

/// How a state differs from the one before it.
#[derive(Clone, Copy)]
struct Successor {
    /// Which row of the piece it follows.
    row: u16,
    /// The place that took a step.
    place: u16,
    slot: u32,
    /// The packet that was taken from the network.
    takes: u32,
    sends: u32,
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
        let id = row.pop().unwrap_or(NONE);
        let settled = &mut self.crew.workers[0].settled;
        let broken = broken(self.seen & self.invariants);
        let unsettled = || self.space.settle(&row, settled).is_err().then_some(Broken::Settling);
        let broken = broken.or_else(|| self.settle.then(unsettled).flatten());
        self.broken = broken.map(|broken| (id, broken));
    }

    /// Explores a block, whatever number of threads there is in the same order.
    fn explore(&mut self, block: &[Rows]) -> Result<(), Full> {
        let mut chunks = self.expand(block);
        let entered = self.record(&chunks);
        self.keep(block, &mut chunks);
        for chunk in &mut chunks {
            self.steps += chunk.successors.len() + chunk.repeated;
            self.states += chunk.rows.iter().map(Rows::len).sum::<usize>();
            self.seen |= chunk.seen;
            self.broken = self.broken.take().or(chunk.broken.take());
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
        entered
    }

    /// Works out what follows each row.
    fn expand(&mut self, block: &[Rows]) -> Vec<Chunk> {
        let next = AtomicUsize::new(0);
        let (space, spare) = (&self.space, Mutex::new(&mut self.spare));
        self.crew.together(block.len(), |worker| {
            let mut row = Vec::new();
            loop {
                let piece = next.fetch_add(1, Ordering::Relaxed);
                let Some(rows) = block.get(piece) else { return };
                let mut chunk = lock(&spare).pop().unwrap_or_default();
                chunk.clear();
                for number in 0..rows.len() {
                    rows.get(number, &mut row);
                    chunk.states.push(row.pop().expect("a row ends with its state's number"));
                    let fingerprint = space.fingerprint(&row);
                    let Worker { menus, caches, .. } = worker;
                    Expansion { space, caches, chunk: &mut chunk, row: &row, fingerprint }.all(menus);
                }
                chunk.new.resize_with(chunk.successors.len(), || AtomicU32::new(NONE));
                worker.done.push((piece, chunk));
            }
        });
        let mut done: Vec<_> =
            self.crew.workers.iter_mut().flat_map(|worker| worker.done.drain(..)).collect();
        done.sort_unstable_by_key(|(piece, _)| *piece);
        done.into_iter().map(|(_, chunk)| chunk).collect()
    }

    /// Enters what was found into the table, in order.
    fn record(&mut self, chunks: &[Chunk]) -> Result<(), Full> {
        let next = AtomicUsize::new(0);
        let full = Mutex::new(Ok(()));
        let shards = &self.shards;
        self.crew.together(chunks.len(), |_| {
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
        let (invariants, settle) = (self.invariants, self.settle);
        let pieces = chunks.len();
        let work = Mutex::new(chunks.iter_mut().zip(block));
        self.crew.together(pieces, |worker| {
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
                        let broken = broken(verdict & invariants);
                        let unsettled = || space.settle(&row, &mut worker.settled).is_err().then_some(Broken::Settling);
                        let broken = broken.or_else(|| settle.then(unsettled).flatten());
                        chunk.broken = broken.map(|broken| (id, broken));
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

/// The first of the invariants that are broken.
fn broken(invariants: u64) -> Option<Broken> {
    (invariants != 0).then(|| Broken::Invariant(invariants.trailing_zeros() as usize))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crew {
    fn new(size: usize) -> Self {
        let threads = ThreadPoolBuilder::new().num_threads(size.max(2) - 1).build();
        let threads = if size > 1 { threads.ok() } else { None };
        let size = if threads.is_some() { size } else { 1 };
        Self { workers: (0..size).map(|_| Worker::new()).collect(), threads }
    }

    /// Lets all workers work, each in a thread of its own; one alone if there is only one piece of work.
    fn together(&mut self, pieces: usize, work: impl Fn(&mut Worker) + Sync) {
        let Some((first, others)) = self.workers.split_first_mut() else { return };
        let Some(threads) = self.threads.as_ref().filter(|_| pieces > 1) else { return work(first) };
        threads.in_place_scope(|scope| {
            for worker in others {
                scope.spawn(|_| work(worker));
            }
            work(first);
        });
    }
}

impl Worker {
    fn new() -> Self {
        Self {
            menus: Menus::new(13),
            caches: Caches {
                without: Cache::new(14),
                with: Cache::new(14),
                uncut: Cache::new(12),
                pasts: Cache::new(14),
                recent: Recent::new(15),
            },
            verdicts: Cache::new(15),
            settled: Recent::new(20),
            done: Vec::new(),
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
        self.repeated = 0;
        self.seen = 0;
        self.broken = None;
    }
}

impl Successor {
    /// Turns the row before into this one's.
    fn apply<S: System>(&self, space: &Space<'_, S>, caches: &mut Caches, row: &mut [u32]) {
        let places = space.places.len();
        if self.place == NOWHERE {
            for (place, inbox) in row[places..2 * places].iter_mut().enumerate() {
                *inbox = caches.inbox_under(space, place, *inbox, self.budget);
            }
        } else {
            let place = usize::from(self.place);
            row[place] = self.slot;
            row[places + place] = caches.without(space, place, row[places + place], self.takes);
        }
        for &(to, more) in space.sent(self.sends) {
            row[places + to] = caches.with(space, to, row[places + to], more).0;
        }
        (row[2 * places], row[2 * places + 1]) = (self.past, self.budget);
    }
}

impl Caches {
    fn without<S: System>(&mut self, space: &Space<'_, S>, place: usize, inbox: u32, packet: u32) -> u32 {
        if packet == NO_PACKET {
            return inbox;
        }
        self.without.get([inbox, packet, 0], || space.without(place, inbox, packet))
    }

    fn with<S: System>(&mut self, space: &Space<'_, S>, place: usize, inbox: u32, more: u32) -> (u32, u64) {
        self.with.get([inbox, more, place as u32], || {
            let with = space.with(place, inbox, more);
            let hash = |inbox| space.inboxes[place].get(inbox).hash;
            (with, hash(with).wrapping_sub(hash(inbox)))
        })
    }

    fn inbox_under<S: System>(&mut self, space: &Space<'_, S>, place: usize, inbox: u32, budget: u32) -> u32 {
        self.uncut.get([inbox, budget, place as u32], || space.inbox_under(place, inbox, budget))
    }

    fn sends_under<S: System>(&mut self, space: &Space<'_, S>, sends: u32, budget: u32) -> u32 {
        if sends == NOTHING || space.budgets.get(budget).cut.is_empty() {
            return sends;
        }
        self.uncut.get([sends, budget, u32::MAX], || space.sends_under(sends, budget))
    }
}

/// One row being expanded.
struct Expansion<'a, 's, S: System> {
    space: &'s Space<'s, S>,
    caches: &'a mut Caches,
    chunk: &'a mut Chunk,
    row: &'a [u32],
    fingerprint: u64,
}

impl<S: System> Expansion<'_, '_, S> {
    /// All that may happen next.
    fn all(&mut self, menus: &mut Menus) {
        let space = self.space;
        let places = space.places.len();
        let budget = self.row[2 * places + 1];
        let now = space.budgets.get(budget);
        let (slots, inboxes) = self.row[..2 * places].split_at(places);
        for (place, (&slot, &inbox)) in slots.iter().zip(inboxes).enumerate() {
            let menu = menus.get([slot, inbox, place as u32], |menu| space.menu(place, slot, inbox, menu));
            for choice in menu {
                if choice.costs.are_in(now.affordable) {
                    self.step(place, choice, space.pay_all(budget, choice.costs));
                }
            }
        }
        for (index, request) in space.rules.requests.iter().enumerate() {
            let place = space.rules.place(request.to);
            let slot = slots[place];
            if space.is_up(place, slot) && space.rules.may_ask(&now.spent, index) {
                let key = [slot, index as u32, u32::MAX - place as u32];
                let is_repeated = now.spent.asked & (1 << index) != 0;
                for choice in menus.get(key, |menu| space.answers(place, slot, index, menu)) {
                    if space.reductions.losses && is_repeated && choice.is_nothing(slot) {
                        continue;
                    }
                    if choice.costs.are_in(now.affordable) {
                        let asked = space.pay(budget, Cost::Ask(index));
                        self.step(place, choice, space.pay_all(asked, choice.costs));
                    }
                }
            }
        }
        if !space.reductions.losses {
            for &after in space.links(now) {
                self.link(after);
            }
        }
    }

    /// What comes of one thing that happens at a place.
    fn step(&mut self, place: usize, choice: &Choice, budget: u32) {
        let space = self.space;
        let places = space.places.len();
        let mut hash = choice.hash;
        if choice.takes != NO_PACKET {
            hash = hash.wrapping_sub(space.hash_of_packet(choice.takes));
        }
        let sends = self.caches.sends_under(space, choice.sends, self.row[2 * places + 1]);
        let mut only_takes_away = choice.slot == self.row[place] && choice.facts == NOTHING;
        for &(to, more) in space.sent(sends) {
            let mut inbox = self.row[places + to];
            if to == place {
                inbox = self.caches.without(space, place, inbox, choice.takes);
            }
            let (with, added) = self.caches.with(space, to, inbox, more);
            only_takes_away &= with == inbox;
            hash = hash.wrapping_add(added);
        }
        if only_takes_away && space.reductions.losses {
            return;
        }
        let mut past = self.row[2 * places];
        if choice.facts != NOTHING {
            let key = [past, choice.facts];
            past = self.caches.pasts.get(key, || space.observe(key[0], key[1]));
        }
        let (place, slot, takes) = (place as u16, choice.slot, choice.takes);
        self.emit(hash, Successor { row: 0, place, slot, takes, sends, past, budget });
    }

    /// A link is cut or healed.
    fn link(&mut self, budget: u32) {
        let space = self.space;
        let places = space.places.len();
        let mut hash = 0_u64;
        for place in 0..places {
            let inbox = self.row[places + place];
            let under = self.caches.inbox_under(space, place, inbox, budget);
            let hash_of = |inbox| space.inboxes[place].get(inbox).hash;
            hash = hash.wrapping_add(hash_of(under)).wrapping_sub(hash_of(inbox));
        }
        let past = self.row[2 * places];
        let (place, takes, sends) = (NOWHERE, NO_PACKET, NOTHING);
        self.emit(hash, Successor { row: 0, place, slot: 0, takes, sends, past, budget });
    }

    /// What changes nothing is not a step.
    fn emit(&mut self, hash: u64, mut successor: Successor) {
        let space = self.space;
        let [.., past, budget] = *self.row else {
            unreachable!("a row ends with history and budgets");
        };
        let mut fingerprint = self.fingerprint.wrapping_add(hash);
        let mut replace = |before: u64, after: u64| {
            fingerprint = fingerprint.wrapping_sub(before).wrapping_add(after);
        };
        if successor.past != past {
            replace(space.histories.get(past).hash, space.histories.get(successor.past).hash);
        }
        if successor.budget != budget {
            replace(space.budgets.get(budget).hash, space.budgets.get(successor.budget).hash);
        }
        if fingerprint == self.fingerprint {
            return;
        }
        if self.caches.recent.knows(fingerprint) {
            self.chunk.repeated += 1;
            return;
        }
        self.caches.recent.add(fingerprint);
        successor.row = (self.chunk.states.len() - 1) as u16;
        let number = self.chunk.successors.len() as u32;
        self.chunk.fingerprints[shard_of(fingerprint)].push((fingerprint, number));
        self.chunk.successors.push(successor);
    }
}
