//! Any message and any record of the rollout.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use coalmine_core::node::{Address, NodeId, RequestId};
use coalmine_core::rollout::config::{Timeouts, Told};
use coalmine_core::rollout::durable::Record;
use coalmine_core::rollout::fleet::{Fleet, FleetCourse, FleetWhy, Life, Part, Served, Standing, Task};
use coalmine_core::rollout::gates::{Breach, Gate, Gates};
use coalmine_core::rollout::health::{Health, Window};
use coalmine_core::rollout::message::{
    AbortReason, Answer, Course, Envelope, Guard, Known, Message, OnFailure, Operator, Order, Outcome,
    Passed, Refusal, Rollout, RolloutPlan, Step, StepResult, Vote, Why,
};
use coalmine_core::rollout::state::{
    Change, ClusterId, Member, ModelId, RoutingState, Status, Txid, WHOLE_BP, Weights,
};
use proptest::prelude::*;

pub(super) fn node_id() -> impl Strategy<Value = NodeId> {
    any::<u32>().prop_map(NodeId)
}

pub(super) fn txid() -> impl Strategy<Value = Txid> {
    any::<(u32, u32, u32)>().prop_map(|(generation, epoch, number)| Txid { generation, epoch, number })
}

/// Names of models, with everything that may be in one.
pub(super) fn model() -> impl Strategy<Value = ModelId> {
    "[a-zA-Z0-9][a-zA-Z0-9._:/@+-]{0,11}".prop_map(|name| ModelId::new(&name).expect("a valid name"))
}

pub(super) fn weights() -> impl Strategy<Value = Weights> {
    prop::collection::btree_map(model(), 0..=WHOLE_BP, 1..5).prop_map(|drawn| {
        let mut left = WHOLE_BP;
        let mut shares: BTreeMap<_, _> = BTreeMap::new();
        for (model, bp) in drawn {
            let bp = bp.min(left);
            left -= bp;
            shares.insert(model, bp);
        }
        *shares.values_mut().next().expect("at least one model") += left;
        Weights::new(shares).expect("they sum to the whole")
    })
}

pub(super) fn state() -> impl Strategy<Value = RoutingState> {
    let status = prop_oneof![Just(Status::Stable), Just(Status::Canary)];
    let txids = (prop::option::of(txid()), prop::option::of(txid()));
    let members = prop::collection::vec(member(), 0..4);
    (any::<u64>(), model(), prop::option::of(model()), weights(), status, txids, members).prop_map(
        |(version, stable_model_id, canary_model_id, weights, status, (txid, trial), members)| RoutingState {
            version,
            stable_model_id,
            canary_model_id,
            weights,
            status,
            txid,
            trial,
            members,
        },
    )
}

fn member() -> impl Strategy<Value = Member> {
    (node_id(), address(), any::<u64>()).prop_map(|(id, address, since)| Member { id, address, since })
}

fn address() -> impl Strategy<Value = Option<Address>> {
    prop::option::of(any::<(u32, u16, u16)>().prop_map(|(ip, control, data)| {
        let at = |port| SocketAddr::from((ip.to_be_bytes(), port));
        Address { control: at(control), data: at(data) }
    }))
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (node_id(), address()).prop_map(|(member, address)| Change::Admit { member, address }),
        (node_id(), any::<bool>()).prop_map(|(member, is_gone)| Change::Dismiss { member, is_gone }),
    ]
}

fn cluster() -> impl Strategy<Value = ClusterId> {
    any::<u64>().prop_map(ClusterId)
}

