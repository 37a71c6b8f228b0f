//! The course of a rollout: which transaction comes next, and when (rules 11 and 12).
//!
//! ```text
//!             hold is over, every node's verdict is a pass
//!   Going ──────────────────────────────────────────────▶ next step … made stable, or Kept
//!     │  deadline without a verdict, `pause`
//!     ├───────────────────▶ Paused ── `resume` ──▶ Going
//!     │  `promote` (from Paused too)
//!     ├───────────────────▶ Promoted: the next step now, no gate is asked
//!     │  a gate fails, a step fails, `abort` (from Paused too)
//!     └───────────────────▶ Returning ── one transaction, no gate is asked ──▶ Returned
//! ```
//!
//! The course is part of the journal: a coordinator that restarts goes on where it was. A hold that was under way begins
//! anew. What the nodes measured is not in the journal; it is reported again, or missed.

use std::time::Duration;

use super::config::{Config, LONGEST_MS};
use super::durable::{MOST_QUEUED, REMEMBERED_REQUESTS, Record};
use super::gates::{Gates, Verdict, asks_gates};
use super::judge::verdict;
use super::message::{
    AbortReason, Course, Fact, Guard, OnFailure, Operator, Order, Queued, Refusal, Reply, Request, Rollout,
    RolloutPlan, Step, StepResult, Timer, Why,
};
use super::mistake::Mistake;
use super::state::{Change, ModelId, RoutingState, StateError, Status, Txid, WHOLE_BP};
use super::{Cx, RolloutNode};
use crate::node::{NodeId, RequestId};

/// The most steps a rollout may have.
pub const MAX_STEPS: usize = 100;

impl RolloutNode {
    pub(super) fn on_start_rollout(
        &mut self,
        config: &Config,
        id: RequestId,
        plan: RolloutPlan,
        cx: &mut Cx<'_>,
    ) {
        if let Some(answer) = self.answer_at_once(config, id, &Request::StartRollout(plan.clone())) {
            return cx.reply(id, answer);
        }
        let running = self.durable.running().map(|running| running.id);
        if let Some(running) = running.filter(|_| !plan.supersede) {
            return cx.reply(id, Reply::Busy { running });
        }
        if self.split_brain {
            return cx.reply(id, Reply::SplitBrain);
        }
        let steps = match steps(config, &self.durable.committed, &plan) {
            Ok(steps) => steps,
            Err(why) => return cx.reply(id, Reply::Invalid { why }),
        };
        let gates = asked_gates(config, &plan).cloned();
        let rollout = Rollout { id, plan, steps, gates, supersedes: running, course: Course::Going };
        self.take_in_hand(config, rollout, cx); // before the answer: who is answered reads its own write
        cx.reply(id, Reply::Accepted { id });
        self.begin_accepted(config, cx);
    }

    fn take_in_hand(&mut self, config: &Config, rollout: Rollout, cx: &mut Cx<'_>) {
        let id = rollout.id;
        self.append(Record::Accepted(rollout), cx);
        cx.observe(Fact::Accepted { id });
        self.publish(config, cx);
    }

    /// Begins the rollout that was taken in hand, whether it takes another one's place or not.
    fn begin_accepted(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let supersedes = self.durable.running().is_some_and(|running| running.supersedes.is_some());
        if supersedes {
            self.forget_hold(cx);
            self.interrupt(config, cx);
        } else if self.durable.prepared.is_none() {
            self.go_on(config, cx); // else the members change first
        }
    }

    /// Takes a rollout in hand for which no client waits.
    pub(super) fn accept(&mut self, config: &Config, rollout: Rollout, cx: &mut Cx<'_>) {
        self.take_in_hand(config, rollout, cx);
        self.begin_accepted(config, cx);
    }

    /// A rollout that waits for its turn, if it is not its turn already.
    pub(super) fn on_queue_rollout(
        &mut self,
        config: &Config,
        id: RequestId,
        plan: RolloutPlan,
        cx: &mut Cx<'_>,
    ) {
        if let Some(answer) = self.answer_at_once(config, id, &Request::QueueRollout(plan.clone())) {
            return cx.reply(id, answer);
        }
        if self.split_brain {
            return cx.reply(id, Reply::SplitBrain);
        }
        if plan.supersede {
            let why = "a rollout that is queued takes no other one's place".into();
            return cx.reply(id, Reply::Invalid { why });
        }
        if let Err(why) = steps(config, &self.durable.committed, &plan) {
            return cx.reply(id, Reply::Invalid { why });
        }
        let queue = &self.durable.queue;
        if queue.len() >= MOST_QUEUED {
            let why = format!("{MOST_QUEUED} rollouts are queued already");
            return cx.reply(id, Reply::Unfit { why });
        }
        let running = || self.durable.running().map(|running| running.id);
        let behind = queue.last().map(|last| last.id).or_else(running);
        self.append(Record::Queued(Queued { id, plan, behind }), cx);
        cx.observe(Fact::Accepted { id });
        self.publish(config, cx);
        cx.reply(id, Reply::Accepted { id });
        if behind.is_none() && self.durable.prepared.is_none() {
            self.go_on(config, cx);
        }
    }

