//! The rollout's vocabulary in words, for stories and transcripts.

use super::RolloutNode;
use super::message::{
    AbortReason, Answer, Fact, Message, Outcome, Record, Refusal, Reply, Request, Timer, Vote, Waiting,
};
use crate::node::Word;

pub(super) fn describe(word: Word<'_, RolloutNode>) -> String {
    match word {
        Word::Message(message) => describe_message(message),
        Word::Timer(timer) => describe_timer(timer).into(),
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
        Message::JoinResp { state, begun, .. } => format!("JOIN_RESP {state}, {begun} has begun"),
        Message::AdmitReq { generation, .. } => format!("ADMIT_REQ generation {generation}"),
        Message::AdmitResp { generation, known: None, .. } => {
            format!("ADMIT_RESP generation {generation} is taken")
        }
        Message::AdmitResp { generation, known: Some(known), .. } => {
            let doubt = known.in_doubt.as_ref().and_then(|state| state.txid);
            let doubt = doubt.map_or(String::new(), |txid| format!(", in doubt about {txid}"));
            let joining = if known.joining.is_some() { ", joining too" } else { "" };
            format!("ADMIT_RESP generation {generation}: {}{doubt}{joining}", known.state)
        }
    }
}

fn describe_timer(timer: &Timer) -> &'static str {
    match timer {
        Timer::Vote => "vote timeout",
        Timer::Resend => "resend",
        Timer::Step => "next step",
        Timer::Inquire => "inquire",
        Timer::Heartbeat => "heartbeat",
        Timer::Join => "join",
    }
}

fn describe_record(record: &Record) -> String {
    match record {
        Record::Epoch { epoch } => format!("EPOCH {epoch}"),
        Record::Accepted(rollout) => format!("ACCEPTED {} of {}", rollout.id, rollout.model),
        Record::Voted { txid, state, .. } => format!("VOTED COMMIT {txid}: {state}"),
        Record::Refused { txid } => format!("REFUSED up to {txid}"),
        Record::Decided { txid, outcome, .. } => format!("DECIDED {txid}: {}", describe_outcome(*outcome)),
        Record::Installed { state } => format!("INSTALLED {state}"),
        Record::Granted { generation } => format!("GRANTED generation {generation}"),
        Record::Admitted { state, begun } => format!("ADMITTED {state}, {begun} had begun"),
    }
}

fn describe_request(request: &Request) -> String {
    match request {
        Request::StartRollout { model, steps_bp, .. } => {
            let steps: Vec<_> = steps_bp.iter().map(|&bp| format!("{}%", f64::from(bp) / 100.0)).collect();
            format!("roll out {model}: {}", steps.join(", "))
        }
        Request::ReportHealth(health) => format!("report health: {health}"),
    }
}

fn describe_reply(reply: &Reply) -> String {
    match reply {
        Reply::Accepted { id } => format!("accepted {id}"),
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
        Fact::Voted { txid, version } => format!("voted COMMIT for {txid} (v{version})"),
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
        Refusal::Latency { p95_ms, limit_ms } => format!("p95 {p95_ms} ms is above {limit_ms} ms"),
        Refusal::Errors { error_bp, limit_bp } => {
            let percent = |bp: u32| f64::from(bp) / 100.0;
            format!("{}% errors is above {}%", percent(*error_bp), percent(*limit_bp))
        }
        Refusal::NoEvidence { samples, needed } => format!("{samples} samples, {needed} needed"),
        Refusal::SplitBrain => "split brain".into(),
        Refusal::Stale => "promised not to vote for it".into(),
        Refusal::Resolved { by } => format!("had not voted when {by} asked as the resolver"),
        Refusal::Members => "its members are not those of the configuration".into(),
        Refusal::Rejoined => "it had begun when this node was admitted".into(),
    }
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((by, txid)) = self.excluded {
            return write!(f, "{by} is in doubt about {txid}, and only the lost disk may have known");
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
        }
    }
}
