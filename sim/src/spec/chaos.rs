//! Plans drawn from the seed, for any system: what clients ask at some time, and every kind of fault.
//!
//! Swarm style (Groce et al., *Swarm Testing*, ISSTA 2012): each seed first draws which kinds of faults it has
//! and how strong they are, then the timeline. A run with a few kinds of faults goes deeper than one with a
//! little of everything.
//!
//! Two faults are left out unless somebody asks for them ([`Chaos::wipes`]), because few systems heal them by
//! themselves: a disk that is wiped; and a record that rots, from which a node refuses to start until somebody gives
//! it another disk.

use coalmine_core::node::{Node, NodeId};
use rand_chacha::ChaCha8Rng;

use crate::spec::faults::{Fault, Shape};
use crate::spec::plan::{Draw, Links, Plan, PlanStep, STEADY_MS, What, When};
use crate::spec::system::{NodeOf, System, member_ids};
use crate::spec::variants;

/// All that [a system's clients ask](System::operations), each at some time, under every kind of fault. It fits
/// in the place of a [scenario's plan](crate::spec::scenario::Scenario::plan).
pub fn chaos<S: System>(system: &S, rng: &mut ChaCha8Rng) -> Plan<NodeOf<S>> {
    let chaos = Chaos::of(system);
    let ask = |operation: crate::spec::system::Operation<_>| PlanStep {
        when: When::AtMs(rng.below(chaos.heal_at_ms)),
        what: What::Ask { to: operation.to, id: operation.id, request: operation.request },
    };
    let asks = system.operations().into_iter().map(ask).collect();
    chaos.plan(asks, rng)
}

/// How a plan is drawn.
#[derive(Clone, Debug)]
pub struct Chaos {
    /// On whom faults fall.
    pub nodes: Vec<NodeId>,
    /// The kinds of messages at whose arrival a crash may be aimed.
    pub messages: Vec<String>,
    /// The kinds of records at whose becoming durable a crash may be aimed.
    pub records: Vec<String>,
    /// Who may lose its disk: it is wiped, or rots and is replaced.
    pub wipes: Vec<NodeId>,
    /// When the faults end, in milliseconds.
    pub heal_at_ms: u64,
    /// How long the system may then take to come to rest.
    pub converge_within_ms: u64,
}

impl Chaos {
    /// Faults on all members of a system; crashes aimed at all kinds of messages and records that serde knows by
    /// the names of their variants.
    pub fn of<S: System>(system: &S) -> Self {
        Self {
            nodes: member_ids(system),
            messages: variants::of::<<NodeOf<S> as Node>::Message>(),
            records: variants::of::<<NodeOf<S> as Node>::Record>(),
            wipes: Vec::new(),
            heal_at_ms: 40_000,
            converge_within_ms: 30_000,
        }
    }

    /// Crashes are aimed at these kinds of messages and records, by the names of their
    /// [variants](coalmine_core::node::variant_name).
    pub fn aimed_at(mut self, messages: &[&str], records: &[&str]) -> Self {
        self.messages = messages.iter().map(ToString::to_string).collect();
        self.records = records.iter().map(ToString::to_string).collect();
        self
    }

    /// These may lose their disks, one in a run.
    pub fn wipes(mut self, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        self.wipes = nodes.into_iter().collect();
        self
    }

    /// A plan of these steps, and faults besides.
    pub fn plan<N: Node>(&self, steps: Vec<PlanStep<N>>, rng: &mut ChaCha8Rng) -> Plan<N> {
        let mut drawn = Drawn { chaos: self, rng, steps };
        // Which kinds of faults this seed has: each a coin, so that every subset comes up.
        if drawn.rng.permille(600) {
            drawn.crashes();
        }
        if drawn.rng.permille(350) {
            drawn.aimed_crashes();
        }
        if drawn.rng.permille(350) {
            drawn.partitions();
        }
        if drawn.rng.permille(250) {
            drawn.bad_links();
        }
        if drawn.rng.permille(250) {
            drawn.bad_disks();
        }
        if drawn.rng.permille(250) {
            drawn.bad_clocks();
        }
        let links = drawn.links();
        if !self.wipes.is_empty() && drawn.rng.permille(250) {
            drawn.wipes();
        }
        let Drawn { steps, .. } = drawn;
        Plan {
            members: None,
            mistake: None,
            links,
            steps,
            heal_at_ms: self.heal_at_ms,
            converge_within_ms: self.converge_within_ms,
            steady_ms: STEADY_MS,
        }
    }
}

