//! What a cluster serves: models by weight, one version after another.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use crate::node::{Address, NodeId};

/// All weights of a state together, in basis points (1/100 of a percent).
pub const WHOLE_BP: u32 = 10_000;

/// How many lives of a coordinator, or transactions of one life, may pass without a member's hearing of them.
pub const LONGEST_GAP: u32 = 1 << 24;

/// How many members a cluster may have.
pub const MOST_MEMBERS: usize = 100;

/// How many disks a coordinator may lose without a member's hearing of it.
pub const LOST_DISKS: u32 = 1_000;

/// The longest name of a model, in bytes.
pub const MAX_MODEL_BYTES: usize = 128;

/// The name of a model, such as `v2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelId(Arc<str>);

impl ModelId {
    /// A model's name; `Err` says what is wrong with it. Two names that look alike are alike: letters, digits and what
    /// names of images are made of, and nothing that cannot be seen.
    pub fn new(name: &str) -> Result<Self, StateError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+:/@".contains(c);
        let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins_well || name.len() > MAX_MODEL_BYTES || !name.chars().all(is_plain) {
            return Err(StateError::ModelName { name: name.chars().take(40).collect() });
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ModelId {
    type Error = StateError;
    fn try_from(name: String) -> Result<Self, StateError> {
        Self::new(&name)
    }
}

impl From<ModelId> for String {
    fn from(id: ModelId) -> Self {
        id.0.as_ref().into()
    }
}

impl Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a cluster: drawn when it forms. Written as sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(pub u64);

impl Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<ClusterId> for String {
    fn from(id: ClusterId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ClusterId {
    type Error = StateError;
    fn try_from(text: String) -> Result<Self, StateError> {
        let parsed = u64::from_str_radix(&text, 16).ok().map(Self);
        parsed.filter(|id| id.to_string() == text).ok_or(StateError::Cluster { text })
    }
}

/// Names a transaction: the generation of the coordinator, its life, and its count within that life. Written
/// `1.2` (life 1, count 2) in the first generation, `3:1.2` in the third.
///
/// The order is the order in which the coordinator begins transactions, across its crashes and its disks: a
/// participant that promises never to vote for a transaction promises it for all earlier ones too, in one
/// number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Txid {
    /// Which disk of the coordinator, counted from 1; durable at every member before a transaction begins.
    pub generation: u32,
    /// The coordinator's life, counted from 1; durable before it begins a transaction.
    pub epoch: u32,
    /// The transaction within that life, counted from 1.
    pub number: u32,
}

impl Txid {
    /// Before all transactions of a generation, and after all of the generation before.
    pub fn before(generation: u32) -> Self {
        Self { generation, epoch: 0, number: 0 }
    }

    /// Whether a node that has promised something about this transaction may hear of that one next. Lives and
    /// transactions are counted one by one: no honest history leaves out [so many](LONGEST_GAP), and a generation is
    /// granted by every member before anything of it begins.
    pub fn may_hear_of(self, later: Self) -> bool {
        let epochs = later.epoch.saturating_sub(self.epoch);
        let before = if later.epoch == self.epoch { self.number } else { 0 };
        let numbers = later.number.saturating_sub(before);
        later <= self || later.generation == self.generation && epochs.max(numbers) <= LONGEST_GAP
    }
}

impl Display for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.generation != 1 {
            write!(f, "{}:", self.generation)?;
        }
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

impl From<Txid> for String {
    fn from(txid: Txid) -> Self {
        txid.to_string()
    }
}

impl TryFrom<String> for Txid {
    type Error = StateError;
    fn try_from(text: String) -> Result<Self, StateError> {
        let (generation, rest) = text.split_once(':').unwrap_or(("1", &text));
        let parsed = rest.split_once('.').and_then(|(epoch, number)| {
            let generation = generation.parse().ok()?;
            Some(Self { generation, epoch: epoch.parse().ok()?, number: number.parse().ok()? })
        });
        parsed.filter(|txid| txid.to_string() == text).ok_or(StateError::Txid { text })
    }
}

/// Which share of the requests each model serves, in basis points that sum to [`WHOLE_BP`]. Written in
/// JSON as decimals: `{"v1": 0.95, "v2": 0.05}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<ModelId, f64>", into = "BTreeMap<ModelId, f64>")]
pub struct Weights(BTreeMap<ModelId, u32>);

impl Weights {
    /// Weights in basis points; they must sum to [`WHOLE_BP`].
    pub fn new(weights: BTreeMap<ModelId, u32>) -> Result<Self, StateError> {
        let sum = weights.values().try_fold(0_u32, |sum, &bp| sum.checked_add(bp)).unwrap_or(u32::MAX);
        if sum == WHOLE_BP { Ok(Self(weights)) } else { Err(StateError::WeightSum { sum_bp: sum }) }
    }

    /// The models in order, each with its basis points.
    pub fn iter(&self) -> impl Iterator<Item = (&ModelId, u32)> {
        self.0.iter().map(|(model, &bp)| (model, bp))
    }

    /// The share of a model, in basis points.
    pub fn of(&self, model: &ModelId) -> u32 {
        self.0.get(model).copied().unwrap_or(0)
    }
}

impl TryFrom<BTreeMap<ModelId, f64>> for Weights {
    type Error = StateError;
    fn try_from(decimals: BTreeMap<ModelId, f64>) -> Result<Self, StateError> {
        let to_bp = |(model, decimal): (ModelId, f64)| {
            let bp = decimal * f64::from(WHOLE_BP);
            let whole = bp.round();
            if (0.0..=f64::from(WHOLE_BP)).contains(&whole) && (bp - whole).abs() < 1e-6 {
                Ok((model, whole as u32))
            } else {
                Err(StateError::Weight { model, decimal: decimal.to_string() })
            }
        };
        Self::new(decimals.into_iter().map(to_bp).collect::<Result<_, _>>()?)
    }
}

impl From<Weights> for BTreeMap<ModelId, f64> {
    fn from(weights: Weights) -> Self {
        weights.0.into_iter().map(|(model, bp)| (model, f64::from(bp) / f64::from(WHOLE_BP))).collect()
    }
}

impl Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (model, bp)) in self.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{model} {}%", f64::from(bp) / 100.0)?;
        }
        Ok(())
    }
}

