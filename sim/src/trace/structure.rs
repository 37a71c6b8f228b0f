//! What Rust's `Debug` forms print, read back as a tree: names, brackets, and what stands between them. Whoever writes
//! a `Debug` form by hand may print anything; what makes no sense as a structure is text, and nothing here fails.
//!
//! A tree only points into the text that it was read from.

/// Within so many brackets a tree is read; what lies deeper is text.
const DEPTH: usize = 60;

/// What encloses the parts of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bracket {
    /// A tuple.
    Round,
    /// A list.
    Square,
    /// A struct, a map or a set.
    Curly,
}

impl Bracket {
    fn opened_by(byte: u8) -> Option<Self> {
        match byte {
            b'(' => Some(Self::Round),
            b'[' => Some(Self::Square),
            b'{' => Some(Self::Curly),
            _ => None,
        }
    }

    /// How it begins and ends.
    pub fn ends(self) -> [&'static str; 2] {
        match self {
            Self::Round => ["(", ")"],
            Self::Square => ["[", "]"],
            Self::Curly => ["{", "}"],
        }
    }
}

/// A value, as it was printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value<'t> {
    /// All of it.
    pub text: &'t str,
    /// What stands before its bracket; all of it, if it has none.
    pub head: &'t str,
    /// What its bracket encloses.
    pub parts: Option<(Bracket, Vec<Part<'t>>)>,
}

/// A part of a value: of a struct or a map with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'t> {
    /// Its name.
    pub key: Option<Value<'t>>,
    /// What it is.
    pub value: Value<'t>,
}

/// Reads what a `Debug` form has printed, in one line or in many.
pub fn read(text: &str) -> Value<'_> {
    let mut reader = Reader { text, at: 0, all_closed: true };
    let value = reader.value(0);
    if reader.at < text.len() {
        let text = text.trim(); // more than one value
        return Value { text, head: text, parts: None };
    }
    value
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    /// Whether every string so far had an end; if not, nobody looks for another.
    all_closed: bool,
}

