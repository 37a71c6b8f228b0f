//! A trace as a story for a terminal: one line an event, what it changed and caused below it. What every run is full of
//! (periodic timers, timers being armed, views being published) is folded away; but never what changed a node's state,
//! nor what is part of the [slice] that led to a violation, which is marked in the margin.

use std::time::Duration;

use coalmine_core::form::Form;
use coalmine_core::node::{Address, Effect, Event, Node, NodeId, Word};
use coalmine_real::transport::Envelope;

use super::changes::clip;
use super::slice::{Slice, Told, changes_in_lines, describe_armed};
use super::story::{Story, Tone};
use super::{Entry, Fate, TraceEvent, turn};
use crate::panics::describe;

/// What ends the safety phase.
pub const HEALED: &str = "all faults are healed, every node is restarted";

/// In the margin of what led to a violation.
const LED: &str = "▸";

/// What changed in a node is told in lines of so many signs.
const CHANGES: usize = 96;

/// How a story is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Tell the boring parts as well.
    pub everything: bool,
    /// Number the steps of a path, instead of telling the time.
    pub in_turns: bool,
    /// Begin with the entry of this number.
    pub from: usize,
}

/// The whole story; the slice is that of these entries.
pub fn story<N: Node>(
    entries: &[Entry<N>],
    slice: &Slice,
    boring: impl Fn(&Event<N>) -> bool,
    style: Style,
) -> Story {
    let mut out = Story::default();
    let mut folded = 0;
    let mut last = None;
    let indent = if style.in_turns { 12 } else { 20 };
    for (place, (entry, told)) in entries.iter().zip(&slice.told).enumerate() {
        if place < style.from {
            continue;
        }
        let effects = entry.what.effects();
        let mut lines = changes_in_lines(&told.changes, CHANGES);
        lines.iter_mut().for_each(|line| line.insert_str(0, "~ "));
        lines.extend(effects.iter().filter_map(describe_effect));
        if let TraceEvent::Crashed { prevented, .. } = &entry.what {
            let told = prevented.iter().filter_map(describe_effect);
            lines.extend(told.map(|effect| format!("never comes to: {effect}")));
        }
        let crashes_now = matches!(entries.get(place + 1), Some(entry) if entry.what.ends_a_life());
        let matters = told.in_slice || !told.changes.is_empty() || crashes_now;
        if !style.everything && !matters && is_boring(&entry.what, effects, &boring) {
            folded += 1;
            continue;
        }
        // What a path's clients say and hear is told of the nodes that hear and say it.
        if style.in_turns && matches!(entry.what, TraceEvent::Asked { .. } | TraceEvent::Answered { .. }) {
            continue;
        }
        describe_folded(&mut out, std::mem::take(&mut folded));
        let turn = style.in_turns.then(|| turn(entry.at));
        let time = match turn {
            None => describe_time(entry.at),
            turn if turn == last => "     ".into(),
            Some(turn) => format!("{turn:>4}."),
        };
        last = turn;
        let time =
            if told.in_slice { format!("{LED}{}", time.strip_prefix(' ').unwrap_or(&time)) } else { time };
        let what = describe_trace_event(&entry.what);
        out.line(tone(&entry.what), format_args!("{time}  {what}{}", describe_timer(told, entry, style)));
        for line in lines {
            out.line(Tone::Plain, format_args!("{:indent$}{line}", ""));
        }
    }
    describe_folded(&mut out, folded);
    out
}

/// How long ago the timer was set that fires here.
fn describe_timer<N: Node>(told: &Told, entry: &Entry<N>, style: Style) -> String {
    let Some(armed) = told.timer else { return String::new() };
    format!(" ({})", describe_armed(armed, entry.at, style.in_turns.then(|| turn(armed.at))))
}

fn describe_folded(out: &mut Story, folded: usize) {
    match folded {
        0 => {}
        1 => out.line(Tone::LeftOut, "              (one quiet event)"),
        folded => out.line(Tone::LeftOut, format_args!("              ({folded} quiet events)")),
    }
}

