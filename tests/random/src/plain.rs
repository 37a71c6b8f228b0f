//! A plain checker, to compare with. It is written from the words of the contract (`core/src/node.rs`) and of the
//! world (`sim/src/world/mod.rs`), keeps every state as a whole, tries all that may happen one by one, and shares
//! no code with what it is compared with: only what a table says is read by the same words. It tells how far each state is;
//! whether it settles is told by [`settle`](crate::settle).

use std::collections::{BTreeMap, VecDeque};

use crate::state::{
    Action, CRASH, CUT, DROP, DUPLICATE, PERIODIC, Place, RETRY, State, Step, TIMEOUT, UNHEALTHY, Up, WIPE,
};
use crate::table::{Did, Fact, On, Reaction, TableNode, Timer};
use crate::{FACTS, Spec};

/// One way in which a step may go, before anything crashes.
pub(crate) struct Way {
    answers: Vec<u32>,
    /// The place before the node did anything.
    begun: Place,
    pub place: Place,
    pub effects: Vec<Did>,
}

/// A step of one node, under way.
struct Run<'a> {
    plain: &'a Plain<'a>,
    me: usize,
    place: Place,
    answers: &'a [u32],
    asked: usize,
    /// How many answers the first question has for which there is none.
    open: Option<u32>,
    panicked: bool,
    out: Vec<Did>,
}

impl Run<'_> {
    /// The node takes an event; what it does goes where it belongs.
    fn take(&mut self, on: On, sender: Option<usize>, client: Option<usize>) {
        let Self { plain, me, place, answers, asked, open, .. } = self;
        let choose = &mut |n| {
            *asked += 1;
            let answer = answers.get(*asked - 1).copied();
            if answer.is_none() {
                open.get_or_insert(n);
            }
            answer.unwrap_or(0)
        };
        let (table, members) = (&plain.spec.members[*me], plain.spec.members.len());
        let reaction = Reaction { table, members, life: place.lives, on, sender, choose };
        let up = place.up.as_mut().expect("only who is up takes anything");
        for did in up.node.react(reaction) {
            self.route(did, client);
        }
    }

    /// How much of what may vanish is gone, one thing more to try.
    fn vanish(&mut self) {
        let most = self.place.forgettable;
        if most > 0 {
            self.asked = 1;
            let gone = self.answers.first().copied();
            if gone.is_none() {
                self.open = Some(most as u32 + 1);
            }
            self.place.vanish(gone.unwrap_or(0) as usize);
        }
    }

    fn up(&mut self) -> &mut Up {
        self.place.up.as_mut().expect("only who is up does anything")
    }

    /// Records go to the disk and timers into the table at once; the rest waits for all that was written before it, and
    /// for all that waits already.
    fn route(&mut self, did: Did, client: Option<usize>) {
        let written = self.place.gone + self.place.disk.len();
        let waits = self.place.disk.len() > self.place.durable || !self.up().held.is_empty();
        match did {
            Did::Append(record) => self.place.disk.push(record),
            Did::Arm(timer) => drop(self.up().timers.insert(timer)),
            Did::Disarm(timer) if self.up().timers.remove(&timer) => {}
            Did::Disarm(_) => return,
            Did::Panic => return self.panicked = true,
            Did::Send(..) | Did::Reply | Did::Publish(_) | Did::Observe(_) if !waits => {}
            Did::Forget(before) if !waits => self.place.forget(before),
            Did::SendAtOnce(to, message) => return self.out.push(Did::Send(to, message)),
            Did::ReplyAtOnce => return self.out.push(Did::Reply),
            Did::Write(_) | Did::Synced => unreachable!("no table says this"),
            Did::Reply => return self.up().held.push_back((written, did, client)),
            Did::Send(..) | Did::Observe(_) | Did::WhenDurable(_) | Did::Forget(_) => {
                return self.up().held.push_back((written, did, None));
            }
            // Two views that wait are the same: they only leave.
            Did::Publish(_) => return self.up().held.push_back((written, Did::Publish(0), None)),
        }
        self.out.push(did);
    }

    /// What waits no longer leaves, in order.
    fn release(&mut self) {
        let durable = self.place.gone + self.place.durable;
        while !self.panicked && self.up().held.front().is_some_and(|held| held.0 <= durable) {
            match self.up().held.pop_front() {
                Some((_, Did::WhenDurable(token), _)) => self.take(On::Durable(token), None, None),
                Some((_, did, _)) => {
                    if let Did::Forget(before) = did {
                        self.place.forget(before);
                    }
                    self.out.push(did);
                }
                None => {}
            }
        }
    }

    /// A disk that is not late makes each record durable before anything that waits for it; but what does not wait leaves
    /// first, and a crash may come between the two.
    fn sync_at_once(&mut self) {
        let is_write = |did: &Did| matches!(did, Did::Append(_));
        let leaves =
            |did: &Did| matches!(did, Did::Send(..) | Did::Reply | Did::Publish(_) | Did::Observe(_));
        let (mut order, mut writes, mut late) = (Vec::new(), VecDeque::new(), 0);
        loop {
            let out = std::mem::take(&mut self.out);
            if out.iter().skip_while(|did| !is_write(did)).any(leaves) {
                for did in writes.drain(..).chain(out) {
                    late += usize::from(is_write(&did));
                    order.push(if let Did::Append(record) = did { Did::Write(record) } else { did });
                }
            } else {
                for did in out {
                    if is_write(&did) { writes.push_back(did) } else { order.push(did) }
                }
            }
            if late > 0 {
                late -= 1;
                order.push(Did::Synced);
            } else {
                let Some(write) = writes.pop_front() else { break };
                order.push(write);
            }
            self.place.durable += 1;
            self.release();
        }
        self.out = order;
    }
}

