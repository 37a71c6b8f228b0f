//! Rollouts over regions (rule 17).
//!
//! A fleet may have several *regions*, each a cluster of its own: its members, its coordinator, its versions. What one
//! region decides binds no other one, so that a region that cannot be reached stops nobody else's transactions.
//!
//! A rollout over all of them is led by the first region's coordinator. It is to each region's coordinator what an operator
//! is: it asks for a rollout under a name, again and again until it hears that this is over, and then goes on to the next
//! region. What it remembers is durable before it asks for anything that rests on it.
//!
//! ```text
//!              a part is done
//!   Going ──────────────────────────▶ the next region … Done
//!     │  a part fails, `abort`
//!     └───────────────────▶ Returning ── every part that may have begun is taken back ──▶ Returned
//! ```
//!
//! Three things make it exact, although messages are lost, come twice, or late:
//!
//! - A part has a name that follows from the rollout's ([`name_of_part`]): asked twice, it is done once.
//! - Before it asks for a part, the leader asks what is served there, and remembers it: that is where the way back leads. The
//!   region's [generation](super::state::Txid) is asked too, and a part of another one does not begin: what a disk
//!   knew that was lost since may have been its end.
//! - A part that is taken back before it has begun never begins: the region remembers its name.

use std::time::Duration;

use super::config::{Config, Region};
use super::course::{asked_gates, check_plan, steps};
use super::durable::{Asked, Record};
use super::fleet::{
    Fleet, FleetCourse, FleetWhy, Led, Life, Part, Served, Standing, Task, name_of_part, name_of_way_back,
};
use super::message::{Course, Fact, Message, OnFailure, Reply, Request, Rollout, RolloutPlan, Timer, Why};
use super::mistake::Mistake;
use super::state::{ModelId, Status, WHOLE_BP};
use super::{Cx, RolloutNode, ignore};
use crate::node::{NodeId, RequestId};

fn under_way(part: &Rollout) -> Standing {
    Standing::UnderWay { course: part.course.to_string(), is_paused: part.is_paused() }
}

/// How far a rollout is as a region's part.
fn standing_of(part: &Rollout) -> Standing {
    if !part.is_over() {
        return under_way(part);
    }
    if part.is_complete() {
        return Standing::Done;
    }
    let aborted = part.steps.iter().find_map(|step| step.result.reason());
    let why = match (&part.course, aborted) {
        (Course::Returned(why) | Course::Stopped(why), _) => why.to_string(),
        (Course::Superseded { by }, _) => format!("{by} took its place"),
        (_, Some(reason)) => reason.to_string(),
        (
            Course::Going | Course::Promoted | Course::Paused(_) | Course::Returning(_) | Course::Kept,
            None,
        ) => "it did not come to its end".into(),
    };
    Standing::Failed { why }
}

impl RolloutNode {
    // The leader.

    pub(super) fn on_start_fleet(
        &mut self,
        config: &Config,
        id: RequestId,
        plan: RolloutPlan,
        cx: &mut Cx<'_>,
    ) {
        if let Some(answer) = self.answer_of_leader(config, id, &Request::StartFleet(plan.clone())) {
            return cx.reply(id, answer);
        }
        if let Some(running) = self.durable.fleet_under_way() {
            return cx.reply(id, Reply::Busy { running: running.id });
        }
        if self.split_brain {
            return cx.reply(id, Reply::SplitBrain);
        }
        let checked = if config.region_of(config.me) != Some(0) {
            Err("who leads is one of the nodes that all files name in the first region".into())
        } else if plan.on_failure == OnFailure::Stop {
            Err("a rollout over regions returns where it fails, or pauses: it never stops half way".into())
        } else {
            check_plan(config, &plan)
        };
        if let Err(why) = checked {
            return cx.reply(id, Reply::Invalid { why });
        }
        let part = |region: &Region| {
            let region = region.name.clone();
            Part { region, first: None, was: None, is_done: false, is_back: false }
        };
        let parts = config.regions.iter().map(part).collect();
        self.lead(config, Fleet { id, plan, course: FleetCourse::Going, parts }, Some(id), cx);
        cx.reply(id, Reply::Accepted { id });
    }

