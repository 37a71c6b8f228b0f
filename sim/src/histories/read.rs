//! How histories are written, one thing a line:
//!
//! * **JSON**, an operation a line, with the times at which it was called and returned, whole numbers in any unit:
//!   `{"client": 1, "op": "write", "input": 3, "call": 10, "return": 20}`. Without `return`, or with `null`, nobody knows
//!   whether it took effect. Whoever returns when another calls was not before it.
//! * **EDN** as Jepsen and Knossos write it, an event a line, in the order of time:
//!   `{:process 0, :type :invoke, :f :write, :value 3}`. What is `:ok` took effect, what is `:fail` did not and is left
//!   out, of what is `:info` or goes on at the end nobody knows. Processes that are no numbers, such as `:nemesis`, are no
//!   clients. Values keep their kind: a keyword is no string, a set has no order, a tagged value is no other.
//!
//! * **Rows** as Knossos keeps them in `history.txt`, and Jepsen writes them into its log: the same events, process, type,
//!   function and value one after the other, `0 :invoke :write 3`, perhaps behind `INFO  jepsen.util - `.
//!
//! Which of these it is is seen by the first line. Empty lines are left out, and those that begin with `;` or with `#` and a
//! space.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// One operation of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Who.
    pub client: String,
    /// What is done.
    pub function: String,
    /// About what, if that is said apart from the input.
    pub key: Option<Value>,
    /// With what.
    pub input: Value,
    /// What came back, if that is said.
    pub output: Option<Value>,
    /// When it was called.
    pub called: u64,
    /// When it returned, if it did.
    pub returned: Option<u64>,
    /// The line that says so, from 1.
    pub line: usize,
}

impl Operation {
    /// An error about this operation.
    pub fn wrong(&self, why: &str) -> String {
        format!("line {}: {why}", self.line)
    }
}

/// Reads a history. `Err` names the line, and what is wrong with it.
pub fn read(text: &str) -> Result<Vec<Operation>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_said = |line: &str| !line.is_empty() && !line.starts_with(';') && !line.starts_with("# ");
    let lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| is_said(line));
    let lines: Vec<(usize, &str)> = lines.collect();
    let Some((_, first)) = lines.first() else { return Err("it holds no operation".into()) };
    let is_edn = first.starts_with('#')
        || first.trim_start_matches(['{', '[']).trim_start().starts_with(':')
        || row(first).is_some();
    let operations = if is_edn { from_events(&lines)? } else { from_json(&lines)? };
    if operations.is_empty() {
        return Err("it holds no operation that may have taken effect".into());
    }
    Ok(operations)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    client: Value,
    op: String,
    #[serde(default, deserialize_with = "said")]
    key: Option<Value>,
    #[serde(default)]
    input: Value,
    #[serde(default, deserialize_with = "said")]
    output: Option<Value>,
    call: u64,
    #[serde(default, rename = "return")]
    returned: Option<u64>,
}

/// `null` is a value, too.
fn said<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

