//! How all begins: before anything has happened every member is down, with its [first disk](System::first_disk). Then
//! the members boot for the first time, as a node takes any other step: whatever it chooses is tried, and it may
//! crash between any two effects, where a budget pays for it. Who has crashed in its first boot is down, and boots
//! again later.
//!
//! Members boot in any order: the order decides which members an invariant sees up beside which others, and, where
//! the [order of facts] matters, what the history holds. Whoever is slow to start boots when the others have begun to
//! act; what they send to it waits until then. (That it is lost takes a loss, as anywhere.) A model may say how many
//! may be [late](Limits::late_boots); then all others boot before anything else happens. A search *starts* in every
//! world in which so many have booted and nothing else has happened; to come there takes no step.
//!
//! What is missed where nobody may be late: what invariants see while a member is down, and facts that are told late.
//! Whatever else a late member could do it can do as well by booting early and doing nothing for a while: nothing
//! that happens elsewhere reaches a boot, which sees its own disk and nothing else. So the models of which the
//! literature knows the numbers of states, where nothing is seen of who is down, may leave late boots out.
//!
//! [order of facts]: coalmine_core::observation::History::IS_ORDERED
//! [Limits::late_boots]: super::Limits::late_boots

use std::collections::{BTreeSet, VecDeque};

use coalmine_core::disk::LossyDisk;
use coalmine_core::node::NodeId;

use super::{Action, MOST_WAYS, Rules, Step, Transition};
use crate::fingerprint::fingerprint;
use crate::spec::faults::Directions;
use crate::spec::system::{ConfigOf, NodeOf, System};
use crate::world::clients::{Clients, Memory};
use crate::world::shared::Shared;
use crate::world::{Slot, Spent, World};

/// What has happened, in order.
type Path<S> = Vec<Action<NodeOf<S>>>;

/// The worlds in which all may begin to happen, and what was seen on the way there.
pub(crate) struct Starts<S: System> {
    /// Each with a way there.
    pub worlds: Vec<(World<S>, Path<S>)>,
    /// The bits of all verdicts, also of worlds in which members have not booted yet.
    pub seen: u64,
    /// The bits of the first verdict that is bad, and the way there: then nothing else was looked at.
    pub broken: Option<(u64, Path<S>)>,
}

impl<S: System> Rules<S> {
    /// The world in which no node has booted yet.
    pub fn before_boot(&self) -> World<S> {
        let down = |(id, _): &(NodeId, ConfigOf<S>)| {
            let mut disk = LossyDisk::default();
            self.system.first_disk(*id).into_iter().for_each(|record| disk.append(record));
            disk.sync(disk.written().len());
            Slot { host: None, disk, lives: 0, early_output: None, panic: None }
        };
        World {
            members: self.members.iter().map(|(id, _)| *id).collect(),
            slots: self.members.iter().map(|member| Shared::new(down(member))).collect(),
            packets: Vec::new(),
            cut: Directions::new(),
            memory: Shared::new(Memory { history: S::History::default(), clients: Clients::default() }),
            spent: Spent::default(),
            verdict: 0,
        }
    }

    /// The world in which every member has booted in the plainest way: in order, without a crash, choosing 0.
    pub fn plain_start(&self) -> World<S> {
        self.plain_boots().fold(self.before_boot(), |world, boot| self.apply(&world, &boot).0)
    }

    /// The boots that lead to the [plain start](Self::plain_start).
    pub(crate) fn plain_boots(&self) -> impl Iterator<Item = Action<NodeOf<S>>> + use<S> {
        let boot = |place| Action::Step { place, step: Step::Boot, choices: Vec::new(), crash: None };
        (0..self.members.len()).map(boot)
    }

    /// Where a path begins. If its first step is a boot it tells all boots; any other begins at the
    /// [plain start](Self::plain_start), where everybody is up.
    pub fn start_of(&self, path: &[Action<NodeOf<S>>]) -> World<S> {
        if tells_boots(path) { self.before_boot() } else { self.plain_start() }
    }

    /// A path from [before all boots](Self::before_boot), without these if they are those that any path begins with
    /// of which nothing else is said.
    pub(crate) fn without_plain_boots(&self, mut path: Vec<Action<NodeOf<S>>>) -> Vec<Action<NodeOf<S>>> {
        let is_plain = |(place, action): (usize, &Action<_>)| match action {
            Action::Step { place: at, step: Step::Boot, choices, crash: None } => {
                *at == place && choices.iter().all(|choice| *choice == 0)
            }
            Action::Step { .. }
            | Action::Drop(_)
            | Action::Crash { .. }
            | Action::Cut { .. }
            | Action::Heal { .. } => false,
        };
        let boots = self.members.len();
        if path.len() >= boots && path[..boots].iter().enumerate().all(is_plain) {
            path.drain(..boots);
        }
        path
    }

    /// How many members boot before anything else happens: one at least.
    pub(crate) fn first_boots(&self) -> usize {
        let members = self.members.len();
        members - usize::from(self.limits.late_boots).min(members.saturating_sub(1))
    }

    /// Whether nothing may happen yet but first boots.
    pub fn is_starting(&self, world: &World<S>) -> bool {
        world.slots.len() - self.still_to_boot(world) < self.first_boots()
    }

    /// All first boots that may happen.
    pub(super) fn boots(&self, world: &World<S>, out: &mut Vec<Transition<S>>) {
        let places = (0..world.slots.len()).filter(|&place| world.slots[place].lives == 0);
        places.for_each(|place| self.step(world, place, Step::Boot, out));
    }

    /// All worlds in which other things than first boots may begin to happen, the plainest first.
    pub(crate) fn starts(&self) -> Starts<S> {
        let mut starts = Starts { worlds: Vec::new(), seen: 0, broken: None };
        let mut booting = VecDeque::from([(self.before_boot(), Vec::new())]);
        let mut known = BTreeSet::new();
        while let Some((world, way)) = booting.pop_front() {
            let mut boots = Vec::new();
            self.boots(&world, &mut boots);
            for boot in boots {
                let verdict = boot.next.verdict;
                if !known.insert(fingerprint(&boot.next)) {
                    continue;
                }
                if known.len() > MOST_WAYS {
                    self.boots_in_too_many_ways();
                    return starts;
                }
                let way: Vec<_> = way.iter().cloned().chain([boot.action]).collect();
                starts.seen |= verdict;
                if verdict & self.bad() != 0 {
                    starts.broken = Some((verdict & self.bad(), way));
                    return starts;
                }
                if !self.is_starting(&boot.next) {
                    starts.worlds.push((boot.next.clone(), way.clone()));
                }
                booting.push_back((boot.next, way));
            }
        }
        starts.worlds.sort_by_key(|(world, _)| (world.spent.lives_ended(), self.still_to_boot(world)));
        starts
    }

    /// How many members have not booted yet.
    fn still_to_boot(&self, world: &World<S>) -> usize {
        world.slots.iter().filter(|slot| slot.lives == 0).count()
    }
}

/// Whether a path tells how its members have booted.
pub(crate) fn tells_boots<N: coalmine_core::node::Node>(path: &[Action<N>]) -> bool {
    matches!(path.first(), Some(Action::Step { step: Step::Boot, .. }))
}
