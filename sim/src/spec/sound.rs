//! What must be true of a system before anything of it runs: asked in one place, for both engines and the checker, so
//! that no world takes what another refuses. What must be true of a plan besides says [`Plan::check`].
//!
//! [`Plan::check`]: crate::spec::plan::Plan::check

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use coalmine_core::codec::round_trip;
use coalmine_core::form::Form;
use coalmine_core::node::{Data, Node, NodeId, RequestId};

use crate::spec::faults::names;
use crate::spec::system::{NodeOf, Operation, System, invariants_of, member_ids};
use crate::spec::verdict::{NEVER_PANICS, SETTLES};

/// What members may be called: a number is half of an address of the simulated network.
pub const IDS: RangeInclusive<u32> = 0..=u16::MAX as u32;

/// The [members] of a system whose properties have names of their own; `Err` names what is wrong.
pub fn system<S: System>(system: &S) -> Result<Vec<NodeId>, String> {
    properties(system)?;
    let configs = system.members();
    for (place, (_, config)) in configs.iter().enumerate() {
        serde_json::to_value(config)
            .map_err(|why| format!("members[{place}]: its configuration cannot be written as JSON: {why}"))?;
    }
    let members = distinct(configs.into_iter().map(|(id, _)| id).collect())?;
    for id in &members {
        for (place, record) in system.first_disk(*id).iter().enumerate() {
            round_trip(S::Node::FORM, "the record", record)
                .map_err(|why| format!("first_disk({id})[{place}]: {why}"))?;
        }
    }
    Ok(members)
}

/// The members of a system, if there are some and each has a name of its own; `Err` names what is wrong.
pub fn members<S: System>(system: &S) -> Result<Vec<NodeId>, String> {
    distinct(member_ids(system))
}

fn distinct(members: Vec<NodeId>) -> Result<Vec<NodeId>, String> {
    if members.is_empty() {
        return Err("members: this system has none".into());
    }
    for (place, id) in members.iter().enumerate() {
        if !IDS.contains(&id.0) {
            return Err(format!("members[{place}]: {id} is not in n{}..=n{}", IDS.start(), IDS.end()));
        }
        if let Some(first) = members[..place].iter().position(|other| other == id) {
            return Err(format!("members[{place}]: {id} is members[{first}] already"));
        }
    }
    Ok(members)
}

/// Verdicts, capsules and exit codes name a property: no two have one name, and none has that of one built in.
fn properties<S: System>(system: &S) -> Result<(), String> {
    let invariants = invariants_of(system).into_iter().map(|it| ("invariants", it.name));
    let witnesses = system.witnesses().into_iter().map(|it| ("witnesses", it.name));
    let mut known = BTreeMap::from([(NEVER_PANICS, "built in"), (SETTLES, "built in")]);
    for (list, name) in invariants.chain(witnesses) {
        if name.is_empty() || name.contains(|c: char| c.is_control() || "/\\".contains(c)) {
            return Err(format!(
                "{list}: {name:?} is no name: it is empty, or has a slash or a control character"
            ));
        }
        if let Some(other) = known.insert(name, list) {
            return Err(format!(
                "{list}: {name:?} is the name of two properties, the other is among: {other}"
            ));
        }
    }
    Ok(())
}

/// What clients may ask of these members, and what tells them something from outside; `Err` names the operation.
pub fn operations<S: System>(system: &S, members: &[NodeId]) -> Result<(), String> {
    let mut requests = Requests::default();
    let lists = [("operations", system.operations()), ("inputs", system.inputs())];
    for (list, operations) in lists {
        for (place, Operation::<NodeOf<S>> { to, id, request }) in operations.into_iter().enumerate() {
            let checked = is_member(to, members).and_then(|()| requests.add(S::Node::FORM, id, request));
            checked.map_err(|why| format!("{list}[{place}]: {why}"))?;
        }
    }
    Ok(())
}

/// How many members an error names.
const NAMED: usize = 16;

/// Whether somebody is a member.
pub fn is_member(node: NodeId, members: &[NodeId]) -> Result<(), String> {
    if members.contains(&node) {
        return Ok(());
    }
    let some = names(&members[..members.len().min(NAMED)]);
    let more =
        if members.len() > NAMED { format!(" and {} more", members.len() - NAMED) } else { String::new() };
    Err(format!("{node} is not a member of this system; there are: {some}{more}"))
}

/// What was asked under which name: a name stands for one request, however often it is sent.
#[derive(Debug)]
pub struct Requests<R>(BTreeMap<RequestId, R>);

impl<R> Default for Requests<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R: Data> Requests<R> {
    /// Asks this under this name; `Err` if the name stands for something else, or if what arrives is not what is asked.
    pub fn add(&mut self, form: Form, id: RequestId, request: R) -> Result<(), String> {
        round_trip(form, "the request", &request)?;
        match self.0.get(&id).filter(|known| **known != request) {
            Some(known) => Err(format!("{id} is {request:?}, but stands for {known:?} already")),
            None => {
                self.0.insert(id, request);
                Ok(())
            }
        }
    }
}
