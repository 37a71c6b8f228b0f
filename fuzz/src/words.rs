//! Any word of the rollout's vocabulary. Numbers are mostly small, so that messages are about the same few
//! transactions and versions, and now and then anything.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use arbitrary::{Result, Unstructured};
use coalmine_core::node::{Address, NodeId, RequestId};
use coalmine_core::rollout::config::{Config, Told};
use coalmine_core::rollout::durable::Record;
use coalmine_core::rollout::fleet::{Fleet, FleetCourse, FleetWhy, Life, Part, Served, Standing, Task};
use coalmine_core::rollout::gates::{Breach, Gate, Gates};
use coalmine_core::rollout::health::{Health, Window};
use coalmine_core::rollout::message::{
    AbortReason, Answer, Course, Envelope, Guard, Known, Message, OnFailure, Operator, Order, Outcome,
    Passed, Queued, Refusal, Request, Rollout, RolloutPlan, Step, StepResult, Vote, Why,
};
use coalmine_core::rollout::state::{
    Change, ClusterId, ModelId, RoutingState, Status, Txid, WHOLE_BP, Weights,
};

use crate::{below, pick};

/// Mostly below `usual`, now and then any number.
fn number(u: &mut Unstructured<'_>, usual: u64) -> Result<u64> {
    if u.ratio(1, 16)? { u.arbitrary() } else { Ok(below(u, usual as usize)? as u64) }
}

fn small(u: &mut Unstructured<'_>, usual: u64) -> Result<u32> {
    Ok(number(u, usual)? as u32)
}

pub fn node_id(u: &mut Unstructured<'_>) -> Result<NodeId> {
    Ok(NodeId(small(u, 4)?))
}

fn members(u: &mut Unstructured<'_>) -> Result<Vec<NodeId>> {
    if u.ratio(7, 8)? {
        return Ok((1..=3).map(NodeId).collect());
    }
    (0..below(u, 5)?).map(|_| node_id(u)).collect()
}

fn txid(u: &mut Unstructured<'_>) -> Result<Txid> {
    Ok(Txid { generation: small(u, 3)?, epoch: small(u, 4)?, number: small(u, 4)? })
}

fn model(u: &mut Unstructured<'_>) -> Result<ModelId> {
    let name = *pick(u, &["v1", "v2", "v3", "a/b:c@d", "0._-+", "1-00000000"])?;
    Ok(ModelId::new(name).expect("a valid name"))
}

fn cluster(u: &mut Unstructured<'_>) -> Result<ClusterId> {
    Ok(ClusterId(number(u, 3)?))
}

fn change(u: &mut Unstructured<'_>) -> Result<Change> {
    let id = node_id(u)?;
    Ok(match below(u, 3)? {
        0 => Change::Dismiss { member: id, is_gone: u.arbitrary()? },
        1 => Change::Admit { member: id, address: None },
        _ => {
            let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
            let address = Address { control: at(u.arbitrary()?), data: at(u.arbitrary()?) };
            Change::Admit { member: id, address: Some(address) }
        }
    })
}

fn told(u: &mut Unstructured<'_>) -> Result<Told> {
    let told = Config::cluster(3).swap_remove(0).told();
    if u.ratio(7, 8)? {
        return Ok(told);
    }
    Ok(Told { members: members(u)?, initial_model: model(u)?, window_ms: number(u, 3)?, ..told })
}

fn known(u: &mut Unstructured<'_>) -> Result<Known> {
    let txid = txid(u)?;
    Ok(Known {
        state: state(u, txid)?,
        in_doubt: if u.ratio(1, 4)? { Some(state(u, txid)?) } else { None },
        joining: if u.ratio(1, 4)? { Some(number(u, 3)?) } else { None },
        cluster: if u.ratio(1, 2)? { Some(cluster(u)?) } else { None },
    })
}

fn share_bp(u: &mut Unstructured<'_>) -> Result<u32> {
    if u.ratio(1, 8)? { u.arbitrary() } else { Ok(*pick(u, &[0, 1, 500, 2_000, 5_000, 9_999, WHOLE_BP])?) }
}

