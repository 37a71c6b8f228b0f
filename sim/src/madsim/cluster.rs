//! One run: starts the nodes and the clients, does what the plan says when it says so, heals everything, and
//! waits for the system to come to rest.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coalmine_core::node::{Node, NodeId, RequestId, Word};
use coalmine_real::face::Face;
use coalmine_real::http;
use coalmine_real::runtime::Runtime;
use coalmine_real::shell::{Placement, Shell};
use madsim::runtime::{Handle, NodeHandle};
use madsim::time::TimeHandle;
use tokio::sync::mpsc;

use super::disk::Disks;
use super::link::{Frame, Network};
use super::monitor::{Monitor, Order};
use super::runtime::{Clock, SimRuntime};
use crate::engine::network::Trouble;
use crate::engine::{CLIENT_PAUSE, CLIENT_TIMEOUT, LOOK};
use crate::faults::{Directions, Effect, Fault, SUPERVISOR_MS, directions};
use crate::plan::{Plan, Stream, What, When};
use crate::run::{RunOptions, Verdict};
use crate::scenario::{Expectation, Scenario};
use crate::system::{ConfigOf, NodeOf, System};
use crate::trace::Happening;

const CONTROL_PORT: u16 = 60_001;
const DATA_PORT: u16 = 50_051;

struct Cluster<S: System> {
    monitor: Monitor<S>,
    network: Network,
    nodes: BTreeMap<NodeId, (NodeHandle, Clock)>,
    client: NodeHandle,
    client_runtime: SimRuntime,
    /// What is to be done later: by time, then by order.
    agenda: BTreeMap<(Duration, u64), Task<NodeOf<S>>>,
    planned: u64,
}

enum Task<N: Node> {
    /// A step of the plan, and its place in it.
    Do(usize, What<N>),
    Restart(NodeId),
    Undo(Undo),
}

/// The end of a fault that lasts.
enum Undo {
    Link(Directions, Trouble),
    Pause(NodeId),
    Clock(NodeId),
    SlowSync(NodeId),
    DiskFull(NodeId),
}

/// Runs a plan to its end.
pub async fn drive<S: System>(
    scenario: &Scenario<S>,
    plan: &Plan<NodeOf<S>>,
    options: RunOptions,
) -> (Monitor<S>, Verdict)
where
    NodeOf<S>: Face,
{
    let system = Arc::new(scenario.system_of(plan).expect("plans are checked"));
    let (orders_out, mut orders) = mpsc::unbounded_channel();
    let monitor = Monitor::new(Arc::clone(&system), plan, options, orders_out);
    let mut cluster = Cluster::start(&*system, plan, options, monitor.clone());
    for (place, step) in plan.steps.iter().enumerate() {
        if let When::AtMs(at) = step.when {
            cluster.later(Duration::from_millis(at), Task::Do(place, step.what.clone()));
        }
    }

    let verdict = cluster.two_phases(&mut orders, plan, scenario.expect).await;
    cluster.count_effects();
    monitor.close();
    cluster.bury().await;
    (monitor, verdict)
}

