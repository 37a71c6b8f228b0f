//! How long runs took to converge once all was healed: how many took how many milliseconds. Percentiles of parts
//! cannot be added up, these counts can; and simulated times are few (engines look every so often), so they are
//! short.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// See the module's head. As JSON, the percentiles stand beside the counts that they follow from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", from = "Written")]
pub struct Times(BTreeMap<u64, u64>);

/// What a report says.
#[derive(Serialize, Deserialize)]
struct Written {
    p50_ms: Option<u64>,
    p95_ms: Option<u64>,
    p99_ms: Option<u64>,
    max_ms: Option<u64>,
    runs_by_ms: BTreeMap<u64, u64>,
}

impl From<Times> for Written {
    fn from(times: Times) -> Self {
        let [p50_ms, p95_ms, p99_ms, max_ms] = [50, 95, 99, 100].map(|percent| times.percentile_ms(percent));
        Self { p50_ms, p95_ms, p99_ms, max_ms, runs_by_ms: times.0 }
    }
}

impl From<Written> for Times {
    fn from(told: Written) -> Self {
        Self(told.runs_by_ms)
    }
}

impl Times {
    /// One more run.
    pub fn add(&mut self, time: Duration) {
        *self.0.entry(time.as_millis() as u64).or_default() += 1;
    }

    /// All of another report too.
    pub fn merge(&mut self, other: &Self) {
        for (&ms, &runs) in &other.0 {
            let known = self.0.entry(ms).or_default();
            *known = known.saturating_add(runs);
        }
    }

    /// The shortest time within which so many percent of the runs had converged; `None` if there was no run.
    pub fn percentile_ms(&self, percent: u64) -> Option<u64> {
        let all = self.0.values().map(|&runs| u128::from(runs)).sum::<u128>();
        let wanted = (all * u128::from(percent)).div_ceil(100);
        let mut sum = 0;
        self.0.iter().find_map(|(&ms, &runs)| {
            sum += u128::from(runs);
            (sum >= wanted).then_some(ms)
        })
    }

    /// In words; `None` if there was no run.
    pub fn describe(&self) -> Option<String> {
        let seconds = |percent| self.percentile_ms(percent).map(|ms| ms as f64 / 1000.0);
        let (p50, p95, p99, max) = (seconds(50)?, seconds(95)?, seconds(99)?, seconds(100)?);
        Some(format!("converged after p50 {p50} s, p95 {p95} s, p99 {p99} s, max {max} s"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(ms: impl IntoIterator<Item = u64>) -> Times {
        let mut times = Times::default();
        ms.into_iter().for_each(|ms| times.add(Duration::from_millis(ms)));
        times
    }

    #[test]
    fn percentiles_are_those_of_the_runs() {
        assert_eq!(times([]).percentile_ms(50), None);
        let hundred = times(1..=100);
        assert_eq!(
            [50, 95, 99, 100].map(|percent| hundred.percentile_ms(percent)),
            [50, 95, 99, 100].map(Some)
        );
        assert_eq!([50, 99].map(|percent| times([7, 1, 3]).percentile_ms(percent)), [Some(3), Some(7)]);
    }

    #[test]
    fn parts_add_up_to_the_whole_also_as_json() {
        let (mut part, other) = (times(1..=60), times(61..=100));
        part.merge(&serde_json::from_str(&serde_json::to_string(&other).expect("plain")).expect("the same"));
        assert_eq!(part, times(1..=100));
        let told = serde_json::to_value(&part).expect("plain");
        assert_eq!((&told["p99_ms"], &told["runs_by_ms"]["7"]), (&99.into(), &1.into()));
    }
}
