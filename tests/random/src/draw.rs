//! Draws systems: strategies, so that what disagrees is made small by itself.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::table::{Fact, Found, Message, On, Op, Record, Request, Rule, Table, Timer, To};
use crate::{Ask, Atom, Budgets, Sight, Spec};

/// The system with this number, of those that follow from a seed.
pub fn draw(seed: u64, number: u64) -> Box<dyn ValueTree<Value = Spec>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
    Box::new(SPECS.with(|specs| specs.new_tree(&mut runner)).expect("nothing is filtered"))
}

thread_local! {
    static SPECS: BoxedStrategy<Spec> = specs().boxed();
}

fn one_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> + Clone {
    select(all)
}

fn specs() -> impl Strategy<Value = Spec> {
    let members = prop_oneof![1 => vec(tables(), 1), 6 => vec(tables(), 2), 2 => vec(tables(), 3)];
    let asks = prop_oneof![3 => Just(0_usize..=0), 4 => Just(1..=1), 1 => Just(2..=2)]
        .prop_flat_map(|n| vec(asks(), n));
    let inputs = vec(asks_of(0..=3), 0..=1);
    let never = vec(vec(atoms(), 1..=3), 1..=2);
    let rest = prop_oneof![1 => vec(atoms(), 0..=0), 2 => vec(atoms(), 1..=2)];
    (members, asks, inputs, any::<bool>(), never, rest, budgets()).prop_map(
        |(members, asks, inputs, ordered, never, rest, mut budgets)| {
            budgets.unhealthy = budgets.unhealthy.min(inputs.len() as u8);
            Spec { members, asks, inputs, ordered, never, rest, budgets }
        },
    )
}

fn tables() -> impl Strategy<Value = Table> {
    let boot = |found| rules(Just(None), Just(On::Boot(found)), 1..=4);
    let found = one_of(&[Found::OneR, Found::OneS, Found::ManyR, Found::ManyS]);
    let reboot = rules(Just(None), found.prop_map(On::Boot), 0..=3);
    let from = prop_oneof![2 => Just(None), 3 => (0_u8..=2).prop_map(Some)];
    let other = rules(from, on(), 0..=4);
    let round = proptest::option::weighted(0.3, rounds());
    (boot(Found::Nothing), vec(reboot, 0..=2), vec(other, 2..=6), round).prop_map(
        |(mut boot, reboot, other, round)| {
            let mut table = Vec::new();
            if let Some((timer, rules)) = round {
                boot.ops.push(Op::Arm(timer));
                table.extend(rules);
            }
            table.insert(0, boot);
            table.extend(reboot);
            table.extend(other);
            table
        },
    )
}

/// Rules by which a timer takes a node from state to state, in some of them by chance: whether that comes to rest is
/// what random rules seldom ask.
fn rounds() -> impl Strategy<Value = (Timer, Vec<Rule>)> {
    let go = prop_oneof![
        4 => (0_u8..=2).prop_map(|to| vec![Op::Goto(to)]),
        1 => (0_u8..=2, 0_u8..=2)
            .prop_map(|(one, other)| vec![Op::Choose(vec![vec![Op::Goto(one)], vec![Op::Goto(other)]])]),
    ];
    let again = proptest::bool::weighted(0.9);
    (one_of(Timer::ALL), vec((go, again), 3)).prop_map(|(timer, go)| {
        let rule = |(from, (mut ops, again)): (u8, (Vec<Op>, bool))| {
            ops.extend(again.then_some(Op::Arm(timer)));
            Rule { from: Some(from), on: On::Timer(timer), ops }
        };
        (timer, (0..).zip(go).map(rule).collect())
    })
}

fn rules(
    from: impl Strategy<Value = Option<u8>>,
    on: impl Strategy<Value = On>,
    ops: std::ops::RangeInclusive<usize>,
) -> impl Strategy<Value = Rule> {
    (from, on, vec(ops_and_choices(), ops)).prop_map(|(from, on, ops)| Rule { from, on, ops })
}

