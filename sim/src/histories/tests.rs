use super::read::read;
use super::*;

fn judged(model: &str, text: &str) -> Judged {
    judge(model, "linearizable", &read(text).expect("a history"), &mut |_| true).expect("the model takes it")
}

fn violation(model: &str, text: &str) -> Violation {
    let judged = judged(model, text);
    let Verdict::Violated(violation) = judged.verdict else { panic!("{judged:?}") };
    violation
}

/// What a stale read looks like, in both forms.
#[test]
fn both_forms_say_the_same() {
    let events = "
        {:process 0, :type :invoke, :f :write, :value 3}
        {:process 0, :type :ok, :f :write, :value 3}
        {:process 1, :type :invoke, :f :read, :value nil}
        {:process 1, :type :ok, :f :read, :value READ}
    ";
    let json = r#"
        # the same
        {"client": 0, "op": "write", "input": 3, "output": 3, "call": 0, "return": 1}
        {"client": 1, "op": "read", "output": READ, "call": 2, "return": 3}
    "#;
    for (read, holds) in [("3", true), ("nil", false), ("4", false)] {
        let from_events = judged("register", &events.replace("READ", read));
        let from_json = judged("register", &json.replace("READ", read.replace("nil", "null").as_str()));
        assert_eq!(from_events.verdict == Verdict::Holds, holds, "{read}");
        assert_eq!(from_json.verdict == Verdict::Holds, holds, "{read}");
        assert_eq!((from_events.operations, from_events.clients), (2, 2));
    }
}

/// What nobody knows the end of may have taken effect or not, at any time; what has failed has not.
#[test]
fn what_is_not_known_may_be_anything_and_what_failed_is_nothing() {
    let history = |end: &str, read: u8| {
        format!(
            "{{:process 0 :type :invoke :f :write :value 3}}\n{{:process 0 :type {end} :f :write :value 3}}\n\
             {{:process 1 :type :invoke :f :read :value nil}}\n{{:process 1 :type :ok :f :read :value {read}}}\n\
             {{:process 2 :type :invoke :f :write :value 4}}\n{{:process 2 :type :ok :f :write :value 4}}\n\
             {{:process 1 :type :invoke :f :read :value nil}}\n{{:process 1 :type :ok :f :read :value {read}}}\n"
        )
    };
    let holds = |end: &str, read: u8| judged("register", &history(end, read)).verdict == Verdict::Holds;
    assert!(!holds(":info", 3), "it takes effect once: before the write of 4, or after it");
    assert!(!holds(":fail", 3));
    let once = history(":info", 3).lines().take(6).collect::<Vec<_>>().join("\n");
    assert_eq!(judged("register", &once).verdict, Verdict::Holds);
}

/// The shortest beginning: what comes after it, and reads that say nothing, are left out.
#[test]
fn the_shortest_beginning_is_shown() {
    let mut lines = Vec::new();
    for n in 0..50 {
        lines.push(format!(
            r#"{{"client": 1, "op": "write", "input": {n}, "call": {}, "return": {}}}"#,
            n * 10,
            n * 10 + 5
        ));
        lines.push(format!(
            r#"{{"client": 2, "op": "read", "output": {n}, "call": {}, "return": {}}}"#,
            n * 10 + 6,
            n * 10 + 9
        ));
    }
    lines[61] = lines[61].replace("\"output\": 30", "\"output\": 12"); // long overwritten
    let violation = violation("register", &lines.join("\n"));
    assert_eq!(violation.explained, Some(61));
    let reads: Vec<_> = violation.shown.iter().filter(|it| it.function == "read").map(|it| it.line).collect();
    assert_eq!(reads, [62]);
    assert_eq!(violation.shown.iter().map(|it| it.line).max(), Some(62));
}

