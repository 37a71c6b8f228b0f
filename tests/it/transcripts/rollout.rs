//! The commands of a script about the rollout.
//!
//! Beside the rollout's invariants every single node keeps three promises, after each command and whatever
//! it is told; a broken one fails the script at that line:
//!
//! - what a node knows is what its journal says, so a crash at this moment would leave another such node;
//! - what a node says it could say again after a crash: the records it speaks from were on disk;
//! - what a node shows is what it serves, once all that it held back is out.

use std::collections::BTreeMap;

use coalmine_core::node::Node;
use coalmine_core::node::{Event, NodeId, RequestId, Word};
use coalmine_core::observation::{History, Observation, Observed};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::durable::{Durable, Record};
use coalmine_core::rollout::health::{Health, Window};
use coalmine_core::rollout::invariants::{self, Ledger};
use coalmine_core::rollout::message::{
    Answer, Course, Guard, Message, OnFailure, Order, Outcome, Request, RolloutPlan, View, Vote,
};
use coalmine_core::rollout::state::ModelId;

use super::driver::{Act, Driver, Member, Sent, Which, node, number};

/// How many rounds of timers a healed cluster gets to converge.
const SETTLE_ROUNDS: u32 = 20;

/// A cluster of rollout nodes on a stage, once the script has opened it.
#[derive(Default)]
pub(super) struct Scene {
    driver: Option<Driver<RolloutNode>>,
    ledger: Ledger,
    /// Reports of health are requests too.
    reports: u64,
    /// The broken invariants that the story has told, and how.
    broken: BTreeMap<&'static str, String>,
}

impl Scene {
    /// One command of the script; returns its story.
    pub(super) fn act(&mut self, words: &[&str]) -> Act<String> {
        let (&command, args) = words.split_first().ok_or("an empty command")?;
        if command == "cluster" {
            self.open(args)?;
        } else {
            self.command(command, args)?;
        }
        self.check()?;
        Ok(self.driver()?.take_story())
    }

    fn command(&mut self, command: &str, args: &[&str]) -> Act {
        match (command, args) {
            ("rollout", [id, request, model, steps, rest @ ..]) => {
                self.rollout(node(id)?, request, model, steps, rest)
            }
            ("steer", [id, request, order, rest @ ..]) => self.steer(node(id)?, request, order, rest),
            ("health", [id, window @ ..]) => self.health(node(id)?, window),
            ("deliver", ["all"]) => self.driver()?.deliver_all(),
            ("deliver", [_, ..]) => self.driver()?.deliver(&Which::parse(args)?),
            ("drop", [_, ..]) => self.driver()?.lose(&Which::parse(args)?),
            ("dup", [_, ..]) => self.driver()?.duplicate(&Which::parse(args)?),
            ("inject", [which, json @ ..]) => {
                self.driver()?.inject(&Which::parse(&[which])?, &json.join(" "))
            }
            ("fire", [id, timer]) => self.driver()?.fire(node(id)?, timer),
            ("autosync", ["on"]) => self.autosync(true),
            ("autosync", ["off"]) => self.autosync(false),
            ("sync", [id]) => self.sync(node(id)?, None),
            ("sync", [id, count]) => self.sync(node(id)?, Some(number(count)?)),
            ("flush", [id]) => self.driver()?.flush(node(id)?, None),
            ("flush", [id, count]) => self.driver()?.flush(node(id)?, Some(number(count)?)),
            ("complete", [id]) => self.driver()?.complete(node(id)?),
            ("crash", [id, how @ ..]) => self.crash(node(id)?, how),
            ("restart", [id]) => self.driver()?.boot(node(id)?),
            ("wipe", [id]) => self.driver()?.wipe(node(id)?),
            ("state", []) => self.state(),
            ("settle", []) => self.settle(),
            (_, _) => Err("no such command".into()),
        }
    }

    fn open(&mut self, args: &[&str]) -> Act {
        let (size, options) = args.split_first().ok_or("how many nodes?")?;
        let size: u32 = number(size)?;
        if size == 0 || self.driver.is_some() {
            return Err("one cluster of at least one node".into());
        }
        let configs = Config::cluster(size);
        let (mut aloud, mut formed) = (false, true);
        for option in options {
            match *option {
                "aloud" => aloud = true,
                "unformed" => formed = false,
                _ => return Err(format!("no such option: {option}")),
            }
        }
        let configs = configs.into_iter().map(|config| (config.me, config)).collect::<BTreeMap<_, _>>();
        let ids: Vec<_> = configs.keys().copied().collect();
        let driver = self.driver.insert(Driver::new(configs, describe_view));
        driver.quiet = !aloud;
        ids.into_iter().try_for_each(|id| driver.boot(id))?;
        if formed {
            driver.deliver_all()?;
            if !aloud {
                driver.take_story(); // of how it formed
            }
        }
        driver.quiet = false;
        Ok(())
    }

