//! What is to happen: by time, then in the order in which it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// A heap of tasks. The tasks stay where they are; only their keys are sifted.
pub struct Agenda<T> {
    heap: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    tasks: Vec<Option<T>>,
    free: Vec<usize>,
    planned: u64,
}

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
        self.heap.push(Reverse((at, self.planned, place)));
    }

    /// Takes out the next task.
    pub fn pop(&mut self) -> Option<(Duration, T)> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.free.push(place);
        self.tasks[place].take().map(|task| (at, task))
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
