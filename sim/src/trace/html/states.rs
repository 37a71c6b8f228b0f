//! Node states as lines of text. Successive states share nearly all of their lines, so each line is kept once.

use std::collections::HashMap;

/// What fits on one line is put there.
const WIDTH: usize = 64;

/// States, line by line.
#[derive(Default)]
pub struct States {
    /// Every line, once.
    pub lines: Vec<String>,
    /// The states, as lists of lines.
    pub states: Vec<Vec<usize>>,
    known_lines: HashMap<String, usize>,
    known_states: HashMap<Vec<usize>, usize>,
}

impl States {
    /// The number of a state that `{:#?}` has printed.
    pub fn intern(&mut self, text: &str) -> usize {
        let lines = compact(text).into_iter().map(|line| self.line(line)).collect();
        *self.known_states.entry(lines).or_insert_with_key(|state| {
            self.states.push(state.clone());
            self.states.len() - 1
        })
    }

    fn line(&mut self, line: String) -> usize {
        *self.known_lines.entry(line).or_insert_with_key(|line| {
            self.lines.push(line.clone());
            self.lines.len() - 1
        })
    }
}

/// `{:#?}` gives every field a line of its own, and every bracket too. Here what is short stays together.
pub fn compact(text: &str) -> Vec<String> {
    let mut groups: Vec<Vec<String>> = vec![Vec::new()];
    for line in text.lines() {
        let closes = line.trim_start().starts_with(['}', ']', ')']);
        let opens = line.ends_with(['{', '[', '(']);
        if opens && !closes {
            groups.push(vec![line.to_owned()]);
            continue;
        }
        let innermost = groups.last_mut().expect("the outermost group is never closed");
        innermost.push(line.to_owned());
        if closes
            && groups.len() > 1
            && let Some(group) = groups.pop()
        {
            let outer = groups.last_mut().expect("there is a group around it");
            match joined(&group) {
                Some(line) => outer.push(line),
                None => outer.extend(group),
            }
        }
    }
    groups.concat()
}

/// A group on one line, if it fits. Its first and last lines are its brackets.
fn joined(group: &[String]) -> Option<String> {
    let [first, within @ .., last] = group else { return None };
    let indent = first.len() - first.trim_start().len();
    let depth = |line: &String| line.len() - line.trim_start().len();
    if within.iter().any(|line| depth(line) != indent + 4) {
        return None; // a group within did not fit
    }
    let within = within.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let within = within.trim_end_matches(',');
    let blank = if first.ends_with('{') { " " } else { "" };
    let line = format!("{first}{blank}{within}{blank}{}", last.trim_start());
    (line.len() - indent <= WIDTH).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_stays_together() {
        #[derive(Debug)]
        #[allow(dead_code, reason = "only printed")]
        struct Node {
            id: Option<(u8, u8)>,
            empty: Vec<u8>,
            name: &'static str,
            long: Vec<String>,
        }
        let long = vec!["a rather long word".repeat(2), "{".into(), "\n} (".into()];
        let text = format!("{:#?}", Node { id: Some((1, 2)), empty: vec![], name: "x", long });
        let expected = [
            "Node {",
            "    id: Some((1, 2)),",
            "    empty: [],",
            "    name: \"x\",",
            "    long: [\"a rather long worda rather long word\", \"{\", \"\\n} (\"],",
            "}",
        ];
        assert_eq!(compact(&text), expected);
    }

    #[test]
    fn equal_states_have_one_number() {
        let mut states = States::default();
        let [a, b, c] =
            ["N {\n    x: 1,\n}", "N {\n    x: 2,\n}", "N {\n    x: 1,\n}"].map(|s| states.intern(s));
        assert_eq!((a, b, c), (0, 1, 0));
        assert_eq!(states.lines, ["N { x: 1 }", "N { x: 2 }"]);
    }
}
