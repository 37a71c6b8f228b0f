//! The states that are known to settle.

/// Bits of a state that say where it is kept; the others are kept there, so none is ever mistaken.
const BITS: u32 = 20;
const LOW: u64 = (1 << BITS) - 1;

/// The most rounds that may be asked for.
pub const MOST_ROUNDS: usize = LOW as usize;

/// Some of the states that are known to settle, each with how many rounds may pass before they repeat. One thread's
/// own; what is added may take the place of an older one.
pub struct Settled {
    /// Upper part of the state, and the rounds, which are never 0.
    entries: Box<[u64]>,
}

impl Settled {
    pub fn new() -> Self {
        Self { entries: vec![0; 1 << BITS].into() }
    }

    /// How many rounds may pass from a state that is known to settle, before they repeat.
    pub fn rounds_of(&self, state: u64) -> Option<usize> {
        let entry = self.entries[(state & LOW) as usize];
        (entry & LOW != 0 && entry & !LOW == state & !LOW).then_some((entry & LOW) as usize)
    }

    /// Adds a state that settles after so many rounds, at least one and no more than [`MOST_ROUNDS`].
    pub fn add(&mut self, state: u64, rounds: usize) {
        debug_assert!((1..=MOST_ROUNDS).contains(&rounds), "{rounds} rounds");
        self.entries[(state & LOW) as usize] = state & !LOW | rounds as u64;
    }
}

/// Some of the states of which it is known that they settle whatever is lost on the way. One thread's own, too.
pub struct Tried {
    states: Box<[u64]>,
}

impl Tried {
    pub fn new() -> Self {
        Self { states: vec![0; 1 << BITS].into() }
    }

    /// Whether a state is among them.
    pub fn contains(&self, state: u64) -> bool {
        // The lowest stands for none; whoever has it is never taken for one of them.
        self.states[(state & LOW) as usize] == state && state != 0
    }

    /// Adds one.
    pub fn add(&mut self, state: u64) {
        self.states[(state & LOW) as usize] = state;
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
