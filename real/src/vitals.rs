//! How a running node does, as its parts see it: counters that they keep as they go, and two facts that change what it does.
//! It may have *stopped*, since its journal can no longer be written; and it may be *draining*, since its process is about to
//! end. Whoever serves the node's HTTP reads it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::lock::lock;
use crate::metrics::{Exposition, Kind};

/// A number that several tasks count.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// One fewer.
    pub fn take_one(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// It is so many now.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The connections that others have opened to one of the node's two ports.
#[derive(Debug, Default)]
pub struct Connections {
    /// How many there are.
    pub open: Count,
    /// How many were accepted.
    pub accepted: Count,
    /// How many were closed to make room for others.
    pub made_room: Count,
    /// How often the system gave none, such as for too many open files.
    pub failed: Count,
}

type Collector = Box<dyn Fn(&mut Exposition) + Send + Sync>;

/// How a running node does.
pub struct Vitals {
    /// How many records of the journal are known to be on disk.
    records: AtomicU64,
    /// How many bytes the journal's files have.
    pub journal_bytes: Count,
    /// How many frames were given to the network.
    pub frames_sent: Count,
    /// How many have come.
    pub frames_received: Count,
    /// How many were lost on this side: no peer of that name, no room in its queue, or no connection.
    pub frames_lost: Count,
    /// Those of peers.
    pub control: Connections,
    /// Those of clients.
    pub http: Connections,
    /// How many requests of clients are being answered.
    pub in_flight: Count,
    stopped: Mutex<Option<Arc<str>>>,
    draining: watch::Sender<bool>,
    collectors: Mutex<Vec<Collector>>,
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            records: AtomicU64::new(Self::NOT_YET),
            journal_bytes: Count::default(),
            frames_sent: Count::default(),
            frames_received: Count::default(),
            frames_lost: Count::default(),
            control: Connections::default(),
            http: Connections::default(),
            in_flight: Count::default(),
            stopped: Mutex::default(),
            draining: watch::Sender::new(false),
            collectors: Mutex::default(),
        }
    }
}

impl fmt::Debug for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vitals").field("records", &self.records()).finish_non_exhaustive()
    }
}

impl Vitals {
    const NOT_YET: u64 = u64::MAX;

    /// How many records of the journal are known to be on disk; `None` before the node has recovered them.
    pub fn records(&self) -> Option<u64> {
        Some(self.records.load(Ordering::Acquire)).filter(|&records| records != Self::NOT_YET)
    }

    /// So many are on disk.
    pub fn set_records(&self, records: u64) {
        self.records.store(records, Ordering::Release);
    }

    /// Why the node takes in nothing any more, if it has stopped.
    pub fn stopped(&self) -> Option<Arc<str>> {
        lock(&self.stopped).clone()
    }

    /// The node takes in nothing any more, for this reason. The first one stays.
    pub fn stop(&self, why: &str) {
        lock(&self.stopped).get_or_insert_with(|| why.into());
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// The process is about to end: no more connections are taken.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Waits until the process is about to end.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut draining = self.draining.subscribe();
        async move {
            if draining.wait_for(|draining| *draining).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// From now on this adds to every scrape. It must not keep alive what keeps this alive.
    pub fn collect(&self, collector: impl Fn(&mut Exposition) + Send + Sync + 'static) {
        lock(&self.collectors).push(Box::new(collector));
    }

    /// All that is measured.
    pub fn write(&self, out: &mut Exposition) {
        let (counter, gauge) = (Kind::Counter, Kind::Gauge);
        let stopped = u8::from(self.stopped().is_some());
        let help = "1 if the journal cannot be written: the node takes in nothing, and may go on serving what it published last.";
        out.single("coalmine_stale", gauge, help, stopped);
        let draining = u8::from(self.is_draining());
        out.single("coalmine_draining", gauge, "1 if the process is about to end.", draining);
        if let Some(records) = self.records() {
            out.single(
                "coalmine_journal_records",
                gauge,
                "Records known to be on disk, from the first.",
                records,
            );
        }
        let bytes = self.journal_bytes.get();
        out.single("coalmine_journal_bytes", gauge, "Bytes of the journal's files.", bytes);
        let frames = [
            ("coalmine_frames_sent_total", "Frames given to the network.", &self.frames_sent),
            ("coalmine_frames_received_total", "Frames that have come.", &self.frames_received),
            ("coalmine_frames_lost_total", "Frames lost on this side.", &self.frames_lost),
        ];
        for (name, help, count) in frames {
            out.single(name, counter, help, count.get());
        }
        out.single("coalmine_requests_in_flight", gauge, "Requests being answered.", self.in_flight.get());
        type Of = fn(&Connections) -> &Count;
        let families: [(_, _, _, Of); 4] = [
            ("coalmine_connections_open", gauge, "Connections that others have opened.", |it| &it.open),
            ("coalmine_connections_accepted_total", counter, "Connections accepted.", |it| &it.accepted),
            (
                "coalmine_connections_made_room_total",
                counter,
                "Connections closed to make room for others.",
                |it| &it.made_room,
            ),
            (
                "coalmine_connections_failed_total",
                counter,
                "Times the system gave no connection, such as for too many open files.",
                |it| &it.failed,
            ),
        ];
        for (name, kind, help, of) in families {
            out.family(name, kind, help);
            for (port, connections) in [("control", &self.control), ("http", &self.http)] {
                out.sample(&[("port", port)], of(connections).get());
            }
        }
        for collector in lock(&self.collectors).iter() {
            collector(out);
        }
    }
}
