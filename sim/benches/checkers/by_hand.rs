//! *TwoPhase* as a user of stateright writes it down who thinks in the specification: one plain value for the
//! whole world (Gray, Lamport, *Consensus on Transaction Commit*, TODS 2006, appendix).

use std::collections::BTreeSet;

use stateright::{Model, Property};

/// So many resource managers, and one transaction manager.
pub struct TwoPhase {
    pub resource_managers: usize,
}

/// The variables of the specification.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// `rmState`.
    resource_managers: Vec<ResourceManager>,
    /// `tmState`.
    manager: Manager,
    /// `tmPrepared`.
    seen: Vec<bool>,
    /// `msgs`, which only grows.
    messages: BTreeSet<Message>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ResourceManager {
    Working,
    Prepared,
    Committed,
    Aborted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Manager {
    Init,
    Committed,
    Aborted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Message {
    Prepared(usize),
    Commit,
    Abort,
}

/// The actions of the specification, by their names there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    TmRcvPrepared(usize),
    TmCommit,
    TmAbort,
    RmPrepare(usize),
    RmChooseToAbort(usize),
    RmRcvCommitMsg(usize),
    RmRcvAbortMsg(usize),
}

impl Model for TwoPhase {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            resource_managers: vec![ResourceManager::Working; self.resource_managers],
            manager: Manager::Init,
            seen: vec![false; self.resource_managers],
            messages: BTreeSet::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.manager == Manager::Init {
            if state.seen.iter().all(|seen| *seen) {
                actions.push(Action::TmCommit);
            }
            actions.push(Action::TmAbort);
        }
        for (id, resource_manager) in state.resource_managers.iter().enumerate() {
            if state.manager == Manager::Init && state.messages.contains(&Message::Prepared(id)) {
                actions.push(Action::TmRcvPrepared(id));
            }
            if *resource_manager == ResourceManager::Working {
                actions.push(Action::RmPrepare(id));
                actions.push(Action::RmChooseToAbort(id));
            }
            if state.messages.contains(&Message::Commit) {
                actions.push(Action::RmRcvCommitMsg(id));
            }
            if state.messages.contains(&Message::Abort) {
                actions.push(Action::RmRcvAbortMsg(id));
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::TmRcvPrepared(id) => next.seen[id] = true,
            Action::TmCommit => {
                next.manager = Manager::Committed;
                next.messages.insert(Message::Commit);
            }
            Action::TmAbort => {
                next.manager = Manager::Aborted;
                next.messages.insert(Message::Abort);
            }
            Action::RmPrepare(id) => {
                next.resource_managers[id] = ResourceManager::Prepared;
                next.messages.insert(Message::Prepared(id));
            }
            Action::RmChooseToAbort(id) | Action::RmRcvAbortMsg(id) => {
                next.resource_managers[id] = ResourceManager::Aborted;
            }
            Action::RmRcvCommitMsg(id) => next.resource_managers[id] = ResourceManager::Committed,
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn all_are(state: &State, end: ResourceManager) -> bool {
            state.resource_managers.iter().all(|it| *it == end)
        }
        vec![
            Property::always("consistent", |_, state: &State| {
                let some_are = |end| state.resource_managers.contains(&end);
                !(some_are(ResourceManager::Committed) && some_are(ResourceManager::Aborted))
            }),
            Property::sometimes("commits", |_, state: &State| all_are(state, ResourceManager::Committed)),
            Property::sometimes("aborts", |_, state: &State| all_are(state, ResourceManager::Aborted)),
        ]
    }
}
