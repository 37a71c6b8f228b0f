//! What one copy of a service does, for the services that histories are usually about. Values are JSON, and any two are
//! the same if they are written in the same way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use coalmine_core::linearize::{Call, Object, Places, Specification};
use serde_json::Value;

use super::read::Operation;

/// A specification of which histories are written down.
pub trait Model: Specification {
    /// How it is called on the command line.
    const NAME: &'static str;

    /// What is asked; `Err` says why that makes no sense.
    fn call(operation: &Operation) -> Result<Self::Call, String>;

    /// What a call is about, and with it the state: calls about different things do not see each other, and each thing is
    /// judged by itself (Herlihy, Wing 1990, §3.2: a history is linearizable if it is for each object). Default: all
    /// are about one.
    fn about(_call: &Self::Call) -> String {
        String::new()
    }

    /// What was answered, by an operation that has returned.
    fn answer(call: &Self::Call, operation: &Operation) -> Result<Self::Answer, String>;
}

/// All things together that calls are about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Whole<M>(BTreeMap<String, M>);

impl<M> Default for Whole<M> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<M: Model> Whole<M> {
    /// The same calls, of all things together.
    pub fn all_of(calls: &[Call<M>]) -> Vec<Call<Self>> {
        let same = |Call { began, id, call, returned }: Call<M>| Call { began, id, call, returned };
        calls.iter().cloned().map(same).collect()
    }

    fn of(&self, about: &str) -> M {
        self.0.get(about).cloned().unwrap_or_default()
    }

    fn with(&self, about: String, thing: M) -> Self {
        let mut all = self.0.clone();
        if thing == M::default() {
            all.remove(&about);
        } else {
            all.insert(about, thing);
        }
        Self(all)
    }
}

impl<M: Model> Specification for Whole<M> {
    type Call = M::Call;
    type Answer = M::Answer;

    fn step(&self, call: &M::Call, answer: &M::Answer) -> Option<Self> {
        let about = M::about(call);
        let after = self.of(&about).step(call, answer)?;
        Some(self.with(about, after))
    }

    fn maybe(&self, call: &M::Call) -> Vec<Self> {
        let about = M::about(call);
        let after = self.of(&about).maybe(call);
        after.into_iter().map(|after| self.with(about.clone(), after)).collect()
    }

    fn only_reads(call: &M::Call) -> bool {
        M::only_reads(call)
    }

    fn changed_nothing(call: &M::Call, answer: &M::Answer) -> bool {
        M::changed_nothing(call, answer)
    }
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

/// What is written or added.
fn given(function: &str, input: &Value) -> Result<Text, String> {
    if input.is_null() { Err(format!("{function:?} has no input")) } else { Ok(text(input)) }
}

/// What was read.
fn read<'a>(function: &str, output: Option<&'a Value>) -> Result<&'a Value, String> {
    output.ok_or_else(|| {
        format!("{function:?} has returned without an output: null says that there was nothing")
    })
}

/// Whether it was done: if nothing is said, `true`, or what was given once more.
fn done(function: &str, input: &Value, output: Option<&Value>) -> Result<(), String> {
    match output {
        None | Some(Value::Null | Value::Bool(true)) => Ok(()),
        Some(output) if output == input => Ok(()),
        Some(output) => Err(format!(
            "{function:?} has nothing to answer, and its output is {output}; what did not take effect is to be left out"
        )),
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

    fn changed_nothing(call: &Access, answer: &Held) -> bool {
        match call {
            Access::Read => true,
            Access::Write(_) => false,
            Access::Cas(from, to) => *answer == Held::Done(false) || from == to,
        }
    }

    fn overwrites(call: &Access) -> bool {
        matches!(call, Access::Write(_))
    }
}

impl Places for Register {
    type Place = ();
    type Value = Text;

    fn reads(call: &Access, answer: &Held) -> Option<((), Text)> {
        match (call, answer) {
            (Access::Read, Held::Value(value)) => Some(((), value.clone())),
            (Access::Cas(from, _), Held::Done(true)) => Some(((), from.clone())),
            (Access::Read | Access::Write(_) | Access::Cas(..), _) => None,
        }
    }

    fn writes(call: &Access, answer: Option<&Held>) -> Option<((), Text)> {
        match call {
            Access::Read => None,
            Access::Write(value) => Some(((), value.clone())),
            Access::Cas(_, to) => (answer != Some(&Held::Done(false))).then(|| ((), to.clone())),
        }
    }
}

impl Register {
    fn access<M: Model>(function: &str, input: &Value, known: &str) -> Result<Access, String> {
        match function {
            "read" | "r" | "get" => Ok(Access::Read),
            "write" | "w" | "put" => Ok(Access::Write(given(function, input)?)),
            "cas" => {
                let (from, to) = pair(input, "the value to compare with and the one to set")?;
                Ok(Access::Cas(text(&from), text(&to)))
            }
            _ => Err(unknown::<M>(function, known)),
        }
    }

    fn held(call: &Access, function: &str, input: &Value, output: Option<&Value>) -> Result<Held, String> {
        match (call, output) {
            (Access::Read, output) => Ok(Held::Value(text(read(function, output)?))),
            (Access::Write(_), output) => done(function, input, output).map(|()| Held::Done(true)),
            (Access::Cas(..), Some(Value::Bool(fits))) => Ok(Held::Done(*fits)),
            (Access::Cas(..), Some(output)) if output == input => Ok(Held::Done(true)),
            (Access::Cas(..), output) => Err(format!(
                "{function:?} has returned, and does not say whether it was done, true or false, but {}",
                output.map_or("nothing".into(), Value::to_string)
            )),
        }
    }
}

impl Model for Register {
    const NAME: &'static str = "register";

    fn call(operation: &Operation) -> Result<Access, String> {
        Self::access::<Self>(&operation.function, &operation.input, "read, write, cas")
    }

    fn answer(call: &Access, operation: &Operation) -> Result<Held, String> {
        Self::held(call, &operation.function, &operation.input, operation.output.as_ref())
    }
}

/// Registers by key. The key is said apart, or what is given to a function is a pair of key and value (to read, the key
/// alone, or a pair of key and anything); a pair is answered by a pair.
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

    fn changed_nothing((_, call): &(Text, Access), answer: &Held) -> bool {
        <Register as Object>::changed_nothing(call, answer)
    }

    fn overwrites((_, call): &(Text, Access)) -> bool {
        <Register as Object>::overwrites(call)
    }
}

