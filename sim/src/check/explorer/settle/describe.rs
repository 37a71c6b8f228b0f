//! The rounds of a run that never comes to rest, step by step: what leads to those that repeat, and these once, each
//! step with what it changes.

use std::time::Duration;

use coalmine_core::node::Effect;

use super::clock::Moment;
use super::rounds::{Script, Stepped};
use super::{Passed, Settling};
use crate::spec::system::System;
use crate::trace::slice::{difference, span};
use crate::trace::text::describe_effect;
use crate::world::Action;
use crate::world::rules::Crashes;

/// So many steps that lead there are told, and so many of the rounds that repeat.
const STEPS: usize = 15;

impl<S: System> Settling<'_, '_, S> {
    /// Tells how the rounds go along a way, and on from its end until they are where they were.
    pub(super) fn describe(&mut self, passed: &[Passed], way: &[usize]) -> Vec<String> {
        let mut told = Vec::new();
        for (number, pair) in way.windows(2).enumerate() {
            let steps = self.describe_round(&passed[pair[0]].at, Some(&passed[pair[1]].at.row)).0;
            told.extend(steps.into_iter().map(|step| format!("round {}: {step}", number + 1)));
        }
        shorten(&mut told);
        let Some(&end) = way.last() else { return told };
        let mut again = Vec::new();
        let mut at = passed[end].at.clone();
        for number in way.len().. {
            let (steps, next) = self.describe_round(&at, None);
            again.extend(steps.into_iter().map(|step| format!("round {number}: {step}")));
            if self.state(&next) == passed[end].state || again.len() > STEPS || number > way.len() + STEPS {
                break;
            }
            at = next;
        }
        shorten(&mut again);
        told.push("from here on, the same again and again:".into());
        told.extend(again);
        told.push("and so on".into());
        told
    }

    /// Tells a round: that which leads to this row, or the first of all.
    fn describe_round(&mut self, at: &Moment, to: Option<&Vec<u32>>) -> (Vec<String>, Moment) {
        let rules = self.space.rules;
        let mut script = Script::default();
        loop {
            let (mut told, mut next) = (Vec::new(), at.clone());
            let (space, mut before) = (self.space, at.row.clone());
            self.round(&mut next, &mut script, &mut |Stepped { row: now, place, after, step }| {
                let (choices, crash) = (Vec::new(), None);
                let step = step();
                let mut said = rules.describe(&Action::Step { place, step: step.clone(), choices, crash });
                if after > 0 {
                    said += &format!(", {} later", span(Duration::from_nanos(after)));
                }
                let [old, new] = [before[place], now[place]].map(|slot| space.places[place].get(slot));
                let changes = match (&old.slot.host, &new.slot.host) {
                    (Some(old), Some(new)) => difference(old.node(), new.node()),
                    (None, _) | (_, None) => String::new(),
                };
                told.push(if changes.is_empty() { said } else { format!("{said}  ~ {changes}") });
                // What is lost arrives in no later round.
                rules.ways(&old.slot, place, &step, Crashes::NONE, |way| {
                    let lost = way.effects.iter().filter(|effect| matches!(effect, Effect::Lost { .. }));
                    if way.slot == new.slot {
                        told.extend(lost.filter_map(describe_effect));
                    }
                });
                before.copy_from_slice(now);
            });
            if to.is_none_or(|to| *to == next.row) || !script.next() {
                return (told, next);
            }
        }
    }
}

/// Leaves out what is in the middle of what is too long.
fn shorten(told: &mut Vec<String>) {
    if told.len() > STEPS {
        let left_out = told.len() + 1 - STEPS;
        let middle = STEPS / 2..STEPS / 2 + left_out;
        told.splice(middle, [format!("… {left_out} steps …")]);
    }
}
