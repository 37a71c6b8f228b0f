//! The files in `deploy/canary`, held against the program: its configs, its command line, its ports and paths, its times.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::Request;
use axum::routing::get;
use coalmine_core::rollout::RolloutNode;
use coalmine_real::http;
use coalmine_real::runtime::Runtime;
use coalmine_real::serve::config::{NodeFile, Syntax};
use coalmine_real::serve::doors::Doors;
use coalmine_real::serve::health::{DOORS, LIVEZ, METRICS, READYZ};
use coalmine_real::serve::tokens::Tokens;
use coalmine_real::tokio_runtime::TokioRuntime;
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::{CANARY, canary, free_ports, send, send_request, stderr, wait_for};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/canary")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).expect("it is there")
}

/// The documents of the manifest, by kind and name.
fn manifest() -> BTreeMap<(String, String), Yaml> {
    let all = YamlLoader::load_from_str(&read("kubernetes.yaml")).expect("YAML");
    let key = |it: &Yaml| (text(&it["kind"]), text(&it["metadata"]["name"]));
    let count = all.len();
    let by_key: BTreeMap<_, _> = all.into_iter().map(|it| (key(&it), it)).collect();
    assert_eq!(by_key.len(), count, "two have one name");
    by_key
}

fn text(of: &Yaml) -> String {
    of.as_str().unwrap_or_else(|| panic!("no text: {of:?}")).to_owned()
}

fn list(of: &Yaml) -> Vec<Yaml> {
    of.as_vec().unwrap_or_else(|| panic!("no list: {of:?}")).clone()
}

fn number(of: &Yaml) -> u64 {
    of.as_i64().and_then(|n| u64::try_from(n).ok()).unwrap_or_else(|| panic!("no number: {of:?}"))
}

fn configs(manifest: &BTreeMap<(String, String), Yaml>) -> Vec<(String, String)> {
    let data = manifest[&("ConfigMap".into(), "canary".into())]["data"].as_hash().expect("a map").clone();
    data.into_iter().map(|(name, content)| (text(&name), text(&content))).collect()
}

/// What is mounted of the container, by the name of the volume: where, and which part of the volume.
fn mounts(container: &Yaml) -> BTreeMap<String, (String, Option<String>)> {
    let mount = |it: &Yaml| {
        let part = it["subPathExpr"].as_str().map(str::to_owned);
        (text(&it["name"]), (text(&it["mountPath"]), part))
    };
    list(&container["volumeMounts"]).iter().map(mount).collect()
}

fn volume(pod: &Yaml, name: &str) -> Yaml {
    let found = list(&pod["volumes"]).into_iter().find(|it| text(&it["name"]) == name);
    found.unwrap_or_else(|| panic!("there is no volume {name}"))
}

/// A file of a volume as kubelet lays it out: below a folder that is replaced as a whole, and a link that leads there.
fn lay(volume: &Path, path: &str, content: &str, mode: u32) {
    let file = volume.join("..data").join(path);
    fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    fs::write(&file, content).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("it is ours");
    let first = path.split('/').next().expect("a name");
    if !volume.join(first).exists() {
        symlink(Path::new("..data").join(first), volume.join(first)).expect("made");
    }
}

