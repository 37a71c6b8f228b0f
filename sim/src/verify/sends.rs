//! Which delivery is of which send. Recordings do not say, so a message that arrives is the earliest equal one
//! of its link that has not arrived yet; if all have, it is the last of them once more.

use std::collections::{BTreeMap, VecDeque};

use coalmine_core::node::{Effect, Node, NodeId};

/// What was sent, by its number in the trace.
pub struct Sends<N: Node>(BTreeMap<(NodeId, NodeId, N::Message), Link>);

/// Equal messages on one link.
#[derive(Default)]
struct Link {
    under_way: VecDeque<u64>,
    arrived: Option<u64>,
}

impl<N: Node> Default for Sends<N> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<N: Node> Sends<N> {
    /// A node did this; what it sends is numbered from here.
    pub fn did(&mut self, from: NodeId, effects: &[Effect<N>], mut number: u64) {
        for effect in effects {
            if let Effect::Send { to, message } = effect {
                self.0.entry((from, *to, message.clone())).or_default().under_way.push_back(number);
                number += 1;
            }
        }
    }

    /// A message arrives: which send is it?
    pub fn arrives(&mut self, from: NodeId, to: NodeId, message: &N::Message) -> Option<u64> {
        let link = self.0.get_mut(&(from, to, message.clone()))?;
        link.arrived = link.under_way.pop_front().or(link.arrived);
        link.arrived
    }
}
