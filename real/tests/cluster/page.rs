//! The status page of a node in a browser, used as an operator would use it.

use std::path::Path;

use axum::body::Bytes;
use coalmine_real::rollout::wire::Progress;
use coalmine_real::serve::page::Member;

use crate::doors::{TOKEN, prepare};
use crate::support::browser::Browser;
use crate::support::{Cluster, send, send_request, wait_for};

const ROWS: &str = "[...document.querySelectorAll('#cluster tr')].map(row => row.innerText.replace(/\\s+/g, ' ').trim()).join('|')";

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_and_steers_a_rollout_in_a_browser() {
    // What is asked is shown for a minute, as everywhere.
    let mut cluster = Cluster::prepare(3, "").with_window_ms(5_000).started().await;
    let page = send(cluster.data(1), "GET", "/", "").await.expect("an answer");
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).expect("a nonce");
    let text = String::from_utf8_lossy(page.body()).into_owned();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    assert!(text.contains(&format!("<script nonce=\"{nonce}\">")) && nonce.len() == 32, "{policy}");
    let outside = ["http:", "https:", "//cdn", "@import", "url(", " src=", "<link rel=\"style"];
    let found: Vec<_> =
        outside.iter().filter(|word| text.replace("http://${address}/", "").contains(**word)).collect();
    assert!(found.is_empty(), "it names what is elsewhere: {found:?}");
    let again = send(cluster.data(1), "GET", "/", "").await.expect("an answer");
    assert_ne!(again.headers()["content-security-policy"], policy.as_str(), "a nonce is used once");

    let url = format!("http://{}/", cluster.data(1));
    let Some(mut browser) = Browser::open(&url, 1_200) else { return };
    browser.wait("it is live", "document.getElementById('live')?.textContent === 'live'");
    browser.wait("all are up", &format!("({ROWS}).match(/ up /g)?.length === 3"));
    let rows = browser.eval(ROWS).to_string();
    assert!(
        rows.contains("n1 (this one) up coordinator 0") && rows.contains("n3 up participant 0"),
        "{rows}"
    );

    // By the keyboard alone: the form is filled, and sent by its button.
    browser.eval("document.getElementById('model').focus()");
    browser.keys("v2");
    browser.press("Tab");
    browser.eval("document.activeElement.select()");
    browser.keys("25 100");
    browser.press("Tab");
    browser.eval("document.activeElement.select()");
    browser.keys("3600");
    browser.press("Tab");
    browser.press("Space"); // no gates
    browser.press("Tab");
    assert_eq!(browser.eval("document.activeElement.textContent"), "Roll out");
    browser.press("Enter");
    browser.wait(
        "it is accepted",
        "document.getElementById('said').innerText.includes('v2 is being rolled out')",
    );
    // What happens is seen without anybody asking.
    browser.wait("a quarter is served", "document.getElementById('weights').innerText.includes('25 %')");
    browser.wait("it is told", "document.getElementById('events').innerText.includes('committed v1')");
    browser.wait(
        "the step is shown",
        "document.getElementById('rollout').innerText.includes('committed as version 1')",
    );
    for id in 1..=3 {
        for _ in 0..20 {
            send(cluster.data(id), "POST", "/predict", "{}").await.expect("an answer");
        }
    }
    browser.wait("requests are shown", "document.querySelectorAll('#health meter, #health tr').length >= 3 && !document.getElementById('health').innerText.includes('no requests')");
    let press = |order: &str| format!("document.querySelector('[data-order=\"{order}\"]').click()");
    browser.eval(&press("pause"));
    browser.wait("it is paused", "document.getElementById('rollout').innerText.includes('paused')");
    cluster.until(Progress::Paused).await;
    if let Some(folder) = std::env::var_os("KEEP_PICTURES") {
        let picture = |name: &str| Path::new(&folder).join(name);
        browser.picture(&picture("page-light.png"));
        let dark = serde_json::json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
        browser.call("Emulation.setEmulatedMedia", dark);
        browser.picture(&picture("page-dark.png"));
    }
    browser.eval(&press("abort"));
    browser.wait("it is taken back", "document.getElementById('rollout').innerText.includes('returned')");
    browser.wait("it is in the history", "document.getElementById('history').innerText.includes('returned')");
    browser.wait(
        "nothing is left to steer",
        "[...document.querySelectorAll('[data-order]')].every(it => it.disabled)",
    );
    // A node that dies is seen to.
    cluster.kill(3);
    browser.wait("n3 is down", &format!("({ROWS}).includes('n3 down')"));
    browser.wait("it is said", "document.getElementById('alerts').innerText.includes('n3 does not answer')");
    // Everything that can be used has a name, and nothing is wider than a telephone.
    let nameless = browser.eval(
        "[...document.querySelectorAll('input, button, meter, table')].filter(it => !(it.labels?.length || it.textContent.trim() \
         || it.getAttribute('aria-label'))).map(it => it.outerHTML).join()",
    );
    assert_eq!(nameless, "");
    let narrow = serde_json::json!({ "width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": false });
    browser.call("Emulation.setDeviceMetricsOverride", narrow);
    let wider = browser.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth");
    assert_eq!(wider, 0, "the page is wider than its window");
    assert_eq!(browser.complaints, [""; 0]);
    drop(browser);

    // A participant's page leads to the coordinator.
    let Some(mut browser) = Browser::open(&format!("http://{}/", cluster.data(2)), 1_200) else { return };
    let link = format!("document.querySelector('#said a')?.href === 'http://{}/'", cluster.data(1));
    browser.wait("it leads there", &link);
    assert_eq!(browser.eval("document.getElementById('model').disabled"), true);
}

