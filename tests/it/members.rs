//! Members that come and go: whom a node may send to is an effect, and means the same in every world.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use coalmine::roster::{model, scenario};
use coalmine_core::codec::journal;
use coalmine_core::host::Host;
use coalmine_core::node::{Address, Context, Effect, Event, Node, NodeId, RequestId};
use coalmine_core::observation::Invariant;
use coalmine_core::roster::{Config, Done, KEEPER, Mistake, Record, Request, Roster};
use coalmine_real::http_api::HttpApi;
use coalmine_real::recorder::{self, Recorder, Who};
use coalmine_real::shell::{Handle, Placement, Shell};
use coalmine_real::tokio_runtime::TokioRuntime;
use coalmine_sim::check::{CheckOptions, Explorer, Reductions, Verdict as Property};
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::prelude::address_of;
use coalmine_sim::spec::limits::{Limits, ModelArgs};
use coalmine_sim::spec::plan::{Plan, What};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::{Engine, SETTLES, Verdict};
use coalmine_sim::suite::{AnyModel, AnyScenario, ModelDef};
use coalmine_sim::trace::TraceEvent;
use coalmine_sim::verify::verify;
use serde::{Deserialize, Serialize};
use tempfile::tempdir;

/// Does what it is asked, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Puppet;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Act {
    Append,
    Meet(u32),
    /// At the address of the next one.
    MeetElsewhere(u32),
    Part(u32),
    Send(u32),
    SendAtOnce(u32),
}

impl Node for Puppet {
    type Config = ();
    type Message = ();
    type Timer = ();
    type Record = ();
    type Request = Vec<Act>;
    type Reply = ();
    type View = ();
    type Fact = ();

    fn knows((): &()) -> Option<Vec<NodeId>> {
        Some(vec![NodeId(2)])
    }

    fn start((): &(), _: &[()], _: &mut Context<'_, Self>) -> Self {
        Self
    }

    fn on(&mut self, (): &(), event: Event<Self>, cx: &mut Context<'_, Self>) {
        let Event::Request { id, request } = event else { return };
        for act in request {
            match act {
                Act::Append => drop(cx.append(())),
                Act::Meet(who) => cx.meet(NodeId(who), address_of(NodeId(who))),
                Act::MeetElsewhere(who) => cx.meet(NodeId(who), address_of(NodeId(who + 1))),
                Act::Part(who) => cx.part(NodeId(who)),
                Act::Send(to) => cx.send(NodeId(to), ()),
                Act::SendAtOnce(to) => cx.send_at_once(NodeId(to), ()),
            }
        }
        cx.reply(id, ());
    }
}

impl HttpApi for Puppet {}

/// Whom messages leave for, and for whom they are lost.
fn sent(effects: &[Effect<Puppet>]) -> Vec<(u32, bool)> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send { to, .. } => Some((to.0, true)),
        Effect::Lost { to, .. } => Some((to.0, false)),
        Effect::Append(_) | Effect::Reply { .. } | Effect::Publish(_) | Effect::Observe(_) => None,
        Effect::SetTimer { .. } | Effect::CancelTimer(_) | Effect::WhenDurable(_) => None,
        Effect::Forget(_) | Effect::Meet { .. } | Effect::Part(_) => None,
    });
    sent.collect()
}

