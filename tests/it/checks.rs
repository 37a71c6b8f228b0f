//! The models, exhausted: counts that are known from elsewhere, and verdicts that are proofs.

use coalmine::{rollout, twophase};
use coalmine_core::node::{Context, Event, Node, NodeId};
use coalmine_core::observation::{Invariant, Observation};
use coalmine_sim::check::{CheckOptions, CheckReport, Explorer, Reductions, Verdict};
use coalmine_sim::spec::budget::Budget;
use coalmine_sim::spec::limits::{Disk, Lack, Limits, ModelArgs};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::SETTLES;
use coalmine_sim::suite::{AnyModel, ModelDef};

fn check(model: &dyn AnyModel, args: ModelArgs, threads: usize) -> CheckReport {
    let options = CheckOptions { threads, ..full() };
    let (report, found) = model.check(args, options, &mut |_| {});
    assert!(report.is_proof(), "{report:#?}\n{}", found.map(|found| found.story).unwrap_or_default());
    report
}

/// Nothing is left out but crash points that make no difference.
fn full() -> CheckOptions {
    let reductions = Reductions { crash_points: true, ..Reductions::NONE };
    CheckOptions { reductions, ..CheckOptions::default() }
}

/// Smaller ones are counted in `models`.
#[test]
fn two_phase_of_seven_on_two_threads_has_the_known_number_of_states() {
    let report = check(&twophase::model(), ModelArgs { nodes: Some(7), ..ModelArgs::default() }, 2);
    assert_eq!(report.unique_states, 296_448);
}

/// The rollout node within small budgets. The counts are ours: a change that changes them changes what the
/// node or the world does, and must be explained.
#[test]
fn the_rollout_holds_with_a_crash_and_a_loss() {
    let args = ModelArgs { timeouts: Some(0), ..ModelArgs::default() };
    let report = check(&rollout::model(), args, 2);
    assert_eq!((report.steps, report.unique_states), (137_131, 31_292));
}

#[test]
fn the_rollout_holds_with_a_disk_that_syncs_late() {
    let args =
        ModelArgs { drops: Some(0), timeouts: Some(0), disk: Some(Disk::Async), ..ModelArgs::default() };
    let report = check(&rollout::model(), args, 2);
    assert_eq!((report.steps, report.unique_states), (146_618, 37_064));
}

#[test]
fn the_rollout_holds_with_a_lost_disk() {
    let args = ModelArgs {
        crashes: Some(0),
        wipes: Some(1),
        drops: Some(0),
        timeouts: Some(0),
        operations: Some(2),
        ..ModelArgs::default()
    };
    let report = check(&rollout::model(), args, 2);
    assert_eq!((report.steps, report.unique_states), (475_372, 114_234));
}

/// The checker found it: both nodes lose their disks, and the coordinator presumed ABORT for what its former
/// disk had committed.
#[test]
fn nothing_is_presumed_about_what_a_lost_disk_decided() {
    let args = ModelArgs {
        nodes: Some(2),
        crashes: Some(0),
        wipes: Some(2),
        drops: Some(0),
        timeouts: Some(1),
        ..ModelArgs::default()
    };
    // Where every disk is lost nobody knows what was committed, and nothing settles.
    let unsettled = |settle| {
        let options = CheckOptions { threads: 2, settle, ..full() };
        let (report, _) = rollout::model().check(args, options, &mut |_| {});
        assert!(report.exhausted, "{report:#?}");
        report
    };
    assert!(unsettled(true).violated().eq([SETTLES]));
    let report = unsettled(false);
    assert!(report.is_proof(), "{report:#?}");
    assert_eq!((report.steps, report.unique_states), (84_827, 32_505));
}

/// If a participant never comes back nobody waits for it. If the coordinator never does, the others may wait, but
/// only if every one of them is in doubt.
#[test]
fn only_the_coordinator_can_block_the_others_and_only_all_of_them() {
    let without = |model: &dyn AnyModel, gone, nodes| {
        let quiet = ModelArgs { drops: Some(0), timeouts: Some(0), ..ModelArgs::default() };
        let args = ModelArgs { nodes: Some(nodes), without: Some(gone), ..quiet };
        let (report, found) = model.check(args, CheckOptions::default(), &mut |_| {});
        assert!(report.exhausted, "{report:#?}");
        (report.properties[SETTLES], found.map(|found| found.story).unwrap_or_default())
    };
    for nodes in [3, 4] {
        for participant in 2..=nodes {
            let (settles, story) = without(&rollout::model(), participant, nodes);
            assert_eq!(settles, Verdict::Holds, "{story}");
        }
        let (settles, story) = without(&rollout::model(), 1, nodes);
        assert_eq!(settles, Verdict::Violated);
        assert!(
            story.contains("is in doubt about 1.1: after") && story.contains("rounds come again and again"),
            "{story}"
        );
        assert!(story.contains("but n1 is down"), "{story}");
        let (settles, story) = without(&coalmine_tests::blocked_together(), 1, nodes);
        assert_eq!(settles, Verdict::Holds, "{story}");
    }
    let stranger = ModelArgs { without: Some(4), ..ModelArgs::default() };
    let why = rollout::model().check_args(stranger).expect_err("there is no n4");
    assert_eq!(why, "without n4: the system has 3 members, from n1");
}

