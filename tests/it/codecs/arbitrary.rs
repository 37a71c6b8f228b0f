//! Any message and any record of the rollout.

use std::collections::BTreeMap;

use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::rollout::health::Health;
use coalmine_core::rollout::message::{
    AbortReason, Answer, Known, Message, Outcome, Record, Refusal, Rollout, Step, StepResult, Vote,
};
use coalmine_core::rollout::state::{ModelId, RoutingState, Status, Txid, WHOLE_BP, Weights};
use proptest::prelude::*;

pub(super) fn node_id() -> impl Strategy<Value = NodeId> {
    any::<u32>().prop_map(NodeId)
}

pub(super) fn txid() -> impl Strategy<Value = Txid> {
    any::<(u32, u32, u32)>().prop_map(|(generation, epoch, number)| Txid { generation, epoch, number })
}

/// Names with everything that JSON has to escape, or that takes several bytes.
pub(super) fn model() -> impl Strategy<Value = ModelId> {
    "[a-z0-9 \"\\\\/.{}:é漢🚀]{1,12}".prop_map(|name| ModelId::new(&name).expect("a valid name"))
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
    (any::<u64>(), model(), prop::option::of(model()), weights(), status, prop::option::of(txid())).prop_map(
        |(version, stable_model_id, canary_model_id, weights, status, txid)| RoutingState {
            version,
            stable_model_id,
            canary_model_id,
            weights,
            status,
            txid,
        },
    )
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        any::<(u64, u64)>().prop_map(|(proposed, committed)| Refusal::VersionNotNext { proposed, committed }),
        txid().prop_map(|txid| Refusal::Busy { txid }),
        any::<(u32, u32)>().prop_map(|(p95_ms, limit_ms)| Refusal::Latency { p95_ms, limit_ms }),
        any::<(u32, u32)>().prop_map(|(error_bp, limit_bp)| Refusal::Errors { error_bp, limit_bp }),
        any::<(u32, u32)>().prop_map(|(samples, needed)| Refusal::NoEvidence { samples, needed }),
        Just(Refusal::SplitBrain),
        Just(Refusal::Stale),
        node_id().prop_map(|by| Refusal::Resolved { by }),
        Just(Refusal::Members),
        Just(Refusal::Rejoined),
    ]
}

fn reason() -> impl Strategy<Value = AbortReason> {
    prop_oneof![
        (node_id(), refusal()).prop_map(|(by, refusal)| AbortReason::Refused { by, refusal }),
        prop::collection::vec(node_id(), 0..4).prop_map(|missing| AbortReason::Timeout { missing }),
        Just(AbortReason::CoordinatorRestarted),
        node_id().prop_map(|by| AbortReason::Resolved { by }),
    ]
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

pub(super) fn message() -> impl Strategy<Value = Message> {
    let members = prop::collection::vec(node_id(), 0..5);
    let health = any::<(u64, u32, u32, u32)>().prop_map(|(window_id, samples, p95_ms, error_bp)| Health {
        window_id,
        samples,
        p95_ms,
        error_bp,
    });
    let vote = prop_oneof![Just(Vote::Commit), refusal().prop_map(Vote::Abort)];
    prop_oneof![
        (txid(), state(), members).prop_map(|(txid, state, members)| Message::PrepareReq {
            txid,
            state,
            members
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
        health.prop_map(|health| Message::HealthSnapshot { health }),
        state().prop_map(|state| Message::StateSync { state }),
        any::<u64>().prop_map(|life| Message::JoinReq { life }),
        (any::<u64>(), state(), txid()).prop_map(|(life, state, begun)| Message::JoinResp {
            life,
            state,
            begun
        }),
        any::<(u64, u32)>().prop_map(|(life, generation)| Message::AdmitReq { life, generation }),
        (any::<(u64, u32)>(), prop::option::of(known()))
            .prop_map(|((life, generation), known)| { Message::AdmitResp { life, generation, known } }),
    ]
}

fn known() -> impl Strategy<Value = Known> {
    (state(), prop::option::of(state()), prop::option::of(any::<u64>()))
        .prop_map(|(state, in_doubt, joining)| Known { state, in_doubt, joining })
}

fn rollout() -> impl Strategy<Value = Rollout> {
    let result = prop_oneof![
        Just(StepResult::Pending),
        (any::<u64>(), txid()).prop_map(|(version, txid)| StepResult::Committed { version, txid }),
        (txid(), reason()).prop_map(|(txid, reason)| StepResult::Aborted { txid, reason }),
    ];
    let step = (any::<u32>(), result).prop_map(|(share_bp, result)| Step { share_bp, result });
    (any::<(u64, u64, u64)>(), model(), prop::collection::vec(step, 0..5)).prop_map(
        |((client, sequence, pause_ms), model, steps)| Rollout {
            id: RequestId { client, sequence },
            model,
            pause_ms,
            steps,
        },
    )
}

pub(super) fn record() -> impl Strategy<Value = Record> {
    let members = prop::collection::vec(node_id(), 0..5);
    prop_oneof![
        any::<u32>().prop_map(|epoch| Record::Epoch { epoch }),
        rollout().prop_map(Record::Accepted),
        (txid(), state(), members).prop_map(|(txid, state, members)| Record::Voted { txid, state, members }),
        txid().prop_map(|txid| Record::Refused { txid }),
        (txid(), outcome(), prop::option::of(reason())).prop_map(|(txid, outcome, reason)| Record::Decided {
            txid,
            outcome,
            reason
        }),
        state().prop_map(|state| Record::Installed { state }),
        any::<u32>().prop_map(|generation| Record::Granted { generation }),
        (state(), txid()).prop_map(|(state, begun)| Record::Admitted { state, begun }),
    ]
}
