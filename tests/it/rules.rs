//! Rules of the rollout that nothing else would miss, because another rule does the work: each is broken here on
//! purpose, and must be seen.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at what it asks about")]

use std::collections::BTreeSet;

use coalmine::rollout::{RolloutSystem, scripted};
use coalmine_core::host::Host;
use coalmine_core::node::Output;
use coalmine_core::node::{Event, Node, NodeId};
use coalmine_core::observation::{History, Observation, Observed};
use coalmine_core::rollout::RolloutNode;
use coalmine_core::rollout::config::Config;
use coalmine_core::rollout::durable::Record;
use coalmine_core::rollout::healing::Healing;
use coalmine_core::rollout::invariants::{self, Ledger};
use coalmine_core::rollout::message::{Answer, Envelope, Fact, Message, Refusal, Timer};
use coalmine_core::rollout::state::{ModelId, RoutingState, Txid, WHOLE_BP};
use coalmine_sim::engine::report::RunOptions;
use coalmine_sim::spec::faults::Effect;
use coalmine_sim::spec::scenario::Scenario;
use coalmine_sim::spec::system::System;
use coalmine_sim::spec::verdict::{Engine, Verdict};

const FIRST: Txid = Txid { generation: 1, epoch: 1, number: 1 };

fn config(member: u32) -> Config {
    let members = RolloutSystem::new(3, 1).members();
    members.into_iter().find(|(id, _)| *id == NodeId(member)).expect("a member").1
}

/// The disk of a member of a cluster that has formed.
fn formed(member: u32) -> Vec<Record> {
    RolloutSystem::new(3, 1).first_disk(NodeId(member))
}

fn boot(config: &Config, disk: &[Record]) -> Host<RolloutNode> {
    Host::boot(config, disk, 1, &mut |_| 0, &mut Vec::new())
}

fn observed<'a>(config: &'a Config, host: &'a Host<RolloutNode>) -> Observed<'a, RolloutNode> {
    let (state, timers) = (Some(host.node()), host.timers());
    Observed { id: config.me, config, state, durable: None, forgotten: 0, timers, early_output: None }
}

/// Why this invariant is broken, if it is.
fn broken(invariant: &str, node: Observed<'_, RolloutNode>, history: &Ledger) -> Option<String> {
    let invariant = invariants::all().into_iter().find(|it| it.name == invariant).expect("an invariant");
    (invariant.check)(&Observation { nodes: vec![node], history }).err()
}

/// A state so many versions after the first.
fn version(versions: u64) -> RoutingState {
    let first = RoutingState::initial(&config(1).initial_model, &config(1).members);
    let model = ModelId::new("v2").expect("a name");
    (0..versions).fold(first, |state, _| state.next(&model, WHOLE_BP, FIRST).expect("a step"))
}

/// The disk of a member that has voted for a version.
fn voted(member: u32, versions: u64) -> Vec<Record> {
    let members = config(member).members;
    let vote = Record::Voted { txid: FIRST, state: version(versions), members, passed: None };
    formed(member).into_iter().chain([vote]).collect()
}

/// A coordinator that collects votes.
fn collects_votes() -> Host<RolloutNode> {
    let (config, none) = (config(1), &mut |_| 0);
    let mut host = boot(&config, &formed(1));
    let operation = RolloutSystem::new(3, 1).operations().remove(0);
    let asked = Event::Request { id: operation.id, request: operation.request };
    host.step(&config, asked, none, &mut Vec::new());
    assert!(host.node().durable().prepared.is_some(), "it has voted itself");
    host
}

/// A timer that somebody forgets to arm, or to cancel, is seen at once, whoever would heal it.
#[test]
fn who_waits_has_its_timer_armed_and_no_other() {
    use Timer::{Heartbeat, Inquire, Join, Resend, Silence, Vote};
    let lives = [
        (1, boot(&config(1), &formed(1)), vec![Heartbeat]),
        (1, collects_votes(), vec![Vote, Resend, Heartbeat]),
        (1, boot(&config(1), &[]), vec![Join]),
        (2, boot(&config(2), &formed(2)), vec![Heartbeat, Silence]),
        (2, boot(&config(2), &voted(2, 1)), vec![Inquire, Heartbeat, Silence]),
        (2, boot(&config(2), &[]), vec![Join]),
    ];
    for (member, host, timers) in lives {
        let (config, nothing) = (config(member), Ledger::default());
        let with = |timers: &[Timer]| {
            broken("timers-fit", Observed { timers, ..observed(&config, &host) }, &nothing)
        };
        assert_eq!(host.timers().iter().collect::<BTreeSet<_>>(), timers.iter().collect(), "n{member}");
        assert_eq!(with(host.timers()), None, "n{member}");
        for forgotten in &timers {
            let rest: Vec<_> = timers.iter().filter(|timer| *timer != forgotten).cloned().collect();
            assert!(with(&rest).is_some_and(|why| why.contains("is not armed")), "n{member} {forgotten:?}");
        }
        for left in [Vote, Inquire, Heartbeat, Join].iter().filter(|timer| !timers.contains(timer)) {
            let more: Vec<_> = timers.iter().chain([left]).cloned().collect();
            assert!(with(&more).is_some_and(|why| why.contains("waits for nothing")), "n{member} {left:?}");
        }
    }
}

