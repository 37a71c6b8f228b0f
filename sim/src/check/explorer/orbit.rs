//! One fingerprint for all worlds that differ only in who of the interchangeable members is who.
//!
//! The members are put in the order of what can be told of each without naming the others; then they take each
//! other's names in that order, and the fingerprint is that of the world they make. Where two look alike, either
//! nothing changes when they change places, or all orders are tried and the lowest fingerprint is taken. So two
//! worlds of one orbit never have different fingerprints, nor two orbits the same (but for a collision).

use std::collections::HashMap;

use coalmine_core::node::{Effect, Node, NodeId};
use foldhash::fast::FixedState;

use super::parts::{hash_of_memory, hash_of_packet, hash_of_slot};
use super::space::Space;
use crate::fingerprint::fingerprint;
use crate::spec::symmetry::{Names, Symmetry};
use crate::spec::system::{NodeOf, System};
use crate::world::clients::Memory;
use crate::world::{Packet, Slot};

/// So many results are remembered; then all are forgotten.
const REMEMBERED: usize = 1 << 20;

/// What is interchangeable, and what was worked out before. One thread's own.
pub struct Orbits<S: System> {
    symmetry: Symmetry<NodeOf<S>, S::History>,
    /// The places of the members.
    places: Vec<usize>,
    /// By names.
    names: HashMap<Names, u32, FixedState>,
    /// By place, part, names: what the part adds to the fingerprint.
    hashes: HashMap<[u32; 3], u64, FixedState>,
}

impl<S: System> Orbits<S> {
    /// The orbits of a system that has some.
    pub fn of(system: &S, place_of: impl Fn(NodeId) -> usize) -> Option<Self> {
        let symmetry = system.symmetry()?;
        let places = symmetry.members.iter().map(|&id| place_of(id)).collect();
        Some(Self { symmetry, places, names: HashMap::default(), hashes: HashMap::default() })
    }

    /// The fingerprint of the orbit that a world is in.
    pub fn fingerprint(&mut self, space: &Space<'_, S>, row: &[u32]) -> u64 {
        let mut looks: Vec<_> =
            (0..self.places.len()).map(|member| (self.look(space, row, member), member)).collect();
        looks.sort_unstable();
        let mut order: Vec<usize> = looks.iter().map(|(_, member)| *member).collect();
        let alike: Vec<_> = looks.chunk_by(|a, b| a.0 == b.0).map(<[_]>::len).collect();
        let mut lowest = self.in_order(space, row, &order);
        let mut start = 0;
        let mut open = Vec::new();
        for len in alike {
            let same = (start..start + len - 1).all(|at| {
                order.swap(at, at + 1);
                let swapped = self.in_order(space, row, &order);
                order.swap(at, at + 1);
                swapped == lowest
            });
            if !same {
                open.push(start..start + len);
            }
            start += len;
        }
        if !open.is_empty() {
            self.all_orders(space, row, &mut order, &open, &mut lowest);
        }
        lowest
    }

    /// Tries all orders of those that look alike (Heap's algorithm, one group after the other).
    fn all_orders(
        &mut self,
        space: &Space<'_, S>,
        row: &[u32],
        order: &mut Vec<usize>,
        open: &[std::ops::Range<usize>],
        lowest: &mut u64,
    ) {
        let Some((group, rest)) = open.split_first() else {
            *lowest = self.in_order(space, row, order).min(*lowest);
            return;
        };
        let Some(last) = group.end.checked_sub(1).filter(|&last| last > group.start) else {
            return self.all_orders(space, row, order, rest, lowest);
        };
        let shorter: Vec<_> = std::iter::once(group.start..last).chain(rest.iter().cloned()).collect();
        for at in group.clone() {
            order.swap(at, last);
            self.all_orders(space, row, order, &shorter, lowest);
            order.swap(at, last);
        }
    }

    /// The fingerprint of the world in which the members, in this order, have each other's names.
    fn in_order(&mut self, space: &Space<'_, S>, row: &[u32], order: &[usize]) -> u64 {
        let members = &self.symmetry.members;
        let names = order.iter().zip(members).map(|(&member, &name)| (members[member], name)).collect();
        let mut to: Vec<_> = (0..space.places.len()).collect();
        for (&member, &place) in order.iter().zip(&self.places) {
            to[self.places[member]] = place;
        }
        self.sum(space, row, names, |place| to[place])
    }