#[test]
fn hosts_know_whom_a_node_has_met() {
    let boot = |out: &mut Vec<_>| Host::<Puppet>::boot(&(), &[], 1, &mut |_: u32| 0, out);
    let mut out = Vec::new();
    let mut host = boot(&mut out);
    let id = RequestId { client: 1, sequence: 1 };
    let ask = |host: &mut Host<Puppet>, request: &[Act]| {
        let mut out = Vec::new();
        host.step(&(), Event::Request { id, request: request.to_vec() }, &mut |_: u32| 0, &mut out);
        out
    };
    use Act::{Append, Meet, Part, Send, SendAtOnce};
    let out = ask(&mut host, &[Send(2), Send(3), Meet(3), Send(3), Part(2), Send(2), Send(3)]);
    assert_eq!(sent(&out), [(2, true), (3, false), (3, true), (2, false), (3, true)]);
    assert!(host.knows(NodeId(3)) && !host.knows(NodeId(2)) && !host.knows(NodeId(4)));
    // To meet waits for the disk as a message does, and what leaves at once passes it.
    let out = ask(&mut host, &[Append, Meet(4), Send(4), Part(3), SendAtOnce(4), SendAtOnce(3)]);
    assert_eq!(sent(&out), [(4, false), (3, true)]);
    let mut out = Vec::new();
    host.synced(&(), 1, 1, &mut |_: u32| 0, &mut out);
    assert_eq!(sent(&out), [(4, true)]);
    assert!(host.knows(NodeId(4)) && !host.knows(NodeId(3)));
    // Whom it has met tells two hosts apart; it is gone with the life.
    let fresh = boot(&mut Vec::new());
    assert!(fresh != host && fresh.knows(NodeId(2)) && !fresh.knows(NodeId(4)));
}

/// Whoever explores it comes to the same, and finds what is wrong.
#[test]
fn every_explorer_knows_who_is_known() {
    let of = |reductions, explorer| CheckOptions { reductions, explorer, ..CheckOptions::default() };
    let small = ModelArgs { timeouts: Some(0), ..ModelArgs::default() };
    for mistake in std::iter::once(None).chain(Mistake::ALL.map(Some)) {
        for (reductions, explorer) in [
            (Reductions::NONE, Explorer::Own),
            (Reductions::USUAL, Explorer::Own),
            (Reductions::NONE, Explorer::Stateright),
        ] {
            let model = model();
            let planted = mistake.map(|mistake| model.with_mistake(mistake.name()).expect("it is listed"));
            let options = of(reductions, explorer);
            let (report, found) = match &planted {
                Some(planted) => planted.check(small, options, &mut |_| {}),
                None => model.check(small, options, &mut |_| {}),
            };
            let is_seen = match mistake {
                None => false,
                Some(Mistake::TellsFirst) => true,
                // stateright does not ask whether the system settles.
                Some(Mistake::ForgetsAddresses | Mistake::PartsEarly) => explorer == Explorer::Own,
            };
            assert_eq!(found.is_some(), is_seen, "{mistake:?} {explorer:?}: {report:?}");
            if is_seen && mistake != Some(Mistake::TellsFirst) {
                assert_eq!(report.properties[SETTLES], Property::Violated, "{mistake:?}");
            }
        }
    }
}

/// The others hear although a member never comes back; without the keeper nobody does.
#[test]
fn who_is_gone_keeps_only_a_keeper_from_telling() {
    let settles = |mistake: Option<Mistake>, gone| {
        let args = ModelArgs { without: Some(gone), ..ModelArgs::default() };
        let model = model();
        let planted = mistake.map(|mistake| model.with_mistake(mistake.name()).expect("it is listed"));
        let (report, _) = match &planted {
            Some(planted) => planted.check(args, CheckOptions::default(), &mut |_| {}),
            None => model.check(args, CheckOptions::default(), &mut |_| {}),
        };
        report.properties[SETTLES]
    };
    assert_eq!(
        [1, 2, 3].map(|gone| settles(None, gone)),
        [Property::Violated, Property::Holds, Property::Holds]
    );
    let forgets = [1, 2, 3].map(|gone| settles(Some(Mistake::ForgetsAddresses), gone));
    assert_eq!(forgets, [Property::Violated; 3]);
}

