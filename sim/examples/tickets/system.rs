//! The cluster, what its clients ask, and what must hold: all that simulation and checker need to know.

use std::collections::BTreeMap;

use coalmine_sim::prelude::*;

use super::node::{Config, Fact, Office, Request};

#[derive(Debug)]
pub struct Offices {
    pub nodes: u32,
    pub clients: u32,
}

impl System for Offices {
    type Node = Office;
    type History = Facts<Office>;

    fn members(&self) -> Vec<(NodeId, Config)> {
        let members: Vec<_> = (1..=self.nodes).map(NodeId).collect();
        members.iter().map(|&me| (me, Config { me, members: members.clone() })).collect()
    }

    /// Each client asks another node for one number.
    fn operations(&self) -> Vec<Operation<Office>> {
        let ask = |client: u32| Operation {
            to: NodeId(1 + (client - 1) % self.nodes),
            id: RequestId { client: client.into(), sequence: 1 },
            request: Request::Number,
        };
        (1..=self.clients).map(ask).collect()
    }

    fn invariants(&self) -> Vec<Invariant<Office, Facts<Office>>> {
        vec![Invariant {
            name: "never-twice",
            about: "no number is given to two clients",
            source: "what a ticket office is for",
            check: |now| {
                let mut given = BTreeMap::new();
                for (node, Fact::Given { number, to }) in now.history {
                    if let Some((first, client)) = given.insert(number, (node, to)) {
                        return Err(format!(
                            "{number} was given to {client} by {first}, and to {to} by {node}"
                        ));
                    }
                }
                Ok(())
            },
        }]
    }

    fn witnesses(&self) -> Vec<Witness<Office, Facts<Office>>> {
        vec![Witness {
            name: "gives",
            about: "somebody is given a number",
            seen: |now| !now.history.is_empty(),
        }]
    }

    fn converged(&self, now: &Observation<'_, Office, Facts<Office>>) -> Result<(), String> {
        match now.up().find(|(_, office)| !office.waiting.is_empty()) {
            Some((node, _)) => Err(format!("clients still wait at {node}")),
            None => Ok(()),
        }
    }
}

pub fn scenario() -> Scenario<Offices> {
    Scenario {
        name: "tickets",
        about: "Twelve clients ask five offices, under every kind of fault.",
        system: || Offices { nodes: 5, clients: 12 },
        plan: chaos,
        expect: nothing_more::<Offices>,
    }
}

pub fn model() -> ModelDef<Offices> {
    ModelDef {
        name: "tickets",
        about: "Two clients ask three offices.",
        system: |nodes, clients| Offices { nodes, clients },
        size: (3, 2),
        limits: Limits { crashes: 1, timeouts: Some(1), ..Limits::default() },
    }
}
