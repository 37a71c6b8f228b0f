//! How a run comes out, and what of it must stay the same when it is run again.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::panics::Panic;

/// What runs a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// The production shell and its bytes, on simulated TCP: see [`madsim`](crate::engine::madsim).
    #[default]
    Madsim,
    /// The hosts alone, stepped from one heap: see [`direct`](crate::engine::direct).
    #[serde(alias = "world")]
    Direct,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Madsim => "madsim",
            Self::Direct => "direct",
        })
    }
}

/// How a run came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Everything held, and the system converged.
    Passed,
    /// An invariant was broken.
    Violated {
        /// Which.
        invariant: String,
        /// How, in words.
        why: String,
    },
    /// The invariants held, but the system did not come to rest after all was healed.
    NotConverged {
        /// What was missing.
        why: String,
    },
    /// There was no run: its system or its plan makes no sense.
    Refused {
        /// What is wrong, and where.
        why: String,
    },
    /// A node, or the harness, panicked.
    Panicked(Panic),
    /// The two engines came to different verdicts.
    EnginesDiffer {
        /// Under madsim.
        madsim: Box<Verdict>,
        /// In the direct engine.
        #[serde(alias = "world")]
        direct: Box<Verdict>,
    },
    /// Two runs of one seed differed.
    NotDeterministic {
        /// The digests of the two.
        digests: [String; 2],
        /// What came of the two, if that differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verdicts: Option<[String; 2]>,
        /// The first step that differs.
        #[serde(default)]
        difference: Option<Difference>,
    },
}

/// The first step at which two runs of a seed differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Which step, counted from 1.
    pub step: usize,
    /// What happened in this process.
    pub here: String,
    /// What happened in the other.
    pub there: String,
}

impl Verdict {
    /// The exit code of a process that reports this.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Violated { .. } => 1,
            Self::Refused { .. } => 2,
            Self::NotConverged { .. } => 3,
            Self::Panicked(_) => 4,
            Self::NotDeterministic { .. } => 5,
            Self::EnginesDiffer { madsim, direct } => match madsim.exit_code() {
                0 => direct.exit_code(),
                code => code,
            },
        }
    }

    /// Its name, as it is printed for machines.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Violated { .. } => "violated",
            Self::NotConverged { .. } => "not_converged",
            Self::Refused { .. } => "refused",
            Self::Panicked(_) => "panicked",
            Self::NotDeterministic { .. } => "not_deterministic",
            Self::EnginesDiffer { .. } => "engines_differ",
        }
    }

    /// What is behind it; nothing for a run that passed.
    pub fn why(&self) -> Option<String> {
        (*self != Self::Passed).then(|| self.describe())
    }

    /// In one line.
    pub fn describe(&self) -> String {
        match self {
            Self::Passed => "passed".into(),
            Self::Violated { invariant, why } => format!("invariant {invariant} is violated: {why}"),
            Self::NotConverged { why } => format!("did not converge: {why}"),
            Self::Refused { why } => format!("cannot be run: {why}"),
            Self::Panicked(panic) => panic.to_string(),
            Self::EnginesDiffer { madsim, direct } => {
                format!(
                    "the engines differ: under madsim {}; in the direct engine {}",
                    madsim.describe(),
                    direct.describe()
                )
            }
            Self::NotDeterministic { digests: [a, b], verdicts, difference } => {
                let mut digests = format!("not deterministic: digests {a} and {b}");
                if let Some([here, there]) = verdicts {
                    digests += &format!("\n      here:  {here}\n      there: {there}");
                }
                let difference = difference.as_ref().map(|Difference { step, here, there }| {
                    let lead = if verdicts.is_some() { "\n      " } else { "; " };
                    format!(
                        "{lead}step {step} is the first that differs\n      here:  {here}\n      there: {there}"
                    )
                });
                digests + &difference.unwrap_or_default()
            }
        }
    }
}

/// A verdict, as far as it must stay the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The [name](Verdict::name) of the verdict; none if nobody says what a run must come to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub verdict: String,
    /// The invariant that is violated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invariant: Option<String>,
    /// What the panic says. It counts where the file names no place: the same panic may say something else each time,
    /// such as an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where in the source it comes from: file, line, column. A file that does not say so means anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// The verdicts that a run can come to.
const VERDICTS: [&str; 4] = ["passed", "violated", "not_converged", "panicked"];

impl Expected {
    /// Whether a run can come to it; `Err` names the field.
    pub fn check(&self) -> Result<(), String> {
        if VERDICTS.contains(&self.verdict.as_str()) {
            return Ok(());
        }
        if !self.is_said() {
            let known = [("invariant", &self.invariant), ("message", &self.message), ("place", &self.place)];
            return match known.into_iter().find(|(_, said)| said.is_some()) {
                None => Ok(()),
                Some((key, _)) => {
                    Err(format!("verdict: is missing beside `{key}`; there are: {}", VERDICTS.join(", ")))
                }
            };
        }
        Err(format!("verdict: there is no {:?}; there are: {}", self.verdict, VERDICTS.join(", ")))
    }

