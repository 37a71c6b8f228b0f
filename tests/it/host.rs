//! The promises of the host, on a small node that does as it is told: a request is a script of effects. Any
//! script, any disk, any order of events.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use coalmine_core::disk::Journal;
use coalmine_core::host::Host;
use coalmine_core::node::{Context, Effect, Event, Node, NodeId, Published, RequestId};
use coalmine_core::order::Order;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde::{Deserialize, Serialize};

/// What the node is told to do. Each word that leaves carries a number that says when it was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Act {
    Append,
    Send,
    Reply,
    Observe,
    Publish,
    Arm(u8),
    Disarm(u8),
    Ask,
    Choose(u32),
    SendAtOnce,
    ReplyAtOnce,
    PublishAtOnce,
    /// All records but the last.
    Forget,
}

/// Numbers everything it does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Puppet {
    said: u64,
    fired: Vec<u8>,
    told_durable: Vec<u64>,
    chose: Vec<u32>,
}

impl Node for Puppet {
    type Config = ();
    type Message = u64;
    type Timer = u8;
    type Record = u64;
    type Request = Vec<Act>;
    type Reply = u64;
    type View = u64;
    type Fact = u64;

    fn start(_: &(), disk: &[u64], cx: &mut Context<'_, Self>) -> Self {
        cx.observe(disk.len() as u64);
        Self { said: 0, fired: Vec::new(), told_durable: Vec::new(), chose: Vec::new() }
    }

    fn on(&mut self, (): &(), event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Message { .. } => {}
            Event::Timer(timer) => self.fired.push(timer),
            Event::Durable(token) => {
                self.told_durable.push(token);
                self.act(Act::Observe, cx);
            }
            Event::Request { request, .. } => request.into_iter().for_each(|act| self.act(act, cx)),
        }
    }
}

impl Puppet {
    fn act(&mut self, act: Act, cx: &mut Context<'_, Self>) {
        self.said += 1;
        let number = self.said;
        match act {
            Act::Append => {
                cx.append(number);
            }
            Act::Send => cx.send(NodeId(2), number),
            Act::Reply => cx.reply(ASKER, number),
            Act::Observe => cx.observe(number),
            Act::Publish => cx.publish(number),
            Act::Arm(timer) => cx.set_timer(timer, Duration::from_millis(number)),
            Act::Disarm(timer) => cx.cancel_timer(timer),
            Act::Ask => cx.when_durable(number),
            Act::Choose(n) => self.chose.push(cx.choose(n)),
            Act::SendAtOnce => cx.send_at_once(NodeId(2), number),
            Act::ReplyAtOnce => cx.reply_at_once(ASKER, number),
            Act::PublishAtOnce => cx.publish_at_once(number),
            Act::Forget => cx.forget(cx.last_record()),
        }
    }
}

const ASKER: RequestId = RequestId { client: 1, sequence: 1 };

/// A host, and what has become of its effects.
struct Stage {
    host: Host<Puppet>,
    /// The numbers of the records, in the order in which they were written.
    journal: Vec<u64>,
    /// The numbers of the words that left, in the order in which they left.
    left: Vec<u64>,
}

impl Stage {
    fn boot(journal: Vec<u64>, incarnation: u64) -> Self {
        let mut out = Vec::new();
        let host = Host::boot(&(), &journal, incarnation, &mut |_: u32| 0, &mut out);
        assert_eq!(out, [Effect::Observe(journal.len() as u64)], "nothing is written yet, so nothing waits");
        Self { host, journal, left: Vec::new() }
    }

    fn ask(&mut self, script: &[Act]) {
        self.step(Event::Request { id: ASKER, request: script.to_vec() });
    }

    fn step(&mut self, event: Event<Puppet>) {
        let mut out = Vec::new();
        self.host.step(&(), event, &mut |n: u32| n - 1, &mut out);
        self.take(out);
    }

    fn synced(&mut self, incarnation: u64, upto: u64) {
        let mut out = Vec::new();
        self.host.synced(&(), incarnation, upto, &mut |n: u32| n - 1, &mut out);
        self.take(out);
    }

    fn take(&mut self, out: Vec<Effect<Puppet>>) {
        for effect in out {
            match effect {
                Effect::Append(number) => self.journal.push(number),
                Effect::Send { message: number, .. }
                | Effect::Reply { reply: number, .. }
                | Effect::Publish(Published(number))
                | Effect::Observe(number) => self.speak(number),
                Effect::SetTimer { .. } | Effect::CancelTimer(_) | Effect::Forget(_) => {}
                Effect::Meet { .. } | Effect::Part(_) | Effect::Lost { .. } => {}
                Effect::WhenDurable(_) => panic!("no driver sees a token"),
            }
        }
    }

