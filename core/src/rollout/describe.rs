//! The rollout's vocabulary in words, for stories and transcripts.

use super::RolloutNode;
use super::durable::Record;
use super::fleet::{Fleet, FleetCourse, FleetWhy, Part, Served, Standing, Task};
use super::message::{
    AbortReason, Answer, Course, Fact, Guard, Message, Outcome, Refusal, Reply, Request, RolloutPlan, Timer,
    Vote, Waiting, Why,
};
use crate::node::Word;

pub(super) fn describe(word: Word<'_, RolloutNode>) -> String {
    match word {
        Word::Message(envelope) => describe_message(&envelope.message),
        Word::Timer(timer) => describe_timer(timer),
        Word::Record(record) => describe_record(record),
        Word::Request(request) => describe_request(request),
        Word::Reply(reply) => describe_reply(reply),
        Word::Fact(fact) => describe_fact(fact),
    }
}

fn describe_message(message: &Message) -> String {
    match message {
        Message::PrepareReq { txid, state, .. } => format!("PREPARE_REQ {txid}: {state}"),
        Message::PrepareResp { txid, vote: Vote::Commit } => format!("PREPARE_RESP {txid}: COMMIT"),
        Message::PrepareResp { txid, vote: Vote::Abort(refusal) } => {
            format!("PREPARE_RESP {txid}: ABORT ({})", describe_refusal(refusal))
        }
        Message::Decision { txid, outcome, .. } => format!("DECISION {txid}: {}", describe_outcome(*outcome)),
        Message::DecisionAck { txid } => format!("DECISION_ACK {txid}"),
        Message::DecisionReq { txid, resolve: false, .. } => format!("DECISION_REQ {txid}"),
        Message::DecisionReq { txid, resolve: true, .. } => format!("DECISION_REQ {txid} as the resolver"),
        Message::DecisionResp { txid, answer } => {
            let answer = match answer {
                Answer::Committed => "committed",
                Answer::Aborted => "aborted",
                Answer::Uncertain => "in doubt too",
                Answer::Unknown => "not known",
            };
            format!("DECISION_RESP {txid}: {answer}")
        }
        Message::Heartbeat { last_committed_version, digest, .. } => {
            format!("HEARTBEAT v{last_committed_version} {:04x}", digest >> 48)
        }
        Message::HealthSnapshot { health } => format!("HEALTH_SNAPSHOT {health}"),
        Message::StateSync { state } => format!("STATE_SYNC {state}"),
        Message::JoinReq { .. } => "JOIN_REQ".into(),
        Message::Unlike { .. } => "UNLIKE".into(),
        Message::JoinResp { state, begun, .. } => format!("JOIN_RESP {state}, {begun} has begun"),
        Message::AdmitReq { generation, takes_over: false, .. } => {
            format!("ADMIT_REQ generation {generation}")
        }
        Message::AdmitReq { generation, takes_over: true, .. } => {
            format!("ADMIT_REQ generation {generation}, takes over")
        }
        Message::AdmitResp { generation, known: None, .. } => {
            format!("ADMIT_RESP generation {generation} is taken")
        }
        Message::AdmitResp { generation, known: Some(known), .. } => {
            let doubt = known.in_doubt.as_ref().and_then(|state| state.txid);
            let doubt = doubt.map_or(String::new(), |txid| format!(", in doubt about {txid}"));
            let joining = if known.joining.is_some() { ", joining too" } else { "" };
            format!("ADMIT_RESP generation {generation}: {}{doubt}{joining}", known.state)
        }
        Message::RegionReq { fleet, task } => format!("REGION_REQ {fleet}: {task}"),
        Message::RegionResp { fleet, back, standing, .. } => {
            let way = if *back { "the way back" } else { "its part" };
            format!("REGION_RESP {fleet}: {way} {standing}")
        }
    }
}

