//! What a session may rely on, whatever others see (Terry et al., *Session Guarantees for Weakly Consistent Replicated
//! Data*, PDIS 1994). A session is a client: what it asks, one call after the other.
//!
//! What returns only after its client has called again was given up: the session has not heard it, and nobody knows
//! when it took effect. What returns in the same moment in which the client calls again has no order with it.
//!
//! Each session is judged by itself:
//!
//! * **Monotonic reads** ([`reads_go_back`]) and **read your writes** ([`writes_are_missed`]) are those of Viotti and Vukolić
//!   (*Consistency in Non-Transactional Distributed Storage Systems*, ACM Comput. Surv. 2016, §3.3), of [`Places`]: there is
//!   an order of all writes such that each read of the session returns the last of those that it *sees*, or what was there in
//!   the beginning if it sees none. Monotonic reads: it sees whatever earlier reads of the session have seen. Read your
//!   writes: it sees all that the session has written before, and was told so. The order is any: even two writes of the
//!   session itself may stand the other way round, which would break *monotonic writes*.
//! * **One view** ([`no_view`]), of any specification: the session's calls and some of what others ask for, each at most
//!   once and whenever it may be, can be put in one order, in which the session's own stand as it made them, and which one
//!   copy would answer as the session has heard. So the session sees a copy that only goes forward and takes in its own
//!   writes in their order. Both of the above follow from it, and monotonic writes. It is PRAM (Lipton, Sandberg, 1988),
//!   but for the order of what others write.

use std::collections::{BTreeMap, BTreeSet};

use super::call::{Call, GoOn};
use super::search::{Found, search};
use super::{Places, Specification};

/// What breaks a promise to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The session's client.
    pub client: u64,
    /// The places of the calls that show it; all of the session and all that change something, if it is not known which.
    pub shown: Vec<usize>,
}

/// By client, the places of its calls in the order in which they began.
fn sessions<S: Specification>(calls: &[Call<S>]) -> BTreeMap<u64, Vec<usize>> {
    let mut sessions: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (place, call) in calls.iter().enumerate() {
        sessions.entry(call.id.client).or_default().push(place);
    }
    for session in sessions.values_mut() {
        session.sort_by_key(|place| (calls[*place].began, calls[*place].id));
    }
    sessions
}

/// Which of a session's calls it has heard the answer of.
fn heard<S: Specification>(calls: &[Call<S>], session: &[usize]) -> BTreeSet<usize> {
    let has_heard = |at: &usize| match session.get(at + 1) {
        Some(&next) => calls[session[*at]].is_before(&calls[next]),
        None => calls[session[*at]].returned.is_some(),
    };
    (0..session.len()).filter(has_heard).map(|at| session[at]).collect()
}

/// What is where.
type Thing<S> = (<S as Places>::Place, <S as Places>::Value);

type Written<S> = BTreeMap<Thing<S>, Vec<usize>>;

/// Who has written what, or may have.
fn written<S: Places>(calls: &[Call<S>]) -> Written<S> {
    let mut written = Written::<S>::new();
    for (place, Call { call, returned, .. }) in calls.iter().enumerate() {
        if let Some(what) = S::writes(call, returned.as_ref().map(|(_, answer)| answer)) {
            written.entry(what).or_default().push(place);
        }
    }
    written
}

/// What a call has read, and whether that was there in the beginning.
fn read<S: Places>(Call { call, returned, .. }: &Call<S>) -> Option<(Thing<S>, bool)> {
    let (_, answer) = returned.as_ref()?;
    Some((S::reads(call, answer)?, S::default().step(call, answer).is_some()))
}

/// The first session that does not read monotonically.
///
/// Once a session has read something else, it cannot see again what it saw before as the last: to read the same value
/// again there must be another write of it. So of each place the values that follow each other are counted, and there
/// must be as many writes of each.
pub fn reads_go_back<S: Places>(calls: &[Call<S>]) -> Option<Broken> {
    let written = written(calls);
    for (client, session) in sessions(calls) {
        let heard = heard(calls, &session);
        let mut last: BTreeMap<S::Place, S::Value> = BTreeMap::new();
        // How many writes of this value it has seen at least, and the calls that have read it.
        let mut seen: BTreeMap<Thing<S>, usize> = BTreeMap::new();
        let mut readers: BTreeMap<S::Place, Vec<usize>> = BTreeMap::new();
        for place in session.iter().copied().filter(|place| heard.contains(place)) {
            let Some((what, is_first)) = read(&calls[place]) else { continue };
            let before = last.insert(what.0.clone(), what.1.clone());
            if before.as_ref() == Some(&what.1) {
                continue;
            }
            readers.entry(what.0.clone()).or_default().push(place);
            if before.is_none() && is_first {
                continue;
            }
            let seen = seen.entry(what.clone()).or_default();
            *seen += 1;
            let writers = written.get(&what).map_or(&[][..], Vec::as_slice);
            // What the session itself writes later it cannot have read.
            let may_be = |writer: &&usize| {
                **writer != place && {
                    let writer = &calls[**writer];
                    writer.id.client != client || !calls[place].is_before(writer)
                }
            };
            if writers.iter().filter(may_be).count() < *seen {
                let mut shown = readers.remove(&what.0).unwrap_or_default();
                // Nothing before it was read the first time matters, but what was read last before.
                let same = |reader: &usize| read(&calls[*reader]).is_some_and(|(its, _)| its == what);
                let first = shown.iter().position(same).unwrap_or(0).min(shown.len().saturating_sub(2));
                shown.drain(..first);
                shown.extend(writers);
                return Some(Broken::of(client, shown));
            }
        }
    }
    None
}

