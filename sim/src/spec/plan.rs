//! What happens in one run, as plain data: what clients ask, what breaks, when. A plan can be written by
//! hand or drawn from a seed. One that says what cannot happen, or does nothing, is [refused](Plan::check).

use coalmine_core::node::{Node, NodeId, RequestId, Word};
use serde::{Deserialize, Serialize};

use crate::panics::describe;
use crate::spec::data::piece;
use crate::spec::faults::{Fault, PERMILLE, TIMES_MS, in_range};
use crate::spec::mistake::MistakeName;
use crate::spec::sound::{Requests, is_member};
use crate::spec::variants;

/// The timeline of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "", deny_unknown_fields)]
pub struct Plan<N: Node> {
    /// How many members the system has, if not as many as its scenario says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<u32>,
    /// The mistake that the system makes on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mistake: Option<MistakeName>,
    /// How the network treats frames until it is healed.
    #[serde(default)]
    pub links: Links,
    /// What happens, in any order.
    pub steps: Vec<PlanStep<N>>,
    /// When the safety phase ends: all faults are healed, every node is restarted.
    pub heal_at_ms: u64,
    /// How long the system may then take to converge: until it has, and stays so.
    pub converge_within_ms: u64,
    /// For how long it must then stay converged.
    #[serde(default = "steady_ms")]
    pub steady_ms: u64,
}

/// For how long a system must stay converged, in milliseconds, unless its plan says otherwise: longer than most
/// periodic timers take to come round.
pub const STEADY_MS: u64 = 5_000;

fn steady_ms() -> u64 {
    STEADY_MS
}

/// How links treat frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Links {
    /// How many frames in a thousand are lost.
    pub loss_permille: u32,
    /// How many in a thousand arrive twice.
    pub duplicate_permille: u32,
    /// How many in a thousand are held back, so that later ones overtake them.
    pub delay_permille: u32,
    /// For how long at most.
    pub delay_ms: u32,
}

impl Links {
    /// Whether frames pass untouched.
    pub fn are_fault_free(&self) -> bool {
        self.loss_permille == 0 && self.duplicate_permille == 0 && self.delay_permille == 0
    }
}

/// One step of a plan: one key says when, one says what.
///
/// ```toml
/// steps = [
///   { received = { node = 3, message = "PrepareReq", nth = 1 }, fault = { crash = { node = 3, down_ms = 4000 } } },
/// ]
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct PlanStep<N: Node> {
    /// When it happens.
    #[serde(flatten)]
    pub when: When,
    /// What happens.
    #[serde(flatten)]
    pub what: What<N>,
}

/// When a step of a plan happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum When {
    /// At this time since the beginning, in milliseconds.
    AtMs(u64),
    /// When a node takes the `nth` message (from 1) of this kind, before it does anything about it.
    Received {
        /// The node.
        node: NodeId,
        /// The message's [variant](coalmine_core::node::variant_name).
        message: String,
        /// Which one.
        nth: u32,
    },
    /// When the `nth` record (from 1) of this kind is durable at a node, before anything it holds back leaves.
    Durable {
        /// The node.
        node: NodeId,
        /// The record's [variant](coalmine_core::node::variant_name).
        record: String,
        /// Which one.
        nth: u32,
    },
}

impl When {
    /// In words.
    pub fn describe(&self) -> String {
        let times = |nth: u32| if nth <= 1 { String::new() } else { format!(", {nth} times") };
        match self {
            Self::AtMs(at) => format!("at {} s", *at as f64 / 1000.0),
            Self::Received { node, message, nth } => format!("when {node} gets {message}{}", times(*nth)),
            Self::Durable { node, record, nth } => {
                format!("when {record} is on the disk of {node}{}", times(*nth))
            }
        }
    }
}

/// What a step of a plan does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "", rename_all = "snake_case", deny_unknown_fields)]
pub enum What<N: Node> {
    /// A client sends a request, and sends it again until it is answered.
    Ask {
        /// To whom.
        to: NodeId,
        /// The request's name.
        #[serde(with = "piece")]
        id: RequestId,
        /// What is asked.
        #[serde(with = "piece")]
        request: N::Request,
    },
    /// Something goes wrong.
    Fault(Fault),
}

impl<N: Node> What<N> {
    /// In words.
    pub fn describe(&self) -> String {
        match self {
            Self::Fault(fault) => fault.describe(),
            Self::Ask { to, id, request } => {
                format!("a client asks {to}: {id} {}", describe::<N>(Word::Request(request)))
            }
        }
    }
}

impl<N: Node> PlanStep<N> {
    /// At which time it happens, in milliseconds, if it is at a time.
    pub fn time(&self) -> Option<u64> {
        match self.when {
            When::AtMs(at) => Some(at),
            When::Received { .. } | When::Durable { .. } => None,
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        format!("{}: {}", self.when.describe(), self.what.describe())
    }
}

impl<N: Node> Plan<N> {
    /// A plan without faults, in which clients ask these things at these times (in milliseconds).
    pub fn quiet(asks: impl IntoIterator<Item = (u64, What<N>)>) -> Self {
        let steps = asks.into_iter().map(|(at, what)| PlanStep { when: When::AtMs(at), what }).collect();
        Self {
            members: None,
            mistake: None,
            links: Links::default(),
            steps,
            heal_at_ms: 15_000,
            converge_within_ms: 30_000,
            steady_ms: STEADY_MS,
        }
    }

