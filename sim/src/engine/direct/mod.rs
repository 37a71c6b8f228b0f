//! The direct engine: steps the hosts directly, from one heap of events in virtual time. There are no tasks,
//! no sockets and no bytes between the nodes, so it is many times faster than [`madsim`](crate::engine::madsim); plans,
//! faults, invariants, traces and verdicts are the same.
//!
//! What a frame, a sync or a client's request takes is drawn from the same streams in the same ranges. Frames
//! of one direction keep their order, as on a connection, unless they are delayed.

mod agenda;
mod clients;
mod faults;
mod network;
mod place;

use std::time::{Duration, Instant};

use coalmine_core::codec::recording::Took;
use coalmine_core::host::Host;
use coalmine_core::node::{Delay, Effect, Event, Node, NodeId};
use coalmine_core::order::Order;
use rand_chacha::ChaCha8Rng;

use self::agenda::{Agenda, Due};
use self::clients::Client;
use self::network::Pipes;
use self::place::{Armed, Place};
use crate::engine::report::{RunOptions, RunReport};
use crate::engine::shared::LOOK;
use crate::engine::shared::disk::SYNC_FAILED;
use crate::engine::shared::faults::{End, Lasting, end};
use crate::engine::shared::network::NetworkState;
use crate::engine::shared::recorder::{Pulled, Recorder, crashes, note_early_output};
use crate::panics::catch;
use crate::spec::faults::{Effect as FaultEffect, Fault};
use crate::spec::plan::{Draw, Plan, Stream, What, When};
use crate::spec::scenario::Scenario;
use crate::spec::system::{NodeOf, Planted, System};
use crate::spec::verdict::Verdict;
use crate::trace::TraceEvent;

/// Runs one plan, which was checked, under one seed.
pub(crate) fn run<S: System>(
    scenario: &Scenario<S>,
    plan: &Plan<NodeOf<S>>,
    options: RunOptions,
) -> RunReport<NodeOf<S>> {
    let started = Instant::now();
    let mut engine = match catch(|| Engine::new(scenario, plan, options)) {
        Ok(engine) => engine,
        Err(panic) => return RunReport::panicked(panic),
    };
    // A node that panics leaves the trace that led there.
    let driven = catch(|| engine.drive());
    let now = engine.agenda.time();
    let verdict = driven.unwrap_or_else(|panic| {
        engine.recorder.panicked(now, panic.clone());
        Verdict::Panicked(panic)
    });
    engine.recorder.take_in(engine.network_state.remains());
    let mut report = engine.recorder.finish(verdict, now);
    report.wall = started.elapsed();
    report
}

struct Engine<'a, S: System> {
    scenario: &'a Scenario<S>,
    plan: &'a Plan<NodeOf<S>>,
    system: S,
    order: Order,
    recorder: Recorder<S>,
    agenda: Agenda<Task<NodeOf<S>>>,
    places: Vec<Place<NodeOf<S>>>,
    /// How many places stand still.
    paused: usize,
    /// What the plan does to nodes that lasts.
    lasting: Lasting,
    network_state: NetworkState,
    pipes: Pipes<NodeOf<S>>,
    clients: Vec<Client<NodeOf<S>>>,
    disk_draws: ChaCha8Rng,
    timer_draws: ChaCha8Rng,
    /// Numbers the timers.
    armed: u64,
    /// What the node has done that takes a step; else empty.
    effects: Vec<Effect<NodeOf<S>>>,
    healed: bool,
}

/// Something that is to happen, apart from frames.
enum Task<N: Node> {
    /// The timer of this number fires, if it is still armed.
    Fire {
        place: usize,
        number: u64,
    },
    /// A sync is done.
    Synced {
        place: usize,
        life: u64,
        upto: usize,
    },
    /// A node boots.
    Boot {
        place: usize,
        life: u64,
    },
    /// A client's request arrives.
    Request {
        client: usize,
    },
    /// A client's answer arrives.
    Answer {
        client: usize,
        reply: N::Reply,
    },
    /// A client asks again, unless it has been answered or has asked again already.
    Retry {
        client: usize,
        attempt: u32,
    },
    /// The time of a step of the plan has come.
    Do(usize),
    Restart(usize),
    /// A fault that lasts ends.
    End(End),
    /// The safety phase ends.
    Heal,
    /// Has it converged?
    Look,
}