/// Numbers that are told apart in the file must be told apart here.
fn exact(value: &Value) -> Result<(), String> {
    const MOST: f64 = 9_007_199_254_740_992.0; // 2^53: above it not every whole number is one
    match value {
        Value::Number(number) if number.is_f64() && number.as_f64().is_none_or(|it| it.abs() >= MOST) => {
            Err(format!("{number} has more digits than are kept: write it as a string"))
        }
        Value::Array(all) => all.iter().try_for_each(exact),
        Value::Object(all) => all.values().try_for_each(exact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn from_json(lines: &[(usize, &str)]) -> Result<Vec<Operation>, String> {
    let operation = |&(number, text): &(usize, &str)| {
        let wrong = |why: String| format!("line {number}: {why}");
        if !text.starts_with('{') {
            return Err(wrong("it is no JSON object, such as {\"client\": 1, \"op\": \"read\", …}".into()));
        }
        let Line { client, op, key, input, output, call, returned } =
            serde_json::from_str(text).map_err(|why| {
                let why = why.to_string();
                wrong(
                    why.replace(" at line 1 column ", ", at column ")
                        .replace("expected u64", "a time is a whole number from 0"),
                )
            })?;
        if client.is_null() {
            return Err(wrong("\"client\" is null".into()));
        }
        for value in [Some(&input), output.as_ref(), key.as_ref()].into_iter().flatten() {
            exact(value).map_err(wrong)?;
        }
        if let Some(at) = returned.filter(|at| *at < call) {
            return Err(format!("line {number}: it returns at {at}, before it is called at {call}"));
        }
        let client = plain(&client);
        Ok(Operation { client, function: op, key, input, output, called: call, returned, line: number })
    };
    let operations: Vec<Operation> = lines.iter().map(operation).collect::<Result<_, _>>()?;
    // A client does one thing after the other; what never returned is over when the next begins.
    let mut order: Vec<&Operation> = operations.iter().collect();
    order.sort_by_key(|it| (&it.client, it.called, it.returned.unwrap_or(it.called)));
    for pair in order.windows(2) {
        let [before, after] = pair else { continue };
        if before.client == after.client && before.returned.is_some_and(|until| until > after.called) {
            let Operation { client, called, .. } = after;
            return Err(after.wrong(&format!(
                "client {client} calls at {called}, before its call of line {} has returned",
                before.line
            )));
        }
    }
    Ok(operations)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn from_events(lines: &[(usize, &str)]) -> Result<Vec<Operation>, String> {
    let mut operations: Vec<Option<Operation>> = Vec::new();
    // By process, the operation that is under way.
    let mut under_way: BTreeMap<String, usize> = BTreeMap::new();
    let last = lines.len() - 1;
    for (time, &(number, text)) in (0..).zip(lines) {
        let wrong = |why: String| format!("line {number}: {why}");
        // A whole history may be one vector.
        let text = if time == 0 { text.strip_prefix('[').unwrap_or(text) } else { text };
        let text = if time == last as u64 { text.strip_suffix(']').unwrap_or(text) } else { text };
        let event = row(text).unwrap_or_else(|| edn(text)).map_err(wrong)?;
        let Value::Object(event) = event else { return Err(wrong("it is no map".into())) };
        let field = |name: &str| event.get(name).cloned().ok_or_else(|| wrong(format!("it has no {name}")));
        let name = |value: &Value| plain(value).trim_start_matches(':').to_owned();
        let (process, kind, value) =
            (field(":process")?, name(&field(":type")?), event.get(":value").cloned());
        if !process.is_number() {
            continue;
        }
        let process = process.to_string();
        if let Some(value) = &value {
            exact(value).map_err(wrong)?;
        }
        if kind == "invoke" {
            if under_way.contains_key(&process) {
                return Err(wrong(format!("process {process} calls before its last call has ended")));
            }
            under_way.insert(process.clone(), operations.len());
            operations.push(Some(Operation {
                client: process,
                function: name(&field(":f")?),
                key: None,
                input: value.unwrap_or_default(),
                output: None,
                called: time,
                returned: None,
                line: number,
            }));
            continue;
        }
        let begun = under_way.remove(&process);
        // What a process that nothing is known of says is about the test, not about the service.
        let Some(begun) = begun else {
            if kind == "info" {
                continue;
            }
            return Err(wrong(format!("process {process} ends a call that it has not begun")));
        };
        if let (Some(operation), Some(f)) = (&operations[begun], event.get(":f").map(name))
            && operation.function != f
        {
            let Operation { function, line, .. } = operation;
            return Err(wrong(format!(
                "process {process} ends :{f}, but has called :{function} in line {line}"
            )));
        }
        match (kind.as_str(), &mut operations[begun]) {
            ("ok", Some(operation)) => {
                operation.returned = Some(time);
                operation.output = value;
            }
            ("fail", operation) => *operation = None,
            ("info", _) => {}
            _ => return Err(wrong(format!(":type is :{kind}, and not :invoke, :ok, :fail or :info"))),
        }
    }
    Ok(operations.into_iter().flatten().collect())
}

/// An event as a row, if it is one: process, type, function, value.
fn row(text: &str) -> Option<Result<Value, String>> {
    let text = match text.split_once(" - ") {
        Some((log, row)) if log.starts_with("INFO") => row,
        Some(_) | None => text,
    };
    let mut rest = text.trim_start();
    let mut word = || {
        let (word, after) = rest.split_once(char::is_whitespace)?;
        rest = after.trim_start();
        Some(word)
    };
    let (process, kind, function) = (word()?, word()?, word()?);
    let is_process = process.starts_with(':') || process.parse::<i64>().is_ok();
    if !is_process || ![":invoke", ":ok", ":fail", ":info"].contains(&kind) || !function.starts_with(':') {
        return None;
    }
    let all = |value: Value| {
        let process = process.parse::<i64>().map_or_else(|_| process.into(), Value::from);
        let fields =
            [(":process", process), (":type", kind.into()), (":f", function.into()), (":value", value)];
        Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
    };
    Some(edn(rest).map(all))
}

/// The first operation of a process that has called before, and of that call nobody knows how it ended. Jepsen gives such
/// a process a new number: one that goes on with its old one may have been written down by something else.
pub fn goes_on<'a>(text: &str, operations: &'a [Operation]) -> Option<&'a Operation> {
    // In JSON that is how it is said that a client has given up.
    let is_json = operations.first().is_none_or(|first| {
        text.lines().nth(first.line - 1).is_some_and(|line| serde_json::from_str::<Value>(line).is_ok())
    });
    let mut given_up = BTreeSet::new();
    operations.iter().filter(|_| !is_json).find(|operation| {
        let goes_on = given_up.contains(&operation.client);
        if operation.returned.is_none() {
            given_up.insert(&operation.client);
        }
        goes_on
    })
}

/// How deep maps and vectors may lie within each other.
const MAX_DEPTH: usize = 64;

/// What is needed of EDN (<https://github.com/edn-format/edn>): maps, vectors, lists, sets, strings, numbers, keywords and
/// symbols. A keyword is a string with its colon, a symbol one with a quote before it; a string that begins with either has
/// a quotation mark before it. A set is its elements, sorted, under `#set`; a tagged value is under its tag.
fn edn(text: &str) -> Result<Value, String> {
    let mut reader = Edn { rest: text };
    // A record of events is a map.
    if reader.takes("#") && !reader.rest.starts_with('{') {
        let _ = reader.word();
    }
    let value = reader.value(0)?;
    reader.skip();
    if reader.rest.is_empty() { Ok(value) } else { Err(format!("{:?} follows the event", reader.rest)) }
}

struct Edn<'a> {
    rest: &'a str,
}

fn tagged(tag: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(tag.to_owned(), value)]))
}

