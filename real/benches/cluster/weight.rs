//! What a node weighs, and how long it takes to start: idle, after a million predictions, after ten thousand rollouts.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::nodes::{Cluster, is_installed};
use crate::predict::requests_of;
use crate::{Scale, table};

pub fn measure(scale: &Scale, place: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir_in(place).map_err(|error| error.to_string())?;
    let mut cluster = Cluster::start(folder.path(), 1, "")?;
    let mut rows = Vec::new();
    weigh(&mut rows, "idle", &mut cluster)?;
    let predicted = predict(scale.predictions, &cluster)?;
    weigh(&mut rows, &format!("after {predicted} predictions"), &mut cluster)?;
    let mut client = cluster.client(0)?;
    let mut version = 0;
    while version < scale.rollouts {
        version += 1;
        let body = format!(r#"{{"model": "m{version}", "steps": [100], "gates": "off"}}"#);
        client.ask("POST", "/rollouts", &body)?;
        let serves = format!("\"version\":{version},");
        while !client.ask("GET", "/routing/state", "")?.contains(&serves) {}
    }
    weigh(&mut rows, &format!("after {version} rollouts"), &mut cluster)?;
    println!("One node, alone:\n");
    table(&["", "MiB", "journal, KiB", "until it serves, ms", "MiB then"], &rows);
    Ok(())
}

/// What the node weighs now, and as soon as it was started again.
fn weigh(rows: &mut Vec<Vec<String>>, when: &str, cluster: &mut Cluster) -> Result<(), String> {
    let (mib, journal) = (cluster.process(0).weight().0, cluster.journal_kib());
    cluster.stop(0);
    let began = Instant::now();
    cluster.spawn(0)?;
    cluster.wait(0)?;
    let ms = began.elapsed().as_secs_f64() * 1e3;
    let cells = [format!("{mib:.1}"), format!("{journal:.0}"), format!("{ms:.0}")];
    let after = format!("{:.1}", cluster.process(0).weight().0);
    rows.push([vec![when.to_owned()], cells.to_vec(), vec![after]].concat());
    Ok(())
}

/// Asks for so many predictions at least; how many these were.
fn predict(count: u64, cluster: &Cluster) -> Result<u64, String> {
    let mut done = 0;
    if is_installed("wrk") {
        while done < count {
            let mut wrk = Command::new("wrk");
            wrk.args(["-t1", "-c16", "-d2"]).arg(format!("http://{}/predict", cluster.data(0)));
            let script = std::env::temp_dir().join(format!("coalmine-post-{}.lua", std::process::id()));
            std::fs::write(&script, "wrk.method = 'POST'\nwrk.body = '{}'\n")
                .map_err(|error| error.to_string())?;
            let output = wrk.arg("-s").arg(&script).output().map_err(|error| format!("wrk: {error}"));
            let _ = std::fs::remove_file(&script);
            done += requests_of(&String::from_utf8_lossy(&output?.stdout))?;
        }
        return Ok(done);
    }
    let mut client = cluster.client(0)?;
    while done < count {
        client.ask("POST", "/predict", "{}")?;
        done += 1;
    }
    Ok(done)
}
