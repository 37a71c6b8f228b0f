//! What was found is walked again before it is told: the way there leads there again, and shows the same. Where it does
//! not, a node or what judges it is not deterministic, and that is what is told instead: no verdict of such a search is
//! to be believed, least of all that all holds.

use super::{Broken, CheckReport, Counterexample, End, NEVER_PANICS, SETTLES, Stop, Verdict};
use crate::panics::catch;
use crate::spec::system::{NodeOf, System};
use crate::spec::verdict;
use crate::world::rules::Parted;
use crate::world::{Action, Rules, World};

/// What ends a search of which nothing is to be believed.
pub(crate) const NOT_DETERMINISTIC: &str = "what is not deterministic";
/// So many of the steps that were possible are told.
const TOLD: usize = 4;

/// What happens, from before all boots.
type Path<S> = Vec<Action<NodeOf<S>>>;

/// Walks to what is broken, and no further: stateright may report a path that goes on. What breaks first on the way is
/// what was found.
pub(super) fn walked<S: System>(
    rules: &Rules<S>,
    broken: Broken,
    mut path: Path<S>,
) -> Result<(Broken, Path<S>), Parted> {
    let mut world = rules.before_boot();
    for number in 0..path.len() {
        let step = catch(|| rules.apply(&world, &path[number]).0);
        world = step.map_err(|panic| came_to(rules, &broken, &path, &format!("it {panic}")))?;
        if let Some(first) = super::explorer::broken(world.verdict & rules.bad()) {
            path.truncate(number + 1);
            return Ok((first, path));
        }
    }
    match broken {
        Broken::Settling | Broken::SettlingPanics => Ok((broken, path)),
        Broken::Invariant(_) | Broken::Panic => Err(came_to(rules, &broken, &path, "nothing is wrong")),
    }
}

impl Broken {
    /// The property that is broken.
    fn name<S: System>(&self, rules: &Rules<S>) -> &'static str {
        match self {
            Self::Invariant(number) => rules.invariants[*number].name,
            Self::Panic | Self::SettlingPanics => NEVER_PANICS,
            Self::Settling => SETTLES,
        }
    }

    pub(super) fn at_the_end_of<S: System>(
        &self,
        rules: &Rules<S>,
        path: Vec<Action<NodeOf<S>>>,
    ) -> Counterexample<S> {
        Counterexample { invariant: self.name(rules), path: rules.without_plain_boots(path) }
    }
}

fn came_to<S: System>(rules: &Rules<S>, broken: &Broken, path: &[Action<NodeOf<S>>], again: &str) -> Parted {
    other_verdict(rules, broken.name(rules), path, again)
}

/// A path that was walked again came to another verdict.
pub(crate) fn other_verdict<S: System>(
    rules: &Rules<S>,
    property: &str,
    path: &[Action<NodeOf<S>>],
    again: &str,
) -> Parted {
    let once = format!("{property} is violated");
    Parted {
        what: "the path to what was found".into(),
        once,
        again: again.into(),
        after: describe(rules, path),
    }
}

impl<S: System> Rules<S> {
    /// What ends a search whose steps are not to be relied upon, or are too many.
    pub(super) fn doubt(&self) -> Option<Stop> {
        let parted =
            self.parted().map(|_| Stop { end: End::NotDeterministic, why: NOT_DETERMINISTIC.into() });
        parted.or_else(|| self.too_many_ways().map(Stop::capped))
    }
}

/// Whether a path that was walked shows what it was found for.
pub(crate) fn shows(property: &str, verdict: &verdict::Verdict) -> bool {
    match verdict {
        verdict::Verdict::Panicked(_) => property == NEVER_PANICS,
        verdict::Verdict::NotConverged { .. } => property == SETTLES,
        verdict::Verdict::Violated { invariant, .. } => property == invariant,
        verdict::Verdict::Passed
        | verdict::Verdict::Refused { .. }
        | verdict::Verdict::EnginesDiffer { .. }
        | verdict::Verdict::NotDeterministic { .. } => false,
    }
}

/// The way to what was found is lost: none of the steps that may follow these leads on. Which of them led elsewhere is
/// known if it does so once more.
pub(super) fn lost<S: System>(
    rules: &Rules<S>,
    path: &[Action<NodeOf<S>>],
    world: &World<S>,
    whose: Option<usize>,
) -> Parted {
    let mut possible = Vec::new();
    rules.suspect();
    rules.successors(world, &mut possible);
    let after = describe(rules, path);
    if let Some(parted) = rules.parted() {
        return Parted { after, ..parted.clone() };
    }
    let is_it = |action: &Action<_>| match action {
        Action::Step { place, .. } | Action::Crash { place, .. } => whose.is_none_or(|whose| whose == *place),
        Action::Drop(_) | Action::Cut { .. } | Action::Heal { .. } => whose.is_none(),
    };
    let mut steps: Vec<_> =
        possible.iter().filter(|it| is_it(&it.action)).map(|it| rules.describe(&it.action)).collect();
    steps.dedup();
    let more = steps.len().saturating_sub(TOLD);
    steps.truncate(TOLD);
    let more = if more > 0 { format!(", or one of {more} more") } else { String::new() };
    let what = if steps.is_empty() { "nothing".into() } else { steps.join(", or ") + &more };
    let once = "it led to where something was found".into();
    Parted { what, once, again: "it leads elsewhere".into(), after }
}

fn describe<S: System>(rules: &Rules<S>, path: &[Action<NodeOf<S>>]) -> Vec<String> {
    path.iter().map(|action| rules.describe(action)).collect()
}

impl CheckReport {
    /// Nothing that was found is to be believed.
    pub(crate) fn is_not_deterministic(&mut self, parted: Parted) {
        self.properties.values_mut().for_each(|verdict| *verdict = Verdict::Unknown);
        (self.end, self.exhausted) = (End::NotDeterministic, false);
        self.stopped_by = Some(NOT_DETERMINISTIC.into());
        self.counterexample = None;
        self.settling_unknown = None;
        self.not_deterministic = Some(parted);
    }
}