impl<'a, S: System> Engine<'a, S> {
    fn new(scenario: &'a Scenario<S>, plan: &'a Plan<NodeOf<S>>, options: RunOptions) -> Self {
        let Planted { system, order } = scenario.system_of(plan).expect("plans are checked");
        let members = system.members();
        let places: Vec<_> = members.into_iter().map(|(id, config)| Place::new(id, config)).collect();
        let mut engine = Self {
            recorder: Recorder::new(&system, plan, options),
            pipes: Pipes::new(places.len()),
            scenario,
            plan,
            system,
            order,
            agenda: Agenda::default(),
            places,
            paused: 0,
            lasting: Lasting::default(),
            network_state: NetworkState::new(options, plan.links),
            clients: Vec::new(),
            disk_draws: Stream::Disk.of(options.seed),
            timer_draws: Stream::Timers.of(options.seed),
            armed: 0,
            effects: Vec::new(),
            healed: false,
        };
        for place in 0..engine.places.len() {
            engine.restart(place);
        }
        for (place, step) in plan.steps.iter().enumerate() {
            if let When::AtMs(at) = step.when {
                engine.agenda.after(Duration::from_millis(at), Task::Do(place));
            }
        }
        engine.agenda.after(Duration::from_millis(plan.heal_at_ms), Task::Heal);
        engine
    }

    /// Does what is on the agenda until there is a verdict.
    fn drive(&mut self) -> Verdict {
        loop {
            if let Some(verdict) = self.recorder.verdict() {
                return verdict.clone();
            }
            let due = self.agenda.pop().expect("healing and looking for convergence never end");
            if self.paused > 0
                && let Some(place) = self.whom(due)
                && self.places[place].paused
            {
                self.places[place].backlog.push(due);
                continue;
            }
            match due {
                Due::Leave(frame) => self.leave(frame),
                Due::Arrive(frame) => self.arrive(frame),
                Due::Task(task) => {
                    let task = self.agenda.take(task);
                    self.perform(task);
                }
            }
        }
    }

    fn perform(&mut self, task: Task<NodeOf<S>>) {
        match task {
            Task::Fire { place, number } => {
                if let Some(timer) = self.places[place].fire(number) {
                    self.step(place, Event::Timer(timer), None);
                }
            }
            Task::Synced { place, life, upto } => self.synced(place, life, upto),
            Task::Boot { place, life } => self.boot(place, life),
            Task::Request { client } => self.take_request(client),
            Task::Answer { client, reply } => self.answered(client, &reply),
            Task::Retry { client, attempt } => self.retry(client, attempt),
            Task::Do(step) => self.carry_out_step(step, self.plan.steps[step].what.clone()),
            Task::Restart(place) => self.restart(place),
            Task::End(ends) => {
                if !self.healed {
                    end(self, &ends);
                }
            }
            Task::Heal => self.heal(),
            Task::Look => {
                let Self { scenario, system, recorder, agenda, places, .. } = self;
                recorder.look(system, scenario.expect, agenda.time(), places.iter().map(Place::observe));
                agenda.after(LOOK, Task::Look);
            }
        }
    }

    /// The node that takes this in.
    fn whom(&self, due: Due) -> Option<usize> {
        let task = match due {
            Due::Leave(_) => return None,
            Due::Arrive(frame) => return Some(self.pipes.frames.of(frame).to as usize),
            Due::Task(task) => self.agenda.task(task),
        };
        match task {
            Task::Fire { place, .. } | Task::Synced { place, .. } | Task::Boot { place, .. } => Some(*place),
            Task::Request { client } => Some(self.clients[*client].to),
            Task::Answer { .. }
            | Task::Retry { .. }
            | Task::Do(_)
            | Task::Restart(_)
            | Task::End(_)
            | Task::Heal
            | Task::Look => None,
        }
    }

    // Nodes.

    /// A node takes an event; if it is a message, the one that was sent under this number.
    #[inline(always)]
    fn step(&mut self, place: usize, event: Event<NodeOf<S>>, send: Option<u64>) {
        if self.recorder.has_triggers() {
            self.pull_triggers(place, &event, send);
        }
        let Self { places, timer_draws, recorder, agenda, effects, .. } = self;
        let Place { host: Some(host), id, config, .. } = &mut places[place] else { return };
        let (me, sent) = (*id, recorder.trace.sends);
        match send {
            Some(send) => recorder.on_message(agenda.now(), me, &event, send),
            None => recorder.on_event(agenda.time(), me, &event, None),
        }
        let recorded = recorder.is_recording().then(|| event.clone());
        host.step(config, event, &mut choices(timer_draws, recorder), effects);
        recorder.on_effects(effects);
        if let Some(event) = recorded {
            recorder.record(agenda.time(), me, || Took::Event(event), effects);
        }
        self.carry_out(place, sent);
    }