/// The first session that misses what it has written.
///
/// What somebody else has written may stand behind all of the session's own, and so may what nobody has answered. What
/// only the session itself has written, and was told so, stands behind all that it had written before the read. So it may
/// be read again, until the session has read something that it wrote itself elsewhere in the order.
pub fn writes_are_missed<S: Places>(calls: &[Call<S>]) -> Option<Broken> {
    let written = written(calls);
    for (client, session) in sessions(calls) {
        let heard = heard(calls, &session);
        // By place: what the session has written so far, how much of it before it last read something of its own, and
        // what that was.
        let mut own: BTreeMap<S::Place, Own<S::Value>> = BTreeMap::new();
        for place in session.iter().copied().filter(|place| heard.contains(place)) {
            let call = &calls[place];
            if let Some((what, is_first)) = read(call) {
                let own = own.entry(what.0.clone()).or_default();
                let may_be_last = |writer: &usize| {
                    let its = &calls[*writer];
                    let is_told = its.id.client == client && heard.contains(writer);
                    *writer != place && !is_told && (its.id.client != client || !call.is_before(its))
                };
                let writers = written.get(&what).map_or(&[][..], Vec::as_slice);
                if !(writers.iter().any(may_be_last) || is_first && own.writes.is_empty()) {
                    let is_again = own.read.as_ref().is_some_and(|(value, _)| *value == what.1);
                    let since = &own.writes[own.before_read..];
                    if !is_again && !since.iter().any(|(value, _)| *value == what.1) {
                        let mut shown: Vec<usize> = own.writes.iter().map(|(_, writer)| *writer).collect();
                        shown.extend(own.read.as_ref().map(|(_, reader)| *reader));
                        shown.push(place);
                        return Some(Broken::of(client, shown));
                    }
                    own.read = Some((what.1.clone(), place));
                    own.before_read = own.writes.len();
                }
            }
            if let Some((at, value)) = S::writes(&call.call, call.returned.as_ref().map(|(_, answer)| answer))
            {
                own.entry(at).or_default().writes.push((value, place));
            }
        }
    }
    None
}

/// What a session has written to one place.
struct Own<V> {
    writes: Vec<(V, usize)>,
    before_read: usize,
    read: Option<(V, usize)>,
}

impl<V> Default for Own<V> {
    fn default() -> Self {
        Self { writes: Vec::new(), before_read: 0, read: None }
    }
}

impl Broken {
    fn of(client: u64, mut shown: Vec<usize>) -> Self {
        shown.sort_unstable();
        shown.dedup();
        Self { client, shown }
    }
}

/// The first session for which no one view explains what it has heard; nothing at all if it was stopped before that was
/// known.
pub fn no_view<S: Specification>(calls: &[Call<S>], go_on: &mut GoOn<'_>) -> Option<Option<Broken>> {
    for (client, session) in sessions(calls) {
        let heard = heard(calls, &session);
        // What has changed nothing changes nothing here either.
        let is_shown = |place: &usize| {
            let call = &calls[*place];
            heard.contains(place)
                || !S::only_reads(&call.call) && (call.id.client == client || !call.is_read())
        };
        let shown: Vec<usize> = (0..calls.len()).filter(is_shown).collect();
        let mut seen: Vec<Call<S>> = shown.iter().map(|place| calls[*place].clone()).collect();
        for (call, place) in seen.iter_mut().zip(&shown) {
            if call.id.client != client {
                (call.began, call.returned) = (0, None);
            } else if !heard.contains(place) {
                call.returned = None;
            }
        }
        match search(&seen, go_on) {
            Found::Order(_) | Found::Some => {}
            Found::None => return Some(Some(Broken { client, shown })),
            Found::Stopped => return None,
        }
    }
    Some(None)
}
