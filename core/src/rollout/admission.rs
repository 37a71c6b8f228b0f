//! Being admitted: a node whose journal holds no admission has no past that it could answer for (rule 10).
//!
//! ```text
//! participant                coordinator                other members
//!     ── JOIN_REQ ─────────▶ a member itself
//!     ◀────────── JOIN_RESP ── the committed state, and the last transaction it has begun
//!
//!                            joining itself ── ADMIT_REQ: the next generation ──▶
//!                            ◀── ADMIT_RESP: granted, durably; what I know ──────
//!                            all have granted, nobody is in doubt: a member
//! ```
//!
//! A new cluster forms by the same rules: all join, and nobody knows anything. Questions carry the name of
//! the life that asks, so that no answer to a former life counts.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::Config;
use super::message::{Fact, Known, Message, Record, Timer, Waiting};
use super::mistake::Mistake;
use super::state::{RoutingState, Txid};
use super::{Cx, RolloutNode, ignore};
use crate::node::NodeId;

/// What a node knows while it is not a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Joining {
    /// Coordinator: the generation it asks for.
    generation: u32,
    /// Coordinator: who has granted it, and what each knew when it did.
    grants: BTreeMap<NodeId, Known>,
    /// Coordinator: whose doubt keeps it out, and about what.
    excluded: Option<(NodeId, Txid)>,
}

impl RolloutNode {
    /// Begins to ask.
    pub(super) fn join(&mut self, config: &Config, cx: &mut Cx<'_>) {
        if config.makes(Mistake::JoinsUnasked) {
            return self.admit(config, self.durable.committed.clone(), Txid::before(1), cx);
        }
        self.joining = Some(Joining { generation: 1, grants: BTreeMap::new(), excluded: None });
        self.publish(config, cx);
        self.ask_to_join(config, cx);
        if config.others().next().is_none() {
            self.admit_if_granted(config, cx);
        }
    }

    pub(super) fn ask_to_join(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let Some(joining) = &self.joining else { return };
        let life = cx.life();
        if config.is_coordinator() {
            // Who is in doubt may have learned the outcome since.
            let settled = |to: &NodeId| joining.grants.get(to).is_some_and(|grant| grant.in_doubt.is_none());
            for to in config.others().filter(|to| !settled(to)) {
                cx.send(to, Message::AdmitReq { life, generation: joining.generation });
            }
        } else {
            cx.send(config.coordinator, Message::JoinReq { life });
        }
        cx.set_timer(Timer::Join, Duration::from_millis(config.timeouts.resend_ms));
    }

    /// A participant asks to be admitted.
    pub(super) fn on_join_req(&mut self, config: &Config, from: NodeId, life: u64, cx: &mut Cx<'_>) {
        if !config.is_coordinator() {
            return ignore(from, "only the coordinator takes participants in", cx);
        }
        let Some(joining) = &mut self.joining else {
            return cx.send(from, self.welcome(life));
        };
        // Its grant may be gone with its disk.
        joining.grants.remove(&from);
        let generation = joining.generation;
        cx.send(from, Message::AdmitReq { life: cx.life(), generation });
    }

    /// All that a participant needs to know. It comes after the question: a transaction that has not begun by
    /// now cannot have met the asker's former life.
    fn welcome(&self, life: u64) -> Message {
        Message::JoinResp { life, state: self.durable.committed.clone(), begun: self.last_begun() }
    }

    pub(super) fn on_join_resp(
        &mut self,
        config: &Config,
        from: NodeId,
        life: u64,
        state: RoutingState,
        begun: Txid,
        cx: &mut Cx<'_>,
    ) {
        if from != config.coordinator {
            return ignore(from, "only the coordinator takes participants in", cx);
        }
        if self.joining.is_none() || life != cx.life() {
            return; // a late copy, or of a former life
        }
        if !state.is_consistent() {
            return ignore(from, "its state contradicts itself", cx);
        }
        self.admit(config, state, begun, cx);
    }

