//! Paths as files: what happened on the way to a state of a model, step by step. A counterexample of the checker
//! is saved as one, and is a capsule like any other: it names the verdict that it must give, and replays.
//!
//! A plan says what happens *when*, and a seed decides the rest. A path leaves nothing open: it says which
//! packet is delivered next, which timer fires next, and where in a step a crash falls. So it needs no seed and
//! no clock.
//!
//! ```toml
//! about = "promises-kept is violated: n2 promised something about 1.1 and has forgotten it"
//! model = "tickets"
//! verdict = "violated"        # or "not_converged", "panicked": then with `place` and `message`
//! invariant = "promises-kept"
//!
//! [space]                     # what `check` explored: its size, its budgets
//! nodes = 3
//! crashes = 1
//!
//! # 1. n1 → n2: PREPARE_REQ 1.1: v1 (v2 100%), and crashes after 1 of its effects
//! [[steps]]
//! deliver = { from = 1, to = 2, message = { … } }
//! crash_after = 1             # of the effects of this step
//!
//! # 2. n2 starts
//! [[steps]]
//! boot = { node = 2 }
//! ```
//!
//! A path that begins with a `boot` tells how every member has booted. Any other begins where all have, in order, each
//! choosing 0 whenever it was asked.
//!
//! Besides there are `fire` (a timer), `ask` (a client), `flush` (a disk makes its next record durable), `drop`,
//! `crash`, `cut` and `heal`. A crash of either kind may have `keeps`, the number of unsynced records that
//! survive, or `wiped`. A node that [chooses](coalmine_core::node::Context::choose) is answered by `choices`.

use std::fmt::Write;

use coalmine_core::node::{Node, NodeId, RequestId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::files::words;
use crate::spec::data::Piece;
use crate::spec::limits::ModelArgs;
use crate::spec::verdict::Expected;

/// The keys of a step, besides the one that says what happens.
pub(crate) const HOW: [&str; 4] = ["choices", "crash_after", "keeps", "wiped"];

/// A path, as a file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathCapsule<N: Node> {
    /// What it shows, in a sentence.
    pub about: String,
    /// Whose rules it goes by.
    pub model: String,
    /// The size of the model, and its budgets.
    pub space: ModelArgs,
    /// The verdict it must give.
    pub expected: Expected,
    /// What happens.
    pub steps: Vec<PathStep<N>>,
}

/// What a file holds besides its steps.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    #[serde(default)]
    about: String,
    model: String,
    verdict: String,
    #[serde(default)]
    invariant: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    place: Option<String>,
    #[serde(default)]
    space: ModelArgs,
    steps: Vec<Value>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStep<N: Node> {
    /// What happens.
    pub what: Happens<N>,
    /// How it happens.
    pub how: How,
}

/// How a step happens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct How {
    /// What the node is answered when it chooses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<u32>,
    /// The node crashes after so many of the step's effects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crash_after: Option<usize>,
    /// So many unsynced records survive the crash.
    #[serde(skip_serializing_if = "is_default")]
    pub keeps: usize,
    /// Nothing survives the crash.
    #[serde(skip_serializing_if = "is_default")]
    pub wiped: bool,
}

/// Something that happens on a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "", rename_all = "snake_case", deny_unknown_fields)]
pub enum Happens<N: Node> {
    /// A node starts.
    Boot {
        /// Which.
        node: NodeId,
    },
    /// A message arrives.
    Deliver {
        /// Its sender.
        from: NodeId,
        /// Its receiver.
        to: NodeId,
        /// What it says.
        message: Piece<N::Message>,
        /// A copy stays under way.
        #[serde(default, skip_serializing_if = "is_default")]
        copy_stays: bool,
    },
    /// A timer fires.
    Fire {
        /// Whose.
        node: NodeId,
        /// Which.
        timer: Piece<N::Timer>,
    },
    /// A client asks.
    Ask {
        /// Whom.
        to: NodeId,
        /// The request's name.
        id: Piece<RequestId>,
        /// What is asked.
        request: Piece<N::Request>,
    },
    /// The next unsynced record becomes durable.
    Flush {
        /// Whose.
        node: NodeId,
    },
    /// A message is lost.
    Drop {
        /// Its sender.
        from: NodeId,
        /// Its receiver.
        to: NodeId,
        /// What it says.
        message: Piece<N::Message>,
    },
    /// A node crashes between two steps.
    Crash {
        /// Which.
        node: NodeId,
    },
    /// A link is cut.
    Cut {
        /// From whom nothing arrives any more.
        from: NodeId,
        /// At whom.
        to: NodeId,
        /// Whether the other direction is cut, too.
        both_ways: bool,
    },
    /// A link is mended.
    Heal {
        /// From whom messages arrive again.
        from: NodeId,
        /// At whom.
        to: NodeId,
    },
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl<N: Node> PathStep<N> {
    fn parse(value: Value) -> Result<Self, String> {
        let Value::Object(all) = value else { return Err("is not a table".into()) };
        let is_how = |(key, _): &(String, Value)| HOW.contains(&key.as_str());
        let (how, what): (Map<_, _>, Map<_, _>) = all.into_iter().partition(is_how);
        if what.len() != 1 {
            let keys: Vec<_> = what.keys().map(String::as_str).collect();
            return Err(format!(
                "must say one thing that happens, such as `deliver`; it says {}",
                if keys.is_empty() { "none".into() } else { keys.join(", ") }
            ));
        }
        let what = at_place(Value::Object(what))?;
        let how = at_place(Value::Object(how))?;
        Ok(Self { what, how })
    }
}

/// What a part of a file says. Errors name the place in it.
fn at_place<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|why| match why.path().iter().next() {
        Some(_) => format!("{}: {}", why.path(), why.inner()),
        None => why.inner().to_string(),
    })
}

impl<N: Node> PathCapsule<N> {
    /// What a file holds. Errors name the step.
    pub fn parse(value: Value) -> Result<Self, String> {
        let Head { about, model, verdict, invariant, message, place, space, steps } = at_place(value)?;
        let parse = |(place, step)| PathStep::parse(step).map_err(|why| format!("step {}: {why}", place + 1));
        let steps = steps.into_iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        let expected = Expected { verdict, invariant, message, place };
        expected.check()?;
        Ok(Self { about, model, space, expected, steps })
    }

    /// As TOML, each step with a comment that tells it.
    pub fn to_toml(&self, told: &[String]) -> String {
        let mut out = String::new();
        words::key(&mut out, "about", &self.about);
        words::key(&mut out, "model", &self.model);
        words::expected(&mut out, &self.expected);
        let lines = |of: Result<String, _>| of.expect("plain fields always print");
        let _ = write!(out, "\n[space]\n{}", lines(toml::to_string(&self.space)));
        for (place, step) in self.steps.iter().enumerate() {
            let told = told.get(place).map_or(String::new(), |told| told.replace(char::is_control, " "));
            let what = words::entries(&step.what);
            let _ = write!(out, "\n# {}. {told}\n[[steps]]\n{what}\n", place + 1);
            out += &lines(toml::to_string(&step.how));
        }
        out
    }
}
