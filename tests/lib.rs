//! Toys that show what no system that ships does, for the tests in `it/` and for their command line, `toys`. (Mistakes
//! that shipped systems make on purpose are theirs: [`coalmine_sim::spec::system::System::mistakes`].)

pub mod restless;

use std::collections::BTreeSet;

use coalmine::register::{self, RegisterSystem};
use coalmine::rollout::{RolloutSystem, chaos, model};
use coalmine_core::node::{Context, Event, Node, NodeId, RequestId, Word};
use coalmine_core::observation::{Invariant, Observation, Witness};
use coalmine_core::register::abd::Abd;
use coalmine_core::register::{Calls, Config, Member};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::durable::Record;
use coalmine_core::rollout::invariants::Ledger;
use coalmine_core::rollout::message::Timer;
use coalmine_real::http_api::HttpApi;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::plan::{Plan, What};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::{ConfigOf, Operation, System};
use coalmine_sim::suite::{AnyModel, AnyScenario, ModelDef, Suite};

/// Chaos among nodes that make this mistake, or whose hosts do.
pub fn chaos_of(mistake: &str) -> Box<dyn AnyScenario> {
    chaos::scenario().with_mistake(mistake).unwrap_or_else(|| panic!("nobody makes {mistake:?}"))
}

/// The model of such nodes.
pub fn model_of(mistake: &str) -> Box<dyn AnyModel> {
    model().with_mistake(mistake).unwrap_or_else(|| panic!("nobody makes {mistake:?}"))
}

/// The space in which such a mistake shows.
pub fn space_of(mistake: &str) -> ModelArgs {
    let listed = AnyModel::mistakes(&model()).into_iter().find(|listed| listed.mistake.name == mistake);
    listed.unwrap_or_else(|| panic!("nobody makes {mistake:?}")).mistake.space
}

/// A register whose clients must all be answered in the end, although nobody repeats a message.
#[derive(Debug)]
pub struct PatientRegister(RegisterSystem<Abd>);

impl System for PatientRegister {
    type Node = Member<Abd>;
    type History = Calls;

    fn members(&self) -> Vec<(NodeId, Config)> {
        self.0.members()
    }

    fn operations(&self) -> Vec<Operation<Member<Abd>>> {
        self.0.operations()
    }

    fn invariants(&self) -> Vec<Invariant<Member<Abd>, Calls>> {
        self.0.invariants()
    }

    fn witnesses(&self) -> Vec<Witness<Member<Abd>, Calls>> {
        self.0.witnesses()
    }

    fn converged(&self, now: &Observation<'_, Member<Abd>, Calls>) -> Result<(), String> {
        let waits = |state: &Member<Abd>| matches!(state, Member::Client { awaits: Some(_), .. });
        match now.up().find(|(_, state)| waits(state)) {
            Some((id, _)) => Err(format!("{id} waits for an answer")),
            None => Ok(()),
        }
    }
}

/// The model of it.
pub fn patient_register() -> ModelDef<PatientRegister> {
    let ModelDef { about, size, limits, .. } = register::abd();
    let system = |servers, clients| PatientRegister(RegisterSystem::new(servers, clients));
    ModelDef { name: "patient-register", about, system, size, limits }
}

/// The rollout, of which less is asked: if somebody waits for a member that never comes back, then all others
/// are in doubt about the same transaction. So one that has not voted, or knows, is enough for all.
#[derive(Debug)]
pub struct BlockedTogether(RolloutSystem);

impl System for BlockedTogether {
    type Node = RolloutNode;
    type History = Ledger;

    fn members(&self) -> Vec<(NodeId, ConfigOf<RolloutSystem>)> {
        self.0.members()
    }

    fn first_disk(&self, member: NodeId) -> Vec<Record> {
        self.0.first_disk(member)
    }

    fn is_periodic(&self, timer: &Timer) -> bool {
        self.0.is_periodic(timer)
    }

    fn operations(&self) -> Vec<Operation<RolloutNode>> {
        self.0.operations()
    }

    fn invariants(&self) -> Vec<Invariant<RolloutNode, Ledger>> {
        self.0.invariants()
    }

    fn converged(&self, now: &Observation<'_, RolloutNode, Ledger>) -> Result<(), String> {
        self.0.converged(now)
    }

    fn progress_without(
        &self,
        gone: NodeId,
        now: &Observation<'_, RolloutNode, Ledger>,
    ) -> Result<(), String> {
        let others = || now.up().filter(|(id, _)| *id != gone);
        let doubts: BTreeSet<_> = others().map(|(_, state)| state.durable().prepared_txid()).collect();
        match doubts.into_iter().collect::<Vec<_>>().as_slice() {
            [Some(_)] => Ok(()),
            _ => self.0.progress_without(gone, now),
        }
    }
}

/// The model of it.
pub fn blocked_together() -> ModelDef<BlockedTogether> {
    let ModelDef { about, size, limits, .. } = model();
    let system = |nodes, rollouts| BlockedTogether(RolloutSystem::new(nodes, rollouts));
    ModelDef { name: "blocked-together", about, system, size, limits }
}

/// A node that answers with its process's number: the same in two runs of one process, another in the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dice;

impl Node for Dice {
    type Config = ();
    type Message = ();
    type Timer = ();
    type Record = ();
    type Request = ();
    type Reply = u32;
    type View = ();
    type Fact = ();

    fn start(_: &(), _: &[()], _: &mut Context<'_, Self>) -> Self {
        Self
    }

    fn on(&mut self, _: &(), event: Event<Self>, cx: &mut Context<'_, Self>) {
        if let Event::Request { id, .. } = event {
            cx.reply(id, std::process::id());
        }
    }

    fn describe(word: Word<'_, Self>) -> String {
        format!("{word:?}")
    }
}

impl HttpApi for Dice {}

#[derive(Debug)]
struct OneDice;

impl System for OneDice {
    type Node = Dice;
    type History = ();

    fn members(&self) -> Vec<(NodeId, ())> {
        vec![(NodeId(1), ())]
    }

    fn operations(&self) -> Vec<Operation<Dice>> {
        Vec::new()
    }

    fn invariants(&self) -> Vec<Invariant<Dice, ()>> {
        Vec::new()
    }

    fn witnesses(&self) -> Vec<Witness<Dice, ()>> {
        Vec::new()
    }

    fn converged(&self, _: &Observation<'_, Dice, ()>) -> Result<(), String> {
        Ok(())
    }
}

/// A model without witnesses in which nothing happens, whatever the budgets; but that a node may crash.
pub fn idle() -> ModelDef<impl System> {
    ModelDef {
        name: "idle",
        about: "A node of which nobody asks anything.",
        system: |_, _| OneDice,
        size: (1, 0),
        limits: coalmine_sim::spec::limits::Limits::NONE,
    }
}

fn dice() -> Scenario<OneDice> {
    Scenario {
        name: "dice",
        about: "A node that is not deterministic.",
        system: || OneDice,
        plan: |_, _| {
            let id = RequestId { client: 1, sequence: 1 };
            Plan::quiet([(10, What::Ask { to: NodeId(1), id, request: () })])
        },
        expect: nothing_more::<OneDice>,
    }
}

/// All that ships, and the toys.
pub fn suite() -> Suite {
    let suite = restless::models().into_iter().fold(coalmine::suite(), Suite::model);
    suite.scenario(dice()).model(patient_register()).model(blocked_together())
}
