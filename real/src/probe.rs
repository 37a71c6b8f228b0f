//! Watches a node from outside: logs, traces, recordings.

use std::ops::ControlFlow;

use coalmine_core::codec::journal::Recovered;
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event, Node};

/// Is told all that a node takes in and does. [`ControlFlow::Break`] stops the node dead, on the spot, before
/// any of these effects is carried out: the simulator's crash.
pub trait Probe<N: Node>: Clone + Send + Sync + 'static {
    /// The node has booted from its journal.
    fn on_boot(
        &self,
        _journal: &Recovered<N::Record>,
        _host: &Host<N>,
        _effects: &[Effect<N>],
    ) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// The node is about to take an event, and to own it. If it is stopped, it never does.
    fn on_event(&self, _event: &Event<N>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// The node has taken the event.
    fn on_step(&self, _host: &Host<N>, _effects: &[Effect<N>]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// The disk has made records durable, which released these effects.
    fn on_sync(&self, _upto: u64, _host: &Host<N>, _effects: &[Effect<N>]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// The node had a choice, and this is what it was told; of which step says the next call.
    fn on_choice(&self, _answer: u32) {}
    /// Something outside the node went wrong; it goes on.
    fn warn(&self, _what: String) {}
}

/// Two probes, the second of which may be missing. Both are told everything; either stops the node.
impl<N: Node, A: Probe<N>, B: Probe<N>> Probe<N> for (A, Option<B>) {
    fn on_boot(
        &self,
        journal: &Recovered<N::Record>,
        host: &Host<N>,
        effects: &[Effect<N>],
    ) -> ControlFlow<()> {
        both(self, |a| a.on_boot(journal, host, effects), |b| b.on_boot(journal, host, effects))
    }
    fn on_event(&self, event: &Event<N>) -> ControlFlow<()> {
        both(self, |a| a.on_event(event), |b| b.on_event(event))
    }
    fn on_step(&self, host: &Host<N>, effects: &[Effect<N>]) -> ControlFlow<()> {
        both(self, |a| a.on_step(host, effects), |b| b.on_step(host, effects))
    }
    fn on_sync(&self, upto: u64, host: &Host<N>, effects: &[Effect<N>]) -> ControlFlow<()> {
        both(self, |a| a.on_sync(upto, host, effects), |b| b.on_sync(upto, host, effects))
    }
    fn on_choice(&self, answer: u32) {
        self.0.on_choice(answer);
        if let Some(second) = &self.1 {
            second.on_choice(answer);
        }
    }
    fn warn(&self, what: String) {
        if let Some(second) = &self.1 {
            second.warn(what.clone());
        }
        self.0.warn(what);
    }
}

fn both<A, B>(
    (first, second): &(A, Option<B>),
    ask_first: impl FnOnce(&A) -> ControlFlow<()>,
    ask_second: impl FnOnce(&B) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let told = ask_first(first);
    let also = second.as_ref().map_or(ControlFlow::Continue(()), ask_second);
    if told.is_break() { told } else { also }
}