/// Nobody waits for what its nodes do not do.
#[test]
fn a_timer_of_a_healing_that_is_off_need_not_be_armed() {
    let (without, nothing) =
        (|healing, config| Config { without: Some(healing), ..config }, Ledger::default());
    let asks = without(Healing::Questions, config(2));
    let host = boot(&asks, &voted(2, 1));
    assert_eq!(broken("timers-fit", observed(&asks, &host), &nothing), None);
    let resends = without(Healing::Resends, config(1));
    let timers = &[Timer::Vote, Timer::Heartbeat];
    assert_eq!(
        broken("timers-fit", Observed { timers, ..observed(&resends, &collects_votes()) }, &nothing),
        None
    );
}

/// A vote for any other version, and a doubt that what was caught up with has ended, are seen.
#[test]
fn who_is_in_doubt_is_in_doubt_about_its_next_version() {
    let config = config(2);
    for (versions, is_fine) in [(1, true), (2, false), (0, false)] {
        let host = boot(&config, &voted(2, versions));
        let why = broken("votes-for-the-next", observed(&config, &host), &Ledger::default());
        assert_eq!(why.is_none(), is_fine, "{why:?}");
    }
}

/// Rule 9: a proposal is not refused for a doubt that it ends.
#[test]
fn a_proposal_that_ends_a_doubt_is_not_refused_for_it() {
    let (config, mut history) = (config(2), Ledger::default());
    let host = boot(&config, &formed(2));
    assert_eq!(broken("proposals-tell", observed(&config, &host), &history), None);
    let refusal = Refusal::Busy { txid: FIRST };
    history.observe(NodeId(2), &Fact::Refused { txid: Txid { number: 2, ..FIRST }, refusal });
    let why = broken("proposals-tell", observed(&config, &host), &history).expect("it is broken");
    assert!(why.contains("n2 refused 1.2"), "{why}");
    let off = Config { without: Some(Healing::Proposals), ..config };
    assert_eq!(broken("proposals-tell", observed(&off, &host), &history), None);
}

/// Who serves one version and shows another one to readers has not come to rest.
#[test]
fn what_is_shown_at_rest_is_what_is_served() {
    let configs = [1, 2, 3].map(config);
    let hosts = configs.each_ref().map(|config| boot(config, &formed(config.me.0)));
    let converged = |history: &Ledger| {
        let nodes = configs.iter().zip(&hosts).map(|(config, host)| observed(config, host)).collect();
        invariants::converged(&Observation { nodes, history })
    };
    let mut history = Ledger::default();
    assert_eq!(converged(&history), Ok(()));
    history.shows.insert(NodeId(2), 0);
    assert_eq!(converged(&history), Ok(()));
    history.shows.insert(NodeId(2), 7);
    assert_eq!(converged(&history), Err("n2 shows v7 to readers, and serves v0".into()));
}

/// The coordinator decides, so it is never in doubt: a participant that hears so would resolve instead of waiting.
#[test]
fn a_coordinator_is_never_in_doubt() {
    let rests_on = RolloutNode::rests_on().expect("the rollout says");
    let message = Message::DecisionResp { txid: FIRST, answer: Answer::Uncertain };
    let message = &Envelope { message, cluster: None };
    for (member, is_fine) in [(1, false), (2, true)] {
        let told = Output::Message { to: NodeId(3), message };
        assert_eq!(rests_on(&config(member), &told, &voted(member, 1)).is_ok(), is_fine, "n{member}");
    }
}

/// What is lost once is sent again, acknowledged and given again: where it is not, these scenarios fail.
#[test]
fn what_is_lost_once_is_sent_again() {
    let lost = ["rollout-proposal-lost", "rollout-vote-lost", "rollout-decision-lost"];
    for name in lost {
        for engine in [Engine::Direct, Engine::Madsim] {
            let scenario = scripted::all().into_iter().find(|it| it.name == name).expect("it ships");
            let run = |scenario: &Scenario<RolloutSystem>| {
                let plan = scenario.plan_of(&(scenario.system)(), 3);
                scenario.run_plan(engine, &plan, RunOptions::of(3))
            };
            let report = run(&scenario);
            assert_eq!(report.verdict, Verdict::Passed, "{name} {engine}");
            assert!(report.effects.of(Effect::FrameCutOneWay) > 0, "{name} {engine} loses nothing");
            let without = || RolloutSystem::new(3, 1).without(Healing::Resends);
            let report = run(&Scenario { system: without, ..scenario });
            assert_ne!(report.verdict, Verdict::Passed, "{name} {engine}");
        }
    }
}
