//! What is to happen: by time, then in the order in which it was planned.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

/// A heap of tasks. The tasks stay where they are; only their keys are sifted.
pub struct Agenda<T> {
    heap: BinaryHeap<Reverse<Key>>,
    tasks: Vec<Option<T>>,
    free: Vec<usize>,
    planned: u64,
}

/// When a task is due, and where it is. Keys are compared by the first alone: no two tasks have the same number.
struct Key {
    /// The time in nanoseconds (all that lies 584 years ahead comes then), and below it the task's number: one
    /// integer is compared without a branch.
    due: u128,
    place: usize,
}

impl Key {
    fn new(at: Duration, number: u64, place: usize) -> Self {
        let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        Self { due: u128::from(nanos) << 64 | u128::from(number), place }
    }

    fn at(&self) -> Duration {
        Duration::from_nanos((self.due >> 64) as u64)
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.due.cmp(&other.due)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Key {}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), tasks: Vec::new(), free: Vec::new(), planned: 0 }
    }
}

impl<T> Agenda<T> {
    /// Plans a task.
    pub fn add(&mut self, at: Duration, task: T) {
        let place = match self.free.pop() {
            Some(place) => {
                self.tasks[place] = Some(task);
                place
            }
            None => {
                self.tasks.push(Some(task));
                self.tasks.len() - 1
            }
        };
        self.planned += 1;
        self.heap.push(Reverse(Key::new(at, self.planned, place)));
    }

    /// Takes out the next task.
    pub fn pop(&mut self) -> Option<(Duration, T)> {
        let Reverse(key) = self.heap.pop()?;
        self.free.push(key.place);
        self.tasks[key.place].take().map(|task| (key.at(), task))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_come_by_time_and_then_in_order() {
        let mut agenda = Agenda::default();
        for (at, task) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            agenda.add(Duration::from_secs(at), task);
        }
        let order: String = std::iter::from_fn(|| agenda.pop()).map(|(_, task)| task).collect();
        assert_eq!(order, "abcd");
    }
}
