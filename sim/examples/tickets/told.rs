//! What clients were told, judged by what one office with one counter may tell them.

use std::collections::BTreeSet;

use coalmine_sim::prelude::*;

use super::node::{Config, Office, Reply, Request};
use super::system::Offices;

/// The numbers that somebody has got.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Given(BTreeSet<u64>);

impl Specification for Given {
    type Call = Request;
    type Answer = Reply;

    /// Any number is right that nobody has got.
    fn step(&self, Request::Number: &Request, Reply::Number(number): &Reply) -> Option<Self> {
        let mut after = self.clone();
        after.0.insert(*number).then_some(after)
    }

    /// A number that nobody was told takes none from anybody else.
    fn maybe(&self, Request::Number: &Request) -> Vec<Self> {
        Vec::new()
    }
}

/// The same offices, and a history of what their clients ask and are told.
#[derive(Debug)]
pub struct Told(Offices);

impl System for Told {
    type Node = Office;
    type History = Calls<Given>;

    fn members(&self) -> Vec<(NodeId, Config)> {
        self.0.members()
    }

    fn operations(&self) -> Vec<Operation<Office>> {
        self.0.operations()
    }

    fn invariants(&self) -> Vec<Invariant<Office, Calls<Given>>> {
        vec![linearizable()]
    }
}

pub fn model() -> ModelDef<Told> {
    ModelDef {
        name: "told",
        about: "Two clients ask three offices; what they are told.",
        system: |nodes, clients| Told(Offices { nodes, clients }),
        size: (3, 2),
        limits: Limits { crashes: 1, ..Limits::default() },
    }
}
