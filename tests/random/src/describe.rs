//! A system as a small table, to be read.

use std::fmt::{self, Display, Formatter};

use crate::table::{On, Op, Rule, To};
use crate::{Ask, Atom, Budgets, Sight, Spec};

impl Display for Spec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (place, table) in self.members.iter().enumerate() {
            writeln!(f, "n{}", place + 1)?;
            table.iter().try_for_each(|rule| writeln!(f, "    {rule}"))?;
        }
        for (asks, who) in [(&self.asks, "client"), (&self.inputs, "ailment")] {
            for Ask { to, client, request } in asks {
                writeln!(
                    f,
                    "{who} {client} asks n{}: {request:?}",
                    usize::from(*to) % self.members.len() + 1
                )?;
            }
        }
        for (number, atoms) in self.never.iter().enumerate() {
            writeln!(f, "never-{number}: {}", list(atoms, " and "))?;
        }
        writeln!(f, "at rest: {}", list(&self.rest, " and "))?;
        writeln!(f, "facts {}", if self.ordered { "in order" } else { "by node" })?;
        write!(f, "{}", self.budgets)
    }
}

fn list<T: Display>(all: &[T], between: &str) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.on {
            On::Boot(found) => write!(f, "boots, finds {found:?}")?,
            On::Message(it) => write!(f, "gets {it:?}")?,
            On::Timer(it) => write!(f, "{it:?} fires")?,
            On::Request(it) => write!(f, "is asked {it:?}")?,
            On::Durable(token) => write!(f, "durable {token}")?,
        }
        if let Some(from) = self.from {
            write!(f, " in {from}")?;
        }
        write!(f, ": {}", list(&self.ops, ", "))
    }
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goto(state) => write!(f, "goto {state}"),
            Self::GotoLife => write!(f, "goto life"),
            Self::Append(record) => write!(f, "append {record:?}"),
            Self::Send(To::Member(to), message) => write!(f, "send {message:?} to member {to}"),
            Self::Send(To::Sender, message) => write!(f, "send {message:?} back"),
            Self::Send(To::Stranger, message) => write!(f, "send {message:?} to a stranger"),
            Self::SendAtOnce(to, message) => write!(f, "at once {}", Self::Send(*to, *message)),
            Self::ReplyAtOnce => write!(f, "at once reply"),
            Self::Reply => write!(f, "reply"),
            Self::Forget => write!(f, "forget"),
            Self::Publish => write!(f, "publish"),
            Self::Observe(fact) => write!(f, "observe {fact:?}"),
            Self::Arm(timer) => write!(f, "arm {timer:?}"),
            Self::Disarm(timer) => write!(f, "disarm {timer:?}"),
            Self::WhenDurable(token) => write!(f, "when durable {token}"),
            Self::Choose(ways) => {
                let ways: Vec<_> = ways.iter().map(|ops| format!("[{}]", list(ops, ", "))).collect();
                write!(f, "either {}", ways.join(" or "))
            }
            Self::Panic => write!(f, "panic"),
        }
    }
}

impl Display for Atom {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { not, node, what } = self;
        let is = if *not { "is not" } else { "is" };
        write!(f, "member {node} {is} ")?;
        match what {
            Sight::State(state) => write!(f, "in {state}"),
            Sight::Down => write!(f, "down"),
            Sight::Durable(count) => write!(f, "with {count} durable"),
            Sight::Record(at, record) => write!(f, "with {record:?} at {at}"),
            Sight::Told(fact) => write!(f, "known to have observed {fact:?}"),
            Sight::ToldAs(at, fact) => write!(f, "known to have observed {fact:?} as {at}"),
        }
    }
}

impl Display for Budgets {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            crashes,
            wipes,
            cuts,
            drops,
            duplicates,
            timeouts,
            periodic,
            retries,
            unhealthy,
            late_boots,
            ..
        } = self;
        let some = [
            (crashes, "crashes"),
            (wipes, "wipes"),
            (cuts, "cuts"),
            (drops, "drops"),
            (duplicates, "duplicates"),
            (periodic, "heartbeats"),
            (retries, "retries"),
            (unhealthy, "unhealthy"),
            (late_boots, "late boots"),
        ];
        let some = some.iter().filter(|(budget, _)| **budget > 0);
        let some: String = some.map(|(budget, of)| format!("{budget} {of}, ")).collect();
        let timeouts = timeouts.map_or("any".into(), |timeouts| timeouts.to_string());
        let disk = if self.late_disk { "late disk" } else { "disk" };
        let network = if self.persistent { "persistent" } else { "datagrams" };
        write!(f, "{some}{timeouts} time-outs, {disk}, {network}")?;
        self.without.map_or(Ok(()), |place| write!(f, ", without member {place}"))
    }
}