/// Whoever has to reach a node of Kubernetes calls it by a name that it goes by, and nobody else does.
#[tokio::test]
async fn what_kubernetes_would_call_a_node_it_goes_by() {
    for (name, content) in configs(&manifest()) {
        let pod = name.trim_end_matches(".toml");
        let file = NodeFile::<RolloutNode>::parse(&content, Syntax::Toml, Path::new(&name)).expect("valid");
        let doors = Doors::new(file.access.clone(), Tokens::default(), file.own_data(), &[DOORS]);
        let routes = Router::new().route(LIVEZ, get(async || "it lives"));
        let at = std::net::SocketAddr::from(([127, 0, 0, 1], free_ports(1)));
        let runtime = TokioRuntime::new("");
        let listener = runtime.listen(at).await.expect("a port");
        tokio::spawn(http::serve(runtime, listener, doors.before(routes)));
        let domain = "default.svc.cluster.local";
        let own = [
            "10.244.1.5:8711".into(), // a probe: the pod's address and port
            "[fd00::5]:8711".into(),
            "10.96.77.1:8711".into(), // another node, and a client that was sent on: the service's
            "canary-http:8711".into(),
            "canary-http.default:8711".into(),
            format!("canary-http.{domain}:8711"),
            format!("{pod}.canary:8711"),
            format!("{pod}.canary.{domain}:8711"),
            format!("{pod}:8711"),
        ];
        let strange = ["evil.example:8711".into(), "10.244.1.5:80".into(), format!("other.{domain}:8711")];
        let called = own.iter().map(|host| (host, 200)).chain(strange.iter().map(|host| (host, 421)));
        for (host, expected) in called {
            let request = Request::get(LIVEZ).header("host", host).body(Bytes::new()).expect("valid");
            let answer = send_request(at, request).await.expect("an answer");
            assert_eq!(answer.status(), expected, "{pod} as {host}");
        }
    }
}

