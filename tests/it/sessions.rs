//! Clients are sessions, in both engines and in the checker: they go where they are sent, wait for their answers, and ask
//! what follows from what they were told.

use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_core::observation::{History, Invariant, Observation, Witness};
use coalmine_real::http_api::HttpApi;
use coalmine_sim::check::{CheckOptions, CheckReport, Explorer, Reductions, Verdict as Property};
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::files::capsule::File;
use coalmine_sim::spec::faults::Fault;
use coalmine_sim::spec::limits::{Limits, ModelArgs};
use coalmine_sim::spec::plan::{Draw, Plan, What};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::{Engine, Expected, SETTLES, Verdict};
use coalmine_sim::suite::{AnyModel, Explanation, ModelDef, Suite};
use coalmine_sim::trace::text;
use serde::{Deserialize, Serialize};

/// What is wrong with a cell, or with its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Kind {
    /// One client counts up.
    Alone,
    /// Two clients count up, each by reading and then writing one more: what the other has done between is lost.
    Races,
    /// The same, but who writes says what it has read, and nothing else is overwritten.
    Compares,
    /// It answers only when it is asked a second time.
    Hesitates,
    /// It never answers a write.
    Mute,
    /// It never answers a write, and nobody owes an answer.
    MayBeMute,
}

/// A number that the first member holds; the others send clients there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cell {
    value: u8,
    /// Who has written, and what it was.
    written: Vec<(RequestId, bool)>,
    asked: Vec<RequestId>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Request {
    Read,
    /// Write one more than was read; what that is follows from the answer.
    WriteOneMore,
    /// If it holds the first, or whatever it holds, it holds the second.
    Write(Option<u8>, u8),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Reply {
    Holds(u8),
    Written,
    Differs,
    Ask(NodeId),
}

const HOLDER: NodeId = NodeId(1);

impl Node for Cell {
    type Config = (NodeId, Kind);
    type Message = ();
    type Timer = ();
    type Record = ();
    type Request = Request;
    type Reply = Reply;
    type View = ();
    type Fact = ();

    fn start(_: &Self::Config, _: &[()], _: &mut Context<'_, Self>) -> Self {
        Self { value: 0, written: Vec::new(), asked: Vec::new() }
    }

    fn on(&mut self, (me, kind): &Self::Config, event: Event<Self>, cx: &mut Context<'_, Self>) {
        let Event::Request { id, request } = event else { return };
        if *me != HOLDER {
            return cx.reply(id, Reply::Ask(HOLDER));
        }
        let is_first = !self.asked.contains(&id);
        if *kind == Kind::Hesitates && is_first {
            self.asked.push(id);
            return;
        }
        match request {
            Request::Read => cx.reply(id, Reply::Holds(self.value)),
            Request::WriteOneMore => panic!("what is asked follows from what was read"),
            Request::Write(expected, value) => {
                let known = self.written.iter().find(|(known, _)| *known == id);
                let is_written = known.map_or_else(
                    || expected.is_none_or(|expected| expected == self.value),
                    |(_, is_written)| *is_written,
                );
                if known.is_none() {
                    self.value = if is_written { value } else { self.value };
                    self.written.push((id, is_written));
                }
                if !matches!(kind, Kind::Mute | Kind::MayBeMute) {
                    cx.reply(id, if is_written { Reply::Written } else { Reply::Differs });
                }
            }
        }
    }

    fn instead(reply: &Reply) -> Option<NodeId> {
        match reply {
            Reply::Ask(node) => Some(*node),
            Reply::Holds(_) | Reply::Written | Reply::Differs => None,
        }
    }
}

impl HttpApi for Cell {}

/// How many writes were acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Acknowledged(u8);

impl History<Cell> for Acknowledged {
    const IS_ORDERED: bool = false;
    const HEARS_REPLIES: bool = true;

    fn observe(&mut self, _: NodeId, (): &()) {}

    fn replied(&mut self, _: NodeId, _: RequestId, reply: &Reply) {
        self.0 += u8::from(*reply == Reply::Written);
    }
}

#[derive(Debug)]
struct Cells {
    kind: Kind,
    members: u32,
    clients: u64,
}

impl System for Cells {
    type Node = Cell;
    type History = Acknowledged;
    const FOLLOWS_UP: bool = true;

    fn members(&self) -> Vec<(NodeId, <Cell as Node>::Config)> {
        (1..=self.members).map(|id| (NodeId(id), (NodeId(id), self.kind))).collect()
    }

    /// All clients begin at the last member.
    fn operations(&self) -> Vec<Operation<Cell>> {
        let ask = |client, sequence, request| {
            let id = RequestId { client, sequence };
            Operation { to: NodeId(self.members), id, request }
        };
        let of = |client| [ask(client, 1, Request::Read), ask(client, 2, Request::WriteOneMore)];
        (1..=self.clients).flat_map(of).collect()
    }

    fn follow_up(&self, operation: &Request, heard: &[Option<&Reply>]) -> Option<Request> {
        match (operation, heard.last()) {
            (Request::WriteOneMore, Some(Some(Reply::Holds(value)))) => {
                Some(Request::Write((self.kind == Kind::Compares).then_some(*value), value + 1))
            }
            // Who does not know what there is writes nothing.
            (Request::WriteOneMore, _) => None,
            (Request::Read | Request::Write(..), _) => Some(operation.clone()),
        }
    }

    fn owes_no_answer(&self, _: &Request) -> Option<&'static str> {
        (self.kind == Kind::MayBeMute).then_some("it need not answer")
    }

    fn invariants(&self) -> Vec<Invariant<Cell, Acknowledged>> {
        let check = |now: &Observation<'_, Cell, Acknowledged>| {
            let Some(cell) = now.nodes[0].state else { return Ok(()) };
            let Acknowledged(written) = now.history;
            if cell.value >= *written { Ok(()) } else { Err(format!("{} of {written} writes", cell.value)) }
        };
        vec![Invariant { name: "nothing-is-lost", about: "", source: "", check }]
    }

    fn witnesses(&self) -> Vec<Witness<Cell, Acknowledged>> {
        let seen = |now: &Observation<'_, Cell, Acknowledged>| now.up().any(|(_, cell)| cell.value > 0);
        vec![Witness { name: "written", about: "", seen }]
    }
}

