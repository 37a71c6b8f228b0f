//! A node that becomes a member of a running cluster: it is told what its members agree on, writes that into its file, and
//! asks the coordinator to admit it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use coalmine_core::node::{Address, Node, NodeId, Word};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::message::{Reply, Request};
use coalmine_core::rollout::state::Change;
use serde::Serialize;

use super::MEMBERS;
use super::wire::{GatesFile, MembersView};
use crate::http_api::HttpApi;
use crate::runtime::Runtime;
use crate::serve::client::{Client, new_name};
use crate::serve::local::{FIRST, local_address};
use crate::serve::service::Newcomer;
use crate::tokio_runtime::TokioRuntime;

/// How long a node waits before it asks again to be admitted.
const AGAIN: Duration = Duration::from_secs(1);

/// What all members' files say alike.
#[derive(Serialize)]
struct Alike<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    regions: Vec<&'a String>,
    founders: &'a [NodeId],
    initial_model: &'a str,
    health_window_ms: u64,
    gates: &'a GatesFile,
    timeouts: &'a coalmine_core::rollout::config::Timeouts,
}

/// The file of a node that is to become a member of the cluster that the node at this address is one of.
pub(super) async fn file(client: Client, at: SocketAddr, who: Newcomer) -> Result<String, String> {
    let cluster: MembersView = client.get(at, MEMBERS).await?;
    let highest = cluster.members.iter().map(|member| member.id.0).max().unwrap_or(0);
    let id = who.id.unwrap_or(NodeId(highest.saturating_add(1)));
    if cluster.members.iter().any(|member| member.id == id) {
        return Err(format!("{id} is a member already: start it with its own file, or choose another --id"));
    }
    let number = u16::try_from(id.0).ok().filter(|number| *number < 1_000);
    let port = |first: u16, option: &str| {
        number
            .map(|number| local_address(first, number))
            .ok_or_else(|| format!("{option}: must be given for {id}"))
    };
    let control = who.control.map_or_else(|| port(FIRST.control, "--control"), Ok)?;
    let data = who.data.map_or_else(|| port(FIRST.data, "--data"), Ok)?;
    let alike = Alike {
        region: cluster.region.as_ref(),
        regions: cluster.regions.iter().map(|region| &region.name).collect(),
        founders: &cluster.founders,
        initial_model: cluster.initial_model.as_str(),
        health_window_ms: cluster.health_window_ms,
        gates: &cluster.gates,
        timeouts: &cluster.timeouts,
    };
    let mut text = format!(
        "# Node {0}, which joined the cluster of {at}, written by `canary node --join`.\nid = {0}\nrole = \"participant\"\ncontrol = \"{control}\"\n\
         data = \"{data}\"\njournal_dir = \"journal\"\n",
        id.0
    );
    text += &toml::to_string(&alike).map_err(|error| format!("{at}{MEMBERS}: {error}"))?;
    for member in cluster.members.iter().chain(&cluster.others) {
        let (Some(control), Some(data)) = (member.control, member.data) else {
            return Err(format!("{at}{MEMBERS}: it does not say where {} lives", member.id));
        };
        // Only the node that was asked says that it listens everywhere: it is where it was reached.
        let reached = |lives: SocketAddr| if lives.ip().is_unspecified() { at.ip() } else { lives.ip() };
        let [control, data] = [control, data].map(|lives| SocketAddr::new(reached(lives), lives.port()));
        let of_another = cluster.regions.iter().find(|region| region.members.contains(&member.id));
        let of_another = of_another.filter(|region| Some(&region.name) != cluster.region.as_ref());
        let coordinates = member.id == of_another.map_or(cluster.coordinator, |region| region.coordinator);
        let role = if coordinates { "coordinator" } else { "participant" };
        let region = of_another.map(|region| &region.name).or(cluster.region.as_ref());
        let region = region.map_or(String::new(), |region| format!("region = \"{region}\"\n"));
        let _ = write!(
            text,
            "\n[[peers]]\nid = {}\nrole = \"{role}\"\n{region}control = \"{control}\"\ndata = \"{data}\"\n",
            member.id.0
        );
    }
    Ok(text)
}

/// Asks for this node's admission until it is a member, or is refused for good.
pub(super) async fn enter(
    client: Client,
    at: SocketAddr,
    me: NodeId,
    address: Address,
    say: impl Fn(String) + Send,
) {
    let runtime = TokioRuntime::new("");
    let request = Request::Change(Change::Admit { member: me, address: Some(address) });
    let mut name = new_name();
    let mut said = String::new();
    loop {
        let answer = client.ask::<RolloutNode>(&[at], name, &request).await;
        let why = match answer
            .map_err(|error| error.to_string())
            .and_then(|(_, it)| RolloutNode::from_http(&it))
        {
            Ok(Reply::Changing { .. }) => return say(format!("the cluster of {at} is to admit this node")),
            Ok(Reply::Invalid { why }) => return say(format!("the cluster of {at}: {why}")),
            Ok(Reply::Unfit { why }) => {
                name = new_name(); // another change is under way: this one was not taken
                why
            }
            Ok(other) => RolloutNode::describe(Word::Reply(&other)),
            Err(why) => why,
        };
        if why != said {
            say(format!("the cluster of {at} does not admit this node yet: {why}"));
            said = why;
        }
        runtime.sleep(AGAIN).await;
    }
}
