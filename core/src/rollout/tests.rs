//! Rules that no run shows, since nobody in it lies: what a node makes of words that no honest history explains, of
//! another cluster's, and of a configuration that is not its own.

use super::RolloutNode;
use super::config::{Config, ConfigError};
use super::durable::Record;
use super::message::{
    AbortReason, Envelope, Fact, Known, Message, Outcome, Refusal, Reply, Request, Timer, View, Vote,
};
use super::state::{Change, ClusterId, LOST_DISKS, ModelId, RoutingState, Txid, WHOLE_BP};
use crate::form::Form;
use crate::host::Host;
use crate::node::{Address, Effect, Event, Node, NodeId, RequestId};

const OURS: ClusterId = ClusterId(1);
const FIRST: Txid = Txid { generation: 1, epoch: 1, number: 1 };

/// A node by itself, whose disk is never slow.
struct Alone {
    config: Config,
    host: Host<RolloutNode>,
    written: u64,
}

impl Alone {
    /// Node `id` of three that have formed a cluster.
    fn member(id: u32) -> (Self, Vec<Effect<RolloutNode>>) {
        let config = Config::cluster(3).swap_remove(id as usize - 1);
        let state = RoutingState::initial(&config.initial_model, &config.members);
        let (node, coordinator) = (config.me, config.coordinator);
        let begun = Txid::before(1);
        Self::with(config, &[Record::Admitted { node, cluster: OURS, coordinator, state, begun }])
    }

    fn with(config: Config, disk: &[Record]) -> (Self, Vec<Effect<RolloutNode>>) {
        let mut out = Vec::new();
        let host = Host::boot(&config, disk, 7, &mut |_| 0, &mut out);
        let mut it = Self { config, host, written: disk.len() as u64 };
        let out = it.with_disk(out);
        (it, out)
    }

    fn does(&mut self, event: Event<RolloutNode>) -> Vec<Effect<RolloutNode>> {
        let mut out = Vec::new();
        self.host.step(&self.config, event, &mut |_| 0, &mut out);
        self.with_disk(out)
    }

    fn with_disk(&mut self, mut out: Vec<Effect<RolloutNode>>) -> Vec<Effect<RolloutNode>> {
        loop {
            let written =
                self.written + out.iter().filter(|effect| matches!(effect, Effect::Append(_))).count() as u64;
            let mut more = Vec::new();
            let life = self.host.incarnation();
            self.host.synced(&self.config, life, written, &mut |_| 0, &mut more);
            if more.is_empty() {
                self.written = written;
                return out;
            }
            out.extend(more);
        }
    }

    fn hears(&mut self, from: u32, message: Message) -> Vec<Effect<RolloutNode>> {
        self.hears_of(Some(OURS), from, message)
    }

    fn hears_of(
        &mut self,
        cluster: Option<ClusterId>,
        from: u32,
        message: Message,
    ) -> Vec<Effect<RolloutNode>> {
        let message = Envelope { message, cluster };
        self.does(Event::Message { from: NodeId(from), message })
    }

    fn is_asked(&mut self, sequence: u64, request: Request) -> Vec<Effect<RolloutNode>> {
        self.does(Event::Request { id: name(sequence), request })
    }
}

fn name(sequence: u64) -> RequestId {
    RequestId { client: 1, sequence }
}

fn says(effects: &[Effect<RolloutNode>]) -> Vec<(u32, &Message)> {
    let mut said = Vec::new();
    for effect in effects {
        if let Effect::Send { to, message } = effect {
            said.push((to.0, &message.message));
        }
    }
    said
}

fn writes(effects: &[Effect<RolloutNode>]) -> Vec<&Record> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Append(record) = effect { Some(record) } else { None })
        .collect()
}

fn facts(effects: &[Effect<RolloutNode>]) -> Vec<&Fact> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Observe(fact) = effect { Some(fact) } else { None })
        .collect()
}

fn replies(effects: &[Effect<RolloutNode>]) -> Vec<&Reply> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Reply { reply, .. } = effect { Some(reply) } else { None })
        .collect()
}

fn shows(effects: &[Effect<RolloutNode>]) -> Option<&View> {
    effects
        .iter()
        .rev()
        .find_map(|effect| if let Effect::Publish(view) = effect { Some(&view.0) } else { None })
}

fn model(name: &str) -> ModelId {
    ModelId::new(name).expect("a name")
}