fn tone<N: Node>(what: &TraceEvent<N>) -> Tone {
    match what {
        TraceEvent::Crashed { .. } | TraceEvent::Killed { .. } | TraceEvent::Stopped { .. } => Tone::Broken,
        TraceEvent::Fault(_)
        | TraceEvent::Noted(_)
        | TraceEvent::Healed
        | TraceEvent::Cut { .. }
        | TraceEvent::Mended { .. } => Tone::Staged,
        TraceEvent::Booted { .. }
        | TraceEvent::Stepped { .. }
        | TraceEvent::Synced { .. }
        | TraceEvent::Frame { .. }
        | TraceEvent::Asked { .. }
        | TraceEvent::Answered { .. }
        | TraceEvent::Complained { .. } => Tone::Plain,
    }
}

fn is_boring<N: Node>(
    what: &TraceEvent<N>,
    effects: &[Effect<N>],
    boring: &impl Fn(&Event<N>) -> bool,
) -> bool {
    let says_nothing = !effects
        .iter()
        .any(|effect| matches!(effect, Effect::Append(_) | Effect::Observe(_) | Effect::Reply { .. }));
    match what {
        TraceEvent::Stepped { event, .. } => says_nothing && boring(event),
        TraceEvent::Synced { effects, .. } => !effects.iter().any(|effect| describe_effect(effect).is_some()),
        TraceEvent::Booted { .. }
        | TraceEvent::Crashed { .. }
        | TraceEvent::Killed { .. }
        | TraceEvent::Stopped { .. }
        | TraceEvent::Frame { .. }
        | TraceEvent::Asked { .. }
        | TraceEvent::Answered { .. }
        | TraceEvent::Complained { .. }
        | TraceEvent::Fault(_)
        | TraceEvent::Noted(_)
        | TraceEvent::Healed
        | TraceEvent::Cut { .. }
        | TraceEvent::Mended { .. } => false,
    }
}

fn describe_time(at: Duration) -> String {
    format!("{:>10.6} s", at.as_secs_f64())
}

fn describe_trace_event<N: Node>(what: &TraceEvent<N>) -> String {
    match what {
        TraceEvent::Booted { node, records, torn, .. } => {
            let torn = torn.map_or(String::new(), |(line, bytes)| {
                format!(", cut off {bytes} bytes of a torn record in line {line}")
            });
            format!("{node}  starts from {records} records{torn}")
        }
        TraceEvent::Stepped { node, event, .. } => format!("{node}  {}", describe_event(event)),
        TraceEvent::Synced { node, upto, .. } => format!("{node}  disk: durable up to record {upto}"),
        TraceEvent::Crashed { node, kept, lost, torn_bytes, .. } => {
            let unsynced = match (kept, lost) {
                (0, 0) => String::new(),
                (kept, lost) => format!(": of its unsynced records {kept} survive, {lost} are lost"),
            };
            let torn =
                if *torn_bytes > 0 { format!(", torn after {torn_bytes} bytes") } else { String::new() };
            format!("{node}  ✗ CRASHES{unsynced}{torn}")
        }
        TraceEvent::Killed { node, kept, lost } => {
            format!("{node}  ✗ IS KILLED{}", describe_killed(*kept, *lost))
        }
        TraceEvent::Stopped { node, why } => format!("{node}  ✗ STOPS: {why}"),
        TraceEvent::Frame { from, to, fate, bytes } => {
            format!("net  {from} → {to} {}: {}", describe_fate(*fate), frame_text::<N>(bytes))
        }
        TraceEvent::Asked { to, call } => format!("client → {to}: {call}"),
        TraceEvent::Answered { from, call } => format!("client ← {from}: {call}"),
        TraceEvent::Complained { node, what } => format!("{node}  {what}"),
        TraceEvent::Fault(fault) => format!("—— {} ——", fault.describe()),
        TraceEvent::Noted(what) => format!("—— {what} ——"),
        TraceEvent::Healed => format!("—— {HEALED} ——"),
        TraceEvent::Cut { from, to, both_ways } => format!("—— {} ——", describe_cut(*from, *to, *both_ways)),
        TraceEvent::Mended { from, to } => format!("—— {from} → {to} is mended ——"),
    }
}

