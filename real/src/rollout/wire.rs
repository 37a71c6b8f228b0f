//! The JSON of the rollout's HTTP interface, for the server and for clients: shares are percent where people
//! write them and decimals in states; a rollout's name is `<client>/<sequence>`.

mod body;
mod fleet;
mod members;
mod prediction;
mod progress;
mod units;
mod view;

pub use self::body::{
    GatesFile, GuardBody, HealthBody, MAX_MODELS, ModelWindow, StartBody, Started, SteerBody, Steered,
};
pub(super) use self::body::{NothingBody, RawBody, or_nothing, read_body};
pub use self::fleet::{FleetView, RegionProgress, RegionView};
pub use self::members::{AdmitBody, DismissBody, MembersView, ResolveBody, TakeOverBody};
pub use self::prediction::{MODEL, NODE, PredictBody, Prediction, ROUTING_VERSION};
pub use self::progress::Progress;
pub use self::units::{bp_of_decimal, bp_of_percent, decimal_of_bp, percent_of_bp};
pub(super) use self::view::why_silent;
pub use self::view::{
    ChangeView, EvidenceView, HealthSnapshot, QueuedView, Role, RolloutView, StatusView, StepOutcome,
    StepView, VerdictKind, VerdictView,
};
pub use crate::http_api::MAX_BODY_BYTES;