/// Both engines lose what is for somebody unknown, say so, and their recordings are executed again.
#[test]
fn both_engines_lose_what_is_for_strangers() {
    let folder = tempdir().expect("a temporary folder");
    let planted = AnyScenario::with_mistake(&scenario(), "forgets-addresses").expect("it is listed");
    for engine in [Engine::Direct, Engine::Madsim] {
        let missed = (0..40).filter(|&seed| {
            let run = planted.run(engine, seed, true);
            let told = run.story.map(|story| story.to_string()).unwrap_or_default();
            let is_lost = told.contains("lost, as it does not know n") && told.contains("is not a peer");
            assert!(run.verdict == Verdict::Passed || is_lost, "{engine} {seed}: {told}");
            is_lost
        });
        assert!(missed.count() >= 5, "{engine}: too few seeds forget an address that is needed");
        for seed in 0..20 {
            let options = RunOptions { record: Some("roster"), keep_trace: true, ..RunOptions::of(seed) };
            let plan = scenario().draw(seed).expect("a sound plan");
            let report = scenario().run_plan(engine, &plan, options);
            assert_eq!(report.verdict, Verdict::Passed, "{engine} {seed}");
            let trace = report.trace.expect("kept");
            let is_lost = |entry: &coalmine_sim::trace::Entry<Roster>| matches!(&entry.what, TraceEvent::Complained { what, .. } if what.contains("not a peer"));
            assert!(!trace.iter().any(is_lost), "{engine} {seed}: a sound keeper knows everybody it tells");
            for (node, bytes) in &report.recordings {
                fs::write(folder.path().join(format!("{}.rec", node.0)), bytes).expect("there is room");
            }
            let system = (scenario().system)();
            let verified = verify(&system, "roster", "", &[folder.path().to_owned()], false);
            let verified = verified.expect("recordings");
            assert_eq!((&verified.difference, &verified.violated), (&None, &None), "{engine} {seed}");
        }
    }
}

/// A puppet that is asked once.
#[derive(Debug)]
struct Stage(Vec<Act>);

impl System for Stage {
    type Node = Puppet;
    type History = ();

    fn members(&self) -> Vec<(NodeId, ())> {
        [1, 2, 3].map(|id| (NodeId(id), ())).into()
    }

    fn operations(&self) -> Vec<Operation<Puppet>> {
        let id = RequestId { client: 1, sequence: 1 };
        vec![Operation { to: NodeId(1), id, request: self.0.clone() }]
    }

    fn invariants(&self) -> Vec<Invariant<Puppet, ()>> {
        vec![Invariant { name: "nothing", about: "", source: "", check: |_| Ok(()) }]
    }
}

/// A member that is met where it does not live would never be reached in production.
#[test]
fn whoever_is_met_elsewhere_is_a_panic_in_every_world() {
    let why = "it meets n3 at Address";
    let system = |_, _| Stage(vec![Act::MeetElsewhere(3), Act::Send(3)]);
    let model = ModelDef { name: "stage", about: "", system, size: (3, 1), limits: Limits::NONE };
    let (report, found) = model.check(ModelArgs::default(), CheckOptions::default(), &mut |_| {});
    let story = found.expect("it is found").story.to_string();
    assert!(story.contains(why) && story.contains("nothing sent there would arrive"), "{report:?} {story}");
    let scenario = Scenario {
        name: "stage",
        about: "",
        system: || Stage(vec![Act::MeetElsewhere(3)]),
        plan: |system: &Stage, _| {
            let asks = system.operations().into_iter();
            Plan::quiet(asks.map(|Operation { to, id, request }| (100, What::Ask { to, id, request })))
        },
        expect: nothing_more::<Stage>,
    };
    for engine in [Engine::Direct, Engine::Madsim] {
        let run = AnyScenario::run(&scenario, engine, 1, false);
        assert!(
            matches!(&run.verdict, Verdict::Panicked(panic) if panic.message.contains(why)),
            "{:?}",
            run.verdict
        );
    }
}

/// A node of the roster, for real.
struct Real {
    handle: Handle<Roster>,
    task: tokio::task::JoinHandle<()>,
    recorder: Recorder<Roster>,
}

