//! Watches a rollout until it ends, or stays where it is, and says what happens.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coalmine_core::node::NodeId;
use coalmine_core::rollout::state::Txid;
use coalmine_real::rollout::wire::{
    Progress, RolloutView, StatusView, StepOutcome, StepView, VerdictKind, VerdictView,
};
use coalmine_real::serve::Failure;
use coalmine_real::serve::client::Client;
use coalmine_real::serve::output::{self, Format};
use coalmine_real::serve::page::{CLUSTER, Member};
use coalmine_real::serve::status::Answer;

use crate::ask::to_coordinator;
use crate::status::{warnings, words};

/// How often to look how far it is. In the first second more often: a rollout without holds takes less than
/// one look.
const POLL: Duration = Duration::from_millis(50);
const EARLY_POLL: Duration = Duration::from_millis(5);
/// How long a coordinator may be silent (it may be starting again) before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait for each look.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A rollout that is watched.
pub(crate) struct Watch {
    /// Asks.
    pub(crate) client: Client,
    /// Whom.
    pub(crate) coordinator: SocketAddr,
    /// The rollout's name.
    pub(crate) name: String,
    /// When it began.
    pub(crate) began: Instant,
    /// How to print what happens.
    pub(crate) format: Format,
    /// Draws all nodes, if that is wanted.
    pub(crate) live: Option<Live>,
}

/// All nodes and what was said so far, drawn anew on a terminal.
#[derive(Default)]
pub(crate) struct Live {
    drawn: Mutex<Drawn>,
}

#[derive(Default)]
struct Drawn {
    screen: output::Screen,
    said: Vec<String>,
    /// What the nodes showed last, and when.
    nodes: Option<(Instant, String)>,
}

/// How often all nodes are looked at. The rollout itself is watched more closely.
const LOOK: Duration = Duration::from_millis(500);

impl Live {
    /// Keeps a line for the next picture; `false` if there are none, elsewhere than on a terminal.
    fn keep(&self, line: &str) -> bool {
        let mut drawn = self.lock();
        let is_terminal = drawn.screen.is_terminal();
        if is_terminal {
            drawn.said.push(line.into());
        }
        is_terminal
    }

    async fn draw(&self, client: &Client, coordinator: SocketAddr) {
        let is_old = {
            let drawn = self.lock();
            drawn.screen.is_terminal() && drawn.nodes.as_ref().is_none_or(|(at, _)| at.elapsed() >= LOOK)
        };
        if !is_old {
            return;
        }
        let members: Vec<Member> = client.get(coordinator, CLUSTER).await.unwrap_or_default();
        let answer = |member: Member| Answer {
            address: member.address,
            status: member.status.and_then(|status| serde_json::from_value(status).ok()),
            error: member.error,
        };
        let answers: Vec<_> = members.into_iter().map(answer).collect();
        let text = if answers.is_empty() {
            "waiting for the coordinator".into()
        } else {
            words(&answers, &warnings(&answers))
        };
        let mut drawn = self.lock();
        let said = drawn.said.join("\n");
        drawn.screen.show(&format!("{text}\n\n{said}"));
        drawn.nodes = Some((Instant::now(), text));
    }

    fn lock(&self) -> MutexGuard<'_, Drawn> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was seen, and said, so far.
#[derive(Default)]
struct Seen {
    steps: BTreeSet<Txid>,
    /// When the last step was seen to be committed.
    held_since: Option<Instant>,
    course: Option<Progress>,
    waits_for: Vec<(NodeId, VerdictKind)>,
    has_hinted: bool,
    silent_since: Option<Instant>,
}

impl Watch {
    /// Looks until the rollout is over or paused, and prints what changes.
    pub(crate) async fn to_its_end(&self) -> Result<RolloutView, Failure> {
        let mut seen = Seen::default();
        loop {
            match self.look(&mut seen).await {
                Ok(rollout) => {
                    seen.silent_since = None;
                    let rollout = rollout.ok_or_else(|| self.forgotten())?;
                    if rollout.course.is_over() || rollout.course == Progress::Paused {
                        return Ok(rollout);
                    }
                }
                Err(why) => self.bear(&mut seen, &why)?,
            }
            if let Some(live) = &self.live {
                live.draw(&self.client.clone().within(TIMEOUT), self.coordinator).await;
            }
            let early = self.began.elapsed() < Duration::from_secs(1);
            tokio::time::sleep(if early { EARLY_POLL } else { POLL }).await;
        }
    }

