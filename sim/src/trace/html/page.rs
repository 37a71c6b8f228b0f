//! What a page shows, as plain data. Whoever has a run to show (an engine's trace, a checker's counterexample)
//! fills this in; the page's script reads the same fields from JSON.

use serde::{Deserialize, Serialize};

/// A run, ready to be shown. Steps, lanes, flights and states name each other by their place in these lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The heading: a scenario's or a model's name.
    pub title: String,
    /// One sentence below it.
    pub subtitle: String,
    /// How the run ended.
    pub ending: Ending,
    /// The line to paste that makes the run again.
    pub replay: Option<String>,
    /// Further facts about the run, each with its name.
    pub details: Vec<(String, String)>,
    /// The columns: clients, if there are any, and the nodes.
    pub lanes: Vec<Lane>,
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// What was under way between lanes.
    pub flights: Vec<Flight>,
    /// When nodes were down.
    pub outages: Vec<Outage>,
    /// What was broken, and for how long.
    pub bands: Vec<Band>,
    /// What was planned.
    pub plan: Option<Planned>,
    /// The lines that states consist of, each once: successive states share nearly all of theirs.
    pub lines: Vec<String>,
    /// The states, as lists of lines.
    pub states: Vec<Vec<usize>>,
    /// What was left out, so that a browser can open it.
    #[serde(default)]
    pub left_out: Option<LeftOut>,
}

/// What a page does not show of its run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// How many steps.
    pub steps: usize,
    /// How many of them were quiet.
    pub quiet: usize,
    /// How many steps the run has.
    pub of: usize,
    /// How large the whole page would be, in bytes.
    pub bytes: usize,
    /// Where: a step of the page, and how many are left out right before it.
    pub gaps: Vec<(usize, usize)>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Whether all was well.
    pub passed: bool,
    /// In a few words.
    pub headline: String,
    /// What is behind it.
    pub why: Option<String>,
    /// The step at which it went wrong.
    pub step: Option<usize>,
}

/// A column of the diagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// The heading.
    pub name: String,
    /// Whether it stands for the clients.
    pub client: bool,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When, in nanoseconds; `None` where there is no clock.
    pub at_ns: Option<u64>,
    /// The step of the path that this belongs to, counted from 1, where there is no clock. 0 is the beginning.
    pub turn: Option<u64>,
    /// Where; `None` if it concerns the whole system.
    pub lane: Option<usize>,
    /// What kind of thing.
    pub kind: Kind,
    /// The variant of the message, timer or request, for filters; `heal` where all faults end.
    pub name: String,
    /// What it was, in words.
    pub text: String,
    /// It is what every run is full of.
    pub quiet: bool,
    /// What came of it, in order; what a crash prevented.
    pub acts: Vec<Act>,
    /// What it changed in its node, in words.
    #[serde(default)]
    pub changes: Vec<String>,
    /// How long ago the timer was set that fires in it, and for how long.
    #[serde(default)]
    pub timer: Option<String>,
    /// It is part of what led to how the run ended.
    #[serde(default)]
    pub led: bool,
    /// What was taken, lost or held back here.
    pub flight: Option<usize>,
    /// The step that led to this one.
    pub cause: Option<usize>,
    /// The node after it.
    pub state: Option<usize>,
}

/// Kinds of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A node booted.
    Boot,
    /// A node took a message.
    Message,
    /// A node's timer fired.
    Timer,
    /// A node took a client's request.
    Request,
    /// A node learned that what it asked for is durable.
    Durable,
    /// A disk made records durable.
    Synced,
    /// A node crashed.
    Crash,
    /// A node stopped by itself.
    Stop,
    /// The network did something to a message.
    Network,
    /// A client asked.
    Asked,
    /// A client was answered.
    Answered,
    /// The plan did something to the whole system.
    Plan,
}

/// Something a node did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// What kind of thing.
    pub kind: ActKind,
    /// What, in words.
    pub text: String,
    /// What this sent on its way.
    pub flight: Option<usize>,
}

/// Kinds of acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActKind {
    /// It wrote a record.
    Append,
    /// It sent a message.
    Send,
    /// It answered a client.
    Reply,
    /// It told a fact.
    Fact,
    /// It armed a timer.
    Arm,
    /// It disarmed a timer.
    Disarm,
    /// It published a view.
    Publish,
}

/// A message on its way from one lane to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flight {
    /// The sender's lane.
    pub from: usize,
    /// The receiver's lane.
    pub to: usize,
    /// The message's variant.
    pub name: String,
    /// The message, in words.
    pub text: String,
    /// The step that sent it, if it is known.
    pub sent: Option<usize>,
    /// What the network did to it, in order.
    pub touches: Vec<Touch>,
    /// The steps at which it was received: two for a duplicate.
    pub received: Vec<usize>,
    /// What became of it.
    #[serde(rename = "fate")]
    pub end: End,
}

/// The network does something to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// At which step.
    pub step: usize,
    /// What.
    pub what: TouchKind,
}

/// What a network does to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TouchKind {
    /// It loses a copy.
    Lost,
    /// A cut keeps a copy from passing.
    CutOff,
    /// It holds it back, so that later ones overtake it.
    HeldBack,
    /// A clog holds it until the clog ends.
    Clogged,
    /// It makes two of it.
    Doubled,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It arrived.
    Arrived,
    /// The network lost it.
    Lost,
    /// A cut kept it from passing.
    CutOff,
    /// Its receiver was down, or went down before it arrived.
    ReceiverDown,
    /// Its sender went down before it had left.
    SenderDown,
    /// It did not arrive before the run ended, and nothing says why.
    Unknown,
}

/// A time during which a node was down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// The node's lane.
    pub lane: usize,
    /// The step that ended its life.
    pub from: usize,
    /// The step at which it booted again.
    pub to: Option<usize>,
}

/// Something is broken for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Band {
    /// What kind of thing.
    pub kind: BandKind,
    /// In words.
    pub text: String,
    /// The nodes that it concerns, if it is theirs.
    pub lanes: Vec<usize>,
    /// The directions between lanes that it concerns, if it is the network's.
    pub links: Vec<(usize, usize)>,
    /// The step at which it begins.
    pub from: usize,
    /// The first step after its end; `None` if the run ends before.
    pub to: Option<usize>,
    /// For how long, in nanoseconds; nothing where there is no clock.
    pub for_ns: u64,
}

/// Kinds of what is broken for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BandKind {
    /// Messages do not pass.
    Cut,
    /// Messages are held until the end.
    Clog,
    /// Messages take longer.
    SlowLink,
    /// A node stands still.
    Pause,
    /// A node's clock runs at another speed.
    Clock,
    /// A node's disk syncs slowly.
    SlowDisk,
    /// A node's disk takes nothing.
    FullDisk,
}

/// What was planned to happen in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// How the network treats all messages until it is healed; nothing if it is sound.
    pub links: Option<String>,
    /// What happens, in order.
    pub items: Vec<PlanItem>,
}

/// Something that was planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanItem {
    /// When, in words, if it is not at a fixed time.
    pub when: Option<String>,
    /// When it was due, or when it happened if it waited for something.
    pub at_ns: Option<u64>,
    /// What, in words.
    pub what: String,
    /// Something breaks, rather than being asked or mended.
    pub fault: bool,
    /// The step at which it happened; `None` if the run ended before.
    pub step: Option<usize>,
}