    /// Does what the plan does when a node takes this event.
    fn pull_triggers(&mut self, place: usize, event: &Event<NodeOf<S>>, send: Option<u64>) {
        let me = self.places[place].id;
        let pulled = self.recorder.triggered_by_event(me, event);
        if crashes(&pulled, me) {
            // The node stops before it does anything: as far as anybody can tell, it has done nothing.
            self.recorder.on_event(self.agenda.time(), me, event, send);
            self.recorder.on_effects(&[]);
        }
        self.do_all(pulled);
    }

    /// A sync is done: what waited for it leaves.
    fn synced(&mut self, place: usize, life: u64, upto: usize) {
        let Place { id: me, life: now_living, disk, syncing, .. } = &mut self.places[place];
        if life != *now_living {
            return;
        }
        let (me, before) = (*me, disk.durable().len());
        disk.sync(upto);
        *syncing = false;
        let pulled = self.recorder.triggered_by_records(me, &disk.written()[before..upto]);
        let upto = disk.forgotten() + upto as u64;
        if crashes(&pulled, me) {
            self.push(&TraceEvent::Synced { node: me, upto, effects: Vec::new() });
        }
        self.do_all(pulled);
        let Self { places, timer_draws, recorder, agenda, .. } = self;
        let Place { host: Some(host), config, .. } = &mut places[place] else { return };
        let mut effects = Vec::new();
        host.synced(config, life, upto, &mut choices(timer_draws, recorder), &mut effects);
        recorder.record(agenda.time(), me, || Took::Synced(upto), &effects);
        self.push_and_carry_out(place, TraceEvent::Synced { node: me, upto, effects });
    }

    /// Starts a node that is down: it reads its disk first.
    fn restart(&mut self, place: usize) {
        let Self { places, disk_draws, recorder, .. } = self;
        let it = &mut places[place];
        if it.host.is_some() || it.starting {
            return;
        }
        match it.disk_fault.sync(disk_draws, &mut recorder.effects) {
            Some(takes) => {
                it.starting = true;
                self.agenda.after(takes, Task::Boot { place, life: it.life });
            }
            None => self.stop(place, format!("journal: {SYNC_FAILED}")),
        }
    }

    fn boot(&mut self, place: usize, life: u64) {
        let Self { places, timer_draws, disk_draws, recorder, agenda, order, .. } = self;
        let it = &mut places[place];
        if life != it.life {
            return;
        }
        it.starting = false;
        // What a life that was killed has left is durable from here on: the boot has synced it.
        it.disk.sync(it.disk.written().len());
        if let Some(rotten) = it.rotten {
            let why = format!("journal: line {} is damaged, so this node does not start", rotten + 1);
            return self.stop(place, why);
        }
        if it.disk.forgettable() > 0 {
            let gone = disk_draws.below(it.disk.forgettable() as u64 + 1);
            it.disk.vanish(gone as usize);
        }
        let (me, records, torn) = (it.id, it.disk.written().len(), it.torn.take());
        let mut effects = Vec::new();
        let journal = it.disk.journal();
        it.host = Some(Host::boot_in(
            *order,
            &it.config,
            journal,
            life,
            &mut choices(timer_draws, recorder),
            &mut effects,
        ));
        let took = || Took::Boot { life, journal: journal.into(), torn };
        recorder.record(agenda.time(), me, took, &effects);
        recorder.on_boot(me);
        let forgotten = TraceEvent::forgotten(me, journal.forgotten);
        forgotten.iter().for_each(|note| recorder.push(agenda.time(), note, None));
        self.push_and_carry_out(place, TraceEvent::Booted { node: me, records, torn, effects });
    }

    /// Writes down what a node did, and carries it out.
    fn push_and_carry_out(&mut self, place: usize, what: TraceEvent<NodeOf<S>>) {
        let sent = self.recorder.trace.sends;
        self.push(&what);
        if let TraceEvent::Booted { effects, .. } | TraceEvent::Synced { effects, .. } = what {
            self.effects = effects;
            self.carry_out(place, sent);
        }
    }

