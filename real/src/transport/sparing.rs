//! Complaints that others can provoke, as often as they like.

use std::time::Duration;

/// How many are told in a while.
pub(super) const TOLD: u32 = 4;
/// How long that is.
pub(super) const WHILE: Duration = Duration::from_secs(60);

/// Tells some, and counts the others.
#[derive(Debug, Default)]
pub(super) struct Sparing {
    /// When this while began; none has if nothing was told yet.
    since: Option<Duration>,
    told: u32,
    untold: u64,
}

impl Sparing {
    /// What to say about it, if anything: with it, how many were not told since the last one.
    pub(super) fn tell(&mut self, what: String, now: Duration) -> Option<String> {
        if self.since.is_none_or(|since| now >= since + WHILE) {
            (self.since, self.told) = (Some(now), 0);
        }
        if self.told == TOLD {
            self.untold += 1;
            return None;
        }
        self.told += 1;
        match std::mem::take(&mut self.untold) {
            0 => Some(what),
            untold => Some(format!("{what} ({untold} more like this before)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_told_and_the_others_counted() {
        let mut sparing = Sparing::default();
        let mut tell =
            |times: u32, at| (0..times).filter_map(|_| sparing.tell("no".into(), at)).collect::<Vec<_>>();
        assert_eq!(tell(100, Duration::ZERO), ["no"; TOLD as usize]);
        assert!(tell(1, WHILE - Duration::from_millis(1)).is_empty());
        assert_eq!(tell(2, WHILE), ["no (97 more like this before)", "no"]);
    }
}
