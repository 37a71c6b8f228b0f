//! What recording costs: the same work by turns without and with a recorder, in one process.
//!
//! ```sh
//! cargo run --release -p coalmine-real --example recording_cost -- [SECONDS] [TURNS]
//! ```

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coalmine_core::node::{NodeId, RequestId};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::health::{Health, Window};
use coalmine_core::rollout::message::{Reply, Request};
use coalmine_core::rollout::state::{ModelId, WHOLE_BP};
use coalmine_real::http;
use coalmine_real::http_api::HttpApi;
use coalmine_real::probe::Probe;
use coalmine_real::recorder::{Limits, Recorder, Who};
use coalmine_real::runtime::Runtime;
use coalmine_real::shell::{Handle, Placement, Shell};
use coalmine_real::tokio_runtime::TokioRuntime;

type Node = RolloutNode;

/// What watches a node that is not recorded.
#[derive(Clone)]
struct Unwatched;
impl Probe<Node> for Unwatched {}

/// Three nodes, and the first one's HTTP.
struct Cluster {
    handles: Vec<Handle<Node>>,
    recorders: Vec<Recorder<Node>>,
    http: SocketAddr,
    runtime: TokioRuntime,
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port")
}

async fn start(folder: &Path, recorded: bool) -> Cluster {
    let configs = Config::cluster(3);
    let addresses: BTreeMap<NodeId, SocketAddr> = configs.iter().map(|it| (it.me, free())).collect();
    let http = free();
    let runtime = TokioRuntime::new("");
    let (mut handles, mut recorders) = (Vec::new(), Vec::new());
    for config in &configs {
        let me = config.me;
        let mut peers = addresses.clone();
        let control = peers.remove(&me).expect("every member has an address");
        let recorder = recorded.then(|| {
            let path = folder.join(format!("{me}.rec"));
            let warn = Box::new(|what| eprintln!("{what}"));
            let who = Who { program: "cost", protocol: "rollout", node: me };
            Recorder::start(&path, who, config, Limits::default(), warn).expect("a writable folder")
        });
        recorders.extend(recorder.clone());
        let placement = Placement { me, control, data: control, peers };
        let journal = TokioRuntime::new(folder.join(format!("{me}.journal")));
        let (shell, handle) = Shell::new(journal, config.clone(), placement, (Unwatched, recorder));
        tokio::spawn(async move { panic!("{me} stopped: {}", shell.run().await.unwrap_err()) });
        if handles.is_empty() {
            let listener = runtime.listen(http).await.expect("the port is free");
            let router = Node::router(&runtime, config, handle.clone());
            tokio::spawn(http::serve(runtime.clone(), listener, router));
        }
        handles.push(handle);
    }
    while handles.iter().any(|handle| handle.view().is_none()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Cluster { handles, recorders, http, runtime }
}

fn report(sequence: u64) -> (RequestId, Request) {
    let v1 = ModelId::new("v1").expect("a valid name");
    let window = Window { samples: 100, p95_ms: 10, error_bp: 0 };
    let health = Health { window_id: sequence, version: 0, models: [(v1, window)].into() };
    (RequestId { client: 2, sequence }, Request::ReportHealth(health))
}

/// One kind of work: does it once.
#[derive(Clone, Copy)]
enum Work {
    /// A rollout of one step, until all three nodes serve it.
    Rollout,
    /// A request over HTTP, on a connection of its own.
    Http,
    /// A request without any network: as fast as the node's loop turns.
    Loop,
}

async fn work(cluster: &Cluster, work: Work, sequence: u64) {
    match work {
        Work::Rollout => {
            let model = ModelId::new(&format!("v{}", sequence + 1)).expect("a valid name");
            let request = Request::unguarded(model, vec![WHOLE_BP], 0);
            let id = RequestId { client: 1, sequence };
            loop {
                match cluster.handles[0].request(id, request.clone()).await.expect("it runs") {
                    Reply::Accepted { .. } => break,
                    Reply::Busy { .. } | Reply::Joining(_) => {
                        tokio::time::sleep(Duration::from_micros(100)).await;
                    }
                    other @ (Reply::Done
                    | Reply::Ordered { .. }
                    | Reply::Changing { .. }
                    | Reply::TakingOver
                    | Reply::Resolved { .. }
                    | Reply::Unfit { .. }
                    | Reply::NotCoordinator { .. }
                    | Reply::SplitBrain
                    | Reply::Invalid { .. }) => panic!("an unexpected answer: {other:?}"),
                }
            }
            let serves =
                |handle: &Handle<Node>| handle.view().is_some_and(|it| it.routing.version >= sequence);
            while !cluster.handles.iter().all(serves) {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        }
        Work::Http => {
            let (id, request) = report(sequence);
            let request = Node::to_http(id, &request);
            let answer =
                http::request(&cluster.runtime, cluster.http, request, Duration::from_secs(10)).await;
            assert!(answer.expect("it is answered").status().is_success());
        }
        Work::Loop => {
            let (id, request) = report(sequence);
            cluster.handles[0].request(id, request).await.expect("it runs");
        }
    }
}

/// How often it is done in a second.
fn turn(what: Work, recorded: bool, lasts: Duration, folder: &Path) -> f64 {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).expect("a temporary folder can be made");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("tokio starts");
    let rate = runtime.block_on(async {
        let cluster = start(folder, recorded).await;
        let began = Instant::now();
        let mut done = 0;
        while began.elapsed() < lasts {
            done += 1;
            work(&cluster, what, done).await;
        }
        let rate = done as f64 / began.elapsed().as_secs_f64();
        cluster.recorders.iter().for_each(Recorder::finish);
        rate
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    rate
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() {
    let mut args = std::env::args().skip(1).map(|it| it.parse::<u64>().expect("a number"));
    let lasts = Duration::from_secs(args.next().unwrap_or(2));
    let turns = args.next().unwrap_or(5);
    let folder: PathBuf =
        std::env::temp_dir().join(format!("coalmine-recording-cost-{}", std::process::id()));
    println!("medians of {turns} turns each of {} s, by turns without and with a recorder", lasts.as_secs());
    for (name, what) in
        [("rollouts, 3 nodes", Work::Rollout), ("requests over HTTP", Work::Http), ("bare loop", Work::Loop)]
    {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..turns {
            without.push(turn(what, false, lasts, &folder));
            with.push(turn(what, true, lasts, &folder));
        }
        let (without, with) = (median(without), median(with));
        println!("{name:20} {without:10.0} a second, recorded {with:10.0}: {:5.1} %", 100.0 * with / without);
    }
    let _ = std::fs::remove_dir_all(folder);
}
