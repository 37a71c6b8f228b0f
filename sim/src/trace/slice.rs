//! What led to what, and of a run that went wrong, what led to that: a *slice* of its trace (Weiser, *Program slicing*,
//! TSE 1984; Agrawal, Horgan, *Dynamic program slicing*, PLDI 1990).
//!
//! A step follows from others in two ways.
//!
//! - Something was under way: a message from the step that sent it, a timer from the step that armed it, a request from
//!   who asked, a sync from the step that wrote, a boot from the crash before it.
//! - The node was in some state: what a step changes was last changed by another, and what it says stands in its
//!   state since another. States are compared as structures, place by place, so that this is
//!   known without knowing the node.
//!
//! A violation speaks of several things, which together are the contradiction: its words name nodes, requests, numbers.
//! The slice begins at all that they name: the step at which it showed, what the nodes named had told and hold of it,
//! the calls. What led to these, step by step, is the slice.
//!
//! What is found in a state by its words may be one step too many; it is meant to hold all that matters rather than as
//! little as possible.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use coalmine_core::node::{Delay, Effect, Event, Node, NodeId, RequestId, Word, variant_name};

use super::changes::{self, Change, What, Words, overlap};
use super::structure::{Value, read};
use super::{Entry, TraceEvent};
use crate::panics::{catch, describe};
use crate::spec::verdict::Verdict;

/// The most steps of a slice: those that are nearest to its end.
const MOST: usize = 1_000;
/// So many parts of a state are looked at for what the words of one step name: the last, which lists end with.
const MOST_HELD: usize = 40;
/// So many changes are looked at in all.
const MOST_LOOKS: usize = 20_000_000;
/// So many times in a row a timer that arms itself is followed.
const SELF_ARMED: u8 = 2;

/// What is known of an entry of a trace besides what it says itself.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// What it changed in its node's state, in words.
    pub changes: Vec<String>,
    /// What it follows from because something was under way.
    pub cause: Option<usize>,
    /// The timer that fires in it.
    pub timer: Option<Armed>,
    /// Whether it is part of what led to a violation.
    pub in_slice: bool,
}

/// A timer, as it was armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// The entry in which it was.
    pub by: usize,
    /// When.
    pub at: Duration,
    /// For how long.
    pub delay: Delay,
}

/// What is known of each entry of a trace.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// By entry.
    pub told: Vec<Told>,
    /// Where it went wrong, if it did.
    pub end: Option<usize>,
}

impl Slice {
    /// Reads a trace; with a verdict it looks for what led to that.
    pub fn of<N: Node>(entries: &[Entry<N>], verdict: Option<&Verdict>) -> Self {
        let mut reader = Reader::default();
        for (place, entry) in entries.iter().enumerate() {
            reader.read(place, entry);
        }
        let mut told = std::mem::take(&mut reader.told);
        let words = &reader.words;
        for (told, changes) in told.iter_mut().zip(&reader.changes) {
            told.changes = changes::describe(changes, words);
        }
        let why = verdict.and_then(words_of);
        // What the plan made go wrong led there as well, as far as anybody knows.
        for (told, entry) in told.iter_mut().zip(entries) {
            told.in_slice |= why.is_some() && matches!(entry.what, TraceEvent::Fault(_));
        }
        let end = why.as_ref().and_then(|_| end_of(entries));
        if let (Some(why), Some(end)) = (why, end) {
            let looks = Cell::new(MOST_LOOKS);
            let search = Search { entries, reader: &reader, told: &told, looks };
            // A story without a mark is better than none.
            for place in catch(|| search.slice(&why, end)).unwrap_or_default() {
                told[place].in_slice = true;
            }
        }
        Self { told, end }
    }
}

/// What a verdict speaks of; nothing if nothing went wrong in the run.
fn words_of(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Violated { why, .. } | Verdict::NotConverged { why } => Some(why.clone()),
        Verdict::Panicked(panic) => Some(panic.to_string()),
        Verdict::EnginesDiffer { .. } | Verdict::NotDeterministic { .. } => Some(String::new()),
        Verdict::Passed | Verdict::Refused { .. } => None,
    }
}

/// Invariants are asked when a node has taken a step or crashed; others may begin a step before the run stops.
fn end_of<N: Node>(entries: &[Entry<N>]) -> Option<usize> {
    let checked = entries.iter().rposition(|entry| entry.state.is_some() || entry.what.ends_a_life());
    checked.or(entries.len().checked_sub(1))
}

