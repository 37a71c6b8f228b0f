//! What a protocol says to become a program: all that nobody else can know.

use std::fmt::Debug;
use std::net::SocketAddr;

use axum::Router;
use axum::http::Method;
use coalmine_core::node::{Address, NodeId};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::Client;
use super::doors::DoorTable;
use crate::http_api::HttpApi;
use crate::runtime::Runtime;
use crate::shell::{Handle, Placement};

/// A node that can be run as a program.
pub trait Service: HttpApi {
    /// The name of the program.
    const NAME: &'static str;
    /// The scenario or model whose invariants its recordings are held against.
    const PROTOCOL: &'static str = Self::NAME;
    /// The program's version, which its recordings name: mostly `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str = "";
    /// How cargo starts the program, if a workspace has an alias for it.
    const ALIAS: Option<&'static str> = None;
    /// What a node's file holds beside the [common part](super::config), such as a struct with a default for every field;
    /// `()` if nothing. Keys that nobody has are refused in any case.
    type Settings: DeserializeOwned + Clone + Debug + Send + Sync + 'static;
    /// What its routes are for, by method and path such as `GET /status`. One that is not named is for operators only.
    /// Default none is named.
    const DOORS: DoorTable = &[];
    /// What `up` writes into the files besides the common part. Default nothing.
    const STARTER: Starter = Starter::NOTHING;

    /// What the node is told. `Err` names the key that makes no sense, and why.
    fn config(placement: &Placement, settings: &Self::Settings) -> Result<Self::Config, String>;

    /// What the node serves besides its [health](super::health), at other paths. Default its [`HttpApi`].
    fn routes<R: Runtime>(
        runtime: &R,
        config: &Self::Config,
        _settings: &Self::Settings,
        handle: Handle<Self>,
    ) -> Router {
        Self::router(runtime, config, handle)
    }

    /// Whether the node, which has recovered its journal, can do its work; `Err` says what it waits for. Default yes.
    fn ready(_view: Option<&Self::View>) -> Result<(), String> {
        Ok(())
    }

    /// Whether the node's readers are served by this view when its journal can no longer be written: the node takes in nothing
    /// from then on and decides nothing, but what it published last was durable and stays true of the past. Default no: the
    /// process ends, and says why.
    fn serves_on(_view: &Self::View) -> bool {
        false
    }

    /// Where a node says how it does, in a form that its [page](Self::PAGE) knows. Default its health.
    const STATUS: &'static str = "/livez";

    /// A page for browsers that every node shows at `/`, in one piece; `NONCE` in it stands for what allows its scripts and
    /// styles. Default none.
    const PAGE: Option<&'static str> = None;

    /// What a reader of the node's [events](super::events) is told when this view takes the place of another: the name of an
    /// event, and its data. Facts are told in any case. Default nothing.
    fn changes(
        _config: &Self::Config,
        _before: Option<&Self::View>,
        _after: &Self::View,
    ) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// Whether a request is an order, which leaves an entry in the [audit trail](super::audit). Default all that do not only
    /// read.
    fn is_order(method: &Method, _path: &str) -> bool {
        !method.is_safe()
    }

    /// What this node is among the others, if they differ: a word for logs and tables.
    fn role(_config: &Self::Config) -> Option<&'static str> {
        None
    }

    /// The config file of a node that is to become a member of the cluster that the node at this HTTP address is one of; `Err`
    /// says why there is none. Default: the members of a cluster do not change.
    fn join(
        _client: Client,
        _at: SocketAddr,
        _who: Newcomer,
    ) -> impl Future<Output = Result<String, String>> + Send {
        std::future::ready(Err(format!("the members of a cluster of {} do not change", Self::NAME)))
    }

    /// Asks the cluster that the node at this HTTP address is one of to take this node in, until it has heard; `say` takes
    /// what is worth a line. Default nothing.
    fn enter(
        _client: Client,
        _at: SocketAddr,
        _me: NodeId,
        _lives: Address,
        _say: impl Fn(String) + Send + 'static,
    ) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// What to try once `up` has started these nodes, by what they are told and where they take HTTP: a command and its
    /// options a line, to be put behind the program's name. `dir` is an option that leads to the cluster's folder.
    fn to_try(_cluster: &[(&Self::Config, SocketAddr)], dir: &str) -> Vec<String> {
        vec![format!("status{dir}"), format!("ask REQUEST{dir}")]
    }
}

/// A node that is to become a member of a running cluster. What is not said follows from the cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct Newcomer {
    /// Its number.
    pub id: Option<NodeId>,
    /// Where it takes frames from its peers.
    pub control: Option<SocketAddr>,
    /// Where it takes HTTP from clients.
    pub data: Option<SocketAddr>,
}

/// What a service adds to the files that `up` writes, as TOML.
#[derive(Clone, Copy, Debug)]
pub struct Starter {
    /// Keys of each node, at the head of its own file and in its entry among the peers of others.
    pub member: fn(NodeId) -> &'static str,
    /// Keys of the file itself.
    pub keys: &'static str,
    /// Tables, and comments at the end.
    pub tables: &'static str,
}

impl Starter {
    /// Nothing at all.
    pub const NOTHING: Self = Self { member: |_| "", keys: "", tables: "" };
}
