//! What a user of the harness writes besides the node: a [`System`]. Sweeps, replay, the model, the story and
//! the command line follow from the two.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::SocketAddr;

use coalmine_core::node::{Address, Effect, Node, NodeId, RequestId, Word};
use coalmine_core::observation::{History, Invariant, Observation, Witness};
use coalmine_core::order::{Order, WrongOrder};
use coalmine_core::write_ahead;
use coalmine_real::http_api::HttpApi;
use coalmine_real::runtime::Runtime;
use coalmine_real::serve::Router;
use coalmine_real::shell::Handle;
use serde::Serialize;

use crate::spec::limits::{Disk, Lack, Limits, ModelArgs, SizeFlags};
use crate::spec::mistake::MistakeName;
use crate::spec::symmetry::Symmetry;

/// A cluster of one kind of node, what clients ask of it, and what must hold.
pub trait System: Debug + Send + Sync + 'static {
    /// The node.
    type Node: Node;
    /// What the invariants need to know of the past.
    type History: History<Self::Node>;

    /// Whether clients are sessions. In a run, what a client is to ask while it waits for an answer is asked when that has
    /// come, or when it has waited for so long that it gives up. In the checker they go where they are
    /// [sent](Node::instead), and wait for their answers when it is asked whether the system settles; it must then know who
    /// was answered, which tells more states apart.
    const SESSIONS: bool = true;

    /// Whether what a client asks may [follow](Self::follow_up) from what it was told before.
    const FOLLOWS_UP: bool = false;

    /// The members, each with its configuration.
    fn members(&self) -> Vec<(NodeId, <Self::Node as Node>::Config)>;

    /// What a member serves over HTTP: what its [`HttpApi`] does by itself. A system whose node is a
    /// [`Service`](coalmine_real::serve::Service) may host [all of that](coalmine_real::serve::router), with the settings
    /// that it ships with.
    fn router<R: Runtime>(
        &self,
        runtime: &R,
        config: &<Self::Node as Node>::Config,
        handle: Handle<Self::Node>,
    ) -> Router
    where
        Self::Node: HttpApi,
        Self: Sized,
    {
        Self::Node::router(runtime, config, handle)
    }

    /// What a member's disk holds when the checker's world begins; nothing, unless the checker is to begin with
    /// a system that has been set up.
    fn first_disk(&self, _member: NodeId) -> Vec<<Self::Node as Node>::Record> {
        Vec::new()
    }

    /// Whether a timer is armed for ever, such as one that shows a member is alive. The checker has a budget of their own for
    /// these: what they send multiplies every space.
    fn is_periodic(&self, _timer: &<Self::Node as Node>::Timer) -> bool {
        false
    }

    /// What clients ask, each client in this order; the checker asks each once, at every possible moment after the one
    /// before was answered or given up, and again if it has a budget for that.
    fn operations(&self) -> Vec<Operation<Self::Node>>;

    /// What a client really asks by this operation, where that [follows](Self::FOLLOWS_UP) from what it was answered so
    /// far: one answer for each of its earlier operations, none for those that it has given up. `None`: it asks nothing
    /// more.
    fn follow_up(
        &self,
        operation: &<Self::Node as Node>::Request,
        _heard: &[Option<&<Self::Node as Node>::Reply>],
    ) -> Option<<Self::Node as Node>::Request> {
        Some(operation.clone())
    }

    /// What tells a member something from outside, such as that the requests it served have failed. The checker has a
    /// budget for these: each is told at most once, at every possible moment and in any order.
    fn inputs(&self) -> Vec<Operation<Self::Node>> {
        Vec::new()
    }

    /// What the sizes of its models are called besides, on the command line.
    fn size_flags(&self) -> SizeFlags {
        SizeFlags::default()
    }

    /// The same system with so many members, if it can be: a failure of few nodes is easier to grasp.
    fn with_members(&self, _members: u32) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// The mistakes that its nodes can make on purpose, to show that they are found. Those of
    /// [order](coalmine_core::order) need not be listed: the hosts of every node that writes records make them.
    fn mistakes(&self) -> Vec<Mistake> {
        Vec::new()
    }

    /// The same system, which makes the mistake of this name; `None` if it cannot.
    fn with_mistake(&self, _name: &str) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// Requests that ask for less than this one, the simplest first: what fails is shown with these, if it
    /// fails with them too.
    fn simpler_requests(&self, _: &<Self::Node as Node>::Request) -> Vec<<Self::Node as Node>::Request> {
        Vec::new()
    }

    /// Which members are interchangeable, if some are: the checker can then take worlds for one that differ only
    /// in who is who.
    fn symmetry(&self) -> Option<Symmetry<Self::Node, Self::History>> {
        None
    }

    /// Why it is no fault of the system if a client that asks this is never answered, although it asks again and again;
    /// `None` if it must be answered before a run ends.
    fn owes_no_answer(&self, _: &<Self::Node as Node>::Request) -> Option<&'static str> {
        None
    }

    /// What must hold at every moment.
    fn invariants(&self) -> Vec<Invariant<Self::Node, Self::History>>;

    /// Whether this invariant holds of every part of a history if it holds of the whole: nothing that is told
    /// besides, and no state of another member, can mend what breaks it. "No transaction commits and aborts" is such
    /// a one, "nobody commits without every vote" is not. It can be judged where a recording is incomplete and all
    /// others cannot. If nobody says, it is taken not to be.
    fn holds_in_parts(&self, _invariant: &str) -> bool {
        false
    }

    /// What must be seen in some run. Without any, a check of a space in which little happens is a proof; one in
    /// which nothing does never is.
    fn witnesses(&self) -> Vec<Witness<Self::Node, Self::History>> {
        Vec::new()
    }

    /// What must be allowed besides before the witness of this name is to be expected; `None` if it must be seen within these limits. A witness that nobody expects may be seen all the
    /// same; if it is not, that is told and keeps no check from being a proof.
    fn lacks(&self, _witness: &str, _limits: &Limits) -> Option<Lack> {
        None
    }

    /// Whether the system has come to rest once all faults are healed; `Err` says what is missing. If nobody
    /// says, it is enough that every node is up. A run asks after every step whether it stays at rest.
    fn converged(&self, now: &Observation<'_, Self::Node, Self::History>) -> Result<(), String> {
        match now.nodes.iter().find(|node| node.state.is_none()) {
            Some(node) => Err(format!("{} is down", node.id)),
            None => Ok(()),
        }
    }

    /// Why such a system never comes to rest, if it does not and need not: then the checker does not ask whether it
    /// settles, and says why.
    fn never_rests(&self) -> Option<&'static str> {
        None
    }

    /// Whether this timer, which the member has had armed before, must be armed now that the system has come to rest:
    /// a timer that nobody arms again is not seen otherwise, as long as something else does its work. If nobody says,
    /// periodic ones must be.
    fn is_armed_at_rest(
        &self,
        _member: NodeId,
        _state: &Self::Node,
        timer: &<Self::Node as Node>::Timer,
    ) -> bool {
        self.is_periodic(timer)
    }

    /// Whether all clients must have been answered, now that the system has come to rest. If nobody says, they must.
    fn owes_answers(&self, _now: &Observation<'_, Self::Node, Self::History>) -> bool {
        true
    }

    /// Whether all others have come to rest, although this member never comes back; `Err` says who waits for
    /// it. If nobody says, it is asked what is asked of all: a system that needs everybody does not go on without one.
    fn progress_without(
        &self,
        gone: NodeId,
        now: &Observation<'_, Self::Node, Self::History>,
    ) -> Result<(), String> {
        let needs =
            |why| format!("{why} (System::progress_without does not say what is owed without {gone})");
        self.converged(now).map_err(needs)
    }
}

