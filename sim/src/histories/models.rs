//! What one copy of a service does, for the services that histories are usually about. Values are JSON, and any two are
//! the same if they are written in the same way.

use std::collections::{BTreeSet, VecDeque};

use coalmine_core::linearize::{Object, Specification};
use serde_json::Value;

/// A specification of which histories are written down.
pub trait Model: Specification {
    /// How it is called on the command line.
    const NAME: &'static str;

    /// What is asked, by the function's name and what it was given; `Err` says why that makes no sense.
    fn call(function: &str, input: &Value) -> Result<Self::Call, String>;

    /// What was answered.
    fn answer(call: &Self::Call, output: &Value) -> Result<Self::Answer, String>;
}

/// The models that there are.
pub const NAMES: [&str; 5] = [Register::NAME, Kv::NAME, Counter::NAME, Set::NAME, Queue::NAME];

/// A value, as JSON.
type Text = String;

fn text(value: &Value) -> Text {
    value.to_string()
}

fn pair(input: &Value, what: &str) -> Result<(Value, Value), String> {
    match input.as_array().map(Vec::as_slice) {
        Some([a, b]) => Ok((a.clone(), b.clone())),
        Some(_) | None => Err(format!("{input} is no pair of {what}")),
    }
}

fn unknown<M: Model>(function: &str, known: &str) -> String {
    format!("{function:?} is no function of a {}: {known}", M::NAME)
}

/// A register that is read, written, and compared and set. It holds `null` at first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Register(Text);

impl Default for Register {
    fn default() -> Self {
        Self(text(&Value::Null))
    }
}

/// What is asked of a register.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// What does it hold?
    Read,
    /// Hold this.
    Write(Text),
    /// Hold the second if you hold the first.
    Cas(Text, Text),
}

/// What a register answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Held {
    /// This.
    Value(Text),
    /// Done, or not.
    Done(bool),
}

impl Object for Register {
    type Call = Access;
    type Answer = Held;

    fn apply(&mut self, call: &Access) -> Held {
        let Self(held) = self;
        match call {
            Access::Read => Held::Value(held.clone()),
            Access::Write(value) => {
                held.clone_from(value);
                Held::Done(true)
            }
            Access::Cas(from, to) => {
                let fits = held == from;
                if fits {
                    held.clone_from(to);
                }
                Held::Done(fits)
            }
        }
    }

    fn only_reads(call: &Access) -> bool {
        *call == Access::Read
    }
}

impl Model for Register {
    const NAME: &'static str = "register";

    fn call(function: &str, input: &Value) -> Result<Access, String> {
        match function {
            "read" | "r" | "get" => Ok(Access::Read),
            "write" | "w" | "put" => Ok(Access::Write(text(input))),
            "cas" => {
                let (from, to) = pair(input, "the value to compare with and the one to set")?;
                Ok(Access::Cas(text(&from), text(&to)))
            }
            _ => Err(unknown::<Self>(function, "read, write, cas")),
        }
    }

    fn answer(call: &Access, output: &Value) -> Result<Held, String> {
        Ok(match call {
            Access::Read => Held::Value(text(output)),
            // What is repeated, or said to be well, is done.
            Access::Write(_) | Access::Cas(..) => Held::Done(*output != Value::Bool(false)),
        })
    }
}

/// Registers by key. What is given to a function is a pair of key and value; to read, the key, or a pair of key and
/// anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kv(Register);

impl Object for Kv {
    type Call = (Text, Access);
    type Answer = Held;

    fn apply(&mut self, (_, call): &(Text, Access)) -> Held {
        self.0.apply(call)
    }

    fn only_reads((_, call): &(Text, Access)) -> bool {
        <Register as Object>::only_reads(call)
    }

    fn about((key, _): &(Text, Access)) -> String {
        key.clone()
    }
}

impl Model for Kv {
    const NAME: &'static str = "kv";

    fn call(function: &str, input: &Value) -> Result<(Text, Access), String> {
        let (key, value) = match input.is_array() {
            true => pair(input, "a key and a value")?,
            false => (input.clone(), Value::Null),
        };
        let call = Register::call(function, &value)
            .map_err(|_| unknown::<Self>(function, "read, write, cas, each with a key"))?;
        Ok((text(&key), call))
    }

