//! Recordings: what a simulated and a real cluster record is executed again, and whatever was done to a
//! recording, or is other than it was, is told with its file and line.

#[path = "../../sim/tests/tutorial/cargo.rs"]
mod cargo;
mod cluster;
mod damage;
mod gaps;
mod random;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;

use coalmine::rollout::{chaos, model};
use coalmine_core::codec::journal::recover;
use coalmine_core::codec::recording::{self, Did, Header, Line, Part, Step, Took};
use coalmine_core::host::Host;
use coalmine_core::node::{Effect, Event, Node as _, NodeId, RequestId};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::durable::Record;
use coalmine_core::rollout::health::Health;
use coalmine_core::rollout::message::{Envelope, Message, Request, Timer};
use coalmine_real::probe::Probe;
use coalmine_real::recorder::parts::parts;
use coalmine_real::recorder::{Limits, Recorder, Who};
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::suite::{AnyModel, AnyScenario};
use coalmine_sim::verify::Verified;
use coalmine_tests::chaos_of;

type Node = RolloutNode;

/// An empty folder of one test.
pub fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("coalmine-recordings-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).expect("a temporary folder can be made");
    path
}

/// Records a run of a seed.
fn record(mistake: Option<&str>, folder: &Path, engine: Engine, seed: u64) -> Verdict {
    let scenario = mistake.map_or_else(|| Box::new(chaos::scenario()) as Box<dyn AnyScenario>, chaos_of);
    let outcome = scenario.run(engine, seed, true);
    assert_eq!(outcome.recordings.len(), 3);
    for (node, bytes) in &outcome.recordings {
        fs::write(folder.join(format!("{node}.rec")), bytes).expect("the folder is ours");
    }
    outcome.verdict
}

fn verify(path: &Path) -> Result<Verified, String> {
    chaos::scenario().verify(&[path.to_owned()], false)
}

fn read(path: &Path) -> Part<Node> {
    let bytes = fs::read(path).expect("it is there");
    recording::decode(&bytes).expect("it can be read").expect("there are lines in it")
}

fn write(path: &Path, part: &Part<Node>) {
    let mut bytes = Vec::new();
    recording::encode_header(&part.header, &mut bytes);
    for (number, line) in (2..).zip(&part.lines) {
        recording::encode(number, line, &mut bytes).expect("it is plain data");
    }
    fs::write(path, bytes).expect("the folder is ours");
}

/// The place of the first step that is like this, and the step.
fn find(part: &mut Part<Node>, like: impl Fn(&Step<Node>) -> bool) -> (usize, &mut Step<Node>) {
    for (place, line) in part.lines.iter_mut().enumerate() {
        match line {
            Line::Step(step) if like(step) => return (place, step),
            Line::Step(_) | Line::Gap { .. } | Line::End {} => {}
        }
    }
    panic!("there should be such a step");
}

/// The number of the line in this place.
fn number(place: usize) -> u64 {
    place as u64 + 2
}

#[test]
fn what_either_engine_records_is_executed_again() {
    let folder = folder("engines");
    for engine in [Engine::Madsim, Engine::Direct] {
        let mut boots = 0;
        for seed in 0..8 {
            assert_eq!(record(None, &folder, engine, seed), Verdict::Passed);
            let verified = verify(&folder).expect("the recordings can be read");
            assert_eq!((&verified.difference, &verified.violated), (&None, &None), "{engine} {seed}");
            assert!(verified.is_complete(), "{engine} {seed}: {:?}", verified.describe_incomplete());
            assert!(verified.judged.iter().all(|it| it.not_judged == 0), "{:?}", verified.judged);
            assert_eq!(verified.nodes, [NodeId(1), NodeId(2), NodeId(3)]);
            assert!(verified.steps > 50, "{engine} {seed}: {}", verified.steps);
            boots += verified.boots;
        }
        assert!(boots > 3 * 8, "{engine}: some node should have crashed and booted again");
    }
    fs::remove_dir_all(folder).expect("it is ours");
}

