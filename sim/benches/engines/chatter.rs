//! The smallest node that makes traffic: every 100 ms it sends 64 bytes to each of its peers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coalmine_core::codec::frame;
use coalmine_core::form::Form;
use coalmine_core::node::{Context, Event, Node, NodeId};
use coalmine_core::observation::{Invariant, Observation, Witness};
use coalmine_real::http_api::HttpApi;
use coalmine_real::transport::Envelope;
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::spec::plan::Plan;
use coalmine_sim::spec::scenario::Scenario;
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::{Engine, Verdict};
use serde::{Deserialize, Serialize};

use crate::traffic::{FRAME_BYTES, LAST_WORDS, PERIOD, Traffic};

/// Who chatters with whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    peers: Vec<NodeId>,
    /// So large that the whole frame has [`FRAME_BYTES`].
    beat: Beat,
}

/// What it says: as much as most heartbeats do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Beat {
    version: u64,
    digest: u64,
}

/// Its state: how often it has spoken, and how much it has heard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chatterer {
    spoken: u64,
    heard: u64,
}

/// Its one timer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tick;

impl Node for Chatterer {
    type Config = Config;
    type Message = Beat;
    type Timer = Tick;
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = ();

    fn start(_: &Config, _: &[()], cx: &mut Context<'_, Self>) -> Self {
        cx.set_timer(Tick, PERIOD);
        Self { spoken: 0, heard: 0 }
    }

    fn on(&mut self, config: &Config, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Timer(Tick) => {
                self.spoken += 1;
                for &peer in &config.peers {
                    cx.send(peer, config.beat);
                }
                cx.set_timer(Tick, PERIOD);
            }
            Event::Message { .. } => self.heard += 1,
            Event::Request { .. } | Event::Durable(_) => {}
        }
    }
}

impl HttpApi for Chatterer {}

/// So many of them.
#[derive(Debug)]
pub struct Chatter<const NODES: u32>;

impl<const NODES: u32> System for Chatter<NODES> {
    type Node = Chatterer;
    type History = ();

    fn members(&self) -> Vec<(NodeId, Config)> {
        let config = |me: NodeId| {
            let peers = (1..=NODES).map(NodeId).filter(|peer| *peer != me).collect();
            let mut beat = Beat { version: 1, digest: 10_u64.pow(9) };
            while frame::encode(Form::Json, &Envelope { from: me, message: beat })
                .is_ok_and(|it| it.len() < FRAME_BYTES)
            {
                beat.version *= 10;
            }
            Config { peers, beat }
        };
        (1..=NODES).map(|id| (NodeId(id), config(NodeId(id)))).collect()
    }

    fn operations(&self) -> Vec<Operation<Chatterer>> {
        Vec::new()
    }

    fn invariants(&self) -> Vec<Invariant<Chatterer, ()>> {
        Vec::new()
    }

    fn witnesses(&self) -> Vec<Witness<Chatterer, ()>> {
        Vec::new()
    }

    fn converged(&self, _: &Observation<'_, Chatterer, ()>) -> Result<(), String> {
        Ok(())
    }
}

/// What the nodes of the last run had heard at its end.
static HEARD: AtomicU64 = AtomicU64::new(0);

fn count(now: &Observation<'_, Chatterer, ()>) -> Result<(), String> {
    HEARD.store(now.up().map(|(_, node)| node.heard).sum(), Ordering::Relaxed);
    Ok(())
}

/// How many frames were heard in one run of an engine.
pub fn heard(engine: Engine, traffic: Traffic) -> u64 {
    match traffic.nodes {
        3 => chatter::<3>(engine, traffic.seconds),
        5 => chatter::<5>(engine, traffic.seconds),
        9 => chatter::<9>(engine, traffic.seconds),
        25 => chatter::<25>(engine, traffic.seconds),
        101 => chatter::<101>(engine, traffic.seconds),
        other => unreachable!("nobody asks for {other} nodes"),
    }
}

fn chatter<const NODES: u32>(engine: Engine, seconds: u64) -> u64 {
    let scenario = Scenario {
        name: "chatter",
        about: "Everybody talks to everybody.",
        system: || Chatter::<NODES>,
        plan: |_, _| Plan::quiet([]),
        expect: count,
    };
    // An engine looks how all has ended up to another 50 ms later: before anybody speaks again.
    let end = Duration::from_secs(seconds) + LAST_WORDS / 2;
    let plan = Plan { heal_at_ms: end.as_millis() as u64, steady_ms: 0, ..Plan::quiet([]) };
    let options = RunOptions { max_events: u64::MAX, ..RunOptions::of(1) };
    let report = scenario.run_plan(engine, &plan, options);
    assert_eq!(report.verdict, Verdict::Passed);
    HEARD.load(Ordering::Relaxed)
}