/// Whether a state is one model's alone or shares requests with a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// One model serves everything.
    Stable,
    /// A canary serves a part.
    Canary,
}

/// What every node of the cluster serves at one version. All nodes hold the same state for a version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingState {
    /// Counts committed changes; 0 is the state of the configuration.
    pub version: u64,
    /// The model that serves what the canary does not.
    pub stable_model_id: ModelId,
    /// The model on trial, if there is one.
    pub canary_model_id: Option<ModelId>,
    /// Who serves how much.
    pub weights: Weights,
    /// Whether a canary is under way.
    pub status: Status,
    /// The transaction that committed this version; none for version 0.
    pub txid: Option<Txid>,
    /// The transaction that put the canary on trial. It decides which requests are the canary's: see
    /// [`bucket`](Self::bucket).
    #[serde(default)]
    pub trial: Option<Txid>,
    /// The nodes that serve it, in ascending order. Who votes on what comes next follows from it.
    #[serde(default)]
    pub members: Vec<Member>,
}

/// A node of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Which.
    pub id: NodeId,
    /// Where it lives; none, if every configuration says so.
    pub address: Option<Address>,
    /// Since which version it is a member, without a break: 0 for who formed the cluster.
    #[serde(default)]
    pub since: u64,
}

/// A change of the cluster itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A node becomes a member.
    Admit {
        /// Which.
        member: NodeId,
        /// Where it lives; none, if every configuration says so.
        address: Option<Address>,
    },
    /// A member leaves.
    Dismiss {
        /// Which.
        member: NodeId,
        /// It is gone for good, and is not asked.
        is_gone: bool,
    },
}

