//! A panic is a counterexample: wherever it happens, every way of checking gives the path to it, its story and a file
//! that replays.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use coalmine_core::observation::{History, Invariant, Observation, Witness};
use coalmine_sim::check::{CheckOptions, End, Explorer, Reductions, Verdict as Property};
use coalmine_sim::cli;
use coalmine_sim::files::capsule::File;
use coalmine_sim::panics::catch;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::limits::{Disk, Limits};
use coalmine_sim::spec::system::{Operation, System};
use coalmine_sim::spec::verdict::NEVER_PANICS;
use coalmine_sim::spec::verdict::Verdict;
use coalmine_sim::suite::{AnyModel, Explanation, ModelDef, Suite};
use coalmine_sim::testing;
use serde::{Deserialize, Serialize};

/// Where it panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Where {
    Boot,
    Restart,
    Request,
    Message,
    Timer,
    Durable,
    History,
    Invariant,
    Witness,
    Converged,
    /// In a timer that no budget lets fire: only when all comes to rest.
    Settling,
    Nowhere,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Brittle {
    taken: bool,
}

fn breaks_in(here: Where, config: Where) {
    assert!(here != config, "it breaks in {here:?}");
}

impl Node for Brittle {
    type Config = Where;
    type Message = ();
    type Timer = ();
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = Where;

    fn start(config: &Where, disk: &[()], cx: &mut Context<'_, Self>) -> Self {
        if *config == Where::Boot && cx.choose(3) == 2 {
            breaks_in(Where::Boot, *config);
        }
        if !disk.is_empty() {
            breaks_in(Where::Restart, *config);
        }
        cx.set_timer((), Duration::from_secs(1));
        Self { taken: false }
    }

    fn on(&mut self, config: &Where, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Request { .. } => {
                breaks_in(Where::Request, *config);
                cx.append(());
                cx.when_durable(7);
                cx.send(NodeId(2), ());
                cx.send(NodeId(9), ()); // there is no such member
            }
            Event::Message { .. } => {
                breaks_in(Where::Message, *config);
                self.taken = true;
                cx.observe(*config);
            }
            Event::Timer(()) => {
                breaks_in(Where::Timer, *config);
                breaks_in(Where::Settling, *config);
            }
            Event::Durable(_) => breaks_in(Where::Durable, *config),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Seen(BTreeSet<Where>);

impl History<Brittle> for Seen {
    fn observe(&mut self, _: NodeId, fact: &Where) {
        breaks_in(Where::History, *fact);
        self.0.insert(*fact);
    }
}

type Now<'a> = Observation<'a, Brittle, Seen>;

/// Breaks where a message was taken.
fn breaks_when_taken(here: Where, now: &Now<'_>) {
    if now.up().any(|(_, state)| state.taken) {
        breaks_in(here, *now.nodes[0].config);
    }
}

#[derive(Debug)]
struct Brittles(Where);

impl System for Brittles {
    type Node = Brittle;
    type History = Seen;
    /// Nobody is answered.
    const SESSIONS: bool = false;

    fn members(&self) -> Vec<(NodeId, Where)> {
        vec![(NodeId(1), self.0), (NodeId(2), self.0)]
    }

    fn operations(&self) -> Vec<Operation<Brittle>> {
        vec![Operation { to: NodeId(1), id: RequestId { client: 1, sequence: 1 }, request: () }]
    }

    fn invariants(&self) -> Vec<Invariant<Brittle, Seen>> {
        let check = |now: &Now<'_>| {
            breaks_when_taken(Where::Invariant, now);
            Ok(())
        };
        vec![Invariant { name: "sound", about: "", source: "", check }]
    }

    fn witnesses(&self) -> Vec<Witness<Brittle, Seen>> {
        let seen = |now: &Now<'_>| {
            breaks_when_taken(Where::Witness, now);
            now.up().any(|(_, state)| state.taken)
        };
        vec![Witness { name: "taken", about: "", seen }]
    }

    fn converged(&self, now: &Now<'_>) -> Result<(), String> {
        breaks_when_taken(Where::Converged, now);
        Ok(())
    }
}

macro_rules! brittle {
    ($($place:ident)*) => {
        fn model(place: Where) -> ModelDef<Brittles> {
            let system: fn(u32, u32) -> Brittles = match place {
                $(Where::$place => |_, _| Brittles(Where::$place),)*
            };
            let timeouts = Some(u8::from(place != Where::Settling));
            let limits = Limits { crashes: 1, timeouts, ..Limits::NONE };
            ModelDef { name: "brittle", about: "", system, size: (2, 1), limits }
        }
    };
}
brittle!(Boot Restart Request Message Timer Durable History Invariant Witness Converged Settling Nowhere);

fn all_ways() -> Vec<CheckOptions> {
    let of = |threads| CheckOptions { threads, ..CheckOptions::default() };
    let own = (1..=3).flat_map(|threads| {
        let full = CheckOptions { reductions: Reductions::NONE, ..of(threads) };
        let walks = CheckOptions { walks: Some(0..300), ..of(threads) };
        [of(threads), full, walks]
    });
    own.chain([CheckOptions { explorer: Explorer::Stateright, ..of(1) }]).collect()
}

