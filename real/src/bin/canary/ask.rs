//! What the commands that ask the coordinator for something share.

use std::net::SocketAddr;
use std::path::Path;

use axum::body::Bytes;
use axum::http::Response;
use coalmine_core::node::RequestId;
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::message::{Reply, Request};
use coalmine_real::http_api::{HttpApi, complaint};
use coalmine_real::serve::client::{Client, advice, explain};
use coalmine_real::serve::local::{FIRST, addresses, default_dir, local_address};
use coalmine_real::serve::{Credentials, Failure, Service};

/// Where the coordinator of `canary up` takes HTTP.
pub(crate) fn default_coordinator() -> SocketAddr {
    local_address(FIRST.data, 1)
}

/// A client that shows a token: for the cluster of `canary up`, unless others are asked, the one that its nodes go by.
pub(crate) fn client(credentials: &Credentials, is_up: bool) -> Result<Client, Failure> {
    let dir = default_dir(RolloutNode::NAME);
    credentials.client::<RolloutNode>(is_up.then_some(Path::new(&dir)))
}

/// Whether a node is one of the cluster of `canary up`.
pub(crate) fn is_of_up(node: SocketAddr) -> bool {
    let dir = default_dir(RolloutNode::NAME);
    addresses::<RolloutNode>(Path::new(&dir)).is_ok_and(|nodes| nodes.contains(&node))
}

/// The option that leads a command to this coordinator, if it needs one.
pub(crate) fn to_coordinator(coordinator: SocketAddr) -> String {
    let is_default = coordinator == default_coordinator();
    if is_default { String::new() } else { format!(" --coordinator {coordinator}") }
}

/// What the coordinator has answered.
pub(crate) struct Answered {
    /// Who that is: where it was asked may have been another node.
    pub(crate) by: SocketAddr,
    /// What it says.
    pub(crate) reply: Reply,
    /// How it says it.
    pub(crate) http: Response<Bytes>,
}

/// Asks a node, and whom it sends the client to.
pub(crate) async fn ask(
    client: &Client,
    node: SocketAddr,
    id: RequestId,
    request: &Request,
) -> Result<Answered, Failure> {
    let asked = client.ask::<RolloutNode>(&[node], id, request).await;
    let (by, http) = asked.map_err(|error| Failure::failed(explain("canary", &error)))?;
    let reply = RolloutNode::from_http(&http);
    let reply = reply.map_err(|why| Failure::failed(format!("{by}: {why}{}", advice(&http))))?;
    Ok(Answered { by, reply, http })
}

impl Answered {
    /// It refuses, and says why.
    pub(crate) fn refusal(&self) -> Failure {
        let why = complaint(&self.http).unwrap_or_else(|| "it gives no reason".into());
        let why = format!("{} refuses: {why}", self.by);
        match self.reply {
            Reply::Invalid { .. } => Failure::usage(why),
            Reply::Accepted { .. }
            | Reply::Ordered { .. }
            | Reply::Changing { .. }
            | Reply::TakingOver
            | Reply::Resolved { .. }
            | Reply::Unfit { .. }
            | Reply::Busy { .. }
            | Reply::SplitBrain
            | Reply::Joining(_)
            | Reply::NotCoordinator { .. }
            | Reply::Done => Failure::failed(why),
        }
    }
}
