//! Each fault shown to happen, on a node that is small enough to look at every state.

use std::collections::{HashSet, VecDeque};

use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_core::observation::{History, Invariant, Observation, Witness};

use super::{Action, Kept, Rules, Step, World};
use crate::spec::budget::Budget;
use crate::spec::limits::Limits;
use crate::spec::system::{Operation, System};

/// Writes down every request, then passes it on to the other node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Scribe {
    taken: u8,
}

impl Node for Scribe {
    type Config = NodeId;
    type Message = u8;
    type Timer = ();
    type Record = u8;
    type Request = u8;
    type Reply = ();
    type View = ();
    type Fact = u8;

    fn start(_: &NodeId, disk: &[u8], _: &mut Context<'_, Self>) -> Self {
        Self { taken: disk.len() as u8 }
    }

    fn on(&mut self, other: &NodeId, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Request { request, .. } => {
                self.taken += 1;
                cx.append(request);
                cx.send(*other, request);
                cx.observe(request);
            }
            Event::Message { .. } => self.taken += 1,
            Event::Timer(()) | Event::Durable(_) => {}
        }
    }
}

/// Every request that was taken, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Taken(Vec<u8>);

impl History<Scribe> for Taken {
    fn observe(&mut self, _: NodeId, fact: &u8) {
        self.0.push(*fact);
    }
}

/// Two scribes. Two clients, the first with two requests.
#[derive(Debug)]
struct Scribes;

fn ask(client: u64, sequence: u64, request: u8) -> Operation<Scribe> {
    Operation { to: NodeId(0), id: RequestId { client, sequence }, request }
}

impl System for Scribes {
    type Node = Scribe;
    type History = Taken;

    fn members(&self) -> Vec<(NodeId, NodeId)> {
        vec![(NodeId(0), NodeId(1)), (NodeId(1), NodeId(0))]
    }
    fn operations(&self) -> Vec<Operation<Scribe>> {
        vec![ask(1, 1, 11), ask(1, 2, 12), ask(2, 1, 21)]
    }
    fn inputs(&self) -> Vec<Operation<Scribe>> {
        vec![ask(3, 1, 31), ask(3, 2, 32)]
    }
    fn invariants(&self) -> Vec<Invariant<Scribe, Taken>> {
        Vec::new()
    }
    fn witnesses(&self) -> Vec<Witness<Scribe, Taken>> {
        Vec::new()
    }
    fn converged(&self, _: &Observation<'_, Scribe, Taken>) -> Result<(), String> {
        Ok(())
    }
}

const NOTHING: Limits = Limits::NONE;

/// Takes every transition that there is, each once.
fn explore(limits: Limits, mut each: impl FnMut(&World<Scribes>, &Action<Scribe>, &World<Scribes>)) {
    let rules = Rules::new(Scribes, limits);
    let mut seen = HashSet::from([rules.before_boot()]);
    let mut frontier: VecDeque<_> = seen.iter().cloned().collect();
    while let Some(world) = frontier.pop_front() {
        let mut successors = Vec::new();
        rules.successors(&world, &mut successors);
        for transition in successors {
            each(&world, &transition.action, &transition.next);
            if seen.insert(transition.next.clone()) {
                frontier.push_back(transition.next);
            }
        }
    }
}

#[test]
fn a_wipe_empties_the_disk_between_any_two_effects() {
    let mut points = HashSet::new();
    let mut lost = false;
    explore(Limits { wipes: 1, ..NOTHING }, |before, action, after| {
        let (place, point) = match action {
            Action::Crash { place, kept: Kept::Nothing } => (*place, None),
            Action::Step { place, crash: Some(crash), .. } if crash.kept == Kept::Nothing => {
                (*place, Some(crash.after))
            }
            Action::Step { .. }
            | Action::Crash { .. }
            | Action::Drop(_)
            | Action::Cut { .. }
            | Action::Heal { .. } => {
                assert_eq!(before.spent[Budget::Wipes], after.spent[Budget::Wipes]);
                return;
            }
        };
        points.insert(point);
        assert!(after.slots[place].host.is_none() && after.slots[place].disk.written().is_empty());
        assert_eq!((after.spent[Budget::Wipes], after.spent[Budget::Crashes]), (1, 0));
        lost |= !before.slots[place].disk.durable().is_empty();
    });
    // At rest; before the write; between the write and the message.
    assert_eq!(points, HashSet::from([None, Some(0), Some(1)]));
    assert!(lost);
}

#[test]
fn a_cut_loses_what_is_under_way_and_what_is_sent_until_it_is_healed() {
    let (mut lost, mut swallowed, mut arrived_later, mut both) = (false, false, false, false);
    explore(Limits { cuts: 1, ..NOTHING }, |before, action, after| {
        for packet in &after.packets {
            assert!(!after.cut.contains(&(packet.from, packet.to)), "it is under way on a link that is cut");
        }
        assert_eq!(after.spent[Budget::Drops], 0);
        match action {
            Action::Cut { both_ways, .. } => {
                assert_eq!(after.cut.len(), if *both_ways { 2 } else { 1 });
                assert_eq!(after.spent[Budget::Cuts], 1);
                lost |= before.packets.len() > after.packets.len();
                both |= both_ways;
            }
            Action::Step { step: Step::Ask(_), .. } => {
                let is_cut = before.cut.contains(&(NodeId(0), NodeId(1)));
                swallowed |= is_cut;
                assert_eq!(after.packets.len(), before.packets.len() + usize::from(!is_cut));
            }
            Action::Step { step: Step::Deliver { .. }, .. } => {
                arrived_later |= before.spent[Budget::Cuts] > 0 && before.cut.is_empty();
            }
            Action::Step { .. } | Action::Drop(_) | Action::Crash { .. } | Action::Heal { .. } => {}
        }
    });
    assert!(lost && swallowed && arrived_later && both);
}

#[test]
fn a_request_is_sent_again_only_with_budget() {
    let longest = |limits| {
        let mut longest = Vec::new();
        explore(limits, |_, _, after| {
            let taken = &after.memory.history.0;
            let again = taken.iter().enumerate().filter(|(i, request)| taken[..*i].contains(request)).count();
            assert!(again <= usize::from(limits.retries));
            if taken.len() > longest.len() {
                longest.clone_from(taken);
            }
        });
        longest.len()
    };
    assert_eq!(longest(NOTHING), 3);
    assert_eq!(longest(Limits { retries: 1, ..NOTHING }), 4);
}

/// Each client in its order, clients in any order; each input is told once.
#[test]
fn clients_ask_in_their_order_and_health_turns_bad_within_its_budget() {
    let orders = |limits| {
        let mut orders = HashSet::new();
        explore(limits, |_, _, after| {
            orders.insert(after.memory.history.0.clone());
        });
        orders
    };
    let without: HashSet<_> = orders(NOTHING).into_iter().filter(|order| order.len() == 3).collect();
    let expected = [[11, 12, 21], [11, 21, 12], [21, 11, 12]].map(Vec::from);
    assert_eq!(without, HashSet::from(expected));
    let with = orders(Limits { inputs: 1, ..NOTHING });
    for input in [31, 32] {
        assert!(with.contains(&vec![input]) && with.contains(&vec![11, 12, 21, input]));
    }
    assert!(!with.iter().any(|order| order.contains(&31) && order.contains(&32)));
}
