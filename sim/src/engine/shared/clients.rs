//! Which clients wait for an answer. Each asks again and again, so one that is never answered is either forgotten by
//! the system, which is told and fails the run, or one that the system
//! [owes nothing](crate::spec::system::System::owes_no_answer), which is told.
//!
//! Where clients are [sessions](crate::spec::system::System::SESSIONS) each asks one thing after the other: what it is to ask
//! while it waits comes when it was answered, or has lost its patience.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use coalmine_core::node::{Node, NodeId, RequestId, Word};

use super::CLIENT_PATIENCE;
use crate::panics::describe;
use crate::spec::system::{NodeOf, Operation, System};

/// Clients, in the order in which they began to ask.
pub struct Clients<S: System> {
    asked: Vec<Waiting>,
    sessions: BTreeMap<u64, Session<NodeOf<S>>>,
}

struct Waiting {
    to: NodeId,
    id: RequestId,
    what: String,
    since: Duration,
    /// Why nobody owes it an answer, if nobody does.
    excuse: Option<&'static str>,
    is_over: bool,
}

/// One client.
struct Session<N: Node> {
    /// The number of what it asks now.
    current: Option<usize>,
    /// What it asks then.
    queue: VecDeque<Operation<N>>,
    /// What it was answered so far; nothing where it has given up.
    heard: Vec<Option<N::Reply>>,
}

impl<N: Node> Default for Session<N> {
    fn default() -> Self {
        Self { current: None, queue: VecDeque::new(), heard: Vec::new() }
    }
}

impl<S: System> Default for Clients<S> {
    fn default() -> Self {
        Self { asked: Vec::new(), sessions: BTreeMap::new() }
    }
}

impl<S: System> Clients<S> {
    /// A client is to ask. Returns what it asks now, if it does not wait for anything else, and its number.
    pub fn ask(
        &mut self,
        system: &S,
        since: Duration,
        operation: Operation<NodeOf<S>>,
    ) -> Option<(usize, Operation<NodeOf<S>>)> {
        if !S::SESSIONS {
            return Some(self.begin(system, since, operation));
        }
        let client = operation.id.client;
        let session = self.sessions.entry(client).or_default();
        session.queue.push_back(operation);
        if session.current.is_some() { None } else { self.next(system, since, client) }
    }

    /// What a client asks next that waits for nothing.
    fn next(&mut self, system: &S, since: Duration, client: u64) -> Option<(usize, Operation<NodeOf<S>>)> {
        let session = self.sessions.get_mut(&client)?;
        let mut operation = session.queue.pop_front()?;
        if S::FOLLOWS_UP {
            let heard: Vec<_> = session.heard.iter().map(Option::as_ref).collect();
            let Some(request) = system.follow_up(&operation.request, &heard) else {
                session.queue.clear(); // it asks nothing more
                return None;
            };
            operation.request = request;
        }
        session.current = Some(self.asked.len());
        Some(self.begin(system, since, operation))
    }

    fn begin(
        &mut self,
        system: &S,
        since: Duration,
        operation: Operation<NodeOf<S>>,
    ) -> (usize, Operation<NodeOf<S>>) {
        let Operation { to, id, request } = &operation;
        let what = describe::<NodeOf<S>>(Word::Request(request));
        let excuse = system.owes_no_answer(request);
        self.asked.push(Waiting { to: *to, id: *id, what, since, excuse, is_over: false });
        (self.asked.len() - 1, operation)
    }

    /// Whom the client of this number has asked what.
    pub fn asked(&self, number: usize) -> (NodeId, RequestId) {
        (self.asked[number].to, self.asked[number].id)
    }

    /// The client of this number is answered, or gives up. Returns what it asks next.
    pub fn goes_on(
        &mut self,
        system: &S,
        at: Duration,
        number: usize,
        reply: Option<NodeOfReply<S>>,
    ) -> Option<(usize, Operation<NodeOf<S>>)> {
        self.asked[number].is_over = true;
        let client = self.asked[number].id.client;
        let session = self.sessions.get_mut(&client).filter(|session| session.current == Some(number))?;
        session.current = None;
        session.heard.push(reply);
        self.next(system, at, client)
    }

    /// Whether the client of this number has lost its patience: it has waited long, and has something else to ask.
    pub fn gives_up(&self, at: Duration, number: usize) -> bool {
        let Waiting { id, since, .. } = &self.asked[number];
        let session = self.sessions.get(&id.client).filter(|session| session.current == Some(number));
        session.is_some_and(|session| !session.queue.is_empty())
            && at.saturating_sub(*since) >= CLIENT_PATIENCE
    }

    /// Whether all are answered that must be; `Err` names the first that is not.
    pub fn are_answered(&self) -> Result<(), String> {
        match self.unanswered().find(|waiting| waiting.excuse.is_none()) {
            Some(waiting) => Err(waiting.describe()),
            None => Ok(()),
        }
    }

    /// Those that wait for an answer, in words.
    pub fn describe_unanswered(&self) -> Vec<String> {
        self.unanswered().map(Waiting::describe).collect()
    }

    fn unanswered(&self) -> impl Iterator<Item = &Waiting> {
        self.asked.iter().filter(|waiting| !waiting.is_over)
    }
}

type NodeOfReply<S> = <NodeOf<S> as Node>::Reply;

impl Waiting {
    fn describe(&self) -> String {
        let Self { to, id, what, since, .. } = self;
        let excuse = self.excuse.map_or(String::new(), |why| format!(", as may be: {why}"));
        format!(
            "client {id} was never answered by {to}, whom it has asked since {:.3} s: {what}{excuse}",
            since.as_secs_f64()
        )
    }
}
