//! Paths as files: what happened on the way to a state of a model, step by step. A counterexample of the checker
//! is saved as one, and is a capsule like any other: it names the verdict that it must give, and replays.
//!
//! A plan says what happens *when*, and a seed decides the rest. A path leaves nothing open: it says which
//! packet is delivered next, which timer fires next, and where in a step a crash falls. So it needs no seed and
//! no clock.
//!
//! ```toml
//! about = "promises-kept is violated: n2 promised something about 1.1 and has forgotten it"
//! model = "rollout"
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

use std::collections::BTreeSet;
use std::fmt::Write;

use coalmine_core::node::{Data, Node, NodeId, RequestId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::capsule::{Expected, without_nulls};
use crate::suite::ModelArgs;
use crate::system::{NodeOf, System};
use crate::world::{Action, CrashPoint, Kept, Packet, Rules, Step, Transition, World};

/// The keys of a step, besides the one that says what happens.
const HOW: [&str; 4] = ["choices", "crash_after", "keeps", "wiped"];

/// How many of the things that were possible an error names.
const TOLD: usize = 12;

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

/// A piece of a node's vocabulary, as data. What TOML has no words for is JSON in a string, and so is a number that
/// JavaScript would round: half of all seeds and ids are beyond 2^53.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<T>(pub T);

impl<T: Data> Serialize for Piece<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        piece::serialize(&self.0, serializer)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Piece<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        piece::deserialize(deserializer).map(Self)
    }
}

/// The same for a field that is no [`Piece`]: `#[serde(with = "piece")]`.
pub mod piece {
    use serde::{de, ser};

    use super::{
        Data, Deserialize, DeserializeOwned, Deserializer, Serialize, Serializer, Value, without_nulls,
    };

    /// As data that TOML has words for.
    pub fn serialize<T: Data, S: Serializer>(piece: &T, serializer: S) -> Result<S::Ok, S::Error> {
        let json = serde_json::to_value(piece).map_err(ser::Error::custom)?;
        let plain = without_nulls(json.clone());
        let means_the_same = is_exact(&plain)
            && toml::Value::try_from(&plain).is_ok()
            && serde_json::from_value::<T>(plain.clone()).is_ok_and(|it| it == *piece);
        if means_the_same { plain.serialize(serializer) } else { json.to_string().serialize(serializer) }
    }

    /// Whether all readers of JSON read the same: many have no numbers but those with 53 binary digits.
    fn is_exact(value: &Value) -> bool {
        const MOST: u64 = 1 << 53;
        match value {
            Value::Number(number) if number.is_f64() => true,
            Value::Number(number) => number
                .as_u64()
                .or_else(|| number.as_i64().map(i64::unsigned_abs))
                .is_some_and(|magnitude| magnitude <= MOST),
            Value::Array(items) => items.iter().all(is_exact),
            Value::Object(map) => map.values().all(is_exact),
            Value::Null | Value::Bool(_) | Value::String(_) => true,
        }
    }

    /// From data, or JSON in a string.
    pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = value.as_str().map(ToOwned::to_owned);
        let plain = serde_json::from_value(value);
        let piece = plain.or_else(|why| match text {
            Some(text) => serde_json::from_str(&text).map_err(|_| why),
            None => Err(why),
        });
        piece.map_err(de::Error::custom)
    }
}

/// The same for lists: `#[serde(with = "pieces")]`.
pub mod pieces {
    use super::{Data, Deserialize, DeserializeOwned, Deserializer, Piece, Serialize, Serializer};

    /// As data that TOML has words for.
    pub fn serialize<T: Data, S: Serializer>(all: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        all.iter().cloned().map(Piece).collect::<Vec<_>>().serialize(serializer)
    }

    /// From data, or JSON in strings.
    pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        Ok(Vec::<Piece<T>>::deserialize(deserializer)?.into_iter().map(|Piece(it)| it).collect())
    }
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
        let what = serde_json::from_value(Value::Object(what)).map_err(|why| why.to_string())?;
        let how = serde_json::from_value(Value::Object(how)).map_err(|why| why.to_string())?;
        Ok(Self { what, how })
    }
}