    fn rollout(&mut self, to: NodeId, id: &str, model: &str, steps: &str, rest: &[&str]) -> Act {
        let id = request_id(id)?;
        let model = ModelId::new(model).map_err(|error| error.to_string())?;
        let steps_bp = steps.split(',').map(basis_points).collect::<Act<_>>()?;
        let mut plan = RolloutPlan::unguarded(model, steps_bp, 0);
        for option in rest {
            match option.split_once('=') {
                None if *option == "gates" => {
                    (plan.gates, plan.on_failure) = (Guard::Configured, OnFailure::Return);
                }
                None if *option == "supersede" => plan.supersede = true,
                Some(("pause", ms)) => plan.pause_ms = number(ms)?,
                Some(("deadline", ms)) => plan.deadline_ms = number(ms)?,
                Some(("on_failure", "stop")) => plan.on_failure = OnFailure::Stop,
                Some(("on_failure", "pause")) => plan.on_failure = OnFailure::Pause,
                Some(_) | None => return Err(format!("no such option: {option}")),
            }
        }
        self.request(to, id, Request::StartRollout(plan))
    }

    fn steer(&mut self, to: NodeId, id: &str, order: &str, rest: &[&str]) -> Act {
        let named = Order::ALL.into_iter().find(|named| named.name() == order);
        let order = named.ok_or_else(|| format!("no such order: {order}"))?;
        let rollout = match rest {
            [] => None,
            [id] => Some(request_id(id)?),
            _ => return Err("too many words".into()),
        };
        self.request(to, request_id(id)?, Request::Steer { order, rollout })
    }

    fn health(&mut self, of: NodeId, window: &[&str]) -> Act {
        self.reports += 1;
        let (mut did, mut stable, mut version, mut model) = (Window::default(), 0, 0, "v1");
        for field in window {
            match field.split_once('=') {
                Some(("model", name)) => model = name,
                Some(("version", of)) => version = number(of)?,
                Some(("stable", samples)) => stable = number(samples)?,
                Some(("p95", ms)) => did.p95_ms = number(ms)?,
                Some(("errors", percent)) => did.error_bp = basis_points(percent)?,
                Some(("samples", count)) => did.samples = number(count)?,
                Some(_) | None => return Err(format!("no such measure: {field}")),
            }
        }
        let named = |name| ModelId::new(name).map_err(|error| error.to_string());
        let mut models = BTreeMap::from([(named(model)?, did)]);
        if stable > 0 {
            models.insert(named("v1")?, Window { samples: stable, ..Window::default() });
        }
        let health = Health { window_id: self.reports, version, models };
        let id = RequestId { client: 0, sequence: self.reports };
        self.request(of, id, Request::ReportHealth(health))
    }

    fn request(&mut self, to: NodeId, id: RequestId, request: Request) -> Act {
        let told = RolloutNode::describe(Word::Request(&request));
        let driver = self.driver()?;
        driver.write_always(&format!("{id} asks {to} to {told}"));
        driver.step(to, Event::Request { id, request })
    }

    fn autosync(&mut self, on: bool) -> Act {
        self.driver()?.autosync = on;
        Ok(())
    }

    fn sync(&mut self, id: NodeId, count: Option<usize>) -> Act {
        let driver = self.driver()?;
        driver.flush(id, count)?;
        driver.complete(id)
    }

    fn crash(&mut self, id: NodeId, how: &[&str]) -> Act {
        let (mut keep, mut torn) = (0, false);
        for word in how {
            match word.split_once('=') {
                Some(("keep", count)) => keep = number(count)?,
                None if *word == "torn" => torn = true,
                Some(_) | None => return Err(format!("no such crash: {word}")),
            }
        }
        self.driver()?.crash(id, keep, torn)
    }

    fn state(&mut self) -> Act {
        let driver = self.driver()?;
        let lines: Vec<_> = driver.members.iter().map(|(id, member)| describe_member(*id, member)).collect();
        let in_flight = driver.in_flight();
        lines.iter().for_each(|line| driver.write_always(line));
        if in_flight > 0 {
            driver.write_always(&format!("in flight: {in_flight} messages"));
        }
        Ok(())
    }