/// What the coordinator would propose first.
fn proposal(config: &Config, txid: Txid) -> Message {
    let served = RoutingState::initial(&config.initial_model, &config.members);
    let state = served.next(&model("v2"), WHOLE_BP, txid).expect("a step");
    Message::PrepareReq { txid, state, members: config.members.clone(), gates: None }
}

fn votes_for(effects: &[Effect<RolloutNode>], of: Txid) -> bool {
    says(effects).contains(&(1, &Message::PrepareResp { txid: of, vote: Vote::Commit }))
}

#[test]
fn no_word_that_no_history_explains_disables_a_node() {
    let last = Txid { generation: 1, epoch: u32::MAX, number: u32::MAX };
    let beyond = Txid { generation: u32::MAX, epoch: u32::MAX, number: u32::MAX };
    let (it, _) = Alone::member(3);
    let told = it.config.told();
    let served = RoutingState::initial(&it.config.initial_model, &it.config.members);
    let far =
        RoutingState { version: 1_000_000, ..served.next(&model("bad"), WHOLE_BP, last).expect("a step") };
    let next = served.next(&model("bad"), WHOLE_BP, FIRST).expect("a step");
    let mut lies = Vec::new();
    for from in [1, 2] {
        for txid in [last, beyond] {
            lies.extend([
                (from, Message::Decision { txid, version: 1, outcome: Outcome::Abort }),
                (from, Message::Decision { txid, version: 1, outcome: Outcome::Commit }),
                (from, Message::DecisionReq { txid, version: 1, resolve: true }),
                (from, proposal(&it.config, txid)),
            ]);
        }
        // What the coordinator says of that is another matter: see below.
        for state in [&far, &next].into_iter().filter(|_| from == 2) {
            lies.push((from, Message::StateSync { state: state.clone() }));
        }
        for generation in [2 + LOST_DISKS, u32::MAX] {
            for takes_over in [false, true] {
                let told = told.clone();
                lies.push((from, Message::AdmitReq { life: 1, generation, takes_over, told }));
            }
        }
        lies.push((
            from,
            Message::Heartbeat { node_id: NodeId(from), last_committed_version: u64::MAX, digest: 1 },
        ));
    }
    for (from, lie) in lies {
        let (mut it, _) = Alone::member(3);
        let done = it.hears(from, lie.clone());
        assert_eq!(writes(&done), Vec::<&Record>::new(), "{lie:?} from n{from}");
        let honest = it.hears(1, proposal(&it.config.clone(), FIRST));
        assert!(votes_for(&honest, FIRST), "after {lie:?} from n{from}: {:?}", says(&honest));
    }
}

/// What the coordinator serves, and no history of this journal leads to, has a history that this journal has forgotten.
#[test]
fn a_node_with_an_old_journal_is_admitted_again() {
    let (mut it, _) = Alone::member(3);
    it.hears(1, proposal(&it.config.clone(), FIRST));
    let served = RoutingState::initial(&it.config.initial_model, &it.config.members);
    let later = Txid { number: 7, ..FIRST };
    let state = RoutingState { version: 4, ..served.next(&model("v5"), WHOLE_BP, later).expect("a step") };
    let done = it.hears(1, Message::StateSync { state: state.clone() });
    assert_eq!(writes(&done), [&Record::Outdated]);
    assert_eq!(facts(&done), [&Fact::Outdated { version: 4 }]);
    assert!(matches!(says(&done)[..], [(1, Message::JoinReq { life: 7, .. })]), "{:?}", says(&done));
    // It says nothing about what it voted for.
    let asked = it.hears(2, Message::DecisionReq { txid: FIRST, version: 1, resolve: true });
    assert_eq!((says(&asked), writes(&asked)), (vec![], vec![]));
    let welcome = Message::JoinResp { life: 7, member_of: OURS, state: state.clone(), begun: later };
    let done = it.hears(1, welcome);
    assert!(matches!(writes(&done)[..], [Record::Admitted { .. }]), "{:?}", writes(&done));
    let again = it.hears(2, Message::DecisionReq { txid: FIRST, version: 1, resolve: true });
    assert!(writes(&again).is_empty(), "a former journal of it may have said something else");
    assert_eq!(it.host.node().committed(), &state);
}