/// Mostly a state as the protocol makes them, now and then one that contradicts itself.
fn state(u: &mut Unstructured<'_>, txid: Txid) -> Result<RoutingState> {
    let version = number(u, 5)?;
    let first = RoutingState::initial(&model(u)?, &members(u)?);
    let before = RoutingState { version: version.saturating_sub(1), ..first };
    if u.ratio(1, 4)? {
        return Ok(before.next_members(&change(u)?, &BTreeMap::new(), txid).unwrap_or(before));
    }
    let (canary, share) = (model(u)?, share_bp(u)?);
    if u.ratio(7, 8)? {
        return Ok(before.next(&canary, share, txid).unwrap_or(before));
    }
    let first = u.int_in_range(0..=WHOLE_BP)?;
    let shares: BTreeMap<_, _> = [(model(u)?, first), (canary.clone(), WHOLE_BP - first)].into();
    Ok(RoutingState {
        version,
        weights: Weights::new(shares).unwrap_or(before.weights),
        stable_model_id: before.stable_model_id,
        canary_model_id: u.ratio(1, 2)?.then_some(canary),
        status: *pick(u, &[Status::Stable, Status::Canary])?,
        txid: u.ratio(1, 2)?.then_some(txid),
        trial: u.ratio(1, 4)?.then_some(txid),
        members: before.members,
    })
}

pub fn health(u: &mut Unstructured<'_>) -> Result<Health> {
    let window = |u: &mut Unstructured<'_>| -> Result<Window> {
        Ok(Window { samples: small(u, 240)?, p95_ms: small(u, 300)?, error_bp: small(u, 1_000)? })
    };
    let models = (0..below(u, 3)?).map(|_| Ok((model(u)?, window(u)?))).collect::<Result<_>>()?;
    Ok(Health { window_id: number(u, 8)?, version: number(u, 5)?, models })
}

fn gates(u: &mut Unstructured<'_>) -> Result<Option<Gates>> {
    Ok(match below(u, 3)? {
        0 => None,
        1 => Some(Gates::default()),
        _ => Some(Gates { max_p95_ms: small(u, 300)?, min_samples: small(u, 200)?, ..Gates::default() }),
    })
}

fn request_id(u: &mut Unstructured<'_>) -> Result<RequestId> {
    Ok(RequestId { client: number(u, 2)?, sequence: number(u, 4)? })
}

fn order(u: &mut Unstructured<'_>) -> Result<Order> {
    pick(u, &Order::ALL).copied()
}

fn why(u: &mut Unstructured<'_>) -> Result<Why> {
    Ok(match below(u, 3)? {
        0 => Why::Ordered,
        1 => Why::Judged { at: node_id(u)?, refusal: refusal(u)? },
        _ => Why::Aborted(reason(u)?),
    })
}

fn course(u: &mut Unstructured<'_>) -> Result<Course> {
    Ok(match below(u, 8)? {
        0 => Course::Going,
        1 => Course::Paused(why(u)?),
        2 => Course::Promoted,
        3 => Course::Returning(why(u)?),
        4 => Course::Returned(why(u)?),
        5 => Course::Stopped(why(u)?),
        6 => Course::Superseded { by: request_id(u)? },
        _ => Course::Kept,
    })
}

fn plan(u: &mut Unstructured<'_>) -> Result<RolloutPlan> {
    let usual: [&[u32]; 4] = [&[WHOLE_BP], &[500, WHOLE_BP], &[500, 2_000, 5_000, WHOLE_BP], &[1_000]];
    let mut steps_bp = pick(u, &usual)?.to_vec();
    if u.ratio(1, 8)? {
        steps_bp.push(share_bp(u)?);
    }
    let guard = match gates(u)? {
        None => Guard::Off,
        Some(gates) if gates == Gates::default() => Guard::Configured,
        Some(gates) => Guard::These(gates),
    };
    let plan = RolloutPlan::unguarded(model(u)?, steps_bp, number(u, 2)?);
    let holds_ms = if u.ratio(1, 8)? { vec![number(u, 3)?] } else { Vec::new() };
    Ok(RolloutPlan {
        holds_ms,
        gates: guard,
        on_failure: *pick(u, &[OnFailure::Stop, OnFailure::Return, OnFailure::Pause])?,
        deadline_ms: number(u, 3)?,
        supersede: u.ratio(1, 4)?,
        ..plan
    })
}

fn refusal(u: &mut Unstructured<'_>) -> Result<Refusal> {
    Ok(match below(u, 9)? {
        0 => Refusal::VersionNotNext { proposed: number(u, 4)?, committed: number(u, 4)? },
        1 => Refusal::Busy { txid: txid(u)? },
        2 => {
            let gate = *pick(u, &[Gate::P95, Gate::Errors, Gate::P95Rise, Gate::ErrorRise])?;
            Refusal::Gate(Breach { gate, value: small(u, 900)?, limit: 200, samples: small(u, 200)? })
        }
        3 => Refusal::StaleEvidence { window_id: number(u, 8)? },
        4 => Refusal::NoEvidence { samples: small(u, 100)?, needed: 100 },
        5 => Refusal::SplitBrain,
        6 => Refusal::Stale { floor: txid(u)? },
        7 => Refusal::Resolved { by: node_id(u)? },
        _ => Refusal::Members,
    })
}