    /// Heals everything, then lets a fair schedule run: all messages arrive, then each timer fires once.
    fn settle(&mut self) -> Act {
        let driver = self.driver()?;
        driver.quiet = true;
        driver.autosync = true;
        let ids: Vec<_> = driver.members.keys().copied().collect();
        for &id in &ids {
            if driver.members[&id].host.is_none() {
                driver.boot(id)?;
            } else if driver.members[&id].disk.unsynced() > 0 {
                driver.flush(id, None)?;
                driver.complete(id)?;
            }
        }
        let mut rounds = 0;
        driver.deliver_all()?;
        self.check()?;
        let verdict = loop {
            let verdict = self.observe(invariants::converged)?;
            if verdict.is_ok() || rounds == SETTLE_ROUNDS {
                break verdict;
            }
            rounds += 1;
            for &id in &ids {
                self.fire_each(id)?;
            }
        };
        let driver = self.driver()?;
        driver.quiet = false;
        driver.write_always(&match verdict {
            Ok(()) => format!("converged after {rounds} rounds of timers"),
            Err(why) => format!("NOT CONVERGED after {rounds} rounds of timers: {why}"),
        });
        self.state()
    }

    fn fire_each(&mut self, id: NodeId) -> Act {
        let driver = self.driver()?;
        let armed = driver.members[&id].host.as_ref().map(|host| host.timers().to_vec());
        for timer in armed.unwrap_or_default() {
            driver.step(id, Event::Timer(timer))?;
            driver.deliver_all()?;
        }
        self.check()
    }

    /// Takes in the facts and checks all invariants. A broken one is part of the story, once.
    fn check(&mut self) -> Act {
        self.check_each_node()?;
        for (id, fact) in self.driver()?.take_facts() {
            History::<RolloutNode>::observe(&mut self.ledger, id, &fact);
        }
        for invariant in invariants::all() {
            match self.observe(invariant.check)? {
                Ok(()) => drop(self.broken.remove(invariant.name)),
                Err(why) => {
                    if self.broken.get(invariant.name) != Some(&why) {
                        self.driver()?.write_always(&format!("BROKEN {}: {why}", invariant.name));
                        self.broken.insert(invariant.name, why);
                    }
                }
            }
        }
        Ok(())
    }

    /// The promises of single nodes; see the module.
    fn check_each_node(&mut self) -> Act {
        let driver = self.driver()?;
        for Sent { from, durable, message } in driver.take_sent() {
            let member = &driver.members[&from];
            let disk = member.disk.durable().get(..durable).ok_or("a durable record is gone")?;
            if !is_backed(&member.config, disk, &message.message) {
                let told = RolloutNode::describe(Word::Message(&message));
                return Err(format!("{from} says `{told}`, and nothing on its disk says so"));
            }
        }
        for (id, member) in &driver.members {
            let Some(host) = &member.host else { continue };
            let node = host.node();
            if *node.durable() != Durable::recover(&member.config, member.disk.written()) {
                return Err(format!("{id} knows something else than its journal"));
            }
            let shown = member.shown.as_ref().filter(|_| host.held() == 0);
            let stale = |view: &View| {
                let durable = node.durable();
                (&view.routing, view.in_doubt, &view.rollouts, view.split_brain, view.joining.is_some())
                    != (
                        &durable.committed,
                        durable.prepared_txid(),
                        &durable.rollouts,
                        node.split_brain(),
                        node.is_joining(),
                    )
            };
            if shown.is_some_and(stale) {
                return Err(format!("{id} shows something else than it serves"));
            }
        }
        Ok(())
    }

