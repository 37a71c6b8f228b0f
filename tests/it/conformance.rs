//! The three worlds agree: the same rollout writes the same journals on every node, record by record, when it
//! runs on tokio's TCP and real files, under madsim, and in the checker's world.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use coalmine::rollout::{LIMITS, RolloutSystem, scripted};
use coalmine_core::codec::journal;
use coalmine_core::node::{Effect, Node as _, NodeId, RequestId};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::durable::Record;
use coalmine_core::rollout::message::{Message, Reply, Request};
use coalmine_core::rollout::state::ModelId;
use coalmine_real::recorder::{self, Recorder, Who};
use coalmine_real::shell::{Placement, Shell};
use coalmine_real::tokio_runtime::TokioRuntime;
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::spec::limits::Limits;
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::trace::TraceEvent;
use coalmine_sim::verify::verify;
use coalmine_sim::world::{Action, Rules, Step};

type Node = RolloutNode;
type Journals = BTreeMap<NodeId, Vec<Record>>;

/// The rollout of the calm scenario, as the one request of a system.
#[derive(Debug)]
struct Calm;

fn operation() -> Operation<Node> {
    Operation {
        to: NodeId(1),
        id: RequestId { client: 1, sequence: 1 },
        request: Request::unguarded(
            ModelId::new("v2").expect("a valid name"),
            vec![500, 2_000, 5_000, 10_000],
            1_000,
        ),
    }
}

impl System for Calm {
    type Node = Node;
    type History = <RolloutSystem as System>::History;

    fn members(&self) -> Vec<(NodeId, <Node as coalmine_core::node::Node>::Config)> {
        RolloutSystem::new(3, 1).members()
    }
    fn operations(&self) -> Vec<Operation<Node>> {
        vec![operation()]
    }
    fn invariants(&self) -> Vec<coalmine_core::observation::Invariant<Node, Self::History>> {
        RolloutSystem::new(3, 1).invariants()
    }
    fn witnesses(&self) -> Vec<coalmine_core::observation::Witness<Node, Self::History>> {
        Vec::new()
    }
    fn converged(
        &self,
        now: &coalmine_core::observation::Observation<'_, Node, Self::History>,
    ) -> Result<(), String> {
        RolloutSystem::new(3, 1).converged(now)
    }
}

/// The checker's world: always the first step that delivers something; the pause's timer when nothing is
/// under way.
fn explored() -> Journals {
    let rules = Rules::new(Calm, Limits { crashes: 0, drops: 0, timeouts: None, ..LIMITS });
    let mut world = rules.plain_start();
    let mut journals = Journals::new();
    let mut note = |place: usize, effects: &[Effect<Node>]| {
        let journal = journals.entry(NodeId(place as u32 + 1)).or_default();
        journal.extend(effects.iter().filter_map(|effect| match effect {
            Effect::Append(record) => Some(record.clone()),
            Effect::Send { .. }
            | Effect::Reply { .. }
            | Effect::Publish(_)
            | Effect::Observe(_)
            | Effect::SetTimer { .. }
            | Effect::CancelTimer(_)
            | Effect::Forget(_)
            | Effect::Meet { .. }
            | Effect::Part(_)
            | Effect::Lost { .. }
            | Effect::WhenDurable(_) => None,
        }));
    };
    loop {
        let mut successors = Vec::new();
        rules.successors(&world, &mut successors);
        let wanted = |action: &Action<Node>| match action {
            Action::Step { step: Step::Deliver { .. }, .. } => 3,
            Action::Step { step: Step::Ask(_), .. } => 2,
            Action::Step { step: Step::Fire(coalmine_core::rollout::message::Timer::Step), .. } => 1,
            Action::Step { .. }
            | Action::Drop(_)
            | Action::Crash { .. }
            | Action::Cut { .. }
            | Action::Heal { .. } => 0,
        };
        let next = successors.into_iter().max_by_key(|transition| wanted(&transition.action));
        let Some(next) = next.filter(|next| wanted(&next.action) > 0) else { return journals };
        let (after, effects) = rules.apply(&world, &next.action);
        if let Action::Step { place, .. } = next.action {
            note(place, &effects);
        }
        world = after;
    }
}

/// Under madsim: what was appended, from the trace.
fn simulated() -> Journals {
    let scenario = scripted::all().into_iter().find(|it| it.name == "rollout-calm").expect("it ships");
    let plan = scenario.plan_of(&(scenario.system)(), 1);
    let options = RunOptions { keep_trace: true, ..RunOptions::of(1) };
    let report = scenario.run_plan(Engine::Madsim, &plan, options);
    assert_eq!(report.verdict, Verdict::Passed);
    let mut journals = Journals::new();
    for entry in report.trace.expect("the trace was kept") {
        let (node, effects) = match entry.what {
            TraceEvent::Booted { node, effects, .. }
            | TraceEvent::Stepped { node, effects, .. }
            | TraceEvent::Synced { node, effects, .. } => (node, effects),
            TraceEvent::Crashed { .. }
            | TraceEvent::Killed { .. }
            | TraceEvent::Stopped { .. }
            | TraceEvent::Frame { .. }
            | TraceEvent::Asked { .. }
            | TraceEvent::Answered { .. }
            | TraceEvent::Complained { .. }
            | TraceEvent::Cut { .. }
            | TraceEvent::Mended { .. }
            | TraceEvent::Fault(_)
            | TraceEvent::Noted(_)
            | TraceEvent::Healed => continue,
        };
        for effect in effects {
            if let Effect::Append(record) = effect {
                journals.entry(node).or_default().push(record);
            }
        }
    }
    journals
}

