//! One run: starts the nodes and the clients, does what the plan says when it says so, heals everything, and
//! waits for the system to come to rest.

use std::collections::{BTreeMap, BTreeSet};
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
use super::link::Network;
use super::monitor::{Monitor, Order};
use super::runtime::SimRuntime;
use crate::plan::{Plan, Stream, What, When};
use crate::run::{RunOptions, Verdict};
use crate::scenario::Scenario;
use crate::system::{ConfigOf, NodeOf, System};
use crate::trace::Happening;
use crate::trace::text::names;

const CONTROL_PORT: u16 = 60_001;
const DATA_PORT: u16 = 50_051;
/// How long a client waits for an answer before it asks again.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often convergence is looked for.
const LOOK: Duration = Duration::from_millis(50);

struct Cluster<S: System> {
    monitor: Monitor<S>,
    network: Network,
    nodes: BTreeMap<NodeId, NodeHandle>,
    client: NodeHandle,
    client_runtime: SimRuntime,
    /// What is to be done later: by time, then by order.
    agenda: BTreeMap<(Duration, u64), Task<NodeOf<S>>>,
    planned: u64,
}

enum Task<N: Node> {
    Do(What<N>),
    Restart(NodeId),
    Mend(BTreeSet<(NodeId, NodeId)>),
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
    let system = Arc::new((scenario.system)());
    let (orders_out, mut orders) = mpsc::unbounded_channel();
    let monitor = Monitor::new(Arc::clone(&system), plan, options, orders_out);
    let mut cluster = Cluster::start(&*system, plan, options, monitor.clone());
    for step in &plan.steps {
        if let When::AtMs(at) = step.when {
            cluster.later(Duration::from_millis(at), Task::Do(step.what.clone()));
        }
    }

    let heal_at = Duration::from_millis(plan.heal_at_ms);
    if let Some(verdict) = cluster.work(&mut orders, heal_at).await {
        return (monitor, verdict);
    }
    cluster.heal();
    let deadline = heal_at + Duration::from_millis(plan.converge_within_ms);
    loop {
        let now = TimeHandle::current().elapsed();
        if let Some(verdict) = cluster.work(&mut orders, now + LOOK).await {
            return (monitor, verdict);
        }
        match monitor.ask(|system, now| system.converged(now)) {
            Ok(()) => break,
            Err(why) if now >= deadline => {
                let within = plan.converge_within_ms as f64 / 1000.0;
                let why = format!("{within} s after all was healed, {why}");
                return (monitor, Verdict::NotConverged { why });
            }
            Err(_) => {}
        }
    }
    let verdict = match monitor.ask(|_, now| (scenario.expect)(now)) {
        Ok(()) => Verdict::Passed,
        Err(why) => Verdict::Violated { invariant: "expectation".into(), why },
    };
    (monitor, verdict)
}