    /// What can be told of a member if all others have the same name.
    fn look(&mut self, space: &Space<'_, S>, row: &[u32], member: usize) -> u64 {
        let members = &self.symmetry.members;
        let (me, another) = (members[0], members[members.len() - 1]);
        let names = members.iter().enumerate();
        let names = names.map(|(at, &id)| (id, if at == member { me } else { another })).collect();
        let places = self.places.clone();
        self.sum(space, row, names, |place| match places.iter().position(|&there| there == place) {
            Some(at) if at == member => places[0],
            Some(_) => places[places.len() - 1],
            None => place,
        })
    }

    /// The sum of the hashes of all parts with these names, each at the place that `to` says.
    fn sum(&mut self, space: &Space<'_, S>, row: &[u32], names: Names, to: impl Fn(usize) -> usize) -> u64 {
        let places = space.places.len();
        if self.hashes.len() >= REMEMBERED {
            self.hashes.clear();
            self.names.clear();
        }
        let next = self.names.len() as u32;
        let number = *self.names.entry(names.clone()).or_insert(next);
        let symmetry = &self.symmetry;
        let mut sum = space.budgets.get(row[2 * places + 1]).hash;
        for (part, &id) in row[..=2 * places].iter().enumerate() {
            let key = [part as u32, id, number];
            let hash = *self.hashes.entry(key).or_insert_with(|| {
                if part < places {
                    let slot = symmetry.slot(&space.places[part].get(id).slot, &names);
                    hash_of_slot(to(part), &slot)
                } else if part < 2 * places {
                    let packets = space.packets_in(part - places, id);
                    let hash = |packet| hash_of_packet(&symmetry.packet(packet, &names));
                    packets.map(hash).fold(0, u64::wrapping_add)
                } else {
                    let Memory { history, clients } = &space.histories.get(id).memory;
                    let history = (symmetry.history)(history, &names);
                    hash_of_memory(&Memory { history, clients: clients.renamed(|id| names.of(id)) })
                }
            });
            sum = sum.wrapping_add(hash);
        }
        fingerprint(&sum)
    }
}

impl<N: Node, H> Symmetry<N, H> {
    /// A place with the new names.
    pub(crate) fn slot(&self, slot: &Slot<N>, names: &Names) -> Slot<N> {
        let disk = slot.disk.map(|record| (self.record)(record, names));
        let host = slot.host.as_ref().map(|host| {
            let timer = |timer: &N::Timer| (self.timer)(timer, names);
            let effect = |effect: &Effect<N>| self.effect(effect, names);
            host.renamed((self.node)(host.node(), names), timer, effect, |peer| names.of(peer))
        });
        let (early_output, panic) = (slot.early_output.clone(), slot.panic.clone());
        Slot { host, disk, lives: slot.lives, early_output, panic }
    }

    /// A packet with the new names.
    pub(crate) fn packet(&self, packet: &Packet<N>, names: &Names) -> Packet<N> {
        let message = (self.message)(&packet.message, names);
        Packet { from: names.of(packet.from), to: names.of(packet.to), message }
    }

    fn effect(&self, effect: &Effect<N>, names: &Names) -> Effect<N> {
        match effect {
            Effect::Append(record) => Effect::Append((self.record)(record, names)),
            Effect::Send { to, message } => {
                Effect::Send { to: names.of(*to), message: (self.message)(message, names) }
            }
            Effect::Observe(fact) => Effect::Observe((self.fact)(fact, names)),
            Effect::SetTimer { timer, delay } => {
                Effect::SetTimer { timer: (self.timer)(timer, names), delay: *delay }
            }
            Effect::CancelTimer(timer) => Effect::CancelTimer((self.timer)(timer, names)),
            Effect::Meet { peer, address } => Effect::Meet { peer: names.of(*peer), address: *address },
            Effect::Part(peer) => Effect::Part(names.of(*peer)),
            Effect::Lost { to, message } => {
                Effect::Lost { to: names.of(*to), message: (self.message)(message, names) }
            }
            Effect::Reply { .. } | Effect::Publish(_) | Effect::WhenDurable(_) | Effect::Forget(_) => {
                effect.clone()
            }
        }
    }
}
