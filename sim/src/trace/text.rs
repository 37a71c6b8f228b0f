//! A trace as a story for a terminal: one line an event, what it caused below it. What every run is full of
//! (heartbeats, timers being armed, views being published) is folded away.

use crate::panics::told;
use std::time::Duration;

use coalmine_core::node::{Effect, Event, Node, NodeId, Word};

use super::story::{Story, Tone};
use super::{Entry, Fate, Happening, turn};

/// What ends the safety phase.
pub const HEALED: &str = "all faults are healed, every node is restarted";

/// How a story is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Tell the boring parts as well.
    pub everything: bool,
    /// Number the steps of a path, instead of telling the time.
    pub in_turns: bool,
}

/// The whole story.
pub fn story<N: Node>(entries: &[Entry<N>], boring: impl Fn(&Event<N>) -> bool, style: Style) -> Story {
    let mut out = Story::default();
    let mut folded = 0;
    let mut last = None;
    let indent = if style.in_turns { 12 } else { 20 };
    for (place, entry) in entries.iter().enumerate() {
        let effects = entry.what.effects();
        let mut lines: Vec<_> = effects.iter().filter_map(tell_effect).collect();
        if let Happening::Crashed { prevented, .. } = &entry.what {
            let told = prevented.iter().filter_map(tell_effect);
            lines.extend(told.map(|effect| format!("never comes to: {effect}")));
        }
        let crashes_now = matches!(entries.get(place + 1), Some(entry) if entry.what.ends_a_life());
        if !style.everything && !crashes_now && is_boring(&entry.what, effects, &boring) {
            folded += 1;
            continue;
        }
        // What a path's clients say and hear is told of the nodes that hear and say it.
        if style.in_turns && matches!(entry.what, Happening::Asked { .. } | Happening::Answered { .. }) {
            continue;
        }
        tell_folded(&mut out, std::mem::take(&mut folded));
        let turn = style.in_turns.then(|| turn(entry.at));
        let time = match turn {
            None => tell_time(entry.at),
            turn if turn == last => "     ".into(),
            Some(turn) => format!("{turn:>4}."),
        };
        last = turn;
        out.line(tone(&entry.what), format_args!("{time}  {}", tell_happening(&entry.what)));
        for line in lines {
            out.line(Tone::Plain, format_args!("{:indent$}{line}", ""));
        }
    }
    tell_folded(&mut out, folded);
    out
}

fn tell_folded(out: &mut Story, folded: usize) {
    match folded {
        0 => {}
        1 => out.line(Tone::LeftOut, "              (one quiet event)"),
        folded => out.line(Tone::LeftOut, format_args!("              ({folded} quiet events)")),
    }
}

fn tone<N: Node>(what: &Happening<N>) -> Tone {
    match what {
        Happening::Crashed { .. } | Happening::Killed { .. } | Happening::Stopped { .. } => Tone::Broken,
        Happening::Fault(_)
        | Happening::Noted(_)
        | Happening::Healed
        | Happening::Cut { .. }
        | Happening::Mended { .. } => Tone::Staged,
        Happening::Booted { .. }
        | Happening::Stepped { .. }
        | Happening::Synced { .. }
        | Happening::Frame { .. }
        | Happening::Asked { .. }
        | Happening::Answered { .. }
        | Happening::Complained { .. } => Tone::Plain,
    }
}

fn is_boring<N: Node>(
    what: &Happening<N>,
    effects: &[Effect<N>],
    boring: &impl Fn(&Event<N>) -> bool,
) -> bool {
    let says_nothing = !effects
        .iter()
        .any(|effect| matches!(effect, Effect::Append(_) | Effect::Observe(_) | Effect::Reply { .. }));
    match what {
        Happening::Stepped { event, .. } => says_nothing && boring(event),
        Happening::Synced { effects, .. } => !effects.iter().any(|effect| tell_effect(effect).is_some()),
        Happening::Booted { .. }
        | Happening::Crashed { .. }
        | Happening::Killed { .. }
        | Happening::Stopped { .. }
        | Happening::Frame { .. }
        | Happening::Asked { .. }
        | Happening::Answered { .. }
        | Happening::Complained { .. }
        | Happening::Fault(_)
        | Happening::Noted(_)
        | Happening::Healed
        | Happening::Cut { .. }
        | Happening::Mended { .. } => false,
    }
}