    pub(super) fn on_abort_fleet(&mut self, config: &Config, id: RequestId, cx: &mut Cx<'_>) {
        let leads = self.durable.fleet_under_way().is_some(); // whatever the files say by now
        let known = if leads {
            self.answer_at_once(config, id, &Request::AbortFleet)
        } else {
            self.answer_of_leader(config, id, &Request::AbortFleet)
        };
        if let Some(answer) = known {
            return cx.reply(id, answer);
        }
        let Some(mut fleet) = self.durable.fleet_under_way().cloned() else {
            let why = "no rollout over regions is under way".into();
            return cx.reply(id, Reply::Unfit { why });
        };
        let rollout = fleet.id;
        fleet.course = if fleet.course == FleetCourse::Going {
            FleetCourse::Returning(FleetWhy::Ordered)
        } else {
            // The second time it is given up: a region may be gone for good.
            let left: Vec<_> =
                fleet.tasks().iter().map(|(place, _)| fleet.parts[*place].region.clone()).collect();
            let why = format!("an operator gave it up; not known to be back: {}", left.join(", "));
            FleetCourse::Stopped { why }
        };
        self.lead(config, fleet.settled(), Some(id), cx);
        cx.reply(id, Reply::Ordered { rollout });
    }

    /// The answer to what an operator asks of the fleet, if it does not hang on what is under way.
    fn answer_of_leader(&self, config: &Config, id: RequestId, request: &Request) -> Option<Reply> {
        let Some(first) = config.regions.first() else {
            let why = "this cluster has no regions: its configuration names none".into();
            return Some(Reply::Invalid { why });
        };
        if config.own_region() != Some(0) {
            return Some(Reply::NotCoordinator { coordinator: first.coordinator });
        }
        self.answer_at_once(config, id, request)
    }

    /// The rollout over regions is at this point.
    fn lead(&mut self, config: &Config, fleet: Fleet, by: Option<RequestId>, cx: &mut Cx<'_>) {
        self.append(Record::Fleet { fleet: fleet.clone(), by }, cx);
        cx.observe(Fact::Fleet(fleet));
        self.coordination.regions.clear();
        self.publish(config, cx);
        self.ask_regions(config, false, cx);
    }

    /// Asks the other regions for what they are to do: their coordinators, or everybody who may be that by now.
    pub(super) fn ask_regions(&self, config: &Config, everybody: bool, cx: &mut Cx<'_>) {
        let Some(fleet) = self.durable.fleet_under_way() else { return cx.cancel_timer(Timer::Fleet) };
        for (place, task) in fleet.tasks() {
            let named = config.regions.iter().find(|region| region.name == fleet.parts[place].region);
            let Some(region) = named.filter(|region| region.members != config.members) else { continue };
            let asked = region.members.iter().filter(|&&to| everybody || to == region.coordinator);
            for &to in asked {
                self.tell(cx, to, Message::RegionReq { fleet: fleet.id, task: task.clone() });
            }
        }
        cx.set_timer(Timer::Fleet, Duration::from_millis(config.timeouts.resend_ms));
    }

    pub(super) fn on_region_resp(
        &mut self,
        config: &Config,
        from: NodeId,
        (fleet, back, life): (RequestId, bool, Life),
        standing: Standing,
        cx: &mut Cx<'_>,
    ) {
        let known = self.durable.fleet_under_way().filter(|known| known.id == fleet && self.is_coordinator());
        let Some(known) = known else { return }; // a late copy
        let region = config.region_of(from).map(|place| &config.regions[place].name);
        let Some(place) = known.parts.iter().position(|part| Some(&part.region) == region) else {
            return ignore(from, "it is of no region of this rollout", cx);
        };
        if known.parts[place].was.as_ref().is_some_and(|was| life.is_before(was.life)) {
            return; // somebody else coordinates there by now
        }
        self.hear(config, place, back, standing, cx);
    }

    /// Takes in how far a region is; whether that changes what is to be done.
    fn hear(
        &mut self,
        config: &Config,
        place: usize,
        back: bool,
        standing: Standing,
        cx: &mut Cx<'_>,
    ) -> bool {
        let Some(fleet) = self.durable.fleet_under_way() else { return false };
        let Some(task) = fleet.task_of(place) else { return false };
        if task.is_back() != back && !config.makes(Mistake::TakesAnyDone) {
            return false; // a late copy
        }
        let has_begun = matches!(standing, Standing::UnderWay { .. }) && !back;
        let goes_on = if has_begun && config.makes(Mistake::LeadsOn) { &Standing::Done } else { &standing };
        if let Some(next) = fleet.after(place, goes_on) {
            self.lead(config, next, None, cx);
            return true;
        }
        let region = fleet.parts[place].region.clone();
        if self.coordination.regions.get(&region) != Some(&standing) {
            self.coordination.regions.insert(region, standing);
            self.publish(config, cx);
        }
        false
    }

