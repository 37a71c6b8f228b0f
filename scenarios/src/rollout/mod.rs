//! The canary rollout as a system, its scenarios and its model.

pub mod chaos;
pub mod mistakes;
pub mod scripted;

use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::observation::{Invariant, Observation, Witness};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::healing::Healing;
use coalmine_core::rollout::health::Health;
use coalmine_core::rollout::invariants::{self, Ledger};
use coalmine_core::rollout::message::{Record, Request, Timer};
use coalmine_core::rollout::mistake::Mistake;
use coalmine_core::rollout::state::{ModelId, RoutingState, Txid, WHOLE_BP};
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
    /// The rule that its nodes break; none, but in tests.
    pub mistake: Option<Mistake>,
    /// The way of healing that its nodes lack; none, but in tests.
    pub without: Option<Healing>,
}

impl RolloutSystem {
    /// A cluster of so many nodes.
    pub fn new(nodes: u32, rollouts: u32) -> Self {
        Self { nodes, rollouts, mistake: None, without: None }
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
        let shipped = Settings::shipped();
        for config in &mut configs {
            config.gates = shipped.gates();
            config.timeouts = shipped.timeouts.clone();
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
    fn first_disk(&self, _member: NodeId) -> Vec<Record> {
        let state = RoutingState::initial(&Config::cluster(1)[0].initial_model);
        vec![Record::Admitted { state, begun: Txid::before(1) }]
    }

    fn is_periodic(&self, timer: &Timer) -> bool {
        *timer == Timer::Heartbeat
    }

    fn operations(&self) -> Vec<Operation<RolloutNode>> {
        let rollout = |sequence: u32| Operation {
            to: NodeId(1),
            id: RequestId { client: 1, sequence: sequence.into() },
            request: Request::StartRollout {
                model: ModelId::new(&format!("v{}", sequence + 1)).expect("a valid name"),
                steps_bp: vec![WHOLE_BP],
                pause_ms: 0,
            },
        };
        (1..=self.rollouts).map(rollout).collect()
    }

    fn size_flags(&self) -> SizeFlags {
        SizeFlags { operations: Some("rollouts"), ..SizeFlags::default() }
    }

    fn inputs(&self) -> Vec<Operation<RolloutNode>> {
        let slow = Health { window_id: 1, samples: 100, p95_ms: 1_000, error_bp: 0 };
        let report = |member: u32| Operation {
            to: NodeId(member),
            id: RequestId { client: 2, sequence: member.into() },
            request: Request::ReportHealth(slow.clone()),
        };
        (1..=self.nodes).map(report).collect()
    }

    fn mistakes(&self) -> Vec<system::Mistake> {
        mistakes::all()
    }

    fn with_mistake(&self, name: &str) -> Option<Self> {
        Some(self.clone().with(Mistake::named(name)?))
    }

    fn with_members(&self, members: u32) -> Option<Self> {
        (members > 0).then(|| Self { nodes: members, ..self.clone() })
    }

    fn simpler_requests(&self, request: &Request) -> Vec<Request> {
        match request {
            Request::StartRollout { model, steps_bp, pause_ms }
                if steps_bp.as_slice() != [WHOLE_BP] || *pause_ms > 0 =>
            {
                let at_once = |steps_bp: Vec<u32>| Request::StartRollout {
                    model: model.clone(),
                    steps_bp,
                    pause_ms: 0,
                };
                vec![at_once(vec![WHOLE_BP]), at_once(steps_bp.clone())]
            }
            Request::StartRollout { .. } | Request::ReportHealth(_) => Vec::new(),
        }
    }

    fn invariants(&self) -> Vec<Invariant<RolloutNode, Ledger>> {
        invariants::all()
    }

    /// These compare what was told with what was told, or look at one node and its journal alone. The others ask what
    /// was *not* told.
    fn holds_in_parts(&self, invariant: &str) -> bool {
        matches!(invariant, "one-outcome" | "one-state-per-version" | "no-split-brain" | "once-per-request")
    }

    fn witnesses(&self) -> Vec<Witness<RolloutNode, Ledger>> {
        invariants::witnesses()
    }

    fn lacks(&self, witness: &str, limits: &Limits) -> Option<Lack> {
        if self.rollouts == 0 {
            return None; // where nobody asks for anything nothing is excused
        }
        let Limits { crashes, wipes, periodic, inputs, timeouts, .. } = *limits;
        let budget = |budget, times| Some(Lack::Budget(budget, times));
        let fires = |times: u8| timeouts.is_none_or(|timeouts| timeouts >= times);
        // Who is alone needs nobody's vote, and nobody to learn from.
        let (is_alone, goes_down) = (self.nodes < 2, crashes + wipes > 0);
        match witness {
            "decided-while-in-doubt" | "blocks" | "recovers" | "catches-up" | "excluded" if is_alone => {
                Some(Lack::Nodes(2))
            }
            "aborts" if !goes_down && inputs == 0 && (is_alone || !fires(1)) => budget(Budget::Crashes, 1),
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
            Timer::Join => state.is_joining(),
            Timer::Vote | Timer::Resend | Timer::Step | Timer::Inquire => false,
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
        ModelArgs { inputs: one, timeouts: one, ..none },
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
        // Members that turn unhealthy refuse.
        ModelArgs { inputs: one, retries: one, ..quiet },
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

/// The client asks the coordinator for a rollout.
pub fn roll_out(sequence: u64, model: &str, percents: &[u64], pause_ms: u64) -> What<RolloutNode> {
    let request = Request::StartRollout {
        model: ModelId::new(model).expect("a valid name"),
        steps_bp: percents.iter().map(|&percent| percent as u32 * 100).collect(),
        pause_ms,
    };
    What::Ask { to: NodeId(1), id: RequestId { client: 1, sequence }, request }
}

/// A node's data plane reports a window of a hundred requests.
pub fn report_health(to: u32, sequence: u64, p95_ms: u32, error_bp: u32) -> What<RolloutNode> {
    let health = Health { window_id: sequence, samples: 100, p95_ms, error_bp };
    let id = RequestId { client: 2, sequence };
    What::Ask { to: NodeId(to), id, request: Request::ReportHealth(health) }
}