impl<N: Node> PathCapsule<N> {
    /// What a file holds. Errors name the step.
    pub fn parse(value: Value) -> Result<Self, String> {
        let Head { about, model, verdict, invariant, message, place, space, steps } =
            serde_json::from_value(value).map_err(|why| why.to_string())?;
        let parse = |(place, step)| PathStep::parse(step).map_err(|why| format!("step {}: {why}", place + 1));
        let steps = steps.into_iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        let expected = Expected { verdict, invariant, message, place };
        expected.check()?;
        Ok(Self { about, model, space, expected, steps })
    }

    /// As TOML, each step with a comment that tells it.
    pub fn to_toml(&self, told: &[String]) -> String {
        let mut out = String::new();
        let Expected { verdict, invariant, message, place } = &self.expected;
        let heads = [("about", &self.about), ("model", &self.model), ("verdict", verdict)];
        let heads = heads.map(|(key, value)| (key, Some(value)));
        let more = [("invariant", invariant), ("place", place), ("message", message)];
        let more = more.map(|(key, value)| (key, value.as_ref()));
        for (key, value) in heads.into_iter().chain(more) {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                let _ = writeln!(out, "{key} = {}", toml::Value::from(value.as_str()));
            }
        }
        let lines = |of: Result<String, _>| of.expect("plain fields always print");
        let _ = write!(out, "\n[space]\n{}", lines(toml::to_string(&self.space)));
        for (place, step) in self.steps.iter().enumerate() {
            let told = told.get(place).map_or(String::new(), |told| told.replace(char::is_control, " "));
            let what = inline(&step.what);
            // The table of one key, without its brackets.
            let what = what.strip_prefix('{').and_then(|what| what.strip_suffix('}')).unwrap_or(&what);
            let _ = write!(out, "\n# {}. {told}\n[[steps]]\n{}\n", place + 1, what.trim());
            out += &lines(toml::to_string(&step.how));
        }
        out
    }
}

/// Something as TOML on one line.
fn inline(value: &impl Serialize) -> String {
    let mut out = String::new();
    let written = value.serialize(toml::ser::ValueSerializer::new(&mut out));
    written.expect("pieces are put into words that TOML has");
    out
}

/// The steps of a path, as a file holds them.
pub fn steps_of<S: System>(rules: &Rules<S>, path: &[Action<NodeOf<S>>]) -> Vec<PathStep<NodeOf<S>>> {
    path.iter().map(|action| step_of(rules, action)).collect()
}

fn step_of<S: System>(rules: &Rules<S>, action: &Action<NodeOf<S>>) -> PathStep<NodeOf<S>> {
    let name = |place: &usize| rules.members[*place].0;
    let mut how = How::default();
    let mut crash = |kept: Kept| match kept {
        Kept::Unsynced(kept) => how.keeps = kept,
        Kept::Nothing => how.wiped = true,
    };
    let what = match action {
        Action::Drop(Packet { from, to, message }) => {
            Happens::Drop { from: *from, to: *to, message: Piece(message.clone()) }
        }
        Action::Crash { place, kept } => {
            crash(*kept);
            Happens::Crash { node: name(place) }
        }
        Action::Cut { from, to, both_ways } => Happens::Cut { from: *from, to: *to, both_ways: *both_ways },
        Action::Heal { from, to } => Happens::Heal { from: *from, to: *to },
        Action::Step { place, step, choices, crash: point } => {
            if let Some(point) = point {
                crash(point.kept);
                how.crash_after = Some(point.after);
            }
            how.choices.clone_from(choices);
            let node = name(place);
            match step {
                Step::Boot => Happens::Boot { node },
                Step::Deliver { packet: Packet { from, to, message }, again } => {
                    let message = Piece(message.clone());
                    Happens::Deliver { from: *from, to: *to, message, copy_stays: *again }
                }
                Step::Fire(timer) => Happens::Fire { node, timer: Piece(timer.clone()) },
                Step::Ask(index) => {
                    let asked = &rules.requests[*index];
                    Happens::Ask { to: asked.to, id: Piece(asked.id), request: Piece(asked.request.clone()) }
                }
                Step::Flush => Happens::Flush { node },
            }
        }
    };
    PathStep { what, how }
}