impl<'t> Reader<'t> {
    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    /// A value, up to what cannot be part of it.
    fn value(&mut self, depth: usize) -> Value<'t> {
        let start = self.at;
        let mut first = None;
        let mut groups = 0;
        while self.at < self.text.len() {
            match self.byte(self.at) {
                b',' | b')' | b']' | b'}' => break,
                b':' if self.is_key() => break,
                b'"' => self.skip_string(),
                b'\'' => self.skip_char(),
                opens @ (b'(' | b'[' | b'{') => {
                    let head = self.text[start..self.at].trim();
                    let bracket = Bracket::opened_by(opens).filter(|_| depth < DEPTH && groups == 0);
                    groups += 1;
                    match bracket {
                        Some(bracket) => first = self.parts(depth + 1).map(|parts| (head, (bracket, parts))),
                        None => self.skip_brackets(),
                    }
                }
                _ => self.at += 1,
            }
        }
        let text = self.text[start..self.at].trim();
        match first.filter(|_| groups == 1 && text.ends_with([')', ']', '}'])) {
            Some((head, parts)) => Value { text, head, parts: Some(parts) },
            None => Value { text, head: text, parts: None },
        }
    }

    /// Whether this colon ends a name, rather than being part of a path or a time.
    fn is_key(&self) -> bool {
        self.byte(self.at + 1).is_ascii_whitespace()
    }

    /// What a bracket encloses; nothing if it is never closed, which leaves all of the rest.
    fn parts(&mut self, depth: usize) -> Option<Vec<Part<'t>>> {
        self.at += 1;
        let mut parts = Vec::new();
        loop {
            let mut value = self.value(depth);
            let mut key = None;
            if self.byte(self.at) == b':' {
                self.at += 1;
                key = Some(value);
                value = self.value(depth);
                while self.byte(self.at) == b':' {
                    self.at += 1; // one name is enough
                    value = self.value(depth);
                }
            }
            if key.is_some() || !value.text.is_empty() {
                parts.push(Part { key, value });
            }
            match self.byte(self.at) {
                b',' => self.at += 1,
                b')' | b']' | b'}' => {
                    self.at += 1;
                    return Some(parts);
                }
                _ => return None,
            }
        }
    }

    /// Past a bracket whose content nobody reads.
    fn skip_brackets(&mut self) {
        let mut open = 0_usize;
        while self.at < self.text.len() {
            match self.byte(self.at) {
                b'"' => self.skip_string(),
                b'\'' => self.skip_char(),
                b'(' | b'[' | b'{' => {
                    open += 1;
                    self.at += 1;
                }
                b')' | b']' | b'}' => {
                    open -= 1;
                    self.at += 1;
                    if open == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// Past a string; a quotation mark without another is a sign like any.
    fn skip_string(&mut self) {
        let mut at = self.at + 1;
        while self.all_closed && at < self.text.len() {
            match self.byte(at) {
                b'\\' => at += 2,
                b'"' => {
                    self.at = at + 1;
                    return;
                }
                _ => at += 1,
            }
        }
        self.all_closed = false;
        self.at += 1;
    }

    /// Past a character between quotation marks, such as `'{'` or `'\u{7f}'`; an apostrophe is a sign like any.
    fn skip_char(&mut self) {
        let rest = &self.text[self.at + 1..];
        let mut chars = rest.char_indices();
        let end = match chars.next() {
            Some((_, '\\')) => rest.char_indices().skip(2).take(10).find(|(_, c)| *c == '\'').map(|it| it.0),
            Some((_, '\'')) | None => None,
            Some(_) => chars.next().filter(|(_, c)| *c == '\'').map(|it| it.0),
        };
        self.at += end.map_or(1, |end| end + 2);
    }
}

impl<'t> Value<'t> {
    /// In one line, however it was printed.
    pub fn in_one_line(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        write_words(self.head, out);
        let Some((bracket, parts)) = &self.parts else { return };
        let is_struct = *bracket == Bracket::Curly && !self.head.is_empty();
        let blank = if is_struct && !parts.is_empty() { " " } else { "" };
        if is_struct {
            out.push(' ');
        }
        let [opens, closes] = bracket.ends();
        out.push_str(opens);
        out.push_str(blank);
        for (place, part) in parts.iter().enumerate() {
            if place > 0 {
                out.push_str(", ");
            }
            if let Some(key) = &part.key {
                key.write(out);
                out.push_str(": ");
            }
            part.value.write(out);
        }
        out.push_str(blank);
        out.push_str(closes);
    }

    /// Whether all parts have names.
    pub fn is_keyed(&self) -> bool {
        self.parts.as_ref().is_some_and(|(_, parts)| parts.iter().all(|part| part.key.is_some()))
    }
}

/// Text in one line: the lines of what has many follow each other, as if it had been printed in one.
fn write_words(text: &str, out: &mut String) {
    if !text.contains(['\n', '\t']) {
        return out.push_str(text);
    }
    for (place, word) in text.split_whitespace().enumerate() {
        if word.starts_with([')', ']']) && out.ends_with(',') {
            out.pop();
        } else if place > 0 && !out.ends_with(['(', '[']) {
            out.push(' ');
        }
        out.push_str(word);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt;
    use std::time::Duration;

    use super::*;

    #[derive(Debug)]
    #[allow(dead_code, reason = "only printed")]
    struct Node {
        id: Option<(u8, i8)>,
        unit: (),
        names: Vec<&'static str>,
        by_name: BTreeMap<(u8, char), Inner>,
        set: BTreeSet<&'static str>,
        pause: Duration,
        range: std::ops::RangeInclusive<(u8, u8)>,
        own: Own,
    }

    #[derive(Debug)]
    #[allow(dead_code, reason = "only printed")]
    enum Inner {
        Empty,
        Tuple(u8, String),
        Named { x: f32 },
    }

    /// What may be printed by hand.
    struct Own;

    impl fmt::Debug for Own {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("c1/1 writes 3 (it's :: 12:30, or \u{fffd}")
        }
    }

    fn node() -> Node {
        let by_name = [
            ((1, '{'), Inner::Empty),
            ((2, '\''), Inner::Tuple(7, "a, \"b\": ] \\".into())),
            ((3, '\u{7f}'), Inner::Named { x: -0.5 }),
        ];
        Node {
            id: Some((1, -2)),
            unit: (),
            names: vec!["", "it's", "{[("],
            by_name: by_name.into(),
            set: ["a: b", "c"].into(),
            pause: Duration::from_millis(1_500),
            range: (1, 2)..=(3, 4),
            own: Own,
        }
    }

    #[test]
    fn what_is_printed_in_many_lines_is_read_as_in_one() {
        let node = Node { own: Own, ..node() };
        let without_own = |text: String| text.split(",\n    own").next().map(|it| format!("{it} }}"));
        let many = without_own(format!("{node:#?}")).expect("it has a beginning");
        let one = format!("{node:?}").split(", own").next().map(|it| format!("{it} }}"));
        let one = one.expect("it has a beginning");
        assert_eq!(read(&many).in_one_line(), one);
        assert_eq!(read(&one).in_one_line(), one);
        let value = read(&one);
        let (bracket, parts) = value.parts.as_ref().expect("it is a struct");
        let keys: Vec<_> = parts.iter().filter_map(|part| part.key.as_ref()).map(|key| key.text).collect();
        assert_eq!((value.head, *bracket), ("Node", Bracket::Curly));
        assert_eq!(keys, ["id", "unit", "names", "by_name", "set", "pause", "range"]);
        let map = read(parts[3].value.text);
        let parts_of_map = map.parts.iter().flat_map(|it| &it.1);
        let keys: Vec<_> = parts_of_map.filter_map(|part| part.key.as_ref()).map(|key| key.text).collect();
        assert_eq!(keys, ["(1, '{')", "(2, '\\'')", "(3, '\\u{7f}')"]);
        assert_eq!(parts[6].value.parts, None, "a range is text");
    }

    /// Whatever bytes there are: it ends, and holds what was there.
    #[test]
    fn anything_can_be_read() {
        let whole = format!("{:#?}", node());
        let prefixes = whole.char_indices().map(|(at, _)| whole[..at].to_owned());
        let suffixes = whole.char_indices().map(|(at, _)| whole[at..].to_owned());
        let odd =
            ["", ",", ":", ": ", "{", "}", "a: b", "'", "\"", "\\", "(((", ")))", "{: : :}", "'\\", "\"\\"];
        let deep = ["[".repeat(100_000), "[".repeat(1_000) + &"]".repeat(1_000), "{a: ".repeat(50_000)];
        let keys = "{".repeat(50_000) + &": b}".repeat(50_000);
        let quotes = "\"\\".repeat(50_000);
        let mut draw = 1_u64;
        let signs: Vec<char> = "{}[](),:'\"\\ \nabé→0".chars().collect();
        let random = (0..3_000).map(|length| {
            let sign = |_| {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                signs[(draw >> 33) as usize % signs.len()]
            };
            (0..length % 60).map(sign).collect::<String>()
        });
        let random: Vec<_> = random.collect();
        for text in prefixes
            .chain(suffixes)
            .chain(odd.map(str::to_owned))
            .chain(deep)
            .chain([keys, quotes])
            .chain(random)
        {
            let value = read(&text);
            assert_eq!(value.text, text.trim());
            let _ = value.in_one_line();
        }
    }
}