/// A mistake that a system can make on purpose: a harness that has never failed proves nothing.
#[derive(Clone, Copy, Debug)]
pub struct Mistake {
    /// Its name, in small letters with hyphens.
    pub name: &'static str,
    /// What is wrong, in one sentence.
    pub about: &'static str,
    /// Where it is known from.
    pub source: &'static str,
    /// A small space of its system's model in which the checker finds it.
    pub space: ModelArgs,
    /// The scenario of the system in which seeds may meet it, if there is one.
    pub scenario: Option<&'static str>,
}

/// A system, and the order that its hosts keep.
#[derive(Debug)]
pub struct Planted<S> {
    /// The system.
    pub system: S,
    /// The order.
    pub order: Order,
}

/// The system that makes this mistake, or whose hosts do; the same one if there is none. `Err` says which there are.
pub fn planted<S: System>(system: S, mistake: Option<MistakeName>) -> Result<Planted<S>, String> {
    let Some(name) = mistake else { return Ok(Planted { system, order: Order::Safe }) };
    if let Some(system) = system.with_mistake(name.as_str()) {
        return Ok(Planted { system, order: Order::Safe });
    }
    let mut of_order = wrong_orders::<S>();
    if let Some(WrongOrder { order, .. }) = of_order.find(|wrong| wrong.name == name.as_str()) {
        return Ok(Planted { system, order });
    }
    let known: Vec<_> = all_mistakes(&system).iter().map(|listed| listed.mistake.name).collect();
    Err(match known.is_empty() {
        true => format!("mistake: this system makes none, and not {:?}", name.as_str()),
        false => format!("mistake: {:?} is none of this system's: {}", name.as_str(), known.join(", ")),
    })
}

