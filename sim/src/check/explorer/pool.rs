//! The threads that search together.

use rayon_core::{ThreadPool, ThreadPoolBuilder};

use super::Worker;
use super::orbit::Orbits;
use crate::spec::system::System;

/// Those who do the work: the first in the caller's thread, the others in threads of their own.
pub struct WorkerPool<S: System> {
    pub workers: Vec<Worker<S>>,
    threads: Option<ThreadPool>,
}

impl<S: System> WorkerPool<S> {
    pub fn new(size: usize, orbits: impl Fn() -> Option<Orbits<S>>) -> Self {
        let threads = ThreadPoolBuilder::new().num_threads(size.max(2) - 1).build();
        let threads = if size > 1 { threads.ok() } else { None };
        let size = if threads.is_some() { size } else { 1 };
        Self { workers: (0..size).map(|_| Worker::new(orbits())).collect(), threads }
    }

    /// Lets all workers work, each in a thread of its own; one alone if there is only one piece of work.
    pub fn together(&mut self, pieces: usize, work: impl Fn(&mut Worker<S>) + Sync) {
        let Some((first, others)) = self.workers.split_first_mut() else { return };
        let Some(threads) = self.threads.as_ref().filter(|_| pieces > 1) else { return work(first) };
        threads.in_place_scope(|scope| {
            for worker in others {
                scope.spawn(|_| work(worker));
            }
            work(first);
        });
    }
}
