//! How long a timer may take: [`Duration::MAX`] is never, in every world, and anything shorter is no reason to panic.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coalmine_core::host::Host;
use coalmine_core::node::Effect;
use coalmine_real::probe::Probe;
use coalmine_real::shell::{Placement, Shell};
use coalmine_real::tokio_runtime::TokioRuntime;
use coalmine_sim::check::CheckOptions;
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::prelude::*;
use coalmine_sim::spec::verdict::{Engine, Verdict};
use serde::{Deserialize, Serialize};

/// A day's clock counts no further in nanoseconds than five centuries; the language counts on.
const AGES: [Duration; 3] = [
    Duration::from_nanos(u64::MAX),
    Duration::from_secs(u64::MAX / 2),
    Duration::MAX.saturating_sub(Duration::from_nanos(1)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Bell {
    /// Is never armed, although the node seems to.
    Never,
    /// Is armed, and then asked never to fire.
    Recalled,
    /// Fires after all time.
    Ages(u8),
    /// Fires some time between soon and never.
    SomeDay,
    Soon,
}

/// Arms timers, and remembers those that fire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sleeper {
    rang: Vec<Bell>,
}

impl Node for Sleeper {
    type Config = ();
    type Message = ();
    type Timer = Bell;
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = Bell;

    fn start((): &(), _: &[()], cx: &mut Context<'_, Self>) -> Self {
        cx.set_timer(Bell::Never, Duration::MAX);
        cx.set_timer(Bell::Recalled, Duration::from_millis(1));
        cx.set_timer(Bell::Recalled, Duration::MAX);
        for (number, age) in AGES.into_iter().enumerate() {
            cx.set_timer(Bell::Ages(number as u8), age);
        }
        cx.set_timer(Bell::SomeDay, Duration::from_secs(3600)..=Duration::MAX);
        cx.set_timer(Bell::Soon, Duration::from_millis(20));
        Self { rang: Vec::new() }
    }

    fn on(&mut self, (): &(), event: Event<Self>, cx: &mut Context<'_, Self>) {
        if let Event::Timer(bell) = event {
            self.rang.push(bell);
            cx.observe(bell);
        }
    }
}

impl HttpApi for Sleeper {}

#[derive(Debug)]
struct Bedroom;

impl System for Bedroom {
    type Node = Sleeper;
    type History = ();

    fn members(&self) -> Vec<(NodeId, ())> {
        vec![(NodeId(1), ())]
    }

    fn operations(&self) -> Vec<Operation<Sleeper>> {
        Vec::new()
    }

    fn invariants(&self) -> Vec<Invariant<Sleeper, ()>> {
        let rings = |now: &Observation<'_, Sleeper, ()>| {
            let never = |bell: &Bell| matches!(bell, Bell::Never | Bell::Recalled);
            match now.up().find(|(_, state)| state.rang.iter().any(never)) {
                Some((id, state)) => Err(format!("{id}: {:?}", state.rang)),
                None => Ok(()),
            }
        };
        vec![Invariant { name: "never-is-never", about: "", source: "", check: rings }]
    }

    fn witnesses(&self) -> Vec<Witness<Sleeper, ()>> {
        let rings = |now: &Observation<'_, Sleeper, ()>| {
            now.up().any(|(_, state)| state.rang.contains(&Bell::Ages(2)))
        };
        vec![Witness { name: "ages-pass", about: "", seen: rings }]
    }
}

#[test]
fn a_timer_of_the_longest_duration_never_fires_in_a_run() {
    let scenario = Scenario {
        name: "bedroom",
        about: "Timers that take for ever.",
        system: || Bedroom,
        plan: |_, _| {
            let clock = |node, percent| What::Fault(Fault::Clock { node, percent, for_ms: 5_000 });
            let jump = What::Fault(Fault::ClockJump { node: NodeId(1), by_ms: 1_000 });
            let plan = Plan::quiet([(100, clock(NodeId(1), 1)), (200, jump)]);
            plan.with(When::AtMs(6_000), clock(NodeId(1), 10_000))
        },
        expect: |now| {
            let rang: Vec<_> = now.up().map(|(_, state)| state.rang.clone()).collect();
            if rang == [[Bell::Soon]] { Ok(()) } else { Err(format!("{rang:?}")) }
        },
    };
    let plan = scenario.plan_of(&Bedroom, 1);
    for engine in [Engine::Direct, Engine::Madsim] {
        let report = scenario.run_plan(engine, &plan, RunOptions::of(1));
        assert_eq!(report.verdict, Verdict::Passed, "{engine}");
    }
}

/// The checker fires every timer that is armed, however long it takes; so one that never fires must not be.
#[test]
fn a_timer_of_the_longest_duration_never_fires_in_the_checker() {
    let model: ModelDef<Bedroom> = ModelDef {
        name: "bedroom",
        about: "Timers that take for ever.",
        system: |_, _| Bedroom,
        size: (1, 0),
        limits: Limits { timeouts: Some(5), ..Limits::NONE },
    };
    let suite = Suite::default().model(model);
    let model = suite.find_model("bedroom").expect("it is there");
    let (report, found) = model.check(ModelArgs::default(), CheckOptions::default(), &mut |_| {});
    assert!(report.is_proof(), "{:?} {found:?}", report.properties);
}

/// Keeps what a node observes.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Bell>>>);

impl Probe<Sleeper> for Ear {
    fn on_step(&self, _: &Host<Sleeper>, effects: &[Effect<Sleeper>]) -> std::ops::ControlFlow<()> {
        let heard = effects.iter().filter_map(|effect| {
            let Effect::Observe(bell) = effect else { return None };
            Some(*bell)
        });
        self.0.lock().expect("nobody panics").extend(heard);
        std::ops::ControlFlow::Continue(())
    }
}

#[test]
fn a_timer_of_the_longest_duration_never_fires_for_real() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ear = Ear::default();
    let ended = tokio.block_on(async {
        let runtime = TokioRuntime::new(folder.path().join("journal"));
        let control = SocketAddr::from(([127, 0, 0, 1], 0));
        let placement = Placement { me: NodeId(1), control, data: control, peers: [].into() };
        let (shell, _handle) = Shell::<Sleeper, _, _>::new(runtime, (), placement, ear.clone());
        tokio::time::timeout(Duration::from_millis(300), shell.run()).await
    });
    assert!(ended.is_err(), "it goes on: {ended:?}");
    assert_eq!(*ear.0.lock().expect("nobody panics"), [Bell::Soon]);
}