/// Nodes that let in operators only: a page of whoever has no token asks for it, keeps it to itself, and sees all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_asks_for_a_token_where_one_is_wanted() {
    let access = "[access]\ntokens = \"tokens.txt\"\nread = \"token\"\nhosts = [\"board.localhost\"]\n";
    let (mut cluster, _) = prepare(2, access);
    for id in [1, 2] {
        cluster.spawn(id);
    }
    for id in [1, 2] {
        wait_for("it is ready", async || {
            send(cluster.data(id), "GET", "/readyz", "").await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
    }
    for path in ["/cluster", "/events", "/audit", "/metrics", "/status", "/members"] {
        let answer = send(cluster.data(1), "GET", path, "").await.expect("an answer");
        assert_eq!(answer.status(), 401, "{path}");
    }
    // Probes need none, and are told no more than they need.
    for path in ["/livez", "/readyz"] {
        let seen = |shown: &str| {
            let request = axum::http::Request::get(path).header("authorization", shown);
            send_request(cluster.data(1), request.body(Bytes::new()).expect("valid"))
        };
        for (shown, sees) in
            [("", false), ("Bearer 0123456789abcdef", false), (&*format!("Bearer {TOKEN}"), true)]
        {
            let answer = seen(shown).await.expect("an answer");
            let json: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
            let told = (answer.status().as_u16(), json["node"].as_u64(), json["view"].is_object());
            assert_eq!(told, (200, Some(1), sees), "{path} {shown}: {json}");
        }
    }
    // All nodes are asked in the name of who asks.
    let asked = axum::http::Request::get("/cluster").header("authorization", format!("Bearer {TOKEN}"));
    let answer = send_request(cluster.data(2), asked.body(Bytes::new()).expect("valid")).await;
    let members: Vec<Member> = serde_json::from_slice(answer.expect("an answer").body()).expect("members");
    assert!(members.len() == 2 && members.iter().all(|member| member.status.is_some()), "{members:?}");

    // A name of its own leads there, too.
    let url = format!("http://board.localhost:{}/", cluster.data(1).port());
    let Some(mut browser) = Browser::open(&url, 1_000) else { return };
    browser.wait("it asks who we are", "document.getElementById('ask')?.open");
    browser.keys("guessed");
    browser.press("Enter");
    browser.wait(
        "it asks again",
        "document.getElementById('ask').open && document.getElementById('token').value === ''",
    );
    browser.keys(TOKEN);
    browser.press("Enter");
    browser.wait("all are up", &format!("({ROWS}).match(/ up /g)?.length === 2"));
    browser.wait("it is live", "document.getElementById('live')?.textContent === 'live'");
    browser.wait("it can be steered", "!document.getElementById('model').disabled");
    let start = "document.getElementById('model').value = 'v2'; document.getElementById('hold').value = 3600; \
         document.querySelector('#start button').click()";
    browser.eval(start);
    browser.wait(
        "it is accepted",
        "document.getElementById('said').innerText.includes('v2 is being rolled out')",
    );
    // It is kept, and not where others find it.
    browser.wait("it can be paused", "!document.querySelector('[data-order=\"pause\"]').disabled");
    browser.eval("document.querySelector('[data-order=\"pause\"]').click()");
    browser.wait("it is done", "document.getElementById('said').innerText.includes('Done: pause.')");
    let kept = browser.eval("JSON.stringify([localStorage.length, sessionStorage.length, document.cookie])");
    assert_eq!(
        (kept, browser.eval("document.getElementById('ask').open")),
        ("[0,0,\"\"]".into(), false.into())
    );
    assert_eq!(browser.complaints, [""; 0]);
}

/// The cluster itself: its name, its members and since when, one that leaves, and who waits to take over.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_dismisses_a_member_in_a_browser() {
    let mut cluster = Cluster::start(3, "").await;
    let id = cluster.look(1).await.and_then(|status| status.cluster).expect("it has a name");
    let Some(mut browser) = Browser::open(&format!("http://{}/", cluster.data(1)), 1_200) else { return };
    let has = |id: &str, text: &str| format!("document.getElementById('{id}')?.innerText.includes('{text}')");
    browser.wait("its name", &has("name", &format!("cluster {id}")));
    browser.wait("all are up", &format!("({ROWS}).match(/ up [a-z]+ 0 the beginning /g)?.length === 3"));
    let orders =
        "[...document.querySelectorAll('[data-dismiss]')].map(it => it.getAttribute('aria-label')).join()";
    assert_eq!(browser.eval(orders), "Dismiss n2,Dismiss n3", "the coordinator cannot be asked to leave");

    // By the keyboard, and not at the first thought.
    let press = "document.querySelector('[data-dismiss=\"3\"]').focus()";
    browser.eval(press);
    browser.press("Enter");
    browser.wait("it asks", &has("dismiss-title", "Dismiss n3?"));
    browser.eval("document.getElementById('keep').click()");
    assert_eq!(browser.eval("document.getElementById('dismiss').open"), false);
    browser.eval(press);
    browser.press("Enter");
    browser.wait("it asks again", "document.getElementById('dismiss').open");
    browser.press("Tab");
    browser.press("Enter");
    browser.wait("it is heard", &has("dismissed", "n3 is asked to leave."));
    browser.wait("it is done", &has("change", "n3 leaves: done"));
    let members = wait_for("n3 has left", async || {
        let status = cluster.look(1).await?;
        (status.routing.members.len() == 2).then_some(status.routing.version)
    });
    assert_eq!(members.await, 1);
    browser.wait("it is seen", &format!("({ROWS}).includes('is none')"));
    cluster.kill(3);
    browser.wait("it has left", &format!("({ROWS}).includes('n3 left')"));
    assert_eq!(browser.eval(&has("alerts", "n3")), false, "that it is gone is as it should be");
    let narrow = serde_json::json!({ "width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": false });
    browser.call("Emulation.setDeviceMetricsOverride", narrow);
    let wider = browser.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth");
    assert_eq!(wider, 0, "the page is wider than its window");
    // A journal of another cluster, of which a node says that it has heard.
    let foreign = "complaints('n2', { foreign: { 3: '00000000000000ff' } }).join()";
    let said = browser.eval(foreign).to_string();
    assert!(said.contains("n3 speaks for another cluster, 00000000000000ff, as n2 has heard"), "{said}");
    assert_eq!(browser.complaints, [""; 0]);
}

/// Who is to coordinate waits for the others, and says so to who looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_says_for_whom_a_node_waits_to_take_over() {
    let mut cluster = Cluster::start(3, "").await;
    for id in [1, 3] {
        cluster.kill(id);
    }
    let waits = wait_for("n2 waits for n3", async || {
        let answer = send(cluster.data(2), "POST", "/coordinator", r#"{"from": 1}"#).await.ok()?;
        (answer.status() == 202).then_some(())?;
        cluster.look(2).await?.taking_over
    })
    .await;
    let Some(mut browser) = Browser::open(&format!("http://{}/", cluster.data(2)), 1_200) else { return };
    let alert = format!("n2 is to coordinate, and does not yet: {waits}");
    browser.wait("it is said", &format!("document.getElementById('alerts')?.innerText.includes('{alert}')"));
    assert_eq!(browser.complaints, [""; 0]);
}