fn reason(u: &mut Unstructured<'_>) -> Result<AbortReason> {
    Ok(match below(u, 6)? {
        4 => AbortReason::Outrun { by: node_id(u)?, floor: txid(u)? },
        0 => AbortReason::Refused { by: node_id(u)?, refusal: refusal(u)? },
        1 => AbortReason::Timeout { missing: members(u)? },
        2 => AbortReason::CoordinatorRestarted,
        3 => AbortReason::Ordered,
        _ => AbortReason::Resolved { by: node_id(u)? },
    })
}

fn outcome(u: &mut Unstructured<'_>) -> Result<Outcome> {
    pick(u, &[Outcome::Commit, Outcome::Abort]).copied()
}

pub fn message(u: &mut Unstructured<'_>) -> Result<Envelope> {
    let cluster = if u.ratio(7, 8)? { None } else { Some(cluster(u)?) };
    Ok(Envelope { message: said(u)?, cluster })
}

fn said(u: &mut Unstructured<'_>) -> Result<Message> {
    let txid = txid(u)?;
    Ok(match below(u, 16)? {
        14 => Message::RegionReq { fleet: request_id(u)?, task: task(u)? },
        15 => Message::RegionResp {
            fleet: request_id(u)?,
            back: u.arbitrary()?,
            life: life(u)?,
            standing: standing(u)?,
        },
        9 => Message::JoinReq { life: number(u, 3)?, told: told(u)? },
        10 => Message::JoinResp {
            life: number(u, 3)?,
            member_of: cluster(u)?,
            state: state(u, txid)?,
            begun: txid,
        },
        11 => Message::Unlike { life: number(u, 3)?, told: told(u)? },
        12 => {
            let (life, generation, takes_over) = (number(u, 3)?, small(u, 4)?, u.arbitrary()?);
            Message::AdmitReq { life, generation, takes_over, told: told(u)? }
        }
        13 => {
            let known = if u.ratio(3, 4)? { Some(known(u)?) } else { None };
            Message::AdmitResp { life: number(u, 3)?, generation: small(u, 4)?, known }
        }
        0 => Message::PrepareReq { txid, state: state(u, txid)?, members: members(u)?, gates: gates(u)? },
        1 => {
            let vote = if u.ratio(2, 3)? { Vote::Commit } else { Vote::Abort(refusal(u)?) };
            Message::PrepareResp { txid, vote }
        }
        2 => Message::Decision { txid, version: number(u, 5)?, outcome: outcome(u)? },
        3 => Message::DecisionAck { txid },
        4 => Message::DecisionReq { txid, version: number(u, 5)?, resolve: u.arbitrary()? },
        5 => {
            let all = [Answer::Committed, Answer::Aborted, Answer::Uncertain, Answer::Unknown];
            Message::DecisionResp { txid, answer: *pick(u, &all)? }
        }
        6 => Message::Heartbeat {
            node_id: node_id(u)?,
            last_committed_version: number(u, 5)?,
            digest: u.arbitrary()?,
        },
        7 => Message::HealthSnapshot { health: health(u)? },
        _ => Message::StateSync { state: state(u, txid)? },
    })
}

/// A client's request; a few clients that count a little, so that names come twice.
pub fn request(u: &mut Unstructured<'_>) -> Result<(RequestId, Request)> {
    let request = match below(u, 10)? {
        3 => Request::QueueRollout(plan(u)?),
        0 => Request::Change(change(u)?),
        1 => Request::TakeOver { from: node_id(u)? },
        2 => Request::Resolve { txid: txid(u)?, outcome: outcome(u)? },
        _ => return rollout_request(u),
    };
    Ok((request_id(u)?, request))
}

/// The same, of a cluster that stays what it is, and whose operators do not say what only a lost disk knew.
pub fn rollout_request(u: &mut Unstructured<'_>) -> Result<(RequestId, Request)> {
    let request = match below(u, 6)? {
        0 | 1 => Request::ReportHealth(health(u)?),
        2 => {
            let rollout = if u.ratio(1, 4)? { Some(request_id(u)?) } else { None };
            Request::Steer { order: order(u)?, rollout }
        }
        _ => Request::StartRollout(plan(u)?),
    };
    Ok((request_id(u)?, request))
}

fn rollout(u: &mut Unstructured<'_>) -> Result<Rollout> {
    let step = |u: &mut Unstructured<'_>| {
        let result = match below(u, 3)? {
            0 => StepResult::Pending,
            1 => StepResult::Committed { version: number(u, 5)?, txid: txid(u)? },
            _ => StepResult::Aborted { txid: txid(u)?, reason: reason(u)? },
        };
        Ok(Step { share_bp: share_bp(u)?, makes_stable: u.arbitrary()?, hold_ms: number(u, 3)?, result })
    };
    Ok(Rollout {
        id: request_id(u)?,
        plan: plan(u)?,
        steps: (0..below(u, 4)?).map(|_| step(u)).collect::<Result<_>>()?,
        gates: gates(u)?,
        supersedes: if u.ratio(1, 4)? { Some(request_id(u)?) } else { None },
        course: if u.ratio(1, 2)? { Course::Going } else { course(u)? },
    })
}