impl Real {
    fn start(folder: &Path, me: NodeId, addresses: &BTreeMap<NodeId, Address>) -> Self {
        // Nobody is told where others live but what its configuration knows.
        let config = Config { me, mistake: None };
        let known = Roster::knows(&config).expect("the roster says");
        let peers = known.into_iter().map(|id| (id, addresses[&id].control)).collect();
        let placement = Placement { me, control: addresses[&me].control, data: addresses[&me].data, peers };
        let warn = Box::new(|what| panic!("{what}"));
        let who = Who { program: "test", protocol: "roster", node: me };
        let tape = folder.join(format!("{me}.rec"));
        let recorder = Recorder::start(&tape, who, &config, recorder::Limits::default(), warn);
        let recorder = recorder.expect("the folder can be written to");
        let runtime = TokioRuntime::new(folder.join(format!("{me}.journal")));
        let (shell, handle) = Shell::new(runtime, config, placement, recorder.clone());
        let task = tokio::spawn(async move {
            panic!("{me} stopped: {}", shell.run().await.expect_err("it never ends by itself"));
        });
        Self { handle, task, recorder }
    }

    async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
        self.recorder.finish();
    }
}

async fn is_told(folder: &Path, member: NodeId, wanted: (u64, bool)) {
    for _ in 0..1_500 {
        let bytes = fs::read(folder.join(format!("{member}.journal"))).unwrap_or_default();
        let records =
            journal::recover::<Record>(Roster::FORM, &bytes).map(|it| it.records).unwrap_or_default();
        let last = records.last().cloned();
        if last == Some(Record::Told { number: wanted.0, is_in: wanted.1 }) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{member} should have been told {wanted:?} within 30 s");
}

/// For real: a keeper that knows nobody reaches whom it is told of, in its first life and in the next, whose addresses come
/// from the journal; and what was recorded is executed again.
#[test]
fn real_nodes_find_each_other_by_what_the_journal_says() {
    let folder = tempdir().expect("a temporary folder");
    let path = folder.path();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("tokio starts");
    runtime.block_on(async {
        let free = || -> SocketAddr {
            TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port")
        };
        let ids = [1, 2, 3].map(NodeId);
        let addresses: BTreeMap<_, _> = ids.map(|id| (id, Address { control: free(), data: free() })).into();
        let start = |me| Real::start(path, me, &addresses);
        let (keeper, n2, n3) = (start(KEEPER), start(NodeId(2)), start(NodeId(3)));
        let ask = async |keeper: &Real, sequence, request| {
            let id = RequestId { client: 1, sequence };
            assert_eq!(keeper.handle.request(id, request).await.expect("it answers"), Done);
        };
        assert_eq!(keeper.handle.address_of(NodeId(2)), None);
        ask(&keeper, 1, Request::Admit(NodeId(2), addresses[&NodeId(2)])).await;
        is_told(path, NodeId(2), (1, true)).await;
        assert_eq!(
            keeper.handle.address_of(NodeId(2)),
            Some(addresses[&NodeId(2)].data),
            "clients are sent on there"
        );
        keeper.stop().await;
        let keeper = start(KEEPER);
        ask(&keeper, 2, Request::Dismiss(NodeId(2))).await;
        is_told(path, NodeId(2), (2, false)).await;
        ask(&keeper, 3, Request::Admit(NodeId(3), addresses[&NodeId(3)])).await;
        is_told(path, NodeId(3), (3, true)).await;
        for node in [keeper, n2, n3] {
            node.stop().await;
        }
    });
    let verified =
        verify(&(scenario().system)(), "roster", "", &[path.to_owned()], false).expect("recordings");
    assert_eq!((&verified.difference, &verified.violated), (&None, &None));
    assert_eq!(verified.boots, 4);
    assert!(verified.story.contains("meets n2 at 127.0.0.1:"), "{}", verified.story);
}
