//! Nodes that prove who they are, and others that cannot.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use coalmine_real::rollout::wire::Progress;

use super::support::authority::{Authority, Issued, NOW};
use super::support::{CANARY, Cluster, PATIENCE, canary, free_ports, send, stderr, wait_for};
use super::up_with;

/// What is at the end of a config.
fn table(ca: &Path, Issued { cert, key }: &Issued) -> String {
    let [ca, cert, key] = [ca, cert, key].map(|path| path.display());
    format!("\n[tls]\nca = \"{ca}\"\ncert = \"{cert}\"\nkey = \"{key}\"\n")
}

fn append(file: &Path, more: &str) {
    let text = fs::read_to_string(file).expect("a config");
    fs::write(file, text + more).expect("written");
}

fn certs(args: &[&str], dir: &Path) -> Output {
    canary(&[&["certs"][..], args, &["--dir", dir.to_str().expect("a path")]].concat())
}

/// Runs what has to be refused. It would go on for ever if it were not, so it is not waited for so long.
fn refused(args: &[&str]) -> Output {
    let mut command = Command::new(CANARY);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    for _ in 0..300 {
        if child.try_wait().expect("it is ours").is_some() {
            return child.wait_with_output().expect("it is ours");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    child.kill().expect("it is ours");
    child.wait_with_output().expect("it is ours")
}

/// A cluster of three whose certificates `certs` has made, relative to the configs.
fn certified() -> Cluster {
    let cluster = Cluster::prepare(3, "");
    let made = certs(&["init", "--nodes", "3"], &cluster.dir().join("certs"));
    assert!(made.status.success(), "{}", stderr(&made));
    for id in 1..=3 {
        let of = |kind: &str| format!("certs/node-{id}.{kind}").into();
        append(
            &cluster.config(id),
            &table(Path::new("certs/ca.pem"), &Issued { cert: of("pem"), key: of("key") }),
        );
    }
    cluster
}

#[tokio::test]
async fn a_certified_cluster_goes_on_whoever_else_comes() {
    let mut cluster = certified().started().await;
    cluster.roll_out(r#"{"model": "v2", "steps": [50], "gates": "off"}"#).await;
    cluster.settle().await;

    // The third node's place is taken by one that lacks something; the others do not hear it.
    let genuine = fs::read_to_string(cluster.config(3)).expect("a config");
    let other = Authority::new(cluster.dir(), "other.pem");
    let node_3 = other.issue("other-3", &["node-3.coalmine"], NOW);
    let (bare, _) = genuine.split_once("\n[tls]").expect("the table");
    let cases = [
        (table(&other.ca, &node_3), "its certificate is not of this authority", "did not connect to n1"),
        (String::new(), "it does not speak TLS", "has an empty journal"),
    ];
    for (more, told_by_others, told_by_it) in cases {
        cluster.kill(3);
        fs::remove_file(cluster.journal(3)).expect("the node had a journal");
        fs::write(cluster.config(3), format!("{bare}{more}")).expect("written");
        let before = [1, 2, 3].map(|id| cluster.log(id).len());
        cluster.spawn(3);
        wait_for("n3 is refused", async || {
            // n1 says what it thinks of what n3 sends; n3 sends nothing if it does not like what it has reached.
            let [first, third] =
                [(1, before[0]), (3, before[2])].map(|(id, len)| cluster.log(id)[len..].to_owned());
            let is_refused = first.contains(told_by_others) || third.contains(told_by_others);
            (is_refused && third.contains(told_by_it)).then_some(())
        })
        .await;
        assert!(cluster.look(3).await.is_none_or(|status| status.joining.is_some()), "{}", cluster.log(3));
    }
    for garbage in [&b"\0\0\0\x10hello"[..], &[0x16, 3, 1, 0, 5, 1, 0], &[0xff; 5_000]] {
        for id in [1, 2] {
            let mut stream = TcpStream::connect(cluster.control(id)).expect("it listens");
            let _ = stream.write_all(garbage);
            let _ = stream.shutdown(Shutdown::Write); // it may have hung up already
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut rest = Vec::new();
            let ended = stream.read_to_end(&mut rest);
            let hung_up = ended.is_ok() || ended.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock);
            assert!(hung_up, "n{id} keeps the connection");
        }
    }

    cluster.kill(3);
    fs::write(cluster.config(3), genuine).expect("written");
    cluster.restart(3).await;
    cluster.roll_out(r#"{"model": "v2", "steps": [100], "gates": "off"}"#).await;
    let (rollout, _) = cluster.settle().await;
    assert_eq!(rollout.course, Progress::Completed);
}

#[tokio::test]
async fn a_node_whose_identity_makes_no_sense_says_why() {
    let cluster = Cluster::prepare(2, "");
    let dir = cluster.dir();
    let ours = Authority::new(dir, "ca.pem");
    let other = Authority::new(dir, "other.pem");
    let own = |stem| ours.issue(stem, &["node-1.coalmine", "localhost"], NOW);
    let good = own("good");
    let with = |issued: &Issued, change: &dyn Fn(&mut Issued)| {
        let mut issued = Issued { cert: issued.cert.clone(), key: issued.key.clone() };
        change(&mut issued);
        issued
    };
    let file = |name: &str, text: &str| {
        fs::write(dir.join(name), text).expect("written");
        fs::set_permissions(dir.join(name), Permissions::from_mode(0o600)).expect("it is ours");
        dir.join(name)
    };
    let text = fs::read_to_string(&good.cert).expect("there");
    let half = file("half.pem", &text[..text.len() / 2]);
    let open = own("open");
    fs::set_permissions(&open.key, Permissions::from_mode(0o640)).expect("it is ours");
    let day = 24 * 3_600;
    let ca = &ours.ca;
    let cases = [
        (
            ca,
            with(&good, &|it| it.cert = "missing.pem".into()),
            "tls.cert: ",
            "missing.pem: there is no such file",
        ),
        (
            ca,
            with(&good, &|it| it.key = "missing.key".into()),
            "tls.key: ",
            "missing.key: there is no such file",
        ),
        (&dir.join("missing.pem"), with(&good, &|_| ()), "tls.ca: ", "missing.pem: there is no such file"),
        (&good.key, with(&good, &|_| ()), "tls.ca: ", "good.key: there is no certificate in it"),
        (ca, with(&good, &|it| it.cert = good.key.clone()), "tls.cert: ", "there is no certificate in it"),
        (ca, with(&good, &|it| it.cert = half.clone()), "tls.cert: ", "half.pem: it is cut off"),
        (
            ca,
            with(&good, &|it| it.key = file("no.key", "none")),
            "tls.key: ",
            "there is no private key without a password in it",
        ),
        (
            ca,
            with(&good, &|it| it.key = own("twin").key),
            "tls.key: ",
            "it is not the key of the certificate in",
        ),
        (ca, open, "tls.key: ", "others than its owner may use it (mode 0640)"),
        (
            ca,
            ours.issue("old", &["node-1.coalmine"], (-9 * day, -3 * day)),
            "tls.cert: ",
            "expired 3 days ago",
        ),
        (
            ca,
            ours.issue("early", &["node-1.coalmine"], (3_600 * 5 + 60, day)),
            "tls.cert: ",
            "is not valid before another 5 hours",
        ),
        (
            ca,
            ours.issue("two", &["node-2.coalmine"], NOW),
            "tls.cert: ",
            "its certificate is n2's, and this is n1",
        ),
        (ca, ours.issue("none", &["localhost"], NOW), "tls.cert: ", "this one's must name node-1.coalmine"),
        (
            ca,
            other.issue("foreign", &["node-1.coalmine"], NOW),
            "tls.cert: ",
            "foreign.pem: its certificate is not of the authority in",
        ),
    ];
    let text = fs::read_to_string(cluster.config(1)).expect("a config");
    let start_from = |text: &str, more: &str| {
        let config = file("tried.toml", &format!("{text}{more}"));
        let output = refused(&["node", "--config", config.to_str().expect("a path")]);
        (output.status.code(), stderr(&output))
    };
    let start = |more: &str| start_from(&text, more);
    for (ca, issued, key, why) in cases {
        let (code, said) = start(&table(ca, &issued));
        let is_told = said.contains("tried.toml: ") && said.contains(key) && said.contains(why);
        assert!(code == Some(2) && is_told && said.lines().count() == 1, "{why}: {code:?} {said}");
    }
    let (code, said) = start("\n[tls]\nca = \"ca.pem\"\ncert = \"good.pem\"\n");
    assert!(code == Some(2) && said.contains("missing field `key`"), "{said}");
    let (code, said) = start(&(table(ca, &good) + "chain = \"\"\n"));
    assert!(code == Some(2) && said.contains("unknown field `chain`"), "{said}");
    // Whoever comes from elsewhere has to prove who he is, at the control port; at the data port nobody has to.
    let missing = table(ca, &with(&good, &|it| it.cert = "missing.pem".into()));
    for (address, why) in
        [(cluster.control(1), "missing.pem: there is no"), (cluster.data(1), "not a loopback address")]
    {
        let open = text.replacen(&address.to_string(), &format!("0.0.0.0:{}", address.port()), 1);
        let (code, said) = start_from(&open, &missing);
        assert!(code == Some(2) && said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn certificates_are_made_and_never_overwritten() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path().join("certs");
    let made = certs(&["init", "--nodes", "2", "--days", "9"], &dir);
    assert!(
        made.status.success() && String::from_utf8_lossy(&made.stdout).contains("valid for 9 days"),
        "{made:?}"
    );
    let read = || {
        let mut all: Vec<_> =
            fs::read_dir(&dir).expect("there").map(|entry| entry.expect("there").path()).collect();
        all.sort();
        all.into_iter().map(|path| (fs::read(&path).expect("there"), path)).collect::<Vec<_>>()
    };
    for (_, file) in read() {
        let mode = file.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(
            mode,
            if file.extension().is_some_and(|it| it == "key") { 0o600 } else { 0o644 },
            "{file:?}"
        );
    }
    let before = read();
    assert_eq!(before.len(), 6);
    for (args, why) in [
        (&["init"][..], "ca.pem is there already, and 5 more; nothing was written"),
        (&["add", "--node", "2"], "node-2.pem is there already, and 1 more; nothing was written"),
    ] {
        let refused = certs(args, &dir);
        assert!(refused.status.code() == Some(1) && stderr(&refused).contains(why), "{refused:?}");
        assert_eq!(before, read());
    }
    let added = certs(&["add", "--node", "7"], &dir);
    assert!(added.status.success() && read().len() == 8, "{added:?}");

    // A key that is not that of the authority beside it issues nothing that would be believed.
    let elsewhere = dir.with_file_name("elsewhere");
    assert!(certs(&["init", "--nodes", "1"], &elsewhere).status.success());
    fs::copy(elsewhere.join("ca.key"), dir.join("ca.key")).expect("copied");
    let refused = certs(&["add", "--node", "8"], &dir);
    assert!(
        stderr(&refused).contains("node-8.pem: its certificate is not of the authority in"),
        "{refused:?}"
    );
    assert_eq!(read().len(), 8, "nothing is left of it");
    fs::remove_file(dir.join("ca.key")).expect("it was there");
    let refused = certs(&["add", "--node", "8"], &dir);
    assert!(stderr(&refused).contains("ca.key: there is no such file"), "{refused:?}");
}

#[tokio::test]
async fn up_starts_a_certified_cluster() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, port) = (folder.path().join("cluster"), free_ports(6));
    let plain = folder.path().join("plain");
    {
        let cluster = up_with(&dir, port, &["--tls"]);
        let output = canary(&["rollout", "v2", "--no-gates", "--coordinator", &cluster.data[0]]);
        assert!(output.status.success(), "{}", stderr(&output));
        let log = fs::read_to_string(dir.join("node-1.log")).expect("a log");
        assert!(log.contains("TLS with peers, as node-1.coalmine: the certificate expires in 36"), "{log}");
        cluster.signal(nix::sys::signal::Signal::SIGINT);
        cluster.nobody_is_left().await;
    }
    // What is there is kept: the certificates, for configs that are written anew as well.
    let ca = fs::read(dir.join("certs/ca.pem")).expect("there");
    for id in 1..=3 {
        fs::remove_file(dir.join(format!("node-{id}.toml"))).expect("there");
    }
    {
        let cluster = up_with(&dir, port, &["--tls"]);
        assert!(cluster.introduction.contains("continues where it was"), "{}", cluster.introduction);
        assert_eq!(fs::read(dir.join("certs/ca.pem")).expect("there"), ca);
        cluster.signal(nix::sys::signal::Signal::SIGINT);
        cluster.nobody_is_left().await;
    }
    // Configs win, and an option that contradicts them is refused.
    {
        let cluster = up_with(&plain, port, &[]);
        assert_eq!(
            send(cluster.data[0].parse().expect("an address"), "GET", "/status", "")
                .await
                .expect("an answer")
                .status(),
            200
        );
        cluster.signal(nix::sys::signal::Signal::SIGINT);
        cluster.nobody_is_left().await;
    }
    let refused_up = refused(&["up", "--tls", "--dir", plain.to_str().expect("a path")]);
    assert!(
        refused_up.status.code() == Some(2) && stderr(&refused_up).contains("has no table [tls]"),
        "{refused_up:?}"
    );
    fs::set_permissions(dir.join("certs/node-2.key"), Permissions::from_mode(0o644)).expect("it is ours");
    let refused_up = refused(&["up", "--dir", dir.to_str().expect("a path")]);
    let said = stderr(&refused_up);
    assert!(refused_up.status.code() == Some(2) && said.contains("node-2.toml: tls.key: "), "{refused_up:?}");
}