/// For real: tokio's TCP on loopback, files and fsync; what is in the files at the end.
fn real() -> Journals {
    let folder = std::env::temp_dir().join(format!("coalmine-conformance-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    let path = |id: NodeId| folder.join(format!("{id}.journal"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("tokio starts");
    let (journals, recorders) = runtime.block_on(run_for_real(&path));
    runtime.shutdown_timeout(Duration::from_secs(5));
    recorders.iter().for_each(Recorder::finish);
    verify_what_was_recorded(&folder, &journals);
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
    journals
}

/// Each node does again, step by step, what it did; and the history keeps the invariants.
fn verify_what_was_recorded(folder: &Path, journals: &Journals) {
    let verified = verify(&Calm, "calm", "", &[folder.to_owned()], true).expect("the recordings can be read");
    assert_eq!((&verified.difference, &verified.violated), (&None, &None));
    assert_eq!(verified.notes, Vec::<String>::new());
    assert_eq!((verified.nodes.len(), verified.boots), (3, 3));
    assert!(verified.story.contains("PREPARE_REQ"), "{}", verified.story);
    let records: usize = journals.values().map(Vec::len).sum();
    let written = verified.story.lines().filter(|line| line.trim_start().starts_with("journal: "));
    assert_eq!(written.count(), records, "{}", verified.story);
    let page = verified.page.expect("it was asked for");
    assert!(page.ending.passed && page.flights.len() > 20);
}

async fn run_for_real(path: &dyn Fn(NodeId) -> PathBuf) -> (Journals, Vec<Recorder<Node>>) {
    let members = Calm.members();
    let free = |_: &(NodeId, _)| -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port")
    };
    let addresses: BTreeMap<NodeId, SocketAddr> = members.iter().map(|it| (it.0, free(it))).collect();
    let (mut handles, mut recorders) = (Vec::new(), Vec::new());
    for (me, config) in members {
        let mut peers = addresses.clone();
        let control = peers.remove(&me).expect("every member has an address");
        let placement = Placement { me, control, data: control, peers };
        let tape = path(me).with_extension("rec");
        let warn = Box::new(|what| panic!("{what}"));
        let who = Who { program: "test", protocol: "rollout", node: me };
        let recorder = Recorder::start(&tape, who, &config, recorder::Limits::default(), warn);
        let recorder = recorder.expect("the folder can be written to");
        recorders.push(recorder.clone());
        let (shell, handle) = Shell::new(TokioRuntime::new(path(me)), config, placement, recorder);
        tokio::spawn(async move { panic!("{me} stopped: {}", shell.run().await.unwrap_err()) });
        handles.push(handle);
    }
    let Operation { id, request, .. } = operation();
    let ask = async || handles[0].request(id, request.clone()).await.expect("the coordinator answers");
    while let Reply::Joining(_) = ask().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let all_serve = |version| {
        let serves = |handle: &coalmine_real::shell::Handle<Node>| {
            handle.view().is_some_and(|view| view.routing.version == version)
        };
        handles.iter().all(serves)
    };
    for _ in 0..600 {
        if all_serve(5) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(all_serve(5), "the rollout should have reached every node within 30 s");
    (addresses.keys().map(|&id| (id, read(&path(id)))).collect(), recorders)
}

fn read(path: &Path) -> Vec<Record> {
    let bytes = std::fs::read(path).expect("the node wrote its journal");
    journal::recover(RolloutNode::FORM, &bytes).expect("the journal is whole").records
}

/// Each world draws another name for the cluster that forms.
fn unnamed(mut journals: BTreeMap<NodeId, Vec<Record>>) -> BTreeMap<NodeId, Vec<Record>> {
    for record in journals.values_mut().flatten() {
        if let Record::Admitted { cluster, .. } = record {
            *cluster = coalmine_core::rollout::state::ClusterId(0);
        }
    }
    journals
}

#[test]
fn the_three_worlds_write_the_same_journals() {
    let simulated = unnamed(simulated());
    let n1 = "an admission, an epoch, the rollout, five votes, five decisions";
    assert_eq!(simulated[&NodeId(1)].len(), 13, "{n1}");
    assert_eq!(simulated[&NodeId(2)].len(), 12, "a grant, an admission, five votes, five decisions");
    assert_eq!(unnamed(explored()), simulated, "the checker's world and the simulation");
    assert_eq!(unnamed(real()), simulated, "the real cluster and the simulation");
}

/// The words on the wire are those of the design.
#[test]
fn messages_are_named_as_on_the_wire() {
    let message = Message::DecisionAck { txid: "1.2".to_owned().try_into().expect("a txid") };
    let json = serde_json::to_string(&message).expect("messages serialise");
    assert_eq!(json, r#"{"type":"DECISION_ACK","txid":"1.2"}"#);
}
