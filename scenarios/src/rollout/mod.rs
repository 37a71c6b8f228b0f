//! The canary rollout as a system, its scenarios and its models.

pub mod canary;
pub mod chaos;
pub mod compaction;
pub mod growth;
pub mod guarded;
pub mod mistakes;
pub mod regions;
pub mod scripted;

use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::observation::{Invariant, Observation, Witness};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::durable::Record;
use coalmine_core::rollout::healing::Healing;
use coalmine_core::rollout::health::{Health, Window};
use coalmine_core::rollout::invariants::{self, Ledger};
use coalmine_core::rollout::message::{Guard, Order, Request, RolloutPlan, Timer};
use coalmine_core::rollout::mistake::Mistake;
use coalmine_core::rollout::state::{ClusterId, ModelId, RoutingState, Txid, WHOLE_BP};
use coalmine_real::rollout::config::Settings;
use coalmine_real::runtime::Runtime;
use coalmine_real::serve::{self, Router};
use coalmine_real::shell::Handle;
use coalmine_sim::spec::budget::Budget;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::limits::{Disk, Lack, Limits, SizeFlags};
use coalmine_sim::spec::plan::What;
use coalmine_sim::spec::system::{self, Operation, System};
use coalmine_sim::suite::ModelDef;

/// A cluster, and how many rollouts clients ask of it.
#[derive(Clone, Debug)]
pub struct RolloutSystem {
    /// How many members there are.
    pub nodes: u32,
    /// How many rollouts of one step each the checker's client asks for.
    pub rollouts: u32,
    /// What the checker's client asks for instead.
    pub asks: Asks,
    /// How many of the nodes come later, the highest ones.
    pub later: u32,
    /// Of how many [regions] its nodes are, each a cluster of its own; 0: there are none.
    pub regions: u32,
    /// After how many records its nodes write a snapshot; 0: never.
    pub snapshot_every: u32,
    /// Whether its nodes ask whether they are behind before they serve.
    pub asks_first: bool,
    /// The rule that its nodes break; none, but in tests.
    pub mistake: Option<Mistake>,
    /// The way of healing that its nodes lack; none, but in tests.
    pub without: Option<Healing>,
}

/// What the checker's client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Rollouts that nothing judges.
    Rollouts,
    /// One that [gates judge](canary).
    Guarded,
    /// [Changes of the members](growth), between two rollouts.
    Changes,
    /// A rollout, and that [another node coordinates](growth).
    Succession,
    /// A rollout over all [regions], and its end.
    Regions,
}

impl RolloutSystem {
    /// A cluster of so many nodes.
    pub fn new(nodes: u32, rollouts: u32) -> Self {
        Self {
            nodes,
            rollouts,
            asks: Asks::Rollouts,
            later: 0,
            regions: 0,
            snapshot_every: 0,
            asks_first: false,
            mistake: None,
            without: None,
        }
    }

    /// The same cluster of nodes that make a mistake.
    pub fn with(self, mistake: Mistake) -> Self {
        Self { mistake: Some(mistake), ..self }
    }

    /// The same cluster of nodes that lack a way of healing.
    pub fn without(self, healing: Healing) -> Self {
        Self { without: Some(healing), ..self }
    }
}

/// The limits that `coalmine check rollout` has by default.
pub const LIMITS: Limits = Limits { crashes: 1, drops: 1, timeouts: Some(1), ..Limits::NONE };

impl System for RolloutSystem {
    type Node = RolloutNode;
    type History = Ledger;
    /// Operators ask, and look: what becomes of a rollout is in the view.
    const SESSIONS: bool = false;

    fn members(&self) -> Vec<(NodeId, Config)> {
        let mut configs = Config::cluster(self.nodes);
        let (shipped, regions) = (Settings::shipped(), self.grouped());
        for config in &mut configs {
            regions::group(config, &regions);
            if self.later > 0 {
                config.members.truncate((self.nodes - self.later) as usize);
                let named = config.members.iter().chain([&config.me]);
                config.addresses = named.map(|&id| (id, system::address_of(id))).collect();
            }
            config.gates = shipped.gates();
            config.timeouts = shipped.timeouts.clone();
            config.snapshot_every = self.snapshot_every;
            config.asks_first = self.asks_first;
            config.mistake = self.mistake;
            config.without = self.without;
        }
        configs.into_iter().map(|config| (config.me, config)).collect()
    }

    /// All that `canary node` serves.
    fn router<R: Runtime>(&self, runtime: &R, config: &Config, handle: Handle<RolloutNode>) -> Router {
        serve::router(runtime, config, &Settings::shipped(), handle)
    }

