//! Plays all tapes in one order, judges the history and writes down its story.
//!
//! Where a recording has a gap the node stands still until its next boot: see [`order`](super::order), which says
//! what is judged, and why. What is beyond the history is executed again, but not told.

use std::time::Duration;

use coalmine_core::codec::recording::{Did, Step, Took};
use coalmine_core::disk::Journal;
use coalmine_core::node::{Event, Node, NodeId, Word};
use coalmine_core::order::Order as HostOrder;

use super::judge::Judge;
use super::lives::{Heritage, heritage};
use super::order::{Order, Place};
use super::player::Player;
use super::sends::Sends;
use super::tapes::{Piece, Tape, What};
use super::{Beyond, Difference, Judged, Missing, Verified, Violated};
use crate::panics::describe;
use crate::spec::plan::Plan;
use crate::spec::system::{NodeOf, System};
use crate::spec::verdict::Verdict;
use crate::trace::html::{self, Page};
use crate::trace::slice::Slice;
use crate::trace::text::{self, Style};
use crate::trace::{Entry, Trace, TraceEvent};

/// See the module's head.
pub struct Playback<'a, S: System> {
    system: &'a S,
    tapes: &'a [Tape<NodeOf<S>>],
    tracks: Vec<Track<'a, NodeOf<S>>>,
    /// The story.
    trace: Trace<NodeOf<S>>,
    judge: Judge<S>,
    sends: Sends<NodeOf<S>>,
    began: Option<u64>,
    /// Whether what is played is part of the one history.
    is_history: bool,
    with_page: bool,
    verified: Verified,
}

/// How far a tape was played.
struct Track<'a, N: Node> {
    player: Player<N>,
    /// What the part says that is being played: the configuration, and who recorded it.
    part: Option<(&'a N::Config, &'a str)>,
    /// Whether a boot at this piece contradicts what is recorded before.
    impossible: Vec<(usize, String)>,
}

impl<'a, N: Node> Track<'a, N> {
    fn new(tape: &'a Tape<N>, order: HostOrder) -> Self {
        let config = tape.pieces.iter().find_map(|piece| match &piece.what {
            What::Part { config, .. } => Some(config.clone()),
            What::Step(_) | What::Gap { .. } => None,
        });
        let impossible = heritage(tape).into_iter().filter_map(|(piece, heritage)| match heritage {
            Heritage::Impossible(why) => Some((piece, why)),
            Heritage::Follows | Heritage::New | Heritage::Unknown(_) => None,
        });
        Self { player: Player::new(tape.node, order, config), part: None, impossible: impossible.collect() }
    }
}

/// There is no point in going on.
struct Stop;

impl<'a, S: System> Playback<'a, S> {
    /// Nothing is played yet.
    pub fn new(
        system: &'a S,
        order: HostOrder,
        tapes: &'a [Tape<NodeOf<S>>],
        notes: Vec<String>,
        with_page: bool,
    ) -> Self {
        let verified = Verified {
            nodes: tapes.iter().map(|tape| tape.node).collect(),
            boots: 0,
            steps: 0,
            span: Duration::ZERO,
            notes,
            missing: Vec::new(),
            strangers: None,
            beyond: Vec::new(),
            judged: Vec::new(),
            difference: None,
            violated: None,
            story: Default::default(),
            page: None,
        };
        Self {
            system,
            tapes,
            tracks: tapes.iter().map(|tape| Track::new(tape, order)).collect(),
            trace: Trace::new(true),
            judge: Judge::new(system),
            sends: Sends::default(),
            began: None,
            is_history: true,
            with_page,
            verified,
        }
    }

    /// Plays until something differs, or to the end. `strangers` says why these recordings alone are no run.
    pub fn play_all(&mut self, order: &Order, strangers: Option<String>) {
        self.verified.strangers = strangers;
        self.missing(order);
        for &place in &order.history {
            let Ok(()) = self.play(place) else { return };
        }
        self.is_history = false;
        for &place in &order.beyond {
            let Ok(()) = self.play(place) else { return };
        }
    }

