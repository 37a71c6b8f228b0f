//! What must hold at every moment of every run. One invariant a file, each with its source:
//!
//! | file | name | promise | source |
//! | --- | --- | --- | --- |
//! | [`one_outcome`] | `one-outcome` | no transaction both commits and aborts | AC1, AC2 |
//! | [`one_state`] | `one-state-per-version` | no two nodes hold different states for one version | rules 1 and 3 of [`rollout`](super) |
//! | [`unanimous`] | `unanimous` | nobody commits without every member's vote | AC3 |
//! | [`monotonic`] | `versions-only-grow` | what a node said it committed, it still has | AC2, durability |
//! | [`promises`] | `promises-kept` | a node that restarts knows all it promised | R\* §2, forced writes |
//! | [`no_alarm`] | `no-split-brain` | no node has cause for a split-brain alarm | rule 8 of [`rollout`](super) |
//! | [`accepted`] | `accepted-is-kept` | what a client was told is accepted stays accepted | durability |
//! | [`once`] | `once-per-request` | a request takes effect once, as it was asked | rule 6 of the [contract](crate::node) |
//! | [`own_writes`] | `reads-own-writes` | an answered client finds its rollout in the view | session guarantees |
//! | [`next_version`] | `votes-for-the-next` | who is in doubt is in doubt about its next version | rules 2, 8 and 9 of [`rollout`](super) |
//! | [`proposals`] | `proposals-tell` | nobody refuses a proposal that tells how its doubt ended | rule 9 of [`rollout`](super) |
//! | [`gates_kept`] | `gates-kept` | a canary gets more only by every member's evidence | rule 11 of [`rollout`](super) |
//! | [`open_exit`] | `exit-is-open` | no gate refuses a way back | rule 12 of [`rollout`](super) |
//! | [`snapshots`] | `snapshots-tell` | a snapshot says what the records before it say | rule 16 of [`rollout`](super) |
//! | [`regions_in_turn`] | `regions-in-turn` | a region begins when those before have come to their ends | rule 17 of [`rollout`](super) |
//! | [`regions_returned`] | `regions-returned` | what is taken back is served nowhere | rule 17 of [`rollout`](super) |
//! | [`timers`] | `timers-fit` | who waits has the timer armed that ends its waiting | rules 3 to 5, 8 and 10 of [`rollout`](super) |
//!
//! Beside them stands `write-ahead`, as for every node: see [`told`](crate::write_ahead), and `rests.rs` for what rests on
//! which record here.
//!
//! AC1–AC4: Bernstein, Hadzilacos, Goodman, *Concurrency Control and Recovery in Database Systems*
//! (1987), §7.3. R\*: Mohan, Lindsay, Obermarck, TODS 11(4), 1986.

pub mod accepted;
pub mod gates_kept;
pub mod monotonic;
pub mod next_version;
pub mod no_alarm;
pub mod once;
pub mod one_outcome;
pub mod one_state;
pub mod open_exit;
pub mod own_writes;
pub mod promises;
pub mod proposals;
pub mod regions_in_turn;
pub mod regions_returned;
pub mod snapshots;
pub mod timers;
pub mod unanimous;

use std::collections::{BTreeMap, BTreeSet};

use super::RolloutNode;
use super::durable::{Durable, Record};
use super::fleet::{Fleet, FleetCourse};
use super::message::{AbortReason, Course, Fact, Outcome, Passed, Refusal, Reply, Rollout, View, Why};
use super::rests::coordinator_by;
use super::state::Txid;
use crate::node::{NodeId, RequestId};
use crate::observation::{History, Invariant, Observation, Observed, Witness};