/// What is found replays: the same panic, at the same place.
fn replays(suite: &Suite, place: Where, found: &Explanation) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("found.toml");
    std::fs::write(&path, &found.capsule).expect("it is ours");
    assert!(found.capsule.contains("verdict = \"panicked\""), "{}", found.capsule);
    let run = suite.run_file(File::read(&path).expect("it was written"), None, true);
    let run = run.unwrap_or_else(|why| panic!("{why}\n{}", found.capsule));
    let Verdict::Panicked(panic) = &run.outcome.verdict else {
        panic!("{place:?}: {}\n{}", run.outcome.verdict.describe(), found.capsule)
    };
    assert_eq!(panic.message, format!("it breaks in {place:?}"));
    assert!(panic.place.contains("tests/it/panics.rs:"), "{panic}");
    assert_eq!(run.outcome.unused, Vec::<String>::new(), "{}", found.capsule);
    testing::replay(suite, &path);
    let line = ["brittle", "replay", &path.display().to_string()].map(str::to_owned);
    assert_eq!(cli::main_from(suite, line), 4);
}

fn is_found(place: Where, args: ModelArgs) {
    let in_settling = matches!(place, Where::Settling | Where::Converged);
    let suite = Suite::default().model(model(place));
    let mut stories = HashSet::new();
    for options in all_ways() {
        let words = format!("{place:?} {args:?} {options:?}");
        let is_search = options.walks.is_none() && options.explorer == Explorer::Own;
        if in_settling && options.explorer == Explorer::Stateright {
            continue; // it does not ask
        }
        let (report, found) = model(place).check(args, options.clone(), &mut |_| {});
        assert_eq!(report.counterexample, Some(NEVER_PANICS), "{words}: {report:#?}");
        assert_eq!(report.properties[NEVER_PANICS], Property::Violated, "{words}");
        // A walk may find it when it asks whether all settles.
        let is_over = in_settling || options.walks.is_some() || report.end == End::Broken;
        assert!(is_over, "{words}: {report:#?}");
        assert!(!report.is_proof(), "{words}");
        let found = found.expect("a panic comes with its story");
        let told = format!(": it breaks in {place:?}\n");
        assert!(found.story.contains("✗ panicked at ") && found.story.ends_with(&told), "{}", found.story);
        assert_eq!(found.invariant, "panicked");
        replays(&suite, place, &found);
        if is_search {
            stories.insert(found.story);
        }
    }
    assert_eq!(stories.len(), 1, "{place:?}: {stories:?}");
    let told = catch(|| testing::check(&suite, "brittle")).expect_err("it must fail").message;
    assert!(told.contains("✗ panicked at "), "{told}");
}

#[test]
fn a_panic_is_found_wherever_it_happens() {
    for place in [
        Where::Boot,
        Where::Restart,
        Where::Request,
        Where::Message,
        Where::Timer,
        Where::Durable,
        Where::History,
        Where::Invariant,
        Where::Witness,
        Where::Converged,
        Where::Settling,
    ] {
        for disk in [Disk::Sync, Disk::Async] {
            is_found(place, ModelArgs { disk: Some(disk), ..ModelArgs::default() });
        }
    }
}

/// What is sent to somebody who is not a member is lost, and nothing else comes of it.
#[test]
fn who_does_not_panic_is_proved_not_to() {
    for options in all_ways() {
        let is_search = options.walks.is_none();
        let (report, found) = model(Where::Nowhere).check(ModelArgs::default(), options, &mut |_| {});
        assert_eq!(
            report.is_proof(),
            is_search,
            "{report:#?}{}",
            found.map(|it| it.story).unwrap_or_default()
        );
        let holds = if is_search { Property::Holds } else { Property::HoldsSoFar };
        assert_eq!(report.properties[NEVER_PANICS], holds);
    }
    testing::check(&Suite::default().model(model(Where::Nowhere)), "brittle");
}

/// The command line: its exit code, with any number of threads and in either engine.
#[test]
fn a_panic_has_an_exit_code() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let capsule = folder.path().join("found.toml").display().to_string();
    let code = |place, more: &[&str]| {
        let suite = Suite::default().model(model(place));
        let line =
            ["brittle", "check", "brittle", "--capsule", &capsule].into_iter().chain(more.iter().copied());
        cli::main_from(&suite, line.map(str::to_owned))
    };
    for place in [Where::Boot, Where::Message, Where::Invariant] {
        for more in [&["--threads", "2"][..], &["--full"], &["--engine", "stateright"], &["--format", "json"]]
        {
            assert_eq!(code(place, more), 4, "{place:?} {more:?}");
        }
    }
    assert_eq!(code(Where::Settling, &[]), 4);
    assert_eq!(code(Where::Nowhere, &[]), 0);
}

/// A system that cannot be set up is an error, and nothing that was found.
#[test]
fn a_system_that_panics_is_an_error() {
    #[derive(Debug)]
    struct Torn;
    impl System for Torn {
        type Node = Brittle;
        type History = Seen;
        fn members(&self) -> Vec<(NodeId, Where)> {
            panic!("whose members are unknown")
        }
        fn operations(&self) -> Vec<Operation<Brittle>> {
            Vec::new()
        }
        fn invariants(&self) -> Vec<Invariant<Brittle, Seen>> {
            Vec::new()
        }
    }
    let limits = Limits::NONE;
    let torn = ModelDef { name: "torn", about: "", system: |_, _| Torn, size: (1, 0), limits };
    let why = torn.check_args(ModelArgs::default()).expect_err("there are no members");
    assert!(why.contains("cannot be set up") && why.ends_with(": whose members are unknown"), "{why}");
    let line = ["torn", "check", "torn"].map(str::to_owned);
    assert_eq!(cli::main_from(&Suite::default().model(torn), line), 2);
}
