//! A run as one page for a browser: it holds all that the trace holds, in one file that loads nothing, and no
//! text in it can break out of its place.

use std::collections::BTreeSet;
use std::time::Duration;

use coalmine::rollout::chaos;
use coalmine_core::rollout::variant::Variant;
use coalmine_sim::run::{Engine, Verdict};
use coalmine_sim::suite::AnyScenario;
use coalmine_sim::trace::html::{Act, ActKind, Ending, Fate, Flight, Kind, Lane, Outage, Page, Step, render};

/// A resolver that decides ABORT although all it can reach are prepared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct GuessingResolver;
impl Variant for GuessingResolver {
    const RESOLVER_GUESSES: bool = true;
}

fn shipped(name: &str, seed: u64) -> Page {
    let suite = coalmine::suite();
    let outcome = suite.find_scenario(name).expect("it ships").run(Engine::Madsim, seed, true);
    outcome.page.expect("a run with a story has a page")
}

/// The first run in which the planted bug shows.
fn guessing_resolver() -> Page {
    let scenario = chaos::scenario::<GuessingResolver>();
    let broken = (0..3_000)
        .find(|&seed| matches!(scenario.run(Engine::Madsim, seed, false).verdict, Verdict::Violated { .. }));
    let outcome = scenario.run(Engine::Madsim, broken.expect("the sweep finds it"), true);
    outcome.page.expect("a run with a story has a page")
}

