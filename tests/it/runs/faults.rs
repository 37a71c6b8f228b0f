//! Faults that last, each as long as its plan says, whatever begins and ends meanwhile at the same place.

use coalmine_sim::spec::faults::Fault;
use coalmine_sim::spec::plan::When;
use coalmine_sim::spec::verdict::Verdict;
use coalmine_sim::trace::TraceEvent;

use super::*;

const N1: NodeId = NodeId(1);

fn with(asks: &[u64], faults: &[(u64, Fault)]) -> Plan<Toy> {
    let asks = asks.iter().enumerate().map(|(number, &at)| (at, ask(number as u64)));
    let plan = Plan::quiet(asks);
    faults.iter().fold(plan, |plan, (at, fault)| plan.with(When::AtMs(*at), What::Fault(fault.clone())))
}

fn pause(for_ms: u64) -> Fault {
    Fault::Pause { node: N1, for_ms }
}

/// When each client was answered, in milliseconds.
fn answered(report: &RunReport<Toy>) -> Vec<u64> {
    assert_eq!(report.verdict, Verdict::Passed, "{}", told(report));
    let entries = report.trace.iter().flatten();
    let answers = entries.filter(|entry| matches!(entry.what, TraceEvent::Answered { .. }));
    answers.map(|entry| entry.at.as_millis() as u64).collect()
}

#[test]
fn a_node_stands_still_as_long_as_any_pause_says() {
    for engine in ENGINES {
        let plan = with(&[1_000], &[(100, pause(3_000)), (200, pause(100))]);
        let at = answered(&run(engine, || toys(Habit::Plain), &plan))[0];
        assert!((3_100..3_700).contains(&at), "{engine}: {at}");
    }
}

#[test]
fn a_pause_ends_with_the_life_that_it_was_of() {
    let crash = Fault::Crash { node: N1, down_ms: Some(100) };
    for engine in ENGINES {
        let plan = with(&[700, 1_500], &[(100, pause(2_000)), (500, crash.clone()), (1_000, pause(3_000))]);
        let at = answered(&run(engine, || toys(Habit::Plain), &plan));
        assert!(at[0] < 800, "{engine}: the second life does not stand still yet: {at:?}");
        assert!(
            (4_000..4_600).contains(&at[1]),
            "{engine}: the end of the first pause ends no other: {at:?}"
        );
    }
}

#[test]
fn a_disk_is_full_as_long_as_any_fault_says() {
    let full = |for_ms| Fault::DiskFull { node: N1, for_ms };
    for engine in ENGINES {
        let plan = with(&[1_000], &[(100, full(5_000)), (200, full(100))]);
        let report = run(engine, || toys(Habit::Writes), &plan);
        assert!(
            told(&report).contains("n1  ✗ STOPS: journal: no storage space"),
            "{engine}: {}",
            told(&report)
        );
        let at = answered(&report)[0];
        assert!(at >= 5_100, "{engine}: {at}");
        // And no longer.
        let plan = with(&[500], &[(100, full(50)), (110, full(200))]);
        assert!(answered(&run(engine, || toys(Habit::Writes), &plan))[0] < 600, "{engine}");
    }
}

#[test]
fn what_slows_syncs_adds_up() {
    let slow = |delay_ms, for_ms| Fault::SlowSync { node: N1, delay_ms, for_ms };
    for engine in ENGINES {
        let plan = with(&[500, 3_000, 12_000], &[(100, slow(300, 10_000)), (200, slow(200, 1_000))]);
        let at = answered(&run(engine, || toys(Habit::Writes), &plan));
        assert!((1_000..1_050).contains(&at[0]), "{engine}: 500 ms: {at:?}");
        assert!((3_300..3_350).contains(&at[1]), "{engine}: 300 ms: {at:?}");
        assert!((12_000..12_050).contains(&at[2]), "{engine}: {at:?}");
    }
}

#[test]
fn a_clock_runs_as_the_last_fault_says_that_is_not_over() {
    let clock = |percent, for_ms| Fault::Clock { node: N1, percent, for_ms };
    for engine in ENGINES {
        let plan =
            with(&[], &[(0, clock(1_000, 6_000)), (1_000, clock(50, 2_000)), (2_000, clock(200, 500))]);
        let report = run(engine, || toys(Habit::Plain), &plan);
        let ticks = |from: u64, to: u64| {
            let in_time = |at: Duration| (from..to).contains(&(at.as_millis() as u64));
            let is_tick = |what: &TraceEvent<Toy>| {
                matches!(what, TraceEvent::Stepped { node: N1, event: Event::Timer(()), .. })
            };
            let entries = report.trace.iter().flatten();
            entries.filter(|entry| in_time(entry.at) && is_tick(&entry.what)).count() as i64
        };
        for (from, to, expected) in [
            (0, 1_000, 100),
            (1_000, 2_000, 5),
            (2_000, 2_500, 10),
            (2_500, 3_000, 2),
            (3_000, 6_000, 300),
            (6_000, 9_000, 30),
        ] {
            let ticks = ticks(from, to);
            assert!(
                (ticks - expected).abs() <= 2 + expected / 20,
                "{engine}: {ticks} ticks from {from} to {to}"
            );
        }
    }
}
