//! Paths of files among the worlds: what an action is in a file, and which action a step of a file means.

use std::collections::BTreeSet;
use std::fmt::Write;

use coalmine_core::node::{Node, NodeId};

use super::{Action, Ask, CrashPoint, Kept, Packet, Rules, Step, Transition, World};
use crate::files::path::{HOW, Happens, How, PathStep};
use crate::spec::data::Piece;
use crate::spec::system::{NodeOf, Operation, System};

/// How many of the things that were possible an error names.
const TOLD: usize = 12;

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
                Step::Ask(ask) => {
                    let id = Piece(rules.requests[ask.index].id);
                    Happens::Ask { to: ask.to, id, request: Piece(ask.request.clone()) }
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
                return Err(format!("{}: this cannot happen here", rules.describe(&boot)));
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
            let told = rules.describe(&wanted);
            let why = why_not(rules, &world, &wanted);
            return Err(at(format!(
                "{told}: this cannot happen here. {why}{}",
                describe_possible(rules, &possible)
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
            let is_step = match (step, s) {
                // Whether its client was sent there follows from what happened before.
                (Step::Ask(ask), Step::Ask(wanted)) => Ask { sent_on: false, ..ask.clone() } == *wanted,
                _ => step == s,
            };
            fits && is_step && (place, crash) == (p, x)
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
            let is_it = |it: &Operation<NodeOf<S>>| {
                let is_plain = (it.to, &it.request) == (*to, &request.0);
                it.id == *id && (is_plain || S::SESSIONS && (S::FOLLOWS_UP || it.request == request.0))
            };
            let index = rules.requests.iter().position(is_it);
            let index = index.ok_or_else(|| format!("no client of this model asks {to} this as {id}"))?;
            let ask = Ask { index, to: *to, request: request.0.clone(), sent_on: false };
            (member(to)?, Step::Ask(ask))
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

fn describe_possible<S: System>(rules: &Rules<S>, possible: &[Transition<S>]) -> String {
    let within = |action: &Action<_>| matches!(action, Action::Step { crash: Some(_), .. });
    let (crashes, others): (Vec<_>, Vec<_>) = possible.iter().partition(|there| within(&there.action));
    let told: Vec<_> = others.iter().chain(&crashes).map(|there| rules.describe(&there.action)).collect();
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
