//! Who waits for something has the timer armed that ends the waiting, and no timer outlives what it was for. Ways of
//! healing overlap, so a timer that nobody arms is healed by another one, and nobody notices; here it is looked at by
//! itself, at every moment.

use super::Ledger;
use crate::node::{Node, Word};
use crate::observation::{Invariant, Observed};
use crate::rollout::RolloutNode;
use crate::rollout::healing::Healing;
use crate::rollout::message::Timer;

/// See the module.
pub fn invariant() -> Invariant<RolloutNode, Ledger> {
    Invariant {
        name: "timers-fit",
        about: "who waits has the timer armed that ends its waiting, and none of what is over",
        source: "rules 3 to 5, 8 and 10 of the rollout",
        check: |now| now.nodes.iter().try_for_each(fits),
    }
}

const OF_ALL: [Timer; 9] = [
    Timer::Vote,
    Timer::Resend,
    Timer::Step,
    Timer::Deadline,
    Timer::Inquire,
    Timer::Heartbeat,
    Timer::Silence,
    Timer::Join,
    Timer::Fleet,
];

fn fits(node: &Observed<'_, RolloutNode>) -> Result<(), String> {
    // Who makes a mistake is to show what it leads to, not that a timer is wrong on the way.
    let Some(state) = node.state.filter(|_| node.config.mistake.is_none()) else { return Ok(()) };
    let stale: Vec<_> =
        node.config.members.iter().copied().chain(state.committed().ids()).map(Timer::Stale).collect();
    for timer in OF_ALL.iter().chain(&stale) {
        let (must, may) = wanted(node, state, timer);
        let is_armed = node.timers.contains(timer);
        if must && !is_armed {
            return Err(format!("{} waits, and its timer is not armed: {}", node.id, describe(timer)));
        }
        if is_armed && !may {
            return Err(format!(
                "{} waits for nothing, and its timer is armed: {}",
                node.id,
                describe(timer)
            ));
        }
    }
    Ok(())
}

fn describe(timer: &Timer) -> String {
    RolloutNode::describe(Word::Timer(timer))
}

/// Whether a timer must be armed, and whether it may be.
fn wanted(node: &Observed<'_, RolloutNode>, state: &RolloutNode, timer: &Timer) -> (bool, bool) {
    let config = node.config;
    let (is_member, is_coordinator) = (!state.is_joining(), state.is_coordinator());
    let (is_in_doubt, durable) = (state.durable().prepared.is_some(), state.durable());
    match timer {
        // The coordinator collects votes.
        Timer::Vote => (is_coordinator && is_in_doubt, is_coordinator && is_in_doubt),
        // Who is alone has nobody to send anything to, and lets it fire for nothing.
        Timer::Resend => {
            let is_answered = state.coordination.is_acknowledged() && !is_in_doubt;
            (is_coordinator && !is_answered && config.heals_by(Healing::Resends), is_coordinator)
        }
        // Between two steps: for the hold, for the evidence after it, or until the way back is tried again.
        Timer::Step | Timer::Deadline => {
            let waits =
                durable.running().is_some_and(|running| !running.is_paused()) || durable.changing().is_some();
            let must = is_coordinator && is_member && !is_in_doubt && waits;
            let is_this = (*timer == Timer::Deadline) == state.coordination.hold_is_over;
            (must && is_this, must && is_this)
        }
        // Who has evidence notices when it is stale.
        Timer::Stale(member) => {
            let evidence = state.evidence.get(member);
            let is_fresh = evidence.is_some_and(|evidence| !evidence.is_stale);
            (is_fresh, is_fresh)
        }
        Timer::Inquire => {
            let asks = !is_coordinator && is_in_doubt;
            (asks && config.heals_by(Healing::Questions), asks)
        }
        // Who leads a rollout over regions asks them.
        Timer::Fleet => {
            let leads = is_coordinator && is_member && durable.fleet_under_way().is_some();
            (leads, leads)
        }
        Timer::Heartbeat => (is_member, is_member),
        Timer::Silence => {
            let listens = is_member && !is_coordinator;
            (listens, listens)
        }
        Timer::Join => {
            let waits = !is_member || state.takeover.is_some();
            (waits, waits)
        }
    }
}