    /// A cluster that has formed.
    fn first_disk(&self, member: NodeId) -> Vec<Record> {
        if member.0 > self.nodes - self.later {
            return Vec::new();
        }
        let members = self.members();
        let own = members.iter().find(|(_, config)| config.members.contains(&member));
        let (_, config) = own.expect("a member of the system");
        let state = RoutingState::initial(&config.initial_model, &config.members);
        let cluster = ClusterId(1 + config.own_region().unwrap_or(0) as u64);
        let coordinator = config.coordinator;
        vec![Record::Admitted { node: member, cluster, coordinator, state, begun: Txid::before(1) }]
    }

    fn is_periodic(&self, timer: &Timer) -> bool {
        matches!(timer, Timer::Heartbeat | Timer::Silence)
    }

    fn operations(&self) -> Vec<Operation<RolloutNode>> {
        match self.asks {
            Asks::Guarded => return canary::operations(self.rollouts),
            Asks::Changes => return growth::changes(self.nodes, self.rollouts),
            Asks::Succession => return growth::succession(self.rollouts),
            Asks::Regions => return regions::operations(&self.grouped(), self.rollouts),
            Asks::Rollouts => {}
        }
        let rollout = |sequence: u32| {
            let model = ModelId::new(&format!("v{}", sequence + 1)).expect("a valid name");
            operator(sequence, Request::unguarded(model, vec![WHOLE_BP], 0))
        };
        (1..=self.rollouts).map(rollout).collect()
    }

    fn size_flags(&self) -> SizeFlags {
        let operations = if self.asks == Asks::Rollouts { "rollouts" } else { "requests" };
        SizeFlags { operations: Some(operations), ..SizeFlags::default() }
    }

    fn inputs(&self) -> Vec<Operation<RolloutNode>> {
        if self.asks == Asks::Guarded { canary::reports(self.nodes) } else { Vec::new() }
    }

    fn mistakes(&self) -> Vec<system::Mistake> {
        mistakes::all(self)
    }

    fn with_mistake(&self, name: &str) -> Option<Self> {
        Some(self.clone().with(Mistake::named(name)?))
    }

    fn with_members(&self, members: u32) -> Option<Self> {
        (members > self.later && members >= self.regions).then(|| Self { nodes: members, ..self.clone() })
    }

    fn simpler_requests(&self, request: &Request) -> Vec<Request> {
        match request {
            Request::StartRollout(plan) => {
                let whole = |plan: RolloutPlan| RolloutPlan { steps_bp: vec![WHOLE_BP], ..plan };
                let at_once = |plan: RolloutPlan| RolloutPlan { pause_ms: 0, holds_ms: Vec::new(), ..plan };
                let simpler = [whole(at_once(plan.clone())), at_once(plan.clone())];
                let is_simpler = |it: &RolloutPlan| it != plan;
                simpler.into_iter().filter(is_simpler).map(Request::StartRollout).collect()
            }
            Request::QueueRollout(_)
            | Request::Steer { .. }
            | Request::StartFleet(_)
            | Request::AbortFleet
            | Request::ReportHealth(_)
            | Request::Change(_)
            | Request::TakeOver { .. }
            | Request::Resolve { .. } => Vec::new(),
        }
    }

    fn invariants(&self) -> Vec<Invariant<RolloutNode, Ledger>> {
        invariants::all()
    }

    /// These compare what was told with what was told, or look at one node and its journal alone. The others ask what
    /// was *not* told.
    fn holds_in_parts(&self, invariant: &str) -> bool {
        matches!(
            invariant,
            "one-outcome" | "one-state-per-version" | "no-split-brain" | "once-per-request" | "exit-is-open"
        )
    }

    fn witnesses(&self) -> Vec<Witness<RolloutNode, Ledger>> {
        match self.asks {
            Asks::Rollouts if self.snapshot_every > 0 => invariants::forgetting_witnesses(),
            Asks::Rollouts => invariants::witnesses(),
            Asks::Guarded => invariants::guarded_witnesses(),
            Asks::Changes => invariants::changing_witnesses(),
            Asks::Succession => invariants::succession_witnesses(),
            Asks::Regions => invariants::regional_witnesses(),
        }
    }

