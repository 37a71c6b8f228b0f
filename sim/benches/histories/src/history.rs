//! Histories that are drawn: clients that call one after the other, and one copy of a service that answers each call at
//! some time between its beginning and its end.

use std::hash::Hash;

use coalmine_core::linearize::{Call, Object};
use coalmine_core::node::RequestId;

/// Numbers that are the same everywhere (xorshift).
pub struct Draw(u64);

impl Draw {
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % most
    }
}

/// A service of which histories are drawn.
pub trait Service: Object<Call: Copy, Answer: Copy> {
    /// What a client asks.
    fn draw(draw: &mut Draw) -> Self::Call;

    /// What it is about: calls about different things can be judged apart.
    fn about(_call: &Self::Call) -> u8 {
        0
    }
}

/// How much the clients do at once.
#[derive(Clone, Copy)]
pub enum Load {
    /// All are always waiting for an answer.
    Busy,
    /// Each pauses for nine times as long as it waits.
    Calm,
}

const CLIENTS: usize = 20;

/// So many calls of twenty clients. If it is broken, somebody reads in the last tenth what had been true long before, and
/// at no time while it waits.
pub fn draw<S: Service>(load: Load, number: usize, is_broken: bool) -> Vec<Call<S>> {
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let mut free = [0_u64; CLIENTS];
    let mut calls = Vec::with_capacity(number);
    for sequence in 0..number as u64 {
        let client = (0..CLIENTS).min_by_key(|client| free[*client]).unwrap_or_default();
        let waits = 100 + draw.below(400);
        let pause = match load {
            Load::Busy => draw.below(20),
            Load::Calm => draw.below(2 * 9 * 300),
        };
        let began = free[client] + 1 + pause;
        let until = began + waits;
        let effect = began + draw.below(waits + 1);
        free[client] = until;
        calls.push((effect, sequence, client as u64, began, until, S::draw(&mut draw)));
    }
    calls.sort_by_key(|call| (call.0, call.1));
    let mut states = vec![S::default()];
    let mut history = Vec::with_capacity(number);
    for (effect, sequence, client, began, until, call) in calls {
        let mut state = states[states.len() - 1].clone();
        let answer = state.apply(&call);
        states.push(state);
        let id = RequestId { client, sequence };
        history.push((effect, Call { began, id, call, returned: Some((until, answer)) }));
    }
    if is_broken {
        break_one(&mut history, &states);
    }
    let mut history: Vec<Call<S>> = history.into_iter().map(|(_, call)| call).collect();
    history.sort_by_key(|call| (call.began, call.id));
    history
}

fn break_one<S: Service>(history: &mut [(u64, Call<S>)], states: &[S]) {
    for at in history.len() * 9 / 10..history.len() {
        let Call { began, call, returned, .. } = history[at].1.clone();
        let Some((until, _)) = returned else { continue };
        if !S::only_reads(&call) {
            continue;
        }
        // What it could have read, whatever took effect when.
        let from = history.partition_point(|(effect, _)| effect + 500 < began);
        let to = history.partition_point(|(effect, _)| *effect <= until + 500);
        let could: Vec<S::Answer> =
            states[from..=to].iter().map(|state| state.clone().apply(&call)).collect();
        let old = states[..from].iter().rev().map(|state| state.clone().apply(&call));
        if let Some(answer) = old.into_iter().find(|answer| !could.contains(answer)) {
            history[at].1.returned = Some((until, answer));
            return;
        }
    }
    panic!("no read could be broken");
}

/// A register of few values or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Register<const VALUES: u64>(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    Read,
    Write(u64),
    Cas(u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Held {
    Value(u64),
    Done(bool),
}

impl<const VALUES: u64> Object for Register<VALUES> {
    type Call = Access;
    type Answer = Held;

    fn apply(&mut self, call: &Access) -> Held {
        match *call {
            Access::Read => Held::Value(self.0),
            Access::Write(value) => {
                self.0 = value;
                Held::Done(true)
            }
            Access::Cas(from, to) => {
                let fits = self.0 == from;
                self.0 = if fits { to } else { self.0 };
                Held::Done(fits)
            }
        }
    }

    fn only_reads(call: &Access) -> bool {
        *call == Access::Read
    }

    fn changed_nothing(call: &Access, answer: &Held) -> bool {
        match call {
            Access::Read => true,
            Access::Write(_) => false,
            Access::Cas(from, to) => *answer == Held::Done(false) || from == to,
        }
    }

    fn overwrites(call: &Access) -> bool {
        matches!(call, Access::Write(_))
    }
}

impl<const VALUES: u64> Service for Register<VALUES> {
    fn draw(draw: &mut Draw) -> Access {
        match draw.below(3) {
            0 => Access::Read,
            1 => Access::Write(1 + draw.below(VALUES)),
            _ => Access::Cas(1 + draw.below(VALUES), 1 + draw.below(VALUES)),
        }
    }
}

/// Ten registers of few values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kv([Register<5>; 10]);

impl Object for Kv {
    type Call = (u8, Access);
    type Answer = Held;

    fn apply(&mut self, (key, call): &(u8, Access)) -> Held {
        self.0[usize::from(*key)].apply(call)
    }

    fn only_reads((_, call): &(u8, Access)) -> bool {
        <Register<5> as Object>::only_reads(call)
    }

    fn changed_nothing((_, call): &(u8, Access), answer: &Held) -> bool {
        <Register<5> as Object>::changed_nothing(call, answer)
    }

    /// Keys are judged one by one.
    fn overwrites((_, call): &(u8, Access)) -> bool {
        <Register<5> as Object>::overwrites(call)
    }
}

impl Service for Kv {
    fn draw(draw: &mut Draw) -> (u8, Access) {
        (draw.below(10) as u8, Register::<5>::draw(draw))
    }

    fn about((key, _): &(u8, Access)) -> u8 {
        *key
    }
}

/// Five accounts, between which money is moved if there is enough; whoever looks sees all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bank([u8; 5]);

impl Default for Bank {
    fn default() -> Self {
        Self([10; 5])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deal {
    Look,
    Move { from: u8, to: u8, amount: u8 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Receipt {
    Held([u8; 5]),
    Moved(bool),
}

impl Object for Bank {
    type Call = Deal;
    type Answer = Receipt;

    fn apply(&mut self, call: &Deal) -> Receipt {
        match *call {
            Deal::Look => Receipt::Held(self.0),
            Deal::Move { from, to, amount } => {
                let can = self.0[usize::from(from)] >= amount;
                if can {
                    self.0[usize::from(from)] -= amount;
                    self.0[usize::from(to)] += amount;
                }
                Receipt::Moved(can)
            }
        }
    }

    fn only_reads(call: &Deal) -> bool {
        *call == Deal::Look
    }

    fn changed_nothing(call: &Deal, answer: &Receipt) -> bool {
        *call == Deal::Look || *answer == Receipt::Moved(false)
    }
}

impl Service for Bank {
    fn draw(draw: &mut Draw) -> Deal {
        if draw.below(2) == 0 {
            return Deal::Look;
        }
        let [from, to] = [(); 2].map(|()| draw.below(5) as u8);
        Deal::Move { from, to, amount: 1 + draw.below(10) as u8 }
    }
}
