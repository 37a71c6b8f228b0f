//! A rollout over all regions, as the first one's coordinator shows it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use coalmine_real::rollout::wire::{FleetView, Progress, RegionProgress, RegionView};
use coalmine_real::serve::Failure;
use coalmine_real::serve::client::Client;
use coalmine_real::serve::output::{self, Format};

/// How often to look.
const POLL: Duration = Duration::from_millis(100);
/// How long a coordinator may be silent (it may be starting again) before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where it stands, in a line.
pub(crate) fn words(fleet: &FleetView) -> String {
    let FleetView { id, model, course, why, regions } = fleet;
    let why = why.as_ref().map_or(String::new(), |why| format!(" ({why})"));
    let regions: Vec<_> = regions.iter().map(region_words).collect();
    format!("{model} {}{why}, named {id}\n  {}", course.name(), regions.join("\n  "))
}

fn region_words(RegionView { region, progress, was, says }: &RegionView) -> String {
    let to = was.as_ref().map_or(String::new(), |was| format!(" to {was}"));
    let to = if *progress >= RegionProgress::Returning { to } else { String::new() };
    let says = says.as_ref().map_or(String::new(), |says| format!(": {says}"));
    format!("{region}  {}{to}{says}", progress.name())
}

/// Says what happens in each region until the rollout ends; `Err` unless it is complete.
pub(crate) async fn watch(
    client: &Client,
    leader: SocketAddr,
    id: &str,
    format: Format,
) -> Result<(), Failure> {
    let client = client.clone().within(Duration::from_secs(2));
    let (mut heard, mut said): (_, Vec<String>) = (Instant::now(), Vec::new());
    loop {
        match client.get::<Vec<FleetView>>(leader, "/fleet").await {
            Ok(fleets) => {
                let Some(fleet) = fleets.into_iter().find(|fleet| fleet.id == id) else {
                    return Err(Failure::failed(format!(
                        "{leader} does not know {id} any more: its disk was lost"
                    )));
                };
                heard = Instant::now();
                let now: Vec<_> = fleet.regions.iter().map(region_words).collect();
                for line in now.iter().filter(|line| format == Format::Text && !said.contains(line)) {
                    output::line(format_args!("  {line}"));
                }
                said = now;
                if fleet.course.is_over() {
                    return conclude(&fleet, format);
                }
            }
            Err(why) if heard.elapsed() > PATIENCE => return Err(Failure::failed(why)),
            Err(_) => {}
        }
        tokio::time::sleep(POLL).await;
    }
}

fn conclude(fleet: &FleetView, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        output::json(fleet);
    }
    let why = fleet.why.as_deref().unwrap_or("no reason is known");
    match fleet.course {
        Progress::Completed => {
            if format == Format::Text {
                output::line(format_args!("completed: {} serves every region", fleet.model));
            }
            Ok(())
        }
        Progress::Returned => Err(Failure::failed(format!(
            "taken back: {why}; every region that had begun serves what it served before"
        ))),
        Progress::Running
        | Progress::Paused
        | Progress::Returning
        | Progress::Stopped
        | Progress::Superseded => Err(Failure::failed(format!("{}: {why}", fleet.course.name()))),
    }
}