fn told() -> impl Strategy<Value = Told> {
    let members = prop::collection::vec(node_id(), 0..4).boxed();
    let timeouts =
        any::<(u64, u64, u64, u64)>().prop_map(|(vote_ms, resend_ms, inquire_ms, heartbeat_ms)| Timeouts {
            vote_ms,
            resend_ms,
            inquire_ms,
            heartbeat_ms,
        });
    let regions = prop::collection::vec((any::<String>(), members.clone()), 0..3);
    (members, node_id(), regions, model(), gates(), any::<u64>(), timeouts)
        .prop_map(|(members, coordinator, regions, initial_model, gates, window_ms, timeouts)| Told {
            members,
            coordinator,
            regions,
            initial_model,
            gates,
            window_ms,
            timeouts,
        })
        .boxed()
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        any::<(u64, u64)>().prop_map(|(proposed, committed)| Refusal::VersionNotNext { proposed, committed }),
        txid().prop_map(|txid| Refusal::Busy { txid }),
        breach().prop_map(Refusal::Gate),
        any::<u64>().prop_map(|window_id| Refusal::StaleEvidence { window_id }),
        any::<(u32, u32)>().prop_map(|(samples, needed)| Refusal::NoEvidence { samples, needed }),
        Just(Refusal::SplitBrain),
        txid().prop_map(|floor| Refusal::Stale { floor }),
        node_id().prop_map(|by| Refusal::Resolved { by }),
        Just(Refusal::Members),
        Just(Refusal::Rejoined),
    ]
}

fn breach() -> impl Strategy<Value = Breach> {
    let gate = prop_oneof![Just(Gate::P95), Just(Gate::Errors), Just(Gate::P95Rise), Just(Gate::ErrorRise),];
    (gate, any::<(u32, u32, u32)>()).prop_map(|(gate, (value, limit, samples))| Breach {
        gate,
        value,
        limit,
        samples,
    })
}

fn gates() -> impl Strategy<Value = Gates> {
    any::<(u32, u32, u32, u32, u32)>().prop_map(
        |(max_p95_ms, max_error_bp, max_p95_rise_ms, max_error_rise_bp, min_samples)| Gates {
            max_p95_ms,
            max_error_bp,
            max_p95_rise_ms,
            max_error_rise_bp,
            min_samples,
        },
    )
}

fn health() -> impl Strategy<Value = Health> {
    let window =
        any::<(u32, u32, u32)>().prop_map(|(samples, p95_ms, error_bp)| Window { samples, p95_ms, error_bp });
    (any::<(u64, u64)>(), prop::collection::btree_map(model(), window, 0..3))
        .prop_map(|((window_id, version), models)| Health { window_id, version, models })
}

fn passed() -> impl Strategy<Value = Passed> {
    (gates(), health()).prop_map(|(gates, health)| Passed { gates, health })
}

fn request_id() -> impl Strategy<Value = RequestId> {
    any::<(u64, u64)>().prop_map(|(client, sequence)| RequestId { client, sequence })
}

fn why() -> impl Strategy<Value = Why> {
    prop_oneof![
        Just(Why::Ordered),
        (node_id(), refusal()).prop_map(|(at, refusal)| Why::Judged { at, refusal }),
        reason().prop_map(Why::Aborted),
    ]
    .boxed()
}

fn course() -> impl Strategy<Value = Course> {
    prop_oneof![
        Just(Course::Going),
        why().prop_map(Course::Paused),
        Just(Course::Promoted),
        why().prop_map(Course::Returning),
        why().prop_map(Course::Returned),
        why().prop_map(Course::Stopped),
        request_id().prop_map(|by| Course::Superseded { by }),
        Just(Course::Kept),
    ]
    .boxed()
}

fn operator() -> impl Strategy<Value = Operator> {
    let order = prop::sample::select(Order::ALL.to_vec());
    (request_id(), order, prop::option::of(request_id())).prop_map(|(id, order, rollout)| Operator {
        id,
        order,
        rollout,
    })
}

fn plan() -> impl Strategy<Value = RolloutPlan> {
    let guard =
        prop_oneof![Just(Guard::Off), Just(Guard::Configured), gates().prop_map(Guard::These)].boxed();
    let on_failure = prop::sample::select(vec![OnFailure::Stop, OnFailure::Return, OnFailure::Pause]);
    let steps = prop::collection::vec(any::<u32>(), 0..4);
    let holds = prop::collection::vec(any::<u64>(), 0..4);
    (model(), steps, holds, guard, on_failure, any::<(u64, u64, bool)>()).prop_map(
        |(model, steps_bp, holds_ms, gates, on_failure, (pause_ms, deadline_ms, supersede))| RolloutPlan {
            model,
            steps_bp,
            pause_ms,
            holds_ms,
            gates,
            on_failure,
            deadline_ms,
            supersede,
        },
    )
}