/// What is known of a node while a trace is read.
struct Life<'a, N: Node> {
    /// Its state.
    state: Option<Value<'a>>,
    /// Its steps that changed its state, boots included.
    changed: Vec<usize>,
    /// All entries that tell its state.
    states: Vec<usize>,
    /// What booted it, or ended its life, last.
    boot: Option<usize>,
    ended: Option<usize>,
    /// Which entry wrote each record of its journal, if the trace shows it.
    writers: Vec<Option<usize>>,
    armed: BTreeMap<&'a N::Timer, Armed>,
    asked: BTreeMap<RequestId, usize>,
    answered: BTreeMap<RequestId, usize>,
}

impl<N: Node> Default for Life<'_, N> {
    fn default() -> Self {
        Self {
            state: None,
            changed: Vec::new(),
            states: Vec::new(),
            boot: None,
            ended: None,
            writers: Vec::new(),
            armed: BTreeMap::new(),
            asked: BTreeMap::new(),
            answered: BTreeMap::new(),
        }
    }
}

/// Reads a trace, entry by entry.
struct Reader<'a, N: Node> {
    told: Vec<Told>,
    /// By entry: all that it changed.
    changes: Vec<Vec<Change>>,
    /// By entry: further entries that it follows from.
    further: BTreeMap<usize, Vec<usize>>,
    /// By entry that a node took: what booted this life.
    boots: Vec<Option<usize>>,
    lives: BTreeMap<NodeId, Life<'a, N>>,
    /// The entry of each send, and of what the network did to it.
    sends: Vec<usize>,
    touches: BTreeMap<u64, Vec<usize>>,
    words: Words,
}

impl<N: Node> Default for Reader<'_, N> {
    fn default() -> Self {
        Self {
            told: Vec::new(),
            changes: Vec::new(),
            further: BTreeMap::new(),
            boots: Vec::new(),
            lives: BTreeMap::new(),
            sends: Vec::new(),
            touches: BTreeMap::new(),
            words: Words::new(),
        }
    }
}

/// Whose step it is.
fn node_of<N: Node>(what: &TraceEvent<N>) -> Option<NodeId> {
    match what {
        TraceEvent::Booted { node, .. }
        | TraceEvent::Stepped { node, .. }
        | TraceEvent::Synced { node, .. }
        | TraceEvent::Crashed { node, .. }
        | TraceEvent::Killed { node, .. }
        | TraceEvent::Stopped { node, .. }
        | TraceEvent::Complained { node, .. } => Some(*node),
        TraceEvent::Frame { .. }
        | TraceEvent::Asked { .. }
        | TraceEvent::Answered { .. }
        | TraceEvent::Fault(_)
        | TraceEvent::Noted(_)
        | TraceEvent::Healed
        | TraceEvent::Cut { .. }
        | TraceEvent::Mended { .. } => None,
    }
}

impl<'a, N: Node> Reader<'a, N> {
    fn read(&mut self, place: usize, entry: &'a Entry<N>) {
        self.told.push(Told::default());
        let send = entry.send.and_then(|send| self.sends.get(usize::try_from(send).ok()?)).copied();
        let cause = match &entry.what {
            TraceEvent::Stepped { node, event, .. } => match event {
                Event::Message { .. } => {
                    let touched = entry.send.and_then(|send| self.touches.get(&send));
                    self.further.extend(touched.map(|touched| (place, touched.clone())));
                    send
                }
                Event::Timer(timer) => {
                    let armed = self.lives.entry(*node).or_default().armed.remove(timer);
                    self.told[place].timer = armed;
                    armed.map(|armed| armed.by)
                }
                Event::Request { id, .. } => self.lives.entry(*node).or_default().asked.get(id).copied(),
                Event::Durable(_) => None,
            },
            TraceEvent::Booted { node, records, .. } => self.boots(*node, place, *records),
            TraceEvent::Synced { node, upto, .. } => {
                let writers = &self.lives.entry(*node).or_default().writers;
                upto.checked_sub(1).and_then(|last| *writers.get(usize::try_from(last).ok()?)?)
            }
            TraceEvent::Crashed { node, lost, .. } | TraceEvent::Killed { node, lost, .. } => {
                self.ends(*node, place, *lost)
            }
            TraceEvent::Stopped { node, .. } => self.ends(*node, place, 0),
            TraceEvent::Frame { .. } => {
                if let Some(send) = entry.send {
                    self.touches.entry(send).or_default().push(place);
                }
                send
            }
            TraceEvent::Asked { to, call } => {
                self.lives.entry(*to).or_default().asked.insert(call.id, place);
                None
            }
            TraceEvent::Answered { from, call } => {
                self.lives.entry(*from).or_default().answered.get(&call.id).copied()
            }
            TraceEvent::Complained { .. }
            | TraceEvent::Fault(_)
            | TraceEvent::Noted(_)
            | TraceEvent::Healed
            | TraceEvent::Cut { .. }
            | TraceEvent::Mended { .. } => None,
        };
        self.told[place].cause = cause;
        let node = node_of(&entry.what);
        self.boots.push(node.and_then(|node| self.lives.get(&node)?.boot));
        let changes = node.map(|node| self.shows(node, place, entry.state.as_deref()));
        self.changes.push(changes.unwrap_or_default());
        if let Some(node) = node {
            self.did(node, place, entry);
        }
    }