/// Whoever starts asks first, and serves when it is answered: by who is not ahead of it, by who brings it up to date, or by
/// nobody for two heartbeats.
#[test]
fn a_node_that_starts_asks_whether_it_is_behind() {
    let starts = |id: u32| {
        let config = Config { asks_first: true, ..Config::cluster(3).swap_remove(id as usize - 1) };
        let state = RoutingState::initial(&config.initial_model, &config.members);
        let (node, coordinator, begun) = (config.me, config.coordinator, Txid::before(1));
        let disk = [Record::Admitted { node, cluster: OURS, coordinator, state, begun }];
        let (it, out) = Alone::with(config, &disk);
        assert!(shows(&out).is_some_and(|view| view.asks));
        let asked = says(&out);
        let asks = asked.iter().filter(|(_, message)| matches!(message, Message::Heartbeat { .. })).count();
        assert_eq!(asks, 2, "{asked:?}");
        it
    };
    let serves = |out: &[Effect<RolloutNode>]| shows(out).is_some_and(|view| !view.asks);
    let beat = |it: &Alone, from: u32, version: u64| {
        let digest = it.host.node().committed().digest();
        Message::Heartbeat { node_id: NodeId(from), last_committed_version: version, digest }
    };
    for (id, last) in [(1, Timer::Heartbeat), (2, Timer::Silence)] {
        let mut it = starts(id);
        let ahead = beat(&it, 3, 1);
        assert!(!serves(&it.hears(3, ahead)), "somebody is ahead of it");
        let alike = beat(&it, 3, 0);
        assert!(serves(&it.hears(3, alike)));
        assert!(serves(&starts(id).does(Event::Timer(last))));
    }
}

/// What it voted for a node takes over from anybody, and nothing else.
#[test]
fn a_node_catches_up_with_what_it_voted_for() {
    let (mut it, _) = Alone::member(3);
    it.hears(1, proposal(&it.config.clone(), FIRST));
    let served = RoutingState::initial(&it.config.initial_model, &it.config.members);
    let other = served.next(&model("bad"), WHOLE_BP, FIRST).expect("a step");
    assert_eq!(writes(&it.hears(2, Message::StateSync { state: other })), Vec::<&Record>::new());
    let state = served.next(&model("v2"), WHOLE_BP, FIRST).expect("a step");
    let installed = Record::Installed { state: state.clone() };
    assert_eq!(writes(&it.hears(2, Message::StateSync { state })), [&installed]);
}

/// A promise about a life that the coordinator has not had is met by a later life.
#[test]
fn a_coordinator_goes_on_beyond_what_was_promised() {
    let (mut it, _) = Alone::member(1);
    let done = it.is_asked(1, Request::unguarded(model("v2"), vec![WHOLE_BP], 0));
    let proposed = |effects: &[Effect<RolloutNode>]| {
        let txid = |(to, message): (u32, &Message)| {
            if let Message::PrepareReq { txid, .. } = message { (to == 2).then_some(*txid) } else { None }
        };
        says(effects).into_iter().find_map(txid)
    };
    assert_eq!(proposed(&done), Some(FIRST));
    let floor = Txid { epoch: 1_000, ..FIRST };
    let vote = |floor| Message::PrepareResp { txid: FIRST, vote: Vote::Abort(Refusal::Stale { floor }) };
    let done = it.hears(2, vote(floor));
    let reason = Some(AbortReason::Outrun { by: NodeId(2), floor });
    let decided = Record::Decided { txid: FIRST, outcome: Outcome::Abort, reason };
    assert_eq!(writes(&done)[..2], [&Record::Epoch { epoch: 1_001 }, &decided]);
    assert_eq!(proposed(&done), Some(Txid { epoch: 1_001, ..FIRST }), "it is tried again");

    // A floor that no history leads to is a refusal like any other.
    let (mut it, _) = Alone::member(1);
    it.is_asked(1, Request::unguarded(model("v2"), vec![WHOLE_BP], 0));
    let done = it.hears(2, vote(Txid { epoch: u32::MAX, ..FIRST }));
    assert!(!writes(&done).iter().any(|record| matches!(record, Record::Epoch { .. })));
    assert_eq!(proposed(&done), None);
}

#[test]
fn another_cluster_is_not_heard_and_is_named() {
    let theirs = ClusterId(2);
    let (mut it, _) = Alone::member(2);
    let done = it.hears_of(Some(theirs), 1, proposal(&it.config.clone(), FIRST));
    let foreign = Fact::Foreign { from: NodeId(1), theirs, mine: OURS };
    assert_eq!((says(&done), writes(&done), facts(&done)), (vec![], vec![], vec![&foreign]));
    assert_eq!(shows(&done).expect("it is shown").foreign, [(NodeId(1), theirs)].into());
    let again = it.hears_of(
        Some(theirs),
        1,
        Message::Heartbeat { node_id: NodeId(1), last_committed_version: 9, digest: 0 },
    );
    assert_eq!((says(&again), facts(&again)), (vec![], vec![]), "it is told once");
    let back = it.hears(1, proposal(&it.config.clone(), FIRST));
    assert!(votes_for(&back, FIRST));
    assert!(shows(&back).expect("it is shown").foreign.is_empty());
}

