//! Plays all tapes in one order, judges the history and writes down its story.
//!
//! Where a recording has a gap, or its beginning was deleted, the node's state is not known: to the invariants
//! the node is down until its next boot. Facts of it may be missing, so a violation after that is told with a
//! doubt. What is [beyond](super::order) the history is executed again, and
//! neither told nor judged.

use std::time::Duration;

use coalmine_core::codec::recording::{Did, Step, Took};
use coalmine_core::node::{Event, Node, NodeId, Word};

use super::order::{Order, Place};
use super::player::Player;
use super::sends::Sends;
use super::tapes::{Piece, Tape, What};
use super::{Difference, Verified, Violated};
use crate::engine::watch::Watch;
use crate::plan::Plan;
use crate::run::{RunOptions, Verdict};
use crate::system::{NodeOf, System};
use crate::trace::html::{self, Page};
use crate::trace::text::{self, Style};
use crate::trace::{Entry, Happening};

/// See the module's head.
pub struct Playback<'a, S: System> {
    system: &'a S,
    tapes: &'a [Tape<NodeOf<S>>],
    tracks: Vec<Track<'a, NodeOf<S>>>,
    /// Keeps the story and judges the history.
    watch: Watch<S>,
    sends: Sends<NodeOf<S>>,
    began: Option<u64>,
    /// The first thing that is missing from the history, or strange in it.
    doubt: Option<String>,
    /// Whether what is played is part of the one history.
    judging: bool,
    with_page: bool,
    verified: Verified,
}

/// How far a tape was played.
struct Track<'a, N: Node> {
    player: Player<N>,
    /// What the part says that is being played: the configuration, and who recorded it.
    part: Option<(&'a N::Config, &'a str)>,
}

/// There is no point in going on.
struct Stop;

impl<'a, S: System> Playback<'a, S> {
    /// Nothing is played yet.
    pub fn new(system: &'a S, tapes: &'a [Tape<NodeOf<S>>], notes: Vec<String>, with_page: bool) -> Self {
        let track = |tape: &Tape<_>| Track { player: Player::new(tape.node), part: None };
        let verified = Verified {
            nodes: tapes.iter().map(|tape| tape.node).collect(),
            boots: 0,
            steps: 0,
            span: Duration::ZERO,
            notes,
            difference: None,
            violated: None,
            story: String::new(),
            page: None,
        };
        let options = RunOptions { keep_trace: true, max_events: u64::MAX, ..RunOptions::of(0) };
        Self {
            system,
            tapes,
            tracks: tapes.iter().map(track).collect(),
            watch: Watch::new(system, &Plan::quiet([]), options),
            sends: Sends::default(),
            began: None,
            doubt: None,
            judging: true,
            with_page,
            verified,
        }
    }

    /// Plays until something differs, or to the end.
    pub fn play_all(&mut self, order: &Order) {
        for &place in &order.history {
            let Ok(()) = self.play(place) else { return };
        }
        self.judging = false;
        let mut tape = None;
        for &place in &order.beyond {
            if tape.replace(place.tape) != Some(place.tape) {
                let Piece { file, line, .. } = &self.tapes[place.tape].pieces[place.piece];
                let why = "no recording holds what led to this message";
                let until = "from here on this node is executed again, but not judged";
                self.verified.notes.push(format!("{file}: line {line}: {why}; {until}"));
            }
            let Ok(()) = self.play(place) else { return };
        }
    }

    fn play(&mut self, place: Place) -> Result<(), Stop> {
        let tapes = self.tapes;
        let piece = &tapes[place.tape].pieces[place.piece];
        let track = &mut self.tracks[place.tape];
        match &piece.what {
            What::Part { config, program } => {
                track.part = Some((config, program));
                track.player.config.get_or_insert_with(|| config.clone());
                Ok(())
            }
            What::Gap(why) => {
                track.player.forget();
                let node = track.player.id;
                self.doubt.get_or_insert(format!("{}: line {}: a gap: {why}", piece.file, piece.line));
                let what = format!("its recording has a gap: {why}");
                self.tell(place.at, &Happening::Complained { node, what }, None);
                Ok(())
            }
            What::Step(step) => self.step(place, piece, step),
        }
    }

