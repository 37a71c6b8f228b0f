//! What invariants see of a system, in one form for all that explore it.

use std::collections::BTreeSet;

use coalmine_core::observation::{Observation, Observed};

use crate::system::Told;
use crate::table::{Fact, Record, TableNode};
use crate::{Atom, Sight, Spec};

/// What can be seen of a system at one moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View {
    /// By node: what it is, while it is up; and what is durable.
    pub nodes: Vec<(Option<TableNode>, Vec<Record>)>,
    /// The facts that are kept, as in [`Told`].
    pub told: Vec<(usize, Fact)>,
}

/// All views that somebody has seen.
pub type Seen = BTreeSet<View>;

impl View {
    /// What an invariant sees.
    pub fn of<const ORDERED: bool>(now: &Observation<'_, TableNode, Told<ORDERED>>) -> Self {
        let of =
            |node: &Observed<'_, TableNode>| (node.state.cloned(), node.durable.unwrap_or_default().to_vec());
        let nodes = now.nodes.iter().map(of);
        Self { nodes: nodes.collect(), told: now.history.0.clone() }
    }
}

impl Spec {
    /// Whether what must never be seen is seen.
    pub fn has_come(&self, number: usize, view: &View) -> bool {
        self.never.get(number).is_some_and(|atoms| atoms.iter().all(|atom| self.is_seen(atom, view)))
    }

    /// Whether it has come to rest: everybody is up, and all is to be seen; but whoever is gone for ever is asked
    /// nothing.
    pub fn is_at_rest(&self, view: &View) -> bool {
        let is_gone = |place: usize| self.gone() == Some(place);
        let is_up = |(place, node): (usize, &(Option<_>, _))| node.0.is_some() || is_gone(place);
        let is_seen =
            |atom: &Atom| is_gone(usize::from(atom.node) % self.members.len()) || self.is_seen(atom, view);
        view.nodes.iter().enumerate().all(is_up) && self.rest.iter().all(is_seen)
    }

    /// The place of whoever is down for ever when it is asked whether the system settles.
    pub fn gone(&self) -> Option<usize> {
        self.budgets.without.map(|place| usize::from(place) % self.members.len())
    }

    fn is_seen(&self, atom: &Atom, view: &View) -> bool {
        let place = usize::from(atom.node) % view.nodes.len();
        let (state, durable) = &view.nodes[place];
        let mut told = view.told.iter().filter(|it| self.ordered || it.0 == place);
        let is = match atom.what {
            Sight::State(wanted) => state.as_ref().is_some_and(|it| it.state == wanted),
            Sight::Down => state.is_none(),
            Sight::Durable(count) => durable.len() == usize::from(count),
            Sight::Record(at, record) => durable.get(usize::from(at)) == Some(&record),
            Sight::Told(fact) => view.told.contains(&(place, fact)),
            Sight::ToldAs(at, fact) => told.nth(usize::from(at)) == Some(&(place, fact)),
        };
        is != atom.not
    }
}