/// A plan that is being drawn.
struct Drawn<'a, N: Node> {
    chaos: &'a Chaos,
    rng: &'a mut ChaCha8Rng,
    steps: Vec<PlanStep<N>>,
}

impl<N: Node> Drawn<'_, N> {
    /// At some moment of the safety phase. What is drawn may do nothing, such as cutting nobody off: then it is
    /// left out, but drawn all the same, so that the rest of the plan does not depend on it.
    fn fault(&mut self, fault: Fault) {
        let when = When::AtMs(self.rng.below(self.chaos.heal_at_ms));
        if fault.check(&self.chaos.nodes).is_ok() {
            self.steps.push(PlanStep { when, what: What::Fault(fault) });
        }
    }

    fn node(&mut self) -> NodeId {
        *self.rng.pick(&self.chaos.nodes)
    }

    fn up_to(&mut self, n: u64) -> u64 {
        1 + self.rng.below(n)
    }

    /// Two groups that share no node; either may be empty.
    fn groups(&mut self) -> (Vec<NodeId>, Vec<NodeId>) {
        self.chaos.nodes.iter().partition(|_| self.rng.permille(500))
    }

    fn crashes(&mut self) {
        for _ in 0..self.up_to(6) {
            let node = self.node();
            let down_ms = self.rng.permille(800).then(|| 100 + self.rng.below(10_000));
            self.fault(crash(node, down_ms));
            self.power_fails_after(down_ms);
        }
    }

    /// Crashes at a random time rarely fall between a write and what it releases: these are aimed.
    fn aimed_crashes(&mut self) {
        let Chaos { messages, records, .. } = self.chaos;
        for _ in 0..self.up_to(3) {
            let (node, nth) = (self.node(), self.up_to(3) as u32);
            let at_message = self.rng.permille(500);
            let when = if !messages.is_empty() && (at_message || records.is_empty()) {
                When::Received { node, message: self.rng.pick(messages).clone(), nth }
            } else if !records.is_empty() {
                When::Durable { node, record: self.rng.pick(records).clone(), nth }
            } else {
                return;
            };
            let down_ms = Some(100 + self.rng.below(10_000));
            self.steps.push(PlanStep { when, what: What::Fault(crash(node, down_ms)) });
        }
    }

    /// The power may fail just after a process that was killed is back: what it has found on its disk is at risk until
    /// it has synced it.
    fn power_fails_after(&mut self, down_ms: Option<u64>) {
        let (Some(down_ms), Some(last)) = (down_ms, self.steps.last()) else { return };
        let (When::AtMs(at), What::Fault(Fault::Kill { node, .. })) = (&last.when, &last.what) else {
            return;
        };
        let at = at + down_ms + down_ms % 40 / 4;
        if at < self.chaos.heal_at_ms {
            let fault = Fault::Crash { node: *node, down_ms: Some(down_ms) };
            self.steps.push(PlanStep { when: When::AtMs(at), what: What::Fault(fault) });
        }
    }

    fn partitions(&mut self) {
        for _ in 0..self.up_to(4) {
            let for_ms = 200 + self.rng.below(12_000);
            let (group, others) = self.groups();
            let node = self.node();
            let fault = match self.rng.below(6) {
                0 => Fault::Cut { from: group, to: others, both_ways: false, for_ms },
                5 => Fault::Cut { from: group, to: others, both_ways: true, for_ms },
                1 => Fault::Partition { shape: Shape::Isolate { node }, for_ms },
                2 => Fault::Partition { shape: Shape::Halves { group }, for_ms },
                3 => Fault::Partition { shape: Shape::MajorityRing, for_ms },
                _ => Fault::Partition { shape: Shape::Bridge { node }, for_ms },
            };
            self.fault(fault);
        }
    }

    fn bad_links(&mut self) {
        for _ in 0..self.up_to(4) {
            let for_ms = 200 + self.rng.below(8_000);
            let (from, to) = self.groups();
            let (a, b) = (self.node(), self.node());
            let delay_ms = self.up_to(2_500);
            let fault = match self.rng.below(3) {
                0 => Fault::Clog { from, to, for_ms },
                1 => Fault::SlowLink { from, to, delay_ms, for_ms },
                _ => Fault::Reset { a, b },
            };
            self.fault(fault);
        }
    }

    fn bad_disks(&mut self) {
        for _ in 0..self.up_to(3) {
            let (node, for_ms) = (self.node(), 200 + self.rng.below(8_000));
            let delay_ms = self.up_to(1_500);
            let fault = match self.rng.below(3) {
                0 => Fault::SlowSync { node, delay_ms, for_ms },
                1 => Fault::FailSync { node },
                _ => Fault::DiskFull { node, for_ms },
            };
            self.fault(fault);
        }
    }

    fn bad_clocks(&mut self) {
        for _ in 0..self.up_to(3) {
            let (node, for_ms) = (self.node(), 200 + self.rng.below(10_000));
            let by_ms = self.up_to(10_000);
            let fault = match self.rng.below(4) {
                0 => Fault::Pause { node, for_ms },
                1 => Fault::Clock { node, percent: 10 + self.rng.below(80) as u32, for_ms },
                2 => Fault::Clock { node, percent: 120 + self.rng.below(800) as u32, for_ms },
                _ => Fault::ClockJump { node, by_ms },
            };
            self.fault(fault);
        }
    }

    fn links(&mut self) -> Links {
        let mut some = |most: u64| if self.rng.permille(300) { self.up_to(most) as u32 } else { 0 };
        Links {
            loss_permille: some(200),
            duplicate_permille: some(200),
            delay_permille: some(300),
            delay_ms: some(4_000),
        }
    }

    /// One node in a run, at any time, when a message reaches it, or right after a record is durable: what one disk has
    /// promised, the others may still know.
    fn wipes(&mut self) {
        let Chaos { wipes, messages, records, .. } = self.chaos;
        let node = *self.rng.pick(wipes);
        let fault = Fault::Wipe { node, down_ms: Some(100 + self.rng.below(10_000)) };
        let (how, nth) = (self.rng.below(5), self.up_to(3) as u32);
        let when = match how {
            0 | 1 if !records.is_empty() => {
                When::Durable { node, record: self.rng.pick(records).clone(), nth }
            }
            2 if !messages.is_empty() => {
                When::Received { node, message: self.rng.pick(messages).clone(), nth }
            }
            3 => return self.rots(node, fault),
            _ => return self.fault(fault),
        };
        self.steps.push(PlanStep { when, what: What::Fault(fault) });
    }

    /// A bit of the disk rots. Nobody notices until the node starts from it, and refuses; then it gets another disk.
    fn rots(&mut self, node: NodeId, replaced: Fault) {
        let third = self.chaos.heal_at_ms / 3;
        let [rots, crashes, ends] = [0, 1, 2].map(|part| part * third + self.rng.below(third.max(1)));
        let permille = self.rng.below(1_000) as u32;
        let crash = Fault::Crash { node, down_ms: Some(100 + self.rng.below(3_000)) };
        for (at, fault) in [(rots, Fault::BitRot { node, permille }), (crashes, crash), (ends, replaced)] {
            self.steps.push(PlanStep { when: When::AtMs(at), what: What::Fault(fault) });
        }
    }
}

