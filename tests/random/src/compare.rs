//! Explores a [`Spec`] by everything that there is, and says where two disagree.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use coalmine_sim::check::{CheckOptions, CheckReport, Counterexample, Explorer, Reductions, Verdict, check};
use coalmine_sim::spec::budget::Budget;
use coalmine_sim::spec::verdict::{NEVER_PANICS, SETTLES};
use coalmine_sim::world::{self, Kept, Rules, World};

use crate::plain::Plain;
use crate::runs::Runs;
use crate::settle::Settled;
use crate::state::{self as plain, State};
use crate::system::{Mode, NEVER, Tables};
use crate::table::TableNode;
use crate::view::{Seen, View};
use crate::{Spec, place};

/// How many states a system may have: larger ones are left alone.
pub const MOST: usize = 3_000;
/// What our explorers may take for it.
const STEPS: usize = 400_000;

/// What a system is like, once all agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// How many states there are.
    pub states: usize,
    /// Whether something is seen that must never be.
    pub violated: bool,
    /// Whether a node panics somewhere.
    pub panics: bool,
    /// Whether every state settles; none if that hangs on what is not prescribed.
    pub settles: Option<bool>,
    /// What its runs came to.
    pub runs: Runs,
}

/// What the plain reference knows.
pub struct Known {
    /// All states, each with its distance.
    pub states: BTreeMap<State, usize>,
    /// All that can be seen of them.
    pub views: Seen,
    /// By what must never be seen: the shortest way to it.
    never: Vec<Option<usize>>,
    /// The shortest way to a panic.
    panics: Option<usize>,
    /// Whether every state settles. None: it is not known.
    settles: Option<bool>,
}

impl Known {
    /// Explores a system. None: it is too large.
    pub fn of(plain: &Plain<'_>) -> Option<Self> {
        let all = plain.visit(MOST)?;
        // Before all boots nothing has happened, and after a panic nothing does: nobody looks.
        let first = plain.before_boot();
        let is_judged = |state: &State| *state != first && !state.is_over();
        let views: Seen = all.keys().filter(|state| is_judged(state)).map(State::view).collect();
        let nearest = |number| {
            let comes = all
                .iter()
                .filter(|(state, _)| is_judged(state) && plain.spec.has_come(number, &state.view()));
            comes.map(|(_, distance)| *distance).min()
        };
        let panics = all.iter().filter(|(state, _)| state.is_over()).map(|(_, distance)| *distance).min();
        let never = (0..plain.spec.never.len()).map(nearest).collect();
        let states: BTreeMap<_, _> = all.into_iter().filter(|(state, _)| !plain.is_starting(state)).collect();
        let mut settled = Settled::new();
        let each =
            states.keys().filter(|state| !state.is_over()).map(|state| plain.settles(state, &mut settled));
        let settles = each.collect::<Option<Vec<_>>>().map(|all| all.into_iter().all(|settles| settles));
        Some(Self { states, views, never, panics, settles })
    }
}

/// Every reduction alone, all but each, and all.
fn searches() -> Vec<Reductions> {
    let (none, usual) = (Reductions::NONE, Reductions::USUAL);
    vec![
        none,
        Reductions { idle: true, ..none },
        Reductions { losses: true, ..none },
        Reductions { crash_points: true, ..none },
        Reductions { sleep: true, ..none },
        Reductions { idle: false, ..usual },
        Reductions { losses: false, ..usual },
        Reductions { crash_points: false, ..usual },
        Reductions { sleep: false, ..usual },
        usual,
    ]
}

/// What all agree on; none if there are too many states. `Err` says who disagrees about what.
/// The number says under which seeds it runs.
pub fn compare(spec: &Spec, number: u64) -> Result<Option<Agreed>, String> {
    let plain = Plain::new(spec);
    let Some(known) = Known::of(&plain) else { return Ok(None) };
    if spec.ordered {
        all_agree::<true>(&plain, &known)?
    } else {
        all_agree::<false>(&plain, &known)?
    }
    let runs = crate::runs::stay_within(spec, number)?;
    Ok(Some(Agreed {
        states: known.states.len(),
        violated: known.never.iter().any(Option::is_some),
        panics: known.panics.is_some(),
        settles: if known.panics.is_some() { None } else { known.settles },
        runs,
    }))
}