macro_rules! cells {
    ($($kind:ident $clients:literal),*) => {
        fn model(kind: Kind) -> ModelDef<Cells> {
            let (system, clients): (fn(u32, u32) -> Cells, u32) = match kind {
                $(Kind::$kind => {
                    (|members, clients| Cells { kind: Kind::$kind, members, clients: clients.into() }, $clients)
                })*
            };
            ModelDef { name: "cell", about: "", system, size: (2, clients), limits: Limits::NONE }
        }

        fn scenario(kind: Kind) -> Scenario<Cells> {
            let system: fn() -> Cells = match kind {
                $(Kind::$kind => || Cells { kind: Kind::$kind, members: 2, clients: $clients },)*
            };
            Scenario {
                name: "cell",
                about: "",
                system,
                plan: |system, rng| {
                    let ask = |operation: Operation<Cell>| {
                        let Operation { to, id, request } = operation;
                        (100 + 10 * id.sequence + rng.below(3), What::Ask { to, id, request })
                    };
                    let asks: Vec<_> = system.operations().into_iter().map(ask).collect();
                    Plan::quiet(asks)
                },
                expect: nothing_more::<Cells>,
            }
        }
    };
}
cells!(Alone 1, Races 2, Compares 2, Hesitates 1, Mute 1, MayBeMute 1);

fn all_ways() -> Vec<CheckOptions> {
    let none = Reductions::NONE;
    let own =
        [none, Reductions { idle: true, ..none }, Reductions { sleep: true, ..none }, Reductions::USUAL];
    let of = |threads| own.map(|reductions| CheckOptions { threads, reductions, ..CheckOptions::default() });
    let stateright =
        CheckOptions { explorer: Explorer::Stateright, reductions: none, ..CheckOptions::default() };
    of(1).into_iter().chain(of(2)).chain([stateright]).collect()
}

fn check(kind: Kind, options: CheckOptions) -> (CheckReport, Option<Explanation>) {
    model(kind).check(ModelArgs::default(), options, &mut |_| {})
}

/// Clients are sent to the first member and ask there; what they write follows from what they read: whoever explores, and
/// whatever is left out.
#[test]
fn the_checker_follows_its_clients() {
    for (kind, expected) in
        [(Kind::Alone, Property::Holds), (Kind::Races, Property::Violated), (Kind::Compares, Property::Holds)]
    {
        let mut states = Vec::new();
        for options in all_ways() {
            let (report, _) = check(kind, options.clone());
            assert_eq!(report.properties["nothing-is-lost"], expected, "{kind:?} {options:?}: {report:?}");
            assert_eq!(report.properties["written"], Property::Witnessed, "{kind:?} {options:?}");
            if expected == Property::Holds && options.reductions == Reductions::NONE {
                states.push(report.unique_states);
            }
        }
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "{kind:?}: all visit the same, {states:?}");
    }
}

