//! What the second thread gains: pairs of runs of *TwoPhase*, one with one thread and one with two, in turns.
//!
//! The gain by the clock is a product of two: how busy the threads are (2 if nobody ever waits), and how much of the
//! work is the same (1 if a state takes as much processor time with two threads). What the first lacks is waiting: at
//! barriers, for locks, for whoever does alone what cannot be shared. What the second lacks is memory and caches that
//! two share, or work that is done twice.

use serde::Serialize;

use crate::job::{self, Job, Measured};
use crate::own::LeftOut;
use crate::{Format, Size};

/// One run with one thread, and one with two.
#[derive(Debug, Serialize)]
struct Pair {
    one: Measured,
    two: Measured,
}

impl Pair {
    /// How much faster two threads are by the clock.
    fn gain(&self) -> f64 {
        self.one.wall_s / self.two.wall_s
    }

    /// How many threads of the two were busy.
    fn busy(&self) -> f64 {
        self.two.processor_s / self.two.wall_s
    }

    /// The processor time of one thread as a part of that of two.
    fn same_work(&self) -> f64 {
        self.one.processor_s / self.two.processor_s
    }

    fn others(&self) -> f64 {
        self.one.others.max(self.two.others)
    }
}

/// Measures so many pairs, and prints them.
pub fn measure(size: Size, pairs: u32, format: Format) {
    let of = |threads| {
        let left_out = LeftOut::Usual;
        let job = Job::Own { resource_managers: size.resource_managers, left_out, threads };
        job::wait_for_quiet(size.patience);
        job.measure()
    };
    let pair = |number: u32| {
        // Whoever is first finds another machine than who is second.
        let (one, two) = if number.is_multiple_of(2) {
            let one = of(1);
            (one, of(2))
        } else {
            let two = of(2);
            (of(1), two)
        };
        Pair { one, two }
    };
    let pairs: Vec<_> = (0..pairs).map(pair).collect();
    match format {
        Format::Text => print(&pairs),
        Format::Json => println!("{}", serde_json::to_string(&pairs).expect("measures are plain data")),
    }
}

fn print(pairs: &[Pair]) {
    println!("| pair | 1 thread, s | 2 threads, s | gain | busy threads | the same work | others |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (number, pair) in pairs.iter().enumerate() {
        println!(
            "| {} | {:.2} | {:.2} | {:.2} × | {:.2} | {:.2} | {:.0} % |",
            number + 1,
            pair.one.wall_s,
            pair.two.wall_s,
            pair.gain(),
            pair.busy(),
            pair.same_work(),
            pair.others() * 100.0,
        );
    }
    let median = |of: fn(&Pair) -> f64| {
        let mut all: Vec<_> = pairs.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        (all[(all.len() - 1) / 2] + all[all.len() / 2]) / 2.0
    };
    let (gain, busy, same) = (median(Pair::gain), median(Pair::busy), median(Pair::same_work));
    println!(
        "medians: gain {gain:.2} ×, busy threads {busy:.2}, the same work {same:.2} (goal: a gain of 1.70 ×)"
    );
}
