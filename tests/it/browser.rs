//! A run as a page, used in a browser as a reader would use it. Needs Chromium (Debian: `apt-get install chromium`), and
//! says so where there is none.

use std::io::Write;
use std::process::Command;

use coalmine_sim::files::capsule::File;
use coalmine_sim::spec::verdict::Engine;
use coalmine_sim::trace::html::{Kind, Page, Step, render};
use serde::Deserialize;
use serde_json::json;

use super::html::{guessing_resolver, synthetic};

/// What a browser is called.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Before the page's own script: what goes wrong is kept. Nobody draws frames without a screen, so time does.
const BEFORE: &str = "<script>const errors = [];
addEventListener('error', event => errors.push(String(event.message)));
addEventListener('unhandledrejection', event => errors.push(String(event.reason)));
window.requestAnimationFrame = work => setTimeout(work, 16);</script>";

/// No window is narrower.
const NARROWEST: u32 = 600;

/// A page in a frame that is as wide as a telephone.
const FRAME: &str = "<!doctype html><body style=\"margin:0\"><script>addEventListener('message', event => {
const out = document.createElement('pre');
out.id = 'seen';
out.textContent = event.data;
document.body.append(out);
});</script><iframe src=\"page.html\" style=\"border:0;width:{width}px;height:900px\"></iframe>";

/// What `browser.js` saw.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Seen {
    errors: Vec<String>,
    pub banner: String,
    /// What a page that does not show all says of it.
    pub left_out: String,
    /// How often it says so where something is left out.
    pub gaps: usize,
    pub violation: Option<(usize, String)>,
    arrows: usize,
    /// How wide the window is, and by how much the document is wider.
    width: u32,
    too_wide: i32,
    /// Headings that lie one over the other, or under the search.
    headings: Vec<String>,
    /// What is told in rows, and does not fit there.
    cut_off: Vec<String>,
    /// The number of the chosen step, in the address, in the panel and in its row.
    numbers: (String, String, String),
    /// How many steps in sight are marked as what led to the end.
    led: usize,
    /// How many words the diagram has, from end to end.
    words: usize,
    /// Words of the diagram that are written one over the other.
    collisions: Vec<String>,
    found: String,
    hit: (usize, usize),
    pub end: usize,
    // Of a page that can be seen as a whole:
    shown: Vec<usize>,
    all: Vec<usize>,
    without_lane: Vec<usize>,
    without_name: Vec<usize>,
    without_timers: Vec<usize>,
    again: Vec<usize>,
    walk: Vec<(usize, bool, String)>,
    back: usize,
    // Of a large one:
    last: usize,
    first: usize,
    walked: usize,
    middle: Vec<usize>,
}

/// Opens a page and uses it; `None` where there is no browser.
pub fn open(page: &Page, asked: &serde_json::Value) -> Option<Seen> {
    open_text(&render(page), asked)
}

/// The same of a page that was written already.
pub fn open_text(page: &str, asked: &serde_json::Value) -> Option<Seen> {
    open_in(page, asked, 1_400, false)
}

/// The same in a window of this width, light or dark.
fn open_in(page: &str, asked: &serde_json::Value, width: u32, dark: bool) -> Option<Seen> {
    let is_there = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    let Some(browser) = NAMES.iter().find(is_there) else {
        // Not by a macro, whose words are kept from whoever runs a test that passes.
        let _ = writeln!(std::io::stderr(), "skipped: Chromium is not installed, so no page was opened");
        return None;
    };
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let driver = include_str!("browser.js");
    let after = format!(
        "<script type=\"application/json\" id=\"asked\">{asked}</script><script>{driver}</script></body>"
    );
    let html = page.replacen("<body>", &format!("<body>{BEFORE}"), 1);
    let (html, end) = html.rsplit_once("</body>").expect("a page has a body");
    let file = folder.path().join("page.html");
    std::fs::write(&file, format!("{html}{after}{end}")).expect("it can be written");
    let frame = folder.path().join("frame.html");
    std::fs::write(&frame, FRAME.replace("{width}", &width.to_string())).expect("it can be written");
    let (file, window) = if width < NARROWEST { (frame, NARROWEST) } else { (file, width) };
    let output = Command::new("timeout")
        .args([
            "120",
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--virtual-time-budget=120000", "--dump-dom"])
        .arg(format!("--window-size={window},1000"))
        .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)))
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .expect("there is a timeout");
    let dom = String::from_utf8_lossy(&output.stdout);
    let seen = dom.rsplit_once("<pre id=\"seen\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let (seen, _) = seen.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let text =
        seen.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}").replace("&amp;", "&");
    let seen: Seen = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
    assert!(seen.errors.is_empty(), "{:?}", seen.errors);
    Some(seen)
}

/// All that can be searched about a step.
fn says(step: &Step, word: &str) -> bool {
    step.text.contains(word) || step.acts.iter().any(|act| act.text.contains(word))
}