    /// Begins the rollout whose turn it is, if there is one. One that waited for another begins only if that has come to its
    /// end.
    fn begin_queued(&mut self, config: &Config, cx: &mut Cx<'_>) {
        while let Some(next) = self.durable.queue.first().cloned() {
            let failed = self.durable.rollouts.last().filter(|last| !last.is_complete());
            let failed = failed.filter(|_| next.behind.is_some() && !config.makes(Mistake::QueuesOn));
            let steps = steps(config, &self.durable.committed, &next.plan);
            let rollout = match (failed.map(|last| last.id), steps) {
                (Some(failed), _) => next.never(Why::Follows { failed }),
                (None, Err(why)) => next.never(Why::Senseless(why)),
                (None, Ok(steps)) => {
                    let gates = asked_gates(config, &next.plan).cloned();
                    let Queued { id, plan, .. } = next;
                    Rollout { id, plan, steps, gates, supersedes: None, course: Course::Going }
                }
            };
            let begins = !rollout.is_over();
            self.append(Record::Accepted(rollout), cx);
            self.publish(config, cx);
            if begins {
                return self.go_on(config, cx);
            }
        }
    }

    pub(super) fn on_steer(
        &mut self,
        config: &Config,
        id: RequestId,
        order: Order,
        meant: Option<RequestId>,
        cx: &mut Cx<'_>,
    ) {
        if let Some(answer) = self.answer_at_once(config, id, &Request::Steer { order, rollout: meant }) {
            return cx.reply(id, answer);
        }
        let (rollout, course) = match self.steered(order, meant) {
            Ok(steered) => steered,
            Err(why) => return cx.reply(id, Reply::Unfit { why }),
        };
        let (by, was_returning) = (Operator { id, order, rollout: meant }, self.is_returning());
        self.steer(config, Some(by), course, cx);
        cx.reply(id, Reply::Ordered { rollout });
        if order == Order::Abort && !was_returning {
            self.interrupt(config, cx);
        } else if self.durable.prepared.is_none() {
            self.go_on(config, cx);
        }
    }

    /// A client wants the cluster itself changed: a transaction like any other, with other voters.
    pub(super) fn on_change(&mut self, config: &Config, id: RequestId, change: Change, cx: &mut Cx<'_>) {
        if let Some(answer) = self.answer_at_once(config, id, &Request::Change(change)) {
            return cx.reply(id, answer);
        }
        if self.split_brain {
            return cx.reply(id, Reply::SplitBrain);
        }
        if let Some(running) = self.durable.changing() {
            let why = format!("{} is under way: {}", running.id, running.change);
            return cx.reply(id, Reply::Unfit { why });
        }
        let dismissed = matches!(change, Change::Dismiss { member, .. } if member == config.me);
        let served = &self.durable.committed;
        let why = match served.next_members(&change, &config.addresses, Txid::default()) {
            Err(why) => Some(why.to_string()),
            Ok(_) if dismissed => {
                Some(format!("{} coordinates: let another member take over first", config.me))
            }
            Ok(_) => None,
        };
        if let Some(why) = why {
            return cx.reply(id, Reply::Invalid { why });
        }
        self.append(Record::Changing { id, change }, cx);
        cx.observe(Fact::Changing { change });
        self.publish(config, cx);
        cx.reply(id, Reply::Changing { id });
        if self.durable.prepared.is_none() {
            self.go_on(config, cx);
        }
    }

    /// The change of the cluster that is to be voted on next. Whoever is gone is dismissed before all else, since without
    /// its vote nothing else can be; all other changes come after a return to the stable model.
    fn next_change(&self) -> Option<Change> {
        let change = self.durable.changing()?.change;
        let comes_first = matches!(change, Change::Dismiss { is_gone: true, .. });
        (comes_first || !self.is_returning()).then_some(change)
    }

    /// The answer to what an operator asks, if it does not hang on what is under way.
    pub(super) fn answer_at_once(&self, config: &Config, id: RequestId, request: &Request) -> Option<Reply> {
        if !self.is_coordinator() {
            return Some(Reply::NotCoordinator { coordinator: self.coordinator() });
        }
        self.known(config, id, request).or_else(|| self.answer_of_none())
    }