impl Change {
    /// Whom it is about.
    pub fn member(&self) -> NodeId {
        match self {
            Self::Admit { member, .. } | Self::Dismiss { member, .. } => *member,
        }
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admit { member, .. } => write!(f, "{member} becomes a member"),
            Self::Dismiss { member, is_gone: false } => write!(f, "{member} leaves"),
            Self::Dismiss { member, is_gone: true } => write!(f, "{member}, which is gone, is dismissed"),
        }
    }
}

impl RoutingState {
    /// Version 0: everything on one model, served by those who form the cluster.
    pub fn initial(model: &ModelId, founders: &[NodeId]) -> Self {
        Self {
            members: founders.iter().map(|&id| Member { id, address: None, since: 0 }).collect(),
            ..Self::stable(model)
        }
    }

    fn stable(model: &ModelId) -> Self {
        Self {
            members: Vec::new(),
            version: 0,
            stable_model_id: model.clone(),
            canary_model_id: None,
            weights: Weights([(model.clone(), WHOLE_BP)].into()),
            status: Status::Stable,
            txid: None,
            trial: None,
        }
    }

    /// The next version, in which `model` serves `share_bp` of the requests and the stable model the rest.
    /// At the whole share `model` becomes the stable one.
    ///
    /// The stable model itself can only be given the whole: that ends a canary (a rollback).
    pub fn next(&self, model: &ModelId, share_bp: u32, txid: Txid) -> Result<Self, StateError> {
        if share_bp == WHOLE_BP {
            let version = self.version.checked_add(1).ok_or(StateError::LastVersion)?;
            let members = self.members.clone();
            return Ok(Self { version, txid: Some(txid), members, ..Self::stable(model) });
        }
        self.next_canary(model, share_bp, txid)
    }

    /// The next version, in which `model` is on trial with `share_bp` of the requests, all of them at most, and the
    /// stable model serves the rest.
    pub fn next_canary(&self, model: &ModelId, share_bp: u32, txid: Txid) -> Result<Self, StateError> {
        if share_bp == 0 || share_bp > WHOLE_BP {
            return Err(StateError::Share { share_bp });
        }
        let version = self.version.checked_add(1).ok_or(StateError::LastVersion)?;
        if *model == self.stable_model_id {
            return Err(StateError::StableModel { model: model.clone() });
        }
        let stable = self.stable_model_id.clone();
        let shares = [(stable.clone(), WHOLE_BP - share_bp), (model.clone(), share_bp)];
        let shares = shares.into_iter().filter(|(_, bp)| *bp > 0);
        Ok(Self {
            version,
            stable_model_id: stable,
            canary_model_id: Some(model.clone()),
            weights: Weights::new(shares.collect())?,
            status: Status::Canary,
            txid: Some(txid),
            trial: if self.canary_model_id.as_ref() == Some(model) { self.trial } else { Some(txid) },
            members: self.members.clone(),
        })
    }

    /// The next version, which serves the same with other members. Whoever comes must learn where the others live: what
    /// only configurations say is in `addresses`.
    pub fn next_members(
        &self,
        change: &Change,
        addresses: &BTreeMap<NodeId, Address>,
        txid: Txid,
    ) -> Result<Self, StateError> {
        let version = self.version.checked_add(1).ok_or(StateError::LastVersion)?;
        let lives = |member: &Member| member.address.or_else(|| addresses.get(&member.id).copied());
        let mut members: Vec<_> = self.members.clone();
        match change {
            Change::Admit { member, .. } if self.has(*member) => {
                return Err(StateError::IsMember { id: *member });
            }
            Change::Admit { .. } if members.len() >= MOST_MEMBERS => return Err(StateError::Members),
            Change::Admit { member, address } => {
                members.push(Member { id: *member, address: *address, since: version });
                members.sort();
                members.iter_mut().for_each(|member| member.address = lives(member));
            }
            Change::Dismiss { member, .. } if !self.has(*member) => {
                return Err(StateError::NoMember { id: *member });
            }
            Change::Dismiss { member, .. } => members.retain(|other| other.id != *member),
        }
        Ok(Self { version, members, txid: Some(txid), ..self.clone() })
    }

