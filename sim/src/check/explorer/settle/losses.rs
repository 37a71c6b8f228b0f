//! What may be lost of what is under way before a round: see [`asked`].
//!
//! A budget for losses bounds the search, not what settling asks: whatever was lost must heal. A search that leaves
//! losses out asks here for all that they could have led to, as far as the sets below go.

use coalmine_core::node::Word;

use super::Settling;
use super::clock::Moment;
use crate::check::Unsettled;
use crate::check::explorer::space::Space;
use crate::panics::describe;
use crate::spec::budget::Budget;
use crate::spec::limits::Limits;
use crate::spec::system::System;

/// Of so many packets under way every part is lost in turn.
const FEW: usize = 4;
/// So many sets of packets that the budget for drops allows are lost in turn, by size.
const SETS: usize = 1_000;

/// What is lost in turn, in words.
pub fn asked(limits: &Limits) -> Vec<String> {
    let mut asked = vec!["nothing is lost".to_owned()];
    if limits.drops > 0 || limits.cuts > 0 {
        asked.push("once, before any round, all that is under way is lost".into());
        asked.push(format!("of up to {FEW} messages every part"));
        asked.push("of more each alone, and all of each kind".into());
    }
    if limits.cuts > 0 {
        asked.push("all on each link".into());
    }
    if limits.drops > 1 {
        asked.push(format!(
            "up to {} together; where these are more than {SETS} sets it is not known",
            limits.drops
        ));
    }
    asked
}

/// A packet under way, and where to.
#[derive(Clone, Copy)]
struct UnderWay<'a> {
    place: usize,
    from: usize,
    packet: u32,
    hash: u64,
    kind: &'a str,
}

impl<S: System> Settling<'_, '_, S> {
    /// Whether the system settles from a state if more is lost, where something was lost before: that belongs to a set
    /// that was asked for where it was under way.
    pub(super) fn after_further_losses(&mut self, at: &Moment, state: u64) -> Result<(), Unsettled> {
        let (space, row) = (self.space, &at.row);
        let under_way = space.under_way(row);
        let left = space.rules.limits.drops - space.budgets.get(row[row.len() - 1]).spent[Budget::Drops];
        space.together(under_way.len(), left, &mut |lost| self.lose(at, state, &under_way, lost, 0))
    }

    /// Whether the system settles from a state whatever is lost after these rounds.
    pub(super) fn after_losses(&mut self, at: &Moment, state: u64, rounds: usize) -> Result<(), Unsettled> {
        let (space, limits) = (self.space, &self.space.rules.limits);
        let under_way = space.under_way(&at.row);
        let count = under_way.len();
        let mut lose = |lost: &[usize]| self.lose(at, state, &under_way, lost, rounds);
        let all: Vec<_> = (0..count).collect();
        if count == 0 {
            return Ok(());
        }
        lose(&all)?;
        if count <= FEW {
            return (1..(1_u32 << count).saturating_sub(1)).try_for_each(|part| {
                let lost: Vec<_> = all.iter().copied().filter(|&it| part & (1 << it) != 0).collect();
                lose(&lost)
            });
        }
        let mut alike = |is_alike: &dyn Fn(&UnderWay<'_>, &UnderWay<'_>) -> bool| {
            all.iter().try_for_each(|&first| {
                let is_in = |&it: &usize| is_alike(&under_way[it], &under_way[first]);
                let lost: Vec<_> = all.iter().copied().filter(is_in).collect();
                let is_new = lost.first() == Some(&first) && lost.len() > 1;
                if is_new { lose(&lost) } else { Ok(()) }
            })
        };
        alike(&|a, b| a.kind == b.kind)?;
        if limits.cuts > 0 {
            alike(&|a, b| (a.from, a.place) == (b.from, b.place))?;
        }
        space.together(count, limits.drops.max(1), &mut lose)
    }

