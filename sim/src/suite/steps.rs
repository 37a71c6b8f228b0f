//! Of what the plans of a sweep say, how much was carried out. A crash whose moment never comes tests nothing, and a
//! sweep of nothing but such passes.

use std::collections::BTreeMap;

use coalmine_core::node::Node;
use serde::{Deserialize, Serialize};

use crate::spec::faults::Fault;
use crate::spec::plan::{Plan, What};

/// StepCounts of plans, by kind: `ask`, or the fault's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepCounts(BTreeMap<String, Count>);

/// How many steps of a kind there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// In plans.
    pub planned: u64,
    /// In runs.
    pub carried_out: u64,
}

const ASK: &str = "ask";

impl StepCounts {
    /// Those of a run: all but these places of its plan were carried out.
    pub fn of<N: Node>(plan: &Plan<N>, unused: &[usize]) -> Self {
        let mut steps = Self::default();
        for (place, step) in plan.steps.iter().enumerate() {
            let kind = match &step.what {
                What::Ask { .. } => ASK,
                What::Fault(fault) => kind(fault),
            };
            steps.add(kind, Count { planned: 1, carried_out: u64::from(!unused.contains(&place)) });
        }
        steps
    }

    fn add(&mut self, kind: &str, more: Count) {
        if !self.0.contains_key(kind) {
            self.0.insert(kind.into(), Count::default());
        }
        if let Some(count) = self.0.get_mut(kind) {
            count.planned = count.planned.saturating_add(more.planned);
            count.carried_out = count.carried_out.saturating_add(more.carried_out);
        }
    }

    /// All of other runs too.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(kind, count)| self.add(kind, *count));
    }

    /// Whether any plan has a fault.
    pub fn has_faults(&self) -> bool {
        self.0.keys().any(|kind| kind != ASK)
    }

    /// Whether no plan has a step.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The kinds that plans have and no run came to.
    pub fn never(&self) -> Vec<&str> {
        let never = self.0.iter().filter(|(_, count)| count.planned > 0 && count.carried_out == 0);
        never.map(|(kind, _)| kind.as_str()).collect()
    }

    /// What was to be tested and was not, if that is all there was: every fault of the plans; or every step.
    pub fn untested(&self) -> Option<&'static str> {
        let is_carried_out = |faults: bool| {
            let mut of = self.0.iter().filter(|(kind, _)| !faults || *kind != ASK).peekable();
            of.peek().is_none() || of.any(|(_, count)| count.carried_out > 0)
        };
        if !is_carried_out(false) {
            return Some("nothing was tested: no step of any plan was carried out");
        }
        (!is_carried_out(true)).then_some("nothing was tested: no fault of any plan was carried out")
    }
}

/// A fault's name, as plans have it.
fn kind(fault: &Fault) -> &'static str {
    match fault {
        Fault::Crash { .. } => "crash",
        Fault::Kill { .. } => "kill",
        Fault::Wipe { .. } => "wipe",
        Fault::Pause { .. } => "pause",
        Fault::Clock { .. } => "clock",
        Fault::ClockJump { .. } => "clock_jump",
        Fault::Cut { .. } => "cut",
        Fault::Partition { .. } => "partition",
        Fault::Clog { .. } => "clog",
        Fault::SlowLink { .. } => "slow_link",
        Fault::Reset { .. } => "reset",
        Fault::Frame { .. } => "frame",
        Fault::SlowSync { .. } => "slow_sync",
        Fault::FailSync { .. } => "fail_sync",
        Fault::DiskFull { .. } => "disk_full",
        Fault::BitRot { .. } => "bit_rot",
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, StepCounts};

    #[test]
    fn what_no_run_came_to_is_named() {
        let steps = |counts: &[(&str, u64, u64)]| {
            let mut steps = StepCounts::default();
            for &(kind, planned, carried_out) in counts {
                steps.add(kind, Count { planned, carried_out });
            }
            steps
        };
        assert_eq!(steps(&[]).untested(), None, "nothing was promised");
        assert_eq!(steps(&[("ask", 3, 1)]).untested(), None);
        assert!(steps(&[("ask", 3, 0)]).untested().is_some_and(|why| why.contains("no step")));
        let some = steps(&[("ask", 3, 3), ("crash", 2, 0), ("wipe", 2, 1)]);
        assert_eq!((some.untested(), some.never()), (None, vec!["crash"]));
        let none = steps(&[("ask", 3, 3), ("crash", 2, 0), ("wipe", 2, 0)]);
        assert!(none.untested().is_some_and(|why| why.contains("no fault")));
    }
}
