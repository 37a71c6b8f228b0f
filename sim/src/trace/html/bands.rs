//! What is broken, for as long as it is: from the step of a fault to the first step after its end.

use std::time::Duration;

use coalmine_core::node::NodeId;

use super::page::{Band, BandKind, Step};
use crate::spec::faults::{Directions, Fault, directions};
use crate::trace::text::describe_cut;

/// The bands of a run, as it is read.
pub struct Bands {
    members: Vec<NodeId>,
    all: Vec<Broken>,
}

struct Broken {
    kind: BandKind,
    text: String,
    nodes: Vec<NodeId>,
    links: Directions,
    step: usize,
    from: Duration,
    until: Duration,
}

impl Bands {
    /// Nothing is broken among these.
    pub fn new(members: &[NodeId]) -> Self {
        Self { members: members.to_vec(), all: Vec::new() }
    }

    /// A fault begins, at this step. Those that do not last leave no band.
    pub fn begin(&mut self, fault: &Fault, step: usize, from: Duration) {
        let node_of = |node: &NodeId| (vec![*node], Directions::new());
        let links = |links: Directions| (Vec::new(), links);
        let (kind, (nodes, links), for_ms) = match fault {
            Fault::Cut { from, to, both_ways, for_ms } => {
                (BandKind::Cut, links(directions(from, to, *both_ways)), for_ms)
            }
            Fault::Partition { shape, for_ms } => (BandKind::Cut, links(shape.cuts(&self.members)), for_ms),
            Fault::Clog { from, to, for_ms } => (BandKind::Clog, links(directions(from, to, false)), for_ms),
            Fault::SlowLink { from, to, for_ms, .. } => {
                (BandKind::SlowLink, links(directions(from, to, false)), for_ms)
            }
            Fault::Pause { node, for_ms } => (BandKind::Pause, node_of(node), for_ms),
            Fault::Clock { node, for_ms, .. } => (BandKind::Clock, node_of(node), for_ms),
            Fault::SlowSync { node, for_ms, .. } => (BandKind::SlowDisk, node_of(node), for_ms),
            Fault::DiskFull { node, for_ms } => (BandKind::FullDisk, node_of(node), for_ms),
            Fault::Crash { .. }
            | Fault::Kill { .. }
            | Fault::Wipe { .. }
            | Fault::ClockJump { .. }
            | Fault::Reset { .. }
            | Fault::Frame { .. }
            | Fault::FailSync { .. }
            | Fault::BitRot { .. } => return,
        };
        if nodes.is_empty() && links.is_empty() {
            return; // a group is empty
        }
        let until = from + Duration::from_millis(*for_ms);
        self.all.push(Broken { kind, text: fault.describe(), nodes, links, step, from, until });
    }

    /// A link is cut, at this step, until it is [mended](Self::mend).
    pub fn cut(&mut self, from: NodeId, to: NodeId, both_ways: bool, step: usize, at: Duration) {
        let links = directions(&[from], &[to], both_ways);
        self.push_cut(describe_cut(from, to, both_ways), links, step, at);
    }

    fn push_cut(&mut self, text: String, links: Directions, step: usize, from: Duration) {
        let (kind, nodes, until) = (BandKind::Cut, Vec::new(), Duration::MAX);
        self.all.push(Broken { kind, text, nodes, links, step, from, until });
    }

    /// One direction of a link is mended, at this step.
    pub fn mend(&mut self, from: NodeId, to: NodeId, step: usize, at: Duration) {
        let is_it = |it: &&mut Broken| it.until == Duration::MAX && it.links.contains(&(from, to));
        let Some(cut) = self.all.iter_mut().find(is_it) else { return };
        cut.until = at;
        // The other direction goes on alone.
        let rest: Directions = cut.links.iter().copied().filter(|link| *link != (from, to)).collect();
        if let Some(&(from, to)) = rest.first() {
            self.push_cut(describe_cut(from, to, false), rest, step, at);
        }
    }

    /// The life of a node ends, and with it what makes it stand still.
    pub fn ends_life(&mut self, node: NodeId, at: Duration) {
        for it in self.all.iter_mut().filter(|it| it.kind == BandKind::Pause && it.nodes == [node]) {
            it.until = it.until.min(at);
        }
    }

    /// All is healed.
    pub fn heal(&mut self, at: Duration) {
        for it in &mut self.all {
            it.until = it.until.min(at);
        }
    }

    /// What they came to, in a run of these steps.
    pub fn finish(self, steps: &[Step], lane: impl Fn(NodeId) -> usize) -> Vec<Band> {
        let nanos = |at: Duration| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let to_band = |it: Broken| {
            let until_ns = nanos(it.until);
            let after = steps[it.step..].partition_point(|step| step.at_ns.unwrap_or(0) < until_ns);
            Band {
                kind: it.kind,
                text: it.text,
                lanes: it.nodes.into_iter().map(&lane).collect(),
                links: it.links.into_iter().map(|(from, to)| (lane(from), lane(to))).collect(),
                from: it.step,
                to: Some(it.step + after).filter(|&to| to < steps.len()),
                for_ns: nanos(it.until - it.from),
            }
        };
        self.all.into_iter().map(to_band).collect()
    }
}
