//! Frames between nodes: each is delivered, lost, doubled or held back as the seed and the plan decide.

use std::time::Duration;

use coalmine_core::codec::frame;
use coalmine_core::node::{Event, Node, NodeId};
use coalmine_real::transport::Envelope;

use super::{Engine, Task};
use crate::engine::network::PASSED;
use crate::faults::{Directions, Effect as FaultEffect};
use crate::system::{NodeOf, System};
use crate::trace::Happening;

/// A message under way.
pub struct Frame<N: Node> {
    /// The place of its sender.
    pub from: usize,
    /// The place of its receiver.
    pub to: usize,
    /// What it says.
    pub message: N::Message,
    /// Which of all sends it comes from.
    send: u64,
    /// How often its connection had broken when it was sent.
    resets: u64,
}

/// The directions between all places.
pub struct Pipes<N: Node> {
    places: usize,
    /// When the last frame of each arrives.
    last: Vec<Duration>,
    /// What clogs hold, in order.
    held: Vec<Frame<N>>,
}

impl<N: Node> Pipes<N> {
    /// Directions between so many places.
    pub fn new(places: usize) -> Self {
        Self { places, last: vec![Duration::ZERO; places * places], held: Vec::new() }
    }
}

impl<S: System> Engine<'_, S> {
    /// A node sends a message: the one of this number.
    pub(super) fn send(
        &mut self,
        place: usize,
        to: NodeId,
        message: <NodeOf<S> as Node>::Message,
        number: u64,
    ) {
        let from = self.places[place].id;
        let Some(&receiver) = self.index.get(&to).filter(|receiver| **receiver != place) else {
            let what = format!("a message was lost: {to} is not a peer");
            return self.push(&Happening::Complained { node: from, what });
        };
        let fate = self.mood.fate(from, to);
        let resets = self.mood.direction(from, to).resets;
        let frame = Frame { from: place, to: receiver, message, send: number, resets };
        if fate.tell != PASSED {
            self.tell_fate(&frame, fate.tell);
        }
        let [first, second] = fate.copies;
        if let Some(delay) = second {
            let frame = Frame { message: frame.message.clone(), ..frame };
            self.agenda.add(self.now + delay, Task::Leave(frame));
        }
        match first {
            None => {}
            Some(Duration::ZERO) => self.leave(frame),
            Some(delay) => self.agenda.add(self.now + delay, Task::Leave(frame)),
        }
    }

    /// A frame sets out.
    pub(super) fn leave(&mut self, frame: Frame<NodeOf<S>>) {
        let direction = self.mood.direction(self.places[frame.from].id, self.places[frame.to].id);
        if direction.clogs > 0 {
            return self.pipes.held.push(frame);
        }
        if direction.cuts > 0 {
            self.mood.effects.count(FaultEffect::FrameCutOff);
            return self.tell_fate(&frame, "is cut off");
        }
        let last = &mut self.pipes.last[frame.from * self.pipes.places + frame.to];
        *last = (self.now + self.mood.latency()).max(*last);
        self.agenda.add(*last, Task::Arrive(frame));
    }

    /// A frame arrives. If nobody is there, it is lost.
    pub(super) fn arrive(&mut self, frame: Frame<NodeOf<S>>) {
        let (from, to) = (self.places[frame.from].id, self.places[frame.to].id);
        if self.mood.direction(from, to).resets > frame.resets {
            return self.tell_fate(&frame, "is lost in a reset");
        }
        self.step(frame.to, Event::Message { from, message: frame.message }, Some(frame.send));
    }

    /// Lets go what clogs held on these directions, unless there is another clog.
    pub(super) fn release(&mut self, directions: &Directions) {
        let held = std::mem::take(&mut self.pipes.held);
        for frame in held {
            let direction = (self.places[frame.from].id, self.places[frame.to].id);
            if directions.contains(&direction) {
                self.leave(frame);
            } else {
                self.pipes.held.push(frame);
            }
        }
    }

    /// Lets go all that clogs held.
    pub(super) fn release_all(&mut self) {
        for frame in std::mem::take(&mut self.pipes.held) {
            self.leave(frame);
        }
    }

    /// Writes down what became of a frame, with the bytes that it would have on the wire.
    fn tell_fate(&mut self, frame: &Frame<NodeOf<S>>, fate: &'static str) {
        let (from, to) = (self.places[frame.from].id, self.places[frame.to].id);
        let bytes = frame::encode(&Envelope { from, message: &frame.message }).unwrap_or_default();
        self.watch.push(self.now, &Happening::Frame { from, to, fate, bytes }, Some(frame.send));
    }
}