/// A path that can be walked.
pub struct Way<S: System> {
    /// What happens.
    pub actions: Vec<Action<NodeOf<S>>>,
    /// Which of all that might have happened, at each step, beginning with the boots.
    pub choices: Vec<usize>,
}

/// Finds each step among all that may happen where it is taken. `Err` names the step that may not happen, says
/// why, and what may.
pub fn find<S: System>(rules: &Rules<S>, steps: &[PathStep<NodeOf<S>>]) -> Result<Way<S>, String> {
    let mut way = Way { actions: Vec::new(), choices: Vec::new() };
    let mut possible = Vec::new();
    let mut world = rules.before_boot();
    if !matches!(steps.first(), Some(PathStep { what: Happens::Boot { .. }, .. })) {
        for boot in rules.plain_boots() {
            possible.clear();
            rules.successors(&world, &mut possible);
            let Some(place) = possible.iter().position(|there| is_the_same(&there.action, &boot)) else {
                return Err(format!("{}: this cannot happen here", rules.tell(&boot)));
            };
            way.choices.push(place);
            world = possible.swap_remove(place).next;
        }
    }
    for (number, step) in steps.iter().enumerate() {
        let at = |why: String| format!("step {}: {why}", number + 1);
        let wanted = action_of(rules, step).map_err(at)?;
        possible.clear();
        rules.successors(&world, &mut possible);
        let Some(place) = possible.iter().position(|there| is_the_same(&there.action, &wanted)) else {
            let told = rules.tell(&wanted);
            let why = why_not(rules, &world, &wanted);
            return Err(at(format!(
                "{told}: this cannot happen here. {why}{}",
                tell_possible(rules, &possible)
            )));
        };
        let Transition { action, next } = possible.swap_remove(place);
        way.actions.push(action);
        way.choices.push(place);
        world = next;
    }
    Ok(way)
}

/// Whether a step of a file means this action. The answers to a node's questions may be left out if they are 0.
fn is_the_same<N: Node>(there: &Action<N>, wanted: &Action<N>) -> bool {
    match (there, wanted) {
        (
            Action::Step { place, step, choices, crash },
            Action::Step { place: p, step: s, choices: c, crash: x },
        ) => {
            let fits = c == choices || (c.is_empty() && choices.iter().all(|choice| *choice == 0));
            fits && (place, step, crash) == (p, s, x)
        }
        _ => there == wanted,
    }
}

/// The action that a step of a file means.
fn action_of<S: System>(rules: &Rules<S>, step: &PathStep<NodeOf<S>>) -> Result<Action<NodeOf<S>>, String> {
    let PathStep { what, how } = step;
    let member = |id: &NodeId| {
        let place = rules.members.iter().position(|(member, _)| member == id);
        place.ok_or_else(|| format!("{id} is not a member of this system"))
    };
    let packet = |from: &NodeId, to: &NodeId, message: &Piece<<NodeOf<S> as Node>::Message>| {
        member(from)?;
        member(to)?;
        Ok::<_, String>(Packet { from: *from, to: *to, message: message.0.clone() })
    };
    let kept = if how.wiped { Kept::Nothing } else { Kept::Unsynced(how.keeps) };
    let (place, step) = match what {
        Happens::Drop { from, to, message } => return only(how, Action::Drop(packet(from, to, message)?)),
        Happens::Cut { from, to, both_ways } => {
            member(from).and(member(to))?;
            return only(how, Action::Cut { from: *from, to: *to, both_ways: *both_ways });
        }
        Happens::Heal { from, to } => return only(how, Action::Heal { from: *from, to: *to }),
        Happens::Crash { node } => {
            let rest = How { keeps: 0, wiped: false, ..how.clone() };
            return only(&rest, Action::Crash { place: member(node)?, kept });
        }
        Happens::Boot { node } => (member(node)?, Step::Boot),
        Happens::Flush { node } => (member(node)?, Step::Flush),
        Happens::Fire { node, timer } => (member(node)?, Step::Fire(timer.0.clone())),
        Happens::Deliver { from, to, message, copy_stays } => {
            let packet = packet(from, to, message)?;
            (member(to)?, Step::Deliver { packet, again: *copy_stays })
        }
        Happens::Ask { to, id: Piece(id), request } => {
            let is_it =
                |it: &crate::system::Operation<_>| (it.to, it.id, &it.request) == (*to, *id, &request.0);
            let index = rules.requests.iter().position(is_it);
            let index = index.ok_or_else(|| format!("no client of this model asks {to} this as {id}"))?;
            (member(to)?, Step::Ask(index))
        }
    };
    if how.crash_after.is_none() && (how.keeps > 0 || how.wiped) {
        return Err("`keeps` and `wiped` say what a crash leaves: say `crash_after` as well".into());
    }
    let crash = how.crash_after.map(|after| CrashPoint { after, kept });
    Ok(Action::Step { place, step, choices: how.choices.clone(), crash })
}