/// A coordinator with a new disk takes part in no cluster while its members are of different ones.
#[test]
fn members_of_two_clusters_admit_nobody() {
    let config = Config::cluster(3).swap_remove(0);
    let (mut it, _) = Alone::with(config.clone(), &[]);
    let state = RoutingState::initial(&config.initial_model, &config.members);
    let grant = |cluster| Message::AdmitResp {
        life: 7,
        generation: 1,
        known: Some(Known { state: state.clone(), in_doubt: None, joining: None, cluster: Some(cluster) }),
    };
    it.hears_of(Some(OURS), 2, grant(OURS));
    let done = it.hears_of(Some(ClusterId(2)), 3, grant(ClusterId(2)));
    assert_eq!(writes(&done), Vec::<&Record>::new());
    assert_eq!(shows(&done).expect("it is shown").foreign.len(), 2);
    let done = it.hears_of(Some(OURS), 3, grant(OURS));
    assert!(matches!(writes(&done)[0], Record::Admitted { cluster: OURS, .. }), "{:?}", writes(&done));
}

#[test]
fn who_was_told_something_else_is_not_taken_in_and_told_what() {
    let (mut it, _) = Alone::member(1);
    let mut theirs = Config::cluster(3).swap_remove(2);
    theirs.initial_model = model("v9");
    theirs.timeouts.vote_ms = 5;
    theirs.gates.max_error_bp = 100;
    let what = "initial_model is v1 here and v9 there; gates.max_error_rate is 0.05 here and 0.01 there; \
                timeouts.vote_ms is 2000 here and 5 there";
    let done = it.hears_of(None, 3, Message::JoinReq { life: 9, told: theirs.told() });
    assert_eq!(facts(&done), [&Fact::Unlike { with: NodeId(3), what: what.into() }]);
    assert_eq!(says(&done), [(3, &Message::Unlike { life: 9, told: it.config.told() })]);

    let told = it.config.told();
    let (mut it, _) = Alone::with(theirs, &[]);
    let done = it.hears(1, Message::Unlike { life: 7, told });
    let waits = shows(&done).and_then(|view| view.joining.clone()).expect("it waits").to_string();
    assert!(
        waits.starts_with("n1 was told something else of the cluster: initial_model is v9 here and v1 there"),
        "{waits}"
    );
}

/// The coordinator may have become a member later than those who formed the cluster.
#[test]
fn a_coordinator_that_came_later_takes_others_in() {
    let later = NodeId(3);
    let mut config = Config { me: NodeId(4), coordinator: later, ..Config::cluster(2).swap_remove(0) };
    assert_eq!(config.validate(), Ok(()));
    let state = RoutingState::initial(&config.initial_model, &[NodeId(2), later, NodeId(4)]);
    let (mut it, _) = Alone::with(config.clone(), &[]);
    let life = 7;
    let welcome = Message::JoinResp { life, member_of: OURS, state, begun: Txid::before(1) };
    let done = it.hears_of(Some(OURS), 3, welcome);
    assert!(matches!(writes(&done)[..], [Record::Admitted { cluster: OURS, .. }]), "{:?}", writes(&done));

    // One who formed it, and has lost its disk, may name it as well, if it says where it lives.
    config.me = NodeId(2);
    assert_eq!(config.validate(), Err(ConfigError::NotAMember { id: later }));
    let text = r#"{"control":"127.0.0.1:1","data":"127.0.0.1:2"}"#;
    config.addresses.insert(later, serde_json::from_str(text).expect("an address"));
    assert_eq!(config.validate(), Ok(()));
}

/// A journal says whose it is.
#[test]
fn the_journal_of_another_node_is_refused_by_name() {
    let (it, _) = Alone::member(2);
    let state = RoutingState::initial(&it.config.initial_model, &it.config.members);
    let of = |id| {
        let (node, coordinator, begun) = (NodeId(id), NodeId(1), Txid::before(1));
        [Record::Admitted { node, cluster: OURS, coordinator, state: state.clone(), begun }]
    };
    assert_eq!(RolloutNode::refuses(&it.config, &of(2)), None);
    let why = RolloutNode::refuses(&it.config, &of(3)).expect("it is another one's");
    assert_eq!(why, "it is the journal of n3, of cluster 0000000000000001, and this is n2");
}

