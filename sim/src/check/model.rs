//! A [`World`] as a stateright model.
//!
//! stateright's own actor layer is not used: it applies all sends and saves of a handler in one atomic step,
//! and so cannot see a crash between the two.

use stateright::{Model, Property};

use crate::panics::catch;
use crate::spec::system::System;
use crate::spec::verdict::NEVER_PANICS;
use crate::trace::text::describe_effect;
use crate::world::rules::{MAX_PROPERTIES, PANICKED};
use crate::world::{Rules, Transition, World};

impl<S: System> Model for Rules<S> {
    type State = World<S>;
    /// Carries its result, so that a handler runs once and not twice.
    type Action = Transition<S>;

    fn init_states(&self) -> Vec<World<S>> {
        if self.from_boot {
            return vec![self.before_boot()];
        }
        let mut starts: Vec<_> = self.starts().worlds.into_iter().map(|(world, _)| world).collect();
        let plain = self.plain_start();
        starts.sort_by_key(|start| *start != plain); // what a person looks at first
        starts
    }

    fn actions(&self, world: &World<S>, actions: &mut Vec<Transition<S>>) {
        if !self.is_over() {
            self.successors(world, actions);
        }
    }

    fn next_state(&self, _: &World<S>, action: Transition<S>) -> Option<World<S>> {
        Some(action.next)
    }

    fn format_action(&self, action: &Transition<S>) -> String {
        self.describe(&action.action)
    }

    /// For the Explorer: what came of the step, then the whole world.
    fn format_step(&self, world: &World<S>, action: Transition<S>) -> Option<String> {
        let mut out = format!("{}\n", self.describe(&action.action));
        let (next, effects) = self.apply(world, &action.action);
        for told in effects.iter().filter_map(describe_effect) {
            out += &format!("    {told}\n");
        }
        let now = self.observe(&next);
        if let Some(panic) = next.panic() {
            out += &format!("    ✗ {panic}\n");
        }
        for invariant in &self.invariants {
            match catch(|| (invariant.check)(&now)) {
                Ok(Ok(())) => {}
                Ok(Err(why)) => out += &format!("    ✗ invariant {} is violated: {why}\n", invariant.name),
                Err(panic) => out += &format!("    ✗ invariant {} {panic}\n", invariant.name),
            }
        }
        for witness in &self.witnesses {
            match catch(|| (witness.seen)(&now)) {
                Ok(false) => {}
                Ok(true) => out += &format!("    ✓ {}: {}\n", witness.name, witness.about),
                Err(panic) => out += &format!("    ✗ {} {panic}\n", witness.name),
            }
        }
        Some(format!("{out}\n{next:?}"))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let conditions = conditions::<S>();
        let always = self
            .invariants
            .iter()
            .zip(&conditions)
            .map(|(invariant, condition)| Property::always(invariant.name, condition.absent));
        let sometimes = self
            .witnesses
            .iter()
            .zip(&conditions[self.invariants.len()..])
            .map(|(witness, condition)| Property::sometimes(witness.name, condition.present));
        let panics = |_: &Self, world: &World<S>| world.verdict & PANICKED == 0;
        always.chain(sometimes).chain([Property::always(NEVER_PANICS, panics)]).collect()
    }
}

/// stateright takes plain functions as conditions, so there is one for each bit of a world's verdict.
struct Condition<S: System> {
    absent: fn(&Rules<S>, &World<S>) -> bool,
    present: fn(&Rules<S>, &World<S>) -> bool,
}

fn bit<S: System, const BIT: usize>() -> Condition<S> {
    Condition {
        absent: |_, world| world.verdict & (1 << BIT) == 0,
        present: |_, world| world.verdict & (1 << BIT) != 0,
    }
}

fn conditions<S: System>() -> [Condition<S>; MAX_PROPERTIES] {
    macro_rules! bits {
        ($($bit:literal)*) => { [$(bit::<S, $bit>()),*] };
    }
    bits!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)
}
