//! What a node tells, and the write-ahead rule: whatever is told that rests on a record, the record is durable
//! (Gray, Reuter, *Transaction Processing*, 1993, §9.4).
//!
//! The host keeps this rule for a node that appends before it tells. It cannot know what a message *means*, so a
//! node that tells first and appends later slips through, and nothing else would notice a host, a shell or a
//! disk that lets go too early. Therefore a protocol says which words rest on which records
//! ([`Node::rests_on`]), and every world looks at each word at the moment it leaves: the simulators, the checker
//! and `verify` in the same way, whatever the protocol.

use crate::node::{Effect, Node, Published, Told, Word};
use crate::observation::Invariant;

impl<'a, N: Node> Told<'a, N> {
    /// What an effect tells; `None` if it tells nobody anything.
    pub fn by(effect: &'a Effect<N>) -> Option<Self> {
        match effect {
            Effect::Send { to, message } => Some(Self::Message { to: *to, message }),
            Effect::Reply { to, reply } => Some(Self::Reply { to: *to, reply }),
            Effect::Publish(Published(view)) => Some(Self::View(view)),
            Effect::Observe(fact) => Some(Self::Fact(fact)),
            Effect::Append(_) | Effect::SetTimer { .. } | Effect::CancelTimer(_) | Effect::WhenDurable(_) => {
                None
            }
        }
    }

    /// In words.
    fn tell(&self) -> String {
        match *self {
            Self::Message { to, message } => format!("{to} is told {}", Word::<N>::Message(message).told()),
            Self::Reply { to, reply } => format!("{to} is answered {}", Word::<N>::Reply(reply).told()),
            Self::View(view) => format!("readers see {view:?}"),
            Self::Fact(fact) => format!("it says {}", Word::<N>::Fact(fact).told()),
        }
    }
}

/// The name of the invariant that nobody tells too early.
pub const WRITE_AHEAD: &str = "write-ahead";

/// Nobody has told anything too early; `None` for a node that does not say what rests on what.
pub fn write_ahead<N: Node, H>() -> Option<Invariant<N, H>> {
    N::rests_on().map(|_| Invariant {
        name: WRITE_AHEAD,
        about: "whatever is told that rests on a record, the record is durable",
        source: "Gray, Reuter 1993, §9.4: write-ahead logging",
        check: |now| match now.nodes.iter().find_map(|node| Some((node.id, node.told_early?))) {
            Some((id, why)) => Err(format!("{id} told too early: {why}")),
            None => Ok(()),
        },
    })
}

/// What is wrong with telling this while only these records are durable; `None` if nothing is.
pub fn told_early<N: Node>(
    config: &N::Config,
    effect: &Effect<N>,
    durable: &[N::Record],
) -> Option<Box<str>> {
    let (rests_on, told) = (N::rests_on()?, Told::by(effect)?);
    let missing = rests_on(config, &told, durable).err()?;
    Some(format!("{}, which rests on {missing}, and that is not durable", told.tell()).into())
}
