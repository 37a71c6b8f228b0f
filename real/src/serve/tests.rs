//! A service of a few lines, and its file.

use std::net::SocketAddr;
use std::path::Path;

use coalmine_core::node::{Context, Event, Node, NodeId, RequestId};
use serde::{Deserialize, Serialize};

use super::Service;
use super::config::{NodeFile, Syntax};
use crate::http_api::HttpApi;
use crate::shell::Placement;

/// A node that greets, if it is the first of its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Greeter(u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Config {
    me: NodeId,
    first: NodeId,
    word: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Reply {
    Greeting { count: u64 },
    Elsewhere(NodeId),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Request {
    Greet,
    Shout { times: u64 },
}

impl Node for Greeter {
    type Config = Config;
    type Message = ();
    type Timer = ();
    type Record = RequestId;
    type Request = Request;
    type Reply = Reply;
    type View = u64;
    type Fact = ();

    fn instead(reply: &Reply) -> Option<NodeId> {
        match reply {
            Reply::Elsewhere(first) => Some(*first),
            Reply::Greeting { .. } => None,
        }
    }

    fn start(_: &Config, disk: &[RequestId], cx: &mut Context<'_, Self>) -> Self {
        cx.publish(disk.len() as u64);
        Self(disk.len() as u64)
    }

    fn on(&mut self, config: &Config, event: Event<Self>, cx: &mut Context<'_, Self>) {
        let Event::Request { id, .. } = event else { return };
        if config.me != config.first {
            return cx.reply(id, Reply::Elsewhere(config.first));
        }
        self.0 += 1;
        cx.append(id);
        cx.publish(self.0);
        cx.reply(id, Reply::Greeting { count: self.0 });
    }
}

impl HttpApi for Greeter {}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    word: String,
    tables: Tables,
}