/// Who makes a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Maker {
    /// The system, which lists it as one that is found.
    System,
    /// The hosts of any system. Nobody has said that this one's invariants see it.
    Host,
}

/// A mistake, and who makes it.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// The mistake.
    pub mistake: Mistake,
    /// Who makes it.
    pub maker: Maker,
}

/// All mistakes of a system: those that it lists, then those that hosts make with any node, unless it has one of that
/// name itself.
pub fn all_mistakes<S: System>(system: &S) -> Vec<Listed> {
    let own = system.mistakes();
    // A disk that syncs at once leaves little to wait for.
    let space = ModelArgs { disk: Some(Disk::Async), ..ModelArgs::default() };
    // Where seeds meet the others they meet these, if anywhere.
    let scenario = own.iter().find_map(|mistake| mistake.scenario);
    let of_hosts: Vec<_> = wrong_orders::<S>()
        .filter(|wrong| own.iter().all(|mistake| mistake.name != wrong.name))
        .map(|WrongOrder { name, about, source, .. }| Listed {
            mistake: Mistake { name, about, source, space, scenario },
            maker: Maker::Host,
        })
        .collect();
    let own = own.into_iter().map(|mistake| Listed { mistake, maker: Maker::System });
    own.chain(of_hosts).collect()
}

/// The orders that the hosts of a system can break: none, if its nodes have no records to write.
fn wrong_orders<S: System>() -> impl Iterator<Item = WrongOrder> {
    let has_records = TypeId::of::<<NodeOf<S> as Node>::Record>() != TypeId::of::<()>();
    WrongOrder::ALL.into_iter().filter(move |_| has_records)
}

/// Where a member lives in every simulation, as far as nodes are told.
pub fn address_of(member: NodeId) -> Address {
    let [.., high, low] = member.0.to_be_bytes();
    let at = |port| SocketAddr::from(([10, 0, high, low], port));
    Address { control: at(60_001), data: at(50_051) }
}

/// Whether who is met is met where it lives: in production all that is sent elsewhere would be lost, for good.
pub fn meets_at_home<N: Node>(effect: &Effect<N>) -> Result<(), String> {
    let Effect::Meet { peer, address } = effect else { return Ok(()) };
    let home = address_of(*peer);
    if *address == home {
        return Ok(());
    }
    Err(format!(
        "it meets {peer} at {address:?}, and {peer} lives at {home:?}: nothing sent there would arrive"
    ))
}

/// Who the members are.
pub fn member_ids<S: System>(system: &S) -> Vec<NodeId> {
    system.members().into_iter().map(|(id, _)| id).collect()
}

/// All that must hold at every moment: what the system says, and that nothing leaves a member [too early](write_ahead).
pub fn invariants_of<S: System>(system: &S) -> Vec<Invariant<S::Node, S::History>> {
    let mut invariants = system.invariants();
    invariants.extend(write_ahead::invariant());
    invariants
}

/// By member, the timers that it has had armed.
pub type Armed<S> = BTreeMap<NodeId, BTreeSet<<NodeOf<S> as Node>::Timer>>;

/// Whether all timers are armed that must be at rest, of those that have been before; `Err` names one that is not.
pub fn timers_are_armed<S: System>(
    system: &S,
    now: &Observation<'_, S::Node, S::History>,
    before: &Armed<S>,
) -> Result<(), String> {
    for node in &now.nodes {
        let (Some(state), Some(before)) = (node.state, before.get(&node.id)) else { continue };
        let is_missing =
            |timer: &&_| system.is_armed_at_rest(node.id, state, timer) && !node.timers.contains(timer);
        if let Some(timer) = before.iter().find(is_missing) {
            let timer = crate::panics::describe::<S::Node>(Word::Timer(timer));
            return Err(format!("{} is at rest, but its timer will never fire again: {timer}", node.id));
        }
    }
    Ok(())
}

/// One request of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation<N: Node> {
    /// Whom it is sent to.
    pub to: NodeId,
    /// Its name.
    pub id: RequestId,
    /// What is asked.
    pub request: N::Request,
}

/// Shorthand for the parts of a system's node.
pub type NodeOf<S> = <S as System>::Node;
/// Shorthand for the configuration of a system's node.
pub type ConfigOf<S> = <<S as System>::Node as Node>::Config;
