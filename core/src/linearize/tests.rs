use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::ways::side_by_side;
use super::*;
use crate::node::RequestId;

mod weaker;

/// A register that also swaps: what it held is the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Cell(u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Ask {
    Read,
    Write(u8),
    Swap(u8),
}

impl Object for Cell {
    type Call = Ask;
    type Answer = Option<u8>;

    fn apply(&mut self, call: &Ask) -> Option<u8> {
        let Self(held) = self;
        match *call {
            Ask::Read => Some(*held),
            Ask::Write(value) => {
                *held = value;
                None
            }
            Ask::Swap(value) => Some(std::mem::replace(held, value)),
        }
    }

    fn only_reads(call: &Ask) -> bool {
        *call == Ask::Read
    }

    fn overwrites(call: &Ask) -> bool {
        matches!(call, Ask::Write(_))
    }
}

impl Places for Cell {
    type Place = ();
    type Value = u8;

    fn reads(_: &Ask, answer: &Option<u8>) -> Option<((), u8)> {
        Some(((), (*answer)?))
    }

    fn writes(call: &Ask, _: Option<&Option<u8>>) -> Option<((), u8)> {
        match call {
            Ask::Read => None,
            Ask::Write(value) | Ask::Swap(value) => Some(((), *value)),
        }
    }
}

fn id(client: u64, sequence: u64) -> RequestId {
    RequestId { client, sequence }
}

/// Whether some order of some of the calls explains all answers: all orders are tried.
fn by_trying_all(state: &Cell, left: &[&Call<Cell>]) -> bool {
    if left.iter().all(|call| call.returned.is_none()) {
        return true;
    }
    let may_be_next = |it: &Call<Cell>| {
        left.iter().all(|other| other.returned.as_ref().is_none_or(|(until, _)| *until >= it.began))
    };
    (0..left.len()).filter(|&place| may_be_next(left[place])).any(|place| {
        let mut rest = left.to_vec();
        let Call { call, returned, .. } = rest.remove(place);
        let mut after = state.clone();
        let answer = after.apply(call);
        let fits = returned.as_ref().is_none_or(|(_, told)| *told == answer);
        fits && by_trying_all(&after, &rest)
    })
}