/// The facts of a run, as far as the invariants ask about them. What is about transactions and versions is kept region by
/// region, since each region counts its own; 0 is the only one where there are no regions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    /// Every outcome that any node knew of each transaction. A refusal is knowledge of ABORT.
    pub outcomes: BTreeMap<(u32, Txid), BTreeSet<Outcome>>,
    /// Who voted COMMIT for each transaction.
    pub votes: BTreeMap<(u32, Txid), BTreeSet<NodeId>>,
    /// The highest transaction about which each node made a promise: a vote, or a refusal. A node that loses
    /// its disk is a new node, which has made none.
    pub promised: BTreeMap<NodeId, Txid>,
    /// By which transaction each version was committed, and who serves it.
    pub members: BTreeMap<(u32, u64), (Txid, Vec<NodeId>)>,
    /// The digests under which each version was served.
    pub states: BTreeMap<(u32, u64), BTreeSet<u64>>,
    /// The highest version each node said it committed.
    pub committed: BTreeMap<NodeId, u64>,
    /// Which requests each node has told a client are accepted. A node that loses its disk has told nobody.
    pub accepted: BTreeMap<NodeId, BTreeSet<RequestId>>,
    /// The rollouts in the view that each node shows, as far as views are seen.
    pub shown: BTreeMap<NodeId, BTreeSet<RequestId>>,
    /// What a client was told is accepted while the view did not show it.
    pub unseen: BTreeSet<(NodeId, RequestId)>,
    /// The version in the view that each node shows, as far as views are seen.
    pub shows: BTreeMap<NodeId, u64>,
    /// Who refused which proposal because of its doubt about which other transaction.
    pub busy: BTreeSet<(NodeId, Txid, Txid)>,
    /// The evidence by which each node voted for a canary.
    pub passed: BTreeMap<(Txid, NodeId), Passed>,
    /// Who is of which region, where there are any.
    pub regions: BTreeMap<NodeId, u32>,
    /// Who of a region has found its journal empty, or an old one, after it had said something.
    pub lost: BTreeSet<NodeId>,
}

impl History<RolloutNode> for Ledger {
    /// Sets, and the highest of what each node says.
    const IS_ORDERED: bool = false;
    const HEARS_REPLIES: bool = true;

    fn observe(&mut self, node: NodeId, fact: &Fact) {
        match fact {
            Fact::Voted { txid, .. } => {
                self.votes.entry((self.region_of(node), *txid)).or_default().insert(node);
                self.promises(node, *txid);
            }
            Fact::Refused { txid, refusal } => {
                self.outcome(node, *txid, Outcome::Abort);
                self.promises(node, *txid);
                if let Refusal::Busy { txid: doubt } = refusal {
                    self.busy.insert((node, *txid, *doubt));
                }
            }
            Fact::Committed { txid, version, digest, members } => {
                self.outcome(node, *txid, Outcome::Commit);
                self.members.insert((self.region_of(node), *version), (*txid, members.clone()));
                self.serves(node, *version, *digest);
            }
            Fact::CaughtUp { version, digest } | Fact::Admitted { version, digest } => {
                self.serves(node, *version, *digest);
            }
            Fact::Granted { generation } | Fact::TakingOver { generation } => {
                self.promises(node, Txid::before(*generation));
            }
            // Its disk is gone, or an old one is in its place, and with it all that the node itself could keep.
            Fact::EmptyJournal | Fact::Outdated { .. } => {
                let has_said = self.promised.remove(&node).is_some();
                if (self.committed.remove(&node).is_some() || has_said) && self.regions.contains_key(&node) {
                    self.lost.insert(node);
                }
                self.accepted.remove(&node);
            }
            Fact::Region { place } => {
                self.regions.insert(node, *place);
            }
            Fact::PresumedAborted { txid } | Fact::Aborted { txid, .. } => {
                self.outcome(node, *txid, Outcome::Abort);
            }
            Fact::Passed { txid, passed } => {
                self.passed.insert((*txid, node), passed.clone());
            }
            Fact::Accepted { .. }
            | Fact::Fleet(_)
            | Fact::Steered { .. }
            | Fact::Changing { .. }
            | Fact::Resolved { .. }
            | Fact::Dismissed { .. }
            | Fact::InDoubt { .. }
            | Fact::KeptOut { .. }
            | Fact::SplitBrain { .. }
            | Fact::Unlike { .. }
            | Fact::Foreign { .. }
            | Fact::Ignored { .. } => {}
        }
    }

