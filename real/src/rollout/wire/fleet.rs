//! What the leading region's coordinator shows of a rollout over all regions.

use coalmine_core::rollout::fleet::{Fleet, FleetCourse, Part};
use coalmine_core::rollout::message::View;
use coalmine_core::rollout::state::ModelId;
use serde::{Deserialize, Serialize};

use super::progress::Progress;
use crate::http_api::request_name;

/// A rollout over all regions, as `GET /fleet` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetView {
    /// Its name: `<client>/<sequence>`.
    pub id: String,
    /// What is rolled out.
    pub model: ModelId,
    /// Where it goes: `running`, `returning`, `completed`, `returned`, or `stopped`.
    pub course: Progress,
    /// Why it goes back, or does not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The regions, in order.
    pub regions: Vec<RegionView>,
}

/// A region's part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionView {
    /// Its name.
    pub region: String,
    /// How far it is.
    pub progress: RegionProgress,
    /// The model that it served before; none: it was asked for nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<ModelId>,
    /// What its coordinator said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
}

/// The word for how far a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionProgress {
    /// Its turn has not come.
    Ahead,
    /// It was asked to do its part, and is not known to have done it.
    Asked,
    /// All its steps are committed.
    Done,
    /// It was asked to take its part back.
    Returning,
    /// It has taken its part back.
    Returned,
}

impl RegionProgress {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Asked => "asked",
            Self::Done => "done",
            Self::Returning => "returning",
            Self::Returned => "returned",
        }
    }

    fn of(fleet: &Fleet, part: &Part) -> Self {
        let goes_back = matches!(fleet.course, FleetCourse::Returning(_) | FleetCourse::Returned(_));
        match part {
            Part { is_back: true, .. } => Self::Returned,
            Part { was: None, .. } => Self::Ahead,
            Part { .. } if goes_back => Self::Returning,
            Part { is_done: true, .. } => Self::Done,
            Part { .. } => Self::Asked,
        }
    }
}

impl FleetView {
    /// Those that a node shows, oldest first.
    pub fn all(view: &View) -> Vec<Self> {
        view.fleets.iter().map(|fleet| Self::new(fleet, view)).collect()
    }

    fn new(fleet: &Fleet, view: &View) -> Self {
        let region = |part: &Part| RegionView {
            region: part.region.clone(),
            progress: RegionProgress::of(fleet, part),
            was: part.was.as_ref().map(|was| was.stable.clone()),
            says: view.regions.get(&part.region).filter(|_| !fleet.is_over()).map(ToString::to_string),
        };
        let (course, why) = match &fleet.course {
            FleetCourse::Going => (Progress::Running, None),
            FleetCourse::Done => (Progress::Completed, None),
            FleetCourse::Returning(why) => (Progress::Returning, Some(why.to_string())),
            FleetCourse::Returned(why) => (Progress::Returned, Some(why.to_string())),
            FleetCourse::Stopped { why } => (Progress::Stopped, Some(why.clone())),
        };
        Self {
            id: request_name(fleet.id),
            model: fleet.plan.model.clone(),
            course,
            why,
            regions: fleet.parts.iter().map(region).collect(),
        }
    }
}
