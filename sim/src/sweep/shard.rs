//! Which part of a sweep one machine runs. The parts are contiguous, disjoint and complete, and differ by at
//! most one seed in size: a seed decides its run alone, so that no part is harder than another.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A part of a sweep: `I/N`, the parts counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// Part `index` of `count`, if there is one.
    pub fn new(index: u32, count: u32) -> Result<Self, String> {
        if index < count {
            Ok(Self { index, count })
        } else {
            Err(format!("{index}/{count}: shards are counted from 0, so the last of N is N-1"))
        }
    }

    /// Which part.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Of how many.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The seeds of this part. There may be none, if there are more parts than seeds.
    pub fn of(self, seeds: &Range<u64>) -> Range<u64> {
        let size = u128::from(seeds.end - seeds.start);
        let offset = |index: u32| (size * u128::from(index) / u128::from(self.count)) as u64;
        seeds.start + offset(self.index)..seeds.start + offset(self.index + 1)
    }

    /// The part that the environment names, looked up by `variable`.
    ///
    /// | who | index | count |
    /// | --- | --- | --- |
    /// | anyone | `COALMINE_SHARD` | `COALMINE_SHARDS` |
    /// | Slurm, an array | `SLURM_ARRAY_TASK_ID`, less `_MIN`, by `_STEP` | `SLURM_ARRAY_TASK_COUNT` |
    /// | Kubernetes, an indexed Job | `JOB_COMPLETION_INDEX` | `COALMINE_SHARDS` |
    /// | Buildkite | `BUILDKITE_PARALLEL_JOB` | `BUILDKITE_PARALLEL_JOB_COUNT` |
    /// | CircleCI | `CIRCLE_NODE_INDEX` | `CIRCLE_NODE_TOTAL` |
    /// | other CI | `CI_NODE_INDEX`, from 1 if `GITLAB_CI` is set | `CI_NODE_TOTAL` |
    ///
    /// `COALMINE_SHARDS` overrides the count of all of them: a Slurm task that is submitted again alone sees
    /// an array of one. With it, Slurm's task id is the index itself.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let env = Environment { variable: &variable };
        let Some((index, count)) = SOURCES.iter().find(|(index, _)| variable(index).is_some()) else {
            let known: Vec<_> = SOURCES.iter().map(|(index, _)| *index).collect();
            return Err(format!("the environment names no shard: set one of {}", known.join(", ")));
        };
        let shards = env.number("COALMINE_SHARDS")?;
        let number = env.required(index)?;
        let (part, of) = match (*index, shards) {
            ("SLURM_ARRAY_TASK_ID", None) => env.slurm(number)?,
            ("CI_NODE_INDEX", _) if variable("GITLAB_CI").is_some() => {
                let index = number.checked_sub(1).ok_or("CI_NODE_INDEX is 0, but GitLab counts from 1")?;
                (index, shards.map_or_else(|| env.required(count), Ok)?)
            }
            (_, Some(shards)) => (number, shards),
            (_, None) => (number, env.required(count)?),
        };
        Self::new(part, of).map_err(|why| format!("{index} is {number}: {why}"))
    }
}

/// The variables that name a part and the number of parts, the first that is set wins.
const SOURCES: [(&str, &str); 6] = [
    ("COALMINE_SHARD", "COALMINE_SHARDS"),
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"),
    ("JOB_COMPLETION_INDEX", "COALMINE_SHARDS"),
    ("BUILDKITE_PARALLEL_JOB", "BUILDKITE_PARALLEL_JOB_COUNT"),
    ("CIRCLE_NODE_INDEX", "CIRCLE_NODE_TOTAL"),
    ("CI_NODE_INDEX", "CI_NODE_TOTAL"),
];

struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Environment<'_> {
    fn number(&self, name: &str) -> Result<Option<u32>, String> {
        let Some(text) = (self.variable)(name) else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|why| format!("{name} is {text:?}: {why}"))
    }

    fn required(&self, name: &str) -> Result<u32, String> {
        self.number(name)?.ok_or_else(|| format!("the environment names a shard, but {name} is not set"))
    }

    /// An array's ids may start anywhere and leave steps; a list with holes (`1,3,7`) is no partition.
    fn slurm(&self, id: u32) -> Result<(u32, u32), String> {
        let count = self.required("SLURM_ARRAY_TASK_COUNT")?;
        let min = self.number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
        let step = self.number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
        let max = self.number("SLURM_ARRAY_TASK_MAX")?;
        let even = |max: u32| max.checked_sub(min).is_some_and(|span| span / step + 1 == count);
        if max.is_some_and(|max| !even(max)) || id < min || !(id - min).is_multiple_of(step) {
            return Err(format!(
                "SLURM_ARRAY_TASK_ID is {id} of an array of {count} with holes: set COALMINE_SHARDS to the \
                 number of all shards, and task ids from 0"
            ));
        }
        Ok(((id - min) / step, count))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// `I/N`.
impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (index, count) =
            text.split_once('/').ok_or_else(|| format!("{text:?} is not I/N, a shard and their number"))?;
        let number = |text: &str| text.trim().parse::<u32>().map_err(|why| format!("{text:?}: {why}"));
        Self::new(number(index)?, number(count)?)
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Shard;

    /// The shard that an environment names, written as `A=1 B=2`.
    fn named(environment: &str) -> Result<String, String> {
        let variables: Vec<_> =
            environment.split_whitespace().filter_map(|variable| variable.split_once('=')).collect();
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Shard::from_env(variable).map(|shard| shard.to_string())
    }

    #[test]
    fn environments_name_shards() {
        let slurm = "SLURM_ARRAY_TASK_MIN=10 SLURM_ARRAY_TASK_MAX=16 SLURM_ARRAY_TASK_STEP=2";
        for (environment, shard) in [
            ("COALMINE_SHARD=2 COALMINE_SHARDS=3 CI_NODE_INDEX=7", "2/3"),
            ("SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_MIN=1", "2/4"),
            (&format!("SLURM_ARRAY_TASK_ID=14 SLURM_ARRAY_TASK_COUNT=4 {slurm}"), "2/4"),
            (
                "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=1 SLURM_ARRAY_TASK_MIN=3 COALMINE_SHARDS=8",
                "3/8",
            ),
            ("JOB_COMPLETION_INDEX=0 COALMINE_SHARDS=5", "0/5"),
            ("BUILDKITE_PARALLEL_JOB=1 BUILDKITE_PARALLEL_JOB_COUNT=2", "1/2"),
            ("CIRCLE_NODE_INDEX=1 CIRCLE_NODE_TOTAL=2", "1/2"),
            ("CI_NODE_INDEX=1 CI_NODE_TOTAL=4", "1/4"),
            ("CI_NODE_INDEX=4 CI_NODE_TOTAL=4 GITLAB_CI=true", "3/4"),
        ] {
            assert_eq!(named(environment).as_deref(), Ok(shard), "{environment}");
        }
    }

    #[test]
    fn environments_that_name_none_are_refused_by_variable() {
        for (environment, word) in [
            ("", "SLURM_ARRAY_TASK_ID"),
            ("JOB_COMPLETION_INDEX=1", "COALMINE_SHARDS is not set"),
            ("JOB_COMPLETION_INDEX=5 COALMINE_SHARDS=5", "JOB_COMPLETION_INDEX is 5"),
            ("CI_NODE_INDEX=x CI_NODE_TOTAL=4", "CI_NODE_INDEX is \"x\""),
            ("CI_NODE_INDEX=4 CI_NODE_TOTAL=4", "counted from 0"),
            ("CI_NODE_INDEX=0 CI_NODE_TOTAL=4 GITLAB_CI=true", "GitLab counts from 1"),
            ("SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_COUNT=3 SLURM_ARRAY_TASK_MAX=7", "with holes"),
        ] {
            let why = named(environment).expect_err(environment);
            assert!(why.contains(word), "{environment:?} should mention {word:?}: {why}");
        }
    }

    #[test]
    fn shards_are_counted_from_zero() {
        assert_eq!("1/4".parse::<Shard>().map(|shard| shard.of(&(0..10))), Ok(2..5));
        for bad in ["4/4", "0/0", "1", "a/2", "-1/2", "1/2/3"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad:?} should be refused");
        }
    }
}
