//! A rollout over regions in words: what its leader remembers, what it asks, and what it is told (rule 17; what is done
//! about it is in [`regions`](super::regions)).

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::plan::RolloutPlan;
use super::state::{ClusterId, ModelId};
use crate::node::{NodeId, RequestId};

/// A rollout over all regions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// The client's request, which names it.
    pub id: RequestId,
    /// What was asked for, of each region.
    pub plan: RolloutPlan,
    /// Where it goes.
    pub course: FleetCourse,
    /// The regions' parts, in order.
    pub parts: Vec<Part>,
}

/// A region's part of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The region's name.
    pub region: String,
    /// Which life of its coordination was asked first.
    pub first: Option<Life>,
    /// What it served before, as far as is known. None: it was asked for nothing yet.
    pub was: Option<Served>,
    /// Whether all its steps are committed.
    pub is_done: bool,
    /// Whether it was taken back.
    pub is_back: bool,
}

/// A region's coordination, from when a disk or a node took it over until the next does: what one knew the next may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Life {
    /// The region's cluster: another one, if all disks were lost.
    pub cluster: Option<ClusterId>,
    /// The coordinator's generation.
    pub generation: u32,
}

impl Life {
    /// Whether this is one that another has followed.
    pub fn is_before(self, other: Self) -> bool {
        self.cluster == other.cluster && self.generation < other.generation
    }
}

/// What a region's coordinator serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Served {
    /// Its life.
    pub life: Life,
    /// The version.
    pub version: u64,
    /// The stable model.
    pub stable: ModelId,
}

/// Where a rollout over regions goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FleetCourse {
    /// From region to region.
    Going,
    /// Back: every region that may have begun serves what it served before.
    Returning(FleetWhy),
    /// It is over: every region serves the model.
    Done,
    /// It is over: no region serves the model by it.
    Returned(FleetWhy),
    /// It is over, and the regions are where they are.
    Stopped {
        /// Why.
        why: String,
    },
}

/// Why a rollout over regions returns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FleetWhy {
    /// An operator wanted it.
    Ordered,
    /// A region's part did not come to its end.
    Failed {
        /// The region.
        region: String,
        /// What was wrong there.
        why: String,
    },
}

/// What a region's coordinator is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// To say what is served.
    State,
    /// To roll a model out.
    Out {
        /// How.
        plan: RolloutPlan,
        /// What is served, as far as the leader knows.
        was: Served,
    },
    /// To serve again what was served before.
    Back {
        /// The model that was rolled out.
        model: ModelId,
        /// The model to return to.
        to: ModelId,
        /// Which life was asked first.
        first: Life,
    },
}

impl Task {
    /// Whether it is the way back.
    pub fn is_back(&self) -> bool {
        matches!(self, Self::Back { .. })
    }
}

/// How far a region is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It has begun nothing, and serves this.
    Serves(Served),
    /// It has begun nothing yet.
    Waits {
        /// For what.
        why: String,
        /// Whether that stays where it is until somebody gives an order.
        is_paused: bool,
    },
    /// It is on its way.
    UnderWay {
        /// Where it goes, in words.
        course: String,
        /// Whether it stays where it is until somebody gives an order.
        is_paused: bool,
    },
    /// It has done what was asked.
    Done,
    /// It has not done it, and will not.
    Failed {
        /// Why.
        why: String,
    },
}

impl Standing {
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Done | Self::Failed { .. })
    }
}

/// What a region was asked last, by whom, and what it answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Led {
    pub(super) by: NodeId,
    pub(super) fleet: RequestId,
    pub(super) task: Task,
    pub(super) told: Standing,
}