    /// One look at the rollout, if it is still known.
    async fn look(&self, seen: &mut Seen) -> Result<Option<RolloutView>, String> {
        let client = self.client.clone().within(TIMEOUT);
        let rollouts = client.get::<Vec<RolloutView>>(self.coordinator, "/rollouts").await?;
        let Some(rollout) = rollouts.into_iter().find(|rollout| rollout.id == self.name) else {
            return Ok(None);
        };
        self.tell_steps(&rollout, seen);
        self.tell_course(&rollout, seen);
        if waits_for_evidence(&rollout, seen) {
            let status: StatusView = client.get(self.coordinator, "/status").await?;
            self.tell_verdicts(&status.verdicts, seen);
        }
        Ok(Some(rollout))
    }

    fn forgotten(&self) -> Failure {
        Failure::failed(format!("{} no longer knows of rollout {}", self.coordinator, self.name))
    }

    /// The coordinator is silent: it may come back.
    fn bear(&self, seen: &mut Seen, why: &str) -> Result<(), Failure> {
        let since = *seen.silent_since.get_or_insert_with(|| {
            output::note(format_args!("waiting for the coordinator: {why}"));
            Instant::now()
        });
        if since.elapsed() <= PATIENCE {
            return Ok(());
        }
        let name = &self.name;
        let why = format!("the coordinator does not come back: {why}; rollout {name} may go on");
        Err(Failure::failed(why))
    }

    fn say(&self, line: impl std::fmt::Display) {
        let line = line.to_string();
        if self.format == Format::Text && !self.live.as_ref().is_some_and(|live| live.keep(&line)) {
            output::line(line);
        }
    }

    fn tell_steps(&self, rollout: &RolloutView, seen: &mut Seen) {
        for step in &rollout.steps {
            if step.txid.is_some_and(|txid| seen.steps.insert(txid)) {
                self.say(describe_step(step, self.began.elapsed()));
                seen.held_since = Some(Instant::now());
                seen.waits_for.clear();
            }
        }
    }

    fn tell_course(&self, rollout: &RolloutView, seen: &mut Seen) {
        let is_news = seen.course.replace(rollout.course) != Some(rollout.course);
        if is_news && rollout.course == Progress::Returning {
            let why = rollout.why.as_deref().unwrap_or_default();
            self.say(format_args!("{:>8}  to the stable model: {why}", "back"));
        }
    }

    /// Says for whom the rollout waits, whenever that changes.
    fn tell_verdicts(&self, verdicts: &[VerdictView], seen: &mut Seen) {
        let missing: Vec<_> =
            verdicts.iter().filter(|verdict| verdict.verdict != VerdictKind::Pass).collect();
        let waits_for: Vec<_> = missing.iter().map(|verdict| (verdict.node, verdict.verdict)).collect();
        if waits_for == seen.waits_for || waits_for.is_empty() {
            return;
        }
        seen.waits_for = waits_for;
        for verdict in &missing {
            let why = verdict.why.as_deref().unwrap_or_else(|| verdict.verdict.name());
            self.say(format_args!("{:>8}  for {}: {why}", "waits", verdict.node));
        }
        let is_silent = missing.iter().any(|verdict| verdict.samples == 0);
        if is_silent && !std::mem::replace(&mut seen.has_hinted, true) {
            let to = to_coordinator(self.coordinator);
            let nodes = if to.is_empty() { "" } else { " --nodes ADDR,..." };
            self.say(format_args!(
                "{:>8}  `canary predict --seconds 60{nodes}` sends requests, `canary promote{to}` goes on without",
                ""
            ));
        }
    }

