//! stateright's Explorer over a model: every state in words, and what may follow it, in a browser.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use stateright::Model;

use crate::spec::system::System;
use crate::world::Rules;

/// How long it may take until it answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running Explorer. It has no end: it goes with the process.
#[derive(Debug)]
pub struct Serving {
    /// The page to open.
    pub url: String,
    thread: JoinHandle<()>,
}

impl Serving {
    /// Whether it has stopped, which it should not.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Serves a model at an address (with port 0: at a port that is free), and waits until it answers. The page shows
/// the state that these choices lead to, each among all that may follow.
pub fn serve<S: System>(rules: Rules<S>, choices: &[usize], address: SocketAddr) -> Result<Serving, String> {
    let named = |why: std::io::Error| format!("--address {address}: {why}");
    // stateright panics if it cannot have the address, and keeps to itself which port it has.
    let address = TcpListener::bind(address).and_then(|it| it.local_addr()).map_err(named)?;
    let thread = std::thread::spawn(move || {
        rules.checker().serve(address);
    });
    let steps: String = choices.iter().map(|choice| format!("/{choice}")).collect();
    let serving = Serving { url: format!("http://{address}/#/steps/0{steps}"), thread };
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        if serving.is_over() || started.elapsed() > PATIENCE {
            return Err(format!("the Explorer does not answer at {address}"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(serving)
}