    /// Carries out what a node did, in order. Its sends are numbered from `number`.
    #[inline(always)]
    fn carry_out(&mut self, place: usize, number: u64) {
        let Self { places, recorder, effects, system, .. } = self;
        if let Place { host: Some(host), id, config, disk, early_output, .. } = &mut places[place] {
            note_early_output(early_output, config, effects, disk.durable());
            recorder.on_step(*id, host.node(), effects);
        }
        if recorder.has_to_judge() {
            recorder.judge(places.iter().map(Place::observe));
            if recorder.is_at_rest() {
                recorder.stays(system, places.iter().map(Place::observe));
            }
            if recorder.verdict().is_some() {
                return effects.clear();
            }
        }
        if !effects.is_empty() && self.carry_out_effects(place, number) {
            self.recorder.effects.count(FaultEffect::DiskFull);
            return self.stop(place, "journal: no storage space".into());
        }
        self.start_sync(place);
    }

    /// Whether the disk was too full for it.
    #[inline(never)] // most steps have no effects
    fn carry_out_effects(&mut self, place: usize, mut number: u64) -> bool {
        let mut full = false;
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Append(record) => {
                    full |= self.places[place].disk_fault.full;
                    if !full {
                        self.places[place].disk.append(record);
                    }
                }
                Effect::Forget(before) => self.places[place].disk.forget(before),
                Effect::Send { to, message } => {
                    self.send(place, to, message, number);
                    number += 1;
                }
                Effect::Reply { to, reply } => self.reply(place, to, &reply),
                Effect::SetTimer { timer, delay } => self.arm(place, timer, delay),
                Effect::CancelTimer(timer) => self.places[place].disarm(&timer),
                Effect::Observe(_) | Effect::Publish(_) | Effect::Meet { .. } | Effect::Part(_) => {}
                Effect::Lost { to, .. } => self.lose(place, to),
                Effect::WhenDurable(_) => unreachable!("the host keeps tokens to itself"),
            }
        }
        self.effects = effects;
        full
    }

    /// Syncs what was written since the last sync, unless one is under way.
    #[inline]
    fn start_sync(&mut self, place: usize) {
        if self.places[place].disk.unsynced() == 0 {
            return;
        }
        let Self { places, disk_draws, recorder, .. } = self;
        let it = &mut places[place];
        if it.syncing {
            return;
        }
        match it.disk_fault.sync(disk_draws, &mut recorder.effects) {
            Some(takes) => {
                it.syncing = true;
                let upto = it.disk.written().len();
                self.agenda.after(takes, Task::Synced { place, life: it.life, upto });
            }
            None => self.stop(place, format!("journal: {SYNC_FAILED}")),
        }
    }

    fn arm(&mut self, place: usize, timer: <NodeOf<S> as Node>::Timer, delay: Delay) {
        let delay = delay.draw(|n| self.timer_draws.below(n));
        self.armed += 1;
        let (now, number) = (self.agenda.time(), self.armed);
        let it = &mut self.places[place];
        it.arm(timer, Armed { at: it.clock.shows(now).saturating_add(delay), number });
        self.agenda.after(it.clock.takes(delay), Task::Fire { place, number });
    }

    // The plan.

    fn do_all(&mut self, pulled: Pulled<NodeOf<S>>) {
        for (step, what) in pulled {
            self.carry_out_step(step, what);
        }
    }

    fn carry_out_step(&mut self, step: usize, what: What<NodeOf<S>>) {
        let Self { places, recorder, .. } = self;
        let is_crash = matches!(what, What::Fault(Fault::Crash { .. }));
        recorder.carries_out(step, &what, |id| {
            let it = places.iter().find(|it| it.id == id);
            it.is_some_and(|it| it.host.is_some() || is_crash && it.disk.unsynced() > 0)
        });
        match what {
            What::Ask { to, id, request } => self.ask(to, id, request),
            What::Fault(fault) => self.fault(step, fault),
        }
    }

    // The whole system.

    /// Where a member stands in `places`, if it is one.
    fn place_of(&self, id: NodeId) -> Option<usize> {
        // Most systems number their members from 1.
        let likely = (id.0 as usize).wrapping_sub(1);
        if self.places.get(likely).is_some_and(|place| place.id == id) {
            return Some(likely);
        }
        self.places.iter().position(|place| place.id == id)
    }

    fn place(&self, id: NodeId) -> usize {
        self.place_of(id).expect("only members are spoken of: plans are checked")
    }

    fn push(&mut self, what: &TraceEvent<NodeOf<S>>) {
        self.recorder.push(self.agenda.time(), what, None);
    }
}

/// What a node chooses is drawn.
fn choices<S: System>(draws: &mut ChaCha8Rng, recorder: &mut Recorder<S>) -> impl FnMut(u32) -> u32 {
    |n| {
        let answer = draws.below(u64::from(n)) as u32;
        recorder.on_choice(answer);
        answer
    }
}