impl<S: System> Cluster<S>
where
    NodeOf<S>: Face,
{
    fn start(system: &S, plan: &Plan<NodeOf<S>>, options: RunOptions, monitor: Monitor<S>) -> Self {
        let watch = monitor.clone();
        let watch = Arc::new(move |from, to, fate, frame: &Frame| watch.frame(from, to, fate, frame));
        let network = Network::new(options.seed, plan.links, watch, monitor.numbers());
        let members = system.members();
        let address = |id: NodeId| SocketAddr::new(node_ip(id), CONTROL_PORT);
        let client_runtime = SimRuntime {
            me: None,
            network: network.clone(),
            control: Arc::new(members.iter().map(|(id, _)| (address(*id), *id)).collect()),
            draws: Arc::new(Mutex::new(Stream::Timers.of(options.seed))),
            clock: Clock::default(),
        };
        let handle = Handle::current();
        let mut nodes = BTreeMap::new();
        for (me, config) in &members {
            let peers = members.iter().map(|(id, _)| *id).filter(|id| id != me);
            let placement = Placement {
                me: *me,
                control: address(*me),
                peers: peers.map(|id| (id, address(id))).collect(),
            };
            let clock = Clock::default();
            let runtime = SimRuntime { me: Some(*me), clock: clock.clone(), ..client_runtime.clone() };
            let (config, monitor, me) = (config.clone(), monitor.clone(), *me);
            let life =
                move || live::<S>(me, runtime.clone(), config.clone(), placement.clone(), monitor.clone());
            let node = handle.create_node().name(me.to_string()).ip(node_ip(me)).init(life).build();
            nodes.insert(me, (node, clock));
        }
        let client = handle.create_node().name("client").ip(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1))).build();
        Self { monitor, network, nodes, client, client_runtime, agenda: BTreeMap::new(), planned: 0 }
    }

    /// Safety: faults, and invariants after every step. Then liveness: everything is healed, and the system
    /// must come to rest.
    async fn two_phases(
        &mut self,
        orders: &mut mpsc::UnboundedReceiver<Order<NodeOf<S>>>,
        plan: &Plan<NodeOf<S>>,
        expect: Expectation<S>,
    ) -> Verdict {
        let mut verdict = self.work(orders, Duration::from_millis(plan.heal_at_ms)).await;
        if verdict.is_none() {
            self.heal();
        }
        loop {
            if let Some(verdict) = verdict {
                return verdict;
            }
            let next = TimeHandle::current().elapsed() + LOOK;
            verdict = self.work(orders, next).await;
            if verdict.is_none() {
                self.monitor.look(expect);
                verdict = self.monitor.verdict();
            }
        }
    }

    fn later(&mut self, at: Duration, task: Task<NodeOf<S>>) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), task);
    }

    /// Does what is on the agenda until this time. Returns early with a verdict.
    async fn work(
        &mut self,
        orders: &mut mpsc::UnboundedReceiver<Order<NodeOf<S>>>,
        until: Duration,
    ) -> Option<Verdict> {
        let clock = TimeHandle::current();
        loop {
            let next = self.agenda.first_key_value().map_or(until, |(&(at, _), _)| at.min(until));
            let wait = next.saturating_sub(clock.elapsed());
            let until_due = async {
                if !wait.is_zero() {
                    madsim::time::sleep(wait).await;
                }
            };
            tokio::select! {
                biased;
                Some(order) = orders.recv() => match order {
                    Order::Do(step, what) => self.perform(step, what),
                    Order::Stopped(node) => {
                        let at = clock.elapsed() + Duration::from_millis(SUPERVISOR_MS);
                        self.later(at, Task::Restart(node));
                    }
                    Order::Stop => return self.monitor.verdict(),
                },
                () = until_due => {}
            }
            let now = clock.elapsed();
            while self.agenda.first_key_value().is_some_and(|(&(at, _), _)| at <= now) {
                if let Some((_, task)) = self.agenda.pop_first() {
                    match task {
                        Task::Do(step, what) => self.perform(step, what),
                        Task::Restart(node) => self.restart(node),
                        Task::Undo(undo) => self.undo(undo),
                    }
                }
            }
            if now >= until {
                return self.monitor.verdict();
            }
        }
    }

    fn perform(&mut self, step: usize, what: What<NodeOf<S>>) {
        self.monitor.carries_out(step, &what);
        match what {
            What::Ask { to, id, request } => self.ask(to, id, request),
            What::Fault(fault) => {
                self.monitor.note(&Happening::Fault(fault.clone()));
                self.fault(fault);
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Crash { node, down_ms } => self.crash(node, down_ms, false),
            Fault::Wipe { node, down_ms } => self.crash(node, down_ms, true),
            Fault::Pause { node, for_ms } => {
                if !self.is_down(node) {
                    self.monitor.count(Effect::Pause);
                    Handle::current().pause(self.id(node));
                    self.undo_later(for_ms, Undo::Pause(node));
                }
            }
            Fault::Clock { node, percent, for_ms } => {
                let effect = if percent < 100 { Effect::ClockSlow } else { Effect::ClockFast };
                self.touch_clock(node, Some(percent), 0, effect);
                self.undo_later(for_ms, Undo::Clock(node));
            }
            Fault::ClockJump { node, by_ms } => self.touch_clock(node, None, by_ms, Effect::ClockJump),
            Fault::Cut { .. } | Fault::Partition { .. } | Fault::Clog { .. } | Fault::SlowLink { .. } => {
                let members: Vec<_> = self.nodes.keys().copied().collect();
                if let Some((directions, trouble, for_ms)) = Trouble::of(&fault, &members) {
                    self.link_trouble(directions, trouble, for_ms);
                }
            }
            Fault::Reset { a, b } => self.network.reset(&directions(&[a], &[b], true)),
            Fault::SlowSync { node, delay_ms, for_ms } => {
                let slower = Duration::from_millis(delay_ms);
                Disks::current().trouble(self.id(node), |trouble| trouble.slower = slower);
                self.undo_later(for_ms, Undo::SlowSync(node));
            }
            Fault::FailSync { node } => {
                Disks::current().trouble(self.id(node), |trouble| trouble.fail_sync = true);
            }
            Fault::DiskFull { node, for_ms } => {
                Disks::current().trouble(self.id(node), |trouble| trouble.full = true);
                self.undo_later(for_ms, Undo::DiskFull(node));
            }
            Fault::BitRot { node, permille } => {
                Disks::current().rot(self.id(node), permille);
            }
        }
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Link(directions, trouble) => self.network.trouble(&directions, trouble, false),
            Undo::Pause(node) => Handle::current().resume(self.id(node)),
            Undo::Clock(node) => self.nodes[&node].1.touch(Some(100), Duration::ZERO),
            Undo::SlowSync(node) => {
                Disks::current().trouble(self.id(node), |trouble| trouble.slower = Duration::ZERO);
            }
            Undo::DiskFull(node) => Disks::current().trouble(self.id(node), |trouble| trouble.full = false),
        }
    }

    fn undo_later(&mut self, after_ms: u64, undo: Undo) {
        self.later(TimeHandle::current().elapsed() + Duration::from_millis(after_ms), Task::Undo(undo));
    }

    fn link_trouble(&mut self, directions: Directions, trouble: Trouble, for_ms: u64) {
        self.network.trouble(&directions, trouble, true);
        self.undo_later(for_ms, Undo::Link(directions, trouble));
    }

    fn touch_clock(&self, node: NodeId, percent: Option<u32>, jump_ms: u64, effect: Effect) {
        if !self.is_down(node) {
            self.monitor.count(effect);
        }
        self.nodes[&node].1.touch(percent, Duration::from_millis(jump_ms));
    }

    fn id(&self, node: NodeId) -> madsim::task::NodeId {
        self.nodes[&node].0.id()
    }

    fn is_down(&self, node: NodeId) -> bool {
        self.monitor.down().contains(&node)
    }

    /// Crashes a node, unless it is down already; its disk can be wiped then, too.
    fn crash(&mut self, node: NodeId, down_ms: Option<u64>, wipe: bool) {
        let is_down = self.is_down(node);
        if is_down && !wipe {
            return;
        }
        let id = self.id(node);
        Handle::current().kill(id);
        if !is_down {
            self.monitor.crashed(node, Disks::current().last_crash(id));
        }
        if wipe {
            Disks::current().wipe(id);
            self.monitor.wiped(node);
        }
        if let Some(down_ms) = down_ms {
            let at = TimeHandle::current().elapsed() + Duration::from_millis(down_ms);
            self.later(at, Task::Restart(node));
        }
    }

    fn restart(&self, node: NodeId) {
        if self.is_down(node) {
            // What it had open may still be, if it stopped by itself.
            Handle::current().kill(self.id(node));
            Handle::current().restart(self.id(node));
        }
    }

    /// Ends all faults and starts every node that is down.
    fn heal(&mut self) {
        self.monitor.note(&Happening::Healed);
        self.monitor.disarm();
        self.network.heal();
        Disks::current().heal();
        self.agenda.retain(|_, task| matches!(task, Task::Restart(_) | Task::Do(_, What::Ask { .. })));
        for (node, (handle, clock)) in &self.nodes {
            clock.touch(Some(100), Duration::ZERO);
            Handle::current().resume(handle.id());
            self.restart(*node);
        }
    }

    /// Drops every task. Tasks hold timers and timers hold tasks: left alone, a run would never be freed.
    async fn bury(&self) {
        let handle = Handle::current();
        for (node, _) in self.nodes.values() {
            handle.resume(node.id());
            handle.kill(node.id());
        }
        handle.kill(self.client.id());
        madsim::time::sleep(Duration::from_millis(1)).await;
    }

    /// What took effect, wherever it was counted.
    fn count_effects(&self) {
        self.monitor.merge(&self.network.effects());
        self.monitor.merge(&Disks::current().effects());
    }

    /// A client that asks until it is answered.
    fn ask(&self, to: NodeId, id: RequestId, request: <NodeOf<S> as Node>::Request) {
        let (runtime, monitor) = (self.client_runtime.clone(), self.monitor.clone());
        let address = SocketAddr::new(node_ip(to), DATA_PORT);
        let number = monitor.asked(to, id, &request);
        self.client.spawn(async move {
            loop {
                let request = NodeOf::<S>::to_http(id, &request);
                let what = match http::request(&runtime, address, request, CLIENT_TIMEOUT).await {
                    Ok(answer) if answer.status().is_server_error() => None,
                    Ok(answer) => Some(match NodeOf::<S>::from_http(&answer) {
                        Ok(reply) => NodeOf::<S>::tell(Word::Reply(&reply)),
                        Err(why) => why,
                    }),
                    Err(_) => None,
                };
                if let Some(what) = what {
                    return monitor.answered(number, &what);
                }
                runtime.sleep(CLIENT_PAUSE).await;
            }
        });
    }
}

fn node_ip(id: NodeId) -> IpAddr {
    let [.., high, low] = id.0.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
}

/// One life of a node: the production shell, and its HTTP.
async fn live<S: System>(
    me: NodeId,
    runtime: SimRuntime,
    config: ConfigOf<S>,
    placement: Placement,
    monitor: Monitor<S>,
) where
    NodeOf<S>: Face,
{
    let (shell, handle) = Shell::new(runtime.clone(), config.clone(), placement, monitor.eye(me));
    let router = NodeOf::<S>::router(&runtime, &config, handle);
    let data = SocketAddr::new(node_ip(me), DATA_PORT);
    let why = match runtime.listen(data).await {
        Ok(listener) => {
            runtime.spawn(http::serve(runtime.clone(), listener, router));
            match shell.run().await {
                Ok(never) => match never {},
                Err(error) => error.to_string(),
            }
        }
        Err(error) => format!("cannot listen on {data}: {error}"),
    };
    monitor.stopped(me, why);
}