/// What two-phase commit is made for: who is blocked recovers, who is behind catches up, a resolver decides. Where
/// the budgets let that happen it must be seen; where they do not, what would is named, and it is no failure.
#[test]
fn blocked_nodes_recover_late_ones_catch_up_and_resolvers_decide() {
    let of = |args: ModelArgs| {
        let options = CheckOptions { threads: 2, ..CheckOptions::default() };
        let (report, found) = rollout::model().check(args, options, &mut |_| {});
        assert!(report.exhausted, "{report:#?}\n{}", found.map(|found| found.story).unwrap_or_default());
        let how = ["recovers", "catches-up", "resolver-decides"].map(|name| report.properties[name]);
        (how, report)
    };
    let (seen, beyond) = (Verdict::Witnessed, Verdict::OutOfReach);
    let quiet = ModelArgs { crashes: Some(0), drops: Some(0), timeouts: Some(0), ..ModelArgs::default() };

    let (how, report) = of(ModelArgs { crashes: Some(1), ..quiet });
    assert_eq!(how, [seen, beyond, beyond]);
    assert!(report.is_proof(), "{report:#?}");
    let lacks = [
        ("catches-up", Budget::Periodic, 1),
        ("excluded", Budget::Wipes, 1),
        ("resolver-decides", Budget::Timeouts, 2),
    ];
    let lacks = lacks.map(|(witness, budget, times)| (witness, Lack::Budget(budget, times)));
    assert_eq!(report.lacks, lacks.into());

    let (how, _) = of(ModelArgs { periodic: Some(1), ..quiet });
    assert_eq!(how, [beyond, seen, beyond]);
    for timeouts in [2, 3] {
        let (how, _) = of(ModelArgs { timeouts: Some(timeouts), ..quiet });
        assert_eq!(how, [beyond, beyond, seen], "{timeouts} time-outs");
    }
    let (how, report) = of(ModelArgs { nodes: Some(2), timeouts: Some(2), ..quiet });
    assert_eq!((how, report.lacks["resolver-decides"]), ([beyond; 3], Lack::Nodes(3)));
}

/// What the budgets allow must be seen: a protocol that never gets there is no proof.
#[test]
fn a_witness_in_reach_that_is_not_seen_fails_a_check() {
    let args = ModelArgs { crashes: Some(1), operations: Some(0), ..ModelArgs::default() };
    let (report, _) = rollout::model().check(args, CheckOptions::default(), &mut |_| {});
    assert_eq!(report.properties["recovers"], Verdict::Missing);
    assert!(report.exhausted && !report.is_proof(), "{report:#?}");
}

/// An empty space proves nothing, and must not pass for a proof.
#[test]
fn a_space_in_which_nothing_happens_is_no_proof() {
    let args = ModelArgs { operations: Some(0), crashes: Some(0), ..ModelArgs::default() };
    let options = CheckOptions::default();
    let (report, _) = rollout::model().check(args, options, &mut |_| {});
    assert!(report.exhausted && !report.is_proof(), "{report:#?}");
}

/// Nor where there are no witnesses that could be missed, with either engine.
#[test]
fn a_space_of_one_state_is_no_proof() {
    for explorer in [Explorer::Own, Explorer::Stateright] {
        let of = |args| {
            let options = CheckOptions { explorer, ..CheckOptions::default() };
            coalmine_tests::idle().check(args, options, &mut |_| {}).0
        };
        let nothing = of(ModelArgs::default());
        assert_eq!((nothing.exhausted, nothing.unique_states), (true, 1));
        assert!(nothing.is_empty() && !nothing.is_proof(), "{nothing:#?}");
        if explorer == Explorer::Stateright {
            continue; // it does not search where there is nothing to ask
        }
        let something = of(ModelArgs { crashes: Some(1), ..ModelArgs::default() });
        assert!(!something.is_empty() && something.is_proof(), "{something:#?}");
    }
}

#[test]
fn a_cap_is_named_and_is_no_proof() {
    let options = CheckOptions { max_steps: Some(1_000), ..CheckOptions::default() };
    let (report, _) = rollout::model().check(ModelArgs::default(), options, &mut |_| {});
    assert_eq!(report.stopped_by.as_deref(), Some("--max-steps 1000"));
    assert!(!report.exhausted && !report.is_proof());
}

