//! A whole cluster of one or three nodes: packets are lost, repeated and reordered, nodes crash between any two
//! effects of a step, disks lose what was not synced. Every invariant holds after every step, and once all is
//! healed the cluster comes to rest.

use arbitrary::{Result, Unstructured};
use coalmine_core::disk::LossyDisk;
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event, NodeId};
use coalmine_core::observation::{History, Observation, Observed};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::durable::Record;
use coalmine_core::rollout::invariants::{self, Ledger};
use coalmine_core::rollout::message::Envelope;
use coalmine_core::rollout::mistake::Mistake;

use crate::{below, pick, words};

/// Packets under way are bounded as in any network: what does not fit is lost.
const MAX_PACKETS: usize = 64;

/// Rounds in which a healed cluster must come to rest. Every round is longer than any time-out.
const ROUNDS: usize = 200;

/// One input: how many nodes, and what happens to them.
pub fn run(data: &[u8]) {
    run_as(None, data);
}

/// The same with nodes that make a mistake, to see that it is found.
pub fn run_as(mistake: Option<Mistake>, data: &[u8]) {
    let _ = live(mistake, &mut Unstructured::new(data));
}

struct Slot {
    config: Config,
    host: Option<Host<RolloutNode>>,
    disk: LossyDisk<Record>,
    lives: u64,
}

struct Cluster {
    slots: Vec<Slot>,
    packets: Vec<(NodeId, NodeId, Envelope)>,
    ledger: Ledger,
}

fn live(mistake: Option<Mistake>, u: &mut Unstructured<'_>) -> Result<()> {
    let nodes = *pick(u, &[3, 3, 3, 1])?;
    let slot = |mut config: Config| {
        config.mistake = mistake;
        Slot { config, host: None, disk: LossyDisk::default(), lives: 0 }
    };
    let slots = Config::cluster(nodes).into_iter().map(slot).collect();
    let mut cluster = Cluster { slots, packets: Vec::new(), ledger: Ledger::default() };
    for i in 0..cluster.slots.len() {
        cluster.boot(i, None);
    }
    // The story ends where the input does, and the healing begins.
    let mut steps = || -> Result<()> {
        while !u.is_empty() {
            cluster.step(u)?;
            cluster.check();
        }
        Ok(())
    };
    let _ = steps();
    cluster.heal();
    Ok(())
}

