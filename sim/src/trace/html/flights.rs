//! Which message that was sent is the one that arrived. A trace does not number messages, so they are matched
//! by sender, receiver and content: the first that was sent is the first that arrives, except for what was
//! held back, and for what is known not to arrive.

use std::collections::BTreeMap;
use std::time::Duration;

use coalmine_core::node::{Node, NodeId};

use super::page::{Fate, Flight, Touch, TouchKind};

/// What is not held back arrives sooner than this, wherever it can be seen to arrive at all. A message that
/// broke with its connection would otherwise be taken for the next one that equals it.
const PROMPT: Duration = Duration::from_millis(250);

/// Messages under way.
pub struct Flights<'a, N: Node> {
    /// All flights so far.
    pub all: Vec<Flight>,
    under_way: BTreeMap<(NodeId, NodeId), Vec<UnderWay<'a, N>>>,
}

struct UnderWay<'a, N: Node> {
    flight: usize,
    message: &'a N::Message,
    sent_at: Duration,
    /// How many copies may still arrive.
    copies: u32,
    held_back: bool,
    /// The network has decided about it.
    touched: bool,
    /// Its receiver was or went down, or its sender did.
    doomed: bool,
    /// One that was sent later has arrived: connections keep the order, so this one was probably lost.
    overtaken: bool,
}

impl<'a, N: Node> Flights<'a, N> {
    /// Nothing is under way.
    pub fn new() -> Self {
        Self { all: Vec::new(), under_way: BTreeMap::new() }
    }

    /// A message sets out.
    pub fn sent(
        &mut self,
        (from, to): (NodeId, NodeId),
        message: &'a N::Message,
        sent_at: Duration,
        receiver_is_up: bool,
        flight: Flight,
    ) -> usize {
        let place = self.all.len();
        self.all
            .push(Flight { fate: if receiver_is_up { Fate::Unknown } else { Fate::ReceiverDown }, ..flight });
        self.under_way.entry((from, to)).or_default().push(UnderWay {
            flight: place,
            message,
            sent_at,
            copies: 1,
            held_back: false,
            touched: false,
            doomed: !receiver_is_up,
            overtaken: false,
        });
        place
    }

    /// The network has done something to a message, at this step.
    pub fn touched(
        &mut self,
        link: (NodeId, NodeId),
        message: &N::Message,
        fate: &str,
        step: usize,
    ) -> Option<usize> {
        let link = self.under_way.get_mut(&link)?;
        // It was sent just now; only a cut also stops what was held back before.
        let fresh = link.iter().rposition(|it| !it.touched && it.message == message);
        let held = || link.iter().position(|it| it.held_back && it.message == message);
        let place = fresh.or_else(held)?;
        let it = &mut link[place];
        let number = it.flight;
        let flight = &mut self.all[number];
        let what = kind_of(fate);
        it.touched = true;
        match what {
            TouchKind::HeldBack => it.held_back = true,
            TouchKind::Doubled => (it.held_back, it.copies) = (true, 2),
            TouchKind::Lost | TouchKind::CutOff => {
                it.copies -= 1;
                if flight.received.is_empty() {
                    flight.fate = if what == TouchKind::Lost { Fate::Lost } else { Fate::CutOff };
                }
            }
        }
        flight.touches.push(Touch { step, what });
        if it.copies == 0 {
            link.remove(place);
        }
        Some(number)
    }

    /// A message has arrived, at this step.
    pub fn received(
        &mut self,
        link: (NodeId, NodeId),
        message: &N::Message,
        at: Duration,
        step: usize,
    ) -> Option<usize> {
        let link = self.under_way.get_mut(&link)?;
        let equal = |it: &UnderWay<'_, N>| it.message == message;
        let prompt =
            |it: &UnderWay<'_, N>| !it.held_back && !it.doomed && at.saturating_sub(it.sent_at) <= PROMPT;
        let first =
            |such: &dyn Fn(&UnderWay<'_, N>) -> bool| link.iter().position(|it| equal(it) && such(it));
        let place = first(&prompt)
            .or_else(|| first(&|it| it.held_back))
            .or_else(|| first(&|it| !it.doomed && !it.overtaken))
            .or_else(|| first(&|it| !it.doomed))
            .or_else(|| link.iter().rposition(equal))?;
        if !link[place].held_back {
            link[..place].iter_mut().for_each(|earlier| earlier.overtaken = true);
        }
        let it = &mut link[place];
        let number = it.flight;
        self.all[number].received.push(step);
        self.all[number].fate = Fate::Arrived;
        it.copies -= 1;
        if it.copies == 0 {
            link.remove(place);
        }
        Some(number)
    }

    /// A node is down: what was under way to it will not arrive, nor what had not left it yet.
    pub fn down(&mut self, node: NodeId) {
        for (&(from, to), link) in &mut self.under_way {
            let fate = match node {
                node if node == to => Fate::ReceiverDown,
                node if node == from => Fate::SenderDown,
                _ => continue,
            };
            for it in link {
                let flight = &mut self.all[it.flight];
                if !it.doomed && flight.received.is_empty() {
                    flight.fate = fate;
                }
                it.doomed = true;
            }
        }
    }
}

/// What the network's word for it means.
fn kind_of(fate: &str) -> TouchKind {
    if fate.contains("twice") {
        TouchKind::Doubled
    } else if fate.contains("lost") {
        TouchKind::Lost
    } else if fate.contains("cut off") {
        TouchKind::CutOff
    } else {
        TouchKind::HeldBack
    }
}