fn calls() -> impl Strategy<Value = Vec<Call<Cell>>> {
    let ask = prop_oneof![Just(Ask::Read), (1..4_u8).prop_map(Ask::Write), (1..4_u8).prop_map(Ask::Swap)];
    let call = (0..12_u64, ask, prop::option::weighted(0.8, (0..6_u64, 0..4_u8)));
    prop::collection::vec(call, 0..7).prop_map(|calls| {
        let mut calls: Vec<_> = calls
            .into_iter()
            .zip(1..)
            .map(|((began, call, returned), client)| {
                let answer = |told| if matches!(call, Ask::Write(_)) { None } else { Some(told) };
                let returned = returned.map(|(lasted, told)| (began + lasted, answer(told)));
                Call { began, id: id(client, 1), call, returned }
            })
            .collect();
        calls.sort();
        calls
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_finds_an_order_where_there_is_one(calls in calls()) {
        let expected = by_trying_all(&Cell::default(), &calls.iter().collect::<Vec<_>>());
        prop_assert_eq!(side_by_side(&calls, &mut |_| true).expect("nobody stops it").is_none(), expected);
        match search(&calls, &mut |_| true) {
            Found::None => {
                prop_assert!(!expected);
                let at = unexplained(&calls, &mut |_| true).expect("a time");
                // What came before can be explained, and what came then cannot.
                let before = at.checked_sub(1).map(|before| (before, true));
                for (until, explained) in before.into_iter().chain([(at, false)]) {
                    let mut begun: Vec<_> = calls.iter().filter(|it| it.began <= until).cloned().collect();
                    for call in &mut begun {
                        call.returned = call.returned.filter(|(at, _)| *at <= until);
                    }
                    let found = by_trying_all(&Cell::default(), &begun.iter().collect::<Vec<_>>());
                    prop_assert_eq!(found, explained);
                }
            }
            Found::Some | Found::Stopped => prop_assert!(false, "an order of so few is written down"),
            Found::Order(order) => {
                prop_assert!(expected);
                // The order is one: what it says can be checked call by call.
                let mut cell = Cell::default();
                for (place, &at) in order.iter().enumerate() {
                    let answer = cell.apply(&calls[at].call);
                    let told = calls[at].returned.as_ref();
                    prop_assert!(told.is_none_or(|(_, told)| *told == answer));
                    let ended = |later: &&usize| {
                        let until = calls[**later].returned.as_ref().map(|(until, _)| *until);
                        until.is_some_and(|until| until < calls[at].began)
                    };
                    prop_assert!(!order[place..].iter().any(|later| ended(&later)));
                }
                let missing = |at: &usize| calls[*at].returned.is_some() && !order.contains(at);
                prop_assert!(!(0..calls.len()).any(|at| missing(&at)));
            }
        }
    }

    /// Told step by step, the history says at each moment what a search of all of it says.
    #[test]
    fn a_history_says_the_same_step_by_step(calls in calls()) {
        let mut events: Vec<_> = (0..).zip(&calls).map(|(at, call)| (call.began, 0, at)).collect();
        let until = |(at, call): (usize, &Call<Cell>)| Some((call.returned.as_ref()?.0, 1, at));
        events.extend((0..).zip(&calls).filter_map(until));
        events.sort_unstable();
        let mut history = Calls::<Cell>::default();
        let mut so_far: Vec<Call<Cell>> = Vec::new();
        for (now, (_, kind, at)) in (0..).zip(events) {
            let Call { id, call, returned, .. } = &calls[at];
            if kind == 0 {
                history.begins(*id, call);
                so_far.push(Call { began: now, id: *id, call: *call, returned: None });
            } else {
                let answer = returned.expect("it returns").1;
                history.returns(*id, &answer);
                let mine = so_far.iter_mut().find(|known| known.id == *id).expect("it has begun");
                mine.returned = Some((now, answer));
            }
            let expected = search(&so_far, &mut |_| true) != Found::None;
            prop_assert_eq!(history.are_linearizable().is_ok(), expected);
        }
    }
}

/// A client whose first answer was lost may have heard the second: that it was applied twice is seen.
#[test]
fn an_answer_may_be_lost_and_another_one_heard() {
    let mut history = Calls::<Cell>::default();
    history.begins(id(1, 1), &Ask::Swap(1));
    history.returns(id(1, 1), &Some(0));
    assert_eq!(history.are_linearizable(), Ok(()));
    history.begins(id(1, 1), &Ask::Swap(1));
    history.returns(id(1, 1), &Some(0));
    assert_eq!(history.are_linearizable(), Ok(()), "the same answer again");
    let mut gone_on = history.clone();
    history.returns(id(1, 1), &Some(1));
    let why = history.are_linearizable().expect_err("it was applied twice");
    assert_eq!(why, "no order of these calls explains their answers: c1/1 Swap(1) = Some(1) [0, 1]");
    // Who goes on has heard the first.
    gone_on.begins(id(1, 2), &Ask::Read);
    gone_on.returns(id(1, 1), &Some(1));
    assert_eq!(gone_on.are_linearizable(), Ok(()));
}

/// Histories that order the same calls in the same way are the same, and count as one state.
#[test]
fn what_differs_in_nothing_that_matters_is_the_same() {
    let [mut one, mut other] = [(); 2].map(|()| Calls::<Cell>::default());
    one.begins(id(1, 1), &Ask::Write(1));
    one.begins(id(2, 1), &Ask::Read);
    one.returns(id(1, 1), &None);
    one.returns(id(2, 1), &Some(1));
    other.begins(id(2, 1), &Ask::Read);
    other.begins(id(1, 1), &Ask::Write(1));
    other.returns(id(2, 1), &Some(1));
    other.returns(id(1, 1), &None);
    assert_eq!(one, other);
    other.begins(id(3, 1), &Ask::Read);
    one.begins(id(3, 1), &Ask::Read);
    assert_eq!(one, other);
}

/// Ten thousand calls of twenty clients, some of which nobody ever answers.
#[test]
fn a_long_history_is_no_matter() {
    let mut calls: Vec<Call<Cell>> = Vec::new();
    let mut cell = Cell::default();
    for number in 0..10_000_u64 {
        let call = match number % 7 {
            0 | 3 => Ask::Write((number % 250) as u8),
            1 => Ask::Swap((number % 251) as u8),
            _ => Ask::Read,
        };
        let answer = cell.apply(&call);
        let returned = (number % 1_000 != 5).then_some((number * 10 + 60, answer));
        calls.push(Call { began: number * 10, id: id(number % 20, number), call, returned });
    }
    assert!(matches!(search(&calls, &mut |_| true), Found::Order(order) if order.len() >= 9_990));
    // Among twenty at a time as well.
    let mut wide = calls.clone();
    for call in &mut wide {
        call.returned = call.returned.map(|(_, answer)| (call.began + 200, answer));
    }
    assert!(matches!(search(&wide, &mut |_| true), Found::Order(_) | Found::Some));
    calls[9_000].returned = Some((9_000 * 10 + 60, Some(255)));
    calls[9_000].call = Ask::Read;
    assert_eq!(search(&calls, &mut |_| true), Found::None);
    assert_eq!(unexplained(&calls, &mut |_| true), Some(9_000 * 10 + 60));
    let mut asked = 0;
    let mut stop = |_: usize| {
        asked += 1;
        asked < 3
    };
    assert_eq!(search(&calls, &mut stop), Found::Stopped);
}

/// Adds, and says that it overwrites.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Adds(u8);

impl Object for Adds {
    type Call = u8;
    type Answer = ();

    fn apply(&mut self, call: &u8) {
        self.0 += call;
    }

    fn overwrites(_: &u8) -> bool {
        true
    }
}

/// A specification that says of itself what is not so decides nothing.
#[test]
#[should_panic(expected = "a call that overwrites has left Adds(3), and elsewhere Adds(1)")]
fn what_does_not_overwrite_is_told() {
    let call =
        |call: u8| Call { began: 0, id: id(call.into(), 1), call, returned: Some((u64::from(call), ())) };
    let _: Option<Option<u64>> = side_by_side::<Adds>(&[call(1), call(2)], &mut |_| true);
}