/// A crash of one kind or the other. Which, the time it is down decides, so that what else is drawn stays what it was.
fn crash(node: NodeId, down_ms: Option<u64>) -> Fault {
    match down_ms {
        Some(down) if down.is_multiple_of(3) => Fault::Kill { node, down_ms },
        Some(_) | None => Fault::Crash { node, down_ms },
    }
}

#[cfg(test)]
mod tests {
    use coalmine_core::twophase::TwoPhase;

    use super::*;
    use crate::spec::plan::Stream;

    /// All steps that a thousand seeds draw.
    fn drawn(chaos: &Chaos) -> Vec<PlanStep<TwoPhase>> {
        let plan = |seed| chaos.plan::<TwoPhase>(Vec::new(), &mut Stream::Plan.of(seed));
        (0..1_000).flat_map(|seed| plan(seed).steps).collect()
    }

    fn chaos() -> Chaos {
        Chaos {
            nodes: [3, 5, 9].map(NodeId).to_vec(),
            messages: Vec::new(),
            records: Vec::new(),
            wipes: Vec::new(),
            heal_at_ms: 1_000,
            converge_within_ms: 1_000,
        }
    }

    fn wiped(steps: &[PlanStep<TwoPhase>]) -> Vec<NodeId> {
        let wiped = |step: &PlanStep<_>| match &step.what {
            What::Fault(Fault::Wipe { node, .. }) => Some(*node),
            What::Fault(_) | What::Ask { .. } => None,
        };
        steps.iter().filter_map(wiped).collect()
    }