    /// Whether the rollout over regions waits for an operator, who has paused a part of it.
    pub(super) fn fleet_is_paused(&self, fleet: &Fleet) -> bool {
        let is_paused = |(place, _): &(usize, Task)| {
            let said = self.coordination.regions.get(&fleet.parts[*place].region);
            matches!(
                said,
                Some(Standing::UnderWay { is_paused: true, .. } | Standing::Waits { is_paused: true, .. })
            )
        };
        fleet.tasks().iter().all(is_paused)
    }

    // A region.

    pub(super) fn on_region_req(
        &mut self,
        config: &Config,
        from: NodeId,
        fleet: RequestId,
        task: Task,
        cx: &mut Cx<'_>,
    ) {
        if config.region_of(from) != Some(0) || config.own_region() == Some(0) {
            return ignore(from, "it does not lead this region", cx);
        }
        if !self.is_coordinator() || self.answer_of_none().is_some() {
            return; // somebody else will answer, or this node later
        }
        let told = self.stand(config, fleet, &task, cx);
        let (back, life) = (task.is_back(), self.life());
        self.tell(cx, from, Message::RegionResp { fleet, back, life, standing: told.clone() });
        if task != Task::State {
            self.coordination.led =
                Some(Led { by: from, fleet, task, told }).filter(|led| !led.told.is_final());
        }
    }

    /// Goes on with whatever this node does for a rollout over regions. Asked after every event.
    pub(super) fn direct(&mut self, config: &Config, cx: &mut Cx<'_>) {
        if !self.is_coordinator() || self.answer_of_none().is_some() {
            return;
        }
        if let Some(Led { by, fleet, task, told }) = self.coordination.led.clone() {
            let standing = self.stand(config, fleet, &task, cx);
            if standing != told {
                let (back, life, is_final) = (task.is_back(), self.life(), standing.is_final());
                self.tell(cx, by, Message::RegionResp { fleet, back, life, standing: standing.clone() });
                let led = Led { by, fleet, task, told: standing };
                self.coordination.led = Some(led).filter(|_| !is_final);
            }
        }
        let own = config.own_region().map(|place| &config.regions[place].name);
        if let Some(fleet) = self.durable.fleet_under_way().filter(|fleet| fleet.course == FleetCourse::Going)
            && let Some((place, _)) = fleet.tasks().first()
            && config.regions.iter().all(|region| region.name != fleet.parts[*place].region)
        {
            let (place, why) = (*place, "no region of this name is configured any more".into());
            self.hear(config, place, false, Standing::Failed { why }, cx);
        }
        while let Some(fleet) = self.durable.fleet_under_way()
            && let Some(place) = fleet.parts.iter().position(|part| Some(&part.region) == own)
            && let Some(task) = fleet.task_of(place)
        {
            let standing = self.stand(config, fleet.id, &task, cx);
            if !self.hear(config, place, task.is_back(), standing, cx) {
                break;
            }
        }
    }

    /// Does what a region is asked, as far as that can be done now, and says how far it is.
    fn stand(&mut self, config: &Config, fleet: RequestId, task: &Task, cx: &mut Cx<'_>) -> Standing {
        match task {
            Task::State => self.stands(fleet).unwrap_or_else(|| Standing::Serves(self.serves_now())),
            Task::Out { plan, was } => self.roll_part_out(config, fleet, plan, was, cx),
            Task::Back { model, to, first } => self.take_part_back(config, fleet, (model, to), *first, cx),
        }
    }

    fn life(&self) -> Life {
        Life { cluster: self.durable.cluster, generation: self.durable.generation() }
    }

    fn serves_now(&self) -> Served {
        let served = &self.durable.committed;
        Served { life: self.life(), version: served.version, stable: served.stable_model_id.clone() }
    }

    /// How far its part of a rollout is; none, if it has not begun.
    fn stands(&self, fleet: RequestId) -> Option<Standing> {
        let id = name_of_part(fleet);
        if self.has_taken(name_of_way_back(fleet, self.durable.generation())) {
            return Some(Standing::Failed { why: "it was taken back".into() });
        }
        let part = self.durable.rollout(id).map(standing_of);
        part.or_else(|| {
            let why = "it was taken back, or so many rollouts came after it that nothing is known of it";
            self.has_taken(id).then(|| Standing::Failed { why: why.into() })
        })
    }