/// So many questions of a node may wait for its disk. One sync answers all of them, and where each answer lets the node
/// choose, the ways of that one step are too many to list.
const MOST_QUESTIONS: usize = 4;

/// The checker of one system.
pub struct Plain<'a> {
    /// The system.
    pub spec: &'a Spec,
    /// By budget; none is no limit.
    limits: [Option<u8>; 9],
}

impl<'a> Plain<'a> {
    /// The checker of this system.
    pub fn new(spec: &'a Spec) -> Self {
        let of = &spec.budgets;
        let some = [
            of.crashes,
            of.wipes,
            of.cuts,
            of.drops,
            of.duplicates,
            0,
            of.periodic,
            of.retries,
            of.unhealthy,
        ];
        let mut limits = some.map(Some);
        limits[TIMEOUT] = of.timeouts;
        Self { spec, limits }
    }

    fn may(&self, state: &State, budget: usize) -> bool {
        self.limits[budget].is_none_or(|limit| state.spent[budget] < limit)
    }

    fn pay(&self, state: &mut State, budget: usize) {
        if self.limits[budget].is_some() {
            state.spent[budget] += 1;
        }
    }

    /// Before anything has happened.
    pub fn before_boot(&self) -> State {
        State { places: vec![Place::default(); self.spec.members.len()], ..State::default() }
    }

    /// Whether nothing may happen but first boots, until so many members have had theirs.
    pub fn is_starting(&self, state: &State) -> bool {
        let booted = state.places.iter().filter(|place| place.lives > 0).count();
        let late = usize::from(self.spec.budgets.late_boots).min(state.places.len() - 1);
        booted + late < state.places.len()
    }

