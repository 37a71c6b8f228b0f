//! Frames between nodes: each is delivered, lost, doubled or held back as the seed and the plan decide.

use coalmine_core::codec::frame;
use coalmine_core::node::{Event, Node, NodeId};
use coalmine_real::transport::Envelope;

use super::Engine;
use super::agenda::Due;
use crate::engine::shared::network::Passage;
use crate::spec::faults::Directions;
use crate::spec::system::{NodeOf, System};
use crate::trace::{Fate, TraceEvent};

/// What is known of a message under way.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Its sender.
    from: NodeId,
    /// The place of its receiver.
    pub to: u32,
    /// Which of all sends it comes from.
    send: u64,
    /// How often its connection had broken when it was sent.
    resets: u64,
}

/// The frames under way. They stay where they are, and are called by number; what they say is kept apart from what is
/// known of them, so that either is written in its place and nowhere before.
pub struct Frames<N: Node> {
    frames: Vec<Frame>,
    messages: Vec<Option<N::Message>>,
    free: Vec<u32>,
}

impl<N: Node> Frames<N> {
    /// What is known of the frame of this number.
    pub fn of(&self, number: u32) -> Frame {
        self.frames[number as usize]
    }

    /// Forgets it, and says what it said.
    pub fn take(&mut self, number: u32) -> N::Message {
        self.free.push(number);
        self.messages[number as usize].take().expect("a frame is taken once")
    }

    #[inline(always)]
    fn add(&mut self, frame: Frame, message: N::Message) -> u32 {
        if let Some(number) = self.free.pop() {
            self.frames[number as usize] = frame;
            self.messages[number as usize] = Some(message);
            return number;
        }
        self.frames.push(frame);
        self.messages.push(Some(message));
        (self.frames.len() - 1) as u32
    }
}

/// The directions between all places.
pub struct Pipes<N: Node> {
    places: usize,
    /// What is under way.
    pub frames: Frames<N>,
    /// When the last frame of each direction arrives.
    last: Vec<u64>,
    /// What clogs hold, in order.
    held: Vec<u32>,
}

impl<N: Node> Pipes<N> {
    /// Directions between so many places.
    pub fn new(places: usize) -> Self {
        let frames = Frames { frames: Vec::new(), messages: Vec::new(), free: Vec::new() };
        Self { places, frames, last: vec![0; places * places], held: Vec::new() }
    }
}

impl<S: System> Engine<'_, S> {
    /// A node sends a message: the one of this number.
    #[inline(always)]
    pub(super) fn send(
        &mut self,
        place: usize,
        to: NodeId,
        message: <NodeOf<S> as Node>::Message,
        number: u64,
    ) {
        let from = self.places[place].id;
        let Some(receiver) = self.place_of(to).filter(|receiver| *receiver != place) else {
            return self.lose(place, to);
        };
        let resets =
            if self.network_state.has_resets() { self.network_state.direction(from, to).resets } else { 0 };
        let frame = Frame { from, to: receiver as u32, send: number, resets };
        if self.network_state.is_fault_free() {
            let frame = self.pipes.frames.add(frame, message);
            return self.set_out(place, receiver, frame);
        }
        self.send_over_faulty_link(frame, to, message);
    }

    /// A message was for somebody whom a node does not know.
    #[cold]
    pub(super) fn lose(&mut self, place: usize, to: NodeId) {
        let (node, what) = (self.places[place].id, format!("a message was lost: {to} is not a peer"));
        self.push(&TraceEvent::Complained { node, what });
    }

    /// The same if frames do not always pass.
    fn send_over_faulty_link(&mut self, frame: Frame, to: NodeId, message: <NodeOf<S> as Node>::Message) {
        let now = self.agenda.time();
        let Passage { fate, copies: [first, second] } = self.network_state.passage(now, frame.from, to);
        if fate != Fate::Passes {
            self.record_fate(frame, &message, fate);
        }
        if let Some(delay) = second {
            let copy = self.pipes.frames.add(frame, message.clone());
            self.agenda.due_after(delay, Due::Leave(copy));
        }
        if let Some(delay) = first {
            let frame = self.pipes.frames.add(frame, message);
            if delay.is_zero() {
                self.leave(frame);
            } else {
                self.agenda.due_after(delay, Due::Leave(frame));
            }
        }
    }

    /// A frame sets out, unless something is in its way.
    pub(super) fn leave(&mut self, number: u32) {
        let frame = self.pipes.frames.of(number);
        let (from, to) = self.direction(frame);
        let direction = self.network_state.direction(from, to);
        if direction.clogs > 0 {
            return self.pipes.held.push(number);
        }
        if direction.cuts.any() {
            self.network_state.cut_off(direction.cuts);
            let message = self.pipes.frames.take(number);
            return self.record_fate(frame, &message, Fate::CutOff);
        }
        self.set_out(self.place(from), frame.to as usize, number);
    }

    /// A frame is under way now, behind those that set out before it.
    #[inline(always)]
    fn set_out(&mut self, from: usize, to: usize, frame: u32) {
        let last = &mut self.pipes.last[from * self.pipes.places + to];
        *last = (self.agenda.now() + self.network_state.latency_nanos()).max(*last);
        self.agenda.add(*last, Due::Arrive(frame));
    }

    /// A frame arrives. If nobody is there, it is lost.
    pub(super) fn arrive(&mut self, number: u32) {
        let frame = self.pipes.frames.of(number);
        let message = self.pipes.frames.take(number);
        if self.network_state.has_resets() && self.is_lost_in_reset(frame) {
            return self.record_fate(frame, &message, Fate::LostInReset);
        }
        self.step(frame.to as usize, Event::Message { from: frame.from, message }, Some(frame.send));
    }

    fn is_lost_in_reset(&self, frame: Frame) -> bool {
        let (from, to) = self.direction(frame);
        self.network_state.direction(from, to).resets > frame.resets
    }

    fn direction(&self, frame: Frame) -> (NodeId, NodeId) {
        (frame.from, self.places[frame.to as usize].id)
    }

    /// Lets go what clogs held on these directions, unless there is another clog.
    pub(super) fn release(&mut self, directions: &Directions) {
        for number in std::mem::take(&mut self.pipes.held) {
            let frame = self.pipes.frames.of(number);
            let direction = self.direction(frame);
            if directions.contains(&direction) {
                self.leave(number);
            } else {
                self.pipes.held.push(number);
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
    fn record_fate(&mut self, frame: Frame, message: &<NodeOf<S> as Node>::Message, fate: Fate) {
        let (from, to) = self.direction(frame);
        let bytes = frame::encode(NodeOf::<S>::FORM, &Envelope { from, message }).unwrap_or_default();
        let what = TraceEvent::Frame { from, to, fate, bytes };
        self.recorder.push(self.agenda.time(), &what, Some(frame.send));
    }
}