    fn answer((_, call): &(Text, Access), output: &Value) -> Result<Held, String> {
        let value = match (call, output.as_array().map(Vec::as_slice)) {
            (Access::Read, Some([_, value])) => value,
            (Access::Read | Access::Write(_) | Access::Cas(..), _) => output,
        };
        Register::answer(call, value)
    }
}

/// A number that is added to, and read.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter(i64);

impl Object for Counter {
    /// What is added; nothing to read.
    type Call = Option<i64>;
    /// What was read.
    type Answer = Option<i64>;

    fn apply(&mut self, call: &Option<i64>) -> Option<i64> {
        match call {
            Some(number) => {
                self.0 = self.0.wrapping_add(*number);
                None
            }
            None => Some(self.0),
        }
    }

    fn only_reads(call: &Option<i64>) -> bool {
        call.is_none()
    }
}

impl Model for Counter {
    const NAME: &'static str = "counter";

    fn call(function: &str, input: &Value) -> Result<Option<i64>, String> {
        let number = |input: &Value| input.as_i64().ok_or_else(|| format!("{input} is no whole number"));
        match function {
            "read" => Ok(None),
            "add" => number(input).map(Some),
            "inc" | "increment" => Ok(Some(1)),
            _ => Err(unknown::<Self>(function, "read, add, inc")),
        }
    }

    fn answer(call: &Option<i64>, output: &Value) -> Result<Option<i64>, String> {
        match call {
            Some(_) => Ok(None),
            None => {
                output.as_i64().map(Some).ok_or_else(|| format!("{output} was read, and is no whole number"))
            }
        }
    }
}

/// A set that is added to, and read.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set(BTreeSet<Text>);

impl Object for Set {
    /// What is added; nothing to read.
    type Call = Option<Text>;
    /// What was read.
    type Answer = Option<BTreeSet<Text>>;

    fn apply(&mut self, call: &Option<Text>) -> Option<BTreeSet<Text>> {
        match call {
            Some(value) => {
                self.0.insert(value.clone());
                None
            }
            None => Some(self.0.clone()),
        }
    }

    fn only_reads(call: &Option<Text>) -> bool {
        call.is_none()
    }
}

impl Model for Set {
    const NAME: &'static str = "set";

    fn call(function: &str, input: &Value) -> Result<Option<Text>, String> {
        match function {
            "read" => Ok(None),
            "add" => Ok(Some(text(input))),
            _ => Err(unknown::<Self>(function, "read, add")),
        }
    }

    fn answer(call: &Option<Text>, output: &Value) -> Result<Option<BTreeSet<Text>>, String> {
        match (call, output) {
            (Some(_), _) => Ok(None),
            (None, Value::Array(values)) => Ok(Some(values.iter().map(text).collect())),
            (None, other) => Err(format!("{other} was read, and is no list of values")),
        }
    }
}

/// A queue: first in, first out. Of an empty one nothing is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue(VecDeque<Text>);

impl Object for Queue {
    /// What is put in; nothing to take out.
    type Call = Option<Text>;
    /// What was taken out: `null` of an empty one.
    type Answer = Option<Text>;

    fn apply(&mut self, call: &Option<Text>) -> Option<Text> {
        match call {
            Some(value) => {
                self.0.push_back(value.clone());
                None
            }
            None => Some(self.0.pop_front().unwrap_or_else(|| text(&Value::Null))),
        }
    }
}

impl Model for Queue {
    const NAME: &'static str = "queue";

    fn call(function: &str, input: &Value) -> Result<Option<Text>, String> {
        match function {
            "enqueue" | "put" => Ok(Some(text(input))),
            "dequeue" | "take" => Ok(None),
            _ => Err(unknown::<Self>(function, "enqueue, dequeue")),
        }
    }

    fn answer(call: &Option<Text>, output: &Value) -> Result<Option<Text>, String> {
        Ok(call.is_none().then(|| text(output)))
    }
}
