//! The rollout as a [`Service`]: the `canary` program.

use std::net::SocketAddr;

use axum::Router;
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::message::View;

use super::config::Settings;
use super::routes;
use super::wire::Role;
use crate::runtime::Runtime;
use crate::serve::local::{FIRST, local_address};
use crate::serve::{Service, Starter};
use crate::shell::{Handle, Placement};

impl Service for RolloutNode {
    const NAME: &'static str = "canary";
    const PROTOCOL: &'static str = "rollout";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ALIAS: Option<&'static str> = Some("cargo canary");
    type Settings = Settings;
    const STARTER: Starter = Starter { member, keys: KEYS, tables: TABLES };

    fn config(placement: &Placement, settings: &Settings) -> Result<Config, String> {
        settings.config(placement)
    }

    fn routes<R: Runtime>(runtime: &R, _: &Config, settings: &Settings, handle: Handle<Self>) -> Router {
        routes::router(runtime, handle, settings.data_plane())
    }

    fn ready(view: Option<&View>) -> Result<(), String> {
        match view.map(|view| &view.joining) {
            None => Err("it has not said yet what it serves".into()),
            Some(Some(why)) => Err(format!("it is not a member: {why}")),
            Some(None) => Ok(()),
        }
    }

    fn role(config: &Config) -> Option<&'static str> {
        Some(role_of(config).name())
    }

    fn to_try(cluster: &[(&Config, SocketAddr)], _dir: &str) -> Vec<String> {
        let data: Vec<_> = cluster.iter().map(|(_, data)| data.to_string()).collect();
        let coordinator = cluster.iter().find(|(config, _)| config.is_coordinator());
        let default: Vec<_> = (1..=3).map(|id| local_address(FIRST.data, id).to_string()).collect();
        let unless = |default: bool, option: String| if default { String::new() } else { option };
        let coordinator = coordinator.map_or(default[0].clone(), |(_, data)| data.to_string());
        let to_coordinator = unless(coordinator == default[0], format!(" --coordinator {coordinator}"));
        let to_all = unless(data == default, format!(" --nodes {}", data.join(",")));
        let to_one = unless(data[0] == default[0], format!(" --node {}", data[0]));
        vec![
            format!("rollout v2 --pause-ms 1000{to_coordinator}"),
            format!("status{to_all}"),
            format!("predict --count 100{to_one}"),
        ]
    }
}

fn role_of(config: &Config) -> Role {
    if config.is_coordinator() { Role::Coordinator } else { Role::Participant }
}

fn member(id: coalmine_core::node::NodeId) -> &'static str {
    if id.0 == 1 { "role = \"coordinator\"\n" } else { "role = \"participant\"\n" }
}

const KEYS: &str = "\
# How to vote when there was too little traffic to judge by. A real cluster says \"abort\".
on_no_evidence = \"commit\"
";

const TABLES: &str = "\
# When this node votes for a change: the limits of one window of its data plane.
[gates]
max_p95_ms = 200
max_error_rate = 0.05
min_samples = 20

# A bad model, to see the gates stop a rollout: uncomment it at every node, start again, send
# traffic with `canary predict --count 1000`, and roll v2 out with `--pause-ms 6000`.
# [backends.v2]
# latency_ms = 400
# error_rate = 0.5
";