    fn boots(&mut self, node: NodeId, place: usize, records: usize) -> Option<usize> {
        let life = self.lives.entry(node).or_default();
        life.writers.resize(records, None);
        life.armed.clear();
        life.boot = Some(place);
        life.ended
    }

    /// The end of a life follows from what it lost.
    fn ends(&mut self, node: NodeId, place: usize, lost: usize) -> Option<usize> {
        let life = self.lives.entry(node).or_default();
        life.ended = Some(place);
        let lost = &life.writers[life.writers.len().saturating_sub(lost)..];
        self.further.insert(place, lost.iter().copied().flatten().collect());
        None
    }

    /// The node's state after an entry.
    fn shows(&mut self, node: NodeId, place: usize, state: Option<&'a str>) -> Vec<Change> {
        let Some(state) = state else { return Vec::new() };
        let life = self.lives.entry(node).or_default();
        life.states.push(place);
        let Some(before) = &life.state else {
            life.changed.push(place);
            life.state = Some(read(state));
            return Vec::new();
        };
        if before.text == state.trim() {
            return Vec::new();
        }
        let now = read(state);
        let changes = changes::between(before, &now);
        life.state = Some(now);
        if !changes.is_empty() {
            life.changed.push(place);
        }
        changes
    }

    /// What comes of what a node does.
    fn did(&mut self, node: NodeId, place: usize, entry: &'a Entry<N>) {
        let life = self.lives.entry(node).or_default();
        for effect in entry.what.effects() {
            let word = match effect {
                Effect::Append(record) => {
                    life.writers.push(Some(place));
                    Word::Record(record)
                }
                Effect::Send { message, .. } => {
                    self.sends.push(place);
                    Word::Message(message)
                }
                Effect::Observe(fact) => Word::Fact(fact),
                Effect::Reply { to, reply } => {
                    life.answered.insert(*to, place);
                    Word::Reply(reply)
                }
                Effect::SetTimer { timer, delay } => {
                    life.armed.insert(timer, Armed { by: place, at: entry.at, delay: *delay });
                    continue;
                }
                Effect::CancelTimer(timer) => {
                    life.armed.remove(timer);
                    continue;
                }
                Effect::Lost { message, .. } => Word::Message(message),
                Effect::Publish(_) | Effect::WhenDurable(_) | Effect::Forget(_) => continue,
                Effect::Meet { .. } | Effect::Part(_) => continue,
            };
            learn::<N>(&mut self.words, word);
        }
    }
}

/// Remembers how a piece of the vocabulary is told, unless its `Debug` form is as short as a number.
fn learn<N: Node>(words: &mut Words, word: Word<'_, N>) {
    // What cannot be shown is told by nobody.
    let Ok(debug) = catch(|| word.debug()) else { return };
    if debug.contains(['{', '(']) && !words.contains_key(&debug) {
        let told = describe::<N>(word);
        if !told.is_empty() && told != debug && !told.contains('\n') {
            words.insert(debug, told);
        }
    }
}

/// Looks for a slice.
struct Search<'s, 'a, N: Node> {
    entries: &'a [Entry<N>],
    reader: &'s Reader<'a, N>,
    told: &'s [Told],
    /// How many changes may still be looked at.
    looks: Cell<usize>,
}

impl<N: Node> Search<'_, '_, N> {
    /// All that led to what these words speak of, which showed at this entry.
    fn slice(&self, why: &str, end: usize) -> BTreeSet<usize> {
        let mut slice = BTreeSet::new();
        // The latest first, so that what is left out is what is far away.
        let mut todo: BinaryHeap<(usize, u8)> = [(end, 0)].into();
        todo.extend(self.sides(why, end).into_iter().map(|side| (side, 0)));
        while let Some((place, armed)) = todo.pop() {
            if slice.len() >= MOST || !slice.insert(place) {
                continue;
            }
            if let Some(cause) = self.told[place].cause {
                let armed = if self.fires_again(place, cause) { armed + 1 } else { 0 };
                if armed <= SELF_ARMED {
                    todo.push((cause, armed));
                }
            }
            let further = self.reader.further.get(&place).into_iter().flatten().copied();
            todo.extend(further.chain(self.of_state(place)).map(|cause| (cause, 0)));
        }
        slice
    }