/// The story of the recordings is that of the run, as far as the nodes can tell it.
#[test]
fn recordings_tell_the_story_of_their_run() {
    let folder = folder("story");
    let outcome = chaos::scenario().run(Engine::Direct, 3, true);
    record(None, &folder, Engine::Direct, 3);
    let verified = verify(&folder).expect("the recordings can be read");
    let of_nodes = |story: &str| {
        let mut told: Vec<_> = story
            .lines()
            .filter(|line| line.starts_with("                    "))
            .map(str::to_owned)
            .collect();
        told.sort();
        told
    };
    let told = of_nodes(&verified.story);
    assert!(told.len() > 10, "{}", verified.story);
    assert_eq!(told, of_nodes(&outcome.story.expect("it was asked for")));
    fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn a_violated_invariant_is_found_from_the_recordings_alone() {
    let folder = folder("violated");
    let violated = (0..3_000).find(|&seed| {
        let quick = chaos_of("forgetful-voter").run(Engine::Direct, seed, false).verdict;
        matches!(quick, Verdict::Violated { .. })
    });
    let seed = violated.expect("the planted bug is found");
    let Verdict::Violated { invariant, .. } = record(Some("forgetful-voter"), &folder, Engine::Direct, seed)
    else {
        panic!("the seed alone should tell the same again");
    };
    let verified = verify(&folder).expect("the recordings can be read");
    assert_eq!(verified.difference, None);
    let found = verified.violated.as_ref().expect("the history breaks an invariant");
    assert_eq!(found.invariant, invariant);
    assert!(verified.is_complete(), "{:?}", verified.describe_incomplete());
    assert!(found.file.ends_with(".rec") && found.line > 1, "{found:?}");
    assert_eq!(verified.exit_code(), 1);
    let page = chaos::scenario().verify(std::slice::from_ref(&folder), true).expect("as before").page;
    let page = page.expect("it was asked for");
    assert!(!page.ending.passed && page.ending.headline.contains(&invariant), "{:?}", page.ending);
    assert!(page.steps.iter().any(|step| step.state.is_some()), "the page shows states");
    fs::remove_dir_all(folder).expect("it is ours");
}

/// Takes the mistake out of the configurations in recordings: the node that they are of is another one then.
fn make_sound(folder: &Path) {
    for file in fs::read_dir(folder).expect("it is there") {
        let path = file.expect("it is there").path();
        let mut part = read(&path);
        let config = part.header.config.as_object_mut().expect("a configuration has keys");
        assert!(config.remove("mistake").is_some(), "a recording says what node it is of");
        write(&path, &part);
    }
}

/// The same events do something else in another version of the node.
#[test]
fn another_version_of_the_node_differs_from_the_recording() {
    let folder = folder("version");
    record(Some("forgetful-voter"), &folder, Engine::Direct, 1);
    assert_eq!(verify(&folder).expect("it can be read").difference, None);
    make_sound(&folder);
    let verified = verify(&folder).expect("it can be read");
    let difference = verified.difference.as_ref().expect("the sound node writes its vote");
    assert!(difference.event.contains("PREPARE_REQ"), "{difference:?}");
    let told = format!("{} {}", difference.recorded, difference.here);
    assert!(told.contains("VOTED COMMIT") || told.contains("PREPARE_RESP"), "{difference:?}");
    assert!(difference.file.ends_with(".rec") && difference.line > 2, "{difference:?}");
    assert_eq!(verified.exit_code(), 5);
    fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn a_changed_effect_is_named_with_its_line() {
    let folder = folder("changed");
    record(None, &folder, Engine::Direct, 2);
    let path = folder.join("n1.rec");
    let mut changed = read(&path);
    let is_epoch = |did: &Did<Node>| matches!(did, Did::Append(Record::Epoch { .. }));
    let (place, step) = find(&mut changed, |step| step.did.iter().any(is_epoch));
    for did in &mut step.did {
        if let Did::Append(Record::Epoch { epoch }) = did {
            *epoch += 1;
        }
    }
    write(&path, &changed);
    let verified = verify(&folder).expect("it can be read");
    let difference = verified.difference.as_ref().expect("it was changed");
    let named = (difference.file.clone(), difference.line, difference.node);
    assert_eq!(named, (path.display().to_string(), number(place), NodeId(1)));
    assert!(difference.recorded.starts_with("journal: ") && difference.here.starts_with("journal: "));
    assert_ne!(difference.recorded, difference.here);
    assert!(difference.program.starts_with("coalmine "), "{}", difference.program);
    assert_eq!(verified.exit_code(), 5);
    fs::remove_dir_all(folder).expect("it is ours");
}

/// Another message than the one that was taken in, something the node cannot have been told, something it was
/// never asked.
#[test]
fn a_changed_event_is_named_with_its_line() {
    let folder = folder("event");
    let path = folder.join("n2.rec");
    let is_prepare = |step: &Step<Node>| {
        matches!(
            &step.took,
            Took::Event(Event::Message { message: Envelope { message: Message::PrepareReq { .. }, .. }, .. })
        )
    };
    let other: Took<Node> = Took::Event(Event::Timer(Timer::Heartbeat));
    for (took, chose, here) in [
        (Some(other), vec![], "HEARTBEAT"),
        (Some(Took::Synced(1_000)), vec![], "records are written"),
        (Some(Took::Event(Event::Durable(1))), vec![], "only its host tells"),
        (None, vec![1], "does not ask for the choices [1]"),
    ] {
        record(None, &folder, Engine::Direct, 2);
        let mut changed = read(&path);
        let (place, step) = find(&mut changed, is_prepare);
        step.took = took.unwrap_or(step.took.clone());
        step.chose = chose;
        write(&path, &changed);
        let difference = verify(&folder).expect("it can be read").difference.expect("it was changed");
        assert_eq!((difference.line, difference.node), (number(place), NodeId(2)));
        assert!(difference.here.contains(here), "{difference:?}");
    }
    fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn a_torn_tail_is_left_out_and_said() {
    let folder = folder("torn");
    record(None, &folder, Engine::Direct, 2);
    let path = folder.join("n2.rec");
    let bytes = fs::read(&path).expect("it is there");
    let last = bytes.split_inclusive(|&b| b == b'\n').count();
    fs::write(&path, &bytes[..bytes.len() - 20]).expect("the folder is ours");
    let verified = verify(&folder).expect("a torn tail is what a crash leaves");
    assert_eq!((&verified.difference, &verified.violated), (&None, &None));
    let torn = format!("n2.rec: line {last}: a torn tail of");
    assert!(verified.notes.iter().any(|note| note.contains(&torn)), "{:?}", verified.notes);
    fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    let folder = folder("bad");
    record(None, &folder, Engine::Direct, 2);
    let path = folder.join("n2.rec");
    let whole = read(&path);
    let bytes = fs::read(&path).expect("it is there");
    let lines: Vec<_> = bytes.split_inclusive(|&b| b == b'\n').collect();
    let header = Header { format: 7, ..whole.header.clone() };
    write(&path, &Part { header, lines: Vec::new(), torn: None });
    let other_format = fs::read(&path).expect("it is there");
    let header = Header { config: serde_json::json!({"me": "n2"}), ..whole.header.clone() };
    write(&path, &Part { header, lines: Vec::new(), torn: None });
    let other_config = fs::read(&path).expect("it is there");
    let garbage = [&lines[..4].concat(), b"\xff\x01{]}\n".as_slice(), &lines[4..].concat()].concat();
    let two_headers = [&lines[..4].concat(), lines[0], &lines[4..].concat()].concat();
    for (bytes, why) in [
        (b"".as_slice(), "n2.rec: empty"),
        (b"{\"header\":{\"form", "n2.rec: empty"),
        (b"id = 2\n", "n2.rec: line 1: not the header of a recording"),
        (lines[1], "n2.rec: line 1: not the header of a recording"),
        (&other_format, "n2.rec: line 1: it is of format 7, and this program reads format 2"),
        (&other_config, "n2.rec: line 1: the configuration: "),
        (&garbage, "n2.rec: line 5: no step: "),
        (&two_headers, "n2.rec: line 5: no step: "),
    ] {
        fs::write(&path, bytes).expect("the folder is ours");
        let said = verify(&folder).expect_err(why);
        assert!(said.contains(why), "{said:?} should say {why:?}");
    }
    fs::write(&path, &bytes).expect("the folder is ours");
    fs::copy(&path, folder.join("copy.rec")).expect("the folder is ours");
    let said = verify(&folder).expect_err("two of one node");
    assert!(said.contains("copy.rec and ") && said.contains("are both recordings of n2"), "{said}");
    let said = verify(&folder.join("nobody.rec")).expect_err("there is no such file");
    assert!(said.contains("nobody.rec: there is no such file"), "{said}");
    fs::remove_dir_all(folder).expect("it is ours");
}

/// After a gap nothing is known until the next boot; from there on all is executed again.
#[test]
fn a_gap_is_reported_and_passed_over() {
    let folder = folder("gap");
    let path = folder.join("n3.rec");
    let is_boot = |line: &Line<Node>| matches!(line, Line::Step(Step { took: Took::Boot { .. }, .. }));
    let boots = |part: &Part<Node>| -> Vec<_> {
        part.lines.iter().enumerate().filter(|(_, line)| is_boot(line)).map(|(place, _)| place).collect()
    };
    let seed = (0..50).find(|&seed| {
        record(None, &folder, Engine::Direct, seed);
        boots(&read(&path)).get(1).is_some_and(|&second| second > 8)
    });
    seed.expect("in some run the third node boots again");
    let whole = verify(&folder).expect("it can be read");
    let mut cut = read(&path);
    let second = boots(&cut)[1];
    cut.lines.splice(3..4, [Line::Gap { why: "the test took it out".into() }]);
    write(&path, &cut);
    let verified = verify(&folder).expect("it can be read");
    assert_eq!((&verified.difference, &verified.violated), (&None, &None));
    // The line before the boot says that the life has ended.
    let left_out = second as u64 - 4;
    assert_eq!((verified.boots, verified.steps), (whole.boots, whole.steps - left_out));
    let until = format!("{}: line {}", path.display(), number(second));
    let gap = format!(
        "{}: line 5: a gap: the test took it out; from here to its boot in {until}, \
         what n3 did is not known ({} steps left out)",
        path.display(),
        left_out - 1
    );
    assert!(verified.notes.contains(&gap), "{:?}", verified.notes);
    fs::remove_dir_all(folder).expect("it is ours");
}

/// A clock that is slow puts what a node received before it was sent; the order of causes is kept.
#[test]
fn causes_come_before_their_effects_whatever_the_clocks_say() {
    let folder = folder("clocks");
    record(None, &folder, Engine::Direct, 4);
    let whole = verify(&folder).expect("it can be read");
    let path = folder.join("n1.rec");
    let mut fast = read(&path);
    for line in &mut fast.lines {
        if let Line::Step(step) = line {
            step.at += 60_000_000_000;
        }
    }
    write(&path, &fast);
    let verified = verify(&folder).expect("it can be read");
    assert_eq!((&verified.difference, &verified.violated), (&None, &None));
    let first = |story: &str, word: &str| {
        story.lines().position(|line| line.contains(word)).unwrap_or_else(|| panic!("no {word} in\n{story}"))
    };
    for story in [&whole.story, &verified.story] {
        assert!(first(story, "→ n2: PREPARE_REQ") < first(story, "n2  ← n1: PREPARE_REQ"), "{story}");
    }
    fs::remove_dir_all(folder).expect("it is ours");
}

/// What the command line says.
fn toys(folder: &Path, args: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toys"));
    let output = command.args(args.split(' ')).current_dir(folder).output().expect("the toys are built");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_command_line_records_and_verifies() {
    let folder = folder("cli");
    let (_, said) = toys(
        &folder,
        "--mistake guessing-resolver replay rollout-chaos --seed 1 --record tapes --engine direct",
    );
    assert!(said.contains("the recordings are in tapes"), "{said}");
    let (code, said) = toys(&folder, "verify tapes --html story.html");
    assert!(code == Some(0) && said.contains("every step does again what it did"), "{said}");
    assert!(said.contains("n1, n2, n3: "), "{said}");
    let page = fs::read_to_string(folder.join("story.html")).expect("it was written");
    assert!(page.contains("PREPARE_REQ"));
    let (code, said) = toys(&folder, "verify tapes --format json");
    let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &json["complete"]), (Some(0), &true.into()), "{said}");
    assert_eq!(json["invariants"][0]["verdict"], "holds", "{said}");

    // Cut at a third, as a kill would.
    let whole = fs::read(folder.join("tapes/n2.rec")).expect("it is there");
    let lines: Vec<_> = whole.split_inclusive(|&b| b == b'\n').collect();
    fs::write(folder.join("tapes/n2.rec"), lines[..lines.len() / 3].concat()).expect("the folder is ours");
    let (code, said) = toys(&folder, "verify tapes --html story.html");
    assert!(code == Some(0) && said.contains("– incomplete: ") && !said.contains('✓'), "{said}");
    assert!(said.contains("not judged after ") && said.contains("steps: unanimous, "), "{said}");
    let page = fs::read_to_string(folder.join("story.html")).expect("it was written");
    assert!(page.contains("incomplete"));
    let (_, said) = toys(&folder, "verify tapes --format json");
    let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(json["complete"], false);
    let unanimous =
        json["invariants"].as_array().expect("a list").iter().find(|it| it["name"] == "unanimous");
    let unanimous = unanimous.expect("it was asked");
    assert_eq!(unanimous["verdict"], "holds in what was judged", "{said}");
    assert!(unanimous["not_judged_steps"].as_u64() > Some(0), "{said}");

    // A wrong node's recording tells on it, and is not that of a sound one.
    fs::remove_dir_all(folder.join("tapes")).expect("it is ours");
    toys(&folder, "--mistake forgetful-voter replay rollout-chaos --seed 1 --record tapes --engine direct");
    let (code, said) = toys(&folder, "verify tapes");
    assert!(code == Some(1) && said.contains("invariant write-ahead is violated"), "{said}");
    make_sound(&folder.join("tapes"));
    let (code, said) = toys(&folder, "verify --as rollout-chaos tapes/n1.rec tapes/n2.rec tapes/n3.rec");
    assert!(code == Some(5) && said.contains("recorded:") && said.contains("tapes/n"), "{said}");
    let (code, said) = toys(&folder, "verify --as nobody tapes");
    assert!(code == Some(2) && said.contains("nobody"), "{said}");
    fs::write(folder.join("tapes/n1.rec"), "{}\n").expect("the folder is ours");
    let (code, said) = toys(&folder, "verify tapes");
    assert!(code == Some(2) && said.contains("tapes/n1.rec: line 1"), "{said}");
    fs::remove_dir_all(folder).expect("it is ours");
}

/// Records one life of a node that is alone and takes so many requests; returns what the recorder complains of.
fn live(path: &Path, limits: Limits, requests: u64) -> Vec<String> {
    let config = Config::cluster(1).remove(0);
    let (warn, complaints) = mpsc::channel();
    let warn = Box::new(move |what| warn.send(what).expect("the test listens"));
    let who = Who { program: "test", protocol: "rollout", node: config.me };
    let recorder = Recorder::<Node>::start(path, who, &config, limits, warn);
    let recorder = recorder.expect("the folder can be written to");
    let mut choose = |_: u32| 0;
    let mut out: Vec<Effect<Node>> = Vec::new();
    let mut host = Host::boot(&config, &[], 0, &mut choose, &mut out);
    let nothing = recover(Node::FORM, b"").expect("an empty journal is sound");
    assert!(recorder.on_boot(&nothing, &host, &out).is_continue());
    out.clear();
    host.synced(&config, 0, host.written(), &mut choose, &mut out);
    assert!(recorder.on_sync(host.written(), &host, &out).is_continue());
    for sequence in 1..=requests {
        let health = Health { window_id: sequence, version: 0, models: std::collections::BTreeMap::new() };
        let id = RequestId { client: 1, sequence };
        let event = Event::Request { id, request: Request::ReportHealth(health) };
        out.clear();
        assert!(recorder.on_event(&event).is_continue(), "the node never stops for its recording");
        host.step(&config, event, &mut choose, &mut out);
        assert!(recorder.on_step(&host, &out).is_continue(), "the node never stops for its recording");
    }
    recorder.finish();
    complaints.try_iter().collect()
}

fn verify_parts(path: &Path) -> Verified {
    let verified = model().verify(&[path.to_owned()], false).expect("the recording can be read");
    assert_eq!((&verified.difference, &verified.violated), (&None, &None));
    verified
}

#[test]
fn a_recording_in_parts_is_one_recording() {
    let folder = folder("parts");
    let path = folder.join("n1.rec");
    let limits = Limits { part_bytes: 4_000, parts: 100, ..Limits::default() };
    assert_eq!(live(&path, limits, 100), Vec::<String>::new());
    let all = parts(&path).expect("the folder can be read");
    assert!(all.len() > 4, "{all:?}");
    assert_eq!(all.last(), Some(&path));
    for part in &all {
        let size = fs::metadata(part).expect("it is there").len();
        assert!(size < 4_000 + 1_000, "{}: {size} bytes", part.display());
    }
    let verified = verify_parts(&path);
    assert_eq!((verified.boots, verified.steps, verified.notes.len()), (1, 102, 0), "{:?}", verified.notes);

    // The next life begins a part of its own; what is missing is missed until then.
    assert_eq!(live(&path, limits, 10), Vec::<String>::new());
    fs::remove_file(&all[1]).expect("it is ours");
    let verified = verify_parts(&path);
    assert_eq!(verified.boots, 2);
    assert!(verified.steps > 12 && verified.steps < 102, "{}", verified.steps);
    let missing = "n1.rec.3: line 1: a gap: the end of part 2 is missing; from here to its boot in ";
    assert!(verified.notes.iter().any(|note| note.contains(missing)), "{:?}", verified.notes);
    fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn only_parts_of_former_lives_are_deleted() {
    let folder = folder("deleted");
    let path = folder.join("n1.rec");
    let limits = Limits { part_bytes: 4_000, parts: 3, ..Limits::default() };
    for _ in 0..5 {
        assert_eq!(live(&path, limits, 5), Vec::<String>::new());
        assert!(parts(&path).expect("the folder can be read").len() <= 3);
        assert!(verify_parts(&path).boots <= 3);
    }
    // A life that would fill more than there may be ends its recording; the disk is not filled.
    let complaints = live(&path, limits, 1_000);
    assert!(
        complaints.len() == 1 && complaints[0].contains("filled 3 parts of 4000 bytes"),
        "{complaints:?}"
    );
    assert_eq!(parts(&path).expect("the folder can be read").len(), 3);
    let verified = verify_parts(&path);
    assert!(verified.boots == 1 && verified.steps > 10, "{}", verified.steps);
    let says = |what: &str| verified.notes.iter().any(|note| note.contains(what));
    assert!(says("a gap: this life has filled 3 parts") && says("are missing"), "{:?}", verified.notes);
    assert!(!verified.is_complete());
    fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn a_file_that_is_no_recording_is_left_alone() {
    let folder = folder("precious");
    let path = folder.join("n1.toml");
    fs::write(&path, "id = 1\n").expect("the folder is ours");
    let config = Config::cluster(1).remove(0);
    let limits = Limits::default();
    let who = Who { program: "test", protocol: "rollout", node: config.me };
    let refused = Recorder::<Node>::start(&path, who, &config, limits, Box::new(|_| {}));
    let why = refused.err().expect("it is a configuration").to_string();
    assert!(why.contains("is no recording"), "{why}");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "id = 1\n");
    fs::remove_dir_all(folder).expect("it is ours");
}