    /// Everything that a step of a node may come to, by what it chooses.
    pub(crate) fn ways(&self, before: &Place, me: usize, step: Step) -> Vec<Way> {
        let mut scripts = vec![Vec::new()];
        let mut ways = Vec::new();
        while let Some(answers) = scripts.pop() {
            let mut run = Run {
                plain: self,
                me,
                place: before.clone(),
                answers: &answers,
                asked: 0,
                open: None,
                panicked: false,
                out: vec![],
            };
            let mut begun = Place { up: None, ..before.clone() };
            match step {
                Step::Boot => {
                    run.place.lives += 1;
                    run.vanish();
                    begun = run.place.clone();
                    let (node, found) = TableNode::boot(&begun.disk, begun.gone + begun.disk.len());
                    run.place.up = Some(Up { node, ..Up::default() });
                    run.take(found, None, None);
                }
                Step::Flush => {
                    run.place.durable += 1;
                    begun = run.place.clone();
                }
                Step::Deliver { packet: (from, _, message), .. } => {
                    run.take(On::Message(message), Some(from), None)
                }
                Step::Fire(timer) => {
                    run.up().timers.remove(&timer);
                    run.take(On::Timer(timer), None, None);
                }
                Step::Ask(index) => {
                    let mut asks = self.spec.asks.iter().chain(&self.spec.inputs);
                    let ask = asks.nth(index).expect("it is asked");
                    run.take(On::Request(ask.request), None, Some(index));
                }
            }
            if !run.panicked {
                run.release();
            }
            if !self.spec.budgets.late_disk {
                run.sync_at_once();
            }
            match run.open {
                // Nothing comes of a step in which a node panics.
                None if run.panicked => {
                    let place = Place { up: None, panicked: true, ..begun.clone() };
                    ways.push(Way { begun, place, effects: vec![], answers });
                }
                None => ways.push(Way { begun, place: run.place, effects: run.out, answers }),
                Some(n) => {
                    scripts.extend((0..n).rev().map(|answer| [answers.as_slice(), &[answer]].concat()))
                }
            }
        }
        ways
    }

    /// A node is left like this, and this much of what it does has happened.
    pub(crate) fn happens(&self, state: &mut State, place: usize, after: Place, effects: &[Did]) {
        for effect in effects {
            match *effect {
                Did::Send(Some(to), message) if to != place && !state.cut.contains(&(place, to)) => {
                    state.packets.insert((place, to, message));
                }
                Did::Observe(fact) => {
                    let is_full = |of: &mut dyn Iterator<Item = &(usize, Fact)>| of.count() >= FACTS;
                    let ordered = self.spec.ordered;
                    if !is_full(&mut state.told.iter().filter(|it| ordered || it.0 == place)) {
                        state.told.push((place, fact));
                        if !ordered {
                            state.told.sort_by_key(|it| it.0);
                        }
                    }
                }
                Did::Send(..) | Did::Append(_) | Did::Reply | Did::Publish(_) => {}
                Did::Arm(_) | Did::Disarm(_) | Did::WhenDurable(_) | Did::Forget(_) | Did::Panic => {}
                Did::SendAtOnce(..) | Did::ReplyAtOnce | Did::Write(_) | Did::Synced => {}
            }
        }
        state.places[place] = after;
    }

    /// What is left of a place when it crashes.
    pub(crate) fn crashed(mut place: Place, keeps: Option<usize>) -> Place {
        place.up = None;
        place.disk.truncate(keeps.map_or(0, |keeps| place.durable + keeps));
        place.durable = place.disk.len();
        if keeps.is_none() {
            (place.gone, place.forgettable) = (0, 0);
        }
        place
    }

    /// Everything that a crash may keep, and what it costs.
    fn crashes(&self, state: &State, unsynced: usize) -> Vec<(Option<usize>, usize)> {
        let some = (0..=unsynced).map(|keeps| (Some(keeps), CRASH));
        some.chain([(None, WIPE)]).filter(|(_, budget)| self.may(state, *budget)).collect()
    }

