//! The checker is checked: random tiny systems, explored by everything that we have, and by a plain reference.
//!
//! A system is a value, a [`Spec`]: a table for each node, what clients ask, what must hold, and budgets. One drawn
//! from a seed is explored by
//!
//! * [`plain`]: an interpretation of the contract that shares no code with anything here, and visits whole states;
//! * the world's own rules, state by state;
//! * our explorer, with nothing left out, with each reduction alone, with each reduction missing, and as usual;
//! * stateright;
//! * both engines that run plans, which may come nowhere that the plain reference has not been.
//!
//! [`compare`](mod@compare) says where two of them disagree; [`command`] looks for that in many systems, and makes what
//! it finds small. What was found is kept in `found/`.

pub mod command;
pub mod compare;
mod describe;
pub mod draw;
pub mod plain;
pub mod runs;
pub mod settle;
pub mod state;
pub mod system;
pub mod table;
#[cfg(test)]
mod tests;
pub mod view;

use coalmine_core::node::NodeId;
use serde::{Deserialize, Serialize};

use self::table::{Fact, Record, Request, Table};

/// A whole system as a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The tables of n1, n2 and so on.
    pub members: Vec<Table>,
    /// What clients ask, each client in this order.
    pub asks: Vec<Ask>,
    /// What tells members that they are unwell.
    pub inputs: Vec<Ask>,
    /// Whether the order of different nodes' facts is kept.
    pub ordered: bool,
    /// What must never be seen all at once; up to two.
    pub never: Vec<Vec<Atom>>,
    /// What must be seen at rest, beside that all are up.
    pub rest: Vec<Atom>,
    /// The budgets.
    pub budgets: Budgets,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The place of whoever is asked, modulo how many there are.
    pub to: u8,
    /// Who asks.
    pub client: u8,
    /// What.
    pub request: Request,
}

/// Something that can be seen of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Atom {
    /// Whether it must *not* be seen.
    pub not: bool,
    /// The node's place, modulo how many there are.
    pub node: u8,
    /// What.
    pub what: Sight,
}

/// What can be seen of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sight {
    /// It is up, and in this state.
    State(u8),
    /// It is down.
    Down,
    /// So many of its records are durable.
    Durable(u8),
    /// Its durable record with this number, from 0, is this.
    Record(u8, Record),
    /// It has observed this.
    Told(Fact),
    /// Its fact was the one with this number, from 0: among all, if their order is kept, else among its own.
    ToldAs(u8, Fact),
}

/// How much may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "as in the limits of the checker")]
pub struct Budgets {
    pub crashes: u8,
    pub wipes: u8,
    pub cuts: u8,
    pub drops: u8,
    pub duplicates: u8,
    /// None: as many as are armed.
    pub timeouts: Option<u8>,
    pub periodic: u8,
    pub retries: u8,
    pub unhealthy: u8,
    pub late_boots: u8,
    /// Who is down for ever when it is asked whether the system settles.
    pub without: Option<u8>,
    /// Whether records are durable late.
    pub late_disk: bool,
    /// Whether messages stay under way.
    pub persistent: bool,
}

/// How many facts are kept: of each node, or of all if their order is.
pub const FACTS: usize = 3;

/// The name of the node at a place.
pub fn name(place: usize) -> NodeId {
    NodeId(place as u32 + 1)
}

/// The place of a node.
pub fn place(name: NodeId) -> usize {
    name.0 as usize - 1
}