    /// A word leaves. All that was written before it was spoken must be on disk.
    fn speak(&mut self, number: u64) {
        let before = self.journal.iter().filter(|&&record| record < number).count() as u64;
        let durable = self.host.durable();
        assert!(before <= durable, "word {number} left at {durable} of {before} records it waits for");
        self.left.push(number);
    }
}

#[derive(Clone, Debug)]
enum Move {
    Script(Vec<Act>),
    Fire(u8),
    /// So many more records become durable, if there are.
    Sync(u64),
    /// The disk answers a former life.
    Late(u64),
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Append),
        3 => Just(Act::Send),
        1 => Just(Act::Reply),
        1 => Just(Act::Observe),
        1 => Just(Act::Publish),
        2 => (0..3_u8).prop_map(Act::Arm),
        1 => (0..3_u8).prop_map(Act::Disarm),
        2 => Just(Act::Ask),
        1 => (1..9_u32).prop_map(Act::Choose),
    ]
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => prop::collection::vec(acts(), 0..8).prop_map(Move::Script),
        2 => (0..3_u8).prop_map(Move::Fire),
        3 => (0..4_u64).prop_map(Move::Sync),
        1 => (0..40_u64).prop_map(Move::Late),
    ];
    prop::collection::vec(one, 0..24)
}

/// Runs a property with the same cases every time.
fn check<S: Strategy>(strategy: S, property: impl Fn(S::Value)) {
    let config = ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() };
    let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    let verdict = TestRunner::new_with_rng(config, rng).run(&strategy, |value| {
        property(value);
        Ok(())
    });
    if let Err(failure) = verdict {
        panic!("{failure}");
    }
}

/// In any run: every word leaves once, in the order in which it was spoken, and not before all that was
/// written before it is durable; and once everything is, nothing waits any more.
#[test]
fn words_leave_in_order_and_only_after_what_they_wait_for() {
    check((prop::collection::vec(Just(0), 0..3), moves()), |(journal, moves)| {
        let mut stage = Stage::boot(journal, 2);
        let mut spoken = 0;
        for one in moves {
            match one {
                Move::Script(script) => {
                    let words = |act: &&Act| {
                        matches!(act, Act::Send | Act::Reply | Act::Observe | Act::Publish | Act::Ask)
                    };
                    spoken += script.iter().filter(words).count();
                    stage.ask(&script);
                }
                Move::Fire(timer) => stage.step(Event::Timer(timer)),
                Move::Sync(more) => {
                    let upto = (stage.host.durable() + more).min(stage.host.written());
                    stage.synced(2, upto);
                }
                Move::Late(upto) => stage.synced(1, upto),
            }
            assert_eq!(stage.host.written(), stage.journal.len() as u64, "an append never waits");
            assert!(stage.left.is_sorted_by(|a, b| a < b), "out of order: {:?}", stage.left);
            assert!(stage.host.held() == 0 || stage.host.durable() < stage.host.written());
        }
        let (before, written) = (stage.left.len(), stage.host.written());
        stage.synced(2, written);
        assert!(before <= stage.left.len());
        // An answered question makes the puppet say one word more: as many words as were spoken.
        assert_eq!((stage.left.len(), stage.host.held()), (spoken, 0));
        let tokens = &stage.host.node().told_durable;
        assert!(tokens.is_sorted_by(|a, b| a < b), "answers out of order: {tokens:?}");
    });
}

/// Timers follow a plain set: they never wait for the disk, fire once, and a firing that comes after the
/// timer was disarmed is ignored.
#[test]
fn timers_follow_a_set_and_do_not_wait() {
    check(moves(), |moves| {
        let mut stage = Stage::boot(Vec::new(), 1);
        let (mut armed, mut fired) = (BTreeSet::new(), Vec::new());
        for one in moves {
            match one {
                Move::Script(script) => {
                    for act in &script {
                        match act {
                            Act::Arm(timer) => drop(armed.insert(*timer)),
                            Act::Disarm(timer) => drop(armed.remove(timer)),
                            Act::Append
                            | Act::Send
                            | Act::Reply
                            | Act::Observe
                            | Act::Publish
                            | Act::Ask
                            | Act::Choose(_)
                            | Act::SendAtOnce
                            | Act::ReplyAtOnce
                            | Act::PublishAtOnce
                            | Act::Forget => {}
                        }
                    }
                    stage.ask(&script);
                }
                Move::Fire(timer) => {
                    if armed.remove(&timer) {
                        fired.push(timer);
                    }
                    stage.step(Event::Timer(timer));
                }
                Move::Sync(_) | Move::Late(_) => {} // the disk never answers
            }
            assert!(stage.host.timers().iter().eq(&armed), "{:?} are armed", stage.host.timers());
            assert_eq!(stage.host.node().fired, fired);
        }
    });
}