    /// Whether this node serves it.
    pub fn has(&self, member: NodeId) -> bool {
        self.members.iter().any(|other| other.id == member)
    }

    /// Whether who serves `self` as a member is the same member still, and was not dismissed in between.
    pub fn is_followed_by(&self, later: &Self, member: NodeId) -> bool {
        later.members.iter().any(|other| other.id == member && other.since <= self.version)
    }

    /// The nodes that serve it.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().map(|member| member.id)
    }

    /// Whether these may be asked for their votes on `next`: every member; or every member but the one that is to be
    /// dismissed. At most one member changes at a time.
    pub fn is_voted_on_by(&self, voters: &[NodeId], next: &Self) -> bool {
        let comes = next.members.iter().filter(|member| !self.has(member.id)).count();
        let goes = self.ids().filter(|member| !next.has(*member)).count();
        let stay = self.ids().filter(|member| next.has(*member));
        comes + goes <= 1 && (self.ids().eq(voters.iter().copied()) || stay.eq(voters.iter().copied()))
    }

    /// The bucket of a key: a number below [`WHOLE_BP`], the same on all nodes for as long as a trial lasts. Every trial
    /// deals the keys anew, so that not the same users try every model first.
    pub fn bucket(&self, key: &[u8]) -> u32 {
        let salt = self.trial.map(String::from).unwrap_or_default();
        let salted = [&[salt.len() as u8], salt.as_bytes(), key].concat();
        (xxh3_64(&salted) % u64::from(WHOLE_BP)) as u32
    }

    /// Who serves a bucket. The canary has the low ones, as many as its share: whoever it serves it serves still when it
    /// gets more.
    pub fn serves(&self, bucket: u32) -> &ModelId {
        let canary = self.canary_model_id.as_ref();
        canary.filter(|canary| bucket < self.weights.of(canary)).unwrap_or(&self.stable_model_id)
    }

    /// Whether version and transaction, and status, models and weights, say the same.
    pub fn is_consistent(&self) -> bool {
        let is_on_trial = self.canary_model_id.is_some();
        if !self.members.is_sorted_by(|a, b| a.id < b.id) || self.members.len() > MOST_MEMBERS {
            return false;
        }
        if self.txid.is_none() != (self.version == 0) || (self.trial.is_some() && !is_on_trial) {
            return false;
        }
        let models: Vec<_> = self.weights.iter().filter(|&(_, bp)| bp > 0).map(|(model, _)| model).collect();
        match (self.status, &self.canary_model_id) {
            (Status::Stable, None) => models == [&self.stable_model_id],
            (Status::Canary, Some(canary)) => {
                // A canary that serves everything is on trial until it is made stable.
                *canary != self.stable_model_id
                    && models.contains(&canary)
                    && models.iter().all(|model| [canary, &self.stable_model_id].contains(model))
            }
            (Status::Stable, Some(_)) | (Status::Canary, None) => false,
        }
    }

    /// A digest of the whole state, equal on all nodes that hold the same state: XXH3 of its JSON.
    pub fn digest(&self) -> u64 {
        xxh3_64(&serde_json::to_vec(self).expect("a state is plain data and always serialises"))
    }
}

impl Display for RoutingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{} ({})", self.version, self.weights)
    }
}

