//! *TwoPhase* as actors of stateright: who has a production node to check, and not a specification, begins here.
//!
//! The network is the one without duplicates, with which stateright is faster: the one with them keeps the last
//! message that was delivered. Even so there are more states than the specification has. A message that changes
//! nothing stays under way, so an ABORT that was ignored by one who had aborted by itself tells it from one who
//! heeded it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use stateright::Expectation;
use stateright::actor::{Actor, ActorModel, Id, Network, Out, model_timeout};

/// One of those who take part. The transaction manager has the number 0.
#[derive(Clone)]
pub enum Member {
    Manager { resource_managers: usize },
    ResourceManager,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    Prepared,
    Commit,
    Abort,
}

/// The spontaneous actions of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    Prepare,
    ChooseToAbort,
    ManagerCommit,
    ManagerAbort,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Collecting(BTreeSet<Id>),
    Decided { prepared: BTreeSet<Id>, commit: bool },
    Working,
    Prepared,
    Committed,
    Aborted,
}

impl Actor for Member {
    type Msg = Message;
    type Timer = Timer;
    type State = State;
    type Storage = ();
    type Random = ();

    fn on_start(&self, _id: Id, _storage: &Option<()>, o: &mut Out<Self>) -> State {
        match self {
            Self::Manager { .. } => {
                o.set_timer(Timer::ManagerAbort, model_timeout());
                State::Collecting(BTreeSet::new())
            }
            Self::ResourceManager => {
                o.set_timer(Timer::Prepare, model_timeout());
                o.set_timer(Timer::ChooseToAbort, model_timeout());
                State::Working
            }
        }
    }

    fn on_msg(&self, _id: Id, state: &mut Cow<'_, State>, src: Id, msg: Message, o: &mut Out<Self>) {
        match (self, state.as_ref(), msg) {
            (Self::Manager { resource_managers }, State::Collecting(prepared), Message::Prepared) => {
                let mut prepared = prepared.clone();
                prepared.insert(src);
                if prepared.len() == *resource_managers {
                    o.set_timer(Timer::ManagerCommit, model_timeout());
                }
                *state.to_mut() = State::Collecting(prepared);
            }
            (Self::ResourceManager, State::Working | State::Prepared, Message::Commit | Message::Abort) => {
                if **state == State::Working {
                    o.cancel_timer(Timer::Prepare);
                    o.cancel_timer(Timer::ChooseToAbort);
                }
                *state.to_mut() = if msg == Message::Commit { State::Committed } else { State::Aborted };
            }
            (Self::Manager { .. } | Self::ResourceManager, _, _) => {}
        }
    }

    fn on_timeout(&self, _id: Id, state: &mut Cow<'_, State>, timer: &Timer, o: &mut Out<Self>) {
        match (self, timer) {
            (Self::Manager { resource_managers }, Timer::ManagerCommit | Timer::ManagerAbort) => {
                let State::Collecting(prepared) = state.as_ref() else { return };
                let (prepared, commit) = (prepared.clone(), *timer == Timer::ManagerCommit);
                o.cancel_timer(Timer::ManagerCommit);
                o.cancel_timer(Timer::ManagerAbort);
                let message = if commit { Message::Commit } else { Message::Abort };
                o.broadcast(&(1..=*resource_managers).map(Id::from).collect::<Vec<_>>(), &message);
                *state.to_mut() = State::Decided { prepared, commit };
            }
            (Self::ResourceManager, Timer::Prepare) => {
                o.cancel_timer(Timer::ChooseToAbort);
                o.send(Id::from(0), Message::Prepared);
                *state.to_mut() = State::Prepared;
            }
            (Self::ResourceManager, Timer::ChooseToAbort) => {
                o.cancel_timer(Timer::Prepare);
                *state.to_mut() = State::Aborted;
            }
            (Self::Manager { .. }, Timer::Prepare | Timer::ChooseToAbort)
            | (Self::ResourceManager, Timer::ManagerCommit | Timer::ManagerAbort) => {}
        }
    }
}

/// All of them, and what is asked.
pub fn model(resource_managers: usize) -> ActorModel<Member> {
    fn all_are(members: &[Arc<State>], end: &State) -> bool {
        members.iter().skip(1).all(|state| **state == *end)
    }
    ActorModel::new((), ())
        .actor(Member::Manager { resource_managers })
        .actors((0..resource_managers).map(|_| Member::ResourceManager))
        .init_network(Network::new_unordered_nonduplicating([]))
        .property(Expectation::Always, "consistent", |_, world| {
            let some_are = |end| world.actor_states.iter().any(|state| **state == end);
            !(some_are(State::Committed) && some_are(State::Aborted))
        })
        .property(Expectation::Sometimes, "commits", |_, world| {
            all_are(&world.actor_states, &State::Committed)
        })
        .property(Expectation::Sometimes, "aborts", |_, world| all_are(&world.actor_states, &State::Aborted))
}
