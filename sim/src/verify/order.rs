//! The longest history that is a run.
//!
//! **What is judged is a run by itself**: it needs nothing that is not recorded. Each node boots for the first time
//! from an empty disk, and after a crash from a journal that its life before, as far as it is recorded, may have
//! left; each message that arrives was sent before, by a step that is part of the history. Such a history, ordered
//! in any way that keeps causes before their effects, is a run of these nodes: the network may lose, delay and
//! double messages, a node may stand still or crash at any moment, clients may ask anything, and all of that is in
//! the contract of a [node](coalmine_core::node). What is missing from the recordings makes it another run than the one
//! that took place, one in which a node stood still where its recording ends. But what an invariant promises, it
//! promises for *every* run. So **an invariant that it breaks is violated, whatever the gaps hold**: nodes that are
//! correct cannot be accused by recordings that are incomplete.
//!
//! All else is *beyond* the history, and not judged: a boot from records that nobody saw written, a message that
//! no recording shows being sent, and whatever follows from these.
//!
//! One thing in a run is not free: a wipe. Systems survive lost disks only so many at a time, and what a gap holds
//! may be how a node recovered from one. So no wipe is part of the history after a gap, except the one that the
//! gap's own node ends with: what it did last is gone with its disk.
//!
//! Each recording has the times of its own node. Histories are merged by time, except that a message is received
//! after it was sent for the first time, as far as the recordings show (Lamport, *Time, Clocks, and the Ordering of
//! Events in a Distributed System*, CACM 1978): what a slow clock puts earlier is moved behind its cause.

use std::collections::BTreeMap;

use coalmine_core::codec::recording::{Did, Step, Took};
use coalmine_core::node::{Event, Node, NodeId};

use super::lives::{Heritage, heritage};
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

/// All pieces.
#[derive(Debug)]
pub struct Order {
    /// One history of all nodes.
    pub history: Vec<Place>,
    /// What of each tape is beyond it.
    pub beyond: Vec<Place>,
    /// Why a tape goes on beyond it: for the first such piece of each.
    pub why: Vec<(Place, String)>,
}

/// What must come before a piece.
#[derive(Clone, Debug)]
enum Cause {
    /// Only what is before it on its tape.
    None,
    /// This piece of that tape.
    Piece(usize, usize),
    /// No gap but its own node's last: its disk is new.
    Whole,
    /// Something that no recording holds.
    Missing(String),
}

/// See the module's head.
pub fn in_order<N: Node>(tapes: &[Tape<N>]) -> Order {
    let causes = causes(tapes);
    let mut times: Vec<Vec<u64>> = tapes.iter().map(|_| Vec::new()).collect();
    let mut history = Vec::new();
    // All gaps so far, as (tape, piece).
    let mut gaps = Vec::new();
    loop {
        let ready = tapes.iter().enumerate().filter_map(|(tape, it)| {
            let piece = times[tape].len();
            let at = it.pieces.get(piece)?.at().max(times[tape].last().copied().unwrap_or(0));
            match &causes[tape][piece] {
                Cause::None => Some((at, tape, piece)),
                &Cause::Piece(sender, number) => {
                    let sent = times[sender].get(number)?;
                    Some((at.max(sent.saturating_add(1)), tape, piece))
                }
                Cause::Whole => {
                    let mut steps = it.pieces[..piece].iter();
                    let last = steps.rposition(|piece| matches!(piece.what, What::Step(_)));
                    let is_its_last = |&(other, gap): &(usize, usize)| other == tape && Some(gap) > last;
                    gaps.iter().all(is_its_last).then_some((at, tape, piece))
                }
                Cause::Missing(_) => None,
            }
        });
        let Some((at, tape, piece)) = ready.min() else { break };
        times[tape].push(at);
        history.push(Place { tape, piece, at });
        if matches!(tapes[tape].pieces[piece].what, What::Gap { .. }) {
            gaps.push((tape, piece));
        }
    }
    let rest = |(tape, it): (usize, &Tape<N>)| {
        let last = times[tape].last().copied().unwrap_or(0);
        (times[tape].len()..it.pieces.len()).map(move |piece| Place { tape, piece, at: last })
    };
    let beyond: Vec<_> = tapes.iter().enumerate().flat_map(rest).collect();
    let first = |place: &&Place| place.piece == times[place.tape].len();
    let why = |place: &Place| (*place, why(tapes, &causes[place.tape][place.piece]));
    Order { why: beyond.iter().filter(first).map(why).collect(), history, beyond }
}

/// Why a piece is beyond the history.
fn why<N: Node>(tapes: &[Tape<N>], cause: &Cause) -> String {
    match cause {
        Cause::None => "what is before it is not judged".into(),
        &Cause::Piece(sender, number) => {
            let Piece { file, line, .. } = &tapes[sender].pieces[number];
            format!("it takes a message that was sent in {file}: line {line}, which is not judged")
        }
        Cause::Whole => "its disk is new, and what is missing of others may matter to that".into(),
        Cause::Missing(why) => why.clone(),
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
    let of_message = |to: NodeId, from: NodeId, message: &N::Message| {
        let Some(&sender) = tape_of.get(&from) else {
            return Cause::Missing(format!("it takes a message from {from}, of which there is no recording"));
        };
        match first_sent.get(&(sender, to, message)) {
            Some(&number) => Cause::Piece(sender, number),
            None => Cause::Missing(format!("it takes a message that no recording shows {from} sending")),
        }
    };
    let of_boot = |heritage: &Heritage| match heritage {
        // What is impossible is told when it is executed again.
        Heritage::Follows | Heritage::Impossible(_) => Cause::None,
        Heritage::New => Cause::Whole,
        Heritage::Unknown(why) => Cause::Missing(why.clone()),
    };
    let of_tape = |tape: &Tape<N>| {
        let heritage = heritage(tape);
        let cause = |(number, piece): (usize, &Piece<N>)| match &piece.what {
            What::Step(Step { took: Took::Event(Event::Message { from, message }), .. }) => {
                of_message(tape.node, *from, message)
            }
            What::Step(Step { took: Took::Boot { .. }, .. }) => of_boot(&heritage[&number]),
            What::Step(_) | What::Part { .. } | What::Gap { .. } => Cause::None,
        };
        tape.pieces.iter().enumerate().map(cause).collect()
    };
    tapes.iter().map(of_tape).collect()
}

impl<N: Node> Piece<N> {
    fn at(&self) -> u64 {
        match &self.what {
            What::Step(step) => step.at,
            What::Part { .. } | What::Gap { .. } => 0, // as soon as what is before it has happened
        }
    }
}
