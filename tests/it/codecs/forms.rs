//! A node chooses the form of its bytes, and nothing else changes by that: the same runs, the same recordings to be
//! executed again. What is too large for a message is an error where it is made.

use coalmine_core::codec::recording;
use coalmine_core::form::{Form, MAX_MESSAGE_BYTES};
use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_core::observation::{Invariant, Observation};
use coalmine_real::http_api::HttpApi;
use coalmine_sim::check::{CheckOptions, Explorer, Verdict as Property};
use coalmine_sim::engine::report::{RunOptions, RunReport};
use coalmine_sim::spec::limits::{Limits, ModelArgs};
use coalmine_sim::spec::plan::{Plan, What};
use coalmine_sim::spec::scenario::{Scenario, nothing_more};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::{Engine, NEVER_PANICS, Verdict};
use coalmine_sim::suite::{AnyModel, ModelDef};
use coalmine_sim::trace::slice::Slice;
use coalmine_sim::trace::text::{Style, story};
use coalmine_sim::verify::verify;
use serde::{Deserialize, Serialize};

/// Writes a note down and has the other member do so; `PACKED` says in which form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Clerk<const PACKED: bool> {
    notes: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Message {
    Note { number: u32, text: String },
    Noted { number: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Record {
    Note { number: u32, text: String, by: Option<NodeId> },
}

/// A text of so many letters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Request {
    letters: usize,
}

const OTHER: NodeId = NodeId(2);

impl<const PACKED: bool> HttpApi for Clerk<PACKED> {}

impl<const PACKED: bool> Node for Clerk<PACKED> {
    type Config = ();
    type Message = Message;
    type Timer = ();
    type Record = Record;
    type Request = Request;
    type Reply = u32;
    type View = u32;
    type Fact = u32;

    const FORM: Form = if PACKED { Form::MessagePack } else { Form::Json };

    fn start((): &(), disk: &[Record], cx: &mut Context<'_, Self>) -> Self {
        let notes = disk.len() as u32;
        cx.publish(notes);
        Self { notes }
    }

    fn on(&mut self, (): &(), event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Request { id, request: Request { letters } } => {
                self.notes += 1;
                let (number, text) = (self.notes, "x".repeat(letters));
                cx.append(Record::Note { number, text: text.clone(), by: None });
                cx.send(OTHER, Message::Note { number, text });
                cx.reply(id, number);
            }
            Event::Message { from, message: Message::Note { number, text } } => {
                self.notes = self.notes.max(number);
                cx.append(Record::Note { number, text, by: Some(from) });
                cx.send(from, Message::Noted { number });
                cx.publish(number);
            }
            Event::Message { message: Message::Noted { number }, .. } => cx.observe(number),
            Event::Timer(()) | Event::Durable(_) => {}
        }
    }
}

/// Two clerks, of whom the first is asked this often for a note of so many letters.
#[derive(Debug)]
struct Clerks<const PACKED: bool> {
    asks: u64,
    letters: usize,
}

impl<const PACKED: bool> System for Clerks<PACKED> {
    type Node = Clerk<PACKED>;
    type History = ();

    fn members(&self) -> Vec<(NodeId, ())> {
        vec![(NodeId(1), ()), (OTHER, ())]
    }
    fn operations(&self) -> Vec<Operation<Clerk<PACKED>>> {
        let request = Request { letters: self.letters };
        let ask = |sequence| Operation {
            to: NodeId(1),
            id: RequestId { client: 1, sequence },
            request: request.clone(),
        };
        (1..=self.asks).map(ask).collect()
    }
    fn invariants(&self) -> Vec<Invariant<Clerk<PACKED>, ()>> {
        Vec::new()
    }
    fn converged(&self, _: &Observation<'_, Clerk<PACKED>, ()>) -> Result<(), String> {
        Ok(())
    }
}

fn run<const PACKED: bool>(
    engine: Engine,
    letters: usize,
    loss_permille: u32,
    options: RunOptions,
) -> RunReport<Clerk<PACKED>> {
    let system: fn() -> Clerks<PACKED> = || Clerks { asks: 0, letters: 0 };
    let scenario = Scenario {
        name: "clerks",
        about: "",
        system,
        plan: |_, _| Plan::quiet([]),
        expect: nothing_more::<Clerks<PACKED>>,
    };
    let ask = |sequence| {
        let (to, id) = (NodeId(1), RequestId { client: 1, sequence });
        (100 * sequence, What::Ask { to, id, request: Request { letters } })
    };
    let mut plan = Plan::quiet((1..=5).map(ask));
    plan.links.loss_permille = loss_permille;
    scenario.run_plan(engine, &plan, options)
}

fn told<const PACKED: bool>(
    engine: Engine,
    loss_permille: u32,
    options: RunOptions,
) -> (String, RunReport<Clerk<PACKED>>) {
    let report = run::<PACKED>(engine, 20, loss_permille, RunOptions { keep_trace: true, ..options });
    assert_eq!(report.verdict, Verdict::Passed);
    let entries = report.trace.as_deref().expect("it was kept");
    let everything = Style { everything: true, ..Style::default() };
    (story(entries, &Slice::of(entries, None), |_| false, everything).to_string(), report)
}

