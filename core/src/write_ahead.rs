//! The write-ahead rule: where a node's output rests on a record, the record is durable before the output leaves
//! (Gray, Reuter, *Transaction Processing*, 1993, §9.4).
//!
//! The host keeps this rule for a node that appends before it sends. It cannot know what a message *means*, so a
//! node that sends first and appends later slips through, and nothing else would notice a host, a shell or a
//! disk that lets go too early. Therefore a protocol says which words rest on which records
//! ([`Node::rests_on`]), and every world looks at each word at the moment it leaves: the simulators, the checker
//! and `verify` in the same way, whatever the protocol.

use crate::node::{Effect, Node, Output, Published, Word};
use crate::observation::Invariant;

impl<'a, N: Node> Output<'a, N> {
    /// What leaves the node by this effect; `None` if nothing does.
    pub fn of(effect: &'a Effect<N>) -> Option<Self> {
        match effect {
            Effect::Send { to, message } => Some(Self::Message { to: *to, message }),
            Effect::Reply { to, reply } => Some(Self::Reply { to: *to, reply }),
            Effect::Publish(Published(view)) => Some(Self::View(view)),
            Effect::Observe(fact) => Some(Self::Fact(fact)),
            Effect::Append(_) | Effect::SetTimer { .. } | Effect::CancelTimer(_) => None,
            Effect::WhenDurable(_) | Effect::Forget(_) => None,
            Effect::Meet { .. } | Effect::Part(_) | Effect::Lost { .. } => None,
        }
    }

    /// In words.
    fn describe(&self) -> String {
        match *self {
            Self::Message { to, message } => {
                format!("{to} is told {}", Word::<N>::Message(message).describe())
            }
            Self::Reply { to, reply } => format!("{to} is answered {}", Word::<N>::Reply(reply).describe()),
            Self::View(view) => format!("readers see {view:?}"),
            Self::Fact(fact) => format!("it says {}", Word::<N>::Fact(fact).describe()),
        }
    }
}

/// The name of the invariant.
pub const WRITE_AHEAD: &str = "write-ahead";

/// Nothing has left a node too early; `None` for a node that does not say what rests on what.
pub fn invariant<N: Node, H>() -> Option<Invariant<N, H>> {
    N::rests_on().map(|_| Invariant {
        name: WRITE_AHEAD,
        about: "whatever is told that rests on a record, the record is durable",
        source: "Gray, Reuter 1993, §9.4: write-ahead logging",
        check: |now| match now.nodes.iter().find_map(|node| Some((node.id, node.early_output?))) {
            Some((id, why)) => Err(format!("{id} told too early: {why}")),
            None => Ok(()),
        },
    })
}

/// What is wrong with letting this out while only these records are durable; `None` if nothing is.
pub fn early_output<N: Node>(
    config: &N::Config,
    effect: &Effect<N>,
    durable: &[N::Record],
) -> Option<Box<str>> {
    let (rests_on, output) = (N::rests_on()?, Output::of(effect)?);
    let missing = rests_on(config, &output, durable).err()?;
    Some(format!("{}, which rests on {missing}, and that is not durable", output.describe()).into())
}