    fn replied(&mut self, node: NodeId, to: RequestId, reply: &Reply) {
        match reply {
            Reply::Ordered { .. } | Reply::Changing { .. } | Reply::TakingOver | Reply::Resolved { .. } => {
                self.accepted.entry(node).or_default().insert(to);
            }
            Reply::Accepted { id } => {
                self.accepted.entry(node).or_default().insert(*id);
                if self.shown.get(&node).is_some_and(|shown| !shown.contains(id)) {
                    self.unseen.insert((node, *id));
                }
            }
            Reply::Done
            | Reply::NotCoordinator { .. }
            | Reply::Unfit { .. }
            | Reply::Busy { .. }
            | Reply::SplitBrain
            | Reply::Joining(_)
            | Reply::Invalid { .. } => {}
        }
    }

    fn published(&mut self, node: NodeId, view: &View) {
        let shown = self.shown.entry(node).or_default();
        let rollouts = view.rollouts.iter().map(|rollout| rollout.id);
        let fleet = view.fleets.iter().map(|fleet| fleet.id);
        let queued = view.queued.iter().map(|queued| queued.id);
        let ids = || rollouts.clone().chain(queued.clone()).chain(fleet.clone());
        if !shown.iter().copied().eq(ids()) {
            *shown = ids().collect();
        }
        self.shows.insert(node, view.routing.version);
    }
}

impl Ledger {
    /// Whether some node of the first region knew of this outcome.
    pub fn knows(&self, txid: Txid, outcome: Outcome) -> bool {
        self.outcomes.get(&(0, txid)).is_some_and(|known| known.contains(&outcome))
    }

    /// The newest version that any node of this one's region said it committed, whatever became of that node.
    pub fn newest(&self, node: NodeId) -> u64 {
        let region = self.region_of(node);
        let newest = self.states.range((region, 0)..=(region, u64::MAX)).next_back();
        newest.map_or(0, |((_, version), _)| *version)
    }

    /// Which region a node is of.
    pub fn region_of(&self, node: NodeId) -> u32 {
        self.regions.get(&node).copied().unwrap_or(0)
    }

    fn promises(&mut self, node: NodeId, txid: Txid) {
        let highest = self.promised.entry(node).or_default();
        *highest = txid.max(*highest);
    }

    fn outcome(&mut self, node: NodeId, txid: Txid, outcome: Outcome) {
        self.outcomes.entry((self.region_of(node), txid)).or_default().insert(outcome);
    }

    fn serves(&mut self, node: NodeId, version: u64, digest: u64) {
        self.states.entry((self.region_of(node), version)).or_default().insert(digest);
        let newest = self.committed.entry(node).or_default();
        *newest = version.max(*newest);
    }
}

/// All of the table above.
pub fn all() -> Vec<Invariant<RolloutNode, Ledger>> {
    vec![
        one_outcome::invariant(),
        one_state::invariant(),
        unanimous::invariant(),
        monotonic::invariant(),
        promises::invariant(),
        no_alarm::invariant(),
        accepted::invariant(),
        once::invariant(),
        own_writes::invariant(),
        next_version::invariant(),
        proposals::invariant(),
        gates_kept::invariant(),
        open_exit::invariant(),
        snapshots::invariant(),
        regions_in_turn::invariant(),
        regions_returned::invariant(),
        timers::invariant(),
    ]
}