/// `+1`, `-0`, `1N` and `0x10` are whole numbers as well; `1M` is another number than `1`.
fn number(word: &str) -> Result<Value, String> {
    let no_number = || format!("{word:?} is no number that is understood");
    if word.ends_with('M') {
        return Ok(tagged("#decimal", word.into()));
    }
    let digits = word.strip_suffix('N').unwrap_or(word);
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    if let Some(hex) = digits.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).map(Value::from).map_err(|_| no_number());
    }
    let digits = if digits == "-0" { "0" } else { digits };
    serde_json::from_str::<serde_json::Number>(digits).map(Value::Number).map_err(|_| no_number())
}

impl<'a> Edn<'a> {
    /// Commas are spaces.
    fn skip(&mut self) {
        self.rest = self.rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    }

    fn takes(&mut self, word: &str) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} collections lie within each other"));
        }
        if self.takes("#{") {
            let mut all = self.until("}", depth)?;
            all.sort_by_key(Value::to_string);
            return Ok(tagged("#set", Value::Array(all)));
        } else if self.takes("{") {
            let all = self.until("}", depth)?;
            if all.len() % 2 == 1 {
                return Err("a map has a key without a value".into());
            }
            let key = |key: &Value| match key.as_str() {
                Some(word) if word.starts_with([':', '\'']) => word.to_owned(),
                Some(_) | None => key.to_string(),
            };
            let pairs = all.chunks(2).map(|pair| (key(&pair[0]), pair[1].clone()));
            return Ok(Value::Object(pairs.collect::<Map<_, _>>()));
        } else if self.takes("[") {
            return Ok(Value::Array(self.until("]", depth)?));
        } else if self.takes("(") {
            return Ok(Value::Array(self.until(")", depth)?));
        } else if self.rest.starts_with('"') {
            // Its escapes are those of JSON.
            let mut strings = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
            let string =
                strings.next().unwrap_or_else(|| Ok(String::new())).map_err(|why| why.to_string())?;
            self.rest = &self.rest[strings.byte_offset()..];
            let is_marked = string.starts_with([':', '\'', '"']);
            return Ok(Value::String(if is_marked { format!("\"{string}") } else { string }));
        }
        if self.takes("#_") {
            self.value(depth + 1)?; // what is left out
            return self.value(depth + 1);
        } else if self.takes("#") {
            let tag = format!("#{}", self.word());
            return Ok(tagged(&tag, self.value(depth + 1)?));
        }
        let word = self.word();
        match word {
            "" => Err(format!("a value is missing at {:?}", self.rest)),
            "nil" => Ok(Value::Null),
            "true" | "false" => Ok(Value::Bool(word == "true")),
            word if word.starts_with(':') => Ok(Value::String(word.into())),
            word if word.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c)) && word.len() > 1
                || word.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                number(word)
            }
            word if word.starts_with(|c: char| c.is_alphabetic() || "+-*/_.!?$%&=<>".contains(c)) => {
                Ok(Value::String(format!("'{word}")))
            }
            word => Err(format!("{word:?} is not understood")),
        }
    }

    fn word(&mut self) -> &'a str {
        let is_over = |c: char| c.is_whitespace() || ",{}[]()\"".contains(c);
        let (word, rest) = self.rest.split_at(self.rest.find(is_over).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn until(&mut self, end: &str, depth: usize) -> Result<Vec<Value>, String> {
        let mut all = Vec::new();
        while !self.takes(end) {
            if self.rest.is_empty() {
                return Err(format!("{end:?} is missing at the end of the line"));
            }
            all.push(self.value(depth + 1)?);
        }
        Ok(all)
    }
}