    /// What became of it, in words; `Err` unless it is complete.
    pub(crate) async fn conclude(mut self, rollout: &RolloutView) -> Result<(), Failure> {
        if let Some(live) = self.live.take() {
            // The last picture has all that was said, and stays.
            live.lock().nodes = None;
            live.draw(&self.client.clone().within(TIMEOUT), self.coordinator).await;
        }
        let to = to_coordinator(self.coordinator);
        let serves = now_serves(rollout);
        let why = rollout.why.as_deref().unwrap_or("no reason is known");
        let ends = match rollout.course {
            Progress::Completed => {
                let serves = serves.map_or(String::new(), |serves| format!(": {serves}"));
                self.say(format_args!("completed in {}{serves}", milliseconds(self.began.elapsed())));
                return Ok(());
            }
            Progress::Paused | Progress::Running | Progress::Returning => format!(
                "paused{}: {why}; {}; go on with `canary resume{to}`, with `canary promote{to}` whatever the gates \
                 say, or back with `canary abort{to}`",
                at(rollout),
                serves.map_or("nothing has changed".into(), |serves| format!("{serves} meanwhile")),
            ),
            Progress::Returned => {
                let stable = self.stable_model().await.unwrap_or_else(|| "the stable model".into());
                format!(
                    "taken back: {why}; {stable} serves everything; try again with `canary rollout {}{to}`",
                    rollout.model
                )
            }
            Progress::Stopped => {
                let stays = match (serves, self.stable_model().await) {
                    (None, _) => "nothing has changed".into(),
                    (Some(serves), None) => format!("{serves} still"),
                    (Some(serves), Some(stable)) => format!(
                        "{serves} still; go back with `canary rollout {stable} --steps 100{to}`, or on with \
                         `canary rollout {}{to}`",
                        rollout.model
                    ),
                };
                format!("stopped{}: {why}; {stays}", at(rollout))
            }
            Progress::Superseded => {
                format!("superseded: rollout {why}; `canary status` shows how far that is")
            }
        };
        Err(Failure::failed(ends))
    }

    /// The model that serves what the canary does not.
    async fn stable_model(&self) -> Option<String> {
        let client = self.client.clone().within(TIMEOUT);
        let status: StatusView = client.get(self.coordinator, "/status").await.ok()?;
        Some(status.routing.stable_model_id.to_string())
    }
}

/// Whether the hold of the last step is over, as far as can be seen, and only evidence is missing.
fn waits_for_evidence(rollout: &RolloutView, seen: &Seen) -> bool {
    let hold_ms = last_committed(rollout).map_or(0, |step| step.hold_ms);
    let held = seen.held_since.map_or(Duration::ZERO, |since| since.elapsed());
    rollout.course == Progress::Running
        && rollout.gates.is_some()
        && last_committed(rollout).is_some()
        && held >= Duration::from_millis(hold_ms).saturating_add(TIMEOUT / 10)
}

fn last_committed(rollout: &RolloutView) -> Option<&StepView> {
    rollout.steps.iter().rfind(|step| step.outcome == StepOutcome::Committed)
}

/// The step at which it ended: the one that was aborted, or the last that was committed.
fn at(rollout: &RolloutView) -> String {
    let aborted = rollout.steps.iter().find(|step| step.outcome == StepOutcome::Aborted);
    let step = aborted.or_else(|| last_committed(rollout));
    step.map_or(String::new(), |step| format!(" at {}%", step.percent))
}

/// What the last committed step made of it.
fn now_serves(rollout: &RolloutView) -> Option<String> {
    let step = last_committed(rollout)?;
    Some(format!("{} serves {}%", rollout.model, step.percent))
}

fn describe_step(step: &StepView, elapsed: Duration) -> String {
    let percent = format!("{}%", step.percent);
    let stable = if step.makes_stable { ", for good" } else { "" };
    let outcome = match (step.outcome, step.version) {
        (StepOutcome::Committed, Some(version)) => format!("committed as version {version}{stable}"),
        (StepOutcome::Committed | StepOutcome::Pending, _) => "committed".into(),
        (StepOutcome::Aborted, _) => "aborted".into(),
    };
    format!("{percent:>8}  {outcome:<34}after {:>9}", milliseconds(elapsed))
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
