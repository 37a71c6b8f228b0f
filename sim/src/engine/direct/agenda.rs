//! What is to happen: by time, then in the order in which it was planned.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::time::Duration;

use slab::Slab;

/// The time, and what is to happen by time. Times are in nanoseconds: all that lies 584 years ahead comes then.
/// The tasks stay where they are; only numbers are moved.
pub struct Agenda<T> {
    queue: Queue<Due>,
    tasks: Slab<T>,
}

/// Something that is on the agenda.
#[derive(Clone, Copy, Debug)]
pub enum Due {
    /// The frame of this number sets out.
    Leave(u32),
    /// The frame of this number arrives.
    Arrive(u32),
    /// The task of this number is to be done.
    Task(u32),
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { queue: Queue::default(), tasks: Slab::new() }
    }
}

impl<T> Agenda<T> {
    /// What time it is: that of what was taken out last.
    pub fn now(&self) -> u64 {
        self.queue.now
    }

    /// The same as time since the beginning.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.queue.now)
    }

    /// Plans a task for so much later.
    pub fn after(&mut self, delay: Duration, task: T) {
        let task = self.tasks.insert(task) as u32;
        self.due_after(delay, Due::Task(task));
    }

    /// Plans something for so much later.
    pub fn due_after(&mut self, delay: Duration, due: Due) {
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.add(self.queue.now.saturating_add(delay), due);
    }

    /// Plans something. What should have happened already happens now.
    pub fn add(&mut self, at: u64, due: Due) {
        self.queue.push(at, due);
    }

    /// Takes out what is next. It is its time now.
    pub fn pop(&mut self) -> Option<Due> {
        self.queue.pop()
    }

    /// The task of this number.
    pub fn task(&self, number: u32) -> &T {
        &self.tasks[number as usize]
    }

    /// Takes out the task of this number.
    pub fn take(&mut self, number: u32) -> T {
        self.tasks.remove(number as usize)
    }
}

/// A queue by time; items of one time keep their order. A calendar (Brown, *Calendar Queues*, CACM 1988): what happens
/// on one of the next days is noted there, in any order, and a day is sorted when it comes. What lies further ahead
/// waits in a heap.
struct Queue<T> {
    /// The time of the last item that was taken out.
    now: u64,
    /// Which day it is.
    today: u64,
    /// This day and the next ones, each at its number modulo their count. What is left of this day is sorted, the first
    /// item at the end.
    days: [Vec<(u64, T)>; DAYS as usize],
    /// Which of the next days have items: bit `d` for the one at `d`.
    busy: u64,
    /// Those that come on a later day than the calendar has.
    far: BinaryHeap<Reverse<Far<T>>>,
    /// Counts the far items.
    counted: u64,
}

/// The calendar's days: as many as a word has bits.
const DAYS: u64 = u64::BITS as u64;

/// The day of a time. A day has 2 ms: short beside what most frames and timers take, so that little is added to a day
/// that has begun; and the calendar's 134 ms are more than most of them take.
fn day(at: u64) -> u64 {
    at >> 21
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let (days, far) = ([const { Vec::new() }; DAYS as usize], BinaryHeap::new());
        Self { now: 0, today: 0, days, busy: 0, far, counted: 0 }
    }
}

impl<T> Queue<T> {
    /// Puts an item in. What should have come out already comes out now.
    #[inline]
    fn push(&mut self, at: u64, item: T) {
        let at = at.max(self.now);
        if (1..DAYS).contains(&(day(at) - self.today)) {
            let place = day(at) % DAYS;
            self.busy |= 1 << place;
            self.days[place as usize].push((at, item));
        } else {
            self.push_elsewhere(at, item);
        }
    }

    /// The same for this day, and for days that are far.
    #[inline(never)]
    fn push_elsewhere(&mut self, at: u64, item: T) {
        if day(at) == self.today {
            let rest = self.noted_today();
            let place = rest.partition_point(|(known, _)| *known > at);
            rest.insert(place, (at, item));
        } else {
            self.counted += 1;
            self.far.push(Reverse(Far { key: u128::from(at) << 64 | u128::from(self.counted), item }));
        }
    }