fn all_agree<const ORDERED: bool>(plain: &Plain<'_>, known: &Known) -> Result<(), String> {
    let compared = Compared::<ORDERED> { spec: Arc::new(plain.spec.clone()), plain, known };
    let stateright = |crash_points| {
        let reductions = Reductions { crash_points, ..Reductions::NONE };
        CheckOptions { explorer: Explorer::Stateright, reductions, ..options() }
    };
    compared.rules_visit_the_same_states()?;
    if known.never.iter().any(Option::is_some) || known.panics.is_some() {
        for reductions in [Reductions::NONE, Reductions::USUAL] {
            compared.judge(CheckOptions { reductions, ..options() })?;
        }
        compared.judge(stateright(true))?;
    }
    if known.panics.is_some() {
        return Ok(()); // no search goes on after a panic
    }
    for (number, reductions) in searches().into_iter().enumerate() {
        let options = CheckOptions { reductions, threads: 1 + usize::from(number == 4), ..options() };
        compared.search(options)?;
    }
    compared.search(stateright(false))?;
    Ok(())
}

fn options() -> CheckOptions {
    CheckOptions { max_steps: Some(STEPS), ..CheckOptions::default() }
}

struct Compared<'a, const ORDERED: bool> {
    spec: Arc<Spec>,
    plain: &'a Plain<'a>,
    known: &'a Known,
}

