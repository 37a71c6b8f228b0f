//! A recorder whose disk is slow, full or broken: the node never notices.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Instant;

use coalmine_core::codec::journal::recover;
use coalmine_core::codec::recording::{self, Line};
use coalmine_core::node::{Node, RequestId};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::health::Health;
use coalmine_core::rollout::message::Request;

use super::*;

/// How long the disk stands still at most: a test whose node waits for it fails then, and does not hang.
const STILL: Duration = Duration::from_secs(90);

/// A file in memory on a disk that stands still until it is told to go on, and holds so many bytes.
struct Slow {
    written: Arc<Mutex<Vec<u8>>>,
    holds: usize,
    go_on: Option<Receiver<()>>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.written.lock().expect("nobody panics with it");
        // The header is written before the node starts.
        if !written.is_empty()
            && let Some(go_on) = self.go_on.take()
        {
            let _ = go_on.recv_timeout(STILL);
        }
        if written.len() + bytes.len() > self.holds {
            return Err(io::ErrorKind::StorageFull.into());
        }
        written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A recorder on such a disk.
struct Recorded {
    recorder: Recorder<RolloutNode>,
    written: Arc<Mutex<Vec<u8>>>,
    go_on: mpsc::Sender<()>,
    complaints: mpsc::Receiver<String>,
    folder: tempfile::TempDir,
}

fn record(holds: usize, queued: usize) -> Recorded {
    let folder = tempfile::tempdir().expect("a folder");
    let written = Arc::new(Mutex::new(Vec::new()));
    let (go_on, stands) = mpsc::channel();
    let stands = Mutex::new(Some(stands));
    let bytes = Arc::clone(&written);
    let create = move |_: &Path| {
        let go_on = stands.lock().expect("nobody panics with it").take();
        Ok(Slow { written: Arc::clone(&bytes), holds, go_on })
    };
    let (warn, complaints) = mpsc::channel();
    let warn = Box::new(move |what| warn.send(what).expect("the test listens"));
    let config = Config::cluster(1).remove(0);
    let who = Who { program: "test", protocol: "rollout", node: config.me };
    let limits = Limits { queued, ..Limits::default() };
    let path: PathBuf = folder.path().join("n1.rec");
    let recorder = Recorder::start_on(create, &path, who, &config, limits, warn).expect("it begins");
    Recorded { recorder, written, go_on, complaints, folder }
}

/// Lets a node take so many requests.
fn live(recorder: &Recorder<RolloutNode>, requests: u64) {
    let config = Config::cluster(1).remove(0);
    let mut choose = |_: u32| 0;
    let mut out = Vec::new();
    let mut host = Host::<RolloutNode>::boot(&config, &[], 0, &mut choose, &mut out);
    let nothing = recover(RolloutNode::FORM, b"").expect("an empty journal is sound");
    assert!(recorder.on_boot(&nothing, &host, &out).is_continue());
    for sequence in 1..=requests {
        let health = Health { window_id: sequence, version: 0, models: [].into() };
        let id = RequestId { client: 1, sequence };
        let event = Event::Request { id, request: Request::ReportHealth(health) };
        out.clear();
        assert!(recorder.on_event(&event).is_continue(), "the node never stops for its recording");
        host.step(&config, event, &mut choose, &mut out);
        assert!(recorder.on_step(&host, &out).is_continue(), "the node never stops for its recording");
    }
}

#[test]
fn a_node_does_not_wait_for_a_disk_that_stands_still() {
    let Recorded { recorder, written, go_on, complaints, folder } = record(usize::MAX, 100);
    let began = Instant::now();
    live(&recorder, 100_000);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(complaints.try_recv().ok(), None, "the disk stands still");

    drop(go_on);
    recorder.finish();
    let bytes = written.lock().expect("nobody panics with it");
    let part = recording::decode::<RolloutNode>(&bytes).expect("it can be read").expect("there are lines");
    let Some((Line::Gap { why }, steps)) = part.lines.split_last() else {
        panic!("it should end with a gap: {:?}", part.lines.last());
    };
    assert_eq!(why, "more than 100 events waited to be written");
    assert!(steps.len() >= 100 && steps.len() < 100_000, "{}", steps.len());
    assert!(steps.iter().all(|line| matches!(line, Line::Step(_))), "nothing is left out before the gap");
    let said = complaints.try_recv().expect("it is said");
    let named = folder.path().join("n1.rec").display().to_string();
    assert!(said.contains(&named) && said.contains(why) && said.ends_with("is recorded"), "{said}");
}

#[test]
fn a_node_goes_on_when_the_disk_is_full() {
    let Recorded { recorder, written, go_on, complaints, .. } = record(10_000, 1 << 20);
    drop(go_on);
    live(&recorder, 10_000);
    recorder.finish();
    let said: Vec<_> = complaints.try_iter().collect();
    assert!(said.len() == 1 && said[0].contains("no storage space"), "{said:?}");
    let bytes = written.lock().expect("nobody panics with it");
    assert!(!bytes.is_empty() && bytes.len() <= 10_000, "{}", bytes.len());
}

#[test]
fn the_end_of_a_process_does_not_wait_for_ever() {
    let Recorded { recorder, go_on, .. } = record(usize::MAX, 100);
    live(&recorder, 1_000);
    let began = Instant::now();
    recorder.finish();
    assert!(began.elapsed() < 4 * PATIENCE, "{:?}", began.elapsed());
    drop(go_on);
}
