//! Nodes made to be asked whether they come to rest.

use std::time::Duration;

use coalmine_core::node::{Context, Event, Node, NodeId};
use coalmine_core::observation::{History, Invariant, Observation};
use coalmine_real::http_api::HttpApi;
use coalmine_sim::spec::limits::Limits;
use coalmine_sim::spec::system::System;
use coalmine_sim::suite::ModelDef;
use serde::{Deserialize, Serialize};

/// What a node does whenever its timer fires, and when it is at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Habit {
    /// Is at rest from the seventieth tick on.
    RestsAfterSeventy,
    /// Is at rest for twenty ticks, and then never again.
    RestsForTwenty,
    /// Is at rest but for every thirtieth tick.
    WakesAtThirty,
    /// Counts, and is at rest all the time.
    Counts,
    /// Writes a record, and is at rest all the time.
    Journals,
    /// Writes a record, and another as soon as that is durable, for ever; and is at rest all the time.
    WritesOn,
    /// Tells a fact, and is at rest all the time.
    Tells,
    /// Is at rest between two rounds, but not within them.
    Blinks,
    /// Tries until it is lucky.
    BacksOff,
    /// Is lucky, or unlucky for ever.
    Gambles,
    /// Is lucky, and out of luck again: two of each.
    Wavers,
    /// `n1` tells all others to work, once, and sends a token to `n2` and back. Only if the token is lost it
    /// begins again. At rest is who has worked, if that is asked of all; else it is enough that one has.
    Delegates {
        /// Whether all others must work.
        all: bool,
    },
    /// `n1` tells `n2` to work at every tick.
    Repeats,
    /// `n1` gives `n2` forty-six jobs at every tick.
    Piles,
    /// `n1` tells `n2` to work at its first tick.
    TellsOnce,
    /// `n1` sends the token to `n2`, `n3` tells it to work: it does if it has had the token.
    Heeds,
}

/// A node with a habit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Restless {
    /// What it counts.
    pub count: u32,
    has_worked: bool,
}

/// What restless nodes tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Word {
    /// To whom has blinked.
    Blink,
    /// There and back.
    Token,
    /// Work!
    Work,
    /// One of many.
    Job(u8),
}

impl Restless {
    fn begin(habit: Habit, members: u32, cx: &mut Context<'_, Self>) {
        match habit {
            Habit::Delegates { .. } => {
                (2..=members).for_each(|to| cx.send(NodeId(to), Word::Work));
                cx.send(NodeId(2), Word::Token);
            }
            Habit::Repeats | Habit::TellsOnce => cx.send(NodeId(2), Word::Work),
            Habit::Piles => (0..46).for_each(|job| cx.send(NodeId(2), Word::Job(job))),
            Habit::Heeds => cx.send(NodeId(2), Word::Token),
            Habit::RestsAfterSeventy
            | Habit::RestsForTwenty
            | Habit::WakesAtThirty
            | Habit::Counts
            | Habit::Journals
            | Habit::WritesOn
            | Habit::Tells
            | Habit::Blinks
            | Habit::BacksOff
            | Habit::Gambles
            | Habit::Wavers => {}
        }
    }

    fn tick(&mut self, (me, habit, members): &(NodeId, Habit, u32), cx: &mut Context<'_, Self>) {
        match habit {
            Habit::RestsAfterSeventy => self.count = 70.min(self.count + 1),
            Habit::RestsForTwenty => self.count = 21.min(self.count + 1),
            Habit::WakesAtThirty => self.count = (self.count + 1) % 30,
            Habit::Counts => self.count += 1,
            Habit::Journals => {
                cx.append(());
            }
            Habit::WritesOn => {
                cx.append(());
                cx.when_durable(0);
            }
            Habit::Tells => cx.observe(()),
            Habit::Blinks => {
                self.count = 0;
                if me.0 == 1 {
                    cx.send(NodeId(2), Word::Blink);
                }
            }
            Habit::BacksOff if self.count == 0 => self.count = cx.choose(3) / 2,
            Habit::Gambles if self.count == 0 => self.count = 1 + cx.choose(2),
            Habit::Wavers => self.count = self.count / 2 * 2 + cx.choose(2),
            Habit::BacksOff | Habit::Gambles => {}
            Habit::Delegates { .. } if me.0 == 1 => {
                self.count += 1;
                if self.count == 4 {
                    self.count = 0;
                    Self::begin(*habit, *members, cx);
                }
            }
            Habit::Repeats | Habit::Piles if me.0 == 1 => Self::begin(*habit, *members, cx),
            Habit::TellsOnce if me.0 == 1 && self.count == 0 => {
                self.count += 1;
                Self::begin(*habit, *members, cx);
            }
            Habit::Delegates { .. } | Habit::Repeats | Habit::Piles | Habit::TellsOnce | Habit::Heeds => {}
        }
    }
}

impl Node for Restless {
    type Config = (NodeId, Habit, u32);
    type Message = Word;
    type Timer = ();
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = ();

