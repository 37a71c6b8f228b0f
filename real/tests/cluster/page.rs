//! The status page of a node in a browser, used as an operator would use it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use coalmine_real::http;
use coalmine_real::rollout::wire::Progress;
use coalmine_real::runtime::Runtime;
use coalmine_real::tokio_runtime::TokioRuntime;
use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::{Cluster, free_ports, send};

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

/// A node behind somebody who lets in operators only: a page of whoever has no token asks for it, and keeps it to itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_asks_for_a_token_where_one_is_wanted() {
    let cluster = Cluster::start(1, "").await;
    let (node, refused) = (cluster.data(1), Arc::new(AtomicU64::new(0)));
    let refusals = Arc::clone(&refused);
    let door = move |request: Request| {
        let refusals = Arc::clone(&refusals);
        async move {
            let (head, body) = request.into_parts();
            let token = head.headers.get("authorization").and_then(|it| it.to_str().ok());
            if head.uri.path() != "/" && head.method != "GET" && token != Some("Bearer open sesame") {
                refusals.fetch_add(1, Ordering::SeqCst);
                return (StatusCode::UNAUTHORIZED, "{\"error\": \"who are you?\"}").into_response();
            }
            if head.uri.path() == "/events" {
                return StatusCode::NOT_FOUND.into_response(); // this door holds nothing open
            }
            let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
            let mut forwarded = axum::http::Request::from_parts(head, body);
            forwarded.headers_mut().remove("host");
            let answer =
                http::request(&TokioRuntime::new(""), node, forwarded, crate::support::PATIENCE).await;
            answer.expect("an answer").map(Body::from)
        }
    };
    let runtime = TokioRuntime::new("");
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], free_ports(1)));
    let listener = runtime.listen(at).await.expect("a port");
    tokio::spawn(http::serve(runtime, listener, Router::new().fallback(door)));

    let Some(mut browser) = Browser::open(&format!("http://{at}/"), 1_000) else { return };
    browser.wait(
        "it shows the node",
        "document.querySelectorAll('#cluster tr').length === 1 && !document.getElementById('model').disabled",
    );
    let start =
        "document.getElementById('model').value = 'v2'; document.querySelector('#start button').click()";
    browser.eval(start);
    browser.wait("it asks who we are", "document.getElementById('ask').open");
    browser.keys("guessed");
    browser.press("Enter");
    browser.wait(
        "it asks again",
        "document.getElementById('ask').open && document.getElementById('token').value === ''",
    );
    browser.keys("open sesame");
    browser.press("Enter");
    browser.wait(
        "it is accepted",
        "document.getElementById('said').innerText.includes('v2 is being rolled out')",
    );
    assert_eq!(refused.load(Ordering::SeqCst), 2);
    // It is kept, and not where others find it.
    browser.wait("it can be paused", "!document.querySelector('[data-order=\"pause\"]').disabled");
    browser.eval("document.querySelector('[data-order=\"pause\"]').click()");
    browser.wait("no more questions", "!document.getElementById('ask').open && !document.getElementById('said').innerText.includes('being rolled')");
    let kept = browser.eval("JSON.stringify([localStorage.length, sessionStorage.length, document.cookie])");
    assert_eq!((kept, refused.load(Ordering::SeqCst)), (Value::from("[0,0,\"\"]"), 2));
    assert_eq!(browser.complaints, [""; 0]);
}
