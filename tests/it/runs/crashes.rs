//! Two kinds of crash: that of a process, and that of its machine.

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    reason = "a test looks at what it asks about"
)]

use std::collections::BTreeSet;

use coalmine_core::disk::LossyDisk;
use coalmine_sim::spec::faults::{Effect, Fault};
use coalmine_sim::spec::plan::When;
use coalmine_sim::spec::verdict::Verdict;
use coalmine_sim::trace::TraceEvent;

use super::*;

const N1: NodeId = NodeId(1);

/// A record is written, and on its way to a slow disk when the process is killed; the machine may crash while the next
/// life boots, or when it has.
fn plan(crash_at: Option<u64>) -> Plan<Toy> {
    let fault = |plan: Plan<Toy>, at, fault| plan.with(When::AtMs(at), What::Fault(fault));
    let plan = fault(
        Plan::quiet([(500, ask(7))]),
        100,
        Fault::SlowSync { node: N1, delay_ms: 1_000, for_ms: 5_000 },
    );
    let plan = fault(plan, 700, Fault::Kill { node: N1, down_ms: Some(100) });
    match crash_at {
        Some(at) => fault(plan, at, Fault::Crash { node: N1, down_ms: Some(100) }),
        None => plan,
    }
}

/// From how many records each life of the first toy began, over some seeds.
fn lives(engine: Engine, crash_at: Option<u64>) -> BTreeSet<Vec<usize>> {
    let of_seed = |seed| {
        let options = RunOptions { keep_trace: true, ..RunOptions::of(seed) };
        let report = scenario(|| toys(Habit::Writes)).run_plan(engine, &plan(crash_at), options);
        assert_eq!(report.verdict, Verdict::Passed, "{}", told(&report));
        assert_eq!(report.effects.of(Effect::Kill), 1, "{engine}");
        let booted = report.trace.iter().flatten().filter_map(|entry| match entry.what {
            TraceEvent::Booted { node: N1, records, .. } => Some(records),
            _ => None,
        });
        booted.collect()
    };
    (0..24).map(of_seed).collect()
}

#[test]
fn what_a_kill_keeps_is_there_and_at_risk_until_it_is_synced() {
    for engine in ENGINES {
        let all = |lives: &[&[usize]]| lives.iter().map(|lives| lives.to_vec()).collect::<BTreeSet<_>>();
        assert_eq!(lives(engine, None), all(&[&[0, 0], &[0, 1]]), "{engine}");
        // It boots from 0.8 s on, which takes a sync of more than a second.
        assert_eq!(lives(engine, Some(1_000)), all(&[&[0, 0], &[0, 1]]), "{engine}: within a boot");
        assert_eq!(lives(engine, Some(750)), all(&[&[0, 0], &[0, 1]]), "{engine}: while it is down");
        // After the boot, what it began from is durable, whatever else was written since.
        let after = lives(engine, Some(1_900));
        assert!(after.iter().all(|lives| lives.len() == 3 && lives[2] >= lives[1]), "{engine}: {after:?}");
        assert!(
            [0, 1].iter().all(|first| after.iter().any(|lives| lives[1] == *first)),
            "{engine}: {after:?}"
        );
    }
}

/// What was killed and kept does not survive each crash that follows.
#[test]
fn a_crash_may_take_what_a_kill_has_kept() {
    for engine in ENGINES {
        let mut seen = BTreeSet::new();
        for seed in 0..24 {
            let options = RunOptions { keep_trace: true, ..RunOptions::of(seed) };
            let report = scenario(|| toys(Habit::Writes)).run_plan(engine, &plan(Some(750)), options);
            for entry in report.trace.iter().flatten() {
                match entry.what {
                    TraceEvent::Killed { kept, lost, .. } => drop(seen.insert(("killed", kept, lost))),
                    TraceEvent::Crashed { kept, lost, .. } => drop(seen.insert(("crashed", kept, lost))),
                    _ => {}
                }
            }
            let story = told(&report);
            assert!(story.contains("—— the process of n1 is killed ——"), "{engine}: {story}");
        }
        let all = [("crashed", 0, 1), ("crashed", 1, 0), ("killed", 0, 1), ("killed", 1, 0)];
        assert_eq!(seen, all.into(), "{engine}");
    }
}

/// Why the checker needs one kind: whatever kills and crashes leave of a disk, in any number and order, its next life
/// finds and syncs, and then it is as after one crash; and while nobody is up, no more is durable than after a crash
/// that keeps nothing.
#[test]
fn before_a_boot_that_syncs_kills_and_crashes_come_to_one_crash() {
    let disk = |durable: usize, unsynced: usize| {
        let mut disk = LossyDisk::default();
        (0..durable + unsynced).for_each(|record| disk.append(record));
        disk.sync(durable);
        disk
    };
    let boots = |mut disk: LossyDisk<usize>| {
        disk.sync(disk.written().len());
        disk
    };
    for (durable, unsynced) in (0..3).flat_map(|durable| (0..4).map(move |unsynced| (durable, unsynced))) {
        let first = disk(durable, unsynced);
        let crashed = |disk: &LossyDisk<usize>| -> Vec<_> {
            (0..=disk.unsynced())
                .map(|keep| {
                    let mut disk = disk.clone();
                    disk.crash(keep);
                    disk
                })
                .collect()
        };
        let killed = |disk: &LossyDisk<usize>| -> Vec<_> {
            (0..=disk.unsynced())
                .map(|keep| {
                    let mut disk = disk.clone();
                    disk.kill(keep);
                    disk
                })
                .collect()
        };
        let after_one: Vec<_> = crashed(&first);
        let mut ended = vec![first];
        for _ in 0..3 {
            ended = ended.iter().flat_map(|disk| [crashed(disk), killed(disk)].concat()).collect();
            for disk in &ended {
                assert!(after_one.contains(&boots(disk.clone())), "{disk:?}");
                assert!(
                    after_one.iter().any(|one| one.durable() == disk.durable()),
                    "{disk:?} as invariants see it"
                );
            }
            for one in &after_one {
                assert!(ended.iter().any(|disk| boots(disk.clone()) == *one), "{one:?}");
            }
        }
    }
}
