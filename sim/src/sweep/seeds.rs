//! Ranges of seeds, and sets of them that stay small.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// At least one seed: `A..B`, B excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Seeds {
    /// The first.
    pub start: u64,
    /// The one after the last.
    pub end: u64,
}

impl Seeds {
    /// How many there are.
    pub fn count(self) -> u64 {
        self.end - self.start
    }

    /// As a range of the language.
    pub fn range(self) -> Range<u64> {
        self.start..self.end
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// `A..B`, or one seed.
impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let number = text.trim().parse::<u64>();
            number.map_err(|why| format!("{text:?}: {why}; seeds are one number, or A..B, such as 0..500"))
        };
        let (start, end) = match text.split_once("..") {
            Some((start, end)) => (number(start)?, number(end)?),
            None => {
                let seed = number(text)?;
                (seed, seed.checked_add(1).ok_or("there is no seed after this one")?)
            }
        };
        if start < end {
            Ok(Self { start, end })
        } else {
            Err(format!("{text} holds no seed: B is excluded"))
        }
    }
}

impl TryFrom<String> for Seeds {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Seeds> for String {
    fn from(seeds: Seeds) -> Self {
        seeds.to_string()
    }
}

/// A set of seeds as ranges: what a sweep has done is a long range and a few seeds that overtook others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SeedSet {
    /// By their starts, the ends. They neither overlap nor touch.
    ranges: BTreeMap<u64, u64>,
    count: u64,
}

impl SeedSet {
    /// The set of these ranges; nothing, if they are out of order, overlap or leave `within`.
    pub fn of(ranges: &[Seeds], within: &Range<u64>) -> Option<Self> {
        let mut set = Self::default();
        let mut from = within.start;
        for seeds in ranges {
            if seeds.start < from || seeds.end > within.end {
                return None;
            }
            from = seeds.end;
            set.insert(seeds.range());
        }
        Some(set)
    }

    /// How many seeds it holds.
    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn contains(&self, seed: u64) -> bool {
        self.ranges.range(..=seed).next_back().is_some_and(|(_, end)| seed < *end)
    }

    /// Takes in seeds that it does not hold.
    pub fn insert(&mut self, seeds: Range<u64>) {
        debug_assert!(!self.contains(seeds.start), "{seeds:?} is held already");
        self.count += seeds.end - seeds.start;
        let end = self.ranges.remove(&seeds.end).unwrap_or(seeds.end);
        let before = self.ranges.range_mut(..seeds.start).next_back();
        match before.filter(|(_, end)| **end == seeds.start) {
            Some((_, before)) => *before = end,
            None => {
                self.ranges.insert(seeds.start, end);
            }
        }
    }

    pub fn ranges(&self) -> Vec<Seeds> {
        self.ranges.iter().map(|(&start, &end)| Seeds { start, end }).collect()
    }

    /// What is in `whole` and not in the set, as ranges.
    pub fn missing_from(&self, whole: &Range<u64>) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut from = whole.start;
        for (&start, &end) in &self.ranges {
            missing.push(from..start);
            from = end;
        }
        missing.push(from..whole.end);
        missing.retain(|range| !range.is_empty());
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::{SeedSet, Seeds};

    #[test]
    fn seeds_are_a_range_or_one_number() {
        assert_eq!("3..7".parse(), Ok(Seeds { start: 3, end: 7 }));
        assert_eq!("5".parse(), Ok(Seeds { start: 5, end: 6 }));
        for bad in ["7..3", "3..3", "a..b", "", "18446744073709551615"] {
            assert!(bad.parse::<Seeds>().is_err(), "{bad:?} should be refused");
        }
    }

    #[test]
    fn a_set_stays_as_small_as_it_can() {
        let mut set = SeedSet::default();
        for seed in [5, 7, 6, 3, 9] {
            set.insert(seed..seed + 1);
        }
        let told: Vec<_> = set.ranges().iter().map(ToString::to_string).collect();
        assert_eq!((told.join(" "), set.count()), ("3..4 5..8 9..10".into(), 5));
        assert_eq!(set.missing_from(&(3..12)), [4..5, 8..9, 10..12]);
        assert_eq!((2..11).filter(|seed| set.contains(*seed)).collect::<Vec<_>>(), [3, 5, 6, 7, 9]);
        assert_eq!(SeedSet::of(&set.ranges(), &(3..10)), Some(set.clone()));
        assert_eq!(SeedSet::of(&set.ranges(), &(4..10)), None);
        assert_eq!(SeedSet::of(&[Seeds { start: 0, end: 2 }, Seeds { start: 1, end: 3 }], &(0..9)), None);
    }
}