    /// The answer to a request whose name is known: the one it had, if it is the same request.
    pub(super) fn known(&self, config: &Config, id: RequestId, request: &Request) -> Option<Reply> {
        if self.durable.has_expired(id) {
            let why = format!("{id} has expired: more than {REMEMBERED_REQUESTS} requests were taken since");
            return Some(Reply::Unfit { why });
        }
        let known = self.durable.asked(id).filter(|_| !config.makes(Mistake::ForgetsRequests))?;
        let rollout = known.rollout;
        Some(match request {
            _ if known.digest != request.digest() => {
                Reply::Invalid { why: format!("{id} is the name of another request") }
            }
            Request::StartRollout(_) | Request::QueueRollout(_) | Request::StartFleet(_) => {
                Reply::Accepted { id: rollout }
            }
            Request::Change(_) => Reply::Changing { id },
            Request::TakeOver { .. } => Reply::TakingOver,
            Request::Resolve { txid, .. } => Reply::Resolved { txid: *txid },
            Request::Steer { .. } | Request::ReportHealth(_) | Request::AbortFleet => {
                Reply::Ordered { rollout }
            }
        })
    }

    /// The course on which an order brings the rollout under way; `Err` says why it does not fit.
    fn steered(&self, order: Order, meant: Option<RequestId>) -> Result<(RequestId, Course), String> {
        let running = self.durable.running().ok_or("no rollout is under way")?;
        let id = running.id;
        if let Some(meant) = meant.filter(|meant| *meant != id) {
            return Err(format!("{meant} is not under way: {id} is"));
        }
        if matches!(running.course, Course::Returning(_)) && order != Order::Abort {
            return Err(format!("{id} is on its way back to the stable model"));
        }
        let is_voted_on = self.durable.prepared.is_some();
        let course = match order {
            Order::Pause if running.is_paused() => running.course.clone(),
            Order::Pause => Course::Paused(Why::Ordered),
            Order::Resume if running.is_paused() => Course::Going,
            Order::Resume => return Err(format!("{id} is not paused")),
            Order::Promote if is_voted_on => return Err(format!("{id} is being voted on: nothing is held")),
            Order::Promote => Course::Promoted,
            Order::Abort => Course::Returning(Why::Ordered),
        };
        Ok((id, course))
    }

    /// Takes another course, durably. Whatever hold was under way is none any more.
    pub(super) fn steer(&mut self, config: &Config, by: Option<Operator>, course: Course, cx: &mut Cx<'_>) {
        let Some(rollout) = self.durable.running().map(|running| running.id) else { return };
        self.append(Record::Steered { by, course: course.clone() }, cx);
        cx.observe(Fact::Steered { rollout, course });
        self.forget_hold(cx);
        self.publish(config, cx);
    }

    pub(super) fn forget_hold(&mut self, cx: &mut Cx<'_>) {
        self.coordination.hold_is_over = false;
        cx.cancel_timer(Timer::Step);
        cx.cancel_timer(Timer::Deadline);
    }

    /// Ends the vote that is under way, if there is one, and goes on.
    pub(super) fn interrupt(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let Some(prepared) = &self.durable.prepared else { return self.go_on(config, cx) };
        let (txid, version) = (prepared.txid, prepared.state.version);
        self.decide(config, txid, version, Err(AbortReason::Ordered), cx);
    }

    /// Goes on with the rollout under way: holds the last step, or begins what comes next.
    pub(super) fn go_on(&mut self, config: &Config, cx: &mut Cx<'_>) {
        if let Some(change) = self.next_change() {
            return self.begin_change(config, &change, cx);
        }
        let Some(running) = self.durable.running() else { return self.begin_queued(config, cx) };
        let held = running.last_step().filter(|step| step.hold_ms > 0);
        match (&running.course, held) {
            (Course::Paused(_), _) => {}
            (Course::Going, Some(step)) => self.hold(step.hold_ms, cx),
            _ => self.begin(config, cx),
        }
    }

    /// Holds what is served once more: a vote lacked evidence.
    pub(super) fn hold_anew(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let Some(running) = self.durable.running().filter(|running| running.course == Course::Going) else {
            return self.go_on(config, cx);
        };
        let hold_ms = running.last_step().map_or(0, |step| step.hold_ms).max(config.window_ms);
        self.hold(hold_ms, cx);
    }