    /// What is missing, and what is not judged therefore.
    fn missing(&mut self, order: &Order) {
        for tape in self.tapes {
            for Piece { file, line, what } in &tape.pieces {
                if let What::Gap { why, .. } = what {
                    let (node, file, line, why) = (tape.node, file.to_string(), *line, why.clone());
                    self.verified.missing.push(Missing { node, file, line, why });
                }
            }
        }
        for (place, why) in &order.why {
            let tape = &self.tapes[place.tape];
            let Piece { file, line, .. } = &tape.pieces[place.piece];
            let steps = tape.pieces[place.piece..].iter();
            let steps = steps.filter(|piece| matches!(piece.what, What::Step(_))).count() as u64;
            let (node, file, line, why) = (tape.node, file.to_string(), *line, why.clone());
            self.verified.beyond.push(Beyond { node, file, line, why, steps });
        }
    }

    fn play(&mut self, place: Place) -> Result<(), Stop> {
        let tapes = self.tapes;
        let piece = &tapes[place.tape].pieces[place.piece];
        let track = &mut self.tracks[place.tape];
        match &piece.what {
            What::Part { config, program } => {
                track.part = Some((config, program));
                Ok(())
            }
            What::Gap { why, .. } => {
                let node = track.player.id;
                let what = format!("what follows is not recorded: {why}");
                self.describe(place.at, &TraceEvent::Complained { node, what }, None);
                Ok(())
            }
            What::Step(step) => self.step(place, piece, step),
        }
    }

    fn step(&mut self, place: Place, piece: &Piece<NodeOf<S>>, step: &Step<NodeOf<S>>) -> Result<(), Stop> {
        let began = *self.began.get_or_insert(place.at);
        self.verified.span = Duration::from_nanos(place.at.saturating_sub(began));
        self.verified.steps += 1;
        if let Took::Boot { journal, torn, .. } = &step.took {
            self.verified.boots += 1;
            if let Some(why) = self.tracks[place.tape].impossible(place.piece) {
                let here = format!("no crash of its life before leaves this: {why}");
                return self.differs(place, piece, step, (describe_took(&step.took), here));
            }
            self.ends(place, journal.journal(), *torn);
            let track = &mut self.tracks[place.tape];
            track.player.config = track.part.map(|(config, _)| config.clone());
        }
        let player = &mut self.tracks[place.tape].player;
        let node = player.id;
        let (effects, differs) = match player.again(step) {
            Ok(effects) => {
                let did = Did::all(&effects);
                let differs = (did != step.did).then(|| first_difference(&step.did, &did));
                (effects, differs)
            }
            Err(why) => (Vec::new(), Some((format!("{} effects", step.did.len()), why))),
        };
        let (what, send) = match &step.took {
            Took::Boot { journal, torn, .. } => {
                if let Some(note) = TraceEvent::forgotten(node, journal.forgotten) {
                    self.describe(place.at, &note, None);
                }
                (TraceEvent::Booted { node, records: journal.records.len(), torn: *torn, effects }, None)
            }
            Took::Synced(upto) => (TraceEvent::Synced { node, upto: *upto, effects }, None),
            Took::Event(event) => {
                let send = match event {
                    Event::Message { from, message } => self.sends.arrives(*from, node, message),
                    Event::Timer(_) | Event::Request { .. } | Event::Durable(_) => None,
                };
                (TraceEvent::Stepped { node, event: event.clone(), effects }, send)
            }
        };
        self.describe(place.at, &what, send);
        if let Some(differs) = differs {
            return self.differs(place, piece, step, differs);
        }
        self.judge(piece, node, &what);
        Ok(())
    }