    /// A step of a node in all its ways: whole, and ended by a crash before any effect. A fact only tells what the
    /// effect before it has done, so nothing comes between the two.
    fn step(&self, state: &State, begun: &State, place: usize, step: Step, out: &mut Vec<(Action, State)>) {
        let before = &state.places[place];
        for Way { answers, begun: left, place: after, effects } in self.ways(before, place, step) {
            // What a crash right before a record becomes durable may leave says all that one right after it may.
            let follows_sync = |at: usize| effects[at - 1] == Did::Synced;
            let is_moment =
                |at: &usize| *at == 0 || !matches!(effects[*at], Did::Observe(_)) && !follows_sync(*at);
            for at in (0..effects.len()).filter(is_moment) {
                let mut left = left.clone();
                for effect in &effects[..at] {
                    if let Did::Append(record) | Did::Write(record) = effect {
                        left.disk.push(*record);
                    } else if let Did::Forget(before) = effect {
                        left.forget(*before);
                    }
                    let at_once = matches!(effect, Did::Append(_)) && !self.spec.budgets.late_disk;
                    left.durable += usize::from(at_once || *effect == Did::Synced);
                }
                for (keeps, budget) in self.crashes(state, left.disk.len() - left.durable) {
                    let mut next = begun.clone();
                    self.happens(&mut next, place, Self::crashed(left.clone(), keeps), &effects[..at]);
                    self.pay(&mut next, budget);
                    let seen = effects[..at].iter().filter(|did| **did != Did::Synced).count();
                    let crash = Some((seen, keeps));
                    out.push((Action::Step { place, step, answers: answers.clone(), crash }, next));
                }
            }
            let mut next = begun.clone();
            self.happens(&mut next, place, after, &effects);
            out.push((Action::Step { place, step, answers, crash: None }, next));
        }
    }

    /// All that may happen next.
    pub fn successors(&self, state: &State) -> Vec<(Action, State)> {
        let mut all = Vec::new();
        if state.is_over() {
            return all;
        }
        if self.is_starting(state) {
            let places = (0..state.places.len()).filter(|&place| state.places[place].lives == 0);
            places.for_each(|place| self.step(state, state, place, Step::Boot, &mut all));
            return all;
        }
        let is_up = |place: usize| state.places[place].up.is_some();
        let paid = |budget: usize| {
            let mut next = state.clone();
            self.pay(&mut next, budget);
            next
        };
        for &packet in &state.packets {
            let mut taken = state.clone();
            if !self.spec.budgets.persistent {
                taken.packets.remove(&packet);
            }
            let (_, to, _) = packet;
            let step = |stays| Step::Deliver { packet, stays };
            if is_up(to) {
                self.step(state, &taken, to, step(false), &mut all);
                if !self.spec.budgets.persistent && self.may(state, DUPLICATE) {
                    self.step(state, &paid(DUPLICATE), to, step(true), &mut all);
                }
            } else if state.places[to].lives > 0 {
                let lost = Action::Step { place: to, step: step(false), answers: vec![], crash: None };
                all.push((lost, taken));
            }
            if self.may(state, DROP) {
                let mut next = paid(DROP);
                next.packets.remove(&packet);
                all.push((Action::Drop(packet), next));
            }
        }
        for (place, it) in state.places.iter().enumerate() {
            let Some(up) = &it.up else {
                self.step(state, state, place, Step::Boot, &mut all);
                continue;
            };
            for &timer in &up.timers {
                let budget = if timer == Timer::Beat { PERIODIC } else { TIMEOUT };
                if self.may(state, budget) {
                    self.step(state, &paid(budget), place, Step::Fire(timer), &mut all);
                }
            }
            if it.durable < it.disk.len() {
                self.step(state, state, place, Step::Flush, &mut all);
            }
            for (keeps, budget) in self.crashes(state, it.disk.len() - it.durable) {
                let mut next = paid(budget);
                next.places[place] = Self::crashed(it.clone(), keeps);
                all.push((Action::Crash { place, keeps }, next));
            }
        }
        self.requests(state, &mut all);
        self.links(state, &mut all);
        all.retain(|(_, next)| next != state);
        all
    }