/// Each member before and after is asked; only one comes or goes at a time.
#[test]
fn who_votes_follows_from_what_is_committed() {
    let served = RoutingState::initial(&model("v1"), &[NodeId(1), NodeId(2), NodeId(3)]);
    let next = |change: &Change| served.next_members(change, &[].into(), FIRST).expect("a change");
    let ids = |ids: &[u32]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    let admitted = next(&Change::Admit { member: NodeId(4), address: None });
    assert!(served.is_voted_on_by(&ids(&[1, 2, 3]), &admitted));
    assert!(!served.is_voted_on_by(&ids(&[1, 2]), &admitted));
    assert!(!served.is_voted_on_by(&ids(&[1, 2, 3, 4]), &admitted));
    let dismissed = next(&Change::Dismiss { member: NodeId(3), is_gone: true });
    assert!(served.is_voted_on_by(&ids(&[1, 2, 3]), &dismissed));
    assert!(served.is_voted_on_by(&ids(&[1, 2]), &dismissed));
    assert!(!served.is_voted_on_by(&ids(&[1, 3]), &dismissed));
    let two =
        dismissed.next_members(&Change::Dismiss { member: NodeId(2), is_gone: true }, &[].into(), FIRST);
    assert!(!served.is_voted_on_by(&ids(&[1]), &two.expect("a change")));
}

