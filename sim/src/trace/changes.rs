//! What differs between two states of a node, in words: `writes: +c1/1 writes 3`, `store[0]: 201 → 101`. States are
//! compared as the [structures](super::structure) that their `Debug` forms show, part by part; what is told of a part
//! is short, and holds what differs.

use std::collections::HashMap;
use std::fmt::Write;

use super::structure::{Bracket, Part, Value};

/// So many signs of a value are told.
const WIDTH: usize = 60;
/// So many signs before what differs.
const BEFORE: usize = 12;
/// So many changes of one step are told.
const MOST: usize = 8;
/// Lists are compared in the best way if that takes so many comparisons at most.
const COMPARISONS: usize = 40_000;

/// Something that is other than it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where in the node, as it is told: `store[0]`, `votes.n2`; what holds it, if it has come or gone.
    pub path: String,
    /// Where exactly.
    pub place: String,
    /// What.
    pub what: What,
}

/// What of it is other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It is there now.
    Added(String),
    /// It was there.
    Removed(String),
    /// It was the first, and is the second.
    Replaced(String, String),
}

/// How pieces of the vocabulary are told, by their `Debug` form in one line.
pub type Words = HashMap<String, String>;

/// All that differs between two values.
pub fn between(old: &Value<'_>, new: &Value<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(old, new, "", &mut changes);
    changes
}

fn compare(old: &Value<'_>, new: &Value<'_>, path: &str, out: &mut Vec<Change>) {
    if old.text == new.text {
        return;
    }
    let replaced =
        |old, new| Change { path: path.into(), place: path.into(), what: What::Replaced(old, new) };
    let (Some((bracket, olds)), Some((other, news))) = (&old.parts, &new.parts) else {
        let (old, new) = (old.in_one_line(), new.in_one_line());
        if old != new {
            out.push(replaced(old, new));
        }
        return;
    };
    let are_keyed = old.is_keyed() && new.is_keyed();
    match bracket {
        _ if bracket != other => out.push(replaced(old.in_one_line(), new.in_one_line())),
        Bracket::Curly
            if are_keyed && (old.head == new.head || !old.head.is_empty() && !new.head.is_empty()) =>
        {
            if old.head != new.head {
                out.push(replaced(old.head.into(), new.head.into()));
            }
            compare_by_key(olds, news, |key| join(path, key, new.head.is_empty()), path, out);
        }
        _ if old.head != new.head => out.push(replaced(old.in_one_line(), new.in_one_line())),
        Bracket::Curly => compare_sets(olds, news, path, out),
        Bracket::Round if olds.len() == 1 && news.len() == 1 => {
            compare(&olds[0].value, &news[0].value, path, out);
        }
        Bracket::Round if olds.len() == news.len() => {
            for (place, (old, new)) in olds.iter().zip(news).enumerate() {
                compare(&old.value, &new.value, &join(path, &place.to_string(), false), out);
            }
        }
        Bracket::Round | Bracket::Square => compare_lists(olds, news, path, out),
    }
}

/// A part's path.
fn join(path: &str, key: &str, is_map: bool) -> String {
    match (path, is_map) {
        (path, true) => format!("{path}[{key}]"),
        ("", false) => key.into(),
        (path, false) => format!("{path}.{key}"),
    }
}

