//! Registers, to be counted: see [`coalmine_core::register`]. `nodes` counts the servers, `operations` the
//! clients; nothing is lost and nothing comes twice unless the command line says so.

use std::marker::PhantomData;

use coalmine_core::for_register_mistakes;
use coalmine_core::node::NodeId;
use coalmine_core::observation::{Invariant, Witness};
use coalmine_core::register::abd::Abd;
use coalmine_core::register::mistake::Mistake;
use coalmine_core::register::paxos::Paxos;
use coalmine_core::register::single_copy::SingleCopy;
use coalmine_core::register::{self, Calls, Config, Member, Server};
use coalmine_sim::spec::limits::{Limits, ModelArgs};
use coalmine_sim::spec::system::{self, Operation, System};
use coalmine_sim::suite::ModelDef;

use crate::mistakes::listed;

/// Servers of one kind, and their clients.
#[derive(Debug)]
pub struct RegisterSystem<S: Server> {
    /// How many servers there are.
    pub servers: u32,
    /// How many clients there are.
    pub clients: u32,
    /// The rule that the servers break on purpose.
    pub mistake: Option<Mistake>,
    server: PhantomData<S>,
}

impl<S: Server> RegisterSystem<S> {
    /// So many servers and clients.
    pub fn new(servers: u32, clients: u32) -> Self {
        Self { servers, clients, mistake: None, server: PhantomData }
    }
}

impl<S: Server> System for RegisterSystem<S> {
    type Node = Member<S>;
    type History = Calls;

    fn members(&self) -> Vec<(NodeId, Config)> {
        let Self { servers, mistake, .. } = *self;
        (0..servers + self.clients).map(NodeId).map(|me| (me, Config { me, servers, mistake })).collect()
    }

    fn mistakes(&self) -> Vec<system::Mistake> {
        S::MISTAKES.iter().map(|mistake| listed(*mistake, None)).collect()
    }

    fn with_mistake(&self, name: &str) -> Option<Self> {
        let mistake = S::MISTAKES.iter().copied().find(|mistake| mistake.name() == name)?;
        Some(Self { mistake: Some(mistake), ..Self::new(self.servers, self.clients) })
    }

    /// The clients are members.
    fn operations(&self) -> Vec<Operation<Member<S>>> {
        Vec::new()
    }

    fn invariants(&self) -> Vec<Invariant<Member<S>, Calls>> {
        vec![register::linearizable()]
    }

    fn witnesses(&self) -> Vec<Witness<Member<S>, Calls>> {
        register::witnesses()
    }
}

fn quiet() -> ModelArgs {
    ModelArgs::default()
}
for_register_mistakes!(listed);

/// One copy.
pub fn single_copy() -> ModelDef<RegisterSystem<SingleCopy>> {
    ModelDef {
        name: "single-copy",
        about: "A register with one copy, to be counted.",
        system: RegisterSystem::new,
        size: (1, 2),
        limits: Limits::default(),
    }
}

/// A copy on every server, of which a majority answers.
pub fn abd() -> ModelDef<RegisterSystem<Abd>> {
    ModelDef {
        name: "abd",
        about: "Attiya's, Bar-Noy's and Dolev's register, to be counted and compared with stateright's.",
        system: RegisterSystem::new,
        size: (2, 2),
        limits: Limits::default(),
    }
}

/// Servers that agree once.
pub fn paxos() -> ModelDef<RegisterSystem<Paxos>> {
    ModelDef {
        name: "paxos",
        about: "Single-decree Paxos, to be counted and compared with stateright's.",
        system: RegisterSystem::new,
        size: (3, 2),
        limits: Limits::default(),
    }
}