    /// Whether the system settles from a state if these are lost.
    fn lose(
        &mut self,
        at: &Moment,
        state: u64,
        under_way: &[UnderWay<'_>],
        lost: &[usize],
        rounds: usize,
    ) -> Result<(), Unsettled> {
        let mut state = lost.iter().fold(state, |state, &it| state.wrapping_sub(under_way[it].hash));
        if lost.len() == under_way.len() && !lost.is_empty() {
            let waits = self.space.waits(at.row[2 * self.space.places.len()]);
            let [busy, quiet] = [false, true].map(|is_quiet| at.clock.key(waits, is_quiet));
            state = state.wrapping_sub(busy).wrapping_add(quiet);
        }
        if self.settled.rounds_of(state).is_some() {
            return Ok(());
        }
        let places = self.space.places.len();
        let mut at = at.clone();
        for &it in lost {
            let UnderWay { place, packet, .. } = under_way[it];
            at.row[places + place] = self.caches.without(self.space, place, at.row[places + place], packet);
        }
        self.decide(at, state).map_err(|why| {
            let when = match rounds {
                0 => String::new(),
                1 => " after a round".into(),
                _ => format!(" after {rounds} rounds"),
            };
            why.with(&format!("{}{when}", self.space.describe_lost(under_way, lost)))
        })
    }
}

impl<S: System> Space<'_, S> {
    /// What is under way, by receiver, sender and message.
    fn under_way(&self, row: &[u32]) -> Vec<UnderWay<'_>> {
        let places = self.places.len();
        let inboxes = self.inboxes.iter().zip(&row[places..]).enumerate();
        let packets = inboxes.flat_map(|(place, (inboxes, &inbox))| {
            inboxes.get(inbox).in_order.iter().map(move |&packet| {
                let known = self.packets.get(packet);
                UnderWay { place, from: known.from, packet, hash: known.hash, kind: &known.kind }
            })
        });
        packets.collect()
    }

    /// Asks for each set of at most so many of what is under way. Where these are too many it is not known what the
    /// others come to, unless the search visits losses itself.
    fn together(
        &self,
        count: usize,
        most: u8,
        each: &mut impl FnMut(&[usize]) -> Result<(), Unsettled>,
    ) -> Result<(), Unsettled> {
        if sets(count, usize::from(most), each)? || !self.reductions.losses {
            return Ok(());
        }
        Err(Unsettled::Unknown(format!(
            "up to {most} messages may be lost together, in more than {SETS} ways: ask with --visit losses"
        )))
    }

    fn describe_lost(&self, under_way: &[UnderWay<'_>], lost: &[usize]) -> String {
        if lost.len() == under_way.len() {
            return "all that is under way lost".into();
        }
        let kind = under_way[lost[0]].kind;
        let of_kind = |it: &&UnderWay<'_>| it.kind == kind;
        let is_kind = lost.iter().all(|&it| under_way[it].kind == kind);
        if is_kind && lost.len() > 1 && lost.len() == under_way.iter().filter(of_kind).count() {
            return format!("every {kind} under way lost");
        }
        let describe = |&it: &usize| {
            let packet = &self.packets.get(under_way[it].packet).packet;
            let message = describe::<S::Node>(Word::Message(&packet.message));
            format!("{} → {}: {message}", packet.from, packet.to)
        };
        format!("{} lost", lost.iter().map(describe).collect::<Vec<_>>().join(" and "))
    }
}

/// The sets of at most `most` of so many, by size, while they are no more than [`SETS`]; those of one in any case. Says
/// whether these were all.
fn sets<E>(count: usize, most: usize, each: &mut impl FnMut(&[usize]) -> Result<(), E>) -> Result<bool, E> {
    let (mut sets, mut together) = (0, 1);
    for size in 1..=most.min(count) {
        together = together * (count - size + 1) / size; // as many sets have this size
        sets += together;
        if size > 1 && sets > SETS {
            return Ok(false);
        }
        let mut set: Vec<_> = (0..size).collect();
        loop {
            each(&set)?;
            let Some(raised) = (0..size).rev().find(|&it| set[it] < count - size + it) else { break };
            let from = set[raised] + 1;
            (raised..size).for_each(|it| set[it] = from + it - raised);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::{SETS, sets};

    fn all(count: usize, most: usize) -> Vec<Vec<usize>> {
        let mut all = Vec::new();
        let listed: Result<bool, ()> = sets(count, most, &mut |set| {
            all.push(set.to_vec());
            Ok(())
        });
        assert_eq!(listed, Ok(count < 45 || most < 2), "{count} {most}");
        all
    }

    #[test]
    fn sets_are_listed_by_size_while_they_are_few() {
        assert_eq!(all(3, 2), [vec![0], vec![1], vec![2], vec![0, 1], vec![0, 2], vec![1, 2]]);
        assert_eq!(all(2, 7).len(), 3);
        assert_eq!((all(0, 2).len(), all(5, 0).len()), (0, 0));
        assert_eq!(all(44, 2).len(), 990);
        assert_eq!(all(45, 2).len(), 45, "1,035 are more than {SETS}");
        assert_eq!(all(200, 1).len(), 200);
    }
}