    /// Whether a timer fires because it has fired before.
    fn fires_again(&self, place: usize, cause: usize) -> bool {
        let timer = |place: usize| {
            let TraceEvent::Stepped { event, .. } = &self.entries[place].what else { return None };
            if let Event::Timer(timer) = event { Some(timer) } else { None }
        };
        timer(place).is_some_and(|it| timer(cause) == Some(it))
    }

    /// What a node did before that this entry of its rests on.
    fn of_state(&self, place: usize) -> BTreeSet<usize> {
        let entry = &self.entries[place];
        let mut causes = BTreeSet::new();
        let Some(life) = node_of(&entry.what).and_then(|node| self.reader.lives.get(&node)) else {
            return causes;
        };
        if entry.what.ends_a_life() {
            return causes;
        }
        let changes = &self.reader.changes[place];
        for change in changes {
            causes.extend(self.writer(life, &change.place, place));
        }
        let mut said = BTreeSet::new();
        for change in changes {
            match &change.what {
                What::Added(it) | What::Removed(it) => words(it, &mut said),
                What::Replaced(old, new) => [old, new].into_iter().for_each(|it| words(it, &mut said)),
            }
        }
        for effect in entry.what.effects() {
            match effect {
                Effect::Append(_)
                | Effect::Send { .. }
                | Effect::Reply { .. }
                | Effect::Observe(_)
                | Effect::Meet { .. }
                | Effect::Part(_)
                | Effect::Lost { .. } => {
                    words(&format!("{effect:?}"), &mut said);
                }
                Effect::Publish(_)
                | Effect::SetTimer { .. }
                | Effect::CancelTimer(_)
                | Effect::WhenDurable(_)
                | Effect::Forget(_) => {}
            }
        }
        if let TraceEvent::Stepped { event, .. } = &entry.what {
            words(&format!("{event:?}"), &mut said);
        }
        let names = |word: &&String| !is_number(word) || word.len() > 1;
        let said: BTreeSet<&str> = said.iter().filter(names).map(String::as_str).collect();
        causes.extend(self.holders(life, place, &said));
        if causes.is_empty() {
            // It may rest on what is not there.
            let before = life.changed.partition_point(|&it| it < place);
            causes.extend(before.checked_sub(1).map(|last| life.changed[last]));
        }
        // Whoever has crashed may have forgotten something.
        let boot = self.reader.boots[place].filter(|&boot| boot < place && self.told[boot].cause.is_some());
        causes.extend(boot);
        causes
    }

    /// Which of a node's steps before this one changed a place of its state last.
    fn writer(&self, life: &Life<'_, N>, at: &str, before: usize) -> Option<usize> {
        let changed = &life.changed[..life.changed.partition_point(|&it| it < before)];
        let touches = |place: &&usize| {
            let changes = &self.reader.changes[**place];
            self.looks.set(self.looks.get().saturating_sub(changes.len() + 1));
            self.looks.get() > 0 && changes.iter().any(|it| overlap(&it.place, at))
        };
        changed.iter().rev().find(touches).copied()
    }

    /// Which of a node's steps brought what these words name into its state as it is before this entry.
    fn holders(&self, life: &Life<'_, N>, before: usize, said: &BTreeSet<&str>) -> BTreeSet<usize> {
        let last =
            life.states.partition_point(|&it| it < before).checked_sub(1).map(|last| life.states[last]);
        let Some(state) =
            last.and_then(|last| self.entries[last].state.as_deref()).filter(|_| !said.is_empty())
        else {
            return BTreeSet::new();
        };
        let mut leaves = Vec::new();
        changes::leaves(&read(state), "", &mut leaves);
        let names = |(place, text): &(String, String)| {
            let mut held = BTreeSet::new();
            words(place, &mut held);
            words(text, &mut held);
            held.iter().any(|it| said.contains(it.as_str()))
        };
        let held = leaves.iter().rev().filter(|it| names(it)).take(MOST_HELD);
        held.filter_map(|(place, _)| self.writer(life, place, before)).collect()
    }

