//! What a life may inherit from the one before: its journal.
//!
//! A crash keeps all that was durable, and a prefix of the rest. So a journal follows from a recorded life if it is
//! a prefix of what that life is known to have written, and holds all that was durable. One that holds more was
//! written in a gap. One that is empty is a new disk. And one that lacks something durable, or holds another record
//! in its place, contradicts the recording, unless whole lives may be missing between. Of its beginning, what that life
//! has forgotten may be gone, and no more.

use std::collections::BTreeMap;

use coalmine_core::codec::recording::{Did, Left, Took};
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
    /// How many records are gone before those that it is known to have written.
    gone: u64,
    written: Vec<&'a R>,
    /// The number of the last record that is durable.
    durable: u64,
    /// The records before this number are forgotten.
    before: u64,
    /// Whether the life's end may be missing.
    gap: bool,
    /// Whether whole lives may be missing after it.
    lives: bool,
}

impl<R: PartialEq> Known<'_, R> {
    fn of(&self, left: &Left<R>) -> Heritage {
        let Self { any, gone, written, durable, before, gap, lives } = self;
        let (boots_from, known) = (left.journal().last(), gone + written.len() as u64);
        if !any {
            return match boots_from {
                0 => Heritage::Follows,
                _ => Heritage::Unknown(format!(
                    "it boots from {boots_from} records, and the lives that wrote them are not recorded"
                )),
            };
        }
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let skipped = number(left.forgotten.saturating_sub(*gone));
        let known_again = left.records.iter().skip(number(gone.saturating_sub(left.forgotten)));
        let differs = known_again.zip(written.iter().skip(skipped)).position(|(now, then)| now != *then);
        let why = match differs {
            None if left.forgotten >= *before && boots_from > 0 => {
                let why = format!("it boots without record {before}, which is not forgotten");
                return if *gap { Heritage::Unknown(why) } else { Heritage::Impossible(why) };
            }
            None if boots_from > known => {
                let why = format!("it boots from {boots_from} records, and is known to have written {known}");
                return if *gap { Heritage::Unknown(why) } else { Heritage::Impossible(why) };
            }
            None if boots_from >= *durable => return Heritage::Follows,
            None if boots_from == 0 => return Heritage::New,
            None => format!("it boots from {boots_from} records, and {durable} were durable"),
            Some(place) => {
                let place = left.forgotten.max(*gone) + place as u64 + 1;
                format!("it boots from a record {place} that is not the one it wrote")
            }
        };
        if *lives { Heritage::Unknown(why) } else { Heritage::Impossible(why) }
    }
}

/// The heritage of each boot, by its piece.
pub fn heritage<N: Node>(tape: &Tape<N>) -> BTreeMap<usize, Heritage> {
    let mut known =
        Known { any: false, gone: 0, written: Vec::new(), durable: 0, before: 1, gap: false, lives: false };
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
                        let (written, gone) = (journal.records.iter().collect(), journal.forgotten);
                        // A journal that begins later may have been told to forget more than is gone.
                        let before =
                            if journal.journal().last() == 0 { 1 } else { known.before.max(gone + 1) };
                        let durable = journal.journal().last();
                        known = Known { any: true, gone, written, durable, before, gap: false, lives: false };
                    }
                    Took::Synced(upto) => {
                        known.durable =
                            known.durable.max((*upto).min(known.gone + known.written.len() as u64));
                    }
                    Took::Event(_) => {}
                }
                for did in &step.did {
                    match did {
                        Did::Append(record) => known.written.push(record),
                        Did::Forget(before) => known.before = known.before.max(*before),
                        Did::Send { .. }
                        | Did::Reply { .. }
                        | Did::Publish(_)
                        | Did::Observe(_)
                        | Did::SetTimer { .. }
                        | Did::Meet { .. }
                        | Did::Part(_)
                        | Did::Lost { .. }
                        | Did::CancelTimer(_) => {}
                    }
                }
            }
        }
    }
    boots
}