/// A client that waits asks again when all is healed, and must be answered at last.
#[test]
fn whoever_waits_must_be_answered() {
    for (kind, settles) in
        [(Kind::Alone, true), (Kind::Hesitates, true), (Kind::Mute, false), (Kind::MayBeMute, true)]
    {
        let (report, found) = check(kind, CheckOptions::default());
        let expected = if settles { Property::Holds } else { Property::Violated };
        assert_eq!(report.properties[SETTLES], expected, "{kind:?}: {report:?}");
        let told = found.map(|found| found.story.to_string()).unwrap_or_default();
        assert_eq!(!settles, told.contains("client c1/2 is never answered by n1"), "{kind:?}: {told}");
        assert_eq!(!settles, told.contains("round 1: client → n1"), "{kind:?}: {told}");
    }
}

/// What the checker found is walked again from its file, redirections and all.
#[test]
fn a_counterexample_with_sessions_is_a_file() {
    let suite = Suite::default().model(model(Kind::Races));
    let (_, found) = check(Kind::Races, CheckOptions::default());
    let capsule = found.expect("an update is lost").capsule;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("cell.toml");
    std::fs::write(&path, &capsule).expect("there is room");
    let ran = suite.run_file(File::read(&path).expect("sound TOML"), None, false).expect("it can be walked");
    assert!(ran.expected.admits(&Expected::of(&ran.outcome.verdict)), "{capsule}");
    assert!(matches!(ran.outcome.verdict, Verdict::Violated { .. }), "{:?}", ran.outcome.verdict);
}

/// The same clients in both engines: one thing after the other, where they are sent, with what they were told.
#[test]
fn both_engines_follow_their_clients() {
    for engine in [Engine::Direct, Engine::Madsim] {
        let runs = |kind| {
            (0..40).map(move |seed| {
                let plan = scenario(kind).draw(seed).expect("a sound plan");
                let options = RunOptions { keep_trace: true, ..RunOptions::of(seed) };
                scenario(kind).run_plan(engine, &plan, options)
            })
        };
        for report in runs(Kind::Alone) {
            assert_eq!(report.verdict, Verdict::Passed, "{engine}");
            let trace = report.trace.expect("kept");
            let slice = coalmine_sim::trace::slice::Slice::of(&trace, None);
            let story = text::story(&trace, &slice, |_| false, Default::default()).to_string();
            let at =
                |words: &str| story.find(words).unwrap_or_else(|| panic!("{engine}: {words:?}\n{story}"));
            assert!(at("client c1/1: Ask(n1)") < at("Holds(0)"), "{story}");
            assert!(at("Holds(0)") < at("Write(None, 1)") && at("Write(None, 1)") < at("Written"), "{story}");
        }
        let lost =
            |kind| runs(kind).filter(|report| matches!(report.verdict, Verdict::Violated { .. })).count();
        assert!(lost(Kind::Races) > 0, "{engine}: no seed loses an update");
        assert_eq!(lost(Kind::Compares), 0, "{engine}");
    }
}

/// A client that is not answered gives up when it has something else to ask, and not before; what nobody answers and nobody
/// gave up fails the run.
#[test]
fn clients_lose_their_patience_only_for_something_else() {
    let ask = |at, client, sequence| {
        let id = RequestId { client, sequence };
        (at, What::Ask { to: HOLDER, id, request: Request::Write(None, sequence as u8) })
    };
    for engine in [Engine::Direct, Engine::Madsim] {
        let run = |kind, asks: Vec<_>| {
            let options = RunOptions { keep_trace: true, ..RunOptions::of(1) };
            let report = scenario(kind).run_plan(engine, &Plan::quiet(asks), options);
            let trace = report.trace.expect("kept");
            let slice = coalmine_sim::trace::slice::Slice::of(&trace, None);
            let story = text::story(&trace, &slice, |_| false, Default::default()).to_string();
            (report.verdict, story)
        };
        let (verdict, story) = run(Kind::Mute, vec![ask(100, 1, 1), ask(200, 1, 2)]);
        assert!(
            matches!(&verdict, Verdict::NotConverged { why } if why.contains("c1/2")),
            "{engine}: {verdict:?}"
        );
        assert_eq!(story.matches("client c1/1 gives up").count(), 1, "{engine}: {story}");
        assert!(!story.contains("client c1/2 gives up"), "{engine}: {story}");
        let down = What::Fault(Fault::Crash { node: HOLDER, down_ms: Some(4_000) });
        let (verdict, story) = run(Kind::Alone, vec![(50, down), ask(100, 1, 1), ask(200, 1, 2)]);
        assert_eq!(verdict, Verdict::Passed, "{engine}");
        assert!(!story.contains("gives up"), "{engine}: it is answered within its patience\n{story}");
        let [first, second] = ["c1/1 Written", "c1/2: Write"].map(|words| story.find(words));
        assert!(first.is_none_or(|first| second.is_none_or(|second| first < second)), "{engine}: {story}");
    }
}
