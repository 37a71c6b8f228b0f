//! The rollout as a [`Service`]: the `canary` program.

use std::net::SocketAddr;

use axum::Router;
use axum::http::Method;
use coalmine_core::node::{Address, NodeId};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::message::View;
use serde_json::{Value, json};

use super::config::Settings;
use super::join;
use super::routes;
use super::wire::{Role, StatusView, why_silent};
use super::{FLEET, MEMBERS, RESOLVE, TAKE_OVER};
use crate::runtime::Runtime;
use crate::serve::client::Client;
use crate::serve::doors::{Door, DoorTable};
use crate::serve::local::{FIRST, local_address};
use crate::serve::service::Newcomer;
use crate::serve::{Service, Starter};
use crate::shell::{Handle, Placement};

impl Service for RolloutNode {
    const NAME: &'static str = "canary";
    const PROTOCOL: &'static str = "rollout";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ALIAS: Option<&'static str> = Some("cargo canary");
    type Settings = Settings;
    const DOORS: DoorTable = &[
        ("GET /routing/state", Door::Read),
        ("GET /health/snapshot", Door::Read),
        ("GET /status", Door::Read),
        ("GET /rollouts", Door::Read),
        ("GET /fleet", Door::Read),
        ("GET /members", Door::Read),
        ("POST /predict", Door::Use),
    ];
    const STARTER: Starter = Starter { member, keys: "", tables: TABLES };

    fn config(placement: &Placement, settings: &Settings) -> Result<Config, String> {
        settings.config(placement)
    }

    fn routes<R: Runtime>(runtime: &R, config: &Config, settings: &Settings, handle: Handle<Self>) -> Router {
        routes::router(runtime, config, handle, settings.data_plane())
    }

    fn ready(view: Option<&View>) -> Result<(), String> {
        let view = view.ok_or("it has not said yet what it serves")?;
        why_silent(view).map_or(Ok(()), Err)
    }

    /// What a member serves was committed; that it no longer votes takes nothing from its clients.
    fn serves_on(view: &View) -> bool {
        view.joining.is_none() && !view.asks
    }

    const STATUS: &'static str = "/status";
    const PAGE: Option<&'static str> = Some(include_str!("page.html"));

    fn changes(_config: &Config, before: Option<&View>, after: &View) -> Vec<(&'static str, Value)> {
        let shown = |view| StatusView::new(view);
        let (before, after) = (before.map(shown), shown(after));
        let mut changes = Vec::new();
        let node = after.node;
        if before.as_ref().is_none_or(|before| before.routing != after.routing) {
            let StatusView { routing, digest, .. } = &after;
            changes.push(("route", json!({ "node": node, "routing": routing, "digest": digest })));
        }
        let verdicts = |status: &StatusView| -> Vec<_> {
            status.verdicts.iter().map(|verdict| (verdict.node, verdict.verdict)).collect()
        };
        if before.as_ref().map(verdicts).unwrap_or_default() != verdicts(&after) {
            changes.push(("verdicts", json!({ "node": node, "verdicts": after.verdicts })));
        }
        if before.as_ref().and_then(|before| before.fleet.as_ref()) != after.fleet.as_ref() {
            changes.push(("fleet", json!({ "node": node, "fleet": after.fleet })));
        }
        if before.and_then(|before| before.rollout) != after.rollout {
            changes.push(("rollout", json!({ "node": node, "rollout": after.rollout })));
        }
        changes
    }

    fn is_order(method: &Method, path: &str) -> bool {
        !method.is_safe()
            && ["/rollouts", FLEET, MEMBERS, TAKE_OVER, RESOLVE].iter().any(|order| path.starts_with(order))
    }

    fn role(config: &Config) -> Option<&'static str> {
        Some(role_of(config).name())
    }

    fn join(
        client: Client,
        at: SocketAddr,
        who: Newcomer,
    ) -> impl Future<Output = Result<String, String>> + Send {
        join::file(client, at, who)
    }

    fn enter(
        client: Client,
        at: SocketAddr,
        me: NodeId,
        lives: Address,
        say: impl Fn(String) + Send + 'static,
    ) -> impl Future<Output = ()> + Send {
        join::enter(client, at, me, lives, say)
    }

    fn to_try(cluster: &[(&Config, SocketAddr)], dir: &str) -> Vec<String> {
        let data: Vec<_> = cluster.iter().map(|(_, data)| data.to_string()).collect();
        let coordinator = cluster.iter().find(|(config, _)| config.is_coordinator());
        let default: Vec<_> = (1..=3).map(|id| local_address(FIRST.data, id).to_string()).collect();
        let unless = |default: bool, option: String| if default { String::new() } else { option };
        let coordinator = coordinator.map_or(default[0].clone(), |(_, data)| data.to_string());
        let to_coordinator = unless(coordinator == default[0], format!(" --coordinator {coordinator}"));
        let to_all = unless(data == default, format!(" --nodes {}", data.join(",")));
        vec![
            format!("predict --seconds 60{to_all}"),
            format!("rollout v2{to_coordinator}"),
            format!("status{}", if dir.is_empty() { "" } else { &to_all }),
        ]
    }
}

fn role_of(config: &Config) -> Role {
    if config.is_coordinator() { Role::Coordinator } else { Role::Participant }
}

fn member(id: NodeId) -> &'static str {
    if id.0 == 1 { "role = \"coordinator\"\n" } else { "role = \"participant\"\n" }
}

const TABLES: &str = "\
# What a canary must keep on every node before it gets more: by itself, and beside the stable model. A canary that
# was asked too seldom to be judged gets no more either: there must be traffic, or an operator's word.
[gates]
max_p95_ms = 200
max_error_rate = 0.05
max_p95_rise_ms = 100
max_error_rate_rise = 0.02
min_samples = 100

# A bad model, to see the gates take a rollout back: uncomment it at every node, start again, send traffic with
# `canary predict --seconds 60`, and roll v2 out with `canary rollout v2` meanwhile.
# [backends.v2]
# latency_ms = 400
# error_rate = 0.5

# A real model: requests that it serves are forwarded there.
# [backends.v3]
# url = \"http://127.0.0.1:9000/v3/infer\"
";
