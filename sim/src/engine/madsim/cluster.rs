//! One run: starts the nodes and the clients, does what the plan says when it says so, heals everything, and
//! waits for the system to come to rest.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coalmine_core::node::{Node, NodeId, RequestId, Word};
use coalmine_core::order::Order as HostOrder;
use coalmine_real::http;
use coalmine_real::http_api::HttpApi;
use coalmine_real::runtime::Runtime;
use coalmine_real::shell::{Placement, Shell};
use madsim::runtime::{Handle, NodeHandle};
use madsim::time::TimeHandle;
use tokio::sync::mpsc;

use super::disk::Disks;
use super::link::{Frame, Network};
use super::monitor::{Monitor, Order};
use super::runtime::{Clock, SimRuntime};
use super::survive::{reporting, survive};
use crate::engine::report::RunOptions;
use crate::engine::shared::faults::{self, End, Lasting, Stage};
use crate::engine::shared::network::LinkFault;
use crate::engine::shared::{CLIENT_PAUSE, CLIENT_TIMEOUT, LOOK, disk};
use crate::panics;
use crate::spec::faults::{CrashKind, Directions, Effect, Fault, FrameFate, SUPERVISOR_MS};
use crate::spec::plan::{Plan, Stream, What, When};
use crate::spec::scenario::{Expectation, Scenario};
use crate::spec::system::{ConfigOf, NodeOf, Operation, Planted, System, address_of};
use crate::spec::verdict::Verdict;
use crate::trace::TraceEvent;

struct Cluster<S: System> {
    monitor: Monitor<S>,
    network: Network,
    nodes: BTreeMap<NodeId, (NodeHandle, Clock)>,
    /// What the plan does to nodes that lasts.
    lasting: Lasting,
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
    /// A fault that lasts ends.
    End(End),
}

/// Runs a plan to its end.
pub async fn drive<S: System>(
    scenario: &Scenario<S>,
    plan: &Plan<NodeOf<S>>,
    options: RunOptions,
) -> (Monitor<S>, Verdict)
where
    NodeOf<S>: HttpApi,
{
    let Planted { system, order } = scenario.system_of(plan).expect("plans are checked");
    let system = Arc::new(system);
    let (orders_out, mut orders) = mpsc::unbounded_channel();
    let monitor = Monitor::new(Arc::clone(&system), plan, options, orders_out);
    let mut cluster = Cluster::start((&system, order), plan, options, monitor.clone());
    for (place, step) in plan.steps.iter().enumerate() {
        if let When::AtMs(at) = step.when {
            cluster.later(Duration::from_millis(at), Task::Do(place, step.what.clone()));
        }
    }

    let verdict = match survive(cluster.two_phases(&mut orders, plan, scenario.expect)).await {
        Ok(verdict) => verdict,
        Err(panic) => {
            monitor.panicked(panic.clone());
            Verdict::Panicked(panic)
        }
    };
    cluster.count_effects();
    monitor.close();
    cluster.teardown().await;
    (monitor, verdict)
}

