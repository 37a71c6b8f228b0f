//! How histories are written, one thing a line:
//!
//! * **JSON**, an operation a line, with the times at which it was called and returned, in any unit:
//!   `{"client": 1, "op": "write", "input": 3, "output": true, "call": 10, "return": 20}`. Without `return`, or with
//!   `null`, nobody knows whether it took effect.
//! * **EDN** as Jepsen and Knossos write it, an event a line, in the order of time:
//!   `{:process 0, :type :invoke, :f :write, :value 3}`. What is `:ok` took effect, what is `:fail` did not and is left
//!   out, of what is `:info` or goes on at the end nobody knows.
//!
//! Which of the two is seen by the first line. Empty lines are left out, and those that begin with `;` or with `#` and a
//! space.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// One operation of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Who.
    pub client: String,
    /// What is done.
    pub function: String,
    /// With what.
    pub input: Value,
    /// What came back.
    pub output: Value,
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
    let is_edn = first.starts_with('#') || first.trim_start_matches(['{', '[']).trim_start().starts_with(':');
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
    #[serde(default)]
    input: Value,
    #[serde(default)]
    output: Value,
    call: u64,
    #[serde(default, rename = "return")]
    returned: Option<u64>,
}

fn from_json(lines: &[(usize, &str)]) -> Result<Vec<Operation>, String> {
    let operation = |&(number, text): &(usize, &str)| {
        let Line { client, op, input, output, call, returned } =
            serde_json::from_str(text).map_err(|why| format!("line {number}: {why}"))?;
        if let Some(at) = returned.filter(|at| *at < call) {
            return Err(format!("line {number}: it returns at {at}, before it is called at {call}"));
        }
        let client = plain(&client);
        Ok(Operation { client, function: op, input, output, called: call, returned, line: number })
    };
    lines.iter().map(operation).collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn from_events(lines: &[(usize, &str)]) -> Result<Vec<Operation>, String> {
    let mut operations: Vec<Option<Operation>> = Vec::new();
    // By process, the operation that is under way.
    let mut under_way: BTreeMap<String, usize> = BTreeMap::new();
    for (time, &(number, text)) in (0..).zip(lines) {
        let wrong = |why: String| format!("line {number}: {why}");
        let event = edn(text).map_err(wrong)?;
        let Value::Object(event) = event else { return Err(wrong("it is no map".into())) };
        let field = |name: &str| event.get(name).cloned().ok_or_else(|| wrong(format!("it has no :{name}")));
        let (process, kind, value) = (plain(&field("process")?), plain(&field("type")?), field("value"));
        if kind == "invoke" {
            if under_way.contains_key(&process) {
                return Err(wrong(format!("process {process} calls before its last call has ended")));
            }
            under_way.insert(process.clone(), operations.len());
            operations.push(Some(Operation {
                client: process,
                function: plain(&field("f")?),
                input: value.unwrap_or_default(),
                output: Value::Null,
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
        match (kind.as_str(), &mut operations[begun]) {
            ("ok", Some(operation)) => {
                operation.returned = Some(time);
                operation.output = value.unwrap_or_default();
            }
            ("fail", operation) => *operation = None,
            ("info", _) => {}
            _ => return Err(wrong(format!(":type is :{kind}, and not :invoke, :ok, :fail or :info"))),
        }
    }
    Ok(operations.into_iter().flatten().collect())
}

/// How deep maps and vectors may lie within each other.
const MAX_DEPTH: usize = 64;

/// What is needed of EDN (<https://github.com/edn-format/edn>): maps, vectors, lists, sets, strings, numbers, keywords and
/// symbols. Keywords and symbols are their names.
fn edn(text: &str) -> Result<Value, String> {
    let mut reader = Edn { rest: text };
    let value = reader.value(0)?;
    reader.skip();
    if reader.rest.is_empty() { Ok(value) } else { Err(format!("{:?} follows the event", reader.rest)) }
}

struct Edn<'a> {
    rest: &'a str,
}

impl Edn<'_> {
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
            return Ok(Value::Array(self.until("}", depth)?));
        } else if self.takes("{") {
            let all = self.until("}", depth)?;
            if all.len() % 2 == 1 {
                return Err("a map has a key without a value".into());
            }
            let pairs = all.chunks(2).map(|pair| (plain(&pair[0]), pair[1].clone()));
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
            return Ok(Value::String(string));
        }
        // A tag says what follows is; it is taken as it stands.
        if self.takes("#") {
            let _ = self.word();
            return self.value(depth + 1);
        }
        let word = self.word();
        match word {
            "" => Err(format!("a value is missing at {:?}", self.rest)),
            "nil" => Ok(Value::Null),
            "true" | "false" => Ok(Value::Bool(word == "true")),
            word => {
                let number = word.trim_end_matches(['N', 'M']);
                Ok(match serde_json::from_str::<serde_json::Number>(number) {
                    Ok(number) => Value::Number(number),
                    Err(_) => Value::String(word.trim_start_matches(':').into()),
                })
            }
        }
    }

    fn word(&mut self) -> &str {
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