fn describe_timer(timer: &Timer) -> String {
    let name = match timer {
        Timer::Deadline => "deadline",
        Timer::Stale(member) => return format!("evidence of {member} is stale"),
        Timer::Vote => "vote timeout",
        Timer::Resend => "resend",
        Timer::Step => "next step",
        Timer::Inquire => "inquire",
        Timer::Heartbeat => "heartbeat",
        Timer::Silence => "the coordinator is silent",
        Timer::Join => "join",
        Timer::Fleet => "ask the regions",
    };
    name.into()
}

fn describe_record(record: &Record) -> String {
    match record {
        Record::Epoch { epoch } => format!("EPOCH {epoch}"),
        Record::Accepted(rollout) => format!("ACCEPTED {} of {}", rollout.id, rollout.model()),
        Record::Steered { by, course } => {
            let by = by.as_ref().map_or(String::new(), |by| format!(" (asked by {})", by.id));
            format!("STEERED: {course}{by}")
        }
        Record::Voted { txid, state, .. } => format!("VOTED COMMIT {txid}: {state}"),
        Record::Refused { txid } => format!("REFUSED up to {txid}"),
        Record::Decided { txid, outcome, .. } => format!("DECIDED {txid}: {}", describe_outcome(*outcome)),
        Record::Snapshot(all) => format!("SNAPSHOT of {}, up to {}", all.committed, all.floor),
        Record::Queued(queued) => match queued.behind {
            Some(before) => format!("QUEUED {} of {}, behind {before}", queued.id, queued.plan.model),
            None => format!("QUEUED {} of {}", queued.id, queued.plan.model),
        },
        Record::Outdated => "OUTDATED".into(),
        Record::Installed { state } => format!("INSTALLED {state}"),
        Record::Granted { generation, coordinator } => {
            format!("GRANTED generation {generation} to {coordinator}")
        }
        Record::Changing { id, change } => format!("CHANGING {id}: {change}"),
        Record::TakingOver { id, generation } => {
            format!("TAKING OVER as generation {generation} (asked by {id})")
        }
        Record::Resolved { id, txid, outcome } => {
            format!("RESOLVED {txid}: {} (asked by {id})", describe_outcome(*outcome))
        }
        Record::Fleet { fleet, .. } => format!("FLEET {fleet}"),
        Record::Recalled { fleet } => format!("RECALLED: its part of {fleet} never begins"),
        Record::Admitted { state, begun, .. } => format!("ADMITTED {state}, {begun} had begun"),
    }
}

fn describe_plan(plan: &RolloutPlan) -> String {
    let steps: Vec<_> = plan.steps_bp.iter().map(|&bp| format!("{}%", f64::from(bp) / 100.0)).collect();
    let guarded = if plan.gates == Guard::Off { "" } else { ", guarded" };
    let supersede = if plan.supersede { ", instead of what is under way" } else { "" };
    format!("roll out {}: {}{guarded}{supersede}", plan.model, steps.join(", "))
}

fn describe_request(request: &Request) -> String {
    match request {
        Request::QueueRollout(plan) => format!("queue: {}", describe_plan(plan)),
        Request::StartRollout(plan) => describe_plan(plan),
        Request::Steer { order, rollout } => {
            let which = rollout.map_or(String::from("the rollout under way"), |id| id.to_string());
            format!("{} {which}", order.name())
        }
        Request::ReportHealth(health) => format!("report health: {health}"),
        Request::Change(change) => format!("change the cluster: {change}"),
        Request::TakeOver { from } => format!("take over from {from}"),
        Request::Resolve { txid, outcome } => format!("resolve {txid}: {}", describe_outcome(*outcome)),
        Request::StartFleet(plan) => format!("region by region: {}", describe_plan(plan)),
        Request::AbortFleet => "abort the rollout over regions".into(),
    }
}

fn describe_reply(reply: &Reply) -> String {
    match reply {
        Reply::Accepted { id } => format!("accepted {id}"),
        Reply::Ordered { rollout } => format!("ordered, for {rollout}"),
        Reply::Changing { id } => format!("the change is accepted, {id}"),
        Reply::TakingOver => "takes over".into(),
        Reply::Resolved { txid } => format!("resolved {txid}"),
        Reply::Unfit { why } => format!("unfit: {why}"),
        Reply::Done => "done".into(),
        Reply::NotCoordinator { coordinator } => format!("ask {coordinator}, the coordinator"),
        Reply::Busy { running } => format!("busy with {running}"),
        Reply::SplitBrain => "split brain: nothing may change".into(),
        Reply::Joining(waiting) => format!("not a member of the cluster: {waiting}"),
        Reply::Invalid { why } => format!("invalid: {why}"),
    }
}