/// What must be seen in some run, so that the invariants are not kept by doing nothing.
pub fn witnesses() -> Vec<Witness<RolloutNode, Ledger>> {
    fn any_outcome(ledger: &Ledger, outcome: Outcome) -> bool {
        ledger.outcomes.values().any(|known| known.contains(&outcome))
    }
    vec![
        Witness {
            name: "commits",
            about: "a transaction commits on every node",
            seen: |now| {
                now.nodes.iter().filter(|node| is_member(now, node.id)).all(|node| {
                    let newest = now.history.newest(node.id);
                    newest > 0 && node.state.is_some_and(|state| state.committed().version == newest)
                })
            },
        },
        Witness {
            name: "aborts",
            about: "a transaction aborts",
            seen: |now| any_outcome(now.history, Outcome::Abort),
        },
        Witness {
            name: "blocks",
            about: "a participant is in doubt while the coordinator is down",
            seen: |now| {
                now.nodes.iter().any(|node| coordinates(node) && node.state.is_none())
                    && now.up().any(|(_, state)| state.durable().prepared.is_some())
            },
        },
        Witness {
            name: "decided-while-in-doubt",
            about: "one node serves what another one is still in doubt about",
            seen: |now| {
                let in_doubt =
                    |txid| now.up().any(|(_, state)| state.durable().prepared_txid() == Some(txid));
                now.up().filter_map(|(_, state)| state.committed().txid).any(in_doubt)
            },
        },
        Witness {
            name: "recovers",
            about: "a participant that voted learns what the coordinator decided only after a crash",
            seen: |now| {
                let is_interrupted = |reason: &AbortReason| *reason == AbortReason::CoordinatorRestarted;
                coordinator_aborted(now, is_interrupted)
                    .any(|txid| now.nodes.iter().any(|node| decided(node, txid)))
            },
        },
        Witness {
            name: "catches-up",
            about: "a node that was behind takes over what another one sends",
            seen: |now| {
                now.nodes.iter().flat_map(journal).any(|record| matches!(record, Record::Installed { .. }))
            },
        },
        Witness {
            name: "excluded",
            about: "a coordinator with a new disk is excluded by somebody's doubt",
            seen: |now| now.up().any(|(_, state)| state.excluded().is_some()),
        },
        Witness {
            name: "resolver-decides",
            about: "a resolver tells the coordinator, which still collects votes, that the transaction cannot commit",
            seen: |now| {
                let is_resolved = |reason: &AbortReason| matches!(reason, AbortReason::Resolved { .. });
                coordinator_aborted(now, is_resolved).next().is_some()
            },
        },
    ]
}

/// What must be seen where members come and go.
pub fn changing_witnesses() -> Vec<Witness<RolloutNode, Ledger>> {
    vec![
        Witness {
            name: "grows",
            about: "a node that was no member is admitted, and serves what the others serve",
            seen: |now| {
                now.up().any(|(id, state)| {
                    let config = now.nodes.iter().find(|node| node.id == id).map(|node| node.config);
                    config.is_some_and(|config| !config.members.contains(&id)) && !state.is_joining()
                })
            },
        },
        Witness {
            name: "shrinks",
            about: "a member is dismissed",
            seen: |now| {
                let founders = now.nodes.first().map_or(0, |node| node.config.members.len());
                let counts = now.history.members.values().map(|(_, members)| members.len());
                let counts: Vec<_> = [founders].into_iter().chain(counts).collect();
                counts.windows(2).any(|pair| pair[1] < pair[0])
            },
        },
    ]
}

/// What must be seen where the coordinator changes.
pub fn succession_witnesses() -> Vec<Witness<RolloutNode, Ledger>> {
    let succeeds = |now: &Observation<'_, RolloutNode, Ledger>| {
        now.up().any(|(id, state)| {
            let first = now.nodes.first().map(|node| node.config.coordinator);
            state.is_coordinator() && Some(id) != first && !state.is_joining()
        })
    };
    vec![
        Witness { name: "succeeds", about: "another node coordinates", seen: succeeds },
        Witness {
            name: "waits-for-doubt",
            about: "a node that is to take over waits, since somebody is in doubt",
            seen: |now| now.up().any(|(_, state)| state.excluded().is_some()),
        },
    ]
}

/// What must be seen where there are regions.
pub fn regional_witnesses() -> Vec<Witness<RolloutNode, Ledger>> {
    fn ended(now: &Observation<'_, RolloutNode, Ledger>, so: impl Fn(&FleetCourse) -> bool) -> bool {
        now.up().any(|(_, state)| state.durable().fleets.iter().any(|fleet| so(&fleet.course)))
    }
    vec![
        Witness {
            name: "goes-through",
            about: "a rollout over regions comes to its end",
            seen: |now| ended(now, |course| *course == FleetCourse::Done),
        },
        Witness {
            name: "comes-back",
            about: "a rollout over regions returns after a region has done its part",
            seen: |now| {
                let is_back = |state: &RolloutNode| {
                    state.durable().fleets.iter().any(|fleet| {
                        let returned = matches!(fleet.course, FleetCourse::Returned(_));
                        returned && fleet.parts.iter().any(|part| part.is_done)
                    })
                };
                now.up().any(|(_, state)| is_back(state))
            },
        },
    ]
}