    /// A step does not do what is recorded, but something else.
    fn differs(
        &mut self,
        place: Place,
        piece: &Piece<NodeOf<S>>,
        step: &Step<NodeOf<S>>,
        (recorded, here): (String, String),
    ) -> Result<(), Stop> {
        let track = &self.tracks[place.tape];
        let program = track.part.map_or(String::new(), |(_, program)| program.into());
        let (file, line, node) = (piece.file.to_string(), piece.line, track.player.id);
        let event = describe_took(&step.took);
        self.verified.difference = Some(Difference { file, line, node, program, event, recorded, here });
        Err(Stop)
    }

    /// A node is about to boot: its life before has ended.
    fn ends(
        &mut self,
        place: Place,
        journal: Journal<'_, <NodeOf<S> as Node>::Record>,
        torn: Option<(u64, u64)>,
    ) {
        let Piece { file, line, .. } = &self.tapes[place.tape].pieces[place.piece];
        let player = &mut self.tracks[place.tape].player;
        let node = player.id;
        if journal.last() == 0 && player.durable > 0 {
            let durable = player.durable;
            let note =
                format!("{file}: line {line}: the disk of {node} is new: {durable} records were durable");
            self.verified.notes.push(note);
        }
        let (durable, written) = (player.durable as u64, player.journal.len() as u64);
        let kept = journal.last().saturating_sub(player.forgotten + durable) as usize;
        let lost = (player.forgotten + written).saturating_sub(journal.last()) as usize;
        if player.host.take().is_some() {
            let torn_bytes = torn.map_or(0, |(_, bytes)| bytes as usize);
            let what = TraceEvent::Crashed { node, kept, lost, torn_bytes, prevented: Vec::new() };
            self.describe(place.at, &what, None);
            let piece = &self.tapes[place.tape].pieces[place.piece];
            self.judge(piece, node, &what);
        }
    }

    /// Adds to the story, which ends with the first violation.
    fn describe(&mut self, at: u64, what: &TraceEvent<NodeOf<S>>, send: Option<u64>) {
        if !self.is_history || self.judge.broken.is_some() {
            return;
        }
        if let TraceEvent::Booted { node, effects, .. }
        | TraceEvent::Stepped { node, effects, .. }
        | TraceEvent::Synced { node, effects, .. } = what
        {
            self.sends.did(*node, effects, self.trace.sends);
        }
        let at = Duration::from_nanos(at.saturating_sub(self.began.unwrap_or(at)));
        self.trace.push(at, what, send);
    }

    /// Checks the invariants after what has been told.
    fn judge(&mut self, piece: &Piece<NodeOf<S>>, node: NodeId, what: &TraceEvent<NodeOf<S>>) {
        if self.judge.broken.is_some() {
            return;
        }
        let event = if let TraceEvent::Stepped { event, .. } = what { Some(event) } else { None };
        self.judge.learn(node, event, what.effects());
        if self.is_history
            && let Some(track) = self.tracks.iter().find(|track| track.player.id == node)
            && let Some(host) = &track.player.host
        {
            self.trace.show(host.node());
        }
        let is_run = self.is_history && self.verified.strangers.is_none();
        let is_step = !matches!(what, TraceEvent::Crashed { .. });
        self.judge.judge(self.tracks.iter().filter_map(|track| track.player.observe()), is_run, is_step);
        if let Some((invariant, why)) = self.judge.broken.clone() {
            let (file, line) = (piece.file.to_string(), piece.line);
            self.verified.violated = Some(Violated { invariant, why, file, line });
        }
    }

    /// What came of it.
    pub fn finish(mut self, title: &str, about: &str) -> Verified {
        let steps = self.verified.steps;
        let judged = |(invariant, judged): (&str, u64)| {
            let not_judged = steps.saturating_sub(judged);
            Judged { invariant: invariant.into(), steps: judged, not_judged }
        };
        self.verified.judged = self.judge.asked().map(judged).collect();
        let entries = self.trace.entries.take().unwrap_or_default();
        let boring = |event: &Event<_>| matches!(event, Event::Timer(_) | Event::Message { .. });
        let verdict = self.judge.broken.clone().map(|(invariant, why)| Verdict::Violated { invariant, why });
        let slice = Slice::of(&entries, verdict.as_ref());
        self.verified.story = text::story(&entries, &slice, boring, Style::default());
        if self.with_page {
            self.verified.page = Some(self.page(title, about, &entries));
        }
        self.verified
    }