    fn observe<R>(&self, look: impl Fn(&Observation<'_, RolloutNode, Ledger>) -> R) -> Act<R> {
        let driver = self.driver.as_ref().ok_or("there is no cluster yet")?;
        let nodes = driver.members.iter().map(|(&id, member)| Observed {
            id,
            config: &member.config,
            state: member.host.as_ref().map(|host| host.node()),
            durable: Some(member.disk.durable()),
            forgotten: 0,
            timers: member.host.as_ref().map_or(&[][..], |host| host.timers()),
            early_output: None,
        });
        Ok(look(&Observation { nodes: nodes.collect(), history: &self.ledger }))
    }

    fn driver(&mut self) -> Act<&mut Driver<RolloutNode>> {
        self.driver.as_mut().ok_or_else(|| "there is no cluster yet".into())
    }
}

/// Whether a node with these records on its disk may say this: a crash cannot take it back.
fn is_backed(config: &Config, disk: &[Record], message: &Message) -> bool {
    let durable = Durable::recover(config, disk);
    let voted = |of| disk.iter().any(|record| matches!(record, Record::Voted { txid, .. } if *txid == of));
    let decided = |of, how| {
        disk.iter().any(|record| {
            matches!(record, Record::Decided { txid, outcome, .. } if (*txid, *outcome) == (of, how))
        })
    };
    let serves = |of| durable.committed.txid == Some(of);
    match message {
        Message::PrepareReq { txid, .. } => durable.epoch >= txid.epoch,
        Message::PrepareResp { txid, vote: Vote::Commit } => voted(*txid),
        Message::PrepareResp { txid, vote: Vote::Abort(_) } => durable.floor >= *txid,
        Message::Decision { txid, outcome, .. } => {
            decided(*txid, *outcome) || (*outcome == Outcome::Commit && serves(*txid))
        }
        Message::DecisionAck { txid } => durable.floor >= *txid && durable.prepared_txid() != Some(*txid),
        Message::DecisionResp { txid, answer: Answer::Committed } => {
            decided(*txid, Outcome::Commit) || serves(*txid)
        }
        // A question about a version that another transaction has taken is answered so as well, but nobody
        // asks it whom the protocol has brought there.
        Message::DecisionResp { txid, answer: Answer::Aborted } => {
            !decided(*txid, Outcome::Commit) && (durable.floor >= *txid || durable.epoch > txid.epoch)
        }
        Message::DecisionResp { txid, answer: Answer::Uncertain } => voted(*txid),
        Message::Heartbeat { last_committed_version, .. } => {
            durable.committed.version >= *last_committed_version
        }
        Message::StateSync { state } => durable.committed.version >= state.version,
        Message::DecisionReq { txid, .. } => voted(*txid),
        Message::JoinResp { state, begun, .. } => {
            durable.admitted.is_some()
                && durable.committed.version >= state.version
                && (durable.generation(), durable.epoch) >= (begun.generation, begun.epoch)
        }
        Message::AdmitResp { generation, known, .. } => {
            let state = known.as_ref().map(|known| &known.state);
            durable.generation() >= *generation
                && state.is_none_or(|state| durable.committed.version >= state.version)
        }
        Message::DecisionResp { answer: Answer::Unknown, .. }
        | Message::HealthSnapshot { .. }
        | Message::RegionReq { .. }
        | Message::RegionResp { .. }
        | Message::JoinReq { .. }
        | Message::Unlike { .. }
        | Message::AdmitReq { .. } => true,
    }
}

fn describe_view(view: &View) -> String {
    let mut told = view.routing.to_string();
    if let Some(txid) = view.in_doubt {
        told += &format!(", in doubt about {txid}");
    }
    if view.split_brain {
        told += ", SPLIT BRAIN";
    }
    if let Some(waiting) = &view.joining {
        told += &format!(", {waiting}");
    }
    told
}

fn describe_member(id: NodeId, member: &Member<RolloutNode>) -> String {
    let disk = (member.disk.durable().len(), member.disk.unsynced());
    let unsynced = if disk.1 > 0 { format!(" + {} unsynced", disk.1) } else { String::new() };
    let Some(host) = &member.host else { return format!("{id}: down, {} records", disk.0) };
    let (node, durable) = (host.node(), host.node().durable());
    let timers: Vec<_> =
        host.timers().iter().map(|timer| RolloutNode::describe(Word::Timer(timer))).collect();
    let doubt = durable.prepared_txid().map_or(String::new(), |txid| format!(", in doubt about {txid}"));
    let alarm = if node.split_brain() { ", SPLIT BRAIN" } else { "" };
    let joining = if node.is_joining() { ", joining" } else { "" };
    let course = durable.rollouts.last().filter(|rollout| rollout.course != Course::Going);
    let course = course.map_or(String::new(), |rollout| format!(", {} {}", rollout.id, rollout.course));
    format!(
        "{id}: {}{doubt}{alarm}{joining}{course}, floor {}, {} records{unsynced}, timers: {}",
        node.committed(),
        durable.floor,
        disk.0,
        timers.join(", "),
    )
}

fn request_id(word: &str) -> Act<RequestId> {
    let parts = word.strip_prefix('c').and_then(|word| word.split_once('/'));
    let (client, sequence) = parts.ok_or_else(|| format!("{word:?} is not a request, such as c1/1"))?;
    Ok(RequestId { client: number(client)?, sequence: number(sequence)? })
}

/// A percentage such as `5` or `0.25`, in basis points.
fn basis_points(word: &str) -> Act<u32> {
    let percent: f64 = number(word)?;
    Ok((percent * 100.0).round() as u32)
}
