//! Rollouts over regions (rule 17): scenarios with a fixed plan, `regions-chaos` with everything drawn from the seed, and the
//! model `regions`.

use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::{Config, Region};
use coalmine_core::rollout::fleet::FleetCourse;
use coalmine_core::rollout::message::{OnFailure, Order, Request, RolloutPlan};
use coalmine_sim::spec::chaos::Chaos;
use coalmine_sim::spec::faults::{Fault, FrameFate, Shape};
use coalmine_sim::spec::limits::{Disk, Lack, Limits, ModelArgs};
use coalmine_sim::spec::plan::{Draw, Plan, PlanStep, What, When};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::Operation;
use coalmine_sim::suite::ModelDef;
use rand_chacha::ChaCha8Rng;

use super::chaos::{MESSAGES, RECORDS};
use super::scripted::{Now, crash, durable};
use super::{
    ALL_FAIL, Asks, RolloutSystem, WELL, ask, ask_at, basis_points, model_id, operator, report_health,
};

impl RolloutSystem {
    /// Two regions, of two nodes at least; and so many things that operators ask of them: a
    /// rollout over both; that it be aborted; that the second region's part be.
    pub fn two_regions(nodes: u32, requests: u32) -> Self {
        Self { asks: Asks::Regions, regions: 2, ..Self::new(nodes.max(2), requests) }
    }

    fn regions(nodes: u32, regions: u32) -> Self {
        Self { regions, ..Self::two_regions(nodes, 1) }
    }

    /// The regions of so many nodes: the first ones get one more where that does not come out even.
    pub(super) fn grouped(&self) -> Vec<Region> {
        let end = |place: u32| (place * self.nodes).div_ceil(self.regions);
        let region = |place: u32| {
            let members: Vec<_> = (end(place) + 1..=end(place + 1)).map(NodeId).collect();
            Region { name: format!("r{}", place + 1), coordinator: members[0], members }
        };
        if self.regions > 1 { (0..self.regions).map(region).collect() } else { Vec::new() }
    }
}

/// Who is told what, where there are regions: each node counts its region's members.
pub(super) fn group(config: &mut Config, regions: &[Region]) {
    let Some(own) = regions.iter().find(|region| region.members.contains(&config.me)) else { return };
    (config.members, config.coordinator) = (own.members.clone(), own.coordinator);
    config.regions = regions.to_vec();
}

/// The model.
pub fn model() -> ModelDef<RolloutSystem> {
    ModelDef {
        name: "regions",
        about: "The rollout's node in two regions: a rollout over both, one after the other, and the way back.",
        system: RolloutSystem::two_regions,
        size: (2, 2),
        limits: Limits { crashes: 1, drops: 1, timeouts: Some(1), ..Limits::NONE },
    }
}

/// The spaces of the main job.
pub fn spaces() -> Vec<ModelArgs> {
    let (usual, none, one) = (ModelArgs::default(), Some(0), Some(1));
    let quiet = ModelArgs { crashes: none, timeouts: none, drops: none, ..usual };
    vec![
        usual,
        ModelArgs { crashes: Some(2), ..quiet },
        ModelArgs { duplicates: Some(2), operations: Some(3), ..quiet },
        // The first region's part takes its time.
        ModelArgs { nodes: Some(3), ..quiet },
        // A region fails by itself: a vote that does not come.
        ModelArgs { nodes: Some(4), operations: Some(1), timeouts: one, ..quiet },
        ModelArgs { nodes: Some(4), wipes: one, ..quiet },
        ModelArgs { crashes: one, disk: Some(Disk::Async), ..quiet },
    ]
}

/// What the model's operators ask for: v2 in both regions; that it be aborted; that the second region abort its part.
pub(super) fn operations(regions: &[Region], requests: u32) -> Vec<Operation<RolloutNode>> {
    let start = operator(1, Request::StartFleet(over_regions("v2", &[100])));
    let of = |client| RequestId { client, sequence: 1 };
    let abort = Operation { to: NodeId(1), id: of(2), request: Request::AbortFleet };
    let request = Request::Steer { order: Order::Abort, rollout: None };
    let steer = Operation { to: regions[1].coordinator, id: of(3), request };
    [start, abort, steer].into_iter().take(requests as usize).collect()
}

/// What is not to be seen of the model within these limits.
pub(super) fn lacks(system: &RolloutSystem, witness: &str, limits: &Limits) -> Option<Lack> {
    let fails = system.nodes > 3 && limits.timeouts.is_none_or(|timeouts| timeouts > 0);
    (witness == "comes-back" && system.rollouts < 2 && !fails).then_some(Lack::Operations(2))
}

fn over_regions(model: &str, percents: &[u64]) -> RolloutPlan {
    let plan = RolloutPlan::unguarded(model_id(model), basis_points(percents), 0);
    RolloutPlan { on_failure: OnFailure::Return, ..plan }
}