/// Why a value is not a state, a weight, a name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StateError {
    /// A member cannot become one.
    #[error("{id} is a member already")]
    IsMember {
        /// Which.
        id: NodeId,
    },
    /// Only a member can leave.
    #[error("{id} is not a member")]
    NoMember {
        /// Which.
        id: NodeId,
    },
    /// No cluster is as large.
    #[error("a cluster has at most {MOST_MEMBERS} members")]
    Members,
    /// A text that names no cluster.
    #[error("{text:?} is no cluster's id: sixteen hexadecimal digits")]
    Cluster {
        /// The text.
        text: String,
    },
    /// A model's name is empty, too long, or has other characters.
    #[error(
        "model name {name:?}: must be 1 to {MAX_MODEL_BYTES} of A-Z a-z 0-9 . _ - + : / @, a letter or digit first"
    )]
    ModelName {
        /// Its beginning.
        name: String,
    },
    /// Not a transaction's name.
    #[error("txid {text:?}: must be two numbers, such as \"1.2\", or three, such as \"2:1.2\"")]
    Txid {
        /// What was given.
        text: String,
    },
    /// Weights that do not sum to the whole.
    #[error("weights sum to {}, must sum to 1", f64::from(*sum_bp) / f64::from(WHOLE_BP))]
    WeightSum {
        /// Their sum in basis points.
        sum_bp: u32,
    },
    /// A weight that is not from 0 to 1 in steps of a basis point.
    #[error("weight {decimal} of model {model}: must lie in 0..=1 in steps of 0.0001")]
    Weight {
        /// Whose.
        model: ModelId,
        /// What was given.
        decimal: String,
    },
    /// A step's share is not above 0 and at most the whole.
    #[error("a step of {}%: must be above 0 and at most 100", f64::from(*share_bp) / 100.0)]
    Share {
        /// The share in basis points.
        share_bp: u32,
    },
    /// There is no version after this one.
    #[error("there is no version after {}", u64::MAX)]
    LastVersion,
    /// The stable model cannot be its own canary.
    #[error("{model} is the stable model: only a step of 100 is possible (it ends the canary)")]
    StableModel {
        /// Which.
        model: ModelId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(state: &RoutingState, model: &str, share_bp: u32, number: u32) -> RoutingState {
        let model = ModelId::new(model).expect("a name");
        let txid = Txid { generation: 1, epoch: 1, number };
        state.next_canary(&model, share_bp, txid).expect("a step")
    }

    /// Raising a weight takes nobody off the canary, and the canary has exactly its share of the buckets.
    #[test]
    fn whom_the_canary_serves_it_serves_still_when_it_gets_more() {
        let first =
            at(&RoutingState::initial(&ModelId::new("v1").expect("a name"), &[NodeId(1)]), "a", 500, 1);
        let more = at(&first, "a", 2_000, 2);
        let served = |state: &RoutingState| -> Vec<u32> {
            (0..WHOLE_BP).filter(|&bucket| state.serves(bucket).as_str() == "a").collect()
        };
        assert_eq!(served(&first), (0..500).collect::<Vec<_>>());
        assert_eq!(served(&more), (0..2_000).collect::<Vec<_>>());
        for user in 0..1_000_u32 {
            let key = user.to_string();
            assert_eq!(first.bucket(key.as_bytes()), more.bucket(key.as_bytes()), "a step moves nobody");
        }
    }

    /// Each trial has users of its own, about as many as it is to have.
    #[test]
    fn each_trial_deals_anew() {
        let initial = RoutingState::initial(&ModelId::new("v1").expect("a name"), &[NodeId(1)]);
        let [one, other] = [at(&initial, "v2", 1_000, 1), at(&initial, "v2", 1_000, 2)];
        let tries = |state: &RoutingState, user: u32| {
            state.serves(state.bucket(user.to_string().as_bytes())).as_str() == "v2"
        };
        let count = |of: &dyn Fn(u32) -> bool| (0..10_000).filter(|&user| of(user)).count();
        assert!((900..1_100).contains(&count(&|user| tries(&one, user))));
        assert!(
            (50..150).contains(&count(&|user| tries(&one, user) && tries(&other, user))),
            "a tenth of a tenth"
        );
    }

    #[test]
    fn names_that_look_alike_are_alike() {
        for name in ["v2", "0.1", "registry/team/model:2026-11@sha256", "A_b-c+d"] {
            assert_eq!(ModelId::new(name).expect(name).as_str(), name);
        }
        let zero_width = "v\u{200b}2";
        let backwards = "\u{202e}2v";
        for name in [
            "",
            " v2",
            "v2 ",
            "v 2",
            "v2\n",
            zero_width,
            backwards,
            "v２",
            "ѵ2",
            "-v2",
            "/v2",
            &"x".repeat(129),
        ] {
            assert!(ModelId::new(name).is_err(), "{name:?}");
        }
    }
}