    fn hold(&mut self, hold_ms: u64, cx: &mut Cx<'_>) {
        self.coordination.hold_is_over = false;
        cx.set_timer(Timer::Step, Duration::from_millis(hold_ms));
    }

    pub(super) fn on_step_timer(&mut self, config: &Config, cx: &mut Cx<'_>) {
        if let Some(change) = self.next_change() {
            return self.begin_change(config, &change, cx);
        }
        let Some(running) = self.durable.running() else { return };
        if running.gates.is_none() || running.course != Course::Going {
            return self.begin(config, cx);
        }
        let deadline_ms = running.plan.deadline_ms;
        self.coordination.hold_is_over = true;
        self.weigh_evidence(config, cx);
        if self.coordination.hold_is_over {
            cx.set_timer(Timer::Deadline, Duration::from_millis(deadline_ms));
        }
    }

    /// What is known of the data planes has changed, or may count from now on: a failure ends the rollout at any time, a
    /// pass of every node goes on once the hold is over.
    pub(super) fn weigh_evidence(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let Some(running) = self.durable.running().filter(|_| self.is_coordinator()) else { return };
        let is_held = matches!(running.course, Course::Going | Course::Paused(_));
        let is_on_trial = self.durable.committed.canary_model_id.as_ref() == Some(running.model());
        let (Some(gates), true) = (&running.gates, is_held && is_on_trial && self.durable.prepared.is_none())
        else {
            return;
        };
        let refusals: Vec<_> =
            self.verdicts(config, gates).filter_map(|(at, verdict)| Some((at, verdict.refusal()?))).collect();
        let failure = refusals.iter().find(|(_, refusal)| matches!(refusal, Refusal::Gate(_)));
        if let Some((at, refusal)) = failure {
            let why = Why::Judged { at: *at, refusal: refusal.clone() };
            let course = match running.plan.on_failure {
                OnFailure::Return => Course::Returning(why),
                OnFailure::Stop => Course::Stopped(why),
                OnFailure::Pause if running.is_paused() => return,
                OnFailure::Pause => Course::Paused(why),
            };
            self.steer(config, None, course, cx);
            return self.go_on(config, cx);
        }
        if self.coordination.hold_is_over && refusals.is_empty() {
            self.forget_hold(cx);
            self.begin(config, cx);
        }
    }

    /// What every member's evidence says about the canary.
    fn verdicts<'a>(
        &'a self,
        config: &'a Config,
        gates: &'a Gates,
    ) -> impl Iterator<Item = (NodeId, Verdict)> + 'a {
        let of = |member| verdict(config, gates, &self.durable.committed, self.evidence.get(&member));
        self.durable.committed.ids().map(move |member| (member, of(member)))
    }

    /// No evidence promotes nothing: the rollout stays where it is, and says why.
    pub(super) fn on_deadline(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let running = self.durable.running().filter(|_| self.coordination.hold_is_over);
        let Some(gates) = running.and_then(|running| running.gates.as_ref()) else { return };
        let refusal =
            |(at, verdict): (NodeId, Verdict)| Some(Why::Judged { at, refusal: verdict.refusal()? });
        let Some(why) = self.verdicts(config, gates).find_map(refusal) else { return };
        self.steer(config, None, Course::Paused(why), cx);
    }

    /// Begins the transaction of a change of the cluster.
    fn begin_change(&mut self, config: &Config, change: &Change, cx: &mut Cx<'_>) {
        self.forget_hold(cx);
        let txid = self.next_txid();
        let served = &self.durable.committed;
        let is_asked = |member: &NodeId| match change {
            Change::Dismiss { member: gone, is_gone: true } => member != gone,
            Change::Dismiss { .. } | Change::Admit { .. } => true,
        };
        let voters = served.ids().filter(is_asked).collect();
        let state = served.next_members(change, &config.addresses, txid);
        let state = state.expect("the change was checked when it was accepted, and only one is under way");
        self.propose(config, state, voters, None, cx);
    }

    /// Begins the transaction that comes next, if there is one.
    fn begin(&mut self, config: &Config, cx: &mut Cx<'_>) {
        if let Some(change) = self.next_change() {
            return self.begin_change(config, &change, cx);
        }
        let Some(running) = self.durable.running() else { return };
        let txid = self.next_txid();
        let served = &self.durable.committed;
        let (state, gates) = if let Course::Returning(why) = &running.course {
            let to = running.returns_to(served);
            if served.status == Status::Stable && served.stable_model_id == *to {
                let course = Course::Returned(why.clone());
                self.steer(config, None, course, cx);
                return self.begin_queued(config, cx);
            }
            let gates = running.gates.clone().filter(|_| config.makes(Mistake::LocksTheExit));
            (served.next(to, WHOLE_BP, txid), gates)
        } else {
            let Some(step) = running.next_step() else {
                self.steer(config, None, Course::Kept, cx);
                return self.begin_queued(config, cx);
            };
            let state = state_after(served, running.model(), step, txid);
            let is_asked =
                |state: &RoutingState| running.course != Course::Promoted && asks_gates(served, state);
            let is_asked = state.as_ref().is_ok_and(is_asked);
            (state, running.gates.clone().filter(|_| is_asked))
        };
        let state = state.expect("the steps were checked when the rollout was accepted");
        let voters = served.ids().collect();
        self.propose(config, state, voters, gates, cx);
    }
}