/// Whoever comes later is told where those live whom only configurations name.
#[test]
fn addresses_travel_with_the_members() {
    let at = |id: u8| -> Address {
        let text = format!(r#"{{"control":"10.0.0.{id}:1","data":"10.0.0.{id}:2"}}"#);
        serde_json::from_str(&text).expect("an address")
    };
    let served = RoutingState::initial(&model("v1"), &[NodeId(1), NodeId(2)]);
    let named = [(NodeId(1), at(1)), (NodeId(2), at(2))].into();
    let new = Change::Admit { member: NodeId(3), address: Some(at(3)) };
    let next = served.next_members(&new, &named, FIRST).expect("a change");
    let told: Vec<_> = next.members.iter().map(|member| (member.id.0, member.address)).collect();
    assert_eq!(told, [(1, Some(at(1))), (2, Some(at(2))), (3, Some(at(3)))]);
    let mut config = Config::cluster(2).swap_remove(1);
    config.addresses = named;
    let (node, coordinator, begun) = (config.me, config.coordinator, Txid::before(1));
    let disk = [Record::Admitted { node, cluster: OURS, coordinator, state: next, begun }];
    let (_, out) = Alone::with(config, &disk);
    let meets: Vec<_> = out
        .iter()
        .filter_map(
            |effect| if let Effect::Meet { peer, address } = effect { Some((*peer, *address)) } else { None },
        )
        .collect();
    assert_eq!(meets, [(NodeId(3), at(3))], "of the others its configuration says where they live");
}

/// Names of changes are remembered like those of rollouts; and one change at a time.
#[test]
fn a_change_is_made_once() {
    let (mut it, _) = Alone::member(1);
    let dismiss = |member, is_gone| Request::Change(Change::Dismiss { member: NodeId(member), is_gone });
    assert_eq!(replies(&it.is_asked(1, dismiss(3, true))), [&Reply::Changing { id: name(1) }]);
    assert_eq!(replies(&it.is_asked(1, dismiss(3, true))), [&Reply::Changing { id: name(1) }]);
    let other = it.is_asked(1, dismiss(2, true));
    assert!(matches!(replies(&other)[..], [Reply::Invalid { .. }]), "{:?}", replies(&other));
    let second = it.is_asked(2, dismiss(2, true));
    assert!(matches!(replies(&second)[..], [Reply::Unfit { .. }]), "{:?}", replies(&second));
    it.hears(2, Message::PrepareResp { txid: FIRST, vote: Vote::Commit });
    assert_eq!(replies(&it.is_asked(1, dismiss(3, true))), [&Reply::Changing { id: name(1) }]);
    for (sequence, request) in [(3, dismiss(3, true)), (4, dismiss(1, false))] {
        let done = it.is_asked(sequence, request);
        assert!(matches!(replies(&done)[..], [Reply::Invalid { .. }]), "{:?}", replies(&done));
    }
}

/// An operator's word counts only where the protocol cannot decide: the coordinator is silent, and the others were asked.
#[test]
fn an_operator_resolves_only_what_the_protocol_cannot() {
    let resolve = |sequence: u64| (sequence, Request::Resolve { txid: FIRST, outcome: Outcome::Commit });
    let refused = |effects: &[Effect<RolloutNode>], why: &str| {
        let replies = replies(effects);
        assert!(matches!(replies[..], [Reply::Unfit { why: it }] if it.contains(why)), "{replies:?}");
        assert_eq!(writes(effects), Vec::<&Record>::new());
    };
    let (mut it, _) = Alone::member(2);
    let mut ask = {
        let mut sequence = 0;
        move |it: &mut Alone| {
            sequence += 1;
            let (sequence, request) = resolve(sequence);
            it.is_asked(sequence, request)
        }
    };
    refused(&ask(&mut it), "not in doubt about 1.1");
    it.hears(1, proposal(&it.config.clone(), FIRST));
    refused(&ask(&mut it), "n1, the coordinator, has not been silent");
    it.does(Event::Timer(Timer::Silence));
    refused(&ask(&mut it), "has not asked the others yet");
    it.does(Event::Timer(Timer::Inquire));
    let digest = it.host.node().committed().digest();
    it.hears(1, Message::Heartbeat { node_id: NodeId(1), last_committed_version: 0, digest });
    refused(&ask(&mut it), "n1, the coordinator, has not been silent");
    it.does(Event::Timer(Timer::Silence));
    let done = ask(&mut it);
    assert_eq!(replies(&done), [&Reply::Resolved { txid: FIRST }]);
    assert!(matches!(writes(&done)[..], [Record::Resolved { txid: FIRST, outcome: Outcome::Commit, .. }]));
    assert_eq!(it.host.node().committed().version, 1);
    let told: Vec<_> = says(&done).into_iter().map(|(to, _)| to).collect();
    assert_eq!(told, [1, 3], "the others are told");
}

/// Who takes over was a participant: it has doubts, and no transactions of its own yet.
#[test]
fn who_takes_over_uses_no_name_again() {
    let (mut it, _) = Alone::member(2);
    let take_over = Request::TakeOver { from: NodeId(1) };
    let early = it.is_asked(1, take_over.clone());
    assert!(matches!(replies(&early)[..], [Reply::Unfit { .. }]), "{:?}", replies(&early));
    it.does(Event::Timer(Timer::Silence));
    let done = it.is_asked(2, take_over.clone());
    assert_eq!(replies(&done), [&Reply::TakingOver]);
    assert_eq!(
        says(&done).iter().map(|(to, _)| *to).collect::<Vec<_>>(),
        [3],
        "the one that is gone is not asked"
    );
    let state = it.host.node().committed().clone();
    let known = Known { state, in_doubt: None, joining: None, cluster: Some(OURS) };
    let done = it.hears(3, Message::AdmitResp { life: 7, generation: 2, known: Some(known) });
    let expected = Txid { generation: 2, epoch: 1, number: 1 };
    let proposed = says(&done).into_iter().find_map(|(_, message)| {
        let Message::PrepareReq { txid, state, members, .. } = message else { return None };
        Some((*txid, state.has(NodeId(1)), members.len()))
    });
    assert_eq!(proposed, Some((expected, false, 2)), "it dismisses whom it succeeds");
    assert_eq!(replies(&it.is_asked(2, take_over)), [&Reply::TakingOver], "a retry is answered again");
}

/// What travels is the same in both forms.
#[test]
fn envelopes_survive_both_forms() {
    let address = serde_json::from_str(r#"{"control":"10.0.0.4:1","data":"[::1]:2"}"#).expect("an address");
    let served = RoutingState::initial(&model("v1"), &[NodeId(1)]);
    let change = Change::Admit { member: NodeId(4), address: Some(address) };
    let state = served.next_members(&change, &[].into(), FIRST).expect("a change");
    let message = Message::StateSync { state };
    for cluster in [None, Some(OURS)] {
        for form in [Form::Json, Form::MessagePack] {
            let sent = Envelope { message: message.clone(), cluster };
            let mut bytes = Vec::new();
            form.write(&sent, &mut bytes).expect("plain data");
            let got: Envelope = form.read(&bytes).expect("it can be read");
            assert_eq!((got.cluster, &got.message), (sent.cluster, &sent.message), "{form:?}");
        }
    }
}
