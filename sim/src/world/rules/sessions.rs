//! What clients may ask, and what they take in: see [`clients`](crate::world::clients).

use coalmine_core::node::{Node, RequestId, Word};
use coalmine_core::observation::{Heard, Observation};

use super::Rules;
use crate::panics::describe;
use crate::spec::system::{NodeOf, Operation, System};
use crate::world::Spent;
use crate::world::clients::{Ask, Clients, Known};

impl<S: System> Rules<S> {
    /// The number of the operation with this name.
    fn operation_of(&self, id: RequestId) -> Option<usize> {
        self.requests[..self.operations].iter().position(|operation| operation.id == id)
    }

    /// The operations of the same client before this one.
    fn before(&self, index: usize) -> impl Iterator<Item = usize> {
        let client = self.requests[index].id.client;
        (0..index).filter(move |earlier| self.requests[*earlier].id.client == client)
    }

    /// Clients take in what they hear.
    pub(crate) fn tell(&self, clients: &mut Clients<NodeOf<S>>, heard: &Heard<NodeOf<S>>) {
        if !S::SESSIONS {
            return;
        }
        match heard {
            Heard::Fact(_) => {}
            Heard::Call { id, .. } => {
                let Some(index) = self.operation_of(*id) else { return };
                match clients.0.get_mut(&index) {
                    Some(known) => {
                        if let Known::SentOn(to) = *known {
                            *known = Known::Waits(Some(to));
                        }
                    }
                    None => {
                        self.before(index).for_each(|earlier| clients.leaves(earlier, S::FOLLOWS_UP));
                        if self.is_latest(clients, index) {
                            clients.0.insert(index, Known::Waits(None));
                        }
                    }
                }
            }
            Heard::Reply { to, reply } => {
                let known = self.operation_of(*to).and_then(|index| clients.0.get_mut(&index));
                let Some(known @ (Known::Waits(_) | Known::SentOn(_))) = known else { return };
                if NodeOf::<S>::is_not_yet(reply) {
                    return; // it asks again, as one that hears nothing
                }
                *known = match NodeOf::<S>::instead(reply).filter(|id| self.is_member(*id)) {
                    Some(instead) => Known::SentOn(instead),
                    None => Known::Answered(S::FOLLOWS_UP.then(|| reply.clone())),
                };
            }
        }
    }

    /// Whether no later operation of the same client was asked.
    fn is_latest(&self, clients: &Clients<NodeOf<S>>, index: usize) -> bool {
        let client = |index: usize| self.requests[index].id.client;
        clients.0.keys().all(|known| *known <= index || client(*known) != client(index))
    }

    /// How a request may be sent now, if it may.
    pub(crate) fn ask(
        &self,
        spent: &Spent,
        clients: &Clients<NodeOf<S>>,
        index: usize,
    ) -> Option<Ask<NodeOf<S>>> {
        let is_sent_on = matches!(clients.0.get(&index), Some(Known::SentOn(_)));
        if is_sent_on || self.may_ask(spent, index) { self.as_known(clients, index) } else { None }
    }

    /// How a client would send a request now, as far as it knows.
    fn as_known(&self, clients: &Clients<NodeOf<S>>, index: usize) -> Option<Ask<NodeOf<S>>> {
        let (to, sent_on) = match clients.0.get(&index) {
            Some(Known::SentOn(to)) => (*to, true),
            Some(Known::Waits(Some(at))) => (*at, false),
            Some(Known::Waits(None) | Known::Answered(_) | Known::GivenUp) | None => {
                (self.requests[index].to, false)
            }
        };
        Some(Ask { index, to, request: self.request(clients, index)?, sent_on })
    }

    /// What an operation asks, if its client can ask it.
    fn request(&self, clients: &Clients<NodeOf<S>>, index: usize) -> Option<<NodeOf<S> as Node>::Request> {
        let Operation { request, .. } = &self.requests[index];
        if !S::FOLLOWS_UP || index >= self.operations {
            return Some(request.clone());
        }
        let heard = self.before(index).map(|earlier| match clients.0.get(&earlier) {
            Some(Known::Answered(reply)) => reply.as_ref(),
            Some(Known::Waits(_) | Known::SentOn(_) | Known::GivenUp) | None => None,
        });
        self.system.follow_up(request, &heard.collect::<Vec<_>>())
    }

    /// What clients ask again, who still wait for an answer that somebody owes them.
    pub(crate) fn waiting(&self, clients: &Clients<NodeOf<S>>) -> Vec<Ask<NodeOf<S>>> {
        let waits = clients.0.iter().filter(|(_, known)| matches!(known, Known::Waits(_) | Known::SentOn(_)));
        let asks = waits.filter_map(|(&index, _)| self.as_known(clients, index));
        let is_owed = |ask: &Ask<NodeOf<S>>| {
            self.limits.without != Some(ask.to) && self.system.owes_no_answer(&ask.request).is_none()
        };
        asks.filter(is_owed).collect()
    }

    /// Whether nobody waits for an answer that must have come by now.
    pub(crate) fn are_answered(
        &self,
        clients: &Clients<NodeOf<S>>,
        now: &Observation<'_, NodeOf<S>, S::History>,
    ) -> Result<(), String> {
        match self.waiting(clients).first() {
            Some(ask) if self.system.owes_answers(now) => {
                let id = self.requests[ask.index].id;
                let what = describe::<NodeOf<S>>(Word::Request(&ask.request));
                Err(format!("client {id} is never answered by {}: {what}", ask.to))
            }
            Some(_) | None => Ok(()),
        }
    }
}
