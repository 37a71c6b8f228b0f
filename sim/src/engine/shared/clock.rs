//! A node's clock: it may run fast or slow, and jump ahead. It never goes back.

use std::time::Duration;

/// Where a clock stood when it was last touched, and how it has run since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockState {
    truly: Duration,
    shown: Duration,
    percent: u32,
}

impl Default for ClockState {
    fn default() -> Self {
        Self { truly: Duration::ZERO, shown: Duration::ZERO, percent: 100 }
    }
}

impl ClockState {
    /// What it shows at this true time.
    pub fn shows(&self, truly: Duration) -> Duration {
        let passed = truly - self.truly;
        self.shown + if self.percent == 100 { passed } else { passed * self.percent / 100 }
    }

    /// How long it truly takes until it shows so much more; rounded up, so that nothing is early.
    pub fn takes(&self, shown: Duration) -> Duration {
        if self.percent == 100 {
            return shown;
        }
        let takes = shown.checked_mul(100).map(|shown| shown / self.percent + Duration::from_nanos(1));
        takes.unwrap_or(Duration::MAX)
    }

    /// From now on it runs at this speed, after a jump ahead.
    pub fn touch(&mut self, truly: Duration, percent: Option<u32>, jump: Duration) {
        let percent = percent.unwrap_or(self.percent).max(1);
        *self = Self { truly, shown: self.shows(truly) + jump, percent };
    }
}
