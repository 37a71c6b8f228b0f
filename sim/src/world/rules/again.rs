//! Steps taken twice. A node is deterministic: the same step from the same place goes the same ways whenever it is
//! taken. All that a search says rests on that, most of all that it runs each step once and looks it up from then on.
//!
//! So some steps are taken twice, and what came of them is compared: the first [`FIRST`] runs of a node, then each
//! [`EACH`]th. That is a spot check: a node that differs rarely may pass it. Whatever is
//! found besides is walked again before it is told. And where a node chooses, it must be asked the same by each script
//! up to where the scripts part, which is looked at always.
//!
//! A step may go in so many [`MOST_WAYS`]; each is tried, and a node that chooses among millions makes no space that
//! anybody could search.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use coalmine_core::node::{Effect, Node};
use serde::Serialize;

use super::steps::{MOST_WAYS, Ran, describe_asked};
use super::{Action, Rules, Step};
use crate::panics::catch;
use crate::spec::system::{NodeOf, System};
use crate::trace::text::{describe_effect, thousands};

/// So many runs of nodes are all done twice.
const FIRST: u64 = 1_000;
/// After them one in so many.
const EACH: u64 = 64;
/// How many characters of a state are told.
const TOLD: usize = 200;

/// Something that came out differently when it was done again: a node, or what judges it, is not deterministic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parted {
    /// What was done again.
    pub what: String,
    /// What came of it.
    pub once: String,
    /// What came of it another time.
    pub again: String,
    /// What had happened before, in order, if that is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
}

impl fmt::Display for Parted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, once, again, after } = self;
        write!(
            f,
            "not deterministic, so nothing is known: {what}\n      once:  {once}\n      again: {again}"
        )?;
        if after.is_empty() {
            return Ok(());
        }
        write!(f, "\n    after:\n      {}", after.join("\n      "))
    }
}

/// What was found of steps that were taken twice, or in too many ways.
#[derive(Default)]
pub(crate) struct Again {
    runs: AtomicU64,
    /// Whether every step is to be taken twice from now on.
    is_suspicious: AtomicBool,
    /// Whether stateright searches, and does not only look for its way to what it has found.
    is_searched: AtomicBool,
    parted: OnceLock<Parted>,
    too_many: OnceLock<String>,
}

impl Again {
    /// Whether this run is one that is done twice.
    pub(super) fn is_asked(&self) -> bool {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        number < FIRST || number.is_multiple_of(EACH) || self.is_suspicious.load(Ordering::Relaxed)
    }
}

impl<S: System> Rules<S> {
    /// The first step that went other ways when it was taken again.
    pub fn parted(&self) -> Option<&Parted> {
        self.again.parted.get()
    }

    /// The first step that may go in more than [`MOST_WAYS`].
    pub(crate) fn too_many_ways(&self) -> Option<&str> {
        self.again.too_many.get().map(String::as_str)
    }

    /// Whether a search has nothing more to find: what it looks up is not to be relied upon, or has no end.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.parted().is_some() || self.too_many_ways().is_some()
    }

    /// stateright begins or ends its search.
    pub(crate) fn is_searched(&self, is_searched: bool) {
        self.again.is_searched.store(is_searched, Ordering::Relaxed);
    }

    /// Whether stateright, which cannot be told to stop, is to see nothing more that follows.
    pub(crate) fn is_over(&self) -> bool {
        self.again.is_searched.load(Ordering::Relaxed) && self.is_in_doubt()
    }

    /// From now on every step is taken twice.
    pub(crate) fn suspect(&self) {
        self.again.is_suspicious.store(true, Ordering::Relaxed);
    }

    pub(super) fn goes_too_many_ways(&self, place: usize, step: &Step<NodeOf<S>>) {
        let step = self.describe_step(place, step, &[]);
        let most = thousands(MOST_WAYS as u64);
        let why = format!(
            "{step}: one step that may go in more than {most} ways, by what is chosen in it and where it crashes; \
             each of them is tried, so let it choose among fewer"
        );
        let _ = self.again.too_many.set(why); // the first is as good as any
    }

    /// Of all ways to boot a list is made, where stateright is to search.
    pub(super) fn boots_in_too_many_ways(&self) {
        let most = thousands(MOST_WAYS as u64);
        let why = format!("there are more than {most} ways to boot: let the members choose among fewer");
        let _ = self.again.too_many.set(why);
    }

    /// Takes a step a second time, and compares.
    pub(super) fn compare(
        &self,
        place: usize,
        step: &Step<NodeOf<S>>,
        choices: &[u32],
        once: &Ran<NodeOf<S>>,
        again: Option<&Ran<NodeOf<S>>>,
    ) {
        let told = match again {
            Some(again) if once == again => return,
            Some(again) => catch(|| differences(once, again)).unwrap_or_else(|panic| {
                ("something".into(), format!("something else; to tell what, it {panic}"))
            }),
            None => ("it was taken".into(), "nobody was there to take it".into()),
        };
        self.differs(place, step, choices, told);
    }

    pub(super) fn differs(
        &self,
        place: usize,
        step: &Step<NodeOf<S>>,
        choices: &[u32],
        (once, again): (String, String),
    ) {
        let what = self.describe_step(place, step, choices);
        let _ = self.again.parted.set(Parted { what, once, again, after: Vec::new() });
    }

    fn describe_step(&self, place: usize, step: &Step<NodeOf<S>>, choices: &[u32]) -> String {
        let choices = choices.to_vec();
        self.describe(&Action::Step { place, step: step.clone(), choices, crash: None })
    }
}

/// Where two runs of a step part first.
fn differences<N: Node>(once: &Ran<N>, again: &Ran<N>) -> (String, String) {
    if let (Some(once), Some(again)) = (&once.slot.panic, &again.slot.panic)
        && once != again
    {
        return (format!("it {once}"), format!("it {again}"));
    }
    if once.slot.panic.is_some() || again.slot.panic.is_some() {
        let told = |ran: &Ran<N>| ran.slot.panic.as_ref().map(|panic| format!("it {panic}"));
        let fine = || "it did not panic".to_owned();
        return (told(once).unwrap_or_else(fine), told(again).unwrap_or_else(fine));
    }
    if once.asked != again.asked {
        return describe_asked(&once.asked, &again.asked);
    }
    if let Some(number) = (0..once.effects.len().max(again.effects.len()))
        .find(|&it| once.effects.get(it) != again.effects.get(it))
    {
        let told = |effects: &[Effect<N>]| match effects.get(number) {
            None => format!("no more than {number} effects"),
            Some(effect) => {
                let told = describe_effect(effect).unwrap_or_else(|| format!("{effect:?}"));
                format!("effect {}: {}", number + 1, shortened(&told, 0))
            }
        };
        return (told(&once.effects), told(&again.effects));
    }
    let (a, b) = (format!("{:?}", once.slot), format!("{:?}", again.slot));
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    if a == b {
        return ("a state".into(), "another state, which looks the same".into());
    }
    (format!("its state: {}", shortened(&a, same)), format!("its state: {}", shortened(&b, same)))
}

/// The part of a text in which it differs.
fn shortened(text: &str, same: usize) -> String {
    let from = same.saturating_sub(TOLD / 2);
    let part: String = text.chars().skip(from).take(TOLD).collect();
    let before = if from > 0 { "…" } else { "" };
    let after = if text.chars().nth(from + TOLD).is_some() { "…" } else { "" };
    format!("{before}{part}{after}")
}