#[tokio::test]
async fn what_kubernetes_would_start_is_a_cluster() {
    let all = manifest();
    let get = |kind: &str, name: &str| &all[&(kind.to_owned(), name.to_owned())];
    let set = get("StatefulSet", "canary");
    let pod = &set["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let configs = configs(&all);
    let replicas = number(&set["spec"]["replicas"]) as u32;
    assert_eq!(replicas as usize, configs.len());
    assert_eq!(
        text(&set["spec"]["podManagementPolicy"]),
        "Parallel",
        "else the first waits for the others for ever"
    );
    assert_eq!(text(&set["spec"]["serviceName"]), "canary");
    let headless = &get("Service", "canary")["spec"];
    assert_eq!(
        (text(&headless["clusterIP"]), headless["publishNotReadyAddresses"].as_bool()),
        ("None".into(), Some(true))
    );

    // Ports: of the container, of the services, of the probes, of the configs.
    let ports: BTreeMap<_, _> = list(&container["ports"])
        .iter()
        .map(|it| (text(&it["name"]), number(&it["containerPort"])))
        .collect();
    assert_eq!(ports, [("control".to_owned(), 7711), ("http".to_owned(), 8711)].into());
    for ((kind, name), document) in &all {
        if kind == "Service" {
            for port in list(&document["spec"]["ports"]) {
                assert_eq!(ports[&text(&port["targetPort"])], number(&port["port"]), "{name}");
            }
        }
    }
    for (probe, path) in [("startupProbe", LIVEZ), ("livenessProbe", LIVEZ), ("readinessProbe", READYZ)] {
        let get = &container[probe]["httpGet"];
        assert_eq!((text(&get["path"]), text(&get["port"])), (path.to_owned(), "http".to_owned()), "{probe}");
    }
    let annotations = &set["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(text(&annotations["prometheus.io/path"]), METRICS);
    assert_eq!(text(&annotations["prometheus.io/port"]), "8711");
    let mounts = mounts(container);
    assert_eq!(text(&volume(pod, "config")["configMap"]["name"]), "canary");
    assert_eq!(text(&set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"]), "journal");

    // Each config is one, and all know each other by the services that stand before the pods.
    let ip = |id: u32| text(&get("Service", &format!("canary-{}", id - 1))["spec"]["clusterIP"]);
    let mut drain = Duration::ZERO;
    for (n, (name, content)) in (1..).zip(&configs) {
        assert_eq!(*name, format!("canary-{}.toml", n - 1));
        let selector = &get("Service", &format!("canary-{}", n - 1))["spec"]["selector"];
        assert_eq!(text(&selector["statefulset.kubernetes.io/pod-name"]), format!("canary-{}", n - 1));
        let file = NodeFile::<RolloutNode>::parse(content, Syntax::Toml, Path::new(name));
        let file = file.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(file.me().0, n);
        assert_eq!((file.placement.control.port(), file.own_data().port()), (7711, 8711));
        assert!(file.journal.starts_with(&mounts["journal"].0), "{}", file.journal.display());
        for (peer, control) in &file.placement.peers {
            assert_eq!(control.to_string(), format!("{}:7711", ip(peer.0)), "{name}");
            assert_eq!(file.data[peer].to_string(), format!("{}:8711", ip(peer.0)), "{name}");
        }
        assert_eq!(file.placement.peers.len() as u32, replicas - 1);
        let tokens = file.access.tokens.expect("tokens");
        assert_eq!(tokens, Path::new(&mounts["tokens"].0).join("tokens.txt"), "{name}");
        let tls = file.tls.expect("certificates");
        for (path, file) in [(tls.ca, "ca.pem"), (tls.cert, "node.pem"), (tls.key, "node.key")] {
            assert_eq!(path, Path::new(&mounts["tls"].0).join(file), "{name}");
        }
        drain = drain.max(file.drain);
    }
    let pause = Duration::from_secs(number(&container["lifecycle"]["preStop"]["sleep"]["seconds"]));
    let grace = Duration::from_secs(number(&pod["terminationGracePeriodSeconds"]));
    assert!(grace >= pause + drain + Duration::from_secs(5), "it would be killed while it drains");
    let budget = get("PodDisruptionBudget", "canary");
    let labels = |of: &Yaml| of["matchLabels"].clone();
    assert_eq!(labels(&budget["spec"]["selector"]), set["spec"]["template"]["metadata"]["labels"]);
    assert_eq!(labels(&set["spec"]["selector"]), set["spec"]["template"]["metadata"]["labels"]);
    assert_eq!(number(&budget["spec"]["maxUnavailable"]), 1);

    // Secrets: what is told to be made is what is mounted, each key at its node, for root and the node's group.
    let head = read("kubernetes.yaml");
    let head: String = head.lines().take_while(|line| line.starts_with('#')).collect();
    let scratch = tempfile::tempdir().expect("a folder");
    let certs = scratch.path().join("certs");
    assert!(head.contains(&format!("canary certs init --dir certs --nodes {replicas}")), "{head}");
    let made =
        canary(&["certs", "init", "--dir", certs.to_str().expect("text"), "--nodes", &replicas.to_string()]);
    assert!(made.status.success(), "{}", stderr(&made));
    let secrets = [volume(pod, "tokens")["secret"].clone(), volume(pod, "tls")["secret"].clone()];
    for secret in &secrets {
        let name = text(&secret["secretName"]);
        assert!(head.contains(&format!("kubectl create secret generic {name} ")), "{name}");
    }
    assert_eq!(read("kubernetes.yaml").matches("defaultMode: 0440").count(), secrets.len());
    let context = &pod["securityContext"];
    assert_eq!(number(&context["fsGroup"]), number(&context["runAsGroup"]), "it could not read its secrets");
    let tls = scratch.path().join("tls");
    for item in list(&secrets[1]["items"]) {
        let (key, path) = (text(&item["key"]), text(&item["path"]));
        assert!(head.contains(&format!("--from-file=certs/{key}")), "{key}");
        let content = fs::read_to_string(certs.join(&key)).expect("it was made");
        // Here they are this process's own, and its group's business is none of theirs.
        lay(&tls, &path, &content, if key.ends_with(".key") { 0o600 } else { 0o440 });
    }
    assert_eq!(mounts["tls"].1.as_deref(), Some("$(POD_NAME)"), "a pod has others' keys");
    assert!(!list(&secrets[1]["items"]).iter().any(|item| text(&item["key"]) == "ca.key"));
    let tokens = scratch.path().join("tokens");
    assert!(head.contains("--from-file=tokens.txt"));
    lay(&tokens, "tokens.txt", "alice 0123456789abcdef\n", 0o440);

    // And they run: the same arguments, on this machine's addresses.
    let first = free_ports(2 * replicas as u16);
    let at = |n: u32, which: u32| format!("127.0.0.1:{}", u32::from(first) + 2 * (n - 1) + which);
    let mut nodes = Vec::new();
    for (n, (name, content)) in (1..).zip(&configs) {
        let pod = name.trim_end_matches(".toml");
        let mut local = content.replace("/var/lib/canary", scratch.path().to_str().expect("text"));
        local = local.replace(&mounts["tokens"].0, tokens.to_str().expect("text"));
        local = local.replace(&mounts["tls"].0, tls.join(pod).to_str().expect("text"));
        local = local.replace("0.0.0.0:7711", &at(n, 0)).replace("0.0.0.0:8711", &at(n, 1));
        for peer in 1..=replicas {
            local = local.replace(&format!("{}:7711", ip(peer)), &at(peer, 0));
            local = local.replace(&format!("{}:8711", ip(peer)), &at(peer, 1));
        }
        fs::write(scratch.path().join(name), local).expect("written");
        let args = list(&container["args"]).iter().map(text).collect::<Vec<_>>().into_iter().map(|arg| {
            let arg = arg.replace("$(POD_NAME)", pod);
            arg.replace(&mounts["config"].0, scratch.path().to_str().expect("text"))
        });
        let node = Command::new(CANARY)
            .args(args)
            .arg("--stop-with-parent")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        nodes.push(node);
    }
    for n in 1..=replicas {
        let data = at(n, 1).parse().expect("an address");
        wait_for("it is ready", async || {
            for node in &mut nodes {
                assert_eq!(node.try_wait().expect("it is ours"), None, "a node has ended");
            }
            send(data, "GET", READYZ, "").await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
    }
    // Operators steer it, others do not, and what they ask for is done by all: the nodes believe each other.
    let coordinator = at(1, 1).parse().expect("an address");
    let body = r#"{"model": "v2", "steps": [100], "gates": "off"}"#;
    assert_eq!(send(coordinator, "POST", "/rollouts", body).await.expect("an answer").status(), 401);
    let request = Request::post("/rollouts").header("authorization", "Bearer 0123456789abcdef");
    let request = request.body(Bytes::from(body)).expect("valid");
    assert_eq!(send_request(coordinator, request).await.expect("an answer").status(), 202);
    for n in 1..=replicas {
        let data = at(n, 1).parse().expect("an address");
        wait_for("it serves what was rolled out", async || {
            let answer = send(data, "GET", "/routing/state", "").await.ok()?;
            String::from_utf8_lossy(answer.body()).contains("\"version\":1").then_some(())
        })
        .await;
    }
    for node in &mut nodes {
        let _ = node.kill();
        let _ = node.wait();
    }
}

/// Whatever starts a node elsewhere names a file that is not here: that is all that is wrong with it.
fn is_a_command(args: &[&str], config: &str) {
    let output = canary(args);
    let said = stderr(&output);
    assert!(output.status.code() == Some(2) && said.contains(&format!("{config}: ")), "{args:?}: {said}");
    assert!(said.contains("No such file"), "{args:?}: {said}");
}

#[test]
fn what_systemd_would_start_is_a_node() {
    let unit = read("canary@.service");
    let value = |key: &str| {
        let found = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("there is no {key}"))
    };
    let words: Vec<_> = value("ExecStart").split(' ').collect();
    assert_eq!(words[0], "/usr/local/bin/canary");
    is_a_command(&words[1..], "/etc/canary/%i.toml");
    let drain = NodeFile::<RolloutNode>::starter(1, 3).drain;
    let seconds: u64 = value("TimeoutStopSec").parse().expect("a number");
    assert!(
        Duration::from_secs(seconds) >= drain + Duration::from_secs(5),
        "it would be killed while it drains"
    );
    assert_eq!((value("KillSignal"), value("StateDirectory"), value("Type")), ("SIGTERM", "canary", "exec"));

    // What is handed over has the name by which the config is told to name it.
    let handed = unit.lines().filter_map(|line| line.strip_prefix("LoadCredential=")?.split(':').next());
    for name in handed.clone() {
        let named = format!("\"/run/credentials/canary@node-1.service/{name}\"");
        assert!(unit.contains(&named), "{named}");
    }
    assert_eq!(handed.count(), 4);

    // What systemd itself says of it, where it is installed. Its program is here, and elsewhere.
    let scratch = tempfile::tempdir().expect("a folder");
    let here = scratch.path().join("canary@.service");
    fs::write(&here, unit.replace(words[0], CANARY)).expect("written");
    let instance = here.with_file_name("canary@node-1.service");
    fs::copy(&here, &instance).expect("copied");
    let Ok(output) = Command::new("systemd-analyze").arg("verify").arg(&instance).output() else {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: systemd is not installed, so it has not looked at its unit"
        );
        return;
    };
    let said = stderr(&output);
    let about: Vec<_> = said.lines().filter(|line| line.contains("canary@")).collect();
    assert!(output.status.success() && about.is_empty(), "{said}");
    let exposure = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--threshold=25", "--no-pager"])
        .arg(&instance)
        .output()
        .expect("it was there");
    let said = String::from_utf8_lossy(&exposure.stdout).into_owned() + &stderr(&exposure);
    assert!(exposure.status.success(), "it is exposed: {said}");
}

#[test]
fn what_the_image_is_made_of_is_there() {
    let dockerfile = read("Dockerfile");
    let lines = |word: &'static str| {
        let found = dockerfile.lines().filter_map(move |line| line.strip_prefix(word)?.strip_prefix(' '));
        found.map(str::to_owned).collect::<Vec<_>>()
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let workspace: toml::Table =
        fs::read_to_string(root.join("Cargo.toml")).expect("it is there").parse().expect("TOML");
    let version = workspace["workspace"]["package"]["rust-version"].as_str().expect("text");
    assert_eq!(
        lines("FROM")[0],
        format!("rust:{version}-slim-bookworm AS build"),
        "the oldest compiler that is supported"
    );
    // The command that builds it names a package and a program of this workspace, and the lock file is there.
    let build = &lines("RUN")[0];
    assert_eq!(build, "cargo build --release --locked --package coalmine-real --bin canary");
    let package: toml::Table =
        fs::read_to_string(root.join("real/Cargo.toml")).expect("it is there").parse().expect("TOML");
    assert_eq!(
        (package["package"]["name"].as_str(), package["bin"][0]["name"].as_str()),
        (Some(env!("CARGO_PKG_NAME")), Some("canary"))
    );
    assert!(root.join("Cargo.lock").exists() && root.join("real/src/bin/canary/main.rs").exists());
    assert_eq!(lines("COPY"), [". .", "--from=build /source/target/release/canary /usr/local/bin/canary"]);
    let words = |line: &str| -> Vec<String> { serde_json::from_str(line).expect("a list") };
    assert_eq!(words(&lines("ENTRYPOINT")[0]), ["/usr/local/bin/canary"]);
    let command = words(&lines("CMD")[0]);
    is_a_command(&command.iter().map(String::as_str).collect::<Vec<_>>(), "/etc/canary/node.toml");
    assert_eq!(
        (&*lines("EXPOSE")[0], &*lines("USER")[0], &*lines("STOPSIGNAL")[0]),
        ("7711 8711", "10001", "SIGTERM")
    );
    let pod = &manifest()[&("StatefulSet".to_owned(), "canary".to_owned())]["spec"]["template"]["spec"];
    assert_eq!(number(&pod["securityContext"]["runAsUser"]), 10_001);
}
