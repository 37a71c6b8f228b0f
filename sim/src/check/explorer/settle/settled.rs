//! The states that are known to settle.

use crate::check::explorer::arena::Entries;

/// How many of each are remembered at most: two to the power of this.
const BITS: u32 = 20;

/// The most rounds that may be asked for.
pub const MOST_ROUNDS: usize = (1 << 20) - 1;

/// Some of the states that are known to settle, each with how many rounds may pass before they repeat. One thread's
/// own; what is added may take the place of an older one.
pub struct Settled {
    /// The state, and the rounds, which are never 0.
    entries: Entries<(u64, u32)>,
}

impl Settled {
    pub fn new() -> Self {
        Self { entries: Entries::new(BITS) }
    }

    /// How many rounds may pass from a state that is known to settle, before they repeat.
    pub fn rounds_of(&self, state: u64) -> Option<usize> {
        let (there, rounds) = *self.entries.peek(state);
        (there == state && rounds != 0).then_some(rounds as usize)
    }

    /// Adds a state that settles after so many rounds, at least one and no more than [`MOST_ROUNDS`].
    pub fn add(&mut self, state: u64, rounds: usize) {
        debug_assert!((1..=MOST_ROUNDS).contains(&rounds), "{rounds} rounds");
        *self.entries.at(state) = (state, rounds as u32);
        self.entries.wrote(|(there, rounds)| (*rounds != 0).then_some(*there));
    }
}

/// Some of the states of which it is known that they settle whatever is lost on the way. One thread's own, too.
pub struct Tried {
    states: Entries<u64>,
}

impl Tried {
    pub fn new() -> Self {
        Self { states: Entries::new(BITS) }
    }

    /// Whether a state is among them.
    pub fn contains(&self, state: u64) -> bool {
        // The lowest stands for none; whoever has it is never taken for one of them.
        *self.states.peek(state) == state && state != 0
    }

    /// Adds one.
    pub fn add(&mut self, state: u64) {
        *self.states.at(state) = state;
        self.states.wrote(|there| (*there != 0).then_some(*there));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settled_states_may_be_forgotten_but_never_mistaken() {
        let mut settled = Settled::new();
        for state in [0, 7, 7 << BITS, u64::MAX] {
            assert_eq!(settled.rounds_of(state), None);
        }
        settled.add(7, 3);
        settled.add(u64::MAX, MOST_ROUNDS);
        assert_eq!((settled.rounds_of(7), settled.rounds_of(u64::MAX)), (Some(3), Some(MOST_ROUNDS)));
        assert_eq!(settled.rounds_of(7 | 1 << BITS), None);
        settled.add(7 | 1 << BITS, 1);
        assert_eq!((settled.rounds_of(7), settled.rounds_of(7 | 1 << BITS)), (None, Some(1)));
    }
}
