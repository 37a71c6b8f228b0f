//! One node that lives again.

use coalmine_core::codec::recording::{Again, Step, Took};
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event, Node, NodeId};
use coalmine_core::observation::Observed;
use coalmine_core::order::Order;

use crate::engine::shared::recorder::note_early_output;
use crate::panics::catch;
use crate::spec::verdict::Verdict;

/// A node, its disk, and how far both are known.
pub struct Player<N: Node> {
    /// Who.
    pub id: NodeId,
    /// The order that its host keeps.
    pub order: Order,
    /// Its configuration; `None` if there is not one part of its recording.
    pub config: Option<N::Config>,
    /// `None` before it boots.
    pub host: Option<Host<N>>,
    /// How many records before these it has forgotten.
    pub forgotten: u64,
    /// What its journal holds, as far as it is recorded.
    pub journal: Vec<N::Record>,
    /// How much of that is durable.
    pub durable: usize,
    /// What it has told too early, if it ever did.
    pub early_output: Option<Box<str>>,
}

impl<N: Node> Player<N> {
    /// A node that has not booted yet.
    pub fn new(id: NodeId, order: Order, config: Option<N::Config>) -> Self {
        let (forgotten, journal) = (0, Vec::new());
        Self { id, order, config, host: None, forgotten, journal, durable: 0, early_output: None }
    }

    /// What is to be seen of it.
    pub fn observe(&self) -> Option<Observed<'_, N>> {
        let state = self.host.as_ref().map(Host::node);
        let durable = Some(&self.journal[..self.durable]);
        let timers = self.host.as_ref().map_or(&[][..], Host::timers);
        let early_output = self.early_output.as_deref();
        self.config.as_ref().map(|config| Observed {
            id: self.id,
            config,
            state,
            durable,
            forgotten: self.forgotten,
            timers,
            early_output,
        })
    }

    /// Takes a step again. `Err` says what is impossible about it.
    pub fn again(&mut self, step: &Step<N>) -> Result<Vec<Effect<N>>, String> {
        let Some(config) = &self.config else { return Err("it has no configuration".into()) };
        let mut choose = Again::new(&step.chose);
        let mut out = Vec::new();
        let host = &mut self.host;
        let done = catch(|| match (&step.took, host) {
            (Took::Boot { life, journal, .. }, host) => {
                let journal = journal.journal();
                *host = Some(Host::boot_in(self.order, config, journal, *life, &mut choose, &mut out));
                Ok(())
            }
            (_, None) => Err("the node is down".to_owned()),
            (Took::Synced(upto), Some(host)) => {
                if *upto > host.written() {
                    return Err(format!("only {} records are written", host.written()));
                }
                host.synced(config, host.incarnation(), *upto, &mut choose, &mut out);
                Ok(())
            }
            (Took::Event(Event::Durable(_)), Some(_)) => {
                Err("only its host tells a node what is durable".into())
            }
            (Took::Event(event), Some(host)) => {
                host.step(config, event.clone(), &mut choose, &mut out);
                Ok(())
            }
        });
        done.map_err(|panic| Verdict::Panicked(panic).describe())??;
        if let Some(n) = choose.stranger {
            return Err(format!("it chooses one of {n}, and the recording has no such answer"));
        }
        if !choose.left().is_empty() {
            return Err(format!("it does not ask for the choices {:?}", choose.left()));
        }
        match &step.took {
            Took::Boot { journal, .. } => {
                self.journal.clone_from(&journal.records);
                (self.forgotten, self.durable) = (journal.forgotten, journal.records.len());
            }
            Took::Synced(upto) => {
                let durable = upto.saturating_sub(self.forgotten) as usize;
                self.durable = self.durable.max(durable.min(self.journal.len()));
            }
            Took::Event(_) => {}
        }
        note_early_output(&mut self.early_output, config, &out, &self.journal[..self.durable]);
        for effect in &out {
            if let Effect::Append(record) = effect {
                self.journal.push(record.clone());
            }
        }
        Ok(out)
    }
}
