//! Watches a node from outside: logs, traces, recordings.

use std::ops::ControlFlow;

use coalmine_core::codec::journal::Recovered;
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event, Node};

/// Is told all that a node takes in and does. [`ControlFlow::Break`] stops the node dead, on the spot, before
/// any of these effects is carried out: the simulator's crash.
pub trait Probe<N: Node>: Clone + Send + Sync + 'static {
    /// The node has booted from its journal.
    fn booted(
        &self,
        _journal: &Recovered<N::Record>,
        _host: &Host<N>,
        _effects: &[Effect<N>],
    ) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// The node is about to take an event, and to own it. If it is stopped, it never does.
    fn takes(&self, _event: &Event<N>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// The node has taken the event.
    fn stepped(&self, _host: &Host<N>, _effects: &[Effect<N>]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// The disk has made records durable, which released these effects.
    fn synced(&self, _upto: u64, _host: &Host<N>, _effects: &[Effect<N>]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// The node had a choice, and this is what it was told; of which step says the next call.
    fn chose(&self, _answer: u32) {}
    /// Something outside the node went wrong; it goes on.
    fn complain(&self, _what: String) {}
}

/// Two probes, the second of which may be missing. Both are told everything; either stops the node.
impl<N: Node, A: Probe<N>, B: Probe<N>> Probe<N> for (A, Option<B>) {
    fn booted(
        &self,
        journal: &Recovered<N::Record>,
        host: &Host<N>,
        effects: &[Effect<N>],
    ) -> ControlFlow<()> {
        both(self, |a| a.booted(journal, host, effects), |b| b.booted(journal, host, effects))
    }
    fn takes(&self, event: &Event<N>) -> ControlFlow<()> {
        both(self, |a| a.takes(event), |b| b.takes(event))
    }
    fn stepped(&self, host: &Host<N>, effects: &[Effect<N>]) -> ControlFlow<()> {
        both(self, |a| a.stepped(host, effects), |b| b.stepped(host, effects))
    }
    fn synced(&self, upto: u64, host: &Host<N>, effects: &[Effect<N>]) -> ControlFlow<()> {
        both(self, |a| a.synced(upto, host, effects), |b| b.synced(upto, host, effects))
    }
    fn chose(&self, answer: u32) {
        self.0.chose(answer);
        if let Some(second) = &self.1 {
            second.chose(answer);
        }
    }
    fn complain(&self, what: String) {
        if let Some(second) = &self.1 {
            second.complain(what.clone());
        }
        self.0.complain(what);
    }
}

fn both<A, B>(
    (first, second): &(A, Option<B>),
    tell_first: impl FnOnce(&A) -> ControlFlow<()>,
    tell_second: impl FnOnce(&B) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let told = tell_first(first);
    let also = second.as_ref().map_or(ControlFlow::Continue(()), tell_second);
    if told.is_break() { told } else { also }
}