    /// What else the words of a verdict speak of: the sides of the contradiction.
    fn sides(&self, why: &str, end: usize) -> BTreeSet<usize> {
        let mut named = BTreeSet::new();
        words(why, &mut named);
        let nodes: BTreeSet<_> =
            self.reader.lives.keys().filter(|node| has_word(why, &node.to_string())).collect();
        let mut sides = BTreeSet::new();
        for (node, life) in &self.reader.lives {
            if !nodes.is_empty() && !nodes.contains(node) {
                continue;
            }
            let said: BTreeSet<&str> = named.iter().map(String::as_str).collect();
            let held = self.holders(life, end + 1, &said);
            let is_named = nodes.contains(node) || nodes.is_empty() && named.is_empty();
            if held.is_empty() && is_named {
                sides.extend(life.changed.iter().rev().find(|&&it| it <= end));
            }
            sides.extend(held);
        }
        let mut facts = BTreeSet::new();
        if let Some(last) = self.entries.get(end) {
            last.what.effects().iter().for_each(|effect| words(&format!("{effect:?}"), &mut facts));
        }
        let names = |text: &str| {
            let mut held = BTreeSet::new();
            words(text, &mut held);
            held.iter().any(|it| named.contains(it) || facts.contains(it))
        };
        // Of each node and kind the last that speaks of it, and all calls by name.
        let mut seen = BTreeSet::new();
        for (place, entry) in self.entries.iter().enumerate().take(end + 1).rev() {
            let call = if let TraceEvent::Asked { call, .. } | TraceEvent::Answered { call, .. } = &entry.what
            {
                Some(call.id)
            } else if let TraceEvent::Stepped { event: Event::Request { id, .. }, .. } = &entry.what {
                Some(*id)
            } else {
                None
            };
            if call.is_some_and(|id| named.contains(&id.to_string())) {
                sides.insert(place);
            }
            for effect in entry.what.effects() {
                let Effect::Observe(fact) = effect else { continue };
                let kind = (node_of(&entry.what), variant_name(fact));
                if !seen.contains(&kind) && names(&format!("{fact:?}")) {
                    sides.insert(place);
                    seen.insert(kind);
                }
            }
        }
        sides
    }
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|it| it.is_ascii_digit())
}

/// Whether a text has this word.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric()).any(|it| it == word)
}

/// The words of a text that name something: those with a digit, but for nodes.
fn words(text: &str, out: &mut BTreeSet<String>) {
    for word in text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'))) {
        let word = word.trim_matches(['.', '-']);
        let is_node = word.strip_prefix('n').is_some_and(|rest| !rest.is_empty() && is_number(rest));
        if word.bytes().any(|it| it.is_ascii_digit()) && !is_node {
            out.insert(word.into());
        }
    }
}

/// A timer that fires now, in words; in a run without a clock by the turn in which it was armed.
pub fn describe_armed(armed: Armed, now: Duration, turn: Option<u64>) -> String {
    let Delay { min, max } = armed.delay;
    let delay = if min == max { span(min) } else { format!("{} to {}", span(min), span(max)) };
    match turn {
        Some(0) => format!("set at the beginning, for {delay}"),
        Some(turn) => format!("set in step {turn}, for {delay}"),
        None => format!("set {} ago, for {delay}", span(now.saturating_sub(armed.at))),
    }
}

/// A duration with as many digits as anybody reads.
pub fn span(it: Duration) -> String {
    let (number, unit) = match it.as_nanos() {
        0 => return "0 s".into(),
        1..1_000_000 => (it.as_secs_f64() * 1e6, "µs"),
        1_000_000..1_000_000_000 => (it.as_secs_f64() * 1e3, "ms"),
        _ => (it.as_secs_f64(), "s"),
    };
    let decimals = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    let text = format!("{number:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}

/// What differs between two states of a node, in one line; nothing if nothing does.
pub fn difference<N: Node>(before: &N, after: &N) -> String {
    if before == after {
        return String::new();
    }
    let [before, after] = [before, after].map(|node| format!("{node:?}"));
    changes::describe(&changes::between(&read(&before), &read(&after)), &Words::new()).join("; ")
}

/// Lines of changes for a story, each of so many signs at most, unless one change takes more.
pub fn changes_in_lines(changes: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for change in changes {
        match lines.last_mut() {
            Some(line) if line.chars().count() + change.chars().count() + 2 <= width => {
                line.push_str("; ");
                line.push_str(change);
            }
            Some(_) | None => lines.push(change.clone()),
        }
    }
    lines
}