#[test]
fn a_disarmed_timer_that_is_not_armed_is_not_told() {
    let mut host = Stage::boot(Vec::new(), 1).host;
    let mut out = Vec::new();
    let script = vec![Act::Disarm(1), Act::Arm(1), Act::Append, Act::Disarm(1)];
    host.step(&(), Event::Request { id: ASKER, request: script }, &mut |_: u32| 0, &mut out);
    let armed = Effect::SetTimer { timer: 1, delay: Duration::from_millis(2).into() };
    assert_eq!(out, [armed, Effect::Append(3), Effect::CancelTimer(1)], "timers pass a write under way");
}

/// What leaves at once passes what waits, and keeps its place among what does not.
#[test]
fn what_leaves_at_once_passes_what_waits() {
    let script = [
        Act::Send,
        Act::Append,
        Act::Send,
        Act::SendAtOnce,
        Act::Reply,
        Act::ReplyAtOnce,
        Act::Append,
        Act::Publish,
        Act::PublishAtOnce,
    ];
    assert_eq!(leaves(Order::Safe, &script), [vec![1, 4, 6, 9], vec![3, 5, 8]]);
    // Nothing waits: then it is as if they did not say so.
    assert_eq!(leaves(Order::NothingWaits, &script), [vec![1, 3, 4, 5, 6, 8, 9], vec![]]);
    // Nor does a write of an earlier step hold it back, or a question.
    let mut out = Vec::new();
    let mut host = Host::<Puppet>::boot(&(), &[], 1, &mut |_: u32| 0, &mut out);
    out.clear();
    for script in [vec![Act::Append], vec![Act::Send, Act::SendAtOnce], vec![Act::Ask, Act::SendAtOnce]] {
        host.step(&(), Event::Request { id: ASKER, request: script }, &mut |_: u32| 0, &mut out);
    }
    let sent = |message| Effect::Send { to: NodeId(2), message };
    assert_eq!(out, [Effect::Append(1), sent(3), sent(5)]);
}

/// What may vanish waits for the records before it, as a message does: no total is forgotten for before it is there.
#[test]
fn to_forget_waits_for_the_disk() {
    let mut out = Vec::new();
    let journal = [7, 8];
    let left = Journal { forgotten: 3, records: &journal[..] };
    let mut host = Host::<Puppet>::boot(&(), left, 1, &mut |_: u32| 0, &mut out);
    assert_eq!((host.written(), host.durable()), (5, 5), "what has vanished is counted");
    let ask = |script: &[Act]| Event::Request { id: ASKER, request: script.to_vec() };
    out.clear();
    host.step(&(), ask(&[Act::Forget, Act::Append, Act::Forget]), &mut |_: u32| 0, &mut out);
    assert_eq!(out, [Effect::Forget(5), Effect::Append(2)]);
    out.clear();
    host.synced(&(), 1, 6, &mut |_: u32| 0, &mut out);
    assert_eq!(out, [Effect::Forget(6)]);
}

#[test]
fn the_disk_answers_only_the_life_that_wrote() {
    let mut stage = Stage::boot(vec![7, 8], 5);
    stage.ask(&[Act::Append, Act::Send]);
    for former in 0..5 {
        stage.synced(former, 3);
    }
    stage.synced(6, 3);
    assert_eq!((stage.left.as_slice(), stage.host.durable()), (&[] as &[u64], 2));
    stage.synced(5, 3);
    assert_eq!(stage.left, [2]);
}

#[test]
#[should_panic(expected = "3 records durable, only 2 written")]
fn a_disk_that_claims_too_much_is_a_bug() {
    let mut stage = Stage::boot(vec![7], 1);
    stage.ask(&[Act::Append]);
    stage.synced(1, 3);
}

#[test]
fn a_question_about_the_disk_is_answered_after_all_earlier_writes() {
    let mut stage = Stage::boot(Vec::new(), 1);
    stage.ask(&[Act::Ask]);
    assert_eq!(stage.host.node().told_durable, [1], "nothing is written, so everything is durable");
    stage.ask(&[Act::Append, Act::Ask, Act::Append, Act::Ask]);
    assert_eq!(stage.host.node().told_durable, [1]);
    stage.synced(1, 1);
    assert_eq!(stage.host.node().told_durable, [1, 4]);
    stage.synced(1, 2);
    assert_eq!(stage.host.node().told_durable, [1, 4, 6]);
}

#[test]
#[should_panic(expected = "only the host itself tells a node what is durable")]
fn no_driver_tells_a_node_what_is_durable() {
    Stage::boot(Vec::new(), 1).step(Event::Durable(1));
}

#[test]
fn choices_are_below_their_bound() {
    check(prop::collection::vec(1..100_u32, 1..8), |bounds| {
        let mut stage = Stage::boot(Vec::new(), 1);
        stage.ask(&bounds.iter().map(|&n| Act::Choose(n)).collect::<Vec<_>>());
        let highest: Vec<_> = bounds.iter().map(|n| n - 1).collect();
        assert_eq!(stage.host.node().chose, highest, "the driver's own answer is passed on");
    });
}