impl Places for Kv {
    type Place = Text;
    type Value = Text;

    fn reads((key, call): &(Text, Access), answer: &Held) -> Option<(Text, Text)> {
        Register::reads(call, answer).map(|((), value)| (key.clone(), value))
    }

    fn writes((key, call): &(Text, Access), answer: Option<&Held>) -> Option<(Text, Text)> {
        Register::writes(call, answer).map(|((), value)| (key.clone(), value))
    }
}

impl Kv {
    /// The key, what was given beside it, and what came back.
    fn parts(operation: &Operation) -> Result<(Value, Value, Option<Value>), String> {
        let Operation { key, input, output, .. } = operation;
        if let Some(key) = key {
            return Ok((key.clone(), input.clone(), output.clone()));
        }
        let Value::Array(_) = input else { return Ok((input.clone(), Value::Null, output.clone())) };
        let (key, value) = pair(input, "a key and a value")?;
        let output = match output {
            Some(pair_of @ Value::Array(_)) => {
                let (other, value) = pair(pair_of, "a key and a value")?;
                if other != key {
                    return Err(format!("{key} was asked for, and {other} was answered"));
                }
                Some(value)
            }
            other => other.clone(),
        };
        Ok((key, value, output))
    }
}

impl Model for Kv {
    const NAME: &'static str = "kv";

    fn about((key, _): &(Text, Access)) -> String {
        key.clone()
    }

    fn call(operation: &Operation) -> Result<(Text, Access), String> {
        let (key, value, _) = Self::parts(operation)?;
        let known = "read, write, cas, each with a key";
        Ok((text(&key), Register::access::<Self>(&operation.function, &value, known)?))
    }

    fn answer((_, call): &(Text, Access), operation: &Operation) -> Result<Held, String> {
        let (_, value, output) = Self::parts(operation)?;
        Register::held(call, &operation.function, &value, output.as_ref())
    }
}

/// A number that is added to, and read.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter(i128);

impl Object for Counter {
    /// What is added; nothing to read.
    type Call = Option<i64>;
    /// What was read.
    type Answer = Option<i128>;

    fn apply(&mut self, call: &Option<i64>) -> Option<i128> {
        match call {
            Some(number) => {
                // Nobody adds so often that 128 bits are not enough.
                self.0 += i128::from(*number);
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

    fn call(operation: &Operation) -> Result<Option<i64>, String> {
        let Operation { function, input, .. } = operation;
        match function.as_str() {
            "read" => Ok(None),
            "add" => input.as_i64().map(Some).ok_or_else(|| format!("{input} is no whole number of 64 bits")),
            "inc" | "increment" if input.is_null() || *input == 1 => Ok(Some(1)),
            "inc" | "increment" => Err(format!("{function:?} adds 1, and is given {input}: add")),
            _ => Err(unknown::<Self>(function, "read, add, inc")),
        }
    }

    fn answer(call: &Option<i64>, operation: &Operation) -> Result<Option<i128>, String> {
        let Operation { function, input, output, .. } = operation;
        if call.is_some() {
            return done(function, input, output.as_ref()).map(|()| None);
        }
        let output = read(function, output.as_ref())?;
        let number = output.as_i64().map(i128::from).or_else(|| output.as_u64().map(i128::from));
        number.map(Some).ok_or_else(|| format!("{output} was read, and is no whole number of 64 bits"))
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

    fn call(operation: &Operation) -> Result<Option<Text>, String> {
        match operation.function.as_str() {
            "read" => Ok(None),
            "add" => given("add", &operation.input).map(Some),
            unknown_one => Err(unknown::<Self>(unknown_one, "read, add")),
        }
    }

    fn answer(call: &Option<Text>, operation: &Operation) -> Result<Option<BTreeSet<Text>>, String> {
        let Operation { function, input, output, .. } = operation;
        if call.is_some() {
            return done(function, input, output.as_ref()).map(|()| None);
        }
        let output = read(function, output.as_ref())?;
        // A list, or a set as EDN has it.
        let Some(values) = output.as_array().or_else(|| output.get("#set")?.as_array()) else {
            return Err(format!("{output} was read, and is no list of values"));
        };
        let all: BTreeSet<_> = values.iter().map(text).collect();
        if all.len() < values.len() {
            return Err(format!("{output} was read, in which a value stands twice: it is no set"));
        }
        Ok(Some(all))
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

    fn call(operation: &Operation) -> Result<Option<Text>, String> {
        match operation.function.as_str() {
            "enqueue" | "put" => given("enqueue", &operation.input).map(Some),
            "dequeue" | "take" => Ok(None),
            unknown_one => Err(unknown::<Self>(unknown_one, "enqueue, dequeue")),
        }
    }

    fn answer(call: &Option<Text>, operation: &Operation) -> Result<Option<Text>, String> {
        let Operation { function, input, output, .. } = operation;
        match call {
            Some(_) => done(function, input, output.as_ref()).map(|()| None),
            None => Ok(Some(text(read(function, output.as_ref())?))),
        }
    }
}