/// The rarer faults, each by itself. The counts are ours, as above.
#[test]
fn the_rollout_holds_with_cuts_and_retries() {
    let quiet = ModelArgs { crashes: Some(0), drops: Some(0), timeouts: Some(0), ..ModelArgs::default() };
    let of = |args| {
        let (report, found) = rollout::model().check(args, full(), &mut |_| {});
        assert!(report.exhausted, "{report:#?}\n{}", found.map(|found| found.story).unwrap_or_default());
        (report.steps, report.unique_states)
    };
    assert_eq!(of(quiet), (56, 31));
    assert_eq!(of(ModelArgs { cuts: Some(1), ..quiet }), (1_245, 413));
    assert_eq!(of(ModelArgs { retries: Some(1), ..quiet }), (116, 55));
}

/// A register does not repeat its messages: once one is lost, somebody waits for ever. As long as none is lost
/// nobody does.
#[test]
fn a_system_that_does_not_settle_is_found() {
    for reductions in [Reductions::NONE, Reductions::USUAL] {
        let check = |drops: u8| {
            let args = ModelArgs { operations: Some(1), drops: Some(drops), ..ModelArgs::default() };
            let options = CheckOptions { reductions, ..CheckOptions::default() };
            coalmine_tests::patient_register().check(args, options, &mut |_| {})
        };
        let (report, _) = check(0);
        assert!(report.is_proof(), "{report:#?}");
        assert_eq!(report.properties[SETTLES], Verdict::Holds);
        let (report, story) = check(1);
        assert_eq!(report.violated().collect::<Vec<_>>(), [SETTLES], "{report:#?}");
        let story = story.expect("a violation comes with its story").story;
        assert!(story.contains("waits for an answer: after 0 rounds the same round"), "{story}");
    }
    let off = CheckOptions { settle: false, ..CheckOptions::default() };
    let args = ModelArgs { operations: Some(1), drops: Some(1), ..ModelArgs::default() };
    let (report, _) = coalmine_tests::patient_register().check(args, off, &mut |_| {});
    assert!(report.is_proof() && !report.properties.contains_key(SETTLES), "{report:#?}");
}

/// A system that never comes to rest, and need not, says so: then nobody asks whether it settles.
#[test]
fn a_system_may_say_why_it_never_rests() {
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Ticks(bool);

    impl Node for Ticks {
        type Config = ();
        type Message = ();
        type Timer = ();
        type Record = ();
        type Request = ();
        type Reply = ();
        type View = ();
        type Fact = ();

        fn start((): &(), _: &[()], cx: &mut Context<'_, Self>) -> Self {
            cx.set_timer((), std::time::Duration::from_secs(1));
            Self(false)
        }

        fn on(&mut self, (): &(), _: Event<Self>, cx: &mut Context<'_, Self>) {
            self.0 = !self.0;
            cx.set_timer((), std::time::Duration::from_secs(1));
        }
    }

    #[derive(Debug)]
    struct Clock<const RESTS: bool>;

    impl<const RESTS: bool> System for Clock<RESTS> {
        type Node = Ticks;
        type History = ();

        fn members(&self) -> Vec<(NodeId, ())> {
            vec![(NodeId(1), ())]
        }

        fn operations(&self) -> Vec<Operation<Ticks>> {
            Vec::new()
        }

        fn invariants(&self) -> Vec<Invariant<Ticks, ()>> {
            vec![Invariant { name: "nothing", about: "", source: "", check: |_| Ok(()) }]
        }

        fn converged(&self, now: &Observation<'_, Ticks, ()>) -> Result<(), String> {
            if now.up().all(|(_, Ticks(odd))| *odd) { Ok(()) } else { Err("it ticks".into()) }
        }

        fn never_rests(&self) -> Option<&'static str> {
            (!RESTS).then_some("it ticks for ever")
        }
    }

    fn settles<const RESTS: bool>() -> (Option<Verdict>, Option<&'static str>) {
        let limits = Limits { timeouts: None, ..Limits::NONE };
        let model =
            ModelDef::<Clock<RESTS>> { name: "clock", about: "", system: |_, _| Clock, size: (1, 0), limits };
        let (report, _) = model.check(ModelArgs::default(), CheckOptions::default(), &mut |_| {});
        assert!(report.exhausted, "{report:?}");
        (report.properties.get(SETTLES).copied(), report.settling_unasked)
    }
    assert_eq!(settles::<true>(), (Some(Verdict::Violated), None));
    assert_eq!(settles::<false>(), (None, Some("it ticks for ever")));
}
