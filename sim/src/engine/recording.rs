//! The recordings of a simulated run, one for each node: the same lines that a running node writes.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use coalmine_core::codec::recording::{self, Header, Line, Step};
use coalmine_core::node::{Node, NodeId};

use crate::system::System;

/// See the module's head.
pub struct Recordings<N: Node> {
    files: BTreeMap<NodeId, Vec<u8>>,
    node: PhantomData<fn() -> N>,
}

impl<N: Node> Recordings<N> {
    /// Recordings of a system's members, in which nothing has happened yet.
    pub fn new<S: System<Node = N>>(protocol: &str, system: &S) -> Self {
        let file = |(node, config): (NodeId, N::Config)| {
            let program = concat!("coalmine ", env!("CARGO_PKG_VERSION"));
            let mut bytes = Vec::new();
            recording::encode_header(&Header::new::<N>(program, protocol, node, 1, &config), &mut bytes);
            (node, bytes)
        };
        Self { files: system.members().into_iter().map(file).collect(), node: PhantomData }
    }

    /// Adds what a node took in, and did.
    pub fn add(&mut self, node: NodeId, step: Step<N>) {
        let file = self.files.get_mut(&node).expect("only members take steps");
        recording::encode(&Line::Step(step), file);
    }

    /// The recordings as files.
    pub fn into_files(self) -> BTreeMap<NodeId, Vec<u8>> {
        self.files
    }
}