    /// A client asks one thing after the other, and again within its budget; bad health comes in any order.
    fn requests(&self, state: &State, all: &mut Vec<(Action, State)>) {
        let (asks, inputs) = (&self.spec.asks, &self.spec.inputs);
        for (index, ask) in asks.iter().chain(inputs).enumerate() {
            let place = usize::from(ask.to) % self.spec.members.len();
            let is_asked = state.asked.contains(&index);
            let earlier = |of: usize| asks[of].client == ask.client && !state.asked.contains(&of);
            let budget = match (index < asks.len(), is_asked) {
                (true, true) => Some(RETRY),
                (true, false) if (0..index).any(earlier) => continue,
                (true, false) => None,
                (false, true) => continue,
                (false, false) => Some(UNHEALTHY),
            };
            if state.places[place].up.is_none() || budget.is_some_and(|budget| !self.may(state, budget)) {
                continue;
            }
            let mut begun = state.clone();
            begun.asked.insert(index);
            budget.into_iter().for_each(|budget| self.pay(&mut begun, budget));
            if self.spec.ordered {
                // What is asked is heard, whatever comes of it.
                self.happens(&mut begun, place, state.places[place].clone(), &[Did::Observe(Fact::H)]);
            }
            self.step(state, &begun, place, Step::Ask(index), all);
        }
    }

    fn links(&self, state: &State, all: &mut Vec<(Action, State)>) {
        for &(from, to) in &state.cut {
            let mut next = state.clone();
            next.cut.remove(&(from, to));
            all.push((Action::Heal { from, to }, next));
        }
        let n = self.spec.members.len();
        let pairs = (0..n).flat_map(|from| (0..n).map(move |to| (from, to)));
        for (from, to) in pairs.filter(|link| link.0 != link.1 && !state.cut.contains(link)) {
            for both in [false, true] {
                if !self.may(state, CUT) || both && (from > to || state.cut.contains(&(to, from))) {
                    continue;
                }
                let mut next = state.clone();
                self.pay(&mut next, CUT);
                next.cut.extend([(from, to)].into_iter().chain(both.then_some((to, from))));
                next.packets.retain(|&(from, to, _)| !next.cut.contains(&(from, to)));
                all.push((Action::Cut { from, to, both }, next));
            }
        }
    }

    /// All states within the budgets, each with its distance from where other things than first boots may begin; none
    /// if there are more than so many, or one step may go in more ways than can be listed.
    pub fn visit(&self, most: usize) -> Option<BTreeMap<State, usize>> {
        let mut known = BTreeMap::from([(self.before_boot(), 0)]);
        let mut queue = VecDeque::from([self.before_boot()]);
        while let Some(state) = queue.pop_front() {
            for (place, it) in state.places.iter().enumerate().filter(|(_, it)| it.lives == 0) {
                debug_assert!(it.up.is_none(), "who has not booted is not up");
                let mut boots = Vec::new();
                self.step(&state, &state, place, Step::Boot, &mut boots);
                for (_, next) in boots.into_iter().filter(|_| !state.is_over()) {
                    if known.insert(next.clone(), 0).is_none() {
                        queue.push_back(next);
                    }
                }
            }
            if known.len() > most {
                return None;
            }
        }
        queue.extend(known.keys().filter(|state| !self.is_starting(state)).cloned());
        while let Some(state) = queue.pop_front() {
            let distance = known[&state] + 1;
            for (_, next) in self.successors(&state) {
                if next
                    .places
                    .iter()
                    .filter_map(|it| it.up.as_ref())
                    .any(|up| up.questions() > MOST_QUESTIONS)
                {
                    return None;
                }
                if !known.contains_key(&next) {
                    known.insert(next.clone(), distance);
                    queue.push_back(next);
                }
            }
            if known.len() > most {
                return None;
            }
        }
        Some(known)
    }
}