    fn lacks(&self, witness: &str, limits: &Limits) -> Option<Lack> {
        if self.rollouts == 0 {
            return None; // where nobody asks for anything nothing is excused
        }
        match self.asks {
            Asks::Guarded => return canary::lacks(self, witness, limits),
            Asks::Changes | Asks::Succession => return growth::lacks(self, witness, limits),
            Asks::Regions => return regions::lacks(self, witness, limits),
            Asks::Rollouts if self.snapshot_every > 0 => return compaction::lacks(witness, limits),
            Asks::Rollouts => {}
        }
        let Limits { crashes, wipes, periodic, timeouts, .. } = *limits;
        let budget = |budget, times| Some(Lack::Budget(budget, times));
        let fires = |times: u8| timeouts.is_none_or(|timeouts| timeouts >= times);
        // Who is alone needs nobody's vote, and nobody to learn from.
        let (is_alone, goes_down) = (self.nodes < 2, crashes + wipes > 0);
        match witness {
            "decided-while-in-doubt" | "blocks" | "recovers" | "catches-up" | "excluded" if is_alone => {
                Some(Lack::Nodes(2))
            }
            "aborts" if !goes_down && (is_alone || !fires(1)) => budget(Budget::Crashes, 1),
            "blocks" if !goes_down => budget(Budget::Crashes, 1),
            "recovers" if crashes == 0 => budget(Budget::Crashes, 1),
            "excluded" if wipes == 0 => budget(Budget::Wipes, 1),
            // Somebody must miss a commit, and not vote for the next: that takes a lost disk, or a second rollout
            // of which the first step was aborted.
            "catches-up" if periodic == 0 && wipes == 0 => {
                let is_left_behind = self.rollouts > 1 && (crashes > 0 || fires(1));
                (!is_left_behind).then_some(Lack::Budget(Budget::Periodic, 1))
            }
            // Who refuses is neither the coordinator nor who asks. The first round of questions only asks: it begins
            // with a time-out, or with a restart.
            "resolver-decides" if self.nodes < 3 => Some(Lack::Nodes(3)),
            "resolver-decides" if !fires(2) && (crashes == 0 || !fires(1)) => budget(Budget::Timeouts, 2),
            _ => None,
        }
    }

    /// A member's heartbeat; and of who is not admitted, the question.
    fn is_armed_at_rest(&self, _member: NodeId, state: &RolloutNode, timer: &Timer) -> bool {
        match timer {
            Timer::Heartbeat => !state.is_joining(),
            Timer::Silence => !state.is_joining() && !state.is_coordinator(),
            Timer::Join => state.is_joining(),
            Timer::Fleet => state.durable().fleet_under_way().is_some(),
            Timer::Vote
            | Timer::Resend
            | Timer::Step
            | Timer::Deadline
            | Timer::Stale(_)
            | Timer::Inquire => false,
        }
    }

    /// Who asks a coordinator that is excluded is told so, again and again.
    fn owes_answers(&self, now: &Observation<'_, RolloutNode, Ledger>) -> bool {
        now.up().all(|(_, state)| state.excluded().is_none())
    }

    fn converged(&self, now: &Observation<'_, RolloutNode, Ledger>) -> Result<(), String> {
        invariants::converged(now)
    }

    fn progress_without(
        &self,
        gone: NodeId,
        now: &Observation<'_, RolloutNode, Ledger>,
    ) -> Result<(), String> {
        invariants::goes_on(gone, now)
    }
}

/// The rollout node itself, to be exhausted.
pub fn model() -> ModelDef<RolloutSystem> {
    ModelDef {
        name: "rollout",
        about: "The canary rollout's own node: two-phase commit with crashes, loss and time-outs.",
        system: RolloutSystem::new,
        size: (3, 1),
        limits: LIMITS,
    }
}

/// The spaces of the main job: each is about something that the others leave out, and takes a second or so. (A loss costs
/// nothing: it is asked of every state whether it settles with what is under way lost.)
pub fn spaces() -> Vec<ModelArgs> {
    let one = Some(1);
    let none = ModelArgs { crashes: Some(0), timeouts: Some(0), ..ModelArgs::default() };
    vec![
        ModelArgs::default(),
        ModelArgs { crashes: one, operations: Some(2), ..none },
        ModelArgs { timeouts: Some(2), ..none },
        ModelArgs { timeouts: one, operations: Some(2), ..none },
        ModelArgs { crashes: one, periodic: one, ..none },
        ModelArgs { crashes: one, disk: Some(Disk::Async), ..none },
        ModelArgs { crashes: one, retries: one, ..none },
        ModelArgs { duplicates: one, timeouts: one, ..none },
        ModelArgs { wipes: one, timeouts: one, ..none },
        ModelArgs { wipes: one, operations: Some(2), ..none },
    ]
}