impl Default for Settings {
    fn default() -> Self {
        Self { word: "hello".into(), tables: Tables::default() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tables {
    legs: u32,
}

impl Service for Greeter {
    const NAME: &'static str = "greeter";
    type Settings = Settings;

    fn config(placement: &Placement, settings: &Settings) -> Result<Config, String> {
        if settings.word.is_empty() {
            return Err("word: a greeting has one".into());
        }
        Ok(Config { me: placement.me, first: placement.members()[0], word: settings.word.clone() })
    }

    fn ready(view: Option<&u64>) -> Result<(), String> {
        if view == Some(&0) { Err("nobody has come yet".into()) } else { Ok(()) }
    }
}

const FILE: &str = r#"
id = 2
control = "127.0.0.1:7712"
data = "127.0.0.1:8712"
journal_dir = "journal"
word = "hi"
[tables]
legs = 4
[[peers]]
id = 1
control = "127.0.0.1:7711"
data = "127.0.0.1:8711"
"#;

fn parse(text: &str) -> Result<NodeFile<Greeter>, String> {
    NodeFile::parse(text, Syntax::Toml, Path::new("n/node.toml")).map_err(|why| why.to_string())
}

#[test]
fn a_file_has_a_common_part_and_one_of_the_services_own() {
    let node = parse(FILE).expect("valid");
    assert_eq!(node.settings, Settings { word: "hi".into(), tables: Tables { legs: 4 } });
    assert_eq!(node.config, Config { me: NodeId(2), first: NodeId(1), word: "hi".into() });
    assert_eq!(node.journal, Path::new("n/journal/node-2.journal"));
    assert_eq!(node.own_data(), SocketAddr::from(([127, 0, 0, 1], 8_712)));
    let value: serde_json::Value = toml::from_str(FILE).expect("valid");
    let json = NodeFile::<Greeter>::parse(&value.to_string(), Syntax::Json, Path::new("n/node.json"));
    assert_eq!(json.expect("valid").config, node.config);
    // A byte order mark and other line ends change nothing.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("node.toml");
    std::fs::write(&file, format!("\u{feff}{}", FILE.replace('\n', "\r\n"))).expect("written");
    assert_eq!(NodeFile::<Greeter>::load(&file).expect("valid").settings, node.settings);
}

/// Nothing in the toy's settings refuses what it does not know: that is the library's part.
#[test]
fn each_mistake_is_named_with_its_file_and_its_key_or_line() {
    let mistakes = [
        ("id = 2", "id = 2\nspeed = 9", "line 3: unknown field `speed`, expected one of `id`, `control`"),
        ("word", "wrod", "line 6: unknown field `wrod`"),
        ("legs", "arms", "line 8: unknown field `arms`"),
        ("id = 1", "id = 1\nrole = \"boss\"", "line 11: unknown field `role`"),
        ("word = \"hi\"", "word = 5", "line 6: invalid type: integer `5`"),
        ("word = \"hi\"", "word = \"\"", "word: a greeting has one"),
        ("id = 2\n", "", "line 1: missing field `id`"),
        ("127.0.0.1:7712", "localhost", "line 3: invalid socket address"),
        ("id = 1", "id = 2", "peers[0].id: 2 is id already"),
        ("127.0.0.1:8711", "127.0.0.1:7712", "peers[0].data: 127.0.0.1:7712 is control already"),
        ("127.0.0.1:7712", "127.0.0.1:0", "control: a port must be given"),
        ("127.0.0.1:7711", "0.0.0.0:7711", "peers[0].control: 0.0.0.0:7711 is not a loopback address"),
        ("[tables]", "[tables", "line 7: "),
    ];
    for (right, wrong, expected) in mistakes {
        assert!(FILE.contains(right), "{right}");
        let said = parse(&FILE.replacen(right, wrong, 1)).expect_err(wrong);
        assert!(said.starts_with(&format!("n/node.toml: {expected}")), "{wrong}: {said}");
        assert!(!said.contains('\n'), "not one line: {said}");
    }
    let json = r#"{"id": 1, "control": "127.0.0.1:1", "data": "127.0.0.1:2", "journal_dir": "", "speed": 9}"#;
    let said = NodeFile::<Greeter>::parse(json, Syntax::Json, Path::new("node.json")).expect_err("speed");
    assert!(said.to_string().starts_with("node.json: line 1: speed: unknown field `speed`"), "{said}");
}

/// What other machines can reach needs credentials, and nobody can say that it does not.
#[test]
fn an_address_that_others_can_reach_needs_credentials() {
    let tokens = "[access]\ntokens = \"secret/tokens.txt\"\n[tables]";
    let remote = FILE.replace("127.0.0.1:8712", "0.0.0.0:8712");
    let said = parse(&remote).expect_err("no tokens");
    assert!(
        said.starts_with("n/node.toml: data: 0.0.0.0:8712 is not a loopback address: that needs [access]")
    );
    let node = parse(&remote.replace("[tables]", tokens)).expect("it has tokens");
    assert_eq!(node.access.tokens.as_deref(), Some(Path::new("n/secret/tokens.txt")));
    // Tokens say nothing of peers.
    let remote = FILE.replace("127.0.0.1:7712", "10.0.0.2:7712").replace("[tables]", tokens);
    let said = parse(&remote).expect_err("no certificates");
    assert!(
        said.starts_with("n/node.toml: control: 10.0.0.2:7712 is not a loopback address: that needs [tls]")
    );
    assert!(parse(&FILE.replace("127.0.0.1:8711", "10.0.0.1:8711")).is_ok(), "only clients are told");
    let old = parse(&FILE.replace("word", "allow_remote = true\nword")).expect_err("it is gone");
    assert!(old.starts_with("n/node.toml: line 6: unknown field `allow_remote`"), "{old}");
    let wrong = parse(&FILE.replace("[tables]", "[access]\nhosts = [\"a b\"]\n[tables]")).expect_err("a b");
    assert!(wrong.starts_with("n/node.toml: access.hosts[0]: `a b` is no name"), "{wrong}");
    let wrong = parse(&FILE.replace("[tables]", "[access]\nread = 5\n[tables]")).expect_err("5");
    assert!(wrong.starts_with("n/node.toml: line 8: "), "{wrong}");
}

/// Who gives a key twice means one of the two, and nobody knows which. The service's own keys are no exception, nor are those
/// in its tables, which may be maps that would take either.
#[test]
fn a_key_that_is_there_twice_is_named() {
    let file = |more: &str| {
        format!(
            "{{\n\"id\": 1, \"control\": \"127.0.0.1:1\", \"data\": \"127.0.0.1:2\", \"journal_dir\": \"\",\n{more}\n}}"
        )
    };
    let parse = |text: &str| {
        let parsed = NodeFile::<Greeter>::parse(text, Syntax::Json, Path::new("node.json"));
        parsed.map(|_| ()).map_err(|why| why.to_string())
    };
    let peer = r#""peers": [{"id": 2, "control": "127.0.0.1:3", "data": "127.0.0.1:4"ID}]"#;
    let mistakes = [
        (r#""id": 2"#.to_owned(), "the key `id` is there already"),
        (r#""word": "hi", "word": "ho""#.to_owned(), "the key `word` is there already"),
        (r#""tables": {"legs": 1, "legs": 2}"#.to_owned(), "tables: the key `legs` is there already"),
        (r#""tables": {}, "tables": {}"#.to_owned(), "the key `tables` is there already"),
        (peer.replace("ID", r#", "i\u0064": 3"#), "peers[0]: the key `id` is there already"),
    ];
    for (more, expected) in mistakes {
        let said = parse(&file(&more)).expect_err(&more);
        assert!(said.starts_with("node.json: line 3: ") && said.contains(expected), "{more}: {said}");
        assert!(!said.contains('\n'), "not one line: {said}");
    }
    assert_eq!(parse(&file(&peer.replace("ID", ""))), Ok(()));
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_text() {
    assert!(parse(&format!("\u{feff}{FILE}")).is_ok());
    let value: serde_json::Value = toml::from_str(FILE).expect("valid");
    let json = format!("\u{feff}{value}");
    assert!(NodeFile::<Greeter>::parse(&json, Syntax::Json, Path::new("node.json")).is_ok());
}

#[test]
fn what_up_writes_can_be_read() {
    let node = NodeFile::<Greeter>::starter(2, 3);
    assert_eq!(node.placement.members(), [1, 2, 3].map(NodeId));
    assert_eq!(node.config.word, "hello");
}

#[test]
fn a_request_is_json_or_a_word() {
    let read = super::ask::read_request::<Greeter>;
    assert_eq!(read("Greet"), Ok(Request::Greet));
    assert_eq!(read("\"Greet\""), Ok(Request::Greet));
    assert_eq!(read(r#"{"Shout": {"times": 2}}"#), Ok(Request::Shout { times: 2 }));
    assert!(read("Whisper").is_err_and(|why| why.contains("unknown variant `Whisper`")));
}
