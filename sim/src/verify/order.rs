//! One history of many clocks. Each recording has the times of its own node. They are merged by time, except
//! that **a message is received after it was sent** for the first time, as far as the recordings show (Lamport,
//! *Time, Clocks, and the Ordering of Events in a Distributed System*, CACM 1978): what a slow clock puts
//! earlier is moved behind its cause.
//!
//! A process that is killed loses the last moments of its recording, so a message may have been received that
//! no recording shows being sent. What was durable by then is known again when its sender boots: so such a
//! message is received **after the sender's next boot**. If there is none, the sender's recording ends before
//! the receiver's: from there on the receiver's history is *beyond* what can be judged.

use std::collections::BTreeMap;

use coalmine_core::codec::recording::{Did, Step, Took};
use coalmine_core::node::{Event, Node, NodeId};

use super::tapes::{Piece, Tape, What};

/// A piece of a tape: which tape, which piece, and when, by a clock that knows that causes come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which tape.
    pub tape: usize,
    /// Which piece of it.
    pub piece: usize,
    /// When.
    pub at: u64,
}

/// All pieces, in an order in which they may have happened.
#[derive(Debug)]
pub struct Order {
    /// One history of all nodes.
    pub history: Vec<Place>,
    /// What of each tape is beyond it.
    pub beyond: Vec<Place>,
}

/// What must come before a piece.
#[derive(Clone, Copy, Debug)]
enum Cause {
    /// Only what is before it on its tape.
    None,
    /// This piece of that tape.
    Piece(usize, usize),
    /// Something that no recording holds.
    Missing,
}

/// See the module's head.
pub fn in_order<N: Node>(tapes: &[Tape<N>]) -> Order {
    let causes = causes(tapes);
    let mut times: Vec<Vec<u64>> = tapes.iter().map(|_| Vec::new()).collect();
    let mut history = Vec::new();
    loop {
        let blocked = blocked(tapes, &causes, &times);
        let next = tapes.iter().enumerate().filter(|(tape, _)| !blocked[*tape]).filter_map(|(tape, it)| {
            let piece = times[tape].len();
            let at = it.pieces.get(piece)?.at().max(times[tape].last().copied().unwrap_or(0));
            let sent = match causes[tape][piece] {
                Cause::Piece(sender, number) => Some(times[sender].get(number).copied()),
                Cause::None | Cause::Missing => None,
            };
            Some(match sent {
                None => (false, at, tape, piece),
                Some(Some(sent)) => (false, at.max(sent + 1), tape, piece),
                // It waits for its cause. If all wait for each other, some sends were never recorded.
                Some(None) => (true, at, tape, piece),
            })
        });
        let Some((_, at, tape, piece)) = next.min() else { break };
        times[tape].push(at);
        history.push(Place { tape, piece, at });
    }
    let rest = |(tape, it): (usize, &Tape<N>)| {
        let last = times[tape].last().copied().unwrap_or(0);
        let pieces = times[tape].len()..it.pieces.len();
        pieces.map(move |piece| Place { tape, piece, at: last }).collect::<Vec<_>>()
    };
    let beyond = tapes.iter().enumerate().flat_map(rest).collect();
    Order { history, beyond }
}

/// Which tapes can never go on: what their next piece waits for is missing, or on a tape that cannot.
fn blocked<N: Node>(tapes: &[Tape<N>], causes: &[Vec<Cause>], times: &[Vec<u64>]) -> Vec<bool> {
    let mut blocked = vec![false; tapes.len()];
    loop {
        let before = blocked.clone();
        for tape in 0..tapes.len() {
            blocked[tape] |= match causes[tape].get(times[tape].len()) {
                Some(Cause::Missing) => true,
                Some(&Cause::Piece(sender, number)) => blocked[sender] && times[sender].len() <= number,
                Some(Cause::None) | None => false,
            };
        }
        if blocked == before {
            return blocked;
        }
    }
}

fn causes<N: Node>(tapes: &[Tape<N>]) -> Vec<Vec<Cause>> {
    let tape_of: BTreeMap<NodeId, usize> = tapes.iter().enumerate().map(|(i, it)| (it.node, i)).collect();
    let mut first_sent: BTreeMap<(usize, NodeId, &N::Message), usize> = BTreeMap::new();
    for (tape, it) in tapes.iter().enumerate() {
        for (number, piece) in it.pieces.iter().enumerate() {
            let What::Step(step) = &piece.what else { continue };
            for did in &step.did {
                if let Did::Send { to, message } = did {
                    first_sent.entry((tape, *to, message)).or_insert(number);
                }
            }
        }
    }
    let boots: Vec<Vec<(usize, u64)>> = tapes.iter().map(boots).collect();
    let cause = |tape: &Tape<N>, piece: &Piece<N>| {
        let What::Step(Step { took: Took::Event(Event::Message { from, message }), at, .. }) = &piece.what
        else {
            return Cause::None;
        };
        let Some(&sender) = tape_of.get(from).filter(|_| *from != tape.node) else { return Cause::None };
        let sent = first_sent.get(&(sender, tape.node, message)).copied();
        let boot = || boots[sender].iter().find(|(_, booted)| booted >= at).map(|&(number, _)| number);
        match sent.or_else(boot) {
            Some(number) => Cause::Piece(sender, number),
            None => Cause::Missing,
        }
    };
    tapes.iter().map(|tape| tape.pieces.iter().map(|piece| cause(tape, piece)).collect()).collect()
}

/// Where a node boots, and when.
fn boots<N: Node>(tape: &Tape<N>) -> Vec<(usize, u64)> {
    let boot = |(number, piece): (usize, &Piece<N>)| match &piece.what {
        What::Step(Step { took: Took::Boot { .. }, at, .. }) => Some((number, *at)),
        What::Step(_) | What::Part { .. } | What::Gap(_) => None,
    };
    tape.pieces.iter().enumerate().filter_map(boot).collect()
}

impl<N: Node> Piece<N> {
    fn at(&self) -> u64 {
        match &self.what {
            What::Step(step) => step.at,
            What::Part { .. } | What::Gap(_) => 0, // as soon as what is before it has happened
        }
    }
}