impl Cluster {
    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let kind = below(u, 32)?;
        let node = below(u, self.slots.len())?;
        // Now and then the node crashes after so many effects of this step.
        let crash_after = if u.ratio(1, 24)? { Some(below(u, 8)?) } else { None };
        match kind {
            0..16 if !self.packets.is_empty() => {
                let place = below(u, self.packets.len())?;
                let (from, to, message) =
                    if kind == 0 { self.packets[place].clone() } else { self.packets.swap_remove(place) };
                if kind != 1 {
                    self.event(self.place(to), Event::Message { from, message }, crash_after);
                }
            }
            0..24 => self.sync(node, crash_after),
            24..27 => {
                let armed = self.slots[node].host.iter().flat_map(|host| host.timers().iter().cloned());
                let armed: Vec<_> = armed.collect();
                if !armed.is_empty() {
                    let timer = pick(u, &armed)?.clone();
                    self.event(node, Event::Timer(timer), crash_after);
                }
            }
            27..30 => {
                let (id, request) = words::rollout_request(u)?;
                self.event(node, Event::Request { id, request }, crash_after);
            }
            30 => {
                let keep = below(u, self.slots[node].disk.unsynced() + 1)?;
                self.crash(node, keep);
            }
            _ if self.slots[node].host.is_none() => self.boot(node, crash_after),
            _ => {}
        }
        Ok(())
    }

    fn place(&self, id: NodeId) -> usize {
        self.slots.iter().position(|slot| slot.config.me == id).expect("only members are spoken to")
    }

    fn event(&mut self, node: usize, event: Event<RolloutNode>, crash_after: Option<usize>) {
        let Slot { config, host: Some(host), .. } = &mut self.slots[node] else { return };
        let mut out = Vec::new();
        host.step(config, event, &mut |_| 0, &mut out);
        self.carry_out(node, out, crash_after);
    }

    /// The disk makes the next record durable.
    fn sync(&mut self, node: usize, crash_after: Option<usize>) {
        let Slot { config, host: Some(host), disk, .. } = &mut self.slots[node] else { return };
        if disk.unsynced() == 0 {
            return;
        }
        let upto = disk.durable().len() + 1;
        disk.sync(upto);
        let (mut out, incarnation) = (Vec::new(), host.incarnation());
        host.synced(config, incarnation, upto as u64, &mut |_| 0, &mut out);
        self.carry_out(node, out, crash_after);
    }

    fn boot(&mut self, node: usize, crash_after: Option<usize>) {
        let slot = &mut self.slots[node];
        slot.lives += 1;
        let mut out = Vec::new();
        let disk = slot.disk.durable();
        slot.host = Some(Host::boot(&slot.config, disk, slot.lives, &mut |_| 0, &mut out));
        self.carry_out(node, out, crash_after);
    }

    fn crash(&mut self, node: usize, keep: usize) {
        let slot = &mut self.slots[node];
        if slot.host.take().is_some() {
            slot.disk.crash(keep.min(slot.disk.unsynced()));
        }
    }

    /// Carries out effects in order. A crash after some of them also keeps half of what is not synced.
    fn carry_out(&mut self, node: usize, effects: Vec<Effect<RolloutNode>>, crash_after: Option<usize>) {
        let me = self.slots[node].config.me;
        for effect in effects.into_iter().take(crash_after.unwrap_or(usize::MAX)) {
            match effect {
                Effect::Append(record) => self.slots[node].disk.append(record),
                Effect::Observe(fact) => History::<RolloutNode>::observe(&mut self.ledger, me, &fact),
                Effect::Send { to, message } if self.packets.len() < MAX_PACKETS => {
                    self.packets.push((me, to, message));
                }
                Effect::Send { .. }
                | Effect::Reply { .. }
                | Effect::Publish(_)
                | Effect::SetTimer { .. }
                | Effect::CancelTimer(_)
                | Effect::Forget(_)
                | Effect::Meet { .. }
                | Effect::Part(_)
                | Effect::Lost { .. }
                | Effect::WhenDurable(_) => {}
            }
        }
        if crash_after.is_some() {
            self.crash(node, self.slots[node].disk.unsynced().div_ceil(2));
        }
    }

    fn observation(&self) -> Observation<'_, RolloutNode, Ledger> {
        fn observed(slot: &Slot) -> Observed<'_, RolloutNode> {
            let Slot { config, host, disk, .. } = slot;
            let state = host.as_ref().map(Host::node);
            let (durable, timers) = (Some(disk.durable()), host.as_ref().map_or(&[][..], Host::timers));
            Observed { id: config.me, config, state, durable, forgotten: 0, timers, early_output: None }
        }
        Observation { nodes: self.slots.iter().map(observed).collect(), history: &self.ledger }
    }

    fn check(&self) {
        let now = self.observation();
        for invariant in invariants::all() {
            if let Err(why) = (invariant.check)(&now) {
                panic!("{} is violated: {why}", invariant.name);
            }
        }
    }

    /// All nodes up, nothing lost, disks and timers at work: the cluster must come to rest.
    fn heal(&mut self) {
        for node in 0..self.slots.len() {
            if self.slots[node].host.is_none() {
                self.boot(node, None);
            }
        }
        let mut rest = Err("no round yet".to_owned());
        for _ in 0..ROUNDS {
            self.quiesce();
            rest = invariants::converged(&self.observation());
            if rest.is_ok() {
                return;
            }
            for node in 0..self.slots.len() {
                let armed: Vec<_> =
                    self.slots[node].host.iter().flat_map(|host| host.timers().iter().cloned()).collect();
                for timer in armed {
                    self.event(node, Event::Timer(timer), None);
                    self.check();
                }
            }
        }
        panic!("did not converge within {ROUNDS} rounds: {}", rest.unwrap_err());
    }

    /// Syncs and delivers until nothing is under way.
    fn quiesce(&mut self) {
        for _ in 0..10_000 {
            for node in 0..self.slots.len() {
                while self.slots[node].disk.unsynced() > 0 {
                    self.sync(node, None);
                    self.check();
                }
            }
            if self.packets.is_empty() {
                return;
            }
            let (from, to, message) = self.packets.remove(0);
            self.event(self.place(to), Event::Message { from, message }, None);
            self.check();
        }
        panic!("the nodes talk without end");
    }
}
