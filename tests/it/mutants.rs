//! Every mistake that the shipped systems list, and that their hosts make, is found by whom it must be, and files say
//! which mistake was made. Whoever asks more than whether a mistake is found asks it elsewhere.

use std::sync::Arc;
use std::time::Duration;

use coalmine_core::rollout::mistake::Mistake;
use coalmine_sim::check::CheckOptions;
use coalmine_sim::files::capsule::File;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::mistake::MistakeName;
use coalmine_sim::spec::system::Maker;
use coalmine_sim::spec::verdict::{Engine, Expected, Verdict};
use coalmine_sim::suite::Suite;
use coalmine_sim::sweep::mutants::{CHECKER, DIRECT, Detection, MADSIM, MutantOptions, mistakes, row};

/// Mistakes that hosts make and nobody sees, and what is told of them instead.
const UNSEEN: [(&str, &str, Detection); 3] = [
    // It is one node, and sends nothing.
    ("tally", "sends-early", Detection::NeverMade),
    // It answers when it is told that its record is durable, and so has never an answer that waits.
    ("counter", "replies-early", Detection::NeverMade),
    // Those who write records answer no client.
    ("lease", "replies-early", Detection::NeverMade),
];

/// Mistakes that the first seeds seldom meet: it takes two reads at the tail, with a crash between them.
const RARE: [(&str, &str); 1] = [("chain", "replies-early")];

/// The checker finds all, in few steps; so do the first seeds of chaos in both engines.
#[test]
fn every_mistake_is_found() {
    let suite = coalmine::suite();
    let all = mistakes(&suite);
    // The time is for machines that do other things, too; whoever finds something stops.
    let options = MutantOptions { cell: Duration::from_secs(300), seeds: 3_000, threads: 2 };
    for (model, listed) in &all {
        let row = row(&suite, *model, listed, &options, &Arc::default()).expect("it is listed as it must be");
        let checked = row.cell(CHECKER).expect("every mistake has a space");
        let unseen = UNSEEN.iter().find(|(of, name, _)| (*of, *name) == (model.name(), row.name));
        if let Some((.., instead)) = unseen {
            assert!(row.detection == *instead && checked.holds, "{row:?}");
            continue;
        }
        assert_eq!(row.detection, Detection::Found, "{row:?}");
        assert!(checked.steps.is_some_and(|steps| (1..=30).contains(&steps)), "{row:?}");
        let is_swept = suite.scenarios.iter().any(|scenario| scenario.system() == model.system());
        assert_eq!(row.cells.len(), if is_swept { 3 } else { 1 });
        if RARE.contains(&(model.name(), row.name)) {
            continue;
        }
        for cell in &row.cells {
            assert!(cell.found && !cell.holds, "{} missed: {row:?}", cell.detector);
            // A member that goes on without its disk, or without a write that it said it has, may also leave others waiting
            // for ever.
            let told = cell.verdict.as_deref().unwrap_or_default();
            let leaves_waiting = [
                "amnesiac",
                "forwards-early",
                "acknowledges-early",
                "takes-old",
                "forgets-addresses",
                "parts-early",
                "dismissed-witness",
                "hasty-successor",
            ]
            .contains(&row.name);
            assert!(told.contains("is violated") || leaves_waiting, "{row:?}");
        }
        for cell in [DIRECT, MADSIM].iter().filter_map(|detector| row.cell(detector)) {
            // Of the chain, whose links lose messages by chance, more is left.
            let most = if model.name() == "chain" { 20 } else { 7 };
            assert!(cell.steps.is_some_and(|steps| steps <= most), "{row:?}");
        }
    }
    // Every system makes some: those whose nodes write records make those of order besides, and no other does.
    let of = |model: &str, maker| all.iter().filter(|it| it.0.name() == model && it.1.maker == maker).count();
    for (model, own, of_hosts) in [
        // Of two models of one system the first makes those of order.
        ("rollout", Mistake::ALL.len() - 11, 3),
        ("growth", 1, 0),
        ("succession", 1, 0),
        ("regions", 3, 0),
        ("compaction", 2, 0),
        ("canary", 4, 0),
        ("counter", 0, 3),
        ("chain", 5, 3),
        ("tally", 3, 3),
        ("roster", 3, 3),
        ("lease", 1, 3),
        ("twophase", 1, 0),
        ("abd", 1, 0),
        ("paxos", 1, 0),
        ("single-copy", 0, 0),
    ] {
        assert_eq!((of(model, Maker::System), of(model, Maker::Host)), (own, of_hosts), "{model}");
    }
}

/// An answer leaves before its record is durable, and no invariant asks about it: the mistake is made, and nobody sees it.
#[test]
fn a_mistake_that_is_made_and_not_asked_about_is_told_as_not_seen() {
    let suite = Suite::default().model(blind::model());
    let options = MutantOptions { cell: Duration::from_secs(60), seeds: 1, threads: 2 };
    for (model, listed) in mistakes(&suite) {
        let row = row(&suite, model, &listed, &options, &Arc::default()).expect("hosts make it");
        let expected = match row.name {
            "replies-early" | "nothing-waits" => Detection::NotSeen,
            _ => Detection::NeverMade,
        };
        assert_eq!(row.detection, expected, "{row:?}");
    }
}

/// A counterexample and a capsule say which mistake was made: replayed without a word about it they come to the same.
#[test]
fn files_say_which_mistake_was_made() {
    // One of the node, one of its host.
    ["presumed-commit", "sends-early"].into_iter().for_each(says_which);
}

