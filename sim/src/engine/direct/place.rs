//! A place for a node: its host while it is up, its disk, its timers, its clock.

use std::time::Duration;

use coalmine_core::disk::LossyDisk;
use coalmine_core::host::Host;
use coalmine_core::node::{Node, NodeId};
use coalmine_core::observation::Observed;

use super::agenda::Due;
use crate::engine::shared::clock::ClockState;
use crate::engine::shared::disk::DiskFault;

/// See the module's head.
pub struct Place<N: Node> {
    /// Whose it is.
    pub id: NodeId,
    /// Its configuration.
    pub config: N::Config,
    /// `None` while it is down.
    pub host: Option<Host<N>>,
    /// Counts its lives, so that what a former life has under way is recognised.
    pub life: u64,
    /// It is down, but about to boot.
    pub starting: bool,
    /// What it wrote.
    pub disk: LossyDisk<N::Record>,
    /// What it has told too early, if it ever did.
    pub early_output: Option<Box<str>>,
    /// A sync is under way.
    pub syncing: bool,
    /// What the plan did to its disk.
    pub disk_fault: DiskFault,
    /// Line and bytes of the torn record that the last crash left.
    pub torn: Option<(u64, u64)>,
    /// The record that has rotted, counted from 0.
    pub rotten: Option<usize>,
    /// The timers that are armed, in order.
    pub timers: Vec<(N::Timer, Armed)>,
    /// What it takes for the time.
    pub clock: ClockState,
    /// It stands still: what happens to it waits in the backlog.
    pub paused: bool,
    /// See `paused`.
    pub backlog: Vec<Due>,
}

/// When a timer fires.
#[derive(Clone, Copy, Debug)]
pub struct Armed {
    /// When the node's clock shows this.
    pub at: Duration,
    /// Tells it from earlier ones of its name.
    pub number: u64,
}

impl<N: Node> Place<N> {
    /// A place whose node has never booted.
    pub fn new(id: NodeId, config: N::Config) -> Self {
        Self {
            id,
            config,
            host: None,
            life: 0,
            starting: false,
            disk: LossyDisk::default(),
            early_output: None,
            syncing: false,
            disk_fault: DiskFault::default(),
            torn: None,
            rotten: None,
            timers: Vec::new(),
            clock: ClockState::default(),
            paused: false,
            backlog: Vec::new(),
        }
    }

    /// Arms a timer, or arms it anew.
    pub fn arm(&mut self, timer: N::Timer, armed: Armed) {
        match self.timers.binary_search_by(|(known, _)| known.cmp(&timer)) {
            Ok(at) => self.timers[at].1 = armed,
            Err(at) => self.timers.insert(at, (timer, armed)),
        }
    }

    /// Disarms a timer, if it is armed.
    pub fn disarm(&mut self, timer: &N::Timer) {
        self.timers.retain(|(known, _)| known != timer);
    }

    /// Disarms the timer of this number, which fires, if it is still armed.
    pub fn fire(&mut self, number: u64) -> Option<N::Timer> {
        let at = self.timers.iter().position(|(_, armed)| armed.number == number)?;
        Some(self.timers.remove(at).0)
    }

    /// The node is gone, with all that it had under way. Returns what waited for it.
    pub fn end_life(&mut self) -> Vec<Due> {
        self.host = None;
        self.life += 1;
        self.starting = false;
        self.syncing = false;
        self.timers.clear();
        self.paused = false;
        std::mem::take(&mut self.backlog)
    }

    /// As invariants see it.
    pub fn observe(&self) -> Observed<'_, N> {
        let state = self.host.as_ref().map(Host::node);
        let timers = self.host.as_ref().map_or(&[][..], Host::timers);
        let (durable, early_output) = (Some(self.disk.durable()), self.early_output.as_deref());
        let forgotten = self.disk.forgotten();
        Observed { id: self.id, config: &self.config, state, durable, forgotten, timers, early_output }
    }
}