    /// What stays the same of a verdict.
    pub fn of(verdict: &Verdict) -> Self {
        let kind = Self { verdict: verdict.name().into(), ..Self::default() };
        match verdict {
            Verdict::Violated { invariant, .. } => Self { invariant: Some(invariant.clone()), ..kind },
            Verdict::Panicked(Panic { place, message }) => Self {
                message: Some(message.clone()),
                place: Some(place.clone()).filter(|place| !place.is_empty()),
                ..kind
            },
            Verdict::Passed
            | Verdict::NotConverged { .. }
            | Verdict::Refused { .. }
            | Verdict::EnginesDiffer { .. }
            | Verdict::NotDeterministic { .. } => kind,
        }
    }

    /// Whether anybody says what a run must come to.
    pub fn is_said(&self) -> bool {
        !self.verdict.is_empty()
    }

    /// Whether this is what came, if it is said: the same verdict, and the [same panic](Panic), as far as one is expected.
    pub fn admits(&self, came: &Self) -> bool {
        let is_like = !self.is_said() || self.is_like(came);
        is_like
            && match (&self.place, &self.message) {
                (Some(place), _) => came.place.as_ref() == Some(place),
                (None, Some(message)) => came.message.as_ref() == Some(message),
                (None, None) => true,
            }
    }

    /// Whether the two are of one kind: engines may panic at different moments of what went wrong.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.verdict, &self.invariant) == (&other.verdict, &other.invariant)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verdict, invariant, message, place } = self;
        let place = place.iter().map(|place| format!(" at {place}"));
        let which = invariant.iter().chain(message).map(|which| format!(": {which}"));
        write!(f, "{verdict}{}", place.chain(which).collect::<String>())
    }
}

/// The name of the property that nothing panics: no node in any step, no invariant, witness or history, nor anything
/// when it is asked whether the system [settles](SETTLES).
pub const NEVER_PANICS: &str = "never-panics";

/// The name of the property that from every state the system settles: once all is healed it comes to rest, and stays
/// so. All is healed: links are whole, and nothing crashes any more. Time goes in rounds. In each
///
/// 1. who is down restarts, member by member, and unsynced records become durable;
/// 2. clients that wait ask, and again after a second each time;
/// 3. what was under way when the round began arrives, by receiver, sender and message;
/// 4. if nothing is under way then, time passes until something is due, and if that is a timer it fires; of those that are due together the
///    first member's does, by the order of their names. (Where messages follow from messages for ever, time passes
///    after every sixteenth round of them.)
///
/// After each of these steps the disk of who took it syncs what it held then.
///
/// A timer is due when the middle of its range has passed since it was armed, and after a millisecond at least; all that is
/// armed in the state of which it is asked has just been armed. So short timers fire before long ones, as often as they would. A
/// round follows from the state and from how long each timer has left, but for what nodes
/// [choose](coalmine_core::node::Context::choose); and what there is between rounds repeats, or goes on changing for ever.
/// The system settles if everything has [converged](crate::spec::system::System::converged) in all rounds that repeat: at
/// every moment, between rounds and after each step of them. How long it takes to come there does not matter. A timer
/// that changes something is no rest: only what it comes to at last is.
///
/// Choices are taken to be fair, such as a random back-off: whatever may be chosen again and again is chosen at last.
/// So rounds repeat where no choice leads out of a set of states, and everything must have converged in each of them,
/// whichever such set the choices lead to.
///
/// A run that goes on changing for ever is given up after [so many rounds](crate::check::CheckOptions::settle_rounds), or if
/// it needs too much memory. Then it is [not known](crate::check::Verdict::Unknown) whether the system settles, and the check
/// is no proof. (Where nodes choose, that is also the most rounds that are tried from one state, of those of which it
/// is not yet known that they settle.)
///
/// With a budget for losses the system must also settle if, once, before any one of the rounds, something is lost of
/// what is under way: all of it, each single message, all of each kind (a message's variant), all on a link if links
/// may be cut, as many together as `drops` allows (if these are no more than 1,000 sets); and of up to four messages
/// every part. The budget bounds the search, not what is lost here. (Where rounds come again because a much longer timer
/// waits, it is asked of the first of them, and of the last.)
///
/// Where a member is [gone](crate::spec::limits::Limits::without), it is down instead, and the others must
/// [go on](crate::spec::system::System::progress_without).
pub const SETTLES: &str = "settles";
