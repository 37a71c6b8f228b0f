//! Panics as results. A node's broken invariant panics, and that is something a run or a search has found: it is
//! kept, with its place in the source and its message, and not sprayed over the terminal by whichever thread ran
//! the node.
//!
//! What is unwound carries a message at most; the place is known to the process's panic hook alone. So a hook of
//! our own is put before the one that is there. On a thread that is within [`catch`] it writes down place and
//! message and says nothing; on all others it leaves everything to the hook before it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

use coalmine_core::node::{Node, Word};
use serde::{Deserialize, Serialize};

/// A panic that was caught. Two are one if they come from the same place: what they say may hold an address, or a count.
/// Only where no place is known it matters what they say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Panic {
    /// Where in the source: file, line, column. Empty if it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// What was said.
    pub message: String,
}

impl Panic {
    /// One of which only the message is known.
    pub fn without_place(message: impl Into<String>) -> Self {
        Self { place: String::new(), message: message.into() }
    }
}

impl Panic {
    /// What tells panics apart: the place, or else the message.
    fn key(&self) -> (&str, &str) {
        let message = if self.place.is_empty() { self.message.as_str() } else { "" };
        (&self.place, message)
    }
}

impl PartialEq for Panic {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Panic {}
impl Hash for Panic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("panicked")?;
        if !self.place.is_empty() {
            write!(f, " at {}", self.place)?;
        }
        write!(f, ": {}", self.message)
    }
}

thread_local! {
    /// How many [`catch`]es this thread is within.
    static WITHIN: Cell<u32> = const { Cell::new(0) };
    /// The last panic that the hook has seen there.
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Works; a panic meanwhile, in this thread, is the result. What the work has changed by then stays as it is: the
/// caller lets go of it.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_kept(info) {
                before(info)
            }
        }));
    });
    WITHIN.with(|within| within.set(within.get() + 1));
    let worked = catch_unwind(AssertUnwindSafe(work));
    WITHIN.with(|within| within.set(within.get() - 1));
    // A panic that was resumed passes by the hook.
    worked.map_err(|payload| {
        let seen = LAST.with(RefCell::take);
        let message = message_of(&*payload);
        seen.filter(|seen| seen.message == message).unwrap_or_else(|| Panic::without_place(message))
    })
}

/// A piece of a node's vocabulary in words, also where [describing](Node::describe) it panics. Whoever tells a story
/// comes here.
pub fn describe<N: Node>(word: Word<'_, N>) -> String {
    catch(|| word.describe()).unwrap_or_else(|panic| panic.to_string())
}

/// Whether somebody waits for this panic, and it was written down for him.
fn is_kept(info: &PanicHookInfo<'_>) -> bool {
    if WITHIN.try_with(Cell::get).unwrap_or(0) == 0 {
        return false;
    }
    let place = info.location().map_or(String::new(), ToString::to_string);
    let panic = Panic { place, message: message_of(info.payload()) };
    LAST.with(|last| last.replace(Some(panic)));
    true
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = text.or_else(|| payload.downcast_ref::<String>().cloned());
    message.unwrap_or_else(|| "without a message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_has_its_place_and_its_message() {
        let line = line!() + 1;
        let caught = catch(|| assert!(std::hint::black_box(1) == 2, "one is {}", 1)).expect_err("it panics");
        assert_eq!(caught.message, "one is 1");
        assert!(caught.place.contains(&format!("panics.rs:{line}:")), "{}", caught.place);
        assert_eq!(catch(|| 7), Ok(7));
    }

    #[test]
    fn the_inner_of_two_is_told_once() {
        let outer = catch(|| {
            let inner = catch(|| panic!("inner"));
            assert_eq!(inner.map_err(|panic: Panic| panic.message), Err::<(), _>("inner".into()));
            panic!("outer")
        });
        assert_eq!(outer.map_err(|panic: Panic| panic.message), Err::<(), _>("outer".into()));
    }

    #[test]
    fn panics_are_told_apart_by_their_place() {
        let fail = |count: u32| catch(|| -> u32 { panic!("after {count} runs") });
        let [once, again] = [1, 2].map(fail);
        assert_eq!(once, again);
        assert_ne!(once, catch(|| -> u32 { panic!("after 1 runs") }));
        assert_ne!(Panic::without_place("a"), Panic::without_place("b"));
    }

    #[test]
    fn what_was_resumed_has_no_place() {
        let resumed = catch(|| panic::resume_unwind(Box::new("again")));
        assert_eq!(resumed, Err::<(), _>(Panic::without_place("again")));
    }
}
