//! A node whose disk fails in the midst of its work.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coalmine_core::codec::journal::{Recovered, Segment};
use coalmine_core::node::{Context, Delay};
use tokio::net::TcpListener;

use super::*;
use crate::runtime::JournalFile;
use crate::tls::Stream;
use crate::tokio_runtime::{TokioListener, TokioRuntime};

/// Counts requests, durably.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Counter(u64);

impl Node for Counter {
    type Config = NodeId;
    type Message = u64;
    type Timer = ();
    type Record = RequestId;
    type Request = ();
    type Reply = u64;
    type View = u64;
    type Fact = ();

    fn start(_: &NodeId, disk: &[RequestId], cx: &mut Context<'_, Self>) -> Self {
        cx.publish(disk.len() as u64);
        Self(disk.len() as u64)
    }

    fn on(&mut self, _: &NodeId, event: Event<Self>, cx: &mut Context<'_, Self>) {
        let Event::Request { id, .. } = event else { return };
        self.0 += 1;
        cx.append(id);
        cx.send(NodeId(2), self.0);
        cx.publish(self.0);
        cx.reply(id, self.0);
    }
}

/// A disk that has room for so many batches.
struct Full(Arc<AtomicU64>);

impl JournalFile for Full {
    async fn truncate(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    async fn write(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    async fn sync(&mut self) -> io::Result<()> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(|_| ()).map_err(|_| io::ErrorKind::StorageFull.into())
    }
    async fn begin_segment(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    async fn remove_before(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone)]
struct World(TokioRuntime, Arc<AtomicU64>);

impl Runtime for World {
    type Stream = Stream;
    type Listener = TokioListener;
    type Journal = Full;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.0.sleep(duration)
    }
    fn now(&self) -> Duration {
        self.0.now()
    }
    fn choose(&self, n: u32) -> u32 {
        self.0.choose(n)
    }
    fn draw(&self, delay: Delay) -> Duration {
        self.0.draw(delay)
    }
    async fn connect(&self, to: SocketAddr) -> io::Result<Stream> {
        self.0.connect(to).await
    }
    async fn listen(&self, at: SocketAddr) -> io::Result<TokioListener> {
        self.0.listen(at).await
    }
    async fn open_journal(&self) -> io::Result<(Vec<Segment>, Full)> {
        Ok((vec![Segment { first: 1, bytes: Vec::new() }], Full(Arc::clone(&self.1))))
    }
}

#[derive(Clone)]
struct Silent;

impl Probe<Counter> for Silent {
    fn on_boot(&self, _: &Recovered<RequestId>, _: &Host<Counter>, _: &[Effect<Counter>]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// What is not durable is neither shown, nor sent, nor answered; what was shown before stays, and everybody learns why.
#[tokio::test]
async fn a_disk_that_fails_stops_the_node_and_leaves_its_last_durable_view() {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let peer = TcpListener::bind(local).await.expect("a port");
    let address = TcpListener::local_addr(&peer).expect("it listens");
    let peers = [(NodeId(2), address)].into();
    let placement = Placement { me: NodeId(1), control: local, data: local, peers };
    // One batch at the boot, and one for each of three requests.
    let world = World(TokioRuntime::new(""), Arc::new(AtomicU64::new(4)));
    let (shell, handle) = Shell::<Counter, _, _>::new(world, NodeId(1), placement, Silent);
    let ended = tokio::spawn(shell.run());
    let ask = |sequence| handle.request(RequestId { client: 1, sequence }, ());
    for n in 1..=3 {
        assert_eq!(ask(n).await.expect("it is durable"), n);
    }
    assert_eq!((handle.vitals().stopped(), handle.vitals().frames_sent.get()), (None, 3));
    let full = io::Error::from(io::ErrorKind::StorageFull).to_string();
    for n in 4..=5 {
        let why = ask(n).await.expect_err("it is not durable").to_string();
        assert_eq!(why, format!("the node has stopped: journal: {full}"));
    }
    assert!(matches!(ended.await.expect("no panic"), Err(ShellError::Journal(JournalError::Io(_)))));
    assert_eq!((handle.view().as_deref(), handle.journal_records()), (Some(&3), Some(3)));
    assert_eq!(handle.vitals().frames_sent.get(), 3, "what is not durable was sent");
}