/// An action that happens in one way only.
fn only<N: Node>(how: &How, action: Action<N>) -> Result<Action<N>, String> {
    if *how == How::default() {
        return Ok(action);
    }
    Err(format!("{} say how a node takes a step, and here none does", HOW.join(", ")))
}

/// Why an action may not happen in a world.
fn why_not<S: System>(rules: &Rules<S>, world: &World<S>, wanted: &Action<NodeOf<S>>) -> String {
    let is_under_way = |packet: &Packet<_>| world.packets.iter().any(|there| **there == *packet);
    let no_packet = || "No such message is under way. ".to_owned();
    match wanted {
        Action::Drop(packet) if !is_under_way(packet) => no_packet(),
        Action::Step { step: Step::Deliver { packet, .. }, .. } if !is_under_way(packet) => no_packet(),
        Action::Step { place, step, .. } => {
            let (me, slot) = (rules.members[*place].0, &world.slots[*place]);
            match (step, &slot.host) {
                (Step::Boot, Some(_)) => format!("{me} is up already. "),
                (Step::Fire(_) | Step::Ask(_) | Step::Flush, None) => format!("{me} is down. "),
                (Step::Fire(timer), Some(host)) if !host.timers().contains(timer) => {
                    format!("{me} has not armed this timer. ")
                }
                (Step::Flush, Some(_)) if slot.disk.unsynced() == 0 => {
                    format!("All that {me} wrote is durable. ")
                }
                _ => String::new(),
            }
        }
        Action::Crash { place, .. } if world.slots[*place].host.is_none() => {
            format!("{} is down. ", rules.members[*place].0)
        }
        Action::Heal { from, to } if !world.cut.contains(&(*from, *to)) => {
            format!("{from} → {to} is not cut. ")
        }
        Action::Drop(_) | Action::Crash { .. } | Action::Cut { .. } | Action::Heal { .. } => String::new(),
    }
}

fn tell_possible<S: System>(rules: &Rules<S>, possible: &[Transition<S>]) -> String {
    let within = |action: &Action<_>| matches!(action, Action::Step { crash: Some(_), .. });
    let (crashes, others): (Vec<_>, Vec<_>) = possible.iter().partition(|there| within(&there.action));
    let told: Vec<_> = others.iter().chain(&crashes).map(|there| rules.tell(&there.action)).collect();
    // The same words may stand for crashes that leave more or less.
    let mut seen = BTreeSet::new();
    let told: Vec<_> = told.iter().filter(|told| seen.insert(told.as_str())).collect();
    let rest = told.len().saturating_sub(TOLD);
    let mut out = String::from("What can, within the budgets:");
    for told in told.iter().take(TOLD) {
        let _ = write!(out, "\n  {told}");
    }
    if rest > 0 {
        let _ = write!(out, "\n  and {rest} more");
    }
    if told.is_empty() {
        out += " nothing";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TOML's numbers end at half of what a client may call itself.
    #[test]
    fn the_largest_numbers_come_back() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Asked {
            id: Piece<RequestId>,
        }
        for client in [7, u64::MAX] {
            let asked = Asked { id: Piece(RequestId { client, sequence: 1 }) };
            let text = toml::to_string(&asked).expect("every piece can be written");
            assert_eq!(toml::from_str::<Asked>(&text), Ok(asked), "{text}");
        }
    }
}