fn describe_fact(fact: &Fact) -> String {
    match fact {
        Fact::Accepted { id } => format!("accepted rollout {id}"),
        Fact::Region { place } => format!("is of region {}", place + 1),
        Fact::Fleet(fleet) => format!("leads {fleet}"),
        Fact::Voted { txid, version } => format!("voted COMMIT for {txid} (v{version})"),
        Fact::Passed { txid, passed } => format!("its evidence passes for {txid}: {}", passed.health),
        Fact::Steered { rollout, course } => format!("{rollout}: {course}"),
        Fact::Refused { txid, refusal } => format!("refused {txid}: {}", describe_refusal(refusal)),
        Fact::PresumedAborted { txid } => format!("no record of {txid}: presumed aborted"),
        Fact::Committed { txid, version, .. } => format!("committed v{version} by {txid}"),
        Fact::Aborted { txid, reason: None } => format!("aborted {txid}"),
        Fact::Aborted { txid, reason: Some(reason) } => format!("aborted {txid}: {reason}"),
        Fact::CaughtUp { version, .. } => format!("caught up to v{version}"),
        Fact::EmptyJournal => "has an empty journal: a new node, or a new disk".into(),
        Fact::Granted { generation } => format!("granted generation {generation} to the coordinator"),
        Fact::Admitted { version, .. } => format!("is a member, and serves v{version}"),
        Fact::KeptOut { by, txid } => {
            format!("EXCLUDED: {by} is in doubt about {txid}, and only the lost disk may have known")
        }
        Fact::InDoubt { txid, resolver: false } => format!("in doubt about {txid}"),
        Fact::InDoubt { txid, resolver: true } => format!("in doubt about {txid}, acts as the resolver"),
        Fact::SplitBrain { with, version } => format!("SPLIT BRAIN: {with} holds another v{version}"),
        Fact::Changing { change } => format!("the cluster is to change: {change}"),
        Fact::TakingOver { generation } => format!("takes over, as generation {generation}"),
        Fact::Resolved { txid, outcome, by } => {
            format!("AN OPERATOR RESOLVED {txid}: {}, by {by}", describe_outcome(*outcome))
        }
        Fact::Outdated { version } => {
            format!(
                "ITS JOURNAL IS AN OLD ONE: v{version} was committed since, or an operator's word was wrong; it joins as if it had none"
            )
        }
        Fact::Dismissed { version } => format!("is a member no longer, since v{version}"),
        Fact::Unlike { with, what } => format!("{with} was told something else of the cluster: {what}"),
        Fact::Foreign { from, theirs, mine } => {
            format!("{from} speaks for another cluster, {theirs}: this is {mine}")
        }
        Fact::Ignored { from, why } => format!("ignored a message from {from}: {why}"),
    }
}

fn describe_outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Commit => "COMMIT",
        Outcome::Abort => "ABORT",
    }
}

fn describe_refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::VersionNotNext { proposed, committed } => {
            format!("v{proposed} is not the version after v{committed}")
        }
        Refusal::Busy { txid } => format!("prepared for {txid}"),
        Refusal::Gate(breach) => format!("the canary failed: {breach}"),
        Refusal::NoEvidence { samples, needed } => {
            format!("no evidence: {samples} samples of the canary, {needed} needed")
        }
        Refusal::StaleEvidence { window_id } => format!("stale evidence: window {window_id} was the last"),
        Refusal::SplitBrain => "split brain".into(),
        Refusal::Stale { floor } => format!("promised not to vote for {floor} or what is before it"),
        Refusal::Resolved { by } => format!("had not voted when {by} asked as the resolver"),
        Refusal::Members => "not all members are asked, or more than one changes".into(),
        Refusal::Rejoined => "it had begun when this node was admitted".into(),
    }
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((by, txid)) = self.excluded {
            return write!(f, "{by} is in doubt about {txid}, and only the lost disk may have known");
        }
        if let Some((with, what)) = self.unlike.first() {
            return write!(f, "{with} was told something else of the cluster: {what}");
        }
        let names: Vec<_> = self.members.iter().map(ToString::to_string).collect();
        write!(f, "waiting to be admitted by {}", names.join(", "))
    }
}