fn reason() -> impl Strategy<Value = AbortReason> {
    prop_oneof![
        (node_id(), refusal()).prop_map(|(by, refusal)| AbortReason::Refused { by, refusal }),
        prop::collection::vec(node_id(), 0..4).prop_map(|missing| AbortReason::Timeout { missing }),
        Just(AbortReason::CoordinatorRestarted),
        node_id().prop_map(|by| AbortReason::Resolved { by }),
        Just(AbortReason::Ordered),
    ]
    .boxed()
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Commit), Just(Outcome::Abort)]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        Just(Answer::Committed),
        Just(Answer::Aborted),
        Just(Answer::Uncertain),
        Just(Answer::Unknown),
    ]
}

pub(super) fn message() -> impl Strategy<Value = Envelope> {
    (said().boxed(), prop::option::of(cluster())).prop_map(|(message, cluster)| Envelope { message, cluster })
}

fn said() -> impl Strategy<Value = Message> {
    let members = prop::collection::vec(node_id(), 0..5);
    let vote = prop_oneof![Just(Vote::Commit), refusal().prop_map(Vote::Abort)];
    prop_oneof![
        (txid(), state(), members, prop::option::of(gates())).prop_map(|(txid, state, members, gates)| {
            Message::PrepareReq { txid, state, members, gates }
        }),
        (txid(), vote).prop_map(|(txid, vote)| Message::PrepareResp { txid, vote }),
        (txid(), any::<u64>(), outcome()).prop_map(|(txid, version, outcome)| Message::Decision {
            txid,
            version,
            outcome
        }),
        txid().prop_map(|txid| Message::DecisionAck { txid }),
        (txid(), any::<(u64, bool)>()).prop_map(|(txid, (version, resolve))| Message::DecisionReq {
            txid,
            version,
            resolve
        }),
        (txid(), answer()).prop_map(|(txid, answer)| Message::DecisionResp { txid, answer }),
        (node_id(), any::<(u64, u64)>()).prop_map(|(node_id, (last_committed_version, digest))| {
            Message::Heartbeat { node_id, last_committed_version, digest }
        }),
        health().prop_map(|health| Message::HealthSnapshot { health }),
        state().prop_map(|state| Message::StateSync { state }),
        (any::<u64>(), told()).prop_map(|(life, told)| Message::JoinReq { life, told }),
        (any::<u64>(), told()).prop_map(|(life, told)| Message::Unlike { life, told }),
        (any::<u64>(), cluster(), state(), txid()).prop_map(|(life, member_of, state, begun)| {
            Message::JoinResp { life, member_of, state, begun }
        }),
        (any::<(u64, u32, bool)>(), told()).prop_map(|((life, generation, takes_over), told)| {
            Message::AdmitReq { life, generation, takes_over, told }
        }),
        (any::<(u64, u32)>(), prop::option::of(known()))
            .prop_map(|((life, generation), known)| { Message::AdmitResp { life, generation, known } }),
        (request_id(), task()).prop_map(|(fleet, task)| Message::RegionReq { fleet, task }),
        (request_id(), any::<bool>(), life(), standing())
            .prop_map(|(fleet, back, life, standing)| Message::RegionResp { fleet, back, life, standing }),
    ]
}

fn life() -> impl Strategy<Value = Life> {
    (prop::option::of(cluster()), any::<u32>())
        .prop_map(|(cluster, generation)| Life { cluster, generation })
        .boxed()
}

fn served() -> impl Strategy<Value = Served> {
    (life(), any::<u64>(), model())
        .prop_map(|(life, version, stable)| Served { life, version, stable })
        .boxed()
}

fn task() -> impl Strategy<Value = Task> {
    prop_oneof![
        Just(Task::State),
        (plan(), served()).prop_map(|(plan, was)| Task::Out { plan, was }),
        (model(), model(), life()).prop_map(|(model, to, first)| Task::Back { model, to, first }),
    ]
    .boxed()
}

