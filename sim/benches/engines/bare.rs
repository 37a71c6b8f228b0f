//! The traffic on madsim alone: its TCP, no harness.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use madsim::net::{TcpListener, TcpStream};
use madsim::runtime::{Handle, Runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::traffic::{FRAME_BYTES, LAST_WORDS, LATENCY, PERIOD, Traffic};

/// How many frames were heard in one run.
pub fn heard(traffic: Traffic) -> u64 {
    // On a thread of its own, as the harness runs a seed.
    std::thread::spawn(move || {
        let mut config = madsim::Config::default();
        config.net.send_latency = LATENCY;
        let heard = Arc::new(AtomicU64::new(0));
        let runtime = Runtime::with_seed_and_config(1, config);
        runtime.block_on(async {
            let handle = Handle::current();
            let nodes: Vec<_> = (1..=traffic.nodes)
                .map(|me| {
                    let heard = Arc::clone(&heard);
                    let node = handle.create_node().ip(address(me).ip()).build();
                    node.spawn(live(me, traffic, heard));
                    node
                })
                .collect();
            madsim::time::sleep(Duration::from_secs(traffic.seconds) + LAST_WORDS).await;
            for node in nodes {
                handle.kill(node.id());
            }
            madsim::time::sleep(Duration::from_millis(1)).await;
        });
        drop(runtime);
        heard.load(Ordering::Relaxed)
    })
    .join()
    .expect("the run does not panic")
}

async fn live(me: u32, traffic: Traffic, heard: Arc<AtomicU64>) {
    let listener = TcpListener::bind(address(me)).await.expect("the port is free");
    madsim::task::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            madsim::task::spawn(listen(stream, Arc::clone(&heard)));
        }
    });
    madsim::time::sleep(PERIOD / 2).await;
    let peers = (1..=traffic.nodes).filter(|peer| *peer != me);
    let opening: Vec<_> = peers.map(|peer| madsim::task::spawn(TcpStream::connect(address(peer)))).collect();
    let mut peers = Vec::new();
    for stream in opening {
        peers.push(stream.await.expect("nobody is killed").expect("everybody listens"));
    }
    let mut ticks = madsim::time::interval_at(madsim::time::Instant::now() + PERIOD / 2, PERIOD);
    loop {
        ticks.tick().await;
        for peer in &mut peers {
            peer.write_all(&[b'x'; FRAME_BYTES]).await.expect("the peer is up");
            peer.flush().await.expect("the peer is up");
        }
    }
}

async fn listen(mut stream: TcpStream, heard: Arc<AtomicU64>) {
    let mut frame = [0; FRAME_BYTES];
    while stream.read_exact(&mut frame).await.is_ok() {
        heard.fetch_add(1, Ordering::Relaxed);
    }
}

fn address(id: u32) -> SocketAddr {
    let [.., high, low] = id.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), 60_001)
}
