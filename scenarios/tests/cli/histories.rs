//! `linearize` on the command line: verdicts, exit codes, and the file that is never lost.

use super::*;

#[test]
fn a_history_from_outside_is_judged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("there is room");
    let stale = "{\"client\": 1, \"op\": \"write\", \"input\": 1, \"call\": 0, \"return\": 1}\n\
                 {\"client\": 2, \"op\": \"read\", \"output\": null, \"call\": 2, \"return\": 3}\n";
    write("good", &stale.replace("null", "1"));
    write("stale", stale);
    write("broken", "{\"client\": 1");
    let good = coalmine(&format!("linearize {} --model register", path("good"))).exits(0).stdout();
    assert!(good.starts_with("✓ register: 2 operations of 2 clients are linearizable"), "{good}");

    let line = format!("linearize {} --model register --svg {}", path("stale"), path("picture.svg"));
    let text = coalmine(&line).exits(1).stdout();
    assert!(text.contains("are not linearizable") && text.contains("2 read   → null"), "{text}");
    let picture = std::fs::read_to_string(path("picture.svg")).expect("it was drawn");
    assert!(picture.starts_with("<svg") && picture.contains("2 read → null"), "{picture}");
    let json = coalmine(&format!("{line} --format json")).exits(1).json();
    assert_eq!((&json["verdict"], &json["violation"]["explained_answers"]), (&"violated".into(), &1.into()));
    assert_eq!(json["violation"]["operations"][1]["line"], 2);

    let why = coalmine(&format!("linearize {} --model register", path("broken"))).exits(2).stderr();
    assert!(why.contains("broken: line 1: EOF while parsing"), "{why}");
    let why = coalmine(&format!("linearize {} --model stack", path("good"))).exits(2).stderr();
    assert!(why.contains("stack") && why.contains("register, kv, counter, set, queue"), "{why}");
    // The picture of a history does not take its place.
    let why = coalmine(&format!("linearize {0} --model register --svg {0}", path("stale"))).exits(2).stderr();
    assert!(why.contains("--svg names the history itself"), "{why}");
    assert_eq!(std::fs::read_to_string(path("stale")).expect("it is there"), stale);

    // What is weaker may hold.
    let line = format!("linearize {} --model register --consistency", path("stale"));
    let text = coalmine(&format!("{line} sequential")).exits(0).stdout();
    assert!(text.contains("keep the promise sequential"), "{text}");
    let text = coalmine(&format!("{line} acknowledged-is-never-lost")).exits(1).stdout();
    assert!(text.contains("is not what had been acknowledged") && text.contains("2 read   → null"), "{text}");
    let json = coalmine(&format!("{line} session --format json")).exits(0).json();
    assert_eq!((&json["verdict"], &json["consistency"]), (&"session".into(), &"session".into()));
    // A search that needs too much memory ends, and says so.
    let row = |client: u32, op: &str, value: u32, call: u32, back: u32| {
        let key = if op == "enqueue" { "input" } else { "output" };
        format!(
            "{{\"client\": {client}, \"op\": \"{op}\", \"{key}\": {value}, \"call\": {call}, \"return\": {back}}}\n"
        )
    };
    let put = (0..30).map(|n| row(n, "enqueue", n, 0, 9));
    let taken = (0..30).map(|n| row(50 + n, "dequeue", n * 7 % 30, 10 + n * 2, 11 + n * 2));
    let many: String = put.chain(taken).chain([row(99, "dequeue", 77, 100, 101)]).collect();
    write("many", &many);
    let line = format!("linearize {} --model queue --max-states 1000", path("many"));
    let text = coalmine(&line).exits(6).stdout();
    assert!(
        text.contains("not known") && text.contains("more than 1,000 states were to be remembered"),
        "{text}"
    );
}