fn standing() -> impl Strategy<Value = Standing> {
    prop_oneof![
        served().prop_map(Standing::Serves),
        any::<(String, bool)>().prop_map(|(why, is_paused)| Standing::Waits { why, is_paused }),
        any::<(String, bool)>().prop_map(|(course, is_paused)| Standing::UnderWay { course, is_paused }),
        Just(Standing::Done),
        any::<String>().prop_map(|why| Standing::Failed { why }),
    ]
    .boxed()
}

fn fleet() -> impl Strategy<Value = Fleet> {
    let why = prop_oneof![
        Just(FleetWhy::Ordered),
        any::<(String, String)>().prop_map(|(region, why)| FleetWhy::Failed { region, why }),
    ]
    .boxed();
    let course = prop_oneof![
        Just(FleetCourse::Going),
        why.clone().prop_map(FleetCourse::Returning),
        Just(FleetCourse::Done),
        why.prop_map(FleetCourse::Returned),
        any::<String>().prop_map(|why| FleetCourse::Stopped { why }),
    ];
    let part = (any::<(String, bool, bool)>(), prop::option::of(life()), prop::option::of(served()))
        .prop_map(|((region, is_done, is_back), first, was)| Part { region, first, was, is_done, is_back });
    (request_id(), plan(), course, prop::collection::vec(part, 0..4))
        .prop_map(|(id, plan, course, parts)| Fleet { id, plan, course, parts })
        .boxed()
}

fn known() -> impl Strategy<Value = Known> {
    (state(), prop::option::of(state()), prop::option::of(any::<u64>()), prop::option::of(cluster()))
        .prop_map(|(state, in_doubt, joining, cluster)| Known { state, in_doubt, joining, cluster })
        .boxed()
}

fn rollout() -> impl Strategy<Value = Rollout> {
    let result = prop_oneof![
        Just(StepResult::Pending),
        (any::<u64>(), txid()).prop_map(|(version, txid)| StepResult::Committed { version, txid }),
        (txid(), reason()).prop_map(|(txid, reason)| StepResult::Aborted { txid, reason }),
    ];
    let step = (any::<(u32, bool, u64)>(), result).prop_map(|((share_bp, makes_stable, hold_ms), result)| {
        Step { share_bp, makes_stable, hold_ms, result }
    });
    let steps = prop::collection::vec(step, 0..5).boxed();
    let gates = prop::option::of(gates());
    (request_id(), plan().boxed(), steps, gates, prop::option::of(request_id()), course()).prop_map(
        |(id, plan, steps, gates, supersedes, course)| Rollout { id, plan, steps, gates, supersedes, course },
    )
}

pub(super) fn record() -> impl Strategy<Value = Record> {
    let members = prop::collection::vec(node_id(), 0..5);
    prop_oneof![
        any::<u32>().prop_map(|epoch| Record::Epoch { epoch }),
        rollout().boxed().prop_map(Record::Accepted),
        (prop::option::of(operator()), course()).prop_map(|(by, course)| Record::Steered { by, course }),
        (txid(), state(), members, prop::option::of(passed()))
            .prop_map(|(txid, state, members, passed)| Record::Voted { txid, state, members, passed }),
        txid().prop_map(|txid| Record::Refused { txid }),
        (txid(), outcome(), prop::option::of(reason())).prop_map(|(txid, outcome, reason)| Record::Decided {
            txid,
            outcome,
            reason
        }),
        state().prop_map(|state| Record::Installed { state }),
        (fleet(), prop::option::of(request_id())).prop_map(|(fleet, by)| Record::Fleet { fleet, by }),
        request_id().prop_map(|fleet| Record::Recalled { fleet }),
        (any::<u32>(), node_id())
            .prop_map(|(generation, coordinator)| Record::Granted { generation, coordinator }),
        (request_id(), change()).prop_map(|(id, change)| Record::Changing { id, change }),
        (request_id(), any::<u32>()).prop_map(|(id, generation)| Record::TakingOver { id, generation }),
        (request_id(), txid(), outcome()).prop_map(|(id, txid, outcome)| Record::Resolved {
            id,
            txid,
            outcome
        }),
        (node_id(), cluster(), node_id(), state(), txid()).prop_map(
            |(node, cluster, coordinator, state, begun)| Record::Admitted {
                node,
                cluster,
                coordinator,
                state,
                begun
            }
        ),
    ]
}
