//! Is there a recording of every member, and are they of one cluster?
//!
//! An invariant is about all members. Who is one, no recording says: a real cluster may be larger or smaller than the
//! system that its invariants are written for. But nodes speak of each other. Whoever sends or is sent something is a
//! member, and so is whoever the system knows by name.

use std::collections::{BTreeMap, BTreeSet};

use coalmine_core::codec::recording::{Did, Took};
use coalmine_core::node::{Event, Node, NodeId};

use super::tapes::{Tape, What};

/// Why these are not known to be the recordings of all members of one cluster.
pub fn incomplete<N: Node>(tapes: &[Tape<N>], known: &BTreeSet<NodeId>) -> Option<String> {
    let recorded: BTreeSet<_> = tapes.iter().map(|tape| tape.node).collect();
    let mut knows: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
    for tape in tapes {
        for other in others(tape) {
            if !recorded.contains(&other) {
                return Some(format!("there is no recording of {other}, whom {} knows", tape.node));
            }
            knows.entry(tape.node).or_default().insert(other);
            knows.entry(other).or_default().insert(tape.node);
        }
    }
    let mut found = BTreeSet::new();
    let mut to_ask: Vec<_> = recorded.first().copied().into_iter().collect();
    while let Some(node) = to_ask.pop() {
        if found.insert(node) {
            to_ask.extend(knows.get(&node).into_iter().flatten());
        }
    }
    let stranger = recorded.difference(&found).find(|node| !known.contains(node))?;
    Some(format!("nothing shows that {stranger} is of one cluster with the others"))
}

/// Whom a node sends something, or hears of.
fn others<N: Node>(tape: &Tape<N>) -> BTreeSet<NodeId> {
    let mut others = BTreeSet::new();
    for piece in &tape.pieces {
        let What::Step(step) = &piece.what else { continue };
        if let Took::Event(Event::Message { from, .. }) = &step.took {
            others.insert(*from);
        }
        for did in &step.did {
            if let Did::Send { to, .. } = did {
                others.insert(*to);
            }
        }
    }
    others
}