/// The data, as the page's script reads it.
fn data(html: &str) -> Page {
    let (_, rest) = html.split_once(r#"id="data">"#).expect("the page holds its data");
    let (json, _) = rest.split_once("</script>").expect("the data ends");
    serde_json::from_str(json).expect("the data is a page")
}

#[test]
fn a_page_holds_all_that_it_was_made_from() {
    let page = shipped("rollout-coordinator-dies-decided", 1);
    assert_eq!(data(&render(&page)), page);
    let outcome = coalmine::suite().find_scenario("rollout-coordinator-dies-decided").expect("it ships").run(
        Engine::Madsim,
        1,
        true,
    );
    assert_eq!(page.steps.len() as u64, outcome.events, "every event is a step");
    for text in ["PREPARE_REQ 1.1", "DECISION 1.1: COMMIT", "voted COMMIT for 1.1"] {
        let told =
            |step: &Step| step.text.contains(text) || step.acts.iter().any(|act| act.text.contains(text));
        assert!(page.steps.iter().any(told), "the page should tell of {text:?}");
    }
}

#[test]
fn a_page_loads_nothing() {
    let html = render(&shipped("rollout-chaos", 7));
    for forbidden in ["http:", "https:", "src=", "href=", "@import", "url(http", "fetch(", "XMLHttpRequest"] {
        assert!(!html.contains(forbidden), "the page contains {forbidden:?}");
    }
    assert!(html.contains("default-src 'none'"), "the page forbids itself to load anything");
}

#[test]
fn no_text_breaks_out_of_its_place() {
    let evil = "</script><script>alert(1)</script><!-- {{data}} \u{2028} & \" '";
    let mut page = synthetic(20);
    page.title = evil.into();
    page.ending.why = Some(evil.into());
    page.steps[3].text = evil.into();
    page.lines[0] = evil.into();
    let html = render(&page);
    assert_eq!(data(&html), page);
    assert!(!html.contains("alert(1)</script>") && !html.contains("<!-- {{"));
    let plain = render(&synthetic(20));
    let tags = |html: &str| html.matches("<script").count();
    assert_eq!(tags(&html), tags(&plain));
}

#[test]
fn a_planted_bug_is_marked_where_it_shows() {
    let page = guessing_resolver();
    assert!(!page.ending.passed && page.ending.headline.contains("is violated"), "{:?}", page.ending);
    let step = &page.steps[page.ending.step.expect("the violation has a step")];
    assert!(step.state.is_some(), "a node had just taken a step: {step:?}");
    assert!(!step.quiet);
    let html = render(&page);
    assert!(html.contains(page.ending.why.as_ref().expect("a reason").split('"').next().expect("a word")));
}

#[test]
fn what_was_sent_is_what_arrives() {
    let mut fates = BTreeSet::new();
    for seed in 0..40 {
        let page = shipped("rollout-chaos", seed);
        for (number, flight) in page.flights.iter().enumerate() {
            fates.insert(format!("{:?}", flight.fate));
            assert_eq!(flight.fate == Fate::Arrived, !flight.received.is_empty(), "seed {seed}: {flight:?}");
            assert!(flight.received.len() <= 2, "seed {seed}: {flight:?}");
            for &step in &flight.received {
                assert_eq!(page.steps[step].flight, Some(number));
                assert_eq!(page.steps[step].lane, Some(flight.to));
                assert!(flight.sent.is_some_and(|sent| sent < step), "seed {seed}: {flight:?} from nowhere");
            }
            let takes = |step: &usize| matches!(page.steps[*step].kind, Kind::Message);
            if let Some(sent) = flight.sent.filter(|_| flight.received.iter().any(takes)) {
                let acts = &page.steps[sent].acts;
                assert!(acts.iter().any(|act| act.flight == Some(number) && act.text == flight.text));
            }
        }
    }
    let all = ["Arrived", "CutOff", "Lost", "ReceiverDown", "SenderDown"];
    assert!(all.iter().all(|fate| fates.contains(*fate)), "{fates:?}");
}

#[test]
fn what_goes_straight_arrives_soon() {
    let suite = coalmine::suite();
    for scenario in suite.scenarios.iter().filter(|it| it.name() != "rollout-chaos") {
        let page = scenario.run(Engine::Madsim, 1, true).page.expect("a run with a story has a page");
        let between_nodes =
            |flight: &&Flight| !page.lanes[flight.from].client && !page.lanes[flight.to].client;
        for flight in page.flights.iter().filter(between_nodes) {
            if let (Some(sent), [], [step]) =
                (flight.sent, flight.touches.as_slice(), flight.received.as_slice())
            {
                let at = |step: usize| page.steps[step].at_ns.expect("a simulation has a clock");
                let took = Duration::from_nanos(at(*step) - at(sent));
                assert!(took < Duration::from_secs(1), "{}: {took:?} for {flight:?}", scenario.name());
            }
        }
    }
}

#[test]
fn what_periodic_timers_cause_is_quiet_unless_something_comes_of_it() {
    let page = shipped("rollout-coordinator-dies-decided", 1);
    let quiet: Vec<_> = page.steps.iter().filter(|step| step.quiet).collect();
    assert!(quiet.len() > 20);
    for step in quiet {
        assert!(
            step.acts.iter().all(|act| !matches!(act.kind, ActKind::Append | ActKind::Fact | ActKind::Reply))
        );
        assert!(!matches!(step.kind, Kind::Crash | Kind::Boot | Kind::Plan | Kind::Request), "{step:?}");
    }
}

/// A page of any size that no engine made: two nodes that greet each other, one of them crashing now and then.
fn synthetic(size: usize) -> Page {
    let mut page = Page {
        title: "synthetic".into(),
        subtitle: "Two nodes greet each other for a very long time.".into(),
        ending: Ending {
            passed: false,
            headline: "patience is violated".into(),
            why: Some("they are still at it".into()),
            step: Some(size - 1),
        },
        lanes: [("client", true), ("n1", false), ("n2", false)]
            .map(|(name, client)| Lane { name: name.into(), client })
            .into(),
        lines: vec!["Greeter {".into(), "}".into()],
        ..Page::default()
    };
    for i in 0..size {
        let (me, other) = (1 + i % 2, 1 + (i + 1) % 2);
        page.lines.push(format!("    count: {i},"));
        page.states.push(vec![0, page.lines.len() - 1, 1]);
        let text = format!("HELLO {i} {}", ["and so on", "yours faithfully"][i % 2]);
        let last = i + 1 == size;
        let flight = Flight {
            from: me,
            to: other,
            name: "Hello".into(),
            text: text.clone(),
            sent: Some(i),
            touches: vec![],
            received: if last { vec![] } else { vec![i + 1] },
            fate: if last { Fate::Unknown } else { Fate::Arrived },
        };
        let crash = i % 500 == 250;
        page.steps.push(Step {
            at_ns: Some(i as u64 * 3_100_000 + (i / 100) as u64 * 900_000_000),
            lane: Some(me),
            kind: if crash { Kind::Crash } else { Kind::Message },
            name: if crash { String::new() } else { "Hello".into() },
            text: if crash { "nothing was waiting for the disk".into() } else { text.clone() },
            quiet: false,
            acts: vec![Act { kind: ActKind::Send, text, flight: Some(i) }],
            flight: i.checked_sub(1).filter(|_| !crash),
            cause: i.checked_sub(1),
            state: (!crash).then_some(i),
        });
        page.flights.push(flight);
        if crash {
            page.outages.push(Outage { lane: me, from: i, to: Some((i + 2).min(size - 1)) });
        }
    }
    page
}

/// Writes pages to look at: `cargo test -p coalmine-tests pages_to_look_at -- --ignored`.
#[test]
#[ignore = "writes files for a person to look at"]
fn pages_to_look_at() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../coalmine-out/pages");
    std::fs::create_dir_all(folder).expect("the folder can be made");
    let pages = [
        ("decided", shipped("rollout-coordinator-dies-decided", 1)),
        ("chaos", shipped("rollout-chaos", 7)),
        ("guessing-resolver", guessing_resolver()),
        ("synthetic", synthetic(10_000)),
    ];
    for (name, page) in pages {
        std::fs::write(format!("{folder}/{name}.html"), render(&page)).expect("the page can be written");
    }
}