fn roll_out_everywhere(sequence: u64, model: &str, percents: &[u64]) -> What<RolloutNode> {
    ask(sequence, Request::StartFleet(over_regions(model, percents)))
}

fn abort(sequence: u64) -> What<RolloutNode> {
    ask(sequence, Request::AbortFleet)
}

/// Something becomes of a frame between two nodes, the first (1) that is sent from now on, or a later one.
fn fate(from: u32, to: u32, nth: u32, fate: FrameFate) -> What<RolloutNode> {
    What::Fault(Fault::Frame { from: NodeId(from), to: NodeId(to), nth, fate })
}

/// Nobody hears of these, for so long.
fn cut_off(nodes: &[u32], for_ms: u64) -> What<RolloutNode> {
    let shape = Shape::Halves { group: nodes.iter().copied().map(NodeId).collect() };
    What::Fault(Fault::Partition { shape, for_ms })
}

/// Every region serves its model, alone.
fn serve(now: &Now<'_>, models: &[&str]) -> Result<(), String> {
    for (id, state) in now.up() {
        let model = models[now.history.region_of(id) as usize];
        let served = state.committed();
        if served.stable_model_id.as_str() != model || served.canary_model_id.is_some() {
            return Err(format!("{id} serves {served}, expected {model} alone"));
        }
    }
    Ok(())
}

/// The last rollout over regions has ended so.
fn ended(now: &Now<'_>, as_expected: fn(&FleetCourse) -> bool) -> Result<(), String> {
    let fleet = now.up().find_map(|(_, state)| state.durable().fleets.last());
    match fleet {
        Some(fleet) if as_expected(&fleet.course) => Ok(()),
        Some(fleet) => Err(format!("this is not how it should have ended: {fleet}")),
        None => Err("nobody knows of a rollout over regions".into()),
    }
}

fn is_done(course: &FleetCourse) -> bool {
    *course == FleetCourse::Done
}

/// The last rollout over regions is done, and its regions serve these.
fn goes_through(now: &Now<'_>, models: &[&str]) -> Result<(), String> {
    serve(now, models).and_then(|()| ended(now, is_done))
}

/// The last rollout over regions has returned, and its regions serve these.
fn comes_back(now: &Now<'_>, models: &[&str]) -> Result<(), String> {
    serve(now, models).and_then(|()| ended(now, |course| matches!(course, FleetCourse::Returned(_))))
}

fn three() -> RolloutSystem {
    RolloutSystem::regions(6, 3)
}

fn two() -> RolloutSystem {
    RolloutSystem::regions(4, 2)
}

