//! The traffic on turmoil: its TCP, with its own tick of a millisecond.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};

use crate::traffic::{FRAME_BYTES, LAST_WORDS, LATENCY, PERIOD, Traffic};

const PORT: u16 = 60_001;

/// How many frames were heard in one run.
pub fn heard(traffic: Traffic) -> u64 {
    let heard = Arc::new(AtomicU64::new(0));
    let end = Duration::from_secs(traffic.seconds) + LAST_WORDS;
    let mut sim = turmoil::Builder::new()
        .rng_seed(1)
        .simulation_duration(end + Duration::from_secs(1))
        .min_message_latency(LATENCY.start)
        .max_message_latency(LATENCY.end)
        .build();
    for me in 1..=traffic.nodes {
        let counter = Arc::clone(&heard);
        sim.host(name(me), move || live(me, traffic, Arc::clone(&counter)));
    }
    sim.client("clock", async move {
        tokio::time::sleep(end).await;
        Ok(())
    });
    sim.run().expect("the run does not fail");
    drop(sim);
    heard.load(Ordering::Relaxed)
}

async fn live(me: u32, traffic: Traffic, heard: Arc<AtomicU64>) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(listen(stream, Arc::clone(&heard)));
        }
    });
    tokio::time::sleep(PERIOD / 2).await;
    let peers = (1..=traffic.nodes).filter(|peer| *peer != me);
    let opening: Vec<_> = peers.map(|peer| tokio::spawn(TcpStream::connect((name(peer), PORT)))).collect();
    let mut peers = Vec::new();
    for stream in opening {
        peers.push(stream.await??);
    }
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + PERIOD / 4, PERIOD);
    loop {
        ticks.tick().await;
        for peer in &mut peers {
            peer.write_all(&[b'x'; FRAME_BYTES]).await?;
            peer.flush().await?;
        }
    }
}

async fn listen(mut stream: TcpStream, heard: Arc<AtomicU64>) {
    let mut frame = [0; FRAME_BYTES];
    while stream.read_exact(&mut frame).await.is_ok() {
        heard.fetch_add(1, Ordering::Relaxed);
    }
}

fn name(id: u32) -> String {
    format!("n{id}")
}