/// What must be seen where journals are replaced by snapshots.
pub fn forgetting_witnesses() -> Vec<Witness<RolloutNode, Ledger>> {
    vec![
        Witness {
            name: "forgets",
            about: "a part of a journal has vanished, and its node goes on",
            seen: |now| now.nodes.iter().any(|node| node.forgotten > 0 && node.state.is_some()),
        },
        Witness {
            name: "forgets-in-doubt",
            about: "a node in doubt has forgotten the record of its vote, and knows of it by a snapshot",
            seen: |now| {
                now.nodes.iter().any(|node| {
                    let in_doubt = node.state.and_then(|state| state.durable().prepared_txid());
                    let voted = |record: &Record| matches!(record, Record::Voted { txid, .. } if Some(*txid) == in_doubt);
                    in_doubt.is_some() && node.forgotten > 0 && !journal(node).iter().any(voted)
                })
            },
        },
    ]
}

/// What must be seen of rollouts that gates judge.
pub fn guarded_witnesses() -> Vec<Witness<RolloutNode, Ledger>> {
    fn any_course(now: &Observation<'_, RolloutNode, Ledger>, is_this: impl Fn(&Rollout) -> bool) -> bool {
        now.up().flat_map(|(_, state)| &state.durable().rollouts).any(is_this)
    }
    vec![
        Witness {
            name: "returns",
            about: "a rollout ends with every node's return to the stable model",
            seen: |now| {
                any_course(now, |rollout| {
                    matches!(rollout.course, Course::Returned(_)) && rollout.last_step().is_some()
                })
            },
        },
        Witness {
            name: "gets-more",
            about: "a canary gets more by the evidence of every member",
            seen: |now| {
                let steps =
                    |rollout: &Rollout| rollout.steps.iter().filter(|step| step.is_committed()).count();
                any_course(now, |rollout| rollout.gates.is_some() && steps(rollout) > 1)
            },
        },
        Witness {
            name: "pauses",
            about: "a rollout without evidence pauses",
            seen: |now| {
                any_course(now, |rollout| matches!(rollout.course, Course::Paused(Why::Judged { .. })))
            },
        },
    ]
}

/// Whether a node runs the transactions, as far as its journal says.
fn coordinates(node: &Observed<'_, RolloutNode>) -> bool {
    coordinator_by(journal(node)).unwrap_or(node.config.coordinator) == node.id
}

/// Whether a node is a member of the newest cluster that is known.
fn is_member(now: &Observation<'_, RolloutNode, Ledger>, id: NodeId) -> bool {
    let region = now.history.region_of(id);
    let near = now.up().filter(|(id, _)| now.history.region_of(*id) == region);
    let newest = near.map(|(_, state)| state.committed()).max_by_key(|state| state.version);
    newest.is_none_or(|state| state.has(id))
}

/// Who runs a region's transactions, as far as the journals say, and what its own says.
fn of_region<'a, 'b>(
    now: &'a Observation<'b, RolloutNode, Ledger>,
    place: usize,
) -> Option<(&'a Observed<'b, RolloutNode>, Durable)> {
    let of_it = now.nodes.iter().filter(|node| node.config.own_region() == Some(place) && coordinates(node));
    of_it.map(|node| (node, fold(node))).max_by_key(|(_, durable)| durable.generation())
}

/// The rollouts over regions that their leaders remember.
fn fleets(now: &Observation<'_, RolloutNode, Ledger>) -> impl Iterator<Item = Fleet> {
    let leaders = now.nodes.iter().filter(|node| !node.config.regions.is_empty() && coordinates(node));
    leaders.flat_map(|leader| fold(leader).fleets)
}

/// What a node's journal says.
fn fold(node: &Observed<'_, RolloutNode>) -> Durable {
    Durable::recover(node.config, journal(node))
}

/// What is durable at a node, as far as anybody can see.
fn journal<'a>(node: &'a Observed<'_, RolloutNode>) -> &'a [Record] {
    node.durable.unwrap_or_default()
}

