//! Clients: each asks one thing, again and again until it is answered or gives up, and then the next.

use coalmine_core::node::{Event, Node, NodeId, RequestId, Word};

use super::{Engine, Task};
use crate::engine::shared::{CLIENT_PAUSE, CLIENT_TIMEOUT};
use crate::panics::describe;
use crate::spec::system::{NodeOf, Operation, System};

/// Who asks something.
pub struct Client<N: Node> {
    /// The place of the node that is asked.
    pub to: usize,
    id: RequestId,
    request: N::Request,
    /// How often it has asked.
    attempt: u32,
    /// The node's life that has its request.
    taken_by: Option<u64>,
    answered: bool,
}

impl<S: System> Engine<'_, S> {
    /// A client begins to ask.
    pub(super) fn ask(&mut self, to: NodeId, id: RequestId, request: <NodeOf<S> as Node>::Request) {
        let Self { recorder, agenda, system, .. } = self;
        let begins = recorder.asked(system, agenda.time(), Operation { to, id, request });
        self.begin(begins);
    }

    /// A client begins to ask, if there is something.
    fn begin(&mut self, begins: Option<(usize, Operation<NodeOf<S>>)>) {
        let Some((number, Operation { to, id, request })) = begins else { return };
        debug_assert_eq!(number, self.clients.len(), "both count the same clients");
        let to = self.place(to);
        self.clients.push(Client { to, id, request, attempt: 0, taken_by: None, answered: false });
        self.attempt(self.clients.len() - 1);
    }

    fn attempt(&mut self, client: usize) {
        let it = &mut self.clients[client];
        it.attempt += 1;
        let again = Task::Retry { client, attempt: it.attempt };
        self.agenda.after(self.network_state.latency(), Task::Request { client });
        self.agenda.after(CLIENT_TIMEOUT + CLIENT_PAUSE, again);
    }

    /// A client asks again, unless it was answered or has asked again meanwhile.
    pub(super) fn retry(&mut self, client: usize, attempt: u32) {
        let it = &mut self.clients[client];
        if it.answered || it.attempt != attempt {
            return;
        }
        let now = self.agenda.time();
        if self.recorder.gives_up(now, client) {
            it.answered = true;
            let begins = self.recorder.given_up(&self.system, now, client);
            return self.begin(begins);
        }
        self.attempt(client);
    }

    /// A request arrives at its node. A node that is down refuses the connection.
    pub(super) fn take_request(&mut self, client: usize) {
        let it = &mut self.clients[client];
        let place = &self.places[it.to];
        if it.answered {
            return;
        }
        if place.host.is_none() {
            let again = Task::Retry { client, attempt: it.attempt };
            return self.agenda.after(CLIENT_PAUSE, again);
        }
        it.taken_by = Some(place.life);
        let (to, id, request) = (it.to, it.id, it.request.clone());
        self.step(to, Event::Request { id, request }, None);
    }

    /// A node answers: whoever waits for it hears it.
    pub(super) fn reply(&mut self, place: usize, id: RequestId, reply: &<NodeOf<S> as Node>::Reply) {
        let life = self.places[place].life;
        for (client, it) in self.clients.iter_mut().enumerate() {
            if it.to == place && it.id == id && it.taken_by == Some(life) && !it.answered {
                it.taken_by = None;
                let answer = Task::Answer { client, reply: reply.clone() };
                self.agenda.after(self.network_state.latency(), answer);
            }
        }
    }

    /// A client is answered; if that means "not yet", it asks again, and if it is sent to another member, that one.
    pub(super) fn answered(&mut self, client: usize, reply: &<NodeOf<S> as Node>::Reply) {
        let it = &mut self.clients[client];
        let place_of = |node| self.places.iter().position(|it| it.id == node);
        let instead = NodeOf::<S>::instead(reply).and_then(place_of);
        if !it.answered && (instead.is_some() || NodeOf::<S>::is_not_yet(reply)) {
            it.to = instead.unwrap_or(it.to);
            let again = Task::Retry { client, attempt: it.attempt };
            return self.agenda.after(CLIENT_PAUSE, again);
        }
        if !std::mem::replace(&mut it.answered, true) {
            let what = describe::<NodeOf<S>>(Word::Reply(reply));
            let now = self.agenda.time();
            let begins = self.recorder.answered(&self.system, now, client, (&what, Some(reply)));
            self.begin(begins);
        }
    }

    /// A node is gone: the clients that wait for it notice, and ask again.
    pub(super) fn hang_up(&mut self, place: usize) {
        for (client, it) in self.clients.iter_mut().enumerate() {
            if it.to == place && it.taken_by.take().is_some() && !it.answered {
                let again = Task::Retry { client, attempt: it.attempt };
                self.agenda.after(CLIENT_PAUSE, again);
            }
        }
    }
}
