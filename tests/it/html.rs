//! A run as one page for a browser: it holds all that the trace holds, in one file that loads nothing, and no
//! text in it can break out of its place.

use std::collections::{BTreeMap, BTreeSet};

use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::trace::html::{
    Act, ActKind, BandKind, End, Ending, Flight, Kind, Lane, Outage, Page, Step, TouchKind, render,
};
use coalmine_tests::chaos_of;

fn shipped(name: &str, seed: u64) -> Page {
    let suite = coalmine::suite();
    let outcome = suite.find_scenario(name).expect("it ships").run(Engine::Madsim, seed, true);
    outcome.page.expect("a run with a story has a page")
}

/// The first run in which the planted bug shows.
pub fn guessing_resolver() -> Page {
    let scenario = chaos_of("guessing-resolver");
    let broken = (0..3_000)
        .find(|&seed| matches!(scenario.run(Engine::Madsim, seed, false).verdict, Verdict::Violated { .. }));
    let outcome = scenario.run(Engine::Madsim, broken.expect("the sweep finds it"), true);
    outcome.page.expect("a run with a story has a page")
}

/// The data, as the page's script reads it.
pub fn data(html: &str) -> Page {
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

/// What is true of every arrow of every page.
fn check_arrows(page: &Page, of: &str) -> BTreeSet<String> {
    let mut fates = BTreeSet::new();
    let at = |step: usize| page.steps[step].at_ns.expect("a simulation has a clock");
    let is_client = |lane: usize| page.lanes[lane].client;
    let mut received = vec![0; page.steps.len()];
    for (number, flight) in page.flights.iter().enumerate() {
        fates.insert(format!("{:?}", flight.end));
        let context = || format!("{of}: flight {number}: {flight:?}");
        let sent = flight.sent.unwrap_or_else(|| panic!("it comes from nowhere: {}", context()));
        assert_eq!(flight.end == End::Arrived, !flight.received.is_empty(), "{}", context());
        for &step in &flight.received {
            received[step] += 1;
            assert_eq!(page.steps[step].flight, Some(number), "{}", context());
            assert_eq!(page.steps[step].lane, Some(flight.to), "{}", context());
            assert!(sent < step && at(sent) <= at(step), "it goes back in time: {}", context());
            if !is_client(flight.from) && !is_client(flight.to) {
                assert_eq!(page.steps[step].text, flight.text, "{}", context());
            }
        }
        for touch in &flight.touches {
            let step = &page.steps[touch.step];
            fates.insert(format!("{:?}", touch.what));
            assert_eq!((step.kind, step.flight), (Kind::Network, Some(number)), "{}", context());
            assert!(sent < touch.step && step.text.ends_with(&flight.text), "{step:?}, {}", context());
            if matches!(touch.what, TouchKind::HeldBack | TouchKind::Doubled | TouchKind::Clogged) {
                // The network looks at a message when it leaves: at once, unless a connection is being made.
                assert!(at(touch.step) - at(sent) < 3_000_000_000, "{}", context());
            }
        }
        let copies =
            |kinds: &[TouchKind]| flight.touches.iter().filter(|it| kinds.contains(&it.what)).count();
        let gone = copies(&[TouchKind::Lost, TouchKind::CutOff]);
        let most = 1 + copies(&[TouchKind::Doubled]);
        assert!(flight.received.len() + gone <= most, "more copies than were made: {}", context());
        if !is_client(flight.from) && !is_client(flight.to) {
            let acts = &page.steps[sent].acts;
            assert!(acts.iter().any(|act| act.flight == Some(number) && act.text == flight.text));
        }
    }
    for (number, step) in page.steps.iter().enumerate() {
        if step.kind == Kind::Message {
            assert_eq!(received[number], 1, "{of}: one arrow for {step:?}");
        }
        assert!(step.kind != Kind::Network || step.flight.is_some(), "{of}: which message is it? {step:?}");
    }
    fates
}

#[test]
fn what_was_sent_is_what_arrives() {
    let suite = coalmine::suite();
    for engine in [Engine::Madsim, Engine::Direct] {
        let mut fates = BTreeSet::new();
        for scenario in &suite.scenarios {
            let seeds = if scenario.name().ends_with("chaos") { 0..60 } else { 1..3 };
            for seed in seeds {
                let page = scenario.run(engine, seed, true).page.expect("a run with a story has a page");
                fates.append(&mut check_arrows(&page, &format!("{} {engine} {seed}", scenario.name())));
            }
        }
        let all = ["Arrived", "CutOff", "Lost", "ReceiverDown", "HeldBack", "Doubled", "Clogged"];
        assert!(all.iter().all(|fate| fates.contains(*fate)), "{engine}: {fates:?}");
    }
}

#[test]
fn equal_messages_are_told_apart() {
    // Heartbeats are all alike. Those that a paused node finds when it goes on were sent one after another,
    // and the arrows do not cross.
    let suite = coalmine::suite();
    for engine in [Engine::Madsim, Engine::Direct] {
        let mut waited = 0;
        for seed in 0..60 {
            let scenario = suite.find_scenario("rollout-chaos").expect("it ships");
            let page = scenario.run(engine, seed, true).page.expect("a run with a story has a page");
            for band in page.bands.iter().filter(|band| band.kind == BandKind::Pause) {
                let (from, to) = (band.from, band.to.unwrap_or(page.steps.len()));
                let mut last = BTreeMap::new();
                for flight in page.flights.iter().filter(|it| it.to == band.lanes[0] && it.touches.is_empty())
                {
                    let within = |step: &usize| (from..to).contains(step);
                    let (Some(sent), [received]) = (flight.sent.filter(within), flight.received.as_slice())
                    else {
                        continue;
                    };
                    let before = last.insert((flight.from, &flight.text), (sent, *received));
                    if let Some(before) = before {
                        waited += 1;
                        assert!(before <= (sent, *received), "{engine} {seed}: {before:?} and {flight:?}");
                        assert!(before.1 < *received, "{engine} {seed}: {before:?} and {flight:?}");
                    }
                }
            }
        }
        assert!(waited > 0, "{engine}: no two equal messages waited for a paused node");
    }
}

#[test]
fn a_cut_is_a_band_over_the_links_and_the_time_that_it_lasts() {
    for engine in [Engine::Madsim, Engine::Direct] {
        let suite = coalmine::suite();
        let scenario = suite.find_scenario("rollout-partition").expect("it ships");
        let page = scenario.run(engine, 1, true).page.expect("a run with a story has a page");
        let [band] = page.bands.as_slice() else { panic!("one cut, one band: {:?}", page.bands) };
        assert_eq!((band.kind, band.for_ns, &band.lanes[..]), (BandKind::Cut, 8_000_000_000, &[][..]));
        let links: BTreeSet<_> = band.links.iter().copied().collect();
        assert_eq!(links, BTreeSet::from([(1, 2), (2, 1), (1, 3), (3, 1)]), "n1 from n2 and n3, both ways");
        let at = |step: usize| page.steps[step].at_ns.expect("a simulation has a clock");
        let (end, after) = (at(band.from) + band.for_ns, band.to.expect("the run goes on"));
        assert!(at(after) >= end && at(after - 1) < end);
    }
}

#[test]
fn nothing_passes_a_band_that_lets_nothing_pass() {
    for engine in [Engine::Madsim, Engine::Direct] {
        let (mut kinds, mut one_way, mut both_ways) = (BTreeSet::new(), 0, 0);
        for seed in 0..100 {
            let suite = coalmine::suite();
            let scenario = suite.find_scenario("rollout-chaos").expect("it ships");
            let page = scenario.run(engine, seed, true).page.expect("a run with a story has a page");
            let at = |step: usize| page.steps[step].at_ns.expect("a simulation has a clock");
            for band in &page.bands {
                kinds.insert(format!("{:?}", band.kind));
                let (from, to) = (band.from, band.to.unwrap_or(page.steps.len()));
                assert!(from <= to && page.steps[from].kind == Kind::Plan, "{engine} {seed}: {band:?}");
                assert_eq!(page.steps[from].text, band.text);
                if let Some(heal) = page.steps.iter().position(|step| step.name == "heal") {
                    assert!(at(from) + band.for_ns <= at(heal), "all is healed then: {band:?}");
                }
                let within = |step: usize| from < step && step < to;
                if matches!(band.kind, BandKind::Cut | BandKind::Clog) {
                    let back = |&(a, b): &(usize, usize)| band.links.contains(&(b, a));
                    *if band.links.iter().all(back) { &mut both_ways } else { &mut one_way } += 1;
                    let passed = page.flights.iter().find(|flight| {
                        band.links.contains(&(flight.from, flight.to))
                            && flight.sent.is_some_and(within)
                            && flight.received.iter().any(|&step| within(step))
                    });
                    assert!(passed.is_none(), "{engine} {seed}: {passed:?} passes {band:?}");
                }
                if band.kind == BandKind::Pause {
                    let by_itself = |step: &&Step| {
                        matches!(step.kind, Kind::Message | Kind::Timer | Kind::Request | Kind::Synced)
                            && step.lane == Some(band.lanes[0])
                    };
                    let moved = page.steps[from..to].iter().find(by_itself);
                    assert!(moved.is_none(), "{engine} {seed}: {moved:?} during {band:?}");
                }
            }
        }
        let all = ["Clock", "Clog", "Cut", "FullDisk", "Pause", "SlowDisk", "SlowLink"];
        assert!(kinds.iter().eq(all), "{engine}: {kinds:?}");
        assert!(one_way > 0 && both_ways > 0, "{engine}: {one_way} one way, {both_ways} both ways");
    }
}

#[test]
fn a_page_shows_the_plan_and_what_came_of_it() {
    let page = shipped("rollout-partition", 1);
    assert!(page.details.contains(&("engine".into(), "madsim".into())));
    let items = page.plan.expect("a run has a plan").items;
    let [ask, cut, heal] = items.as_slice() else { panic!("asked, cut, healed: {items:?}") };
    assert_eq!(
        (&*ask.what, ask.at_ns, ask.fault),
        ("a client asks n1: c1/1 roll out v2: 100%", Some(500_000_000), false)
    );
    assert_eq!((cut.when.as_deref(), cut.fault), (Some("when n3 gets PrepareReq"), true));
    assert_eq!((heal.at_ns, heal.fault), (Some(15_000_000_000), false));
    for item in &items {
        let step = &page.steps[item.step.expect("all of it happened")];
        assert!(item.what.ends_with(&step.text), "{item:?} is not {step:?}");
        // Timers under madsim have a grain of a millisecond.
        let (planned, happened) = (item.at_ns.expect("a time"), step.at_ns.expect("a time"));
        assert!(planned.abs_diff(happened) < 2_000_000, "{item:?} is not {step:?}");
    }
    for seed in 0..30 {
        let page = shipped("rollout-chaos", seed);
        let items = page.plan.expect("a run has a plan").items;
        assert!(items.is_sorted_by_key(|item| item.at_ns.unwrap_or(u64::MAX)));
        for item in items.iter().filter(|item| item.when.is_none()) {
            let late = |step: usize| page.steps[step].at_ns.expect("a time") - item.at_ns.expect("a time");
            assert!(item.step.is_none_or(|step| late(step) < 2_000_000), "seed {seed}: {item:?}");
        }
        let planned: BTreeSet<_> = items.iter().filter_map(|item| item.step).collect();
        let happened = |(place, step): (usize, &Step)| {
            let planned = matches!(step.kind, Kind::Plan | Kind::Asked)
                && step.lane.is_none_or(|lane| lane == 0)
                && step.name != "note";
            planned.then_some(place)
        };
        let happened: BTreeSet<_> = page.steps.iter().enumerate().filter_map(happened).collect();
        assert_eq!(planned, happened, "seed {seed}");
    }
}

#[test]
fn no_two_scripts_declare_one_name() {
    // A second declaration would keep the whole script from running.
    let html = render(&synthetic(3));
    let script = html.rsplit_once("<script>").expect("there is a script").1;
    let mut names = BTreeSet::new();
    for line in script.lines() {
        let declared = ["const ", "let ", "function ", "async function "];
        let Some(rest) = declared.iter().find_map(|word| line.strip_prefix(word)) else { continue };
        for part in rest.split(", ") {
            let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let is_declared = part.len() == rest.len() || rest.starts_with(part) || part.contains(" = ");
            if is_declared && !line.contains("=>") {
                assert!(names.insert(name.clone()), "{name} is declared twice");
            }
        }
    }
    assert!(names.len() > 60, "{names:?}");
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
pub fn synthetic(size: usize) -> Page {
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
            end: if last { End::Unknown } else { End::Arrived },
        };
        let crash = i % 500 == 250;
        page.steps.push(Step {
            at_ns: Some(i as u64 * 3_100_000 + (i / 100) as u64 * 900_000_000),
            turn: None,
            lane: Some(me),
            kind: if crash { Kind::Crash } else { Kind::Message },
            name: if crash { String::new() } else { "Hello".into() },
            text: if crash { "nothing was waiting for the disk".into() } else { text.clone() },
            quiet: false,
            acts: vec![Act { kind: ActKind::Send, text, flight: Some(i) }],
            changes: if i == 0 || crash { vec![] } else { vec![format!("count: {} → {i}", i - 1)] },
            timer: None,
            led: i + 5 > size,
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