    fn step(&mut self, place: Place, piece: &Piece<NodeOf<S>>, step: &Step<NodeOf<S>>) -> Result<(), Stop> {
        let began = *self.began.get_or_insert(place.at);
        self.verified.span = Duration::from_nanos(place.at.saturating_sub(began));
        if let Took::Boot { journal, torn, .. } = &step.took {
            self.ends(place, piece, journal, *torn);
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
        self.verified.steps += 1;
        let (what, send) = match &step.took {
            Took::Boot { journal, torn, .. } => {
                (Happening::Booted { node, records: journal.len(), torn: *torn, effects }, None)
            }
            Took::Synced(upto) => (Happening::Synced { node, upto: *upto, effects }, None),
            Took::Event(event) => {
                let send = match event {
                    Event::Message { from, message } => self.arrives(piece, *from, node, message),
                    Event::Timer(_) | Event::Request { .. } | Event::Durable(_) => None,
                };
                (Happening::Stepped { node, event: event.clone(), effects }, send)
            }
        };
        self.tell(place.at, &what, send);
        if let Some((recorded, here)) = differs {
            let event = tell_took(&step.took);
            let program = self.tracks[place.tape].part.map_or(String::new(), |(_, program)| program.into());
            let (file, line) = (piece.file.to_string(), piece.line);
            self.verified.difference = Some(Difference { file, line, node, program, event, recorded, here });
            return Err(Stop);
        }
        self.judge(piece, &what);
        Ok(())
    }

    /// A message arrives: which send is it?
    fn arrives(
        &mut self,
        piece: &Piece<NodeOf<S>>,
        from: NodeId,
        to: NodeId,
        message: &<NodeOf<S> as Node>::Message,
    ) -> Option<u64> {
        let send = self.sends.arrives(from, to, message);
        if send.is_none() && self.verified.nodes.contains(&from) {
            let (file, line) = (&piece.file, piece.line);
            self.doubt
                .get_or_insert_with(|| format!("{file}: line {line}: {from} is not known to have sent it"));
        }
        send
    }

    /// A node is about to boot: its life before has ended.
    fn ends(
        &mut self,
        place: Place,
        piece: &Piece<NodeOf<S>>,
        journal: &[<NodeOf<S> as Node>::Record],
        torn: Option<(u64, u64)>,
    ) {
        self.verified.boots += 1;
        let player = &mut self.tracks[place.tape].player;
        let node = player.id;
        // After a gap nobody knows what was written.
        if let Some(why) = player.known.then(|| player.inherits(journal).err()).flatten() {
            let note = format!("{}: line {}: {node}: {why}", piece.file, piece.line);
            self.doubt.get_or_insert(note.clone());
            self.verified.notes.push(note);
        }
        let kept = journal.len().saturating_sub(player.durable);
        let lost = player.journal.len().saturating_sub(journal.len());
        if player.host.take().is_some() {
            let torn_bytes = torn.map_or(0, |(_, bytes)| bytes as usize);
            let what = Happening::Crashed { node, kept, lost, torn_bytes, prevented: Vec::new() };
            self.tell(place.at, &what, None);
            self.judge(piece, &what);
        }
    }

    /// Adds to the story, which ends with the first violation.
    fn tell(&mut self, at: u64, what: &Happening<NodeOf<S>>, send: Option<u64>) {
        if !self.judging || self.watch.verdict().is_some() {
            return;
        }
        if let Happening::Booted { node, effects, .. }
        | Happening::Stepped { node, effects, .. }
        | Happening::Synced { node, effects, .. } = what
        {
            self.sends.did(*node, effects, self.watch.trace.sends);
        }
        let at = Duration::from_nanos(at.saturating_sub(self.began.unwrap_or(at)));
        self.watch.push(at, what, send);
    }

    /// Checks the invariants after what has been told.
    fn judge(&mut self, piece: &Piece<NodeOf<S>>, what: &Happening<NodeOf<S>>) {
        if !self.judging || self.watch.verdict().is_some() {
            return;
        }
        if let Happening::Booted { node, effects, .. }
        | Happening::Stepped { node, effects, .. }
        | Happening::Synced { node, effects, .. } = what
        {
            let host =
                self.tracks.iter().find_map(|it| it.player.host.as_ref().filter(|_| it.player.id == *node));
            match host.filter(|_| self.with_page) {
                Some(host) => self.watch.took(*node, host.node(), effects),
                None => self.watch.learned(*node, effects),
            }
        }
        self.watch.judge(self.tracks.iter().filter_map(|track| track.player.observe()));
        if let Some(Verdict::Violated { invariant, why }) = self.watch.verdict() {
            let (invariant, why) = (invariant.clone(), why.clone());
            let (file, line) = (piece.file.to_string(), piece.line);
            let doubt = self.doubt.clone();
            self.verified.violated = Some(Violated { invariant, why, file, line, doubt });
        }
    }

    /// What came of it.
    pub fn finish(mut self, title: &str, about: &str) -> Verified {
        let entries = self.watch.trace.entries.take().unwrap_or_default();
        let boring = |event: &Event<_>| matches!(event, Event::Timer(_) | Event::Message { .. });
        self.verified.story = text::story(&entries, boring, Style::default());
        if self.with_page {
            self.verified.page = Some(self.page(title, about, &entries));
        }
        self.verified
    }

    fn page(&self, title: &str, about: &str, entries: &[Entry<NodeOf<S>>]) -> Page {
        let Verified { boots, steps, difference, violated, .. } = &self.verified;
        let about = html::About {
            title: title.into(),
            subtitle: about.into(),
            replay: None,
            plan: Some(&Plan::quiet([])),
            details: vec![("recorded steps".into(), steps.to_string()), ("boots".into(), boots.to_string())],
            members: self.verified.nodes.clone(),
            verdict: self.watch.verdict().unwrap_or(&Verdict::Passed),
            is_periodic: &|timer| self.system.is_periodic(timer),
        };
        let mut page = html::of_trace(about, entries);
        if let (Some(difference), None) = (difference, violated) {
            page.ending.passed = false;
            page.ending.headline = "differs from its recording".into();
            page.ending.why = Some(difference.tell());
            page.ending.step = page.steps.len().checked_sub(1);
        }
        page
    }
}

fn tell_took<N: Node>(took: &Took<N>) -> String {
    match took {
        Took::Boot { journal, .. } => format!("boots from {} records", journal.len()),
        Took::Synced(upto) => format!("disk: durable up to record {upto}"),
        Took::Event(event) => text::tell_event(event),
    }
}

/// The first effect that differs, recorded and here.
fn first_difference<N: Node>(recorded: &[Did<N>], here: &[Did<N>]) -> (String, String) {
    let place = recorded.iter().zip(here).position(|(a, b)| a != b);
    let place = place.unwrap_or(recorded.len().min(here.len()));
    let (a, b) = (recorded.get(place), here.get(place));
    let tell = |did: Option<&Did<N>>| did.map_or("nothing more".into(), tell_did);
    let (told_a, told_b) = (tell(a), tell(b));
    if told_a != told_b {
        return (told_a, told_b);
    }
    // Their words are the same: show all there is.
    (format!("{a:?}"), format!("{b:?}"))
}

fn tell_did<N: Node>(did: &Did<N>) -> String {
    match did {
        Did::Append(record) => format!("journal: {}", N::tell(Word::Record(record))),
        Did::Send { to, message } => format!("→ {to}: {}", N::tell(Word::Message(message))),
        Did::Reply { to, reply } => format!("→ client {to}: {}", N::tell(Word::Reply(reply))),
        Did::Publish(checksum) => format!("publishes a view with the checksum {checksum:08x}"),
        Did::Observe(fact) => format!("* {}", N::tell(Word::Fact(fact))),
        Did::SetTimer { timer, delay: (min, max) } => {
            format!("arms the timer {} for {min:?} to {max:?}", N::tell(Word::Timer(timer)))
        }
        Did::CancelTimer(timer) => format!("disarms the timer {}", N::tell(Word::Timer(timer))),
    }
}
