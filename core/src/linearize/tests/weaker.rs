//! What promises less than linearizability: by definition, tried out, and what follows from what.

use std::collections::BTreeSet;

use super::*;

/// How a [`Call`] is written here: client, what, the answer, when.
type Line = (u64, Ask, Option<Option<u8>>, u64, u64);

fn history(lines: &[Line]) -> Vec<Call<Cell>> {
    let call = |(sequence, &(client, call, answer, began, until)): (u64, &Line)| {
        let returned = answer.map(|answer| (until, answer));
        Call { began, id: id(client, sequence), call, returned }
    };
    let mut calls: Vec<_> = (0..).zip(lines).map(call).collect();
    calls.sort_by_key(|call| (call.began, call.id));
    calls
}

const fn reads(client: u64, value: u8, at: u64) -> Line {
    (client, Ask::Read, Some(Some(value)), at, at + 1)
}

const fn writes(client: u64, value: u8, at: u64) -> Line {
    (client, Ask::Write(value), Some(None), at, at + 1)
}

/// Nobody was ever told.
const fn may_write(client: u64, value: u8, at: u64) -> Line {
    (client, Ask::Write(value), None, at, 0)
}

/// Which promises are kept, each with its first letter: linearizable, sequential, acknowledged is never lost, session,
/// monotonic reads, read your writes.
fn kept(calls: &[Call<Cell>]) -> String {
    let go_on: &mut GoOn<'_> = &mut |_| true;
    let there_is = |found| match found {
        Found::Order(_) | Found::Some => true,
        Found::None => false,
        Found::Stopped => panic!("nobody stops it"),
    };
    let all = [
        ('l', there_is(search(calls, go_on))),
        ('s', there_is(search_by_client(calls, go_on))),
        ('a', lost(calls, go_on).expect("nobody stops it").is_none()),
        ('v', no_view(calls, go_on).expect("nobody stops it").is_none()),
        ('m', reads_go_back(calls).is_none()),
        ('r', writes_are_missed(calls).is_none()),
    ];
    all.iter().filter(|(_, holds)| *holds).map(|(letter, _)| *letter).collect()
}

#[test]
fn each_promise_is_broken_by_what_breaks_it() {
    let cases: [(&str, &[Line], &str); 17] = [
        ("nothing", &[], "lsavmr"),
        ("all as it should be", &[writes(1, 1, 0), reads(2, 1, 2)], "lsavmr"),
        ("a stale read of somebody else", &[writes(1, 1, 0), reads(2, 0, 2)], "svmr"),
        ("a stale read of one's own", &[writes(1, 1, 0), reads(1, 0, 2)], "m"),
        ("what nobody has written", &[reads(1, 3, 0)], ""),
        ("back to what there was", &[writes(1, 1, 0), reads(2, 1, 2), reads(2, 0, 4)], "r"),
        ("back and forth", &[writes(1, 1, 0), writes(1, 2, 2), reads(2, 2, 4), reads(2, 1, 6)], "vmr"),
        (
            "back and forth, but it was written twice",
            &[
                writes(1, 1, 0),
                writes(1, 2, 2),
                writes(3, 1, 3),
                reads(2, 1, 5),
                reads(2, 2, 7),
                reads(2, 1, 9),
            ],
            "savmr",
        ),
        (
            "new and old, while it is written",
            &[(1, Ask::Write(1), Some(None), 0, 9), reads(2, 1, 1), reads(3, 0, 3)],
            "savmr",
        ),
        (
            "two clients that do not agree",
            &[
                writes(1, 1, 0),
                writes(2, 2, 0),
                reads(3, 1, 2),
                reads(3, 2, 4),
                reads(4, 2, 2),
                reads(4, 1, 4),
            ],
            "avmr",
        ),
        ("two of one's own the other way round", &[writes(1, 1, 0), writes(1, 2, 2), reads(1, 1, 4)], "mr"),
        (
            "two of one's own, both last",
            &[writes(1, 1, 0), writes(1, 2, 2), reads(1, 2, 4), reads(1, 1, 6)],
            "m",
        ),
        ("overwritten by somebody", &[writes(1, 1, 0), writes(2, 2, 0), reads(1, 2, 2)], "lsavmr"),
        // A time-out is a maybe, for ever.
        ("seen late", &[may_write(1, 1, 0), reads(2, 0, 5), reads(1, 0, 5), reads(2, 1, 7)], "lsavmr"),
        ("not seen by who was not told", &[may_write(1, 1, 0), reads(1, 0, 5)], "lsavmr"),
        ("seen, and then not", &[may_write(1, 1, 0), reads(2, 1, 5), reads(2, 0, 7)], "ar"),
        // The answer to what was given up is not heard.
        ("given up", &[(1, Ask::Read, Some(Some(1)), 2, 9), reads(1, 0, 4), writes(2, 1, 0)], "svmr"),
    ];
    for (what, lines, expected) in cases {
        assert_eq!(kept(&history(lines)), expected, "{what}");
    }
}