fn on() -> impl Strategy<Value = On> {
    prop_oneof![
        5 => one_of(Message::ALL).prop_map(On::Message),
        3 => one_of(Timer::ALL).prop_map(On::Timer),
        2 => one_of(Request::ALL).prop_map(On::Request),
        1 => (0_u8..=1).prop_map(On::Durable),
    ]
}

fn ops_and_choices() -> impl Strategy<Value = Op> {
    prop_oneof![
        40 => ops(),
        4 => vec(vec(ops(), 0..=2), 2..=2).prop_map(Op::Choose),
        1 => Just(Op::Panic),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    let to =
        prop_oneof![5 => (0_u8..=2).prop_map(To::Member), 2 => Just(To::Sender), 1 => Just(To::Stranger)];
    prop_oneof![
        4 => (0_u8..=2).prop_map(Op::Goto),
        4 => (to.clone(), one_of(Message::ALL)).prop_map(|(to, message)| Op::Send(to, message)),
        2 => (to, one_of(Message::ALL)).prop_map(|(to, message)| Op::SendAtOnce(to, message)),
        3 => one_of(Record::ALL).prop_map(Op::Append),
        3 => one_of(Fact::ALL).prop_map(Op::Observe),
        3 => one_of(Timer::ALL).prop_map(Op::Arm),
        1 => one_of(Timer::ALL).prop_map(Op::Disarm),
        1 => (0_u8..=1).prop_map(Op::WhenDurable),
        1 => Just(Op::Reply),
        1 => Just(Op::ReplyAtOnce),
        2 => Just(Op::Forget),
        1 => Just(Op::GotoLife),
        1 => Just(Op::Publish),
    ]
}

fn asks() -> impl Strategy<Value = Ask> {
    asks_of(0..=1)
}

fn asks_of(clients: std::ops::RangeInclusive<u8>) -> impl Strategy<Value = Ask> {
    (0_u8..=2, clients, one_of(Request::ALL)).prop_map(|(to, client, request)| Ask { to, client, request })
}

fn atoms() -> impl Strategy<Value = Atom> {
    let what = prop_oneof![
        4 => (0_u8..=2).prop_map(Sight::State),
        1 => Just(Sight::Down),
        2 => (0_u8..=2).prop_map(Sight::Durable),
        2 => (0_u8..=1, one_of(Record::ALL)).prop_map(|(at, record)| Sight::Record(at, record)),
        2 => one_of(Fact::ALL).prop_map(Sight::Told),
        2 => (0_u8..=1, one_of(Fact::ALL)).prop_map(|(at, fact)| Sight::ToldAs(at, fact)),
    ];
    (proptest::bool::weighted(0.25), 0_u8..=2, what).prop_map(|(not, node, what)| Atom { not, node, what })
}

/// A few kinds of faults, not a little of everything: spaces stay small, and what a fault alone can do is seen.
fn budgets() -> impl Strategy<Value = Budgets> {
    let kind = prop_oneof![
        4 => Just(0), 1 => Just(1), 1 => Just(2), 1 => Just(3), 1 => Just(4), 3 => Just(5), 1 => Just(6), 1 => Just(7),
        1 => Just(8), 1 => Just(9), 4 => Just(10),
    ];
    let some = vec((kind, 1_u8..=2), 1..=3);
    let without = proptest::option::weighted(0.1, 0_u8..=2);
    (some, any::<bool>(), proptest::bool::weighted(0.15), without).prop_map(
        |(some, late_disk, persistent, without)| {
            let mut of = Budgets { timeouts: Some(0), late_disk, persistent, without, ..Budgets::default() };
            for (kind, amount) in some {
                match kind {
                    0 => of.crashes = amount,
                    1 => of.wipes = amount,
                    2 => of.cuts = amount,
                    3 => of.drops = amount,
                    4 => of.duplicates = amount,
                    5 => of.timeouts = Some(amount),
                    6 => of.periodic = amount,
                    7 => of.retries = amount,
                    8 => of.unhealthy = amount,
                    10 => of.late_boots = amount,
                    _ => of.timeouts = None,
                }
            }
            of
        },
    )
}