fn tell_time(at: Duration) -> String {
    format!("{:>10.6} s", at.as_secs_f64())
}

fn tell_happening<N: Node>(what: &Happening<N>) -> String {
    match what {
        Happening::Booted { node, records, torn, .. } => {
            let torn = torn.map_or(String::new(), |(line, bytes)| {
                format!(", cut off {bytes} bytes of a torn record in line {line}")
            });
            format!("{node}  starts from {records} records{torn}")
        }
        Happening::Stepped { node, event, .. } => format!("{node}  {}", tell_event(event)),
        Happening::Synced { node, upto, .. } => format!("{node}  disk: durable up to record {upto}"),
        Happening::Crashed { node, kept, lost, torn_bytes, .. } => {
            let unsynced = match (kept, lost) {
                (0, 0) => String::new(),
                (kept, lost) => format!(": of its unsynced records {kept} survive, {lost} are lost"),
            };
            let torn =
                if *torn_bytes > 0 { format!(", torn after {torn_bytes} bytes") } else { String::new() };
            format!("{node}  ✗ CRASHES{unsynced}{torn}")
        }
        Happening::Killed { node, kept, lost } => format!("{node}  ✗ IS KILLED{}", tell_killed(*kept, *lost)),
        Happening::Stopped { node, why } => format!("{node}  ✗ STOPS: {why}"),
        Happening::Frame { from, to, fate, bytes } => {
            format!("net  {from} → {to} {}: {}", tell_fate(*fate), frame_text(bytes))
        }
        Happening::Asked { to, call } => format!("client → {to}: {call}"),
        Happening::Answered { from, call } => format!("client ← {from}: {call}"),
        Happening::Complained { node, what } => format!("{node}  {what}"),
        Happening::Fault(fault) => format!("—— {} ——", fault.tell()),
        Happening::Noted(what) => format!("—— {what} ——"),
        Happening::Healed => format!("—— {HEALED} ——"),
        Happening::Cut { from, to, both_ways } => format!("—— {} ——", tell_cut(*from, *to, *both_ways)),
        Happening::Mended { from, to } => format!("—— {from} → {to} is mended ——"),
    }
}

/// What the network did to a frame, in words.
pub fn tell_fate(fate: Fate) -> &'static str {
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
pub fn tell_killed(kept: usize, lost: usize) -> String {
    match (kept, lost) {
        (0, 0) => String::new(),
        (kept, lost) => {
            format!(": of its unsynced records {kept} are there still, although not durable, {lost} are lost")
        }
    }
}

/// A cut in words.
pub fn tell_cut(from: NodeId, to: NodeId, both_ways: bool) -> String {
    format!("cut {from} {} {to}", if both_ways { "↮" } else { "↛" })
}

/// An event in words.
pub fn tell_event<N: Node>(event: &Event<N>) -> String {
    match event {
        Event::Message { from, message } => format!("← {from}: {}", told::<N>(Word::Message(message))),
        Event::Timer(timer) => format!("timer: {}", told::<N>(Word::Timer(timer))),
        Event::Request { id, request } => format!("← client {id}: {}", told::<N>(Word::Request(request))),
        Event::Durable(token) => format!("durable: token {token}"),
    }
}

/// An effect in words; `None` for those that tell nothing.
pub fn tell_effect<N: Node>(effect: &Effect<N>) -> Option<String> {
    match effect {
        Effect::Append(record) => Some(format!("journal: {}", told::<N>(Word::Record(record)))),
        Effect::Send { to, message } => Some(format!("→ {to}: {}", told::<N>(Word::Message(message)))),
        Effect::Reply { to, reply } => Some(format!("→ client {to}: {}", told::<N>(Word::Reply(reply)))),
        Effect::Observe(fact) => Some(format!("* {}", told::<N>(Word::Fact(fact)))),
        Effect::Publish(_) | Effect::SetTimer { .. } | Effect::CancelTimer(_) | Effect::WhenDurable(_) => {
            None
        }
    }
}

/// The beginning of a frame's JSON.
fn frame_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(4..).unwrap_or_default());
    let short: String = text.chars().take(70).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
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