impl Fleet {
    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        match self.course {
            FleetCourse::Going | FleetCourse::Returning(_) => false,
            FleetCourse::Done | FleetCourse::Returned(_) | FleetCourse::Stopped { .. } => true,
        }
    }

    /// What is to be done next, and by which regions: one after the other on the way, all at once on the way back.
    pub fn tasks(&self) -> Vec<(usize, Task)> {
        match self.course {
            FleetCourse::Going => {
                let first = self.parts.iter().position(|part| !part.is_done);
                let task = |place: usize| match &self.parts[place].was {
                    None => Task::State,
                    Some(was) => Task::Out { plan: self.plan.clone(), was: was.clone() },
                };
                first.map(|place| (place, task(place))).into_iter().collect()
            }
            FleetCourse::Returning(_) => {
                let back = |(place, part): (usize, &Part)| {
                    let to = part.was.as_ref().filter(|_| !part.is_back)?.stable.clone();
                    Some((place, Task::Back { model: self.plan.model.clone(), to, first: part.first? }))
                };
                self.parts.iter().enumerate().filter_map(back).collect()
            }
            FleetCourse::Done | FleetCourse::Returned(_) | FleetCourse::Stopped { .. } => Vec::new(),
        }
    }

    pub(super) fn task_of(&self, place: usize) -> Option<Task> {
        self.tasks().into_iter().find(|(at, _)| *at == place).map(|(_, task)| task)
    }

    /// The same after a region has told how far it is; none, if that changes nothing.
    pub(super) fn after(&self, place: usize, standing: &Standing) -> Option<Self> {
        let mut next = self.clone();
        let part = &mut next.parts[place];
        let is_returning = matches!(self.course, FleetCourse::Returning(_));
        match standing {
            Standing::Serves(served)
                if !is_returning && part.was.as_ref().is_none_or(|was| was.is_before(served)) =>
            {
                // A part that has begun in a former life may be why the model is there.
                let was = part.was.as_ref().filter(|_| served.stable == self.plan.model);
                let stable = was.map_or(&served.stable, |was| &was.stable).clone();
                part.first.get_or_insert(served.life);
                part.was = Some(Served { stable, ..served.clone() });
            }
            Standing::Done if is_returning => part.is_back = true,
            Standing::Done => part.is_done = true,
            Standing::Failed { why } if !is_returning => {
                let (region, why) = (part.region.clone(), why.clone());
                next.course = FleetCourse::Returning(FleetWhy::Failed { region, why });
            }
            Standing::Serves(_)
            | Standing::Failed { .. }
            | Standing::Waits { .. }
            | Standing::UnderWay { .. } => {
                return None;
            }
        }
        Some(next.settled())
    }

    /// Over, if nothing is left to be done.
    pub(super) fn settled(mut self) -> Self {
        if self.tasks().is_empty() {
            self.course = match self.course {
                FleetCourse::Going => FleetCourse::Done,
                FleetCourse::Returning(why) => FleetCourse::Returned(why),
                over @ (FleetCourse::Done | FleetCourse::Returned(_) | FleetCourse::Stopped { .. }) => over,
            };
        }
        self
    }
}

impl Served {
    /// Whether the other is not a late copy of something older.
    fn is_before(&self, other: &Self) -> bool {
        self.life.cluster != other.life.cluster
            || (self.life.generation, self.version) < (other.life.generation, other.version)
    }
}

/// The name of a region's part: it follows from the rollout's, and is no client's.
pub fn name_of_part(fleet: RequestId) -> RequestId {
    let [client, sequence] = [fleet.client, fleet.sequence].map(u64::to_le_bytes);
    RequestId { client: xxh3_64(&[&client[..], &sequence, b"part"].concat()), sequence: 1 }
}

/// The name of its way back: whoever coordinates next does not take over the former one's.
pub fn name_of_way_back(fleet: RequestId, generation: u32) -> RequestId {
    RequestId { sequence: 2 + u64::from(generation), ..name_of_part(fleet) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> ModelId {
        ModelId::new(name).expect("a name")
    }

    fn served(generation: u32, version: u64, stable: &str) -> Standing {
        let life = Life { cluster: Some(ClusterId(1)), generation };
        Standing::Serves(Served { life, version, stable: model(stable) })
    }

    /// The way back leads to what was served before the part, whatever is told late, or by whoever coordinates next.
    #[test]
    fn what_was_served_before_is_not_what_was_rolled_out() {
        let part = Part { region: "r1".into(), first: None, was: None, is_done: false, is_back: false };
        let plan = RolloutPlan::unguarded(model("v2"), vec![10_000], 0);
        let id = RequestId { client: 1, sequence: 1 };
        let mut fleet = Fleet { id, plan, course: FleetCourse::Going, parts: vec![part] };
        let mut back = |standing: Standing| {
            if let Some(next) = fleet.after(0, &standing) {
                fleet = next;
            }
            let part = &fleet.parts[0];
            let was = part.was.as_ref().expect("it was told");
            (was.stable.to_string(), was.life.generation, part.first.expect("it was asked").generation)
        };
        assert_eq!(back(served(1, 3, "v1")), ("v1".into(), 1, 1));
        assert_eq!(back(served(1, 2, "v0")), ("v1".into(), 1, 1), "a late copy");
        assert_eq!(back(served(1, 4, "v2")), ("v1".into(), 1, 1), "its own part");
        assert_eq!(back(served(2, 4, "v2")), ("v1".into(), 2, 1), "its own part, by who coordinates next");
        assert_eq!(back(served(2, 6, "v5")), ("v5".into(), 2, 1), "an operator's wish");
    }
}