/// What the network did to a frame, in words.
pub fn describe_fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Passes => "arrives",
        Fate::Lost => "is lost",
        Fate::LostInReset => "is lost in a reset",
        Fate::CutOff => "is cut off",
        Fate::NobodyThere => "finds nobody there",
        Fate::Doubled => "arrives twice",
        Fate::Clogged => "is held by a clog",
        Fate::HeldBack => "is held back",
    }
}

/// What a kill leaves of what was not synced, in words.
pub fn describe_killed(kept: usize, lost: usize) -> String {
    match (kept, lost) {
        (0, 0) => String::new(),
        (kept, lost) => {
            format!(": of its unsynced records {kept} are there still, although not durable, {lost} are lost")
        }
    }
}

/// A cut in words.
pub fn describe_cut(from: NodeId, to: NodeId, both_ways: bool) -> String {
    format!("cut {from} {} {to}", if both_ways { "↮" } else { "↛" })
}

/// An event in words.
pub fn describe_event<N: Node>(event: &Event<N>) -> String {
    match event {
        Event::Message { from, message } => format!("← {from}: {}", describe::<N>(Word::Message(message))),
        Event::Timer(timer) => format!("timer: {}", describe::<N>(Word::Timer(timer))),
        Event::Request { id, request } => format!("← client {id}: {}", describe::<N>(Word::Request(request))),
        Event::Durable(token) => format!("durable: token {token}"),
    }
}

/// An effect in words; `None` for those that tell nothing.
pub fn describe_effect<N: Node>(effect: &Effect<N>) -> Option<String> {
    match effect {
        Effect::Append(record) => Some(format!("journal: {}", describe::<N>(Word::Record(record)))),
        Effect::Send { to, message } => Some(format!("→ {to}: {}", describe::<N>(Word::Message(message)))),
        Effect::Reply { to, reply } => Some(format!("→ client {to}: {}", describe::<N>(Word::Reply(reply)))),
        Effect::Observe(fact) => Some(format!("* {}", describe::<N>(Word::Fact(fact)))),
        Effect::Forget(before) => Some(describe_forget(*before)),
        Effect::Meet { peer, address } => Some(describe_meeting(*peer, *address)),
        Effect::Part(peer) => Some(describe_parting(*peer)),
        Effect::Lost { to, message } => Some(describe_lost::<N>(*to, message)),
        Effect::Publish(_) | Effect::SetTimer { .. } | Effect::CancelTimer(_) | Effect::WhenDurable(_) => {
            None
        }
    }
}

/// That a node meets a member, in words.
pub(crate) fn describe_meeting(peer: NodeId, address: Address) -> String {
    format!("meets {peer} at {address}")
}

/// That it parts from one, in words.
pub(crate) fn describe_parting(peer: NodeId) -> String {
    format!("parts from {peer}")
}

/// A message for somebody whom a node does not know, in words.
pub(crate) fn describe_lost<N: Node>(to: NodeId, message: &N::Message) -> String {
    format!("lost, as it does not know {to}: {}", describe::<N>(Word::Message(message)))
}

/// What may vanish from a journal, in words.
pub(crate) fn describe_forget(before: u64) -> String {
    format!("journal: the records before number {before} may vanish")
}

/// The message in a frame, or the beginning of what makes no sense.
fn frame_text<N: Node>(bytes: &[u8]) -> String {
    let body = bytes.get(4..).unwrap_or_default();
    match N::FORM.read::<Envelope<N::Message>>(body) {
        Ok(frame) => describe::<N>(Word::Message(&frame.message)),
        Err(_) if N::FORM == Form::Json => clip(&String::from_utf8_lossy(body)),
        Err(_) => format!("{} bytes", bytes.len()),
    }
}

/// A number with commas.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn thousands_are_set_apart() {
        let all = [0, 12, 999, 1_000, 296_448, 12_345_678].map(thousands);
        assert_eq!(all, ["0", "12", "999", "1,000", "296,448", "12,345,678"]);
    }
}