/// What is durable at a node, as far as it tells a whole story: from the first record on, or, where some are forgotten, from the
/// first snapshot on, which comes beside what follows it.
fn legible<'a>(node: &'a Observed<'_, RolloutNode>) -> (Option<&'a Durable>, &'a [Record]) {
    let journal = journal(node);
    if node.forgotten == 0 {
        return (None, journal);
    }
    let first = journal.iter().position(|record| record.snapshot().is_some());
    first.map_or((None, &[]), |first| (journal[first].snapshot(), &journal[first + 1..]))
}

/// What the coordinator has aborted, durably, for such a reason.
fn coordinator_aborted<'a>(
    now: &'a Observation<'_, RolloutNode, Ledger>,
    reason: impl Fn(&AbortReason) -> bool + 'a,
) -> impl Iterator<Item = Txid> + 'a {
    now.nodes.iter().filter(|node| coordinates(node)).flat_map(journal).filter_map(move |record| {
        let Record::Decided { txid, reason: Some(why), .. } = record else { return None };
        reason(why).then_some(*txid)
    })
}

/// Whether a participant voted for a transaction, and knows durably how it ended.
fn decided(node: &Observed<'_, RolloutNode>, of: Txid) -> bool {
    let mut records = journal(node).iter();
    !coordinates(node)
        && records.any(|record| matches!(record, Record::Voted { txid, .. } if *txid == of))
        && records.any(|record| matches!(record, Record::Decided { txid, .. } if *txid == of))
}

/// Whether the cluster has come to rest: all nodes up, no doubt left, the same state everywhere, that
/// the newest that any node ever committed, and shown to readers. `Err` says what is missing.
///
/// Or the coordinator has lost its disk and stays out, as rule 10 has it, until somebody decides; but only if there
/// is nobody to learn from.
pub fn converged(now: &Observation<'_, RolloutNode, Ledger>) -> Result<(), String> {
    let excluded = |(id, state): (NodeId, &RolloutNode)| Some((id, state.excluded()?.1));
    let mut out = BTreeSet::new();
    for (coordinator, txid) in now.up().filter_map(excluded) {
        stays_out(coordinator, txid, now)?;
        out.insert(now.history.region_of(coordinator));
    }
    let mut states = BTreeSet::new();
    let is_in = |id| is_member(now, id) && !out.contains(&now.history.region_of(id));
    for node in now.nodes.iter().filter(|node| is_in(node.id)) {
        let state = node.state.ok_or_else(|| format!("{} is down", node.id))?;
        if state.is_joining() {
            // Whose file names a coordinator that was succeeded asks in vain, until somebody mends the file.
            let coordinates = |(_, state): (_, &RolloutNode)| state.is_coordinator() && !state.is_joining();
            let coordinator = now.up().find(|up| coordinates(*up)).map(|(id, _)| id);
            if coordinator.is_some_and(|coordinator| coordinator != state.coordinator()) {
                continue;
            }
            return Err(format!("{} is not a member (yet)", node.id));
        }
        if let Some(txid) = state.durable().prepared_txid() {
            return Err(format!("{} is in doubt about {txid}", node.id));
        }
        let waits_for_another = !out.is_empty() && state.durable().fleet_under_way().is_some();
        if !state.is_at_rest(node.config) && !waits_for_another {
            return Err(format!("{} still has something to announce or to roll out", node.id));
        }
        let committed = state.committed();
        let newest = now.history.newest(node.id);
        if committed.version < newest {
            return Err(format!("{} serves v{}, committed is v{newest}", node.id, committed.version));
        }
        let shows = now.history.shows.get(&node.id).copied().unwrap_or(committed.version);
        if shows != committed.version {
            return Err(format!("{} shows v{shows} to readers, and serves v{}", node.id, committed.version));
        }
        states.insert((now.history.region_of(node.id), committed));
    }
    let regions: BTreeSet<_> = states.iter().map(|(region, _)| region).collect();
    if states.len() > regions.len() { Err("nodes serve different states".into()) } else { Ok(()) }
}