/// All with a fixed plan.
pub fn all() -> Vec<Scenario<RolloutSystem>> {
    vec![
        Scenario {
            name: "regions-in-turn",
            about: "A rollout through three regions, one after the other.",
            system: three,
            plan: |_, _| Plan::quiet([(500, roll_out_everywhere(1, "v2", &[50, 100]))]),
            expect: |now| goes_through(now, &["v2"; 3]),
        },
        Scenario {
            name: "regions-one-fails",
            about: "A node of the third region is down, so that its part fails: the two regions before it return.",
            system: three,
            plan: |_, _| {
                Plan::quiet([(100, crash(6, 20_000)), (500, roll_out_everywhere(1, "v2", &[50, 100]))])
            },
            expect: |now| comes_back(now, &["v1"; 3]),
        },
        Scenario {
            name: "regions-bad-model",
            about: "A model that is well in the first region fails every request in the second: both serve the old one again.",
            system: two,
            plan: |_, _| {
                let guarded = RolloutPlan::guarded(model_id("v2"), basis_points(&[50, 100]), 0);
                let start = ask(1, Request::StartFleet(guarded));
                let plan = Plan { heal_at_ms: 30_000, ..Plan::quiet([(500, start)]) };
                let reports = [(4_000, 1, 1, WELL), (9_000, 1, 2, WELL), (15_000, 3, 1, ALL_FAIL)];
                reports.into_iter().fold(plan, |plan, (at_ms, first, version, did)| {
                    (first..first + 2).fold(plan, |plan, node| {
                        let sequence = at_ms + u64::from(node);
                        plan.with(When::AtMs(at_ms), report_health(node, sequence, version, "v2", did))
                    })
                })
            },
            expect: |now| comes_back(now, &["v1"; 2]),
        },
        Scenario {
            name: "regions-aborted",
            about: "An operator aborts a rollout when two regions of three have done their parts: they return.",
            system: three,
            plan: |_, _| {
                let held = RolloutPlan { pause_ms: 3_000, ..over_regions("v2", &[50, 100]) };
                let steps = [(500, ask(1, Request::StartFleet(held))), (16_000, abort(2))];
                Plan { heal_at_ms: 20_000, ..Plan::quiet(steps) }
            },
            expect: |now| comes_back(now, &["v1"; 3]),
        },
        Scenario {
            name: "regions-aborted-in-time",
            about: "An operator aborts a rollout whose next region cannot be reached: that never begins, not even later.",
            system: two,
            plan: |_, _| {
                Plan::quiet([
                    (400, cut_off(&[3, 4], 9_000)),
                    (500, roll_out_everywhere(1, "v2", &[100])),
                    (3_000, abort(2)),
                ])
            },
            expect: |now| comes_back(now, &["v1"; 2]),
        },
        Scenario {
            name: "regions-late-question",
            about: "A region is asked to begin, and not to: the second word comes first. It never begins.",
            system: two,
            plan: |_, _| {
                let late = fate(1, 3, 2, FrameFate::Late { by_ms: 3_000 });
                Plan::quiet([(400, late), (500, roll_out_everywhere(1, "v2", &[100]))])
                    .with(durable(1, "Fleet", 4), abort(2))
            },
            expect: |now| comes_back(now, &["v1"; 2]),
        },
        Scenario {
            name: "regions-late-answer",
            about: "A region's word that it is done comes twice, the second time when it is on its way back: it is waited for.",
            system: three,
            plan: |_, _| {
                let held = RolloutPlan { pause_ms: 1_000, ..over_regions("v2", &[50, 100]) };
                let again = fate(3, 1, 3, FrameFate::Twice { by_ms: 3_000 });
                let start = ask(1, Request::StartFleet(held));
                Plan::quiet([(500, start), (5_000, crash(4, 5_000)), (5_500, abort(2))])
                    .with(durable(3, "Decided", 2), again)
            },
            expect: |now| comes_back(now, &["v1"; 3]),
        },
        Scenario {
            name: "regions-asked-twice",
            about: "A region is asked again what it serves when it has done its part: it returns to what it served before.",
            system: three,
            plan: |_, _| {
                let held = RolloutPlan { pause_ms: 1_000, ..over_regions("v2", &[50, 100]) };
                let again = fate(1, 3, 1, FrameFate::Twice { by_ms: 2_025 });
                let start = ask(1, Request::StartFleet(held));
                Plan::quiet([(400, again), (500, start), (5_500, abort(2))])
            },
            expect: |now| comes_back(now, &["v1"; 3]),
        },
        Scenario {
            name: "regions-leader-dies",
            about: "The leader crashes when it has remembered that the first region is done: it goes on with the second.",
            system: two,
            plan: |_, _| {
                Plan::quiet([(500, roll_out_everywhere(1, "v2", &[50, 100]))])
                    .with(durable(1, "Fleet", 3), crash(1, 3_000))
            },
            expect: |now| goes_through(now, &["v2"; 2]),
        },
        Scenario {
            name: "regions-coordinator-dies",
            about: "The second region's coordinator crashes when its part is decided there: it is done once.",
            system: two,
            plan: |_, _| {
                Plan::quiet([(500, roll_out_everywhere(1, "v2", &[50, 100]))])
                    .with(durable(3, "Decided", 1), crash(3, 3_000))
            },
            expect: |now| goes_through(now, &["v2"; 2]),
        },
        Scenario {
            name: "regions-out-of-reach",
            about: "The second region cannot be reached for a while: its own rollouts go on, and the fleet's goes on when it can.",
            system: two,
            plan: |_, _| {
                let own = RolloutPlan::unguarded(model_id("v3"), basis_points(&[100]), 0);
                Plan::quiet([
                    (400, cut_off(&[3, 4], 9_000)),
                    (500, roll_out_everywhere(1, "v2", &[100])),
                    (2_000, ask_at(3, 2, Request::StartRollout(own))),
                ])
            },
            expect: |now| goes_through(now, &["v2"; 2]),
        },
        Scenario {
            name: "regions-others",
            about: "What an operator rolls out in a region alone is not taken back with a rollout that waited for it there.",
            system: two,
            plan: |_, _| {
                let own = RolloutPlan::unguarded(model_id("v2"), basis_points(&[50, 100]), 4_000);
                Plan::quiet([
                    (300, ask_at(3, 11, Request::StartRollout(own))),
                    (500, roll_out_everywhere(1, "v2", &[100])),
                    (2_000, abort(2)),
                ])
            },
            expect: |now| comes_back(now, &["v1", "v2"]),
        },
        Scenario {
            name: "regions-succession",
            about: "Another node takes over in the second region, in the middle of its part: it is done all the same.",
            system: || RolloutSystem::regions(5, 2),
            plan: |_, _| {
                let held = RolloutPlan { pause_ms: 2_000, ..over_regions("v2", &[50, 100]) };
                let gone = What::Fault(Fault::Crash { node: NodeId(4), down_ms: None });
                let take_over = ask_at(5, 11, Request::TakeOver { from: NodeId(4) });
                let steps = [(500, ask(1, Request::StartFleet(held))), (5_700, gone), (14_000, take_over)];
                Plan { heal_at_ms: 30_000, ..Plan::quiet(steps) }
            },
            expect: |now| ended(now, is_done),
        },
        Scenario {
            name: "regions-gone",
            about: "A region is gone for good: the rollout is aborted, and given up when that is said again. The next one begins.",
            system: two,
            plan: |_, _| {
                let gone = |node| What::Fault(Fault::Crash { node: NodeId(node), down_ms: None });
                let steps = [
                    (
                        500,
                        ask(
                            1,
                            Request::StartFleet(RolloutPlan {
                                pause_ms: 2_000,
                                ..over_regions("v2", &[50, 100])
                            }),
                        ),
                    ),
                    (5_700, gone(3)),
                    (5_700, gone(4)),
                    (7_000, abort(2)),
                    (9_000, abort(3)),
                ];
                Plan { heal_at_ms: 20_000, ..Plan::quiet(steps) }
            },
            expect: |now| ended(now, |course| matches!(course, FleetCourse::Stopped { .. })),
        },
        Scenario {
            name: "regions-disk-lost",
            about: "The second region's coordinator loses its disk in the middle of its part: it is done all the same.",
            system: three,
            plan: |_, _| {
                let held = RolloutPlan { pause_ms: 2_000, ..over_regions("v2", &[50, 100]) };
                let wipe = What::Fault(Fault::Wipe { node: NodeId(3), down_ms: Some(1_000) });
                Plan::quiet([(500, ask(1, Request::StartFleet(held))), (5_700, wipe)])
            },
            expect: |now| goes_through(now, &["v2"; 3]),
        },
    ]
}

