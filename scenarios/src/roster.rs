//! Members that come and go: see [`coalmine_core::roster`].

use coalmine_core::for_roster_mistakes;
use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::observation::{Invariant, Observation, Witness};
use coalmine_core::roster::{self, Config, KEEPER, Mistake, Request, Roster};
use coalmine_sim::prelude::{Chaos, Draw, PlanStep, Scenario, What, When, address_of, nothing_more};
use coalmine_sim::spec::limits::{Disk, Lack, Limits, ModelArgs};
use coalmine_sim::spec::system::{self, Operation, System};
use coalmine_sim::suite::ModelDef;

use crate::mistakes::listed;

/// A keeper, and some who are admitted and dismissed.
#[derive(Debug)]
pub struct RosterSystem {
    /// How many nodes there are, the keeper among them.
    pub nodes: u32,
    /// How many requests there are: a client for each member, who admits it, dismisses it, and so on in turn.
    pub requests: u32,
    /// What they do wrong on purpose.
    pub mistake: Option<Mistake>,
}

fn quiet() -> ModelArgs {
    ModelArgs { retries: Some(0), ..ModelArgs::default() }
}
for_roster_mistakes!(listed);

impl System for RosterSystem {
    type Node = Roster;
    type History = ();

    fn members(&self) -> Vec<(NodeId, Config)> {
        let of = |me| (me, Config { me, mistake: self.mistake });
        (1..=self.nodes.max(2)).map(NodeId).map(of).collect()
    }

    fn operations(&self) -> Vec<Operation<Roster>> {
        let members = self.nodes.max(2) - 1;
        let ask = |number: u32| {
            let (member, turn) = (NodeId(2 + number % members), number / members);
            let request = match turn % 2 {
                0 => Request::Admit(member, address_of(member)),
                _ => Request::Dismiss(member),
            };
            let id = RequestId { client: member.0.into(), sequence: u64::from(turn) + 1 };
            Operation { to: KEEPER, id, request }
        };
        (0..self.requests).map(ask).collect()
    }

    fn invariants(&self) -> Vec<Invariant<Roster, ()>> {
        roster::invariants()
    }

    fn witnesses(&self) -> Vec<Witness<Roster, ()>> {
        roster::witnesses()
    }

    fn lacks(&self, witness: &str, _: &Limits) -> Option<Lack> {
        let enough = if witness == "goes" { self.nodes.max(2) } else { 1 };
        (self.requests < enough).then_some(Lack::Operations(enough))
    }

    fn mistakes(&self) -> Vec<system::Mistake> {
        Mistake::ALL.map(|mistake| listed(mistake, Some("roster-chaos"))).into()
    }

    fn with_mistake(&self, name: &str) -> Option<Self> {
        Some(Self { mistake: Some(Mistake::named(name)?), ..*self })
    }

    fn with_members(&self, members: u32) -> Option<Self> {
        (members >= 2).then_some(Self { nodes: members, ..*self })
    }

    fn converged(&self, now: &Observation<'_, Roster, ()>) -> Result<(), String> {
        self.all_have_heard(None, now)
    }

    /// Without the keeper nobody hears of anything; without a member the others must.
    fn progress_without(&self, gone: NodeId, now: &Observation<'_, Roster, ()>) -> Result<(), String> {
        self.all_have_heard(Some(gone), now)
    }
}

impl RosterSystem {
    fn all_have_heard(&self, gone: Option<NodeId>, now: &Observation<'_, Roster, ()>) -> Result<(), String> {
        let state = |of: NodeId| {
            let node = now.nodes.iter().find(|node| node.id == of);
            node.and_then(|node| node.state).ok_or_else(|| format!("{of} is down"))
        };
        let Roster::Keeper { entries, .. } = state(KEEPER)? else {
            return Err("nobody keeps the roster".into());
        };
        let waits =
            |(member, entry): &(&NodeId, &roster::Entry)| Some(**member) != gone && !entry.has_heard();
        if let Some((member, _)) = entries.iter().find(waits) {
            return Err(format!("{member} has not heard of its last change"));
        }
        for (id, _) in self.members().into_iter().filter(|(id, _)| *id != KEEPER && Some(*id) != gone) {
            let Roster::Member(told) = state(id)? else { continue };
            if told.is_some_and(|(_, is_in)| is_in) != entries.contains_key(&id) {
                return Err(format!("{id} believes what is not so"));
            }
        }
        Ok(())
    }
}

/// A keeper and some members, with so many requests.
pub fn model() -> ModelDef<RosterSystem> {
    ModelDef {
        name: "roster",
        about: "Members that come and go: each hears of its change, and of none that is lost.",
        system: |nodes, requests| RosterSystem { nodes, requests, mistake: None },
        size: (3, 3),
        limits: Limits { crashes: 1, retries: 1, timeouts: Some(1), disk: Disk::Async, ..Limits::NONE },
    }
}

/// Every fault but lost disks, while members come and go.
pub fn scenario() -> Scenario<RosterSystem> {
    Scenario {
        name: "roster-chaos",
        about: "Members that are admitted and dismissed under random faults; each hears of its last change.",
        system: || RosterSystem { nodes: 4, requests: 0, mistake: None },
        plan: |system, rng| {
            let chaos = Chaos::of(system);
            let ask = |number: u64| {
                let member = NodeId(2 + rng.below(3) as u32);
                let request = match rng.permille(600) {
                    true => Request::Admit(member, address_of(member)),
                    false => Request::Dismiss(member),
                };
                let id = RequestId { client: number, sequence: 1 };
                let when = When::AtMs(rng.below(chaos.heal_at_ms));
                PlanStep { when, what: What::Ask { to: KEEPER, id, request } }
            };
            let asks = (1..=10).map(ask).collect();
            chaos.plan(asks, rng)
        },
        expect: nothing_more::<RosterSystem>,
    }
}