    fn start((me, habit, members): &Self::Config, _: &[()], cx: &mut Context<'_, Self>) -> Self {
        cx.set_timer((), Duration::from_secs(1));
        if me.0 == 1 && *habit != Habit::TellsOnce {
            Self::begin(*habit, *members, cx);
        }
        if me.0 == 3 && *habit == Habit::Heeds {
            cx.send(NodeId(2), Word::Work);
        }
        Self { count: 0, has_worked: false }
    }

    fn on(&mut self, config: &Self::Config, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Timer(()) => {
                cx.set_timer((), Duration::from_secs(1));
                self.tick(config, cx);
            }
            Event::Message { message: Word::Work | Word::Job(_), .. } => {
                self.has_worked |= config.1 != Habit::Heeds || self.count == 1;
            }
            Event::Message { message: Word::Token, .. } if config.1 == Habit::Heeds => self.count = 1,
            Event::Message { message: Word::Blink, .. } => self.count = 1,
            Event::Message { from, message: Word::Token } => {
                self.count = 0;
                cx.send(from, Word::Token);
            }
            Event::Durable(_) => self.tick(config, cx),
            Event::Request { .. } => {}
        }
    }
}

impl HttpApi for Restless {}

/// How many facts there were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Told(u32);

impl History<Restless> for Told {
    fn observe(&mut self, _: NodeId, (): &()) {
        self.0 += 1;
    }
}

/// Nodes with a habit.
#[derive(Debug)]
pub struct RestlessSystem {
    members: u32,
    habit: Habit,
}

impl System for RestlessSystem {
    type Node = Restless;
    type History = Told;

    fn members(&self) -> Vec<(NodeId, (NodeId, Habit, u32))> {
        (1..=self.members).map(|id| (NodeId(id), (NodeId(id), self.habit, self.members))).collect()
    }

    fn operations(&self) -> Vec<coalmine_sim::spec::system::Operation<Restless>> {
        Vec::new()
    }

    fn invariants(&self) -> Vec<Invariant<Restless, Told>> {
        Vec::new()
    }

    fn converged(&self, now: &Observation<'_, Restless, Told>) -> Result<(), String> {
        let others = || now.up().filter(|(id, _)| id.0 > 1);
        let is_at_rest = |(id, node): (NodeId, &Restless)| match self.habit {
            Habit::RestsAfterSeventy => node.count == 70,
            Habit::RestsForTwenty => node.count <= 20,
            Habit::WakesAtThirty => node.count < 29,
            Habit::Counts | Habit::Journals | Habit::WritesOn | Habit::Tells => true,
            Habit::Blinks => node.count == 0,
            Habit::BacksOff | Habit::Gambles => node.count == 1,
            Habit::Wavers => node.count % 2 == 1,
            Habit::Heeds => id.0 != 2 || node.has_worked,
            Habit::Delegates { all: true } | Habit::Repeats | Habit::Piles | Habit::TellsOnce => {
                id.0 == 1 || node.has_worked
            }
            Habit::Delegates { all: false } => others().any(|(_, node)| node.has_worked),
        };
        match now.up().find(|&(id, node)| !is_at_rest((id, node))) {
            Some((id, _)) => Err(format!("{id} is not at rest")),
            None => Ok(()),
        }
    }
}

/// The name of each, the most interesting first, and its model.
pub fn models() -> Vec<ModelDef<RestlessSystem>> {
    let model = |name, members, system| ModelDef {
        name,
        about: "A node that is asked whether it comes to rest.",
        system,
        size: (members, 0),
        limits: Limits { timeouts: Some(2), ..Limits::NONE },
    };
    macro_rules! of {
        ($habit:expr) => {
            |members, _| RestlessSystem { members, habit: $habit }
        };
    }
    vec![
        model("rests-after-seventy", 1, of!(Habit::RestsAfterSeventy)),
        model("rests-for-twenty", 1, of!(Habit::RestsForTwenty)),
        model("wakes-at-thirty", 1, of!(Habit::WakesAtThirty)),
        model("counts", 1, of!(Habit::Counts)),
        model("journals", 1, of!(Habit::Journals)),
        model("writes-on", 1, of!(Habit::WritesOn)),
        model("tells", 1, of!(Habit::Tells)),
        model("blinks", 2, of!(Habit::Blinks)),
        model("backs-off", 2, of!(Habit::BacksOff)),
        model("gambles", 1, of!(Habit::Gambles)),
        model("wavers", 1, of!(Habit::Wavers)),
        model("delegates", 2, of!(Habit::Delegates { all: true })),
        model("delegates-to-one", 6, of!(Habit::Delegates { all: false })),
        model("repeats", 2, of!(Habit::Repeats)),
        model("piles", 2, of!(Habit::Piles)),
        model("tells-once", 2, of!(Habit::TellsOnce)),
        model("heeds", 3, of!(Habit::Heeds)),
    ]
}

/// One of them.
pub fn model(name: &str) -> ModelDef<RestlessSystem> {
    let model = models().into_iter().find(|model| model.name == name);
    model.unwrap_or_else(|| panic!("there is no {name}"))
}