#[test]
#[should_panic(expected = "the driver chose 3, which is not below 3")]
fn a_driver_that_chooses_too_high_is_a_bug() {
    let mut host = Stage::boot(Vec::new(), 1).host;
    let request = vec![Act::Choose(3)];
    host.step(&(), Event::Request { id: ASKER, request }, &mut |n: u32| n, &mut Vec::new());
}

#[test]
#[should_panic(expected = "choose(0) has no answer")]
fn a_choice_among_nothing_is_a_bug() {
    Stage::boot(Vec::new(), 1).ask(&[Act::Choose(0)]);
}

/// What leaves when the puppet acts in a host of this order, and what leaves once all is durable.
fn leaves(order: Order, script: &[Act]) -> [Vec<u64>; 2] {
    let mut out = Vec::new();
    let mut host = Host::<Puppet>::boot_in(order, &(), &[], 1, &mut |_: u32| 0, &mut out);
    let words = |out: &mut Vec<Effect<Puppet>>| {
        let word = |effect| match effect {
            Effect::Send { message: number, .. }
            | Effect::Reply { reply: number, .. }
            | Effect::Publish(Published(number))
            | Effect::Observe(number) => Some(number),
            Effect::Append(_) | Effect::SetTimer { .. } | Effect::CancelTimer(_) => None,
            Effect::WhenDurable(_) | Effect::Forget(_) => None,
            Effect::Meet { .. } | Effect::Part(_) | Effect::Lost { .. } => None,
        };
        out.drain(..).filter_map(word).collect()
    };
    out.clear();
    host.step(&(), Event::Request { id: ASKER, request: script.to_vec() }, &mut |_: u32| 0, &mut out);
    let at_once = words(&mut out);
    assert_eq!(host.durable(), 0, "whatever a host lets out, it knows what is durable");
    host.synced(&(), 1, host.written(), &mut |_: u32| 0, &mut out);
    [at_once, words(&mut out)]
}

/// What a wrong order names does not wait, and all else does; nothing is lost, and nothing leaves twice.
#[test]
fn a_wrong_order_lets_out_what_it_names() {
    let script = [Act::Append, Act::Send, Act::Reply, Act::Observe, Act::Publish, Act::Append, Act::Send];
    let asks = [&script[..], &[Act::Ask]].concat();
    for (order, at_once, later, asked) in [
        (Order::Safe, vec![], vec![2, 3, 4, 5, 7], [vec![], vec![2, 3, 4, 5, 7, 9]]),
        (Order::SendsEarly, vec![2, 7], vec![3, 4, 5], [vec![2, 7], vec![3, 4, 5, 9]]),
        (Order::RepliesEarly, vec![3], vec![2, 4, 5, 7], [vec![3], vec![2, 4, 5, 7, 9]]),
        (Order::NothingWaits, vec![2, 3, 4, 5, 7], vec![], [vec![2, 3, 4, 5, 7, 9], vec![]]),
    ] {
        assert_eq!(leaves(order, &script), [at_once, later], "{order:?}");
        // The question is the eighth act, and its answer makes the puppet say a ninth.
        assert_eq!(leaves(order, &asks), asked, "{order:?}");
    }
}

/// The order tells no two states apart, or the checker would count others than it did.
#[test]
fn the_order_is_in_no_comparison_and_no_hash() {
    let hash = |host: &Host<Puppet>| {
        let mut hasher = DefaultHasher::new();
        host.hash(&mut hasher);
        hasher.finish()
    };
    let host = |order| Host::<Puppet>::boot_in(order, &(), &[7], 1, &mut |_: u32| 0, &mut Vec::new());
    let safe = Stage::boot(vec![7], 1).host;
    for order in [Order::Safe, Order::SendsEarly, Order::RepliesEarly, Order::NothingWaits] {
        assert_eq!((&host(order), hash(&host(order))), (&safe, hash(&safe)), "{order:?}");
    }
}

/// A host is a value: the same history gives equal hosts, whatever the driver does in between.
#[test]
fn hosts_are_values() {
    check(moves(), |moves| {
        let run = || {
            let mut stage = Stage::boot(vec![1], 2);
            for one in &moves {
                match one {
                    Move::Script(script) => stage.ask(script),
                    Move::Fire(timer) => stage.step(Event::Timer(*timer)),
                    Move::Sync(more) => {
                        let upto = (stage.host.durable() + more).min(stage.host.written());
                        stage.synced(2, upto);
                    }
                    Move::Late(upto) => stage.synced(1, *upto),
                }
                stage.host = stage.host.clone();
            }
            (stage.host, stage.journal, stage.left)
        };
        assert_eq!(run(), run());
    });
}
