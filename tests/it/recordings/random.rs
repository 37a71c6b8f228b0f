//! Random runs of any system, recorded: a driver that is no engine. It delivers, loses, doubles and delays what is
//! sent, fires whatever timer is armed, syncs some of what was written, and crashes nodes, all in any order.

use std::collections::BTreeMap;

use coalmine_core::codec::recording::{Header, Line, Step, Took};
use coalmine_core::disk::LossyDisk;
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event, Node, NodeId};
use coalmine_sim::spec::system::{NodeOf, System};

use super::gaps::Lives;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

struct Member<N: Node> {
    config: N::Config,
    host: Option<Host<N>>,
    disk: LossyDisk<N::Record>,
    life: u64,
    /// How far its clock is off, in nanoseconds.
    skew: u64,
    lives: Vec<Vec<Line<N>>>,
}

/// What is under way, to whom and from whom.
type Network<N> = Vec<(NodeId, NodeId, <N as Node>::Message)>;

pub fn random_run<S: System>(
    system: &S,
    protocol: &str,
    random: &mut Random,
    steps: u64,
    crashes: bool,
) -> Vec<Lives<NodeOf<S>>> {
    let mut members = BTreeMap::new();
    for (id, config) in system.members() {
        let (disk, skew) = (LossyDisk::default(), random.below(3) * random.below(40));
        members.insert(id, Member { config, host: None, disk, life: 0, skew, lives: Vec::new() });
    }
    let ids: Vec<_> = members.keys().copied().collect();
    let mut network = Network::<NodeOf<S>>::new();
    let mut asks = system.operations();
    for now in 0..steps {
        let id = ids[random.below(ids.len() as u64) as usize];
        let member = members.get_mut(&id).expect("a member");
        if member.host.is_none() {
            member.boots(id, now, &mut network);
            continue;
        }
        let what = random.below(20);
        if what == 0 && crashes {
            member.crashes(random);
        } else if what < 4 && member.disk.unsynced() > 0 {
            let (durable, unsynced) = (member.disk.durable().len(), member.disk.unsynced());
            let upto = durable + 1 + random.below(unsynced as u64) as usize;
            member.disk.sync(upto);
            member.takes(id, now, Took::Synced(upto as u64), &mut network);
        } else if what < 8
            && let Some(host) = &member.host
            && !host.timers().is_empty()
        {
            let timers: &[<NodeOf<S> as Node>::Timer] = host.timers();
            let timer = timers[random.below(timers.len() as u64) as usize].clone();
            member.takes(id, now, Took::Event(Event::Timer(timer)), &mut network);
        } else if what < 10 && !asks.is_empty() {
            let ask = asks.remove(random.below(asks.len() as u64) as usize);
            if let Some(member) = members.get_mut(&ask.to).filter(|member| member.host.is_some()) {
                let event = Event::Request { id: ask.id, request: ask.request };
                member.takes(ask.to, now, Took::Event(event), &mut network);
            }
        } else if !network.is_empty() {
            let place = random.below(network.len() as u64) as usize;
            let again = random.below(5) == 0;
            let (to, from, message) = if again { network[place].clone() } else { network.swap_remove(place) };
            if let Some(member) = members.get_mut(&to).filter(|member| member.host.is_some()) {
                member.takes(to, now, Took::Event(Event::Message { from, message }), &mut network);
            }
        }
    }
    let lives = members.into_iter().map(|(id, member)| {
        let header = Header::new::<NodeOf<S>>("a random run", protocol, id, 1, &member.config);
        let mut lives = member.lives;
        lives.iter_mut().for_each(|life| life.push(Line::End {}));
        Lives { header, lives }
    });
    lives.filter(|lives| !lives.lives.is_empty()).collect()
}

impl<N: Node> Member<N> {
    fn boots(&mut self, id: NodeId, now: u64, network: &mut Network<N>) {
        self.life += 1;
        self.lives.push(Vec::new());
        let took = Took::Boot { life: self.life, journal: self.disk.journal().into(), torn: None };
        self.takes(id, now, took, network);
    }

    fn crashes(&mut self, random: &mut Random) {
        let keep = random.below(self.disk.unsynced() as u64 + 1);
        self.disk.crash(keep as usize);
        self.host = None;
    }

    fn takes(&mut self, id: NodeId, now: u64, took: Took<N>, network: &mut Network<N>) {
        let (mut choose, mut out) = (|_: u32| 0, Vec::new());
        match (&took, &mut self.host) {
            (Took::Boot { life, journal, .. }, host) => {
                *host = Some(Host::boot(&self.config, journal.journal(), *life, &mut choose, &mut out));
            }
            (Took::Synced(upto), Some(host)) => {
                host.synced(&self.config, self.life, *upto, &mut choose, &mut out);
            }
            (Took::Event(event), Some(host)) => host.step(&self.config, event.clone(), &mut choose, &mut out),
            (Took::Synced(_) | Took::Event(_), None) => panic!("{id} is down"),
        }
        for effect in &out {
            match effect {
                Effect::Append(record) => self.disk.append(record.clone()),
                Effect::Send { to, message } => network.push((*to, id, message.clone())),
                Effect::Reply { .. }
                | Effect::Publish(_)
                | Effect::Observe(_)
                | Effect::SetTimer { .. }
                | Effect::CancelTimer(_)
                | Effect::Forget(_)
                | Effect::Meet { .. }
                | Effect::Part(_)
                | Effect::Lost { .. }
                | Effect::WhenDurable(_) => {}
            }
        }
        // No node asks for a choice here: none of these protocols has one.
        let at = std::time::Duration::from_nanos(1_000 + now * 10 + self.skew);
        let step = Step::new(at, took, Vec::new(), &out);
        self.lives.last_mut().expect("it has booted").push(Line::Step(step));
    }
}