impl<S: System> Cluster<S>
where
    NodeOf<S>: Face,
{
    fn start(system: &S, plan: &Plan<NodeOf<S>>, options: RunOptions, monitor: Monitor<S>) -> Self {
        let watch = monitor.clone();
        let watch = Arc::new(move |from, to, fate, bytes: &[u8]| watch.frame(from, to, fate, bytes));
        let network = Network::new(options.seed, plan.links, watch);
        let members = system.members();
        let address = |id: NodeId| SocketAddr::new(node_ip(id), CONTROL_PORT);
        let client_runtime = SimRuntime {
            me: None,
            network: network.clone(),
            control: Arc::new(members.iter().map(|(id, _)| (address(*id), *id)).collect()),
            draws: Arc::new(Mutex::new(Stream::Timers.of(options.seed))),
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
            let runtime = SimRuntime { me: Some(*me), ..client_runtime.clone() };
            let (config, monitor, me) = (config.clone(), monitor.clone(), *me);
            let life =
                move || live::<S>(me, runtime.clone(), config.clone(), placement.clone(), monitor.clone());
            let node = handle.create_node().name(me.to_string()).ip(node_ip(me)).init(life).build();
            nodes.insert(me, node);
        }
        let client = handle.create_node().name("client").ip(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1))).build();
        Self { monitor, network, nodes, client, client_runtime, agenda: BTreeMap::new(), planned: 0 }
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
            tokio::select! {
                biased;
                Some(order) = orders.recv() => match order {
                    Order::Do(what) => self.perform(what),
                    Order::Stop => return self.monitor.verdict(),
                },
                () = madsim::time::sleep(wait), if !wait.is_zero() => {}
                else => {}
            }
            let now = clock.elapsed();
            while self.agenda.first_key_value().is_some_and(|(&(at, _), _)| at <= now) {
                if let Some((_, task)) = self.agenda.pop_first() {
                    match task {
                        Task::Do(what) => self.perform(what),
                        Task::Restart(node) => self.restart(node),
                        Task::Mend(directions) => {
                            self.network.mend(&directions);
                            self.monitor.note(Happening::Plan("a cut is mended".into()));
                        }
                    }
                }
            }
            if now >= until {
                return self.monitor.verdict();
            }
        }
    }

    fn perform(&mut self, what: What<NodeOf<S>>) {
        let now = TimeHandle::current().elapsed();
        match what {
            What::Ask { to, id, request } => self.ask(to, id, request),
            What::Crash { node, down_ms } => {
                if self.crash(node)
                    && let Some(down_ms) = down_ms
                {
                    self.later(now + Duration::from_millis(down_ms), Task::Restart(node));
                }
            }
            What::Cut { from, to, both_ways, for_ms } => {
                let arrow = if both_ways { "from" } else { "to" };
                let what = format!("{} cut off {arrow} {} for {for_ms} ms", names(&from), names(&to));
                self.monitor.note(Happening::Plan(what));
                let pairs = from.iter().flat_map(|&a| to.iter().map(move |&b| (a, b)));
                let mut directions: BTreeSet<_> = pairs.filter(|(a, b)| a != b).collect();
                if both_ways {
                    directions.extend(directions.clone().into_iter().map(|(a, b)| (b, a)));
                }
                self.network.cut(&directions);
                self.later(now + Duration::from_millis(for_ms), Task::Mend(directions));
            }
        }
    }

    /// Crashes a node; `false` if it is down already.
    fn crash(&self, node: NodeId) -> bool {
        if self.monitor.down().contains(&node) {
            return false;
        }
        let id = self.nodes[&node].id();
        Handle::current().kill(id);
        self.monitor.crashed(node, Disks::current().last_crash(id));
        true
    }

    fn restart(&self, node: NodeId) {
        if self.monitor.down().contains(&node) {
            Handle::current().restart(self.nodes[&node].id());
        }
    }

    /// Ends all faults and starts every node that is down.
    fn heal(&mut self) {
        self.monitor.note(Happening::Plan("all faults are healed, every node is restarted".into()));
        self.monitor.disarm();
        self.network.heal();
        self.agenda.retain(|_, task| matches!(task, Task::Restart(_) | Task::Do(What::Ask { .. })));
        for node in self.monitor.down() {
            // Its files may still be open, if it stopped by itself.
            Handle::current().kill(self.nodes[&node].id());
            self.restart(node);
        }
    }

    /// A client that asks until it is answered.
    fn ask(&self, to: NodeId, id: RequestId, request: <NodeOf<S> as Node>::Request) {
        let (runtime, monitor) = (self.client_runtime.clone(), self.monitor.clone());
        let address = SocketAddr::new(node_ip(to), DATA_PORT);
        let what = format!("{id} {}", NodeOf::<S>::tell(Word::Request(&request)));
        monitor.note(Happening::Asked { to, what });
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
                    return monitor.note(Happening::Answered { from: to, what: format!("{id} {what}") });
                }
                runtime.sleep(Duration::from_millis(500)).await;
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