    /// The same plan with its steps in order of time, and last those that have none. What happens is the same: those of
    /// one time stay in their order.
    pub fn in_order(mut self) -> Self {
        self.steps.sort_by_key(|step| (step.time().is_none(), step.time()));
        self
    }

    /// The same plan for a system without this member: what concerns nobody else is left out.
    pub fn without(&self, gone: NodeId) -> Self {
        let stays = |when: &When| match when {
            When::AtMs(_) => true,
            When::Received { node, .. } | When::Durable { node, .. } => *node != gone,
        };
        let rest = self.steps.iter().filter(|step| stays(&step.when)).filter_map(|step| {
            let what = match &step.what {
                What::Ask { to, .. } => (*to != gone).then(|| step.what.clone()),
                What::Fault(fault) => fault.without(gone).map(What::Fault),
            };
            Some(PlanStep { when: step.when.clone(), what: what? })
        });
        Self { steps: rest.collect(), ..self.clone() }
    }

    /// Whether it makes sense for these members; `Err` names the field, or the step and its field.
    pub fn check(&self, members: &[NodeId]) -> Result<(), String> {
        let Links { loss_permille, duplicate_permille, delay_permille, delay_ms } = self.links;
        in_range("plan.heal_at_ms", self.heal_at_ms, TIMES_MS)?;
        in_range("plan.converge_within_ms", self.converge_within_ms, TIMES_MS)?;
        in_range("plan.steady_ms", self.steady_ms, TIMES_MS)?;
        in_range("plan.links.loss_permille", loss_permille, PERMILLE)?;
        in_range("plan.links.duplicate_permille", duplicate_permille, PERMILLE)?;
        in_range("plan.links.delay_permille", delay_permille, PERMILLE)?;
        in_range("plan.links.delay_ms", u64::from(delay_ms), TIMES_MS)?;
        let mut requests = Requests::default();
        for (place, step) in self.steps.iter().enumerate() {
            let named = match &step.what {
                What::Ask { id, request, .. } => requests.add(N::FORM, *id, request.clone()),
                What::Fault(_) => Ok(()),
            };
            let checked = self.check_step(step, members).and(named.map_err(|why| format!("ask.id: {why}")));
            checked.map_err(|why| format!("plan.steps[{place}]: {why}"))?;
        }
        Ok(())
    }

    /// Whether a step can happen, and do anything; `Err` names the field.
    pub fn check_step(&self, step: &PlanStep<N>, members: &[NodeId]) -> Result<(), String> {
        let mut named = match &step.what {
            What::Ask { to, .. } => vec![*to],
            What::Fault(fault) => fault.nodes(),
        };
        match step.when {
            When::Received { node, .. } | When::Durable { node, .. } => named.push(node),
            When::AtMs(_) => {}
        }
        named.into_iter().try_for_each(|node| is_member(node, members))?;
        match &step.when {
            When::AtMs(at) if *at >= self.heal_at_ms => {
                return Err(format!("at_ms: {at} is not before heal_at_ms, {}", self.heal_at_ms));
            }
            When::AtMs(_) => {}
            When::Received { message, nth, .. } => {
                known("received.message", message, &variants::of::<N::Message>())?;
                in_range("received.nth", *nth, 1..=u32::MAX)?;
            }
            When::Durable { record, nth, .. } => {
                known("durable.record", record, &variants::of::<N::Record>())?;
                in_range("durable.nth", *nth, 1..=u32::MAX)?;
            }
        }
        match &step.what {
            What::Ask { .. } => Ok(()),
            What::Fault(fault) => fault.check(members),
        }
    }

    /// The same plan with one more step.
    pub fn with(mut self, when: When, what: What<N>) -> Self {
        self.steps.push(PlanStep { when, what });
        self
    }
}

/// Whether there is such a variant, as far as serde knows what there is.
fn known(field: &str, name: &String, names: &[String]) -> Result<(), String> {
    if names.is_empty() || names.contains(name) {
        return Ok(());
    }
    Err(format!("{field}: there is no {name:?}; there are: {}", names.join(", ")))
}

/// The independent sources of randomness of one run: what is drawn from one leaves the others alone.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// The plan.
    Plan = 1,
    /// What links do to frames.
    Network = 2,
    /// How long disks take, and what a crash leaves.
    Disk = 3,
    /// How long timers wait within their ranges, and what nodes choose.
    Timers = 4,
    /// How much of a frame a connection takes, or gives, at once.
    Wire = 5,
}

impl Stream {
    /// This stream of a seed.
    pub fn of(self, seed: u64) -> rand_chacha::ChaCha8Rng {
        use rand_chacha::rand_core::SeedableRng;
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(self as u64);
        rng
    }
}

/// Draws from a stream.
pub trait Draw {
    /// A number below `n`, without noticeable bias.
    fn below(&mut self, n: u64) -> u64;
    /// Whether something happens that happens so many times in a thousand.
    fn permille(&mut self, times: u32) -> bool {
        times > 0 && self.below(1000) < u64::from(times)
    }
    /// One of these.
    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

impl Draw for rand_chacha::ChaCha8Rng {
    fn below(&mut self, n: u64) -> u64 {
        use rand_chacha::rand_core::RngCore;
        assert!(n > 0, "there is no number below 0");
        // The high half of the product (Lemire, 2019): its bias is below 2^-64 times n.
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }
}