fn life(u: &mut Unstructured<'_>) -> Result<Life> {
    let cluster = if u.ratio(1, 2)? { Some(cluster(u)?) } else { None };
    Ok(Life { cluster, generation: small(u, 4)? })
}

fn served(u: &mut Unstructured<'_>) -> Result<Served> {
    Ok(Served { life: life(u)?, version: number(u, 5)?, stable: model(u)? })
}

fn text(u: &mut Unstructured<'_>) -> Result<String> {
    Ok((*pick(u, &["", "r1", "a step was aborted", "\u{1f600}\n"])?).into())
}

fn fleet(u: &mut Unstructured<'_>) -> Result<Fleet> {
    let why =
        if u.arbitrary()? { FleetWhy::Ordered } else { FleetWhy::Failed { region: text(u)?, why: text(u)? } };
    let course = match below(u, 5)? {
        0 => FleetCourse::Going,
        1 => FleetCourse::Returning(why),
        2 => FleetCourse::Done,
        3 => FleetCourse::Returned(why),
        _ => FleetCourse::Stopped { why: text(u)? },
    };
    let part = |u: &mut Unstructured<'_>| {
        let was = if u.arbitrary()? { Some(served(u)?) } else { None };
        let first = if u.arbitrary()? { Some(life(u)?) } else { None };
        Ok(Part { region: text(u)?, first, was, is_done: u.arbitrary()?, is_back: u.arbitrary()? })
    };
    let parts = (0..below(u, 3)?).map(|_| part(u)).collect::<Result<_>>()?;
    Ok(Fleet { id: request_id(u)?, plan: plan(u)?, course, parts })
}

fn standing(u: &mut Unstructured<'_>) -> Result<Standing> {
    Ok(match below(u, 5)? {
        0 => Standing::Serves(served(u)?),
        1 => Standing::Waits { why: text(u)?, is_paused: u.arbitrary()? },
        2 => Standing::UnderWay { course: text(u)?, is_paused: u.arbitrary()? },
        3 => Standing::Done,
        _ => Standing::Failed { why: text(u)? },
    })
}

fn task(u: &mut Unstructured<'_>) -> Result<Task> {
    Ok(match below(u, 3)? {
        0 => Task::State,
        1 => Task::Out { plan: plan(u)?, was: served(u)? },
        _ => Task::Back { model: model(u)?, to: model(u)?, first: life(u)? },
    })
}

pub fn record(u: &mut Unstructured<'_>) -> Result<Record> {
    let txid = txid(u)?;
    Ok(match below(u, 16)? {
        14 => {
            let by = if u.ratio(1, 2)? { Some(request_id(u)?) } else { None };
            Record::Fleet { fleet: fleet(u)?, by }
        }
        15 => Record::Recalled { fleet: request_id(u)? },
        12 => Record::Outdated,
        13 => {
            let behind = if u.ratio(1, 2)? { Some(request_id(u)?) } else { None };
            Record::Queued(Queued { id: request_id(u)?, plan: plan(u)?, behind })
        }
        7 => Record::Granted { generation: small(u, 4)?, coordinator: node_id(u)? },
        8 => Record::Changing { id: request_id(u)?, change: change(u)? },
        9 => Record::TakingOver { id: request_id(u)?, generation: small(u, 4)? },
        10 => Record::Resolved { id: request_id(u)?, txid, outcome: outcome(u)? },
        11 => Record::Admitted {
            node: node_id(u)?,
            cluster: cluster(u)?,
            coordinator: node_id(u)?,
            state: state(u, txid)?,
            begun: txid,
        },
        0 => Record::Epoch { epoch: small(u, 4)? },
        1 => Record::Accepted(rollout(u)?),
        2 => {
            let passed = match gates(u)? {
                Some(gates) => Some(Passed { gates, health: health(u)? }),
                None => None,
            };
            Record::Voted { txid, state: state(u, txid)?, members: members(u)?, passed }
        }
        5 => {
            let by = Operator { id: request_id(u)?, order: order(u)?, rollout: None };
            Record::Steered { by: u.ratio(1, 2)?.then_some(by), course: course(u)? }
        }
        3 => Record::Refused { txid },
        4 => {
            let reason = if u.ratio(1, 2)? { Some(reason(u)?) } else { None };
            Record::Decided { txid, outcome: outcome(u)?, reason }
        }
        _ => Record::Installed { state: state(u, txid)? },
    })
}