impl<const ORDERED: bool> Compared<'_, ORDERED> {
    fn system(&self, mode: Mode, seen: Option<Arc<Mutex<Seen>>>) -> Tables<ORDERED> {
        Tables { spec: Arc::clone(&self.spec), mode, seen }
    }

    /// The rules alone, one state after the other.
    fn rules_visit_the_same_states(&self) -> Result<(), String> {
        let rules = Rules::new(self.system(Mode::Visit, None), self.spec.limits()).with_every_crash_point();
        let mut known: HashSet<World<Tables<ORDERED>>> = HashSet::new();
        let mut queue = VecDeque::new();
        queue.push_back(rules.before_boot());
        known.extend(queue.iter().cloned());
        let mut possible = Vec::new();
        while let Some(world) = queue.pop_front() {
            possible.clear();
            rules.successors(&world, &mut possible);
            for transition in possible.drain(..) {
                if known.len() <= 2 * MOST && known.insert(transition.next.clone()) {
                    queue.push_back(transition.next);
                }
            }
        }
        known.retain(|world| !rules.is_starting(world));
        let rules_know: BTreeSet<_> = known.iter().map(|world| outline_of_world(&rules, world)).collect();
        let plain_knows: BTreeSet<_> = self.known.states.keys().map(outline_of_state).collect();
        differ("the rules visit", &rules_know, &plain_knows)?;
        same("the rules' count of states", known.len(), self.known.states.len())
    }

    /// A search that goes on to the end.
    fn search(&self, options: CheckOptions) -> Result<(), String> {
        // Rounds that come to a panic, or are too long to be followed plainly, are not compared.
        let settle = self.known.settles.is_some();
        let options = CheckOptions { settle, ..options };
        let seen = Arc::new(Mutex::new(Seen::new()));
        let is_own = options.explorer == Explorer::Own;
        let who = if is_own { format!("with {:?}", options.reductions.names()) } else { "stateright".into() };
        let spy = is_own.then(|| Arc::clone(&seen));
        let rules = Rules::new(self.system(Mode::Visit, spy), self.spec.limits());
        let (report, found) = check("random", rules, &options, &mut |_| {});
        same(&format!("{who}: exhausted"), report.exhausted, true)?;
        for (number, way) in self.known.never.iter().enumerate() {
            let verdict = if way.is_some() { Verdict::Witnessed } else { Verdict::Missing };
            same(&format!("{who}: {}", NEVER[number]), report.properties[NEVER[number]], verdict)?;
        }
        let Reductions { idle, losses, crash_points, .. } = options.reductions;
        if !(idle || losses || crash_points) && (is_own || !self.known.never.is_empty()) {
            let depth = self.known.states.values().max().map_or(0, |distance| distance + 1);
            same(&format!("{who}: states"), report.unique_states, self.known.states.len())?;
            same(&format!("{who}: depth"), report.depth, depth)?;
        }
        if is_own {
            let seen = seen.lock().map_err(|_| "a thread has panicked")?;
            differ(&format!("{who}: seen"), &seen, &self.known.views)?;
            if settle {
                self.settling(&who, &report, found)?;
            }
        }
        Ok(())
    }

    fn settling(
        &self,
        who: &str,
        report: &CheckReport,
        found: Option<Counterexample<Tables<ORDERED>>>,
    ) -> Result<(), String> {
        let settles = report.properties[SETTLES] == Verdict::Holds;
        same(&format!("{who}: settles"), settles, self.known.settles.unwrap_or(settles))?;
        let Some(found) = found else { return same(&format!("{who}: settles"), settles, true) };
        let end = self.replay(&found).map_err(|why| format!("{who}: {why}"))?;
        match self.plain.settles(&end, &mut Settled::new()) {
            Some(true) => Err(format!("{who}: does not settle, but it does from {end:?}")),
            Some(false) | None => Ok(()),
        }
    }

    /// A search that ends where something is seen that must never be.
    fn judge(&self, options: CheckOptions) -> Result<(), String> {
        // Rounds of settling may come to a panic earlier than the search does.
        let options = CheckOptions { settle: false, ..options };
        let rules = Rules::new(self.system(Mode::Judge, None), self.spec.limits());
        let who = format!("{:?} that judges, with {:?}", options.explorer, options.reductions.names());
        let (_, found) = check("random", rules, &options, &mut |_| {});
        let found = found.ok_or_else(|| format!("{who}: finds nothing"))?;
        let end = self.replay(&found).map_err(|why| format!("{who}: {why}"))?;
        let comes = match NEVER.iter().position(|name| *name == found.invariant) {
            Some(number) => self.spec.has_come(number, &end.view()) && !end.is_over(),
            None => found.invariant == NEVER_PANICS && end.is_over(),
        };
        if !comes {
            return Err(format!("{who}: {} is not seen at the end of its path: {end:?}", found.invariant));
        }
        if options.reductions == Reductions::NONE {
            let nearest = self.known.never.iter().chain([&self.known.panics]).flatten().min().copied();
            same(&format!("{who}: length"), Some(found.path.len() - self.boots(&found)), nearest)?;
        }
        Ok(())
    }

    /// Walks a path by the plain reference.
    fn replay(&self, found: &Counterexample<Tables<ORDERED>>) -> Result<State, String> {
        let mut state = self.plain.before_boot();
        if self.boots(found) == 0 {
            let plainly = |place| plain::Action::Step {
                place,
                step: plain::Step::Boot,
                answers: Vec::new(),
                crash: None,
            };
            for place in 0..self.spec.members.len() {
                state = self.takes(&state, &plainly(place))?;
            }
        }
        for (number, action) in found.path.iter().enumerate() {
            state =
                self.takes(&state, &plain_action(action)).map_err(|why| format!("step {number}: {why}"))?;
        }
        Ok(state)
    }

    /// Where an action leads. Answers that are not given are 0.
    fn takes(&self, state: &State, wanted: &plain::Action) -> Result<State, String> {
        let possible = self.plain.successors(state).into_iter().find(|(action, _)| action.means(wanted));
        possible.map(|(_, next)| next).ok_or_else(|| format!("{wanted:?} cannot be from {state:?}"))
    }

    /// How many first boots a path begins with.
    fn boots(&self, found: &Counterexample<Tables<ORDERED>>) -> usize {
        let mut booted = BTreeSet::new();
        let boot = |action: &&world::Action<TableNode>| match action {
            world::Action::Step { place, step: world::Step::Boot, .. } => booted.insert(*place),
            world::Action::Step { .. } | world::Action::Drop(_) | world::Action::Crash { .. } => false,
            world::Action::Cut { .. } | world::Action::Heal { .. } => false,
        };
        found.path.iter().take_while(boot).count()
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, here: T, plain: T) -> Result<(), String> {
    if here == plain { Ok(()) } else { Err(format!("{what}: {here:?}, but plainly {plain:?}")) }
}

/// A set that may miss something.
pub fn at_most<T: Ord + std::fmt::Debug>(
    what: &str,
    here: &BTreeSet<T>,
    plain: &BTreeSet<T>,
) -> Result<(), String> {
    match here.difference(plain).next() {
        None => Ok(()),
        Some(more) => Err(format!("{what}: too much, such as {more:?}")),
    }
}

