//! A fleet of two regions, each a cluster of its own: what is rolled out over both.

use std::process::Output;

use coalmine_real::http_api::read_json;
use coalmine_real::rollout::wire::{FleetView, Progress, StatusView};

use super::support::browser::Browser;
use super::support::{Cluster, canary, send, stderr, wait_for};

/// Nodes 1 and 2 are of region `eu`, which leads; nodes 3 and 4 of `us`. The first of each coordinates.
async fn two_regions() -> Cluster {
    let cluster = Cluster::prepare(4, "").with("vote_ms = 600_000", "vote_ms = 3_000");
    for at in 1..=4 {
        cluster.rewrite(at, "journal_dir", "regions = [\"eu\", \"us\"]\njournal_dir");
        for id in 1..=4 {
            let region = if id < 3 { "eu" } else { "us" };
            let was = if id == 1 { "coordinator" } else { "participant" };
            let is = if id % 2 == 1 { "coordinator" } else { "participant" };
            let node = |role: &str| format!("id = {id}\nrole = \"{role}\"\n");
            cluster.rewrite(at, &node(was), &format!("{}region = \"{region}\"\n", node(is)));
        }
    }
    cluster.started().await
}

async fn status(cluster: &Cluster, id: usize) -> Option<StatusView> {
    read_json(&send(cluster.data(id), "GET", "/status", "").await.ok()?).ok()
}

/// Waits until these serve a model, and nothing else.
async fn serve(cluster: &Cluster, nodes: &[usize], model: &str) {
    for &id in nodes {
        wait_for(&format!("n{id} serves {model}"), async || {
            let routing = status(cluster, id).await?.routing;
            (routing.stable_model_id.as_str() == model && routing.canary_model_id.is_none()).then_some(())
        })
        .await;
    }
}

async fn ended(cluster: &Cluster, course: Progress) -> FleetView {
    wait_for(&format!("it is {}", course.name()), async || {
        let answer = send(cluster.data(1), "GET", "/fleet", "").await.ok()?;
        read_json::<Vec<FleetView>>(&answer).ok()?.pop().filter(|fleet| fleet.course == course)
    })
    .await
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All of it in one fleet, whose start takes the longest: through both regions; back from a region that fails; through a crash of
/// the leader; back by an operator's order; with a node that joins a region.
#[tokio::test]
async fn a_rollout_goes_from_region_to_region() {
    let mut cluster = two_regions().await;
    // Whoever is asked tells who leads.
    let asked = cluster.data(3).to_string();
    let everywhere =
        |model: &str| canary(&["rollout", model, "--all-regions", "--no-gates", "--coordinator", &asked]);
    let output = everywhere("v2");
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.contains("eu  done") && said.ends_with("completed: v2 serves every region\n"), "{said}");
    serve(&cluster, &[1, 2, 3, 4], "v2").await;
    let [eu, us] = [status(&cluster, 2).await, status(&cluster, 4).await].map(|it| it.expect("it is up"));
    assert_ne!(eu.cluster, us.cluster, "each region is a cluster of its own");
    assert_eq!((eu.region.as_deref(), us.region.as_deref()), (Some("eu"), Some("us")));
    assert_eq!((eu.routing.members.len(), us.routing.members.len()), (2, 2));

    // Who is down blocks its own region alone; what failed there is taken back in the other.
    cluster.kill(4);
    let output = everywhere("v3");
    assert!(!output.status.success(), "{}", stdout(&output));
    let why = stderr(&output);
    assert!(why.contains("taken back: us failed: no vote from n4 in time"), "{why}");
    serve(&cluster, &[1, 2, 3], "v2").await;
    cluster.spawn(4);
    cluster.wait_until_up(4).await;
    serve(&cluster, &[4], "v2").await;

    // The leader goes on where it was.
    let leader = cluster.data(1).to_string();
    let held = ["rollout", "v4", "--all-regions", "--no-gates", "--no-wait", "--coordinator", &leader];
    let output = canary(&[&held[..], &["--steps", "50,100", "--pause-ms", "1000"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    wait_for("the second region has begun", async || {
        (status(&cluster, 3).await?.routing.canary_model_id?.as_str() == "v4").then_some(())
    })
    .await;
    cluster.kill(1);
    serve(&cluster, &[3, 4], "v4").await;
    cluster.spawn(1);
    ended(&cluster, Progress::Completed).await;
    serve(&cluster, &[1, 2, 3, 4], "v4").await;

    // The way back, by an operator's order, while the second region is on trial.
    let held = ["rollout", "v5", "--all-regions", "--no-gates", "--no-wait", "--coordinator", &leader];
    let output = canary(&[&held[..], &["--steps", "50,100", "--holds-ms", "100,600000"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let refused = everywhere("v6");
    assert!(stderr(&refused).contains("is still running"), "{}", stderr(&refused));
    let output = canary(&["abort", "--all-regions", "--coordinator", &leader]);
    assert!(stdout(&output).ends_with("returns, in every region that has begun\n"), "{}", stderr(&output));
    let fleet = ended(&cluster, Progress::Returned).await;
    assert_eq!(fleet.why.as_deref(), Some("an operator's order"));
    serve(&cluster, &[1, 2, 3, 4], "v4").await;
    let nodes: Vec<_> = (1..=4).map(|id| cluster.data(id).to_string()).collect();
    let output = canary(&["status", "--nodes", &nodes.join(",")]);
    let said = stdout(&output);
    assert!(output.status.success(), "nothing is odd about it: {said}{}", stderr(&output));
    assert!(said.contains("region eu, cluster ") && said.contains("region us, cluster "), "{said}");
    assert!(said.contains("last rollout over all regions: v5 returned (an operator's order)"), "{said}");

    if let Some(mut browser) = Browser::open(&format!("http://{leader}/"), 1_000) {
        browser.wait(
            "it is shown",
            "document.getElementById('fleet')?.innerText.includes('v5 returned: an operator')",
        );
        let rows = browser.eval("document.querySelectorAll('#cluster tr').length");
        assert_eq!(rows, 2, "the page is about this region");
        let alerts = browser.eval("document.getElementById('alerts').innerText");
        assert_eq!(alerts, "", "nothing is odd about it");
    }

    // A node that joins is told of the regions, and is of the one that it joins.
    let (control, data) = (cluster.control(5).to_string(), cluster.data(5).to_string());
    let join = ["--join", &asked, "--control", &control, "--data", &data];
    cluster.spawn_with(5, &join);
    cluster.wait_until_up(5).await;
    let newcomer = status(&cluster, 5).await.expect("it is up");
    assert_eq!(newcomer.region.as_deref(), Some("us"));
    assert_eq!(newcomer.routing.members.len(), 3);
    let output = everywhere("v7");
    assert!(output.status.success(), "{}", stderr(&output));
    serve(&cluster, &[1, 2, 3, 4, 5], "v7").await;
}
