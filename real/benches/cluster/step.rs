//! One step of a rollout, from the request until it is served, and so durable, on all three nodes, as each tells whoever listens.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::client::Client;
use crate::disk::{Disk, Echo};
use crate::etcd::Etcd;
use crate::nodes::Cluster;
use crate::{Scale, quantile, table};

pub fn measure(scale: &Scale, place: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir_in(place).map_err(|error| error.to_string())?;
    let [dir, etcd_dir] = ["canary", "etcd"].map(|name| folder.path().join(name));
    fs::create_dir(&dir).and_then(|()| fs::create_dir(&etcd_dir)).map_err(|error| error.to_string())?;
    let cluster = Cluster::start(&dir, 3, "")?;
    let mut coordinator = cluster.client(0)?;
    let mut nodes = (0..3).map(|node| cluster.client(node)).collect::<Result<Vec<_>, _>>()?;
    nodes.iter_mut().try_for_each(Client::listen)?;
    let (mut disk, mut echo) = (Disk::new(folder.path())?, Echo::new()?);
    let mut etcd = Etcd::start(&etcd_dir)?;
    let [mut steps, mut puts, mut syncs, mut trips] = [const { Vec::new() }; 4];
    let mut version = 0;
    for _ in 0..scale.rounds {
        for _ in 0..scale.turn {
            version += 1;
            steps.push(step(&mut coordinator, &mut nodes, version)?);
        }
        for _ in 0..scale.turn {
            if let Some(etcd) = &mut etcd {
                puts.push(etcd.put()?);
            }
        }
        for _ in 0..scale.turn {
            syncs.push(disk.sync()?);
            trips.push(echo.round_trip()?);
        }
    }
    let all = [&mut steps, &mut puts, &mut syncs, &mut trips];
    all.into_iter().for_each(|times| times.sort_by(f64::total_cmp));
    let limit = |share: f64| 2.0 * quantile(&trips, share) + 3.0 * quantile(&syncs, share);
    let row = |what: &str, of: &dyn Fn(f64) -> f64| {
        let ratio = quantile(&steps, 0.5) / of(0.5);
        let cells = [of(0.5), of(0.99), ratio].map(|it| format!("{it:.2}"));
        [vec![what.to_owned()], cells.to_vec()].concat()
    };
    let mut rows = vec![
        row("a step, request to durable on all three", &|share| quantile(&steps, share)),
        row("the limit: 2 round trips, 3 writes in a row", &limit),
        row("fdatasync of 400 bytes", &|share| quantile(&syncs, share)),
        row("a round trip over loopback", &|share| quantile(&trips, share)),
    ];
    if etcd.is_some() {
        rows.insert(1, row("a put to three nodes of etcd", &|share| quantile(&puts, share)));
    }
    println!("A step of a rollout, {} of each, in turns, ms:\n", steps.len());
    table(&["", "p50", "p99", "a step / this, p50"], &rows);
    if etcd.is_none() {
        println!("not measured: etcd, which is not installed\n");
    }
    Ok(())
}

fn step(coordinator: &mut Client, nodes: &mut [Client], version: u64) -> Result<f64, String> {
    let body = format!(r#"{{"model": "m{version}", "steps": [100], "gates": "off"}}"#);
    let serves = format!("\"version\":{version},");
    let began = Instant::now();
    coordinator.ask("POST", "/rollouts", &body)?;
    nodes.iter_mut().try_for_each(|node| node.hear(&serves))?;
    Ok(began.elapsed().as_secs_f64() * 1e6)
}