/// Ever larger spaces of the model: each is about something that the ones before it leave out.
pub fn ladder() -> Vec<ModelArgs> {
    let one = Some(1);
    let quiet = ModelArgs { crashes: one, drops: Some(0), timeouts: Some(0), ..ModelArgs::default() };
    let four = ModelArgs { nodes: Some(4), ..quiet };
    let wiped = ModelArgs { wipes: one, crashes: Some(0), ..quiet };
    vec![
        quiet,
        ModelArgs { duplicates: one, ..quiet },
        // Two rollouts, one after the other.
        ModelArgs { operations: Some(2), drops: one, ..quiet },
        // Heartbeats: who is behind catches up.
        ModelArgs { periodic: one, ..quiet },
        ModelArgs { retries: one, ..quiet },
        ModelArgs { drops: one, ..four },
        ModelArgs { drops: one, cuts: one, timeouts: one, ..quiet },
        // A coordinator and a participant crash, or one of them twice.
        ModelArgs { crashes: Some(2), ..quiet },
        ModelArgs { timeouts: one, disk: Some(Disk::Async), ..quiet },
        ModelArgs { disk: Some(Disk::Async), ..four },
        ModelArgs { operations: Some(2), ..four },
        // A disk is lost, between two rollouts, or besides a crash.
        ModelArgs { operations: Some(2), ..wiped },
        ModelArgs { timeouts: one, ..wiped },
        ModelArgs { crashes: one, ..wiped },
        // Two rounds of questions: there are resolvers, and they decide.
        ModelArgs { timeouts: Some(2), ..quiet },
    ]
}

/// What the operator asks of the coordinator.
fn operator(sequence: u32, request: Request) -> Operation<RolloutNode> {
    Operation { to: NodeId(1), id: RequestId { client: 1, sequence: sequence.into() }, request }
}

fn ask(sequence: u64, request: Request) -> What<RolloutNode> {
    ask_at(1, sequence, request)
}

/// The operator asks this node for something.
fn ask_at(node: u32, sequence: u64, request: Request) -> What<RolloutNode> {
    What::Ask { to: NodeId(node), id: RequestId { client: 1, sequence }, request }
}

/// The client asks the coordinator for a rollout that nothing judges.
pub fn roll_out(sequence: u64, model: &str, percents: &[u64], pause_ms: u64) -> What<RolloutNode> {
    ask(sequence, Request::StartRollout(RolloutPlan { gates: Guard::Off, ..plan(model, percents, pause_ms) }))
}

/// The client asks the coordinator for a rollout that gates judge, and that waits ten seconds for evidence.
pub fn roll_out_guarded(sequence: u64, model: &str, percents: &[u64], pause_ms: u64) -> What<RolloutNode> {
    let configured = RolloutPlan::guarded(model_id(model), basis_points(percents), pause_ms);
    ask(sequence, Request::StartRollout(RolloutPlan { deadline_ms: 10_000, ..configured }))
}

fn plan(model: &str, percents: &[u64], pause_ms: u64) -> RolloutPlan {
    RolloutPlan::unguarded(model_id(model), basis_points(percents), pause_ms)
}

fn model_id(name: &str) -> ModelId {
    ModelId::new(name).expect("a valid name")
}

fn basis_points(percents: &[u64]) -> Vec<u32> {
    percents.iter().map(|&percent| percent as u32 * 100).collect()
}

/// The operator gives an order.
pub fn steer(sequence: u64, order: Order) -> What<RolloutNode> {
    ask(sequence, Request::Steer { order, rollout: None })
}

/// A node's data plane reports what a model did under a version, beside a stable `v1` that is well.
pub fn report_health(to: u32, sequence: u64, version: u64, model: &str, did: Window) -> What<RolloutNode> {
    let id = RequestId { client: 2, sequence };
    let request = Request::ReportHealth(health(sequence, version, model, did));
    What::Ask { to: NodeId(to), id, request }
}

/// What a data plane measured: a canary, and ten thousand requests of a stable `v1` that is well.
fn health(window_id: u64, version: u64, model: &str, did: Window) -> Health {
    let stable = Window { samples: 10_000, p95_ms: 40, error_bp: 0 };
    Health { window_id, version, models: [(model_id("v1"), stable), (model_id(model), did)].into() }
}

/// A canary that is well.
pub const WELL: Window = Window { samples: 200, p95_ms: 50, error_bp: 0 };
/// A canary of which half of the requests fail.
pub const HALF_FAILS: Window = Window { samples: 200, p95_ms: 50, error_bp: 5_000 };
/// A canary of which every request fails.
pub const ALL_FAIL: Window = Window { samples: 200, p95_ms: 50, error_bp: 10_000 };
