//! A [`World`] in words: what is under way, what was spent; what each node has on its disk, waits for and knows.
//! A person reads it in stateright's Explorer.

use std::fmt::{self, Formatter};

use coalmine_core::node::{Node, NodeId, Word};

use super::{Slot, World};
use crate::panics::describe;
use crate::spec::system::{NodeOf, System};
use crate::trace::html::compact;

impl<S: System> fmt::Debug for World<S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.packets.is_empty() {
            writeln!(f, "under way")?;
        }
        for packet in &self.packets {
            let told = describe::<NodeOf<S>>(Word::Message(&packet.message));
            writeln!(f, "    {} → {}: {told}", packet.from, packet.to)?;
        }
        for (from, to) in &self.cut {
            writeln!(f, "cut {from} ↛ {to}")?;
        }
        let spent = self.spent.describe();
        if !spent.is_empty() {
            writeln!(f, "so far: {spent}")?;
        }
        for (id, slot) in self.members.iter().zip(&self.slots) {
            writeln!(f)?;
            describe_node::<NodeOf<S>>(*id, slot, f)?;
        }
        writeln!(f, "\nwhat is remembered for the invariants")?;
        let history = format!("{:#?}", self.memory.history);
        compact(&history).iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        if self.memory.clients.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nwhat clients know, by operation")?;
        let clients = format!("{:#?}", self.memory.clients);
        compact(&clients).iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

fn describe_node<N: Node>(id: NodeId, slot: &Slot<N>, f: &mut Formatter<'_>) -> fmt::Result {
    match &slot.host {
        Some(_) => writeln!(f, "{id} is up, in its life {}", slot.lives)?,
        None => match &slot.panic {
            Some(panic) => writeln!(f, "{id} has {panic}")?,
            None => writeln!(f, "{id} is DOWN, after {} lives", slot.lives)?,
        },
    }
    let durable = slot.disk.durable().len();
    for (place, record) in slot.disk.written().iter().enumerate() {
        let unsynced = if place < durable { "" } else { " (not durable yet)" };
        let number = slot.disk.forgotten() + place as u64 + 1;
        let forgotten = if place < slot.disk.forgettable() { " (may vanish)" } else { "" };
        let record = describe::<N>(Word::Record(record));
        writeln!(f, "    journal {number}: {record}{unsynced}{forgotten}")?;
    }
    let Some(host) = &slot.host else { return Ok(()) };
    if host.held() > 0 {
        writeln!(f, "    {} effects wait for the disk", host.held())?;
    }
    for timer in host.timers() {
        writeln!(f, "    timer: {}", describe::<N>(Word::Timer(timer)))?;
    }
    compact(&format!("{:#?}", host.node())).iter().try_for_each(|line| writeln!(f, "    {line}"))
}