    /// The coordinator asks to be admitted: to be asked is a write, as with a resolver's question. From here
    /// on this node votes for nothing that the coordinator's former disks proposed.
    pub(super) fn on_admit_req(
        &mut self,
        config: &Config,
        from: NodeId,
        life: u64,
        generation: u32,
        cx: &mut Cx<'_>,
    ) {
        if from != config.coordinator {
            return ignore(from, "only the coordinator has generations", cx);
        }
        if generation > self.durable.generation() {
            self.append(Record::Granted { generation }, cx);
            cx.observe(Fact::Granted { generation });
            self.granted = Some((generation, life));
        }
        let generation = self.durable.generation();
        let known = Known {
            state: self.durable.committed.clone(),
            in_doubt: self.durable.prepared.as_ref().map(|prepared| prepared.state.clone()),
            joining: self.joining.as_ref().map(|_| cx.life()),
        };
        let known = (self.granted == Some((generation, life))).then_some(known);
        cx.send(from, Message::AdmitResp { life, generation, known });
    }

    pub(super) fn on_admit_resp(
        &mut self,
        config: &Config,
        from: NodeId,
        life: u64,
        generation: u32,
        known: Option<Known>,
        cx: &mut Cx<'_>,
    ) {
        let Some(joining) = self.joining.as_mut().filter(|_| config.is_coordinator() && life == cx.life())
        else {
            return; // a late copy, or of a former life
        };
        if known.as_ref().is_some_and(|known| !known.state.is_consistent()) {
            return ignore(from, "its state contradicts itself", cx);
        }
        match known {
            Some(known) if generation == joining.generation => {
                joining.grants.insert(from, known);
                self.admit_if_granted(config, cx);
            }
            // It has granted that one, or a later one, to a former life.
            None if generation >= joining.generation => {
                let Some(next) = generation.checked_add(1) else {
                    return ignore(from, "there is no generation after its last", cx);
                };
                *joining = Joining { generation: next, grants: BTreeMap::new(), excluded: None };
                self.ask_to_join(config, cx);
            }
            Some(_) | None => {} // about a generation that is no longer asked for
        }
    }

    /// The coordinator is admitted once all have granted it a generation and none is in doubt: its former
    /// disk may have decided what they are in doubt about, either way, and told a client.
    fn admit_if_granted(&mut self, config: &Config, cx: &mut Cx<'_>) {
        let Some(joining) = self.joining.as_ref().filter(|_| config.is_coordinator()) else { return };
        let grants = &joining.grants;
        if config.others().any(|member| !grants.contains_key(&member)) {
            return self.publish(config, cx);
        }
        let states = grants.values().map(|grant| &grant.state);
        let newest = states.max_by_key(|state| state.version).unwrap_or(&self.durable.committed).clone();
        let unknown = |(&member, grant): (&NodeId, &Known)| {
            let in_doubt = grant.in_doubt.as_ref().filter(|state| state.version > newest.version)?;
            Some((member, in_doubt.txid?))
        };
        let excluded = grants.iter().find_map(unknown);
        if let Some((by, txid)) = excluded {
            if joining.excluded != excluded {
                cx.observe(Fact::KeptOut { by, txid });
            }
            self.joining = self.joining.take().map(|joining| Joining { excluded, ..joining });
            return self.publish(config, cx);
        }
        let asked: Vec<_> = grants.iter().filter_map(|(&to, grant)| Some((to, grant.joining?))).collect();
        self.admit(config, newest, Txid::before(joining.generation), cx);
        for (to, life) in asked {
            cx.send(to, self.welcome(life));
        }
    }

    /// Is a member from here on, with no past before `begun`.
    fn admit(&mut self, config: &Config, state: RoutingState, begun: Txid, cx: &mut Cx<'_>) {
        let (version, digest) = (state.version, state.digest());
        self.joining = None;
        cx.cancel_timer(Timer::Join);
        self.append(Record::Admitted { state, begun }, cx);
        cx.observe(Fact::Admitted { version, digest });
        self.publish(config, cx);
        self.take_part(config, cx);
    }

    /// Who keeps this coordinator, which has lost its disk, out, and by its doubt about what.
    pub fn excluded(&self) -> Option<(NodeId, Txid)> {
        self.joining.as_ref().and_then(|joining| joining.excluded)
    }

    /// For whom this node waits before it is a member.
    pub(super) fn waiting(&self, config: &Config) -> Option<Waiting> {
        let joining = self.joining.as_ref()?;
        let members = if config.is_coordinator() {
            config.others().filter(|member| !joining.grants.contains_key(member)).collect()
        } else {
            vec![config.coordinator]
        };
        Some(Waiting { members, excluded: joining.excluded })
    }
}
