//! Ctrl-C and `kill`: long work ends early and keeps what it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

/// A file that must not grow any more (`ulimit -f`) is a write error like any other from now on. Left alone the signal
/// that comes with it ends the process, and whatever it has found is lost.
pub fn outlive_file_limits() -> Result<(), String> {
    let caught = flag::register(SIGXFSZ, Arc::default());
    caught.map(drop).map_err(|why| format!("cannot catch signals: {why}"))
}

/// Ctrl-C and `kill` ask for an end; asked twice, the process ends without more ado.
pub struct Signals {
    /// Set by the first of them.
    pub stop: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
}

impl Signals {
    /// Catches them from now on.
    pub fn catch() -> Result<Self, String> {
        Self::register().map_err(|why| format!("cannot catch signals: {why}"))
    }

    /// Whether there was one.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn register() -> std::io::Result<Self> {
        let signals = Self { stop: Arc::default(), terminated: Arc::default() };
        for signal in [SIGINT, SIGTERM] {
            // The order matters: the first signal finds the flag unset, and sets it after.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&signals.stop))?;
            flag::register(signal, Arc::clone(&signals.stop))?;
        }
        flag::register(SIGTERM, Arc::clone(&signals.terminated))?;
        Ok(signals)
    }

    /// Which of them asked for an end.
    pub fn name(&self) -> &'static str {
        if self.terminated.load(Ordering::Relaxed) { "SIGTERM" } else { "Ctrl-C" }
    }

    /// The exit code of what was interrupted and has found nothing: 128 and the signal's number, as the shell has it.
    /// A part proves nothing of the whole, whoever stopped it.
    pub fn exit_code(&self) -> u8 {
        128 + if self.terminated.load(Ordering::Relaxed) { SIGTERM } else { SIGINT } as u8
    }
}
