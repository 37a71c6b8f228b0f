//! The recordings of a simulated run, one for each node: the same lines that a running node writes. Nothing of
//! a simulated life is lost, so each says how it ends.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use coalmine_core::codec::recording::{self, Header, Line, Step, Took};
use coalmine_core::node::{Node, NodeId};

use crate::spec::system::System;

/// See the module's head.
pub struct Recordings<N: Node> {
    files: BTreeMap<NodeId, File>,
    node: PhantomData<fn() -> N>,
}

struct File {
    bytes: Vec<u8>,
    lines: u64,
    /// Whether a life is under way.
    lives: bool,
    /// A step could not be written: the recording ends before the node does.
    has_gap: bool,
}

impl File {
    fn add<N: Node>(&mut self, line: &Line<N>) {
        if self.has_gap {
            return;
        }
        self.lines += 1;
        if let Err(why) = recording::encode(self.lines, line, &mut self.bytes) {
            let gap = Line::<N>::Gap { why: format!("a step cannot be written as JSON: {why}") };
            recording::encode(self.lines, &gap, &mut self.bytes).expect("a gap is words");
            self.has_gap = true;
        }
    }

    fn end<N: Node>(&mut self) {
        if std::mem::take(&mut self.lives) {
            self.add::<N>(&Line::End {});
        }
    }
}

impl<N: Node> Recordings<N> {
    /// Recordings of a system's members, in which nothing has happened yet.
    pub fn new<S: System<Node = N>>(protocol: &str, system: &S) -> Self {
        let file = |(node, config): (NodeId, N::Config)| {
            let program = concat!("coalmine ", env!("CARGO_PKG_VERSION"));
            let mut bytes = Vec::new();
            recording::encode_header(&Header::new::<N>(program, protocol, node, 1, &config), &mut bytes);
            (node, File { bytes, lines: 1, lives: false, has_gap: false })
        };
        Self { files: system.members().into_iter().map(file).collect(), node: PhantomData }
    }

    /// Adds what a node took in, and did.
    pub fn add(&mut self, node: NodeId, step: Step<N>) {
        let file = self.files.get_mut(&node).expect("only members take steps");
        if matches!(step.took, Took::Boot { .. }) {
            file.end::<N>();
            file.lives = true;
        }
        file.add(&Line::Step(step));
    }

    /// The recordings as files. All lives have ended; unless a node `panicked`, whose last step is not recorded.
    pub fn into_files(self, panicked: bool) -> BTreeMap<NodeId, Vec<u8>> {
        let end = |(node, mut file): (NodeId, File)| {
            if !panicked {
                file.end::<N>();
            }
            (node, file.bytes)
        };
        self.files.into_iter().map(end).collect()
    }
}
