//! The simulated link gives and takes bytes in pieces, and nothing is lost by that.

use coalmine_sim::spec::verdict::Verdict;

use super::*;

/// Some of a thousand frames are written in two pieces, and some are read so, or together; what is wrong with one of them
/// breaks the order of all that follow, or the connection.
#[test]
fn what_is_written_in_pieces_arrives_whole_and_in_order() {
    for engine in ENGINES {
        for seed in 0..3 {
            let options = RunOptions::of(seed);
            let report = scenario(|| toys(Habit::Chatty)).run_plan(engine, &Plan::quiet([]), options);
            assert_eq!(report.verdict, Verdict::Passed, "{engine}");
            assert!(report.events > 2 * 20 * 190, "{engine}: {}", report.events);
        }
    }
}
