//! One binary for all tests that cross crates: linking is the slow part.
//!
//! * [`transcripts`]: situations of a protocol, written as scripts, told as stories.
//! * [`codecs`]: frames, journals and JSON against hostile bytes.
//! * [`durations`], [`edges`]: how long a timer may take; what is found is told whatever cannot be kept.
//! * [`host`]: the promises of the one interpreter of effects.
//! * [`hosting`]: what is simulated is what ships.
//! * [`runs`]: what both engines promise about every run.
//! * [`html`], [`browser`], [`thin`]: a run as a page, the page in a browser, and one of a long run.
//! * [`scenarios`], [`checks`]: what ships passes, and is counted; a seed is a seed, wherever it runs.
//! * [`clients`]: what clients see is linearizable, or that is found, in every world.
//! * [`weaker`]: what is weaker than linearizability is broken in every world or in none.
//! * [`boots`]: how all begins: every choice, crash and order of first boots.
//! * [`lost`]: evidence is not lost to a step with millions of ways, nor to words that panic.
//! * [`main_job`]: pinned spaces, every fault drawn, no witness excused wrongly, no healing hidden by another.
//! * [`rules`]: rules of the rollout that nothing else would miss.
//! * [`promises`]: words and the records that they rest on; what clients are told.
//! * [`members`]: members that come and go, in every world.
//! * [`models`]: the checker counts as many states as others do.
//! * [`panics`]: a panic is a counterexample, with its path, its story and its file.
//! * [`impure`]: nodes that are not deterministic are told as such, and nothing else is told of them.
//! * [`paths`]: counterexamples replay from their files; the Explorer opens where one ends.
//! * [`plans`]: plans and capsules as files; every fault happens; failures shrink.
//! * [`shrinking`]: what hangs on chance shrinks; what becomes of single frames.
//! * [`sweeps`]: parts of a sweep, in time and in space, add up to the whole.
//! * [`pasts`]: what ran before a seed does not matter to it, and where it does, that is told.
//! * [`sound`]: what makes no sense is refused everywhere alike; what tests nothing says so.
//! * [`stories`]: a story shows what led to a violation, and folds nothing that matters.
//! * [`conformance`]: the real, the simulated and the explored cluster write the same journals.
//! * [`recordings`]: what was recorded does the same again, and what was changed is found.
//! * [`settling`]: whether nodes come to rest is decided.
//! * [`time`]: what faults in time do to a lock that is lent, in each world.
//! * [`mutants`]: every mistake is found by whom it must be: the one place that asks for them all.
//! * [`toys`]: what takes a process, of toys that no system which ships is like.
//! * [`words`]: the harness knows no word of a protocol.
//! * [`purity`]: what the core may depend on, and what must never reach production.

mod boots;
mod browser;
mod checks;
mod clients;
mod codecs;
mod conformance;
mod contract;
mod durations;
mod edges;
mod explorers;
mod host;
mod hosting;
mod html;
mod impure;
mod layers;
mod lost;
mod main_job;
mod members;
mod models;
mod mutants;
mod panics;
mod pasts;
mod paths;
mod plans;
mod promises;
mod purity;
mod recordings;
mod rules;
mod runs;
mod scenarios;
mod sessions;
mod settling;
mod shrinking;
mod sound;
mod stories;
mod sweeps;
mod thin;
mod time;
mod toys;
mod transcripts;
mod two_phase_commit;
mod weaker;
mod words;
