//! What a life may inherit from the one before: its journal.
//!
//! A crash keeps all that was durable, and a prefix of the rest. So a journal follows from a recorded life if it is
//! a prefix of what that life is known to have written, and holds all that was durable. One that holds more was
//! written in a gap. One that is empty is a new disk. And one that lacks something durable, or holds another record
//! in its place, contradicts the recording, unless whole lives may be missing between.

use std::collections::BTreeMap;

use coalmine_core::codec::recording::{Did, Took};
use coalmine_core::node::Node;

use super::tapes::{Tape, What};

/// Where the journal of a boot comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heritage {
    /// From the life before, as far as it is recorded; or there was none, and it is empty.
    Follows,
    /// From nowhere: the disk is new.
    New,
    /// From what is not recorded.
    Unknown(String),
    /// It cannot come from what is recorded.
    Impossible(String),
}

/// What is known of the journal of the lives so far.
struct Known<'a, R> {
    /// Whether there was a life.
    any: bool,
    written: Vec<&'a R>,
    durable: usize,
    /// Whether the life's end may be missing.
    gap: bool,
    /// Whether whole lives may be missing after it.
    lives: bool,
}

impl<R: PartialEq> Known<'_, R> {
    fn of(&self, journal: &[R]) -> Heritage {
        let Self { any, written, durable, gap, lives } = self;
        let (boots_from, known) = (journal.len(), written.len());
        if !any {
            return match boots_from {
                0 => Heritage::Follows,
                _ => Heritage::Unknown(format!(
                    "it boots from {boots_from} records, and the lives that wrote them are not recorded"
                )),
            };
        }
        let differs = journal.iter().zip(written).position(|(now, then)| now != *then);
        let why = match differs {
            None if boots_from > known => {
                let why = format!("it boots from {boots_from} records, and is known to have written {known}");
                return if *gap { Heritage::Unknown(why) } else { Heritage::Impossible(why) };
            }
            None if boots_from >= *durable => return Heritage::Follows,
            None if boots_from == 0 => return Heritage::New,
            None => format!("it boots from {boots_from} records, and {durable} were durable"),
            Some(place) => format!("it boots from a record {} that is not the one it wrote", place + 1),
        };
        if *lives { Heritage::Unknown(why) } else { Heritage::Impossible(why) }
    }
}

/// The heritage of each boot, by its piece.
pub fn heritage<N: Node>(tape: &Tape<N>) -> BTreeMap<usize, Heritage> {
    let mut known = Known { any: false, written: Vec::new(), durable: 0, gap: false, lives: false };
    let mut boots = BTreeMap::new();
    for (number, piece) in tape.pieces.iter().enumerate() {
        match &piece.what {
            What::Part { .. } => {}
            What::Gap { lives, .. } => {
                known.gap = true;
                known.lives |= lives;
            }
            What::Step(step) => {
                match &step.took {
                    Took::Boot { journal, .. } => {
                        boots.insert(number, known.of(journal));
                        let (written, durable) = (journal.iter().collect(), journal.len());
                        known = Known { any: true, written, durable, gap: false, lives: false };
                    }
                    Took::Synced(upto) => {
                        let upto = usize::try_from(*upto).unwrap_or(usize::MAX);
                        known.durable = known.durable.max(upto.min(known.written.len()));
                    }
                    Took::Event(_) => {}
                }
                for did in &step.did {
                    if let Did::Append(record) = did {
                        known.written.push(record);
                    }
                }
            }
        }
    }
    boots
}
