//! What is simulated is what ships: the settings that a service is started with, and all that it serves.

use axum::body::Bytes;
use axum::http::{Request, Response};
use axum::routing::get;
use axum::{Json, Router};
use coalmine::rollout::RolloutSystem;
use coalmine_core::rollout::RolloutNode;
use coalmine_real::http_api::read_json;
use coalmine_real::runtime::Runtime;
use coalmine_real::serve::config::NodeFile;
use coalmine_real::serve::health::LIVE;
use coalmine_real::serve::{self, Starter};
use coalmine_real::shell::Handle;
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::prelude::*;
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::trace::slice::Slice;
use coalmine_sim::trace::text::{Style, story};
use serde::Deserialize;
use serde_json::Value;

#[test]
fn the_simulated_rollout_is_told_what_up_tells_it() {
    let members = RolloutSystem::new(3, 1).members();
    for (id, (member, config)) in (1..).zip(&members) {
        let shipped = NodeFile::<RolloutNode>::starter(id, 3);
        // Where nodes live is the simulator's own; snapshots, and a node that asks before it serves, have scenarios of their own.
        let told = coalmine_core::rollout::config::Config {
            addresses: Default::default(),
            asks_first: false,
            snapshot_every: 0,
            ..shipped.config.clone()
        };
        assert_eq!((shipped.me(), &told), (*member, config));
    }
}

/// A node that is never asked itself: what clients get comes from the service around it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Mute;

impl Node for Mute {
    type Config = NodeId;
    type Message = ();
    type Timer = ();
    type Record = ();
    /// A path.
    type Request = String;
    type Reply = String;
    type View = ();
    type Fact = ();

    fn start(_: &NodeId, _: &[()], _: &mut Context<'_, Self>) -> Self {
        Self
    }

    fn on(&mut self, _: &NodeId, _: Event<Self>, _: &mut Context<'_, Self>) {}
}

impl HttpApi for Mute {
    fn to_http(_: RequestId, path: &String) -> Request<Bytes> {
        Request::get(path).body(Bytes::new()).expect("valid")
    }

    fn from_http(answer: &Response<Bytes>) -> Result<String, String> {
        read_json::<Value>(answer).map(|json| json.to_string())
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Settings {
    motto: String,
}

impl Service for Mute {
    const NAME: &'static str = "mute";
    type Settings = Settings;
    const STARTER: Starter = Starter { keys: "motto = \"as it ships\"\n", ..Starter::NOTHING };

    fn config(place: &Placement, _: &Settings) -> Result<NodeId, String> {
        Ok(place.me)
    }

    fn routes<R: Runtime>(_: &R, _: &NodeId, settings: &Settings, handle: Handle<Self>) -> Router {
        let (motto, first) = (settings.motto.clone(), handle.address_of(NodeId(1)));
        let said = serde_json::json!({ "motto": motto, "n1 is at": first });
        Router::new().route("/motto", get(move || async move { Json(said) }))
    }
}

#[derive(Debug)]
struct Two;

impl System for Two {
    type Node = Mute;
    type History = ();

    fn members(&self) -> Vec<(NodeId, NodeId)> {
        [1, 2].map(|id| (NodeId(id), NodeId(id))).to_vec()
    }

    fn router<R: Runtime>(&self, runtime: &R, config: &NodeId, handle: Handle<Mute>) -> Router {
        serve::router(runtime, config, &NodeFile::<Mute>::starter(1, 2).settings, handle)
    }

    fn operations(&self) -> Vec<Operation<Mute>> {
        let ask = |(client, path): (u64, &str)| Operation {
            to: NodeId(2),
            id: RequestId { client, sequence: 1 },
            request: path.into(),
        };
        (1..).zip(["/motto", LIVE]).map(ask).collect()
    }

    fn invariants(&self) -> Vec<Invariant<Mute, ()>> {
        Vec::new()
    }
}

#[test]
fn a_simulation_hosts_the_service_with_its_settings() {
    let scenario =
        Scenario { name: "two", about: "", system: || Two, plan: chaos, expect: nothing_more::<Two> };
    let ask = |it: Operation<Mute>| (1_000, What::Ask { to: it.to, id: it.id, request: it.request });
    let plan = Plan::quiet(Two.operations().into_iter().map(ask));
    let options = RunOptions { keep_trace: true, ..RunOptions::of(1) };
    let report = scenario.run_plan(Engine::Madsim, &plan, options);
    assert_eq!(report.verdict, Verdict::Passed);
    let entries = report.trace.as_ref().expect("it was kept");
    let told = story(entries, &Slice::of(entries, None), |_| false, Style::default());
    for said in [r#""motto":"as it ships""#, r#""n1 is at":"10.0.0.1:50051""#, r#""node":2,"ready":true"#] {
        assert!(told.contains(&said.replace('"', "\\\"")) || told.contains(said), "{said}: {told}");
    }
}
