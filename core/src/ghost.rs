//! What is carried along and tells nothing apart.

use std::cmp::Ordering;
use std::fmt::{self, Debug};
use std::hash::{Hash, Hasher};

/// A part of a value that follows from the rest or says nothing of it, such as a cache: any two are equal, and it leaves
/// no trace in a hash. So two states that differ in it alone are one state.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ghost<T>(pub T);

impl<T: Debug> Debug for Ghost<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl<T> PartialEq for Ghost<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<T> Eq for Ghost<T> {}
impl<T> PartialOrd for Ghost<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Ghost<T> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}
impl<T> Hash for Ghost<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
