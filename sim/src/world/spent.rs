//! What a world has spent of its budgets.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize, Serializer};

use crate::spec::budget::Budget;

/// How much of each budget is used up: `spent[Budget::Crashes]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, u64>")]
pub struct Spent {
    pub(crate) times: [u8; Budget::COUNT],
    /// Which requests were sent so far, a bit each.
    pub asked: u64,
}

const ASKED: &str = "asked";

impl Spent {
    /// How often a node has crashed, or lost its disk.
    pub(crate) fn lives_ended(&self) -> u32 {
        u32::from(self[Budget::Crashes]) + u32::from(self[Budget::Wipes])
    }

    /// In words, and how many requests were sent.
    pub(super) fn describe(&self) -> String {
        let budgets = Budget::spent().map(|budget| (self[budget].into(), budget.word()));
        let spent = [(self.asked.count_ones(), "requests")].into_iter().chain(budgets);
        let spent = spent.filter(|(times, _)| *times > 0);
        spent.map(|(times, of)| format!("{times} {of}")).collect::<Vec<_>>().join(", ")
    }
}

impl Index<Budget> for Spent {
    type Output = u8;

    fn index(&self, budget: Budget) -> &u8 {
        &self.times[budget as usize]
    }
}

impl IndexMut<Budget> for Spent {
    fn index_mut(&mut self, budget: Budget) -> &mut u8 {
        &mut self.times[budget as usize]
    }
}

/// As a struct with a field for each budget would hash.
impl Hash for Spent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Budget::spent().for_each(|budget| state.write_u8(self[budget]));
        state.write_u64(self.asked);
    }
}

impl Serialize for Spent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let budgets = Budget::spent().map(|budget| (budget.key(), self[budget].into()));
        serializer.collect_map(budgets.chain([(ASKED, self.asked)]))
    }
}

impl TryFrom<BTreeMap<String, u64>> for Spent {
    type Error = String;

    fn try_from(mut all: BTreeMap<String, u64>) -> Result<Self, String> {
        let mut take = |key: &str| all.remove(key).ok_or_else(|| format!("`{key}` is missing"));
        let mut spent = Self { asked: take(ASKED)?, ..Self::default() };
        for budget in Budget::spent() {
            let times = take(budget.key()).or_else(|why| budget.was().map_or(Err(why), &mut take))?;
            spent[budget] = u8::try_from(times).map_err(|why| format!("{}: {times}: {why}", budget.key()))?;
        }
        all.keys().next().map_or(Ok(spent), |key| Err(format!("`{key}` is no budget")))
    }
}
