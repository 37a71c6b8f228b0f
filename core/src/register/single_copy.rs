//! One copy of the register: what all others must look like. With more than one server there are several
//! registers that know nothing of each other, which is not linearizable.

use super::{Config, Member, Message, NOTHING, Server, Value};
use crate::node::{Context, NodeId};

/// The copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SingleCopy(Value);

impl Server for SingleCopy {
    type Message = ();

    fn start(_: &Config) -> Self {
        Self(NOTHING)
    }

    fn on(
        &mut self,
        _: &Config,
        from: NodeId,
        message: Message<Self::Message>,
        cx: &mut Context<'_, Member<Self>>,
    ) {
        match message {
            Message::Put(number, value) => {
                self.0 = value;
                cx.send(from, Message::PutOk(number));
            }
            Message::Get(number) => cx.send(from, Message::GetOk(number, self.0)),
            Message::PutOk(_) | Message::GetOk(..) | Message::Internal(()) => {}
        }
    }
}