impl<S: System> Cluster<S>
where
    NodeOf<S>: HttpApi,
{
    fn start(
        (system, order): (&Arc<S>, HostOrder),
        plan: &Plan<NodeOf<S>>,
        options: RunOptions,
        monitor: Monitor<S>,
    ) -> Self {
        let recorder = monitor.clone();
        let recorder = Arc::new(move |from, to, fate, frame: &Frame| recorder.frame(from, to, fate, frame));
        let network = Network::new(options, plan.links, recorder, monitor.numbers());
        let members = system.members();
        let address = |id: NodeId| address_of(id).control;
        let client_runtime = SimRuntime {
            me: None,
            network: network.clone(),
            control: Arc::new(members.iter().map(|(id, _)| (address(*id), *id)).collect()),
            draws: Arc::new(Mutex::new(Stream::Timers.of(options.seed))),
            clock: Clock::default(),
            on_panic: monitor.on_panic(),
        };
        let handle = Handle::current();
        let mut nodes = BTreeMap::new();
        for (me, config) in &members {
            // Of the others it learns where they live, or never does.
            let known = NodeOf::<S>::knows(config);
            let knows = |id: &NodeId| id == me || known.as_ref().is_none_or(|known| known.contains(id));
            let known: Vec<_> = members.iter().map(|(id, _)| *id).filter(knows).collect();
            let peers = known.iter().filter(|id| *id != me).map(|id| (*id, address(*id))).collect();
            let placement = Placement { me: *me, control: address(*me), data: address_of(*me).data, peers };
            let data: BTreeMap<_, _> = known.iter().map(|id| (*id, address_of(*id).data)).collect();
            let clock = Clock::default();
            let runtime = SimRuntime { me: Some(*me), clock: clock.clone(), ..client_runtime.clone() };
            let (config, monitor, me) = (config.clone(), monitor.clone(), *me);
            let (system, data) = (Arc::clone(system), data.clone());
            let life = move || {
                let host = (Arc::clone(&system), order, data.clone());
                let life = live(host, runtime.clone(), config.clone(), placement.clone(), monitor.clone());
                reporting(life, monitor.on_panic())
            };
            let node = handle.create_node().name(me.to_string()).ip(address(me).ip()).init(life).build();
            nodes.insert(me, (node, clock));
        }
        let client = handle.create_node().name("client").ip(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1))).build();
        let (lasting, agenda) = (Lasting::default(), BTreeMap::new());
        Self { monitor, network, nodes, lasting, client, client_runtime, agenda, planned: 0 }
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
                        Task::End(end) => faults::end(self, &end),
                    }
                }
            }
            if now >= until {
                return self.monitor.verdict();
            }
        }
    }

    fn perform(&mut self, step: usize, what: What<NodeOf<S>>) {
        let is_at_risk = match &what {
            What::Fault(Fault::Crash { node, .. }) => Disks::current().is_at_risk(self.id(*node)),
            What::Fault(_) | What::Ask { .. } => false,
        };
        self.monitor.carries_out(step, &what, is_at_risk);
        match what {
            What::Ask { to, id, request } => self.ask(to, id, request),
            What::Fault(fault) => {
                self.monitor.note(&TraceEvent::Fault(fault.clone()));
                faults::begin(self, step, fault);
            }
        }
    }

    fn id(&self, node: NodeId) -> madsim::task::NodeId {
        self.nodes[&node].0.id()
    }

    fn is_down(&self, node: NodeId) -> bool {
        self.monitor.down().contains(&node)
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
        self.monitor.note(&TraceEvent::Healed);
        self.monitor.disarm();
        self.network.heal();
        self.lasting.heal();
        Disks::current().heal();
        self.agenda.retain(|_, task| matches!(task, Task::Restart(_) | Task::Do(_, What::Ask { .. })));
        for (node, (handle, clock)) in &self.nodes {
            clock.touch(Some(100), Duration::ZERO);
            Handle::current().resume(handle.id());
            self.restart(*node);
        }
    }

    /// Drops every task. Tasks hold timers and timers hold tasks: left alone, a run would never be freed.
    async fn teardown(&self) {
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
        self.monitor.take_in(self.network.remains());
        self.monitor.merge(&Disks::current().effects());
    }

    /// A client that asks until it is answered, and whom it is sent to; then what it is to ask next.
    fn ask(&self, to: NodeId, id: RequestId, request: <NodeOf<S> as Node>::Request) {
        let (runtime, monitor) = (self.client_runtime.clone(), self.monitor.clone());
        let (mut next, members) = (monitor.asked(Operation { to, id, request }), self.members());
        let on_panic = monitor.on_panic();
        let asking = async move {
            while let Some((number, Operation { mut to, id, request })) = next {
                next = loop {
                    let request = NodeOf::<S>::to_http(id, &request);
                    match http::request(&runtime, address_of(to).data, request, CLIENT_TIMEOUT).await {
                        Ok(answer) if answer.status().is_server_error() => {}
                        Ok(answer) => match NodeOf::<S>::from_http(&answer) {
                            Ok(reply) => {
                                let instead =
                                    NodeOf::<S>::instead(&reply).filter(|node| members.contains(node));
                                to = instead.unwrap_or(to);
                                if instead.is_none() && !NodeOf::<S>::is_not_yet(&reply) {
                                    let what = panics::describe::<NodeOf<S>>(Word::Reply(&reply));
                                    break monitor.answered(number, (&what, Some(&reply)));
                                }
                            }
                            Err(why) => break monitor.answered(number, (&why, None)),
                        },
                        Err(_) => {}
                    }
                    runtime.sleep(CLIENT_PAUSE).await;
                    if let Some(next) = monitor.gives_up(number) {
                        break next;
                    }
                };
            }
        };
        self.client.spawn(reporting(asking, on_panic));
    }
}

