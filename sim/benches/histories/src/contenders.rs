//! Who judges.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use coalmine_core::linearize::{Call, Found, search};
use porcupine_rs::{CheckResult, Model, Operation};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use crate::history::Service;

/// Says whether it is linearizable, and after how long.
pub type Judge<S> = fn(&[Call<S>]) -> (bool, Duration);

/// Ours, each thing by itself.
pub fn ours<S: Service>(history: &[Call<S>]) -> (bool, Duration) {
    let started = Instant::now();
    let mut things: BTreeMap<u8, Vec<Call<S>>> = BTreeMap::new();
    for call in history {
        things.entry(S::about(&call.call)).or_default().push(call.clone());
    }
    let is_explained = |calls: &Vec<Call<S>>| match search(calls, &mut |_| true) {
        Found::Order(_) | Found::Some => true,
        Found::None => false,
        Found::Stopped => unreachable!("nobody stops it"),
    };
    (things.values().all(is_explained), started.elapsed())
}

#[derive(Clone)]
struct Modelled<S>(PhantomData<S>);

impl<S: Service> Model for Modelled<S> {
    type State = S;
    type Op = (S::Call, Option<S::Answer>);
    type Metadata = ();

    fn partition_operations(history: &[Operation<Self>]) -> Vec<Vec<Operation<Self>>> {
        let mut things: BTreeMap<u8, Vec<Operation<Self>>> = BTreeMap::new();
        for operation in history {
            things.entry(S::about(&operation.op.0)).or_default().push(operation.clone());
        }
        things.into_values().collect()
    }

    fn init() -> S {
        S::default()
    }

    fn step(state: &S, (call, told): &Self::Op) -> (bool, S) {
        let mut after = state.clone();
        let answer = after.apply(call);
        (told.is_none_or(|told| told == answer), after)
    }
}

/// `porcupine-rs`, each thing by itself.
pub fn porcupine<S: Service>(history: &[Call<S>]) -> (bool, Duration) {
    let operation = |call: &Call<S>| Operation::<Modelled<S>> {
        client_id: Some(call.id.client as u32),
        call_time: call.began as i64,
        return_time: call.returned.as_ref().map_or(i64::MAX, |(until, _)| *until as i64),
        op: (call.call, call.returned.as_ref().map(|(_, answer)| *answer)),
        metadata: None,
    };
    let operations: Vec<_> = history.iter().map(operation).collect();
    let started = Instant::now();
    let verdict = porcupine_rs::check_operations_timeout(&operations, Duration::from_secs(86_400));
    (verdict == CheckResult::Ok, started.elapsed())
}

#[derive(Clone, Debug)]
struct Reference<S>(S);

impl<S: Service> SequentialSpec for Reference<S> {
    type Op = S::Call;
    type Ret = S::Answer;

    fn invoke(&mut self, call: &S::Call) -> S::Answer {
        self.0.apply(call)
    }
}

/// stateright's tester, all things together.
pub fn stateright<S: Service>(history: &[Call<S>]) -> (bool, Duration) {
    let mut events = Vec::new();
    for call in history {
        events.push((call.began, 0, call));
        events.extend(call.returned.as_ref().map(|(until, _)| (*until, 1, call)));
    }
    events.sort_by_key(|(at, kind, call)| (*at, *kind, call.id));
    let started = Instant::now();
    let mut tester = LinearizabilityTester::new(Reference(S::default()));
    for (_, kind, call) in events {
        let told = match (&call.returned, kind) {
            (Some((_, answer)), 1) => tester.on_return(call.id.client, *answer).map(|_| ()),
            (Some(_) | None, _) => tester.on_invoke(call.id.client, call.call).map(|_| ()),
        };
        told.expect("clients call one after the other");
    }
    (tester.is_consistent(), started.elapsed())
}
