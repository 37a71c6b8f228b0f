//! Journals that are replaced by snapshots (rule 16): a scenario with a fixed plan, `compaction-chaos` with everything drawn
//! from the seed, and the model `compaction`.

use coalmine_sim::spec::budget::Budget;
use coalmine_sim::spec::limits::{Disk, Lack, Limits, ModelArgs};
use coalmine_sim::spec::plan::Plan;
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::suite::ModelDef;

use super::scripted::{Now, all_serve, crash};
use super::{RolloutSystem, chaos, roll_out};

/// After how many records a snapshot is written here: before, between and after those of a transaction.
const EVERY: u32 = 2;

impl RolloutSystem {
    /// A cluster whose nodes write a snapshot every few records.
    pub fn compacting(nodes: u32, rollouts: u32) -> Self {
        Self { snapshot_every: EVERY, ..Self::new(nodes, rollouts) }
    }
}

/// The model.
pub fn model() -> ModelDef<RolloutSystem> {
    ModelDef {
        name: "compaction",
        about: "The rollout's node with snapshots: what a crash leaves of a journal that forgets, at every point of it.",
        system: RolloutSystem::compacting,
        size: (2, 1),
        limits: Limits { crashes: 1, timeouts: Some(1), ..Limits::NONE },
    }
}

/// The spaces of the main job.
pub fn spaces() -> Vec<ModelArgs> {
    let usual = ModelArgs::default();
    let quiet = ModelArgs { timeouts: Some(0), ..usual };
    vec![
        usual,
        ModelArgs { operations: Some(2), ..quiet },
        ModelArgs { nodes: Some(3), ..quiet },
        ModelArgs { crashes: Some(2), ..quiet },
        ModelArgs { disk: Some(Disk::Async), ..usual },
    ]
}

/// What is not to be seen of the model within these limits: disks forget in crashes.
pub(super) fn lacks(witness: &str, limits: &Limits) -> Option<Lack> {
    let forgets = ["forgets", "forgets-in-doubt"].contains(&witness);
    (forgets && limits.crashes == 0).then_some(Lack::Budget(Budget::Crashes, 1))
}

/// Scenarios: one with a fixed plan, and one of everything.
pub fn scenarios() -> Vec<Scenario<RolloutSystem>> {
    vec![
        Scenario {
            name: "compaction",
            about: "Three rollouts, and crashes of all members between them: each goes on from a snapshot.",
            system: asking,
            plan: |_, _| {
                let crashes = (1..=3).map(|node| (6_000, crash(node, 1_000)));
                let rollouts = [(500, "v2"), (4_000, "v3"), (9_000, "v4")];
                let rollouts =
                    (1..).zip(rollouts).map(|(n, (at, model))| (at, roll_out(n, model, &[50, 100], 0)));
                Plan::quiet(rollouts.chain(crashes))
            },
            expect: |now| all_serve(now, 6).and_then(|()| forgot(now)),
        },
        Scenario {
            name: "compaction-chaos",
            about: "Rollouts under every fault that can be healed, where journals are replaced by snapshots.",
            system: asking,
            plan: chaos::plan,
            expect: nothing_more::<RolloutSystem>,
        },
    ]
}

/// Its nodes ask whether they are behind before they serve, too.
fn asking() -> RolloutSystem {
    RolloutSystem { asks_first: true, ..RolloutSystem::compacting(3, 1) }
}

/// Every node has forgotten records, and goes on without them. (A simulated disk loses what is forgotten in crashes alone.)
fn forgot(now: &Now<'_>) -> Result<(), String> {
    let whole = now.nodes.iter().find(|node| node.forgotten == 0);
    whole.map_or(Ok(()), |node| Err(format!("{} should have forgotten some records", node.id)))
}