    #[test]
    fn only_those_lose_their_disks_who_may() {
        assert!(wiped(&drawn(&chaos())).is_empty());
        let steps = drawn(&chaos().aimed_at(&["Commit"], &["Vote"]).wipes([NodeId(5)]));
        let wiped = wiped(&steps);
        assert!(wiped.len() > 100 && wiped.iter().all(|node| *node == NodeId(5)), "{wiped:?}");
        let lost = |when: fn(&When) -> bool| {
            let is_wipe = |step: &&PlanStep<_>| matches!(step.what, What::Fault(Fault::Wipe { .. }));
            steps.iter().filter(is_wipe).filter(|step| when(&step.when)).count()
        };
        assert!(lost(|when| matches!(when, When::Received { .. })) > 20, "aimed at a message");
        assert!(lost(|when| matches!(when, When::Durable { .. })) > 20, "aimed at a record");
        let rots = |step: &&PlanStep<_>| matches!(step.what, What::Fault(Fault::BitRot { .. }));
        assert!(steps.iter().filter(rots).count() > 20);
    }

    #[test]
    fn what_is_drawn_makes_sense() {
        let chaos = chaos().aimed_at(&["Commit"], &["Collected"]).wipes([NodeId(5)]);
        for nodes in [vec![NodeId(3)], chaos.nodes.clone()] {
            let chaos = Chaos { nodes, wipes: vec![NodeId(3)], ..chaos.clone() };
            for seed in 0..1_000 {
                let plan = chaos.plan::<TwoPhase>(Vec::new(), &mut Stream::Plan.of(seed));
                assert_eq!(plan.check(&chaos.nodes), Ok(()), "seed {seed}");
            }
        }
    }

    #[test]
    fn faults_fall_on_members_and_crashes_are_aimed_at_what_there_is() {
        let members = chaos().nodes;
        for step in drawn(&chaos()) {
            let What::Fault(fault) = &step.what else { panic!("nobody asked: {step:?}") };
            assert!(fault.nodes().iter().all(|node| members.contains(node)), "{step:?}");
            assert!(matches!(step.when, When::AtMs(at) if at < 1_000), "nothing to aim at: {step:?}");
        }
        let aimed = |messages: &[&str], records: &[&str]| {
            let steps = drawn(&chaos().aimed_at(messages, records));
            let count = |is: fn(&When) -> bool| steps.iter().filter(|step| is(&step.when)).count();
            (
                count(|when| matches!(when, When::Received { message, .. } if message == "Commit")),
                count(|when| matches!(when, When::Durable { record, .. } if record == "Vote")),
            )
        };
        assert!(matches!(aimed(&["Commit"], &[]), (100.., 0)));
        assert!(matches!(aimed(&[], &["Vote"]), (0, 100..)));
        assert!(matches!(aimed(&["Commit"], &["Vote"]), (100.., 100..)));
    }
}