impl std::fmt::Display for AbortReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { by, refusal } => write!(f, "{by} refused: {}", describe_refusal(refusal)),
            Self::Timeout { missing } => {
                let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
                write!(f, "no vote from {} in time", names.join(", "))
            }
            Self::CoordinatorRestarted => write!(f, "the coordinator restarted before it had decided"),
            Self::Resolved { by } => write!(f, "{by} resolved that it cannot commit"),
            Self::Ordered => write!(f, "an operator's order ended the vote"),
            Self::Outrun { by, floor } => {
                write!(f, "{by} has promised something about {floor}, which this coordinator has not begun")
            }
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&describe_refusal(self))
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ordered => write!(f, "an operator's order"),
            Self::Judged { at, refusal } => write!(f, "{at}: {refusal}"),
            Self::Aborted(reason) => write!(f, "a step was aborted: {reason}"),
            Self::Succeeded { by } => write!(f, "{by} coordinates now"),
            Self::Follows { failed } => {
                write!(f, "it was queued behind {failed}, which did not come to its end")
            }
            Self::Senseless(why) => write!(f, "when its turn came: {why}"),
            Self::Recalled { fleet } => write!(f, "{fleet}, the rollout over all regions, is taken back"),
        }
    }
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::State => write!(f, "what do you serve?"),
            Self::Out { plan, was } => write!(f, "{}, from {was}", describe_plan(plan)),
            Self::Back { model, to, .. } => write!(f, "back from {model} to {to}"),
        }
    }
}

impl std::fmt::Display for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { life, version, stable } = self;
        write!(f, "{stable} at v{version} of generation {}", life.generation)
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serves(served) => write!(f, "has not begun: it serves {served}"),
            Self::Waits { why, .. } => write!(f, "waits: {why}"),
            Self::UnderWay { course, .. } => write!(f, "{course}"),
            Self::Done => write!(f, "is done"),
            Self::Failed { why } => write!(f, "has failed: {why}"),
        }
    }
}

impl std::fmt::Display for FleetCourse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Going => write!(f, "goes on"),
            Self::Returning(why) => write!(f, "returns ({why})"),
            Self::Done => write!(f, "is done"),
            Self::Returned(why) => write!(f, "has returned ({why})"),
            Self::Stopped { why } => write!(f, "has stopped ({why})"),
        }
    }
}

impl std::fmt::Display for FleetWhy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ordered => write!(f, "an operator's order"),
            Self::Failed { region, why } => write!(f, "{region} failed: {why}"),
        }
    }
}

impl std::fmt::Display for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} {}", self.id, self.plan.model, self.course)?;
        for part in &self.parts {
            let is = match part {
                Part { is_back: true, .. } => "back",
                Part { is_done: true, .. } => "done",
                Part { was: Some(_), .. } => "asked",
                Part { .. } => "ahead",
            };
            write!(f, "; {} {is}", part.region)?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Going => write!(f, "goes on"),
            Self::Paused(why) => write!(f, "is paused ({why})"),
            Self::Promoted => write!(f, "goes on at once, by an operator's order"),
            Self::Returning(why) => write!(f, "returns to the stable model ({why})"),
            Self::Returned(why) => write!(f, "has returned to the stable model ({why})"),
            Self::Stopped(why) => write!(f, "has stopped ({why})"),
            Self::Superseded { by } => write!(f, "is superseded by {by}"),
            Self::Kept => write!(f, "has passed its last gates"),
        }
    }
}