/// The orders in which these may be placed, some of those without an answer left out: each is tried.
fn orders(
    calls: &[&Call<Cell>],
    is_before: &dyn Fn(&Call<Cell>, &Call<Cell>) -> bool,
    explains: &dyn Fn(&Cell, &Call<Cell>) -> Option<Cell>,
    state: &Cell,
) -> bool {
    if calls.iter().all(|call| call.returned.is_none()) {
        return true;
    }
    (0..calls.len()).any(|place| {
        let call = calls[place];
        let mut rest = calls.to_vec();
        rest.remove(place);
        if rest.iter().any(|other| is_before(other, call)) {
            return false;
        }
        explains(state, call).is_some_and(|after| orders(&rest, is_before, explains, &after))
    })
}

fn answers(state: &Cell, call: &Call<Cell>) -> Option<Cell> {
    let mut after = state.clone();
    let answer = after.apply(&call.call);
    call.returned.as_ref().is_none_or(|(_, told)| *told == answer).then_some(after)
}

fn sequential_by_trying(calls: &[Call<Cell>]) -> bool {
    let is_before =
        |one: &Call<Cell>, other: &Call<Cell>| one.id.client == other.id.client && one.is_before(other);
    orders(&calls.iter().collect::<Vec<_>>(), &is_before, &answers, &Cell::default())
}

fn never_lost_by_trying(calls: &[Call<Cell>]) -> bool {
    let is_update = |call: &&Call<Cell>| call.call != Ask::Read;
    let updates: Vec<_> = calls.iter().filter(is_update).collect();
    let reads = calls.iter().filter(|call| call.call == Ask::Read && call.returned.is_some());
    let with = |some: Vec<&Call<Cell>>| {
        orders(&some, &|one, other| one.is_before(other), &answers, &Cell::default())
    };
    with(updates.clone())
        && reads.into_iter().all(|read| with(updates.iter().copied().chain([read]).collect()))
}

/// By the words of Viotti and Vukolić: all orders of all writes, and all that a read may see.
fn by_what_is_seen(calls: &[Call<Cell>], monotonic: bool) -> bool {
    let clients: BTreeSet<u64> = calls.iter().map(|call| call.id.client).collect();
    clients.into_iter().all(|client| {
        let mut session: Vec<usize> = (0..calls.len()).filter(|at| calls[*at].id.client == client).collect();
        session.sort_by_key(|at| (calls[*at].began, calls[*at].id));
        let is_heard = |at: usize| {
            let next = session.iter().skip_while(|other| **other != at).nth(1);
            next.map_or(calls[at].returned.is_some(), |next| calls[at].is_before(&calls[*next]))
        };
        let heard: Vec<usize> = session.iter().copied().filter(|at| is_heard(*at)).collect();
        let writers: Vec<usize> = (0..calls.len()).filter(|at| calls[*at].call != Ask::Read).collect();
        let mut orders = vec![Vec::new()];
        for &writer in &writers {
            let with = |order: Vec<usize>| {
                (0..=order.len()).map(move |at| [&order[..at], &[writer], &order[at..]].concat())
            };
            orders = orders.into_iter().flat_map(with).collect();
        }
        orders.iter().any(|order| {
            // What it may have seen so far, as bits.
            let mut seen = BTreeSet::from([0_u32]);
            let mut own = 0_u32;
            for &at in &heard {
                let call = &calls[at];
                let bit =
                    |of: usize| 1_u32 << writers.iter().position(|writer| *writer == of).expect("a writer");
                if let Some((_, Some(value))) = call.returned {
                    let mut next = BTreeSet::new();
                    for sees in 0..1_u32 << writers.len() {
                        let last = order.iter().rev().find(|writer| sees & bit(**writer) != 0);
                        let written = last.map_or(0, |writer| match calls[*writer].call {
                            Ask::Write(value) | Ask::Swap(value) => value,
                            Ask::Read => unreachable!("it writes"),
                        });
                        // What the session itself does then or later it cannot see.
                        let is_later = |writer: &usize| {
                            *writer == at
                                || calls[*writer].id.client == client && call.is_before(&calls[*writer])
                        };
                        let can_be =
                            !writers.iter().any(|writer| sees & bit(*writer) != 0 && is_later(writer));
                        let follows = if monotonic {
                            seen.iter().any(|before| before & !sees == 0)
                        } else {
                            own & !sees == 0 && !seen.is_empty()
                        };
                        if written == value && can_be && follows {
                            next.insert(sees);
                        }
                    }
                    seen = next;
                }
                if call.call != Ask::Read {
                    own |= bit(at);
                }
            }
            !seen.is_empty()
        })
    })
}