#[test]
fn a_page_does_what_its_reader_asks() {
    let page = guessing_resolver();
    let (lane, name, word) = (2, "PrepareReq", "DECISION_REQ");
    let asked = json!({ "lane": lane, "name": name, "word": word, "large": false });
    let Some(seen) = open(&page, &asked) else { return };

    let end = page.ending.step.expect("a violation has a step");
    let chip = format!("✗ {}", page.ending.headline);
    assert_eq!((&*seen.banner, seen.violation, seen.end), ("bad", Some((end, chip)), end));
    assert!(seen.arrows > 10, "{} lines are drawn", seen.arrows);
    assert_eq!(seen.collisions, [""; 0], "words lie one over the other");

    // What went wrong is shown whatever the filters say.
    let steps = |is_shown: &dyn Fn(&Step) -> bool| -> Vec<_> {
        let all = page.steps.iter().enumerate();
        all.filter(|(at, step)| *at == end || is_shown(step)).map(|(at, _)| at).collect()
    };
    let loud = steps(&|step| !step.quiet);
    assert_eq!(seen.all.len(), page.steps.len());
    assert!(loud.len() < page.steps.len() && seen.shown == loud && seen.again == loud, "{:?}", seen.shown);
    let without_lane = steps(&|step| !step.quiet && step.lane != Some(lane));
    let is_named = |step: &Step| matches!(step.kind, Kind::Message | Kind::Network) && step.name == name;
    let without_name = steps(&|step| !step.quiet && !is_named(step));
    let without_timers = steps(&|step| !step.quiet && step.kind != Kind::Timer);
    for (seen, expected) in [
        (&seen.without_lane, &without_lane),
        (&seen.without_name, &without_name),
        (&seen.without_timers, &without_timers),
    ] {
        assert!(expected.len() < loud.len(), "the filter has something to hide");
        assert_eq!(seen, expected);
    }

    let hits: Vec<_> = (0..page.steps.len()).filter(|at| says(&page.steps[*at], word)).collect();
    let found = match hits.iter().position(|hit| *hit == end) {
        Some(place) => format!("{} of {}", place + 1, hits.len()),
        None => format!("{} found", hits.len()),
    };
    assert_eq!(seen.found, found);
    assert!(hits.contains(&seen.hit.0) && seen.hit.1 > 0, "{:?} of {hits:?}", seen.hit);

    // The keyboard goes from step to step, and the panel with it.
    let walk: Vec<_> = seen.walk.iter().map(|(step, ..)| *step).collect();
    assert_eq!(walk, loud[..walk.len()]);
    assert_eq!(seen.back, walk[walk.len() - 1]);
    for (step, state, told) in &seen.walk {
        assert_eq!(*state, page.steps[*step].state.is_some(), "step {step}: {told}");
    }
    assert!(seen.walk.windows(2).all(|two| two[0].2 != two[1].2), "the panel tells of the chosen step");
}

#[test]
fn a_page_of_ten_thousand_steps_can_be_used() {
    let asked = json!({ "lane": 1, "name": "Hello", "word": "yours faithfully", "large": true });
    let Some(seen) = open(&synthetic(10_000), &asked) else { return };
    assert_eq!(seen.violation.map(|(step, _)| step), Some(9_999));
    assert_eq!(seen.found, "5000 of 5000", "the last is chosen");
    assert_eq!((seen.first, seen.walked, seen.last, seen.end), (0, 100, 9_999, 9_999));
    // Only what is in sight is drawn.
    assert!((10..200).contains(&seen.middle.len()), "{} steps", seen.middle.len());
    assert!(seen.middle.iter().all(|step| (4_000..6_000).contains(step)), "{:?}", seen.middle);
}

/// What leaves both ways at once, and never arrives, is named once.
#[test]
fn a_counterexample_can_be_read() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/capsules/guessing-resolver.toml");
    let file = File::read(file.as_ref()).expect("it is ours");
    let walked = coalmine::suite().run_file(file, None, true).expect("it can be walked");
    let page = walked.outcome.page.expect("a page was asked for");
    let asked = json!({ "lane": 2, "name": "PrepareReq", "word": "DECISION_REQ", "large": false });
    let Some(seen) = open(&page, &asked) else { return };
    assert_eq!((seen.errors.len(), &*seen.banner), (0, "bad"), "{:?}", seen.errors);
    assert_eq!(seen.collisions, [""; 0], "words lie one over the other");
}

/// Whatever the window: nothing lies over anything else, nothing is cut off, and the page is no wider than the window.
#[test]
fn a_page_is_laid_out_at_every_width() {
    let suite = coalmine::suite();
    let run = |name: &str, mistake: Option<&str>, seed| {
        let scenario = suite.find_scenario(name).expect("it ships");
        let planted = mistake.map(|mistake| scenario.with_mistake(mistake).expect("it is listed"));
        planted
            .as_deref()
            .unwrap_or(scenario)
            .run(Engine::Madsim, seed, true)
            .page
            .expect("a page was asked for")
    };
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/capsules/guessing-resolver.toml");
    let file = File::read(file.as_ref()).expect("it is ours");
    let path = suite.run_file(file, None, true).expect("it can be walked").outcome.page.expect("a page");
    let pages = [run("rollout-chaos", None, 33), run("chain-chaos", Some("reads-anywhere"), 2), path];
    for (page, turns) in pages.iter().zip([false, false, true]) {
        for (width, dark) in [(420, false), (900, true), (1_400, false)] {
            let asked = json!({ "layout": true });
            let Some(seen) = open_in(&render(page), &asked, width, dark) else { return };
            let of = format!("{} at {width}", page.title);
            assert_eq!((seen.width, seen.too_wide), (width, 0), "{of}");
            assert_eq!(seen.headings, [""; 0], "{of}");
            assert_eq!(seen.collisions, [""; 0], "{of}");
            assert_eq!(seen.cut_off, [""; 0], "{of}");
            assert!(width < 900 || seen.words > 10, "{of}: {} words", seen.words);
            let Some(end) = page.ending.step else { continue };
            assert!(seen.led > 1, "{of}");
            let number =
                if turns { page.steps[end].turn.expect("a turn") } else { end as u64 + 1 }.to_string();
            let (hash, panel, row) = &seen.numbers;
            assert_eq!(*hash, format!("#step-{number}"), "{of}");
            assert!(panel.starts_with(&format!("step {number} of ")), "{of}: {panel}");
            assert_eq!(row.trim_start_matches("step "), number, "{of}");
        }
    }
}
