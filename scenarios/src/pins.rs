//! How many distinct states the spaces of the main job, and of `check all`, have. Those of `twophase` are known from
//! the specification, those of `counter` from SPIN, those of the registers from stateright; those of the rollout are
//! ours. A count that changes says that a node has changed, or a rule of the world: see
//! [`Suite::pin`](coalmine_sim::suite::Suite::pin).

use coalmine_sim::suite::ModelArgs;

use crate::rollout;

/// The counts of the rollout, in the order of [`rollout::spaces`].
const ROLLOUT: [usize; 11] =
    [337_808, 115_438, 25_774, 23_615, 132_248, 27_536, 9_726, 7_152, 5_062, 148_405, 65_642];

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
        ("single-copy", usual, 93),
        ("abd", usual, 544),
        ("paxos", usual, 16_668),
    ];
    pins.extend(rollout::spaces().into_iter().zip(ROLLOUT).map(|(space, states)| ("rollout", space, states)));
    pins
}