fn compare_by_key(
    olds: &[Part<'_>],
    news: &[Part<'_>],
    to_path: impl Fn(&str) -> String,
    path: &str,
    out: &mut Vec<Change>,
) {
    let key_of = |part: &Part<'_>| part.key.as_ref().map(Value::in_one_line).unwrap_or_default();
    let old_by_key: HashMap<_, _> = olds.iter().map(|part| (key_of(part), part)).collect();
    let new_keys: std::collections::HashSet<_> = news.iter().map(key_of).collect();
    let told = |part: &Part<'_>| format!("{}: {}", key_of(part), part.value.in_one_line());
    for old in olds.iter().filter(|old| !new_keys.contains(&key_of(old))) {
        out.push(Change { path: path.into(), place: to_path(&key_of(old)), what: What::Removed(told(old)) });
    }
    for new in news {
        let key = key_of(new);
        match old_by_key.get(&key) {
            Some(old) => compare(&old.value, &new.value, &to_path(&key), out),
            None => {
                let (path, place, what) = (path.into(), to_path(&key), What::Added(told(new)));
                out.push(Change { path, place, what });
            }
        }
    }
}

fn compare_sets(olds: &[Part<'_>], news: &[Part<'_>], path: &str, out: &mut Vec<Change>) {
    let lacks = |these: &[Part<'_>], those: &[Part<'_>]| -> Vec<String> {
        let mut counts = HashMap::<&str, usize>::new();
        those.iter().for_each(|it| *counts.entry(it.value.text).or_default() += 1);
        let is_missing = |it: &&Part<'_>| match counts.get_mut(it.value.text) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            Some(_) | None => true,
        };
        these.iter().filter(is_missing).map(|it| it.value.in_one_line()).collect()
    };
    let change = |what: fn(String) -> What, it: String| {
        let place = join(path, &it, true);
        Change { path: path.into(), place, what: what(it) }
    };
    out.extend(lacks(olds, news).into_iter().map(|it| change(What::Removed, it)));
    out.extend(lacks(news, olds).into_iter().map(|it| change(What::Added, it)));
}

/// What stands at one place instead of another is compared; the rest has come or gone.
fn compare_lists(olds: &[Part<'_>], news: &[Part<'_>], path: &str, out: &mut Vec<Change>) {
    // At one depth, equal values are printed alike.
    fn texts<'t>(parts: &[Part<'t>]) -> Vec<&'t str> {
        parts.iter().map(|part| part.value.text).collect()
    }
    let (old_texts, new_texts) = (texts(olds), texts(news));
    let begin = old_texts.iter().zip(&new_texts).take_while(|(old, new)| old == new).count();
    let end = old_texts[begin..].iter().rev().zip(new_texts[begin..].iter().rev());
    let end = end.take_while(|(old, new)| old == new).count();
    let (old_end, new_end) = (olds.len() - end, news.len() - end);
    let (mut old_at, mut new_at) = (begin, begin);
    let stays = common(&old_texts[begin..old_end], &new_texts[begin..new_end]);
    let stays = stays.into_iter().map(|(old, new)| (begin + old, begin + new));
    for (old_stays, new_stays) in stays.chain([(old_end, new_end)]) {
        while old_at < old_stays && new_at < new_stays {
            compare(&olds[old_at].value, &news[new_at].value, &format!("{path}[{new_at}]"), out);
            (old_at, new_at) = (old_at + 1, new_at + 1);
        }
        let change =
            |place: usize, what| Change { path: path.into(), place: format!("{path}[{place}]"), what };
        let gone = (old_at..old_stays).map(|at| change(at, What::Removed(olds[at].value.in_one_line())));
        let come = (new_at..new_stays).map(|at| change(at, What::Added(news[at].value.in_one_line())));
        out.extend(gone.chain(come));
        (old_at, new_at) = (old_stays + 1, new_stays + 1);
    }
}