#[test]
fn the_form_changes_no_run() {
    let options = RunOptions::of(3);
    for loss in [0, 500] {
        let packed = told::<true>(Engine::Direct, loss, options).0;
        assert_eq!(packed, told::<false>(Engine::Direct, loss, options).0);
        // What became of a frame is told of its message, in whatever form it holds it.
        let lost = "n1 → n2 is lost: Note { number: ";
        assert_eq!(packed.contains(lost), loss > 0, "{packed}");
        let there = told::<true>(Engine::Madsim, loss, options).0;
        assert_eq!(there.contains(lost), loss > 0, "{there}");
    }
}

#[test]
fn recordings_are_executed_again_in_either_form() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let record = RunOptions { record: Some("clerks"), ..RunOptions::of(3) };
    for engine in [Engine::Direct, Engine::Madsim] {
        let [packed, json] =
            [told::<true>(engine, 0, record).1.recordings, told::<false>(engine, 0, record).1.recordings];
        for (node, bytes) in &packed {
            std::fs::write(folder.path().join(format!("{node}.rec")), bytes).expect("there is room");
            let part = recording::decode::<Clerk<true>>(bytes).expect("it can be read").expect("lines");
            assert!(part.lines.len() > 5 && part.torn.is_none());
            let why = recording::decode::<Clerk<false>>(bytes).expect_err("another form").to_string();
            assert_eq!(why, "line 1: it is in MessagePack, and this program's nodes are in JSON");
            let why = recording::decode::<Clerk<true>>(&json[node]).expect_err("another form").to_string();
            assert_eq!(why, "line 1: it is in JSON, and this program's nodes are in MessagePack");
            assert!(bytes.len() * 4 < json[node].len() * 3, "{} {}", bytes.len(), json[node].len());
        }
        let system = Clerks::<true> { asks: 0, letters: 0 };
        let verified = verify(&system, "clerks", "", &[folder.path().to_owned()], false).expect("recordings");
        assert_eq!((&verified.difference, &verified.violated), (&None, &None), "{engine}");
        assert_eq!((verified.nodes.len(), verified.is_complete()), (2, true), "{engine}");
    }
}

/// So many letters make the first message as large as one may be.
fn most_letters<const PACKED: bool>() -> usize {
    let size = |letters: usize| {
        Clerk::<PACKED>::FORM.size(&Message::Note { number: 1, text: "x".repeat(letters) }).expect("a size")
    };
    let letters = MAX_MESSAGE_BYTES - (size(1 << 17) - (1 << 17));
    assert_eq!(size(letters), MAX_MESSAGE_BYTES);
    letters
}

fn too_large<const PACKED: bool>() {
    let most = most_letters::<PACKED>();
    // The direct engine passes values, and looks at the seeds of which each 256th is one.
    for (engine, seed, room) in [(Engine::Direct, 0, 1), (Engine::Madsim, 0, 1), (Engine::Madsim, 1, 64)] {
        let fits = run::<PACKED>(engine, most, 0, RunOptions::of(seed));
        assert_eq!(fits.verdict, Verdict::Passed, "{engine}");
        let report = run::<PACKED>(engine, most + room, 0, RunOptions::of(seed));
        let Verdict::Panicked(panic) = report.verdict else { panic!("{engine} {seed}: {report:?}") };
        let why = panic.message;
        assert!(why.contains("a message to n2 takes ") && why.contains("1048512 is the most"), "{why}");
    }
}

#[test]
fn a_message_that_is_too_large_is_an_error_of_its_sender() {
    too_large::<true>();
    too_large::<false>();
}

#[test]
fn the_checker_finds_a_message_that_is_too_large() {
    let check = |letters: usize, explorer| {
        let system: fn(u32, u32) -> Clerks<true> = match letters - most_letters::<true>() {
            0 => |_, _| Clerks { asks: 1, letters: most_letters::<true>() },
            _ => |_, _| Clerks { asks: 1, letters: most_letters::<true>() + 1 },
        };
        let model = ModelDef { name: "clerks", about: "", system, size: (2, 1), limits: Limits::NONE };
        let options = CheckOptions { explorer, ..CheckOptions::default() };
        model.check(ModelArgs::default(), options, &mut |_| {})
    };
    for explorer in [Explorer::Own, Explorer::Stateright] {
        let most = most_letters::<true>();
        let (report, found) = check(most + 1, explorer);
        assert_eq!(report.properties[NEVER_PANICS], Property::Violated, "{explorer:?}");
        let story = found.expect("a panic comes with its story").story.to_string();
        assert!(story.contains("a message to n2 takes 1048513 bytes"), "{}", &story[story.len() - 500..]);
        let (report, _) = check(most, explorer);
        assert_eq!(report.properties[NEVER_PANICS], Property::Holds, "{explorer:?}");
    }
}