/// Whether a coordinator that has lost its disk stays out for good reason: all who can know anything about this
/// transaction are in doubt about it, it is newer than all that is committed, and it is all that the lost disk may
/// have committed. `Err` says what is missing.
fn stays_out(
    coordinator: NodeId,
    txid: Txid,
    now: &Observation<'_, RolloutNode, Ledger>,
) -> Result<(), String> {
    let mut in_doubt = None;
    let region = now.history.region_of(coordinator);
    let is_near = |id| now.history.region_of(id) == region && is_member(now, id);
    for node in now.nodes.iter().filter(|node| node.id != coordinator && is_near(node.id)) {
        let (id, state) = (node.id, node.state.ok_or_else(|| format!("{} is down", node.id))?);
        let durable = state.durable();
        match &durable.prepared {
            Some(prepared) if prepared.txid == txid => {
                if prepared.state.version != state.committed().version + 1 {
                    return Err(format!("{id} is in doubt about {txid}, which is not the next version"));
                }
                in_doubt = Some(prepared);
            }
            // Its own disk was lost: it knows nothing, and waits for the coordinator if it is not admitted.
            Some(_) | None if durable.has_forgotten(txid) => {}
            Some(_) | None => {
                let knows =
                    format!("{coordinator} is excluded by doubt about {txid}, but {id} is not in doubt");
                return Err(knows);
            }
        }
    }
    let Some(prepared) = in_doubt else {
        return Err(format!("{coordinator} is excluded by doubt about {txid}, but nobody is in doubt"));
    };
    let newest = now.history.newest(coordinator);
    if newest > prepared.state.version {
        return Err(format!("{coordinator} is excluded by doubt about {txid}, but v{newest} is committed"));
    }
    Ok(())
}

/// Whether all others go on although a member is gone: nobody is in doubt, or still has something to roll out. (The
/// coordinator may announce to who is gone for ever.) `Err` says who waits.
pub fn goes_on(gone: NodeId, now: &Observation<'_, RolloutNode, Ledger>) -> Result<(), String> {
    for node in now.nodes.iter().filter(|node| node.id != gone && is_member(now, node.id)) {
        let state = node.state.ok_or_else(|| format!("{} is down", node.id))?;
        if let Some(txid) = state.durable().prepared_txid() {
            return Err(format!("{} is in doubt about {txid}", node.id));
        }
        if state.durable().running().is_some_and(|running| !running.is_paused()) {
            return Err(format!("{} still has something to roll out", node.id));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::message::Refusal;

    fn facts() -> Vec<Fact> {
        let txids =
            [Txid { generation: 1, epoch: 1, number: 1 }, Txid { generation: 2, epoch: 1, number: 1 }];
        let of = |txid: Txid| {
            let version = u64::from(txid.generation);
            [
                Fact::Voted { txid, version },
                Fact::Refused { txid, refusal: Refusal::Stale { floor: txid } },
                Fact::Committed { txid, version, digest: 1, members: Vec::new() },
                Fact::Committed { txid, version, digest: 2, members: Vec::new() },
                Fact::CaughtUp { version, digest: 3 },
                Fact::Admitted { version, digest: 1 },
                Fact::Granted { generation: txid.generation },
                Fact::PresumedAborted { txid },
                Fact::Aborted { txid, reason: None },
                Fact::EmptyJournal,
            ]
        };
        txids.into_iter().flat_map(of).collect()
    }

    /// What the checker relies on: see [`History::IS_ORDERED`].
    #[test]
    fn facts_of_different_nodes_have_no_order() {
        const { assert!(!<Ledger as History<RolloutNode>>::IS_ORDERED) };
        let told = |facts: &[(u32, &Fact)]| {
            let mut ledger = Ledger::default();
            facts.iter().for_each(|(node, fact)| ledger.observe(NodeId(*node), fact));
            ledger
        };
        for first in &facts() {
            for one in &facts() {
                for other in &facts() {
                    let before = [(1, first), (2, first)];
                    let orders = [[(1, one), (2, other)], [(2, other), (1, one)]];
                    let [a, b] = orders.map(|after| told(&[before, after].concat()));
                    assert_eq!(a, b, "after {first:?}: {one:?}, {other:?}");
                }
            }
        }
    }
}