    fn page(&self, title: &str, about: &str, entries: &[Entry<NodeOf<S>>]) -> Page {
        let Verified { boots, steps, difference, violated, .. } = &self.verified;
        let broken = |(invariant, why): (String, String)| Verdict::Violated { invariant, why };
        let verdict = self.judge.broken.clone().map_or(Verdict::Passed, broken);
        let about = html::About {
            title: title.into(),
            subtitle: about.into(),
            replay: None,
            plan: Some(&Plan::quiet([])),
            details: vec![("recorded steps".into(), steps.to_string()), ("boots".into(), boots.to_string())],
            members: self.verified.nodes.clone(),
            verdict: &verdict,
            is_periodic: &|timer| self.system.is_periodic(timer),
        };
        let mut page = html::of_trace(about, entries);
        match (difference, violated) {
            (Some(difference), None) => {
                page.ending.passed = false;
                page.ending.headline = "differs from its recording".into();
                page.ending.why = Some(difference.describe());
                page.ending.step = page.steps.len().checked_sub(1);
            }
            (None, None) if !self.verified.is_complete() => {
                page.ending.headline = "incomplete".into();
                page.ending.why = Some(self.verified.describe_incomplete().join("; "));
            }
            (_, Some(_)) | (None, None) => {}
        }
        page
    }
}

impl<N: Node> Track<'_, N> {
    fn impossible(&self, piece: usize) -> Option<&str> {
        self.impossible.iter().find(|(boot, _)| *boot == piece).map(|(_, why)| why.as_str())
    }
}

fn describe_took<N: Node>(took: &Took<N>) -> String {
    match took {
        Took::Boot { journal, .. } => match journal.forgotten {
            0 => format!("boots from {} records", journal.records.len()),
            some => format!("boots from the {} records after number {some}", journal.records.len()),
        },
        Took::Synced(upto) => format!("disk: durable up to record {upto}"),
        Took::Event(event) => text::describe_event(event),
    }
}

/// The first effect that differs, recorded and here.
fn first_difference<N: Node>(recorded: &[Did<N>], here: &[Did<N>]) -> (String, String) {
    let place = recorded.iter().zip(here).position(|(a, b)| a != b);
    let place = place.unwrap_or(recorded.len().min(here.len()));
    let (a, b) = (recorded.get(place), here.get(place));
    let describe = |did: Option<&Did<N>>| did.map_or("nothing more".into(), describe_did);
    let (told_a, told_b) = (describe(a), describe(b));
    if told_a != told_b {
        return (told_a, told_b);
    }
    // Their words are the same: show all there is.
    (format!("{a:?}"), format!("{b:?}"))
}

fn describe_did<N: Node>(did: &Did<N>) -> String {
    match did {
        Did::Append(record) => format!("journal: {}", describe::<N>(Word::Record(record))),
        Did::Send { to, message } => format!("→ {to}: {}", describe::<N>(Word::Message(message))),
        Did::Reply { to, reply } => format!("→ client {to}: {}", describe::<N>(Word::Reply(reply))),
        Did::Publish(checksum) => format!("publishes a view with the checksum {checksum:08x}"),
        Did::Observe(fact) => format!("* {}", describe::<N>(Word::Fact(fact))),
        Did::SetTimer { timer, delay: (min, max) } => {
            format!("arms the timer {} for {min:?} to {max:?}", describe::<N>(Word::Timer(timer)))
        }
        Did::CancelTimer(timer) => format!("disarms the timer {}", describe::<N>(Word::Timer(timer))),
        Did::Forget(before) => text::describe_forget(*before),
        Did::Meet { peer, address } => text::describe_meeting(*peer, *address),
        Did::Part(peer) => text::describe_parting(*peer),
        Did::Lost { to, message } => text::describe_lost::<N>(*to, message),
    }
}