/// Each key is looked at by itself, and the one that is wrong is named.
#[test]
fn keys_are_looked_at_one_by_one() {
    let text = r#"
        {"client": 1, "op": "write", "input": ["x", 1], "call": 0, "return": 10}
        {"client": 2, "op": "write", "input": ["y", 2], "call": 1, "return": 11}
        {"client": 1, "op": "read", "input": "x", "output": 1, "call": 12, "return": 20}
        {"client": 2, "op": "cas", "input": ["y", [2, 5]], "output": true, "call": 13, "return": 21}
        {"client": 3, "op": "read", "input": ["y", null], "output": ["y", 2], "call": 22, "return": 30}
    "#;
    let judged = judged("kv", text);
    assert_eq!(judged.objects, 2);
    let Verdict::Violated(violation) = judged.verdict else { panic!("{judged:?}") };
    assert_eq!((&*violation.object, violation.explained, violation.shown.len()), ("\"y\"", Some(2), 3));
}

#[test]
fn other_models_know_their_services() {
    let holds = |model: &str, text: &str| judged(model, text).verdict == Verdict::Holds;
    let line = |op: &str, input: &str, output: &str, call: u32| {
        format!(
            "{{\"client\": 1, \"op\": \"{op}\", \"input\": {input}, \"output\": {output}, \"call\": {call}, \
             \"return\": {}}}\n",
            call + 1
        )
    };
    let counted = line("add", "2", "null", 0) + &line("inc", "null", "null", 2);
    assert!(holds("counter", &(counted.clone() + &line("read", "null", "3", 4))));
    assert!(!holds("counter", &(counted + &line("read", "null", "2", 4))));
    let added = line("add", "1", "null", 0) + &line("add", "2", "null", 2);
    assert!(holds("set", &(added.clone() + &line("read", "null", "[2, 1]", 4))));
    assert!(!holds("set", &(added + &line("read", "null", "[2]", 4))));
    let queued = line("enqueue", "1", "null", 0) + &line("enqueue", "2", "null", 2);
    assert!(holds("queue", &(queued.clone() + &line("dequeue", "null", "1", 4))));
    assert!(!holds("queue", &(queued + &line("dequeue", "null", "2", 4))));
    assert!(holds("queue", &line("dequeue", "null", "null", 4)));
    let cas = line("write", "1", "true", 0) + &line("cas", "[1, 2]", "true", 2);
    assert!(holds("register", &(cas.clone() + &line("read", "null", "2", 4))));
    assert!(!holds("register", &(cas + &line("cas", "[1, 3]", "true", 4))));
}

/// Values that differ in the file differ here, whatever they are.
#[test]
fn values_keep_their_kind() {
    let reads = |written: &str, read: &str| {
        let text = format!(
            "{{:process 0 :type :invoke :f :write :value {written}}}\n{{:process 0 :type :ok :f :write :value {written}}}\n\
             {{:process 1 :type :invoke :f :read :value nil}}\n{{:process 1 :type :ok :f :read :value {read}}}\n"
        );
        judged("register", &text).verdict == Verdict::Holds
    };
    for same in
        [("1", "+1"), ("16", "0x10"), ("0", "-0"), ("1", "1N"), ("#{1 2}", "#{2 1}"), ("(1 2)", "[1 2]")]
    {
        assert!(reads(same.0, same.1), "{same:?}");
    }
    for other in [
        (":a", "\"a\""),
        ("sym", "\"sym\""),
        (":a", "\":a\""),
        ("#uuid \"a\"", "\"a\""),
        ("{1 2}", "{\"1\" 2}"),
        ("1M", "1"),
        ("#{1 2}", "[1 2]"),
        ("18446744073709551615", "18446744073709551614"),
    ] {
        assert!(!reads(other.0, other.1), "{other:?}");
    }
}