/// Histories of few clients, one of whose calls sometimes goes on while the next begins.
fn of_few_clients() -> impl Strategy<Value = Vec<Call<Cell>>> {
    let ask = prop_oneof![
        3 => Just(Ask::Read),
        2 => (1..3_u8).prop_map(Ask::Write),
        1 => (1..3_u8).prop_map(Ask::Swap)
    ];
    let call = (0..3_u64, ask, prop::option::weighted(0.85, (0..4_u64, 0..3_u8)), 0..3_u64);
    prop::collection::vec(call, 0..7).prop_map(|calls| {
        let mut now = [0_u64; 3];
        let call = |(client, call, returned, wait): (u64, Ask, Option<(u64, u8)>, u64), sequence| {
            let began = now[client as usize] + wait;
            let answer = |told| if matches!(call, Ask::Write(_)) { None } else { Some(told) };
            let returned = returned.map(|(lasts, told)| (began + lasts, answer(told)));
            // Who waits for too long goes on.
            now[client as usize] = began + 1 + returned.map_or(0, |(until, _)| (until - began).min(2));
            Call { began, id: id(client, sequence), call, returned }
        };
        let mut calls: Vec<_> = (0..)
            .zip(calls)
            .map({
                let mut call = call;
                move |(sequence, one)| call(one, sequence)
            })
            .collect();
        calls.sort_by_key(|call: &Call<Cell>| (call.began, call.id));
        calls
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 6_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    /// What is decided is what the definition says, by trying all.
    #[test]
    fn each_is_what_its_definition_says(calls in of_few_clients()) {
        let kept = kept(&calls);
        prop_assert_eq!(kept.contains('s'), sequential_by_trying(&calls), "sequential: {}", kept);
        prop_assert_eq!(kept.contains('a'), never_lost_by_trying(&calls), "never lost: {}", kept);
        prop_assert_eq!(kept.contains('m'), by_what_is_seen(&calls, true), "monotonic reads: {}", kept);
        prop_assert_eq!(kept.contains('r'), by_what_is_seen(&calls, false), "read your writes: {}", kept);
    }

    /// Who promises more promises less, too.
    #[test]
    fn what_is_stronger_implies_what_is_weaker(calls in of_few_clients()) {
        let kept = kept(&calls);
        for (stronger, weaker) in ["ls", "la", "sv", "vm", "vr", "ar"].map(|pair| pair.split_at(1)) {
            prop_assert!(!kept.contains(stronger) || kept.contains(weaker), "{kept}: {stronger}, {weaker}");
        }
    }

    /// Told step by step, the history says at each moment what is said of all of it.
    #[test]
    fn told_step_by_step_they_say_the_same(calls in of_few_clients()) {
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
            let all = [
                ('l', history.are_linearizable()),
                ('s', history.are_sequential()),
                ('a', history.are_never_lost()),
                ('v', history.have_one_view()),
                ('m', history.have_monotonic_reads()),
                ('r', history.read_their_writes()),
            ];
            let holds = all.iter().filter(|(_, it)| it.is_ok()).map(|(letter, _)| *letter);
            prop_assert_eq!(holds.collect::<String>(), kept(&so_far));
        }
    }
}