/// The places of the longest list that two lists both hold in order; nothing of what would take too long.
fn common(a: &[&str], b: &[&str]) -> Vec<(usize, usize)> {
    if a.len().saturating_mul(b.len()) > COMPARISONS {
        return Vec::new();
    }
    let width = b.len() + 1;
    let mut longest = vec![0_u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i * width + j] = if a[i] == b[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            found.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    found
}

/// Whether two places have something in common.
pub fn overlap(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    let rest = long.strip_prefix(short);
    rest.is_some_and(|rest| short.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}

/// All of a value that has no parts, each with its place.
pub fn leaves(value: &Value<'_>, place: &str, out: &mut Vec<(String, String)>) {
    let Some((bracket, parts)) = value.parts.as_ref().filter(|(_, parts)| !parts.is_empty()) else {
        return out.push((place.into(), value.in_one_line()));
    };
    for (number, part) in parts.iter().enumerate() {
        let place = match (&part.key, bracket) {
            (Some(key), _) => join(place, &key.in_one_line(), value.head.is_empty()),
            (None, Bracket::Round) if parts.len() == 1 => place.into(),
            (None, Bracket::Round) => join(place, &number.to_string(), false),
            (None, Bracket::Square) => format!("{place}[{number}]"),
            (None, Bracket::Curly) => join(place, &part.value.in_one_line(), true),
        };
        leaves(&part.value, &place, out);
    }
}

/// Changes as they are told, of one place together.
pub fn describe(changes: &[Change], words: &Words) -> Vec<String> {
    let mut told: Vec<(String, String)> = Vec::new();
    for change in changes {
        let word = |text: &String| words.get(text).unwrap_or(text).clone();
        let what = match &change.what {
            What::Added(new) => format!("+{}", clip(&word(new))),
            What::Removed(old) => format!("-{}", clip(&word(old))),
            What::Replaced(old, new) => {
                let [old, new] = clip_two(&word(old), &word(new));
                format!("{old} → {new}")
            }
        };
        let comes_or_goes = !matches!(change.what, What::Replaced(..));
        match told.last_mut() {
            Some((path, before))
                if comes_or_goes && *path == change.path && before.starts_with(['+', '-']) =>
            {
                if before.chars().count() < 2 * WIDTH {
                    let _ = write!(before, ", {what}");
                } else if !before.ends_with('…') {
                    before.push_str(", …");
                }
            }
            Some(_) | None => told.push((change.path.clone(), what)),
        }
    }
    let more = told.len().saturating_sub(MOST);
    let line = |(path, what): (String, String)| match path.as_str() {
        "" => what,
        path => format!("{}: {what}", clip(path)),
    };
    let mut lines: Vec<_> = told.into_iter().take(MOST).map(line).collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// The beginning of what is long.
pub fn clip(text: &str) -> String {
    match text.char_indices().nth(WIDTH) {
        None => text.into(),
        Some(_) => format!("{}…", text.chars().take(WIDTH - 1).collect::<String>()),
    }
}

/// Two texts that differ; of those that are long the part that differs, with a few signs before it.
pub fn clip_two(old: &str, new: &str) -> [String; 2] {
    let texts = [old, new].map(|text| text.chars().collect::<Vec<char>>());
    if texts.iter().all(|text| text.len() <= WIDTH) {
        return [old, new].map(Into::into);
    }
    let [old, new] = &texts;
    let begin = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let rest = [&old[begin..], &new[begin..]];
    let end = rest[0].iter().rev().zip(rest[1].iter().rev()).take_while(|(old, new)| old == new).count();
    texts.map(|text| {
        let from = begin.saturating_sub(BEFORE);
        let from = if from <= 1 { 0 } else { from };
        let to = (text.len() - end + BEFORE).min(text.len());
        let to = if to + 1 >= text.len() { text.len() } else { to };
        let to = to.min(from + WIDTH);
        let dots = |are_there: bool| if are_there { "…" } else { "" };
        let part: String = text[from..to].iter().collect();
        format!("{}{part}{}", dots(from > 0), dots(to < text.len()))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::structure::read;
    use super::*;

    #[derive(Clone, Debug)]
    #[allow(dead_code, reason = "only printed")]
    struct Node {
        store: Vec<u32>,
        writes: Vec<Record>,
        waiting: BTreeSet<u8>,
        votes: BTreeMap<(u8, u8), Option<Role>>,
        role: Role,
        pair: (u8, bool),
        text: String,
    }

    #[derive(Clone, Debug)]
    #[allow(dead_code, reason = "only printed")]
    enum Role {
        Idle,
        Follows { term: u8, leader: u8 },
        Leads { term: u8 },
    }

    #[derive(Clone, Debug)]
    #[allow(dead_code, reason = "only printed")]
    struct Record {
        id: u8,
    }

    fn told(change: impl FnOnce(&mut Node)) -> Vec<String> {
        let before = Node {
            store: vec![201, 5, 6],
            writes: vec![Record { id: 1 }, Record { id: 2 }, Record { id: 3 }],
            waiting: [1, 2].into(),
            votes: [((1, 2), Some(Role::Idle)), ((3, 4), None)].into(),
            role: Role::Follows { term: 3, leader: 1 },
            pair: (1, true),
            text: format!("{} end", "long ".repeat(40)),
        };
        let mut after = before.clone();
        change(&mut after);
        let words: Words = [("Record { id: 4 }".to_owned(), "write four".to_owned())].into();
        let short = [format!("{before:?}"), format!("{after:?}")];
        let long = [format!("{before:#?}"), format!("{after:#?}")];
        let [short, long] =
            [short, long].map(|[before, after]| describe(&between(&read(&before), &read(&after)), &words));
        assert_eq!(short, long);
        short
    }

    #[test]
    fn a_change_is_told_where_it_is() {
        assert_eq!(told(|_| {}), [""; 0]);
        assert_eq!(told(|it| it.store[0] = 101), ["store[0]: 201 → 101"]);
        assert_eq!(told(|it| it.writes.push(Record { id: 4 })), ["writes: +write four"]);
        assert_eq!(told(|it| it.writes.retain(|it| it.id > 1)), ["writes: -Record { id: 1 }"]);
        assert_eq!(told(|it| it.writes[1].id = 9), ["writes[1].id: 2 → 9"]);
        let slides = |it: &mut Node| {
            it.store.remove(0);
            it.store.push(7);
        };
        assert_eq!(told(slides), ["store: -201, +7"]);
        assert_eq!(told(|it| it.waiting = [2, 3, 4].into()), ["waiting: -1, +3, +4"]);
        let votes = |it: &mut Node| {
            it.votes.insert((3, 4), Some(Role::Idle));
            it.votes.insert((1, 2), Some(Role::Leads { term: 2 }));
            it.votes.insert((5, 6), None);
        };
        let all = [
            "votes[(1, 2)]: Idle → Leads { term: 2 }",
            "votes[(3, 4)]: None → Some(Idle)",
            "votes: +(5, 6): None",
        ];
        assert_eq!(told(votes), all);
        assert_eq!(told(|it| it.role = Role::Follows { term: 3, leader: 2 }), ["role.leader: 1 → 2"]);
        let leads = ["role: Follows → Leads", "role: -leader: 1", "role.term: 3 → 4"];
        assert_eq!(told(|it| it.role = Role::Leads { term: 4 }), leads);
        assert_eq!(told(|it| it.role = Role::Idle), ["role: Follows { term: 3, leader: 1 } → Idle"]);
        assert_eq!(told(|it| it.pair = (2, false)), ["pair.0: 1 → 2", "pair.1: true → false"]);
    }

    /// What is cut off is what both have.
    #[test]
    fn what_is_long_shows_what_differs() {
        let text = told(|it| it.text = it.text.replace(" end", " End of it"));
        assert_eq!(text, ["text: … long long  end\" → … long long  End of it\""]);
        let text = told(|it| it.text.insert(3, 'X'));
        assert_eq!(text, ["text: \"long long long … → \"lonXg long long …"]);
        let many = told(|it| it.store = (0..500).collect());
        assert!(many.iter().map(|line| line.chars().count()).sum::<usize>() < 600, "{many:?}");
        for (old, new) in [
            ("a".repeat(300), "a".repeat(301)),
            ("ab".repeat(99), "ba".repeat(99)),
            (String::new(), "é".repeat(99)),
        ] {
            let [a, b] = clip_two(&old, &new);
            assert!(a != b && a.chars().count().max(b.chars().count()) <= WIDTH + 2, "{a} {b}");
        }
    }
}