impl<S: System> Stage for Cluster<S>
where
    NodeOf<S>: HttpApi,
{
    fn members(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    fn is_up(&self, node: NodeId) -> bool {
        !self.is_down(node)
    }

    fn lasting(&mut self) -> &mut Lasting {
        &mut self.lasting
    }

    fn count(&mut self, effect: Effect) {
        self.monitor.count(effect);
    }

    fn ends_after(&mut self, after: Duration, end: End) {
        self.later(TimeHandle::current().elapsed() + after, Task::End(end));
    }

    fn stand_still(&mut self, node: NodeId, still: bool) {
        match still {
            true => Handle::current().pause(self.id(node)),
            false => Handle::current().resume(self.id(node)),
        }
    }

    fn turn_clock(&mut self, node: NodeId, percent: Option<u32>, jump: Duration) {
        self.nodes[&node].1.touch(percent, jump);
    }

    fn change_disk_fault(&mut self, node: NodeId, change: impl FnOnce(&mut disk::DiskFault)) {
        Disks::current().change_fault(self.id(node), change);
    }

    fn change_link_fault(&mut self, directions: &Directions, fault: LinkFault, begin: bool) {
        self.network.change_fault(directions, fault, begin);
    }

    fn reset(&mut self, directions: &Directions) {
        self.network.reset(directions);
    }

    fn say(&mut self, step: usize, direction: (NodeId, NodeId), nth: u32, fate: FrameFate) {
        self.network.say(step, direction, nth, fate);
    }

    fn crash(&mut self, node: NodeId, kind: CrashKind, down: Option<Duration>) {
        let (id, disks) = (self.id(node), Disks::current());
        let is_down = self.is_down(node);
        // Of a node that is down the power can take what was at risk, and a wipe the disk.
        let takes = |kind| kind == CrashKind::Wipe || kind == CrashKind::Power && disks.is_at_risk(id);
        if is_down && !takes(kind) {
            return;
        }
        self.lasting.ends_life(node);
        disks.ends_by(id, kind);
        Handle::current().kill(id);
        if !is_down || kind != CrashKind::Wipe {
            self.monitor.crashed(node, kind, disks.last_crash(id), disks.content(id));
        }
        if kind == CrashKind::Wipe {
            disks.wipe(id);
            self.monitor.wiped(node);
        }
        if let Some(down) = down {
            self.later(TimeHandle::current().elapsed() + down, Task::Restart(node));
        }
    }

    fn rot(&mut self, node: NodeId, permille: u32) {
        Disks::current().rot(self.id(node), permille);
    }
}

/// One life of a node: the production shell, and its HTTP.
async fn live<S: System>(
    (system, order, data): (Arc<S>, HostOrder, BTreeMap<NodeId, SocketAddr>),
    runtime: SimRuntime,
    config: ConfigOf<S>,
    placement: Placement,
    monitor: Monitor<S>,
) where
    NodeOf<S>: HttpApi,
{
    let me = placement.me;
    let (shell, handle) = Shell::new(runtime.clone(), config.clone(), placement, monitor.eye(me));
    let shell = shell.in_order(order);
    let router = system.router(&runtime, &config, handle.with_addresses(data));
    let data = address_of(me).data;
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