/// Two sets that must be the same.
fn differ<T: Ord + std::fmt::Debug>(
    what: &str,
    here: &BTreeSet<T>,
    plain: &BTreeSet<T>,
) -> Result<(), String> {
    let (more, fewer) = (here.difference(plain).count(), plain.difference(here).count());
    match (here.difference(plain).next(), plain.difference(here).next()) {
        (None, None) => Ok(()),
        (Some(more_of), _) => Err(format!("{what}: {more} too many, such as {more_of:?}")),
        (None, Some(fewer_of)) => Err(format!("{what}: {fewer} too few, such as {fewer_of:?}")),
    }
}

/// A state without what effects wait for the disk, of which a host tells only how many they are.
type Outline = (State, Vec<usize>);

fn outline_of_state(state: &State) -> Outline {
    let mut state = state.clone();
    let held =
        state.places.iter_mut().map(|it| it.up.as_mut().map_or(0, |up| std::mem::take(&mut up.held).len()));
    let held = held.collect();
    (state, held)
}

fn outline_of_world<const ORDERED: bool>(
    rules: &Rules<Tables<ORDERED>>,
    world: &World<Tables<ORDERED>>,
) -> Outline {
    let up = |host: &coalmine_core::host::Host<TableNode>| plain::Up {
        node: host.node().clone(),
        timers: host.timers().iter().copied().collect(),
        held: VecDeque::new(),
    };
    let at = |slot: &world::Slot<TableNode>| plain::Place {
        up: slot.host.as_ref().map(up),
        disk: slot.disk.written().to_vec(),
        durable: slot.disk.durable().len(),
        forgettable: slot.disk.forgettable(),
        gone: slot.disk.forgotten() as usize,
        lives: slot.lives,
        panicked: slot.panic.is_some(),
    };
    let spent = world.spent();
    let state = State {
        places: world.slots().map(at).collect(),
        packets: world.packets().map(plain_packet).collect(),
        cut: world.cuts().iter().map(|&(from, to)| (place(from), place(to))).collect(),
        told: View::of(&rules.observe(world)).told,
        spent: [
            Budget::Crashes,
            Budget::Wipes,
            Budget::Cuts,
            Budget::Drops,
            Budget::Duplicates,
            Budget::Timeouts,
            Budget::Periodic,
            Budget::Retries,
            Budget::Inputs,
        ]
        .map(|budget| spent[budget]),
        asked: (0..64).filter(|index| spent.asked >> index & 1 == 1).collect(),
    };
    let held = world.slots().map(|slot| slot.host.as_ref().map_or(0, |host| host.held()));
    (state, held.collect())
}

fn plain_packet(packet: &world::Packet<TableNode>) -> plain::Packet {
    (place(packet.from), place(packet.to), packet.message)
}

fn plain_kept(kept: Kept) -> Option<usize> {
    match kept {
        Kept::Unsynced(keeps) => Some(keeps),
        Kept::Nothing => None,
    }
}

fn plain_action(action: &world::Action<TableNode>) -> plain::Action {
    match action {
        world::Action::Drop(packet) => plain::Action::Drop(plain_packet(packet)),
        world::Action::Crash { place, kept } => {
            plain::Action::Crash { place: *place, keeps: plain_kept(*kept) }
        }
        world::Action::Cut { from, to, both_ways } => {
            plain::Action::Cut { from: place(*from), to: place(*to), both: *both_ways }
        }
        world::Action::Heal { from, to } => plain::Action::Heal { from: place(*from), to: place(*to) },
        world::Action::Step { place, step, choices, crash } => {
            let step = match step {
                world::Step::Boot => plain::Step::Boot,
                world::Step::Flush => plain::Step::Flush,
                world::Step::Deliver { packet, again } => {
                    plain::Step::Deliver { packet: plain_packet(packet), stays: *again }
                }
                world::Step::Fire(timer) => plain::Step::Fire(*timer),
                world::Step::Ask(ask) => plain::Step::Ask(ask.index),
            };
            let crash = crash.map(|point| (point.after, plain_kept(point.kept)));
            plain::Action::Step { place: *place, step, answers: choices.clone(), crash }
        }
    }
}
