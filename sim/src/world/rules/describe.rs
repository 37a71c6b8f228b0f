//! Actions in words.

use coalmine_core::node::Word;

use super::{Action, CrashPoint, Kept, Rules, Step};
use crate::panics::describe;
use crate::spec::system::{NodeOf, System};
use crate::world::Packet;

impl<S: System> Rules<S> {
    /// An action in words.
    pub fn describe(&self, action: &Action<NodeOf<S>>) -> String {
        let name = |place: usize| self.members[place].0;
        let describe = |word| describe::<NodeOf<S>>(word);
        match action {
            Action::Drop(Packet { from, to, message }) => {
                format!("{from} → {to} is lost: {}", describe(Word::Message(message)))
            }
            Action::Crash { place, kept } => format!("{} crashes{}", name(*place), describe_kept(*kept)),
            Action::Cut { from, to, both_ways } => {
                let arrow = if *both_ways { "↔" } else { "→" };
                format!("{from} {arrow} {to} is cut")
            }
            Action::Heal { from, to } => format!("{from} → {to} is healed"),
            Action::Step { place, step, choices, crash } => {
                let me = name(*place);
                let mut what = match step {
                    Step::Boot => format!("{me} starts"),
                    Step::Deliver { packet, again } => {
                        let copy = if *again { " (a copy stays under way)" } else { "" };
                        format!("{} → {me}: {}{copy}", packet.from, describe(Word::Message(&packet.message)))
                    }
                    Step::Fire(timer) => format!("{me} timer: {}", describe(Word::Timer(timer))),
                    Step::Ask(ask) => format!("client → {me}: {}", describe(Word::Request(&ask.request))),
                    Step::Flush => format!("{me} disk: the next record is durable"),
                };
                if !choices.is_empty() {
                    let choices: Vec<_> = choices.iter().map(ToString::to_string).collect();
                    what += &format!(", choosing {}", choices.join(", "));
                }
                match crash {
                    None => what,
                    Some(CrashPoint { after, kept }) => {
                        format!("{what}, and crashes after {after} of its effects{}", describe_kept(*kept))
                    }
                }
            }
        }
    }
}

fn describe_kept(kept: Kept) -> String {
    match kept {
        Kept::Unsynced(0) => String::new(),
        Kept::Unsynced(keep) => format!(" ({keep} unsynced records survive)"),
        Kept::Nothing => " (it will start again with an empty disk)".into(),
    }
}
