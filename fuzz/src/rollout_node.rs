//! One rollout node among peers that say anything at all, on a disk that loses what was not synced. It must not
//! panic, must equal what its journal makes of it, and must keep its promises through every crash: to that a
//! node is held alone, whatever the others do.

use arbitrary::{Result, Unstructured};
use coalmine_core::codec::journal;
use coalmine_core::disk::LossyDisk;
use coalmine_core::form::Form;
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event};
use coalmine_core::observation::{History, Observation, Observed};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::durable::{Durable, Record};
use coalmine_core::rollout::invariants::{Ledger, monotonic, promises};
use coalmine_core::rollout::state::{ClusterId, RoutingState, Txid};

use crate::{below, pick, words};

type Node = RolloutNode;

/// One input: which node, and what happens to it.
pub fn run(data: &[u8]) {
    let _ = live(&mut Unstructured::new(data));
}

struct Life {
    config: Config,
    host: Host<Node>,
    disk: LossyDisk<Record>,
    ledger: Ledger,
}

fn live(u: &mut Unstructured<'_>) -> Result<()> {
    let config = Config::cluster(3).swap_remove(below(u, 3)?);
    let mut out = Vec::new();
    let mut disk = LossyDisk::default();
    if u.ratio(3, 4)? {
        // A member; otherwise a node that has yet to be admitted.
        let state = RoutingState::initial(&config.initial_model, &config.members);
        let (node, cluster, coordinator) = (config.me, ClusterId(1), config.coordinator);
        disk.append(Record::Admitted { node, cluster, coordinator, state, begun: Txid::before(1) });
        disk.sync(1);
    }
    let host = Host::boot(&config, disk.durable(), 1, &mut |_| 0, &mut out);
    let mut life = Life { config, host, disk, ledger: Ledger::default() };
    life.carry_out(out);
    // A node whose words run out ends its life there: that is no failure.
    let mut steps = || -> Result<()> {
        while !u.is_empty() {
            life.step(u)?;
            life.check();
        }
        Ok(())
    };
    let _ = steps();
    life.check_journal();
    Ok(())
}

impl Life {
    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let mut out = Vec::new();
        let event = match below(u, 16)? {
            0..8 => Event::Message { from: words::node_id(u)?, message: words::message(u)? },
            8..10 => {
                let armed: Vec<_> = self.host.timers().iter().cloned().collect();
                Event::Timer(pick(u, &armed)?.clone()) // a member's heartbeat, or the question of who is none
            }
            10..12 => {
                let (id, request) = words::request(u)?;
                Event::Request { id, request }
            }
            12..15 => {
                let upto = self.disk.durable().len() + below(u, self.disk.unsynced() + 1)?;
                self.disk.sync(upto);
                let incarnation = self.host.incarnation();
                self.host.synced(&self.config, incarnation, upto as u64, &mut |_| 0, &mut out);
                self.carry_out(out);
                return Ok(());
            }
            _ => {
                let keep = below(u, self.disk.unsynced() + 1)?;
                self.disk.crash(keep);
                let incarnation = self.host.incarnation() + 1;
                let disk = self.disk.durable();
                self.host = Host::boot(&self.config, disk, incarnation, &mut |_| 0, &mut out);
                self.carry_out(out);
                return Ok(());
            }
        };
        self.host.step(&self.config, event, &mut |_| 0, &mut out);
        self.carry_out(out);
        Ok(())
    }

    fn carry_out(&mut self, effects: Vec<Effect<Node>>) {
        for effect in effects {
            match effect {
                Effect::Append(record) => self.disk.append(record),
                Effect::Observe(fact) => {
                    History::<Node>::observe(&mut self.ledger, self.config.me, &fact);
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
    }

    fn check(&self) {
        let node = self.host.node();
        assert_eq!(self.host.written(), self.disk.written().len() as u64);
        let recovered = Durable::recover(&self.config, self.disk.written());
        assert_eq!(*node.durable(), recovered, "the node differs from what its journal says");
        let observed = Observed {
            id: self.config.me,
            config: &self.config,
            state: Some(node),
            durable: Some(self.disk.durable()),
            forgotten: 0,
            timers: self.host.timers(),
            early_output: None,
        };
        let now = Observation { nodes: vec![observed], history: &self.ledger };
        for invariant in [monotonic::invariant(), promises::invariant()] {
            if let Err(why) = (invariant.check)(&now) {
                panic!("{} is violated: {why}", invariant.name);
            }
        }
    }

    /// All that was written comes back from the bytes of its journal.
    fn check_journal(&self) {
        let mut bytes = Vec::new();
        for (i, record) in self.disk.written().iter().enumerate() {
            journal::encode(Form::Json, i as u64 + 1, record, &mut bytes);
        }
        let recovered = journal::recover::<Record>(Form::Json, &bytes).expect("an undamaged journal");
        assert_eq!(recovered.records, self.disk.written());
    }
}