/// The scenario of everything.
pub fn scenario() -> Scenario<RolloutSystem> {
    Scenario {
        name: "regions-chaos",
        about: "Rollouts over two regions and in them, and orders that end them, under every fault.",
        system: two,
        plan,
        expect: nothing_more::<RolloutSystem>,
    }
}

/// One to three rollouts over both regions, up to two of one region alone, up to two orders to return, and orders to a region.
fn plan(system: &RolloutSystem, rng: &mut ChaCha8Rng) -> Plan<RolloutNode> {
    let everybody = Chaos::of(system).nodes;
    let messages = MESSAGES.into_iter().chain(["RegionReq", "RegionResp"]).collect::<Vec<_>>();
    let records = RECORDS.into_iter().chain(["Fleet", "Recalled"]).collect::<Vec<_>>();
    let chaos = Chaos::of(system).aimed_at(&messages, &records).wipes(everybody);
    let until_ms = chaos.heal_at_ms;
    let mut steps = Vec::new();
    let mut add = |when, what| steps.push(PlanStep { when, what });
    // When the leader has just gone on: what it asked for before is under way.
    for sequence in 41..41 + rng.below(3) {
        add(durable(1, "Fleet", 2 + rng.below(9) as u32), abort(sequence));
    }
    let mut push = |at: u64, what| add(When::AtMs(at), what);
    let leaders: Vec<_> = system.grouped().iter().map(|region| region.coordinator.0).collect();
    let shares: [&[u64]; 3] = [&[100], &[50, 100], &[10]];
    for sequence in 1..=1 + rng.below(3) {
        let model = format!("v{}", 2 + rng.below(3));
        let pause_ms = *rng.pick(&[0, 500, 3_000]);
        let on_failure = if rng.permille(800) { OnFailure::Return } else { OnFailure::Pause };
        let (percents, supersede) = (*rng.pick(&shares), rng.permille(300));
        let plan = RolloutPlan { pause_ms, on_failure, supersede, ..over_regions(&model, percents) };
        push(200 + rng.below(until_ms - 200), ask(sequence, Request::StartFleet(plan)));
    }
    for sequence in 11..11 + rng.below(3) {
        push(200 + rng.below(until_ms - 200), abort(sequence));
    }
    for sequence in 21..21 + rng.below(3) {
        let (to, model, percents) =
            (*rng.pick(&leaders), format!("v{}", 2 + rng.below(3)), *rng.pick(&shares));
        let plan = RolloutPlan::unguarded(model_id(&model), basis_points(percents), 0);
        push(200 + rng.below(until_ms - 200), ask_at(to, sequence, Request::StartRollout(plan)));
    }
    for sequence in 31..31 + rng.below(3) {
        let (to, order) = (*rng.pick(&leaders), *rng.pick(&[Order::Abort, Order::Resume, Order::Promote]));
        push(200 + rng.below(until_ms - 200), ask_at(to, sequence, Request::Steer { order, rollout: None }));
    }
    Plan { converge_within_ms: 60_000, ..chaos.plan(steps, rng) }
}
