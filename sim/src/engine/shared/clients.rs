//! Which clients wait for an answer. Each asks again and again, so one that is never answered is either forgotten by
//! the system, which is told and fails the run, or one that the system
//! [owes nothing](crate::spec::system::System::owes_no_answer), which is told.

use std::time::Duration;

use coalmine_core::node::{Node, NodeId, RequestId, Word};

use crate::panics::describe;

/// Clients, in the order in which they began to ask.
#[derive(Debug, Default)]
pub struct Clients(Vec<Waiting>);

#[derive(Debug)]
struct Waiting {
    to: NodeId,
    id: RequestId,
    what: String,
    since: Duration,
    /// Why nobody owes it an answer, if nobody does.
    excuse: Option<&'static str>,
    answered: bool,
}

impl Clients {
    /// A client begins to ask. Returns its number.
    pub fn ask<N: Node>(
        &mut self,
        since: Duration,
        (to, id): (NodeId, RequestId),
        request: &N::Request,
        excuse: Option<&'static str>,
    ) -> usize {
        let what = describe::<N>(Word::Request(request));
        self.0.push(Waiting { to, id, what, since, excuse, answered: false });
        self.0.len() - 1
    }

    /// The client of this number is answered. Returns whom it has asked what.
    pub fn answered(&mut self, client: usize) -> (NodeId, RequestId) {
        let Waiting { to, id, answered, .. } = &mut self.0[client];
        *answered = true;
        (*to, *id)
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
        self.0.iter().filter(|waiting| !waiting.answered)
    }
}

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
