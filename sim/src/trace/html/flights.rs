//! Messages under way: which send arrived where, and what became of those that did not. A trace numbers its
//! sends, and says of all that arrives, and of all that the network touches, which one it is.

use std::collections::BTreeSet;

use super::page::{End, Flight, Touch, TouchKind};
use crate::trace::Fate;

/// Messages, requests and answers.
#[derive(Default)]
pub struct Flights {
    /// Messages are under way whatever becomes of the two ends, until they are delivered or lost: so it is in
    /// the checker's world. Otherwise they go down with a connection.
    pub outlive_nodes: bool,
    /// All of them.
    pub all: Vec<Flight>,
    /// The place of each numbered send.
    numbered: Vec<usize>,
    /// Of those, what has not arrived or been lost.
    under_way: BTreeSet<usize>,
}

impl Flights {
    /// The next numbered send sets out.
    pub fn sent(&mut self, receiver_is_up: bool, flight: Flight) -> usize {
        let place = self.all.len();
        let will_arrive = receiver_is_up || self.outlive_nodes;
        self.all.push(Flight { end: if will_arrive { End::Unknown } else { End::ReceiverDown }, ..flight });
        self.numbered.push(place);
        self.under_way.insert(place);
        place
    }

    /// The network has done something to the send of this number, at this step.
    pub fn touched(&mut self, send: Option<u64>, fate: Fate, step: usize) -> Option<usize> {
        let place = self.place(send)?;
        let Some(what) = kind_of(fate) else { return Some(place) };
        let flight = &mut self.all[place];
        flight.touches.push(Touch { step, what });
        let copies = flight.touches.iter().any(|touch| touch.what == TouchKind::Doubled).into();
        let gone = |touch: &&Touch| matches!(touch.what, TouchKind::Lost | TouchKind::CutOff);
        let gone = flight.touches.iter().filter(gone).count() + flight.received.len();
        if flight.received.is_empty() {
            match what {
                TouchKind::Lost if fate == Fate::NobodyThere => flight.end = End::ReceiverDown,
                TouchKind::Lost => flight.end = End::Lost,
                TouchKind::CutOff => flight.end = End::CutOff,
                TouchKind::HeldBack | TouchKind::Clogged | TouchKind::Doubled => {}
            }
        }
        if gone > copies {
            self.under_way.remove(&place);
        }
        Some(place)
    }

    /// The send of this number has arrived, at this step.
    pub fn received(&mut self, send: Option<u64>, step: usize) -> Option<usize> {
        let place = self.place(send)?;
        let flight = &mut self.all[place];
        flight.received.push(step);
        flight.end = End::Arrived;
        self.under_way.remove(&place);
        Some(place)
    }

    /// The node of this lane is down: what was under way to it will not arrive, nor what had not left it yet.
    pub fn down(&mut self, lane: usize) {
        if self.outlive_nodes {
            return;
        }
        for place in std::mem::take(&mut self.under_way) {
            let flight = &mut self.all[place];
            match lane {
                lane if lane == flight.to => flight.end = End::ReceiverDown,
                lane if lane == flight.from => flight.end = End::SenderDown,
                _ => drop(self.under_way.insert(place)),
            }
        }
    }

    fn place(&self, send: Option<u64>) -> Option<usize> {
        self.numbered.get(usize::try_from(send?).ok()?).copied()
    }
}

/// What the page shows of it; nothing if the frame was not touched.
fn kind_of(fate: Fate) -> Option<TouchKind> {
    match fate {
        Fate::Passes => None,
        Fate::Lost | Fate::LostInReset | Fate::NobodyThere => Some(TouchKind::Lost),
        Fate::CutOff => Some(TouchKind::CutOff),
        Fate::Doubled => Some(TouchKind::Doubled),
        Fate::Clogged => Some(TouchKind::Clogged),
        Fate::HeldBack => Some(TouchKind::HeldBack),
    }
}