fn says_which(mistake: &str) {
    let line = format!("mistake = \"{mistake}\"\n");
    let suite = coalmine::suite();
    let model = suite.find_model("rollout").expect("a model");
    let planted = model.with_mistake(mistake).expect("it is listed");
    let space = coalmine_tests::space_of(mistake);
    let (_, found) = planted.check(space, CheckOptions::default(), &mut |_| {});
    let capsule = found.expect("a counterexample").capsule;
    assert!(capsule.contains(&line), "{capsule}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let again = |text: &str| {
        let path = folder.path().join("file.toml");
        std::fs::write(&path, text).expect("it can be written");
        suite.run_file(File::read(&path).expect("sound TOML"), None, false)
    };
    let outcome = again(&capsule).expect("it can be run");
    assert!(outcome.expected.admits(&Expected::of(&outcome.outcome.verdict)), "{outcome:?}");
    let healthy = again(&capsule.replace(&line, "")).map(|ran| ran.outcome.verdict);
    assert!(!matches!(healthy, Ok(Verdict::Violated { .. })), "{healthy:?}");

    let chaos = suite.find_scenario("rollout-chaos").expect("a scenario");
    let planted = chaos.with_mistake(mistake).expect("it is listed");
    let wrong =
        |seed: &u64| matches!(planted.run(Engine::Direct, *seed, false).verdict, Verdict::Violated { .. });
    let seed = (0..200).find(wrong).expect("a seed meets it");
    let plan = planted.plan(Engine::Direct, seed).expect("a plan");
    assert!(matches!(again(&plan).expect("sound").outcome.verdict, Verdict::Violated { .. }), "{plan}");
    let healthy = plan.replace(&line, "");
    assert_eq!(again(&healthy).expect("sound").outcome.verdict, Verdict::Passed);
    let why = again(&plan.replace(mistake, "lazy-voter")).expect_err("there is no such mistake");
    assert!(why.contains("\"lazy-voter\" is none of this system's") && why.contains(mistake), "{why}");
}

#[test]
fn a_mistake_that_nobody_makes_is_refused() {
    let suite = coalmine::suite();
    let why = suite.with_mistake("lazy-voter").map(|_| ()).expect_err("there is none");
    assert!(
        why.contains("no mistake \"lazy-voter\"")
            && why.contains(
                "hasty-answer, hasty-manager, hasty-region, hasty-successor, heedless-queue, judged-mixture, late-region, locked-exit"
            ),
        "{why}"
    );
    let counter = suite.find_model("counter").expect("a model");
    assert!(counter.with_mistake("any-vote").is_none());
    let mistake = Some(MistakeName::try_from("any-vote").expect("a name"));
    let why = counter.check_args(ModelArgs { mistake, ..ModelArgs::default() }).expect_err("not its own");
    assert!(why.contains("\"any-vote\" is none of this system's: sends-early, replies-early"), "{why}");
    let single = suite.find_model("single-copy").expect("a model");
    let why = single.check_args(ModelArgs { mistake, ..ModelArgs::default() }).expect_err("it has none");
    assert!(why.contains("this system makes none"), "{why}");
    for name in ["", "a-name-that-is-much-longer-than-any-mistake-has"] {
        assert!(MistakeName::try_from(name).is_err(), "{name:?}");
    }
    let planted = suite.with_mistake("hasty-manager").expect("listed");
    assert_eq!(planted.models.iter().map(|model| model.name()).collect::<Vec<_>>(), ["twophase"]);
    assert!(planted.scenarios.is_empty());
}

/// A node that writes, then answers; and nobody asks whether the answer came too early.
mod blind {
    use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
    use coalmine_core::observation::{Invariant, Witness};
    use coalmine_sim::spec::limits::{Disk, Limits};
    use coalmine_sim::spec::system::{Operation, System};
    use coalmine_sim::suite::ModelDef;

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    pub struct Clerk(usize);

    impl Node for Clerk {
        type Config = ();
        type Message = ();
        type Timer = ();
        type Record = RequestId;
        type Request = ();
        type Reply = ();
        type View = ();
        type Fact = ();

        fn start(_: &(), disk: &[RequestId], _: &mut Context<'_, Self>) -> Self {
            Self(disk.len())
        }

        fn on(&mut self, _: &(), event: Event<Self>, cx: &mut Context<'_, Self>) {
            if let Event::Request { id, .. } = event {
                self.0 += 1;
                cx.append(id);
                cx.reply(id, ());
            }
        }
    }

    #[derive(Debug)]
    pub struct Office;

    impl System for Office {
        type Node = Clerk;
        type History = ();

        fn members(&self) -> Vec<(NodeId, ())> {
            vec![(NodeId(1), ())]
        }
        fn operations(&self) -> Vec<Operation<Clerk>> {
            vec![Operation { to: NodeId(1), id: RequestId { client: 1, sequence: 1 }, request: () }]
        }
        fn invariants(&self) -> Vec<Invariant<Clerk, ()>> {
            Vec::new()
        }
        fn witnesses(&self) -> Vec<Witness<Clerk, ()>> {
            vec![Witness {
                name: "asked",
                about: "somebody asks",
                seen: |now| now.up().any(|(_, it)| it.0 > 0),
            }]
        }
    }

    pub fn model() -> ModelDef<Office> {
        let limits = Limits { crashes: 1, disk: Disk::Async, ..Limits::NONE };
        ModelDef { name: "office", about: "A clerk.", system: |_, _| Office, size: (1, 1), limits }
    }
}
