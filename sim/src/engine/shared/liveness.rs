//! The liveness phase: once all faults are healed, the system must come to rest in time, and then stay at rest for a
//! while. One instant is not enough: a system that converges and leaves again, for ever, would pass whenever somebody
//! looks at the right moment.
//!
//! At rest is a system that [has converged](crate::spec::system::System::converged) and owes no client an answer. Both
//! engines look every [`LOOK`](super::LOOK) until it is; from then on after every step of a node, for as long as
//! [the plan says](crate::spec::plan::Plan::steady_ms). It is in time if that stretch begins in time.

use std::time::Duration;

use coalmine_core::node::Node;

use crate::spec::plan::Plan;

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Liveness {
    heal_at: Duration,
    within: Duration,
    steady: Duration,
    /// Since when the system has been at rest, if it is.
    since: Option<Duration>,
    /// The last rest that did not last.
    left: Option<Left>,
}

/// A rest that did not last.
#[derive(Clone, Debug)]
struct Left {
    since: Duration,
    until: Duration,
    why: String,
}

/// What a look at the system has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It is not at rest, but may still come to it.
    NotYet,
    /// It has just come to rest: whether that lasts is to be seen.
    Begins,
    /// It is at rest.
    Goes,
    /// It was, and is no more.
    Ended(String),
    /// It has been at rest for long enough, which began so long after all was healed.
    Lasts(Duration),
    /// It did not come to rest in time.
    Missed(String),
}

impl Liveness {
    /// That of a plan.
    pub fn of<N: Node>(plan: &Plan<N>) -> Self {
        let [heal_at, within, steady] =
            [plan.heal_at_ms, plan.converge_within_ms, plan.steady_ms].map(Duration::from_millis);
        Self { heal_at, within, steady, since: None, left: None }
    }

    /// Whether every step must be looked at.
    pub fn is_at_rest(&self) -> bool {
        self.since.is_some()
    }

    /// For how long it must stay at rest.
    pub fn steady(&self) -> Duration {
        self.steady
    }

    /// Takes in whether the system is at rest now.
    pub fn look(&mut self, now: Duration, rest: Result<(), String>) -> Rest {
        let deadline = self.heal_at + self.within;
        match (rest, self.since) {
            (Ok(()), Some(since)) if now >= since + self.steady => {
                Rest::Lasts(since.saturating_sub(self.heal_at))
            }
            (Ok(()), Some(_)) => Rest::Goes,
            (Ok(()), None) => match self.left.clone() {
                Some(Left { until, why, .. }) if until >= deadline => Rest::Missed(self.describe(&why)),
                Some(_) | None => {
                    self.since = Some(now);
                    Rest::Begins
                }
            },
            (Err(why), Some(since)) => {
                self.since = None;
                self.left = Some(Left { since, until: now, why: why.clone() });
                Rest::Ended(why)
            }
            (Err(why), None) if now >= deadline => Rest::Missed(self.describe(&why)),
            (Err(_), None) => Rest::NotYet,
        }
    }

    /// Why it was too late.
    fn describe(&self, why: &str) -> String {
        let seconds = |time: Duration| time.as_secs_f64();
        let missed = format!("{} s after all was healed, {why}", seconds(self.within));
        let Some(Left { since, until, why }) = &self.left else { return missed };
        format!(
            "{missed} (it converged at {:.3} s, but at {:.3} s no more, and must stay so for {} s: {why})",
            seconds(*since),
            seconds(*until),
            seconds(self.steady),
        )
    }
}

#[cfg(test)]
mod tests {
    use coalmine_core::counter::Counter;

    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn liveness() -> Liveness {
        let quiet = Plan::<Counter>::quiet([]);
        Liveness::of(&Plan { heal_at_ms: 1_000, converge_within_ms: 10_000, steady_ms: 500, ..quiet })
    }

    #[test]
    fn rest_must_last() {
        let mut it = liveness();
        assert_eq!(it.look(at(1_000), Err("x".into())), Rest::NotYet);
        assert_eq!(it.look(at(1_100), Ok(())), Rest::Begins);
        assert_eq!(it.look(at(1_599), Ok(())), Rest::Goes);
        assert_eq!(it.look(at(1_600), Ok(())), Rest::Lasts(at(100)));
    }

    #[test]
    fn what_leaves_again_must_come_back_in_time_and_stay() {
        let mut it = liveness();
        for begin in [2_000, 3_000, 10_900] {
            assert_eq!(it.look(at(begin), Ok(())), Rest::Begins);
            assert_eq!(it.look(at(begin + 499), Err("n1 is busy".into())), Rest::Ended("n1 is busy".into()));
        }
        let missed = "10 s after all was healed, n1 is busy \
                      (it converged at 10.900 s, but at 11.399 s no more, and must stay so for 0.5 s: n1 is busy)";
        assert_eq!(it.look(at(11_400), Ok(())), Rest::Missed(missed.into()), "it came back too late");
    }

    #[test]
    fn a_rest_that_began_in_time_may_last_beyond() {
        let mut it = liveness();
        assert_eq!(it.look(at(10_999), Ok(())), Rest::Begins);
        assert_eq!(it.look(at(11_499), Ok(())), Rest::Lasts(at(9_999)));
        assert!(matches!(liveness().look(at(11_000), Err("x".into())), Rest::Missed(_)));
    }
}