    /// Whether a request of this name was taken.
    fn has_taken(&self, id: RequestId) -> bool {
        self.durable.asked(id).is_some() || self.durable.has_expired(id)
    }

    fn roll_part_out(
        &mut self,
        config: &Config,
        fleet: RequestId,
        plan: &RolloutPlan,
        was: &Served,
        cx: &mut Cx<'_>,
    ) -> Standing {
        let id = name_of_part(fleet);
        if let Some(standing) = self.stands(fleet) {
            return standing;
        }
        let failed = |why: &str| Standing::Failed { why: why.into() };
        let served = &self.durable.committed;
        if served.status == Status::Stable && served.stable_model_id == plan.model {
            return Standing::Done;
        }
        let serves = self.serves_now();
        if (serves.life, serves.version) != (was.life, was.version) {
            return Standing::Serves(serves);
        }
        if self.split_brain {
            return failed("two of its nodes hold different states for one version");
        }
        let running = self.durable.running();
        let before = running.map(|running| running.id).or(self.durable.queue.last().map(|queued| queued.id));
        if let Some(before) = before.filter(|_| !plan.supersede) {
            let is_paused = running.is_some_and(Rollout::is_paused);
            return Standing::Waits { why: format!("{before} comes first"), is_paused };
        }
        let running = running.map(|running| running.id);
        let steps = match steps(config, served, plan) {
            Ok(steps) => steps,
            Err(why) => return Standing::Failed { why },
        };
        let (plan, gates) = (plan.clone(), asked_gates(config, plan).cloned());
        let part = Rollout { id, plan, steps, gates, supersedes: running, course: Course::Going };
        self.accept(config, part, cx);
        self.durable.rollout(id).map_or_else(|| failed("it is not known any more"), standing_of)
    }

    fn take_part_back(
        &mut self,
        config: &Config,
        fleet: RequestId,
        (model, to): (&ModelId, &ModelId),
        first: Life,
        cx: &mut Cx<'_>,
    ) -> Standing {
        let (out, back) = (name_of_part(fleet), name_of_way_back(fleet, self.durable.generation()));
        let why = Why::Recalled { fleet };
        if let Some(way) = self.durable.rollout(back) {
            let is_back = matches!(way.course, Course::Returned(_) | Course::Superseded { .. });
            return if is_back { Standing::Done } else { under_way(way) };
        }
        if self.has_taken(back) {
            return Standing::Done;
        }
        let is_recalled = |asked: &Asked| asked.digest == Request::AbortFleet.digest();
        let has_begun = self.has_taken(out) && !self.durable.asked(out).is_some_and(is_recalled);
        if !self.has_taken(out) && !config.makes(Mistake::LeavesTheDoorOpen) {
            self.append(Record::Recalled { fleet }, cx); // a late copy of the question must not begin it
        }
        if !has_begun && first == self.life() {
            return Standing::Done; // what is served is somebody else's wish
        }
        let running = self.durable.running();
        if let Some(part) = running.filter(|running| running.id == out) {
            let course = Course::Returning(why);
            if !matches!(part.course, Course::Returning(_)) {
                self.steer(config, None, course.clone(), cx);
                self.interrupt(config, cx);
            }
            let part = self.durable.rollout(out).filter(|part| !part.is_over());
            return part.map_or(Standing::Done, under_way);
        }
        let served = &self.durable.committed;
        let is_stable = served.stable_model_id == *model;
        let is_there = is_stable || served.canary_model_id.as_ref() == Some(model);
        if !is_there || model == to {
            return Standing::Done;
        }
        if let Some(other) = running.filter(|_| !is_stable) {
            // It has taken the part's place, and the canary's with its first step.
            let why = format!("{} comes first, which took its place", other.id);
            return Standing::Waits { why, is_paused: other.is_paused() };
        }
        let plan = RolloutPlan::unguarded(to.clone(), vec![WHOLE_BP], 0);
        let (course, supersedes) = (Course::Returning(why), running.map(|running| running.id));
        let way = Rollout { id: back, plan, steps: Vec::new(), gates: None, supersedes, course };
        self.accept(config, way, cx);
        match self.durable.rollout(back) {
            Some(way) if !way.is_over() => under_way(way),
            _ => Standing::Done,
        }
    }
}