fn state_after(
    served: &RoutingState,
    model: &ModelId,
    step: &Step,
    txid: Txid,
) -> Result<RoutingState, StateError> {
    if step.makes_stable {
        served.next(model, WHOLE_BP, txid)
    } else {
        served.next_canary(model, step.share_bp, txid)
    }
}

/// What a rollout is judged by.
pub(super) fn asked_gates<'a>(config: &'a Config, plan: &'a RolloutPlan) -> Option<&'a Gates> {
    match &plan.gates {
        Guard::Off => None,
        Guard::Configured => Some(&config.gates),
        Guard::These(gates) => Some(gates),
    }
}

/// The transactions of a rollout; `Err` says why it makes no sense.
///
/// A model that serves everything is on trial until the hold of that is over, and is then made stable by a transaction of
/// its own. Without a hold there is nothing to try. A hold that a gate judges is as long as a window at least: no sooner
/// can there be a verdict.
pub(super) fn steps(config: &Config, served: &RoutingState, plan: &RolloutPlan) -> Result<Vec<Step>, String> {
    check_plan(config, plan)?;
    let RolloutPlan { model, steps_bp, pause_ms, holds_ms, .. } = plan;
    let least_ms = asked_gates(config, plan).map_or(0, |_| config.window_ms);
    let is_return = *model == served.stable_model_id;
    let mut steps = Vec::new();
    for (i, &share_bp) in steps_bp.iter().enumerate() {
        let hold_ms = holds_ms.get(i).copied().unwrap_or(*pause_ms).max(least_ms);
        let step = Step { share_bp, makes_stable: false, hold_ms, result: StepResult::Pending };
        let made_stable = Step { makes_stable: true, hold_ms: 0, ..step.clone() };
        match share_bp {
            WHOLE_BP if is_return || hold_ms == 0 => steps.push(made_stable),
            WHOLE_BP => steps.extend([step, made_stable]),
            _ => steps.push(step),
        }
    }
    // The whole share is only possible as the last step; rising shares see to that. All others depend on nothing but
    // the stable model.
    let possible = |step: &Step| state_after(served, model, step, Txid::default()).map(|_| ());
    steps.iter().try_for_each(possible).map_err(|why| why.to_string())?;
    Ok(steps)
}

/// Whether a plan makes sense, whatever is served.
pub(super) fn check_plan(config: &Config, plan: &RolloutPlan) -> Result<(), String> {
    let RolloutPlan { steps_bp, pause_ms, holds_ms, deadline_ms, .. } = plan;
    if steps_bp.is_empty() || steps_bp.len() > MAX_STEPS {
        return Err(format!("{} steps: there must be 1 to {MAX_STEPS}", steps_bp.len()));
    }
    if !steps_bp.is_sorted_by(|a, b| a < b) {
        return Err("steps must rise strictly".into());
    }
    if !holds_ms.is_empty() && holds_ms.len() != steps_bp.len() {
        return Err(format!("{} holds for {} steps: each step has one", holds_ms.len(), steps_bp.len()));
    }
    let times = holds_ms.iter().map(|ms| ("a hold", ms));
    for (what, ms) in times.chain([("a hold", pause_ms), ("a deadline", deadline_ms)]) {
        if *ms > LONGEST_MS {
            return Err(format!("{what} of {ms} ms is more than a year, {LONGEST_MS} ms"));
        }
    }
    let gates = asked_gates(config, plan);
    if let Some(bp) =
        gates.map(|gates| gates.max_error_bp.max(gates.max_error_rise_bp)).filter(|bp| *bp > WHOLE_BP)
    {
        return Err(format!("an error rate of {} is above 1", f64::from(bp) / f64::from(WHOLE_BP)));
    }
    let share = steps_bp.iter().find(|bp| **bp == 0 || **bp > WHOLE_BP);
    share.map_or(Ok(()), |&share_bp| Err(StateError::Share { share_bp }.to_string()))
}
