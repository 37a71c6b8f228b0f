//! How many distinct states the spaces of the main job, and of `check all`, have. Those of `twophase` are known from
//! the specification, those of `counter` from SPIN; those of the rollout, the chain, the tally, the lease and the registers
//! are ours. (Where nobody asks whether states settle, and all members start first, the registers have the 544 and 16,668
//! states that stateright counts.) A count that changes says that a node has changed, or a rule of the world: see
//! [`Suite::pin`](coalmine_sim::suite::Suite::pin).

use coalmine_sim::spec::limits::ModelArgs;

use crate::rollout;

/// The counts of the rollout, in the order of [`rollout::spaces`].
const ROLLOUT: [usize; 10] =
    [790_289, 272_216, 58_741, 33_315, 364_082, 37_064, 18_461, 6_965, 251_080, 114_234];

/// The counts of guarded rollouts, in the order of [`rollout::canary::spaces`].
const CANARY: [usize; 4] = [421_619, 539_428, 276_791, 229_697];

/// The counts of members that come and go, in the order of [`rollout::growth::growth_spaces`].
const GROWTH: [usize; 2] = [127_138, 1_134];

/// The counts of a coordinator that is succeeded, in the order of [`rollout::growth::succession_spaces`].
const SUCCESSION: [usize; 3] = [814, 2_725, 41_721];

/// The counts of journals that are replaced by snapshots, in the order of [`rollout::compaction::spaces`].
const COMPACTION: [usize; 5] = [13_882, 20_156, 52_149, 135_415, 87_078];

/// The counts of rollouts over regions, in the order of [`rollout::regions::spaces`].
const REGIONS: [usize; 7] = [5_251, 14_275, 697, 522, 4_046, 591_989, 11_706];

/// Model, space, distinct states.
pub fn all() -> Vec<(&'static str, ModelArgs, usize)> {
    let usual = ModelArgs::default();
    let of = |nodes: u32| ModelArgs { nodes: Some(nodes), ..usual };
    let mut pins = vec![
        ("twophase", of(3), 288),
        ("twophase", of(5), 8_832),
        ("twophase", of(6), 50_816),
        ("twophase", of(7), 296_448),
        ("counter", usual, 2_020),
        ("single-copy", usual, 175),
        ("abd", usual, 940),
        ("paxos", usual, 396_090),
        ("chain", usual, 2_100_061),
        ("tally", usual, 682_560),
        ("roster", usual, 160_983),
        ("lease", usual, 619_423),
        ("canary", usual, 569_897),
    ];
    pins.extend(rollout::spaces().into_iter().zip(ROLLOUT).map(|(space, states)| ("rollout", space, states)));
    let growth = rollout::growth::growth_spaces().into_iter().zip(GROWTH);
    pins.extend(growth.map(|(space, states)| ("growth", space, states)));
    let succession = rollout::growth::succession_spaces().into_iter().zip(SUCCESSION);
    pins.extend(succession.map(|(space, states)| ("succession", space, states)));
    let compaction = rollout::compaction::spaces().into_iter().zip(COMPACTION);
    pins.extend(compaction.map(|(space, states)| ("compaction", space, states)));
    let regions = rollout::regions::spaces().into_iter().zip(REGIONS);
    pins.extend(regions.map(|(space, states)| ("regions", space, states)));
    let canary = rollout::canary::spaces().into_iter().zip(CANARY);
    pins.extend(canary.map(|(space, states)| ("canary", space, states)));
    pins
}