    /// Takes out the first item.
    #[inline]
    fn pop(&mut self) -> Option<T> {
        let (at, item) = match self.noted_today().pop() {
            Some(first) => first,
            None => {
                self.begin_day();
                self.noted_today().pop()?
            }
        };
        self.now = at;
        Some(item)
    }

    fn noted_today(&mut self) -> &mut Vec<(u64, T)> {
        &mut self.days[(self.today % DAYS) as usize]
    }

    /// Goes on to the next day that has items, and sorts them.
    fn begin_day(&mut self) {
        let ahead = self.busy.rotate_right((self.today % DAYS) as u32).trailing_zeros();
        let near = (self.busy != 0).then(|| self.today + u64::from(ahead));
        let far = self.far.peek().map(|Reverse(first)| day(first.at()));
        let Some(next) = near.into_iter().chain(far).min() else { return };
        self.today = next;
        self.busy &= !(1 << (self.today % DAYS));
        if far == Some(next) {
            self.reach_far();
        }
        let noted = self.noted_today();
        if noted.len() > 1 {
            noted.reverse();
            noted.sort_by_key(|(at, _)| Reverse(*at)); // stable
        }
    }

    /// Takes in what is far no longer: before what was noted for its day, as that was put in later, when the day had
    /// come closer.
    fn reach_far(&mut self) {
        let Self { today, days, far, .. } = self;
        let noted = &mut days[(*today % DAYS) as usize];
        let later = std::mem::take(noted);
        while let Some(first) = far.peek_mut()
            && day(first.0.at()) == *today
        {
            let Reverse(far) = PeekMut::pop(first);
            noted.push((far.at(), far.item));
        }
        noted.extend(later);
    }
}

/// Something far. Compared by time and number alone, as one integer: no two have the same number.
struct Far<T> {
    key: u128,
    item: T,
}

impl<T> Far<T> {
    fn at(&self) -> u64 {
        (self.key >> 64) as u64
    }
}

impl<T> Ord for Far<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl<T> PartialOrd for Far<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Far<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for Far<T> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

        /// Beside a list that is sorted stably, whatever is put in while others are taken out.
        #[test]
        fn items_come_by_time_and_then_in_order(
            plan in prop::collection::vec(
                (prop_oneof![0..8u64, 0..5_000u64, any::<u64>()], 0..300usize, prop_oneof![0..3usize, 0..300usize]),
                0..20,
            ),
        ) {
            let (mut queue, mut list, mut number) = (Queue::default(), Vec::new(), 0);
            for (apart, items, pops) in plan {
                for item in 0..items as u64 {
                    let at = queue.now.saturating_add((item * 7919 % 101).saturating_mul(apart));
                    queue.push(at, number);
                    list.push((at, number));
                    number += 1;
                }
                list.sort_by_key(|(at, _)| *at); // stable
                for expected in list.drain(..pops.min(list.len())) {
                    prop_assert_eq!(queue.pop().map(|item| (queue.now, item)), Some(expected));
                }
            }
            for expected in list {
                prop_assert_eq!(queue.pop().map(|item| (queue.now, item)), Some(expected));
            }
            prop_assert_eq!(queue.pop(), None);
        }
    }

    #[test]
    fn what_was_put_in_first_comes_first_however_far_it_was() {
        let [soon, later] = [50, 100].map(|days| days << 21);
        let mut queue = Queue::default();
        queue.push(later, 'b');
        queue.push(soon, 'a');
        assert_eq!((queue.pop(), queue.now), (Some('a'), soon));
        queue.push(later, 'c'); // it is far no longer
        assert_eq!((queue.pop(), queue.pop(), queue.now), (Some('b'), Some('c'), later));
    }

    #[test]
    fn what_is_late_comes_at_once() {
        let mut queue = Queue::default();
        queue.push(7, 'a');
        assert_eq!((queue.pop(), queue.now), (Some('a'), 7));
        assert_eq!(queue.pop(), None);
        queue.push(7, 'b');
        queue.push(3, 'c');
        assert_eq!((queue.pop(), queue.pop(), queue.now), (Some('b'), Some('c'), 7));
    }
}