/// A key is said apart, or stands before the value: both ways mean the same, and any value may be a key.
#[test]
fn keys_may_be_any_values() {
    let holds = |text: &str| judged("kv", text).verdict == Verdict::Holds;
    let line = |what: &str, call: u32| {
        format!("{{{what}, \"client\": 1, \"call\": {call}, \"return\": {}}}\n", call + 1)
    };
    let apart = line(r#""op": "write", "key": ["a", 1], "input": ["a", 2]"#, 0);
    assert!(holds(&(apart.clone() + &line(r#""op": "read", "key": ["a", 1], "output": ["a", 2]"#, 2))));
    assert!(!holds(&(apart + &line(r#""op": "read", "key": ["a", 1], "output": 2"#, 2))));
    let alone = line(r#""op": "write", "input": ["a", ["a", 2]]"#, 0);
    assert!(holds(&(alone.clone() + &line(r#""op": "read", "input": "a", "output": ["a", 2]"#, 2))));
    assert!(!holds(&(alone + &line(r#""op": "read", "input": "a", "output": 2"#, 2))));
}

/// A whole history may be one vector, and what is no client's is left out, whatever it says.
#[test]
fn a_vector_of_events_is_a_history() {
    let text = "[{:process 0, :type :invoke, :f :write, :value 1}\n{:process :nemesis, :type :invoke, :f :start}\n\
                {:process :nemesis, :type :ok, :f :start}\n{:process 0, :type :ok, :f :write, :value 1}]";
    let judged = judged("register", text);
    assert_eq!((judged.operations, judged.verdict), (1, Verdict::Holds));
}

/// What is counted has no end at which it begins anew.
#[test]
fn counters_do_not_wrap() {
    let add = |number: i64, call: u32| {
        format!(
            "{{\"client\": 1, \"op\": \"add\", \"input\": {number}, \"call\": {call}, \"return\": {}}}\n",
            call + 1
        )
    };
    let read = |number: &str| {
        format!("{{\"client\": 1, \"op\": \"read\", \"output\": {number}, \"call\": 8, \"return\": 9}}\n")
    };
    let twice = add(i64::MAX, 0) + &add(1, 2);
    let holds = |number: &str| judged("counter", &(twice.clone() + &read(number))).verdict == Verdict::Holds;
    assert!(holds("9223372036854775808") && !holds("-9223372036854775808") && !holds("0"));
}

#[test]
fn what_makes_no_sense_is_named_with_its_line() {
    let why = |model: &str, text: &str| match read(text) {
        Ok(operations) => judge(model, "linearizable", &operations, &mut |_| true).expect_err(text),
        Err(why) => why,
    };
    for (model, text, words) in [
        ("register", "", "it holds no operation"),
        ("register", "{\"client\": 1", "line 1: EOF"),
        ("register", "\n{\"client\": 1, \"op\": \"read\"}", "line 2: missing field `call`"),
        (
            "register",
            "{\"client\": 1, \"op\": \"read\", \"call\": 3, \"return\": 2}",
            "line 1: it returns at 2",
        ),
        (
            "register",
            "{\"client\": 1, \"op\": \"pop\", \"call\": 3}",
            "line 1: \"pop\" is no function of a register",
        ),
        ("register", "{\"client\": 1, \"op\": \"cas\", \"input\": 1, \"call\": 3}", "line 1: 1 is no pair"),
        (
            "counter",
            "{\"client\": 1, \"op\": \"add\", \"input\": 1.5, \"call\": 3}",
            "line 1: 1.5 is no whole number",
        ),
        (
            "stack",
            "{\"client\": 1, \"op\": \"pop\", \"call\": 3}",
            "there is no model \"stack\"; there are: register, kv",
        ),
        (
            "register",
            "{:process 1 :type :ok :f :read}",
            "line 1: process 1 ends a call that it has not begun",
        ),
        ("register", "{:process 1 :type :invoke :f :read", "line 1: \"}\" is missing"),
        ("register", "{:process 1 :type :invoke :f}", "line 1: a map has a key without a value"),
        ("register", "{:process 1 :f :read}", "line 1: it has no :type"),
        (
            "register",
            "{:process 1 :type :invoke :f :read}\n{:process 1 :type :invoke :f :read}",
            "line 2: process 1 calls before its last call has ended",
        ),
    ] {
        let said = why(model, text);
        assert!(said.contains(words), "{text:?}: {said}");
    }
    let deep = format!("{{:process 0 :type :invoke :f :write :value {}", "[".repeat(100_000));
    assert!(why("register", &deep).contains("lie within each other"));
}

/// Tags, strings, sets, commas and a trailing space are read as EDN has them.
#[test]
fn events_are_read_as_they_are_written() {
    let text = "{:process 3, :type :invoke, :f :write, :value \"a \\\"b\\\", c\", :index 0, :time 17N}  \n\
                {:process :nemesis, :type :info, :f :start, :value #{1 2}}\n\
                #jepsen.history.Op{:process 3, :type :ok, :f :write, :value \"a \\\"b\\\", c\"}\n";
    let operations = read(text).expect("events");
    assert_eq!(operations.len(), 1);
    let it = &operations[0];
    assert_eq!((&*it.client, &it.input, it.returned), ("3", &"a \"b\", c".into(), Some(2)));
}

/// What a promise says of a history on the command line, and what is shown of it.
#[test]
fn promises_that_are_weaker_are_judged_by_name() {
    let judged = |model: &str, promise: &str, text: &str| {
        judge(model, promise, &read(text).expect("a history"), &mut |_| true).expect("it can be asked")
    };
    let line = |client: u32, what: &str, call: u32| {
        format!("{{\"client\": {client}, {what}, \"call\": {call}, \"return\": {}}}\n", call + 1)
    };
    let write = |client, key: &str, value: u32, call| {
        line(client, &format!("\"op\": \"write\", \"key\": \"{key}\", \"input\": {value}"), call)
    };
    let read = |client, key: &str, value: &str, call| {
        line(client, &format!("\"op\": \"read\", \"key\": \"{key}\", \"output\": {value}"), call)
    };
    let kept = |text: &str| -> Vec<&str> {
        let holds = |promise: &&str| judged("kv", promise, text).verdict == Verdict::Holds;
        promises::NAMES.into_iter().filter(holds).collect()
    };
    let all = promises::NAMES;
    assert_eq!(kept(&(write(1, "x", 1, 0) + &read(2, "x", "1", 2))), all);
    // What is read of each key might be old; but not both at once, each by who has written the other.
    let both =
        write(1, "x", 1, 0) + &read(1, "y", "null", 2) + &write(2, "y", 1, 0) + &read(2, "x", "null", 2);
    assert_eq!(kept(&both), ["session", "monotonic-reads", "read-your-writes"]);
    let stale = write(1, "x", 1, 0) + &read(2, "x", "null", 2);
    assert_eq!(kept(&stale), [all[1], all[3], all[4], all[5]]);

    let shown = |promise: &str, text: &str| match judged("kv", promise, text).verdict {
        Verdict::Violated(Violation { what, shown, .. }) => {
            (what, shown.iter().map(|it| it.line).collect::<Vec<_>>())
        }
        other @ (Verdict::Holds | Verdict::NotKnown) => panic!("{promise}: {other:?}"),
    };
    let (what, lines) = shown("sequential", &(read(3, "z", "null", 0) + &both));
    assert!(what.starts_with("There is no order of these"), "{what}");
    assert_eq!(lines, [2, 4, 3, 5], "what says nothing is not shown");
    let (what, lines) = shown("acknowledged-is-never-lost", &(stale.clone() + &write(1, "x", 2, 9)));
    assert!(what.starts_with("What was read last on \"x\""), "{what}");
    assert_eq!(lines, [1, 2]);
    let back = write(1, "x", 1, 0) + &read(2, "x", "1", 2) + &read(2, "x", "null", 4);
    assert_eq!(
        shown("monotonic-reads", &back),
        ("Client 2 reads again what it had seen replaced".into(), vec![2, 3])
    );
    assert_eq!(shown("session", &back).1, [1, 2, 3]);
    let own = write(1, "x", 1, 0) + &read(1, "x", "null", 2);
    assert_eq!(
        shown("read-your-writes", &own),
        ("Client 1 does not see what it has written".into(), vec![1, 2])
    );

    let queue = "{\"client\": 1, \"op\": \"enqueue\", \"input\": 1, \"call\": 0, \"return\": 1}";
    let queue = super::read::read(queue).expect("a history");
    let why = judge("queue", "monotonic-reads", &queue, &mut |_| true).expect_err("it has no places");
    assert!(why.contains("is asked of what is written and read as a whole"), "{why}");
    assert!(
        judge("queue", "causal", &queue, &mut |_| true)
            .expect_err("no promise")
            .contains("linearizable, sequential")
    );
}

/// Registers of few values, many operations at once: what no order explains is found soon, as is what one does.
#[test]
fn few_values_and_many_clients_are_no_matter() {
    let mut lines = Vec::new();
    let mut holds = serde_json::Value::Null;
    for number in 0..3_000_u64 {
        let (client, call) = (number % 20, number * 10);
        // It takes effect half-way, and is under way together with twenty others.
        let what = match number * 7_919 % 13 % 3 {
            0 => {
                holds = (number * 31 % 3).into();
                format!("\"op\": \"write\", \"input\": {holds}")
            }
            1 => {
                let (from, to) = (number % 3, number * 17 % 3);
                let fits = holds == from;
                if fits {
                    holds = to.into();
                }
                format!("\"op\": \"cas\", \"input\": [{from}, {to}], \"output\": {fits}")
            }
            _ => format!("\"op\": \"read\", \"output\": {holds}"),
        };
        lines.push(format!("{{\"client\": {client}, {what}, \"call\": {call}, \"return\": {}}}", call + 195));
    }
    let steps = |lines: &[String]| {
        let operations = read(&lines.join("\n")).expect("a history");
        let mut steps = 0_u64;
        let judged = judge("register", "linearizable", &operations, &mut |_| {
            steps += 1_024;
            steps < 20_000_000
        });
        (judged.expect("it can be judged").verdict, steps)
    };
    let (verdict, taken) = steps(&lines);
    assert_eq!(verdict, Verdict::Holds, "after {taken} steps");
    let place = lines.iter().rposition(|line| line.contains("\"read\"")).expect("somebody reads");
    lines[place] = format!(
        "{{\"client\": 99, \"op\": \"read\", \"output\": 9, \"call\": {0}, \"return\": {0}}}",
        place * 10
    );
    let (verdict, taken) = steps(&lines);
    assert!(matches!(verdict, Verdict::Violated(_)), "{verdict:?} after {taken} steps");
}

/// Rows are events, too; and a process that goes on though nobody knows how its last call ended is named.
#[test]
fn rows_of_a_log_are_read() {
    let text = "INFO  jepsen.util - 0\t:invoke\t:write\t3\nINFO  jepsen.util - :nemesis\t:info\t:start\tnil\n\
                INFO  jepsen.util - 0\t:ok\t:write\t3\n1 :invoke :cas [3 4]\n2 :invoke :read nil\n1 :info :cas :timed-out\n\
                2 :ok :read 4\n";
    let operations = read(text).expect("rows");
    let said = |it: &Operation| (it.client.clone(), it.function.clone(), it.input.to_string(), it.returned);
    assert_eq!(
        operations.iter().map(said).collect::<Vec<_>>(),
        [
            ("0".into(), "write".into(), "3".into(), Some(2)),
            ("1".into(), "cas".into(), "[3,4]".into(), None),
            ("2".into(), "read".into(), "null".into(), Some(6)),
        ]
    );
    assert_eq!(judged("register", text).verdict, Verdict::Holds);
    assert!(!matches!(
        judged("register", &text.replace(":ok :read 4", ":ok :read 5")).verdict,
        Verdict::Holds
    ));
    assert_eq!(super::read::goes_on(text, &operations), None);
    let on = format!("{text}1 :invoke :read nil\n");
    let operations = read(&on).expect("rows");
    assert_eq!(super::read::goes_on(&on, &operations).map(|it| it.line), Some(8));
    let json =
        "{\"client\": 1, \"op\": \"read\", \"call\": 0}\n{\"client\": 1, \"op\": \"read\", \"call\": 5}";
    assert_eq!(super::read::goes_on(json, &read(json).expect("a history")), None);
}
