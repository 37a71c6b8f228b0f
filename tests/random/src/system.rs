//! A [`Spec`] as a system of the harness.

use std::sync::{Arc, Mutex};

use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::observation::{History, Invariant, Observation, Witness};
use coalmine_sim::spec::limits::{Disk, Limits, Network};
use coalmine_sim::spec::system::{Operation, System};

use crate::table::{Config, Fact, Request, TableNode, Timer};
use crate::view::{Seen, View};
use crate::{Ask, FACTS, Spec, name, place};

/// The first facts: all in their order, or the first of each node, by node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Told<const ORDERED: bool>(pub Vec<(usize, Fact)>);

impl<const ORDERED: bool> History<TableNode> for Told<ORDERED> {
    const IS_ORDERED: bool = ORDERED;
    const HEARS_CALLS: bool = ORDERED;

    /// Where their order matters, what is asked is heard as well, as if it were a fact.
    fn called(&mut self, node: NodeId, _: RequestId, _: &Request) {
        self.observe(node, &CALLED);
    }

    fn observe(&mut self, node: NodeId, fact: &Fact) {
        let node = place(node);
        let of = |it: &&(usize, Fact)| ORDERED || it.0 == node;
        if self.0.iter().filter(of).count() < FACTS {
            let at = if ORDERED { self.0.len() } else { self.0.partition_point(|it| it.0 <= node) };
            self.0.insert(at, (node, *fact));
        }
    }
}

/// What a call is heard as.
pub const CALLED: Fact = Fact::H;

/// What is asked of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What must never be seen is a witness: the search goes on where it is.
    Visit,
    /// It is an invariant: the search ends where it is broken.
    Judge,
}

/// A system of nodes with tables.
#[derive(Debug)]
pub struct Tables<const ORDERED: bool> {
    /// What it does.
    pub spec: Arc<Spec>,
    /// What is asked.
    pub mode: Mode,
    /// Where what was seen is left.
    pub seen: Option<Arc<Mutex<Seen>>>,
}

type Now<'a, const ORDERED: bool> = Observation<'a, TableNode, Told<ORDERED>>;

/// The names of what must never be seen.
pub const NEVER: [&str; 2] = ["never-0", "never-1"];

/// Whether what must never be seen is seen.
fn has_come<const ORDERED: bool>(number: usize, now: &Now<'_, ORDERED>) -> bool {
    now.nodes[0].config.spec.has_come(number, &View::of(now))
}

impl<const ORDERED: bool> System for Tables<ORDERED> {
    type Node = TableNode;
    type History = Told<ORDERED>;
    /// The plain reference knows nothing of who was answered.
    const SESSIONS: bool = false;

    fn members(&self) -> Vec<(NodeId, Config)> {
        let config = |me| Config { spec: Arc::clone(&self.spec), me, seen: self.seen.clone() };
        (0..self.spec.members.len()).map(|me| (name(me), config(me as u8))).collect()
    }

    fn is_periodic(&self, timer: &Timer) -> bool {
        *timer == Timer::Beat
    }

    /// Nobody asks here whether a timer that was armed first is armed at rest: that is no part of settling.
    fn is_armed_at_rest(&self, _: NodeId, _: &TableNode, _: &Timer) -> bool {
        false
    }

    fn operations(&self) -> Vec<Operation<TableNode>> {
        self.asked(&self.spec.asks, 0)
    }

    fn inputs(&self) -> Vec<Operation<TableNode>> {
        self.asked(&self.spec.inputs, 100)
    }

    fn invariants(&self) -> Vec<Invariant<TableNode, Told<ORDERED>>> {
        let (about, source) = ("", "");
        let spy = Invariant {
            name: "spy",
            about,
            source,
            check: |now: &Now<'_, ORDERED>| {
                if let Some(seen) = &now.nodes[0].config.seen {
                    seen.lock().expect("no thread has panicked").insert(View::of(now));
                }
                Ok(())
            },
        };
        if self.mode == Mode::Visit {
            return vec![spy];
        }
        let check = |name: &'static str, check| Invariant { name, about, source, check };
        let all = [
            check(NEVER[0], |now| if has_come(0, now) { Err("it is seen".into()) } else { Ok(()) }),
            check(NEVER[1], |now| if has_come(1, now) { Err("it is seen".into()) } else { Ok(()) }),
        ];
        all.into_iter().take(self.spec.never.len()).collect()
    }

    fn witnesses(&self) -> Vec<Witness<TableNode, Told<ORDERED>>> {
        if self.mode == Mode::Judge {
            return Vec::new();
        }
        let witness = |name: &'static str, seen| Witness { name, about: "", seen };
        let all = [witness(NEVER[0], |now| has_come(0, now)), witness(NEVER[1], |now| has_come(1, now))];
        all.into_iter().take(self.spec.never.len()).collect()
    }

    fn converged(&self, now: &Now<'_, ORDERED>) -> Result<(), String> {
        if self.spec.is_at_rest(&View::of(now)) { Ok(()) } else { Err("it is not at rest".into()) }
    }

    fn progress_without(&self, _: NodeId, now: &Now<'_, ORDERED>) -> Result<(), String> {
        self.converged(now)
    }
}

impl<const ORDERED: bool> Tables<ORDERED> {
    fn asked(&self, asks: &[Ask], first_client: u64) -> Vec<Operation<TableNode>> {
        let ask = |(at, ask): (usize, &Ask)| Operation {
            to: name(usize::from(ask.to) % self.spec.members.len()),
            id: RequestId { client: first_client + u64::from(ask.client), sequence: at as u64 + 1 },
            request: ask.request,
        };
        asks.iter().enumerate().map(ask).collect()
    }
}

impl Spec {
    /// Its budgets, as the checker has them.
    pub fn limits(&self) -> Limits {
        let of = self.budgets;
        Limits {
            crashes: of.crashes,
            wipes: of.wipes,
            cuts: of.cuts,
            drops: of.drops,
            duplicates: of.duplicates,
            timeouts: of.timeouts,
            periodic: of.periodic,
            retries: of.retries,
            inputs: of.unhealthy,
            without: self.gone().map(name),
            disk: if of.late_disk { Disk::Async } else { Disk::Sync },
            network: if of.persistent { Network::Persistent } else { Network::Datagrams },
            late_boots: of.late_boots,
        }
    }
}
