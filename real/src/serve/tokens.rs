//! Who may ask for what: a file with a line for each operator, `NAME TOKEN`, which others cannot read.
//!
//! ```text
//! # who may steer the cluster
//! alice 5f1c…
//! bob   90d2…
//! ```
//!
//! Whoever has a token can change what is served, so a file that any user of the machine can read or write is refused: that is
//! mended with one command, and before anybody has relied on it. One that its *group* can read is only warned about, and not even
//! that if root has [handed](files::is_handed) it over. No message has a token's text.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use axum::http::HeaderValue;
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::files;
use crate::http_api::Operator;

/// How short a token may be, and how long.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=MOST;
const MOST: usize = 128;
/// The longest name of an operator.
const LONGEST_NAME: usize = 64;
/// The largest file.
const FILE_BYTES: u64 = 64 << 10;

/// The operators and their tokens; none if nothing is asked of anybody.
#[derive(Clone, Default)]
pub struct Tokens {
    all: Arc<[(Operator, Padded)]>,
    warning: Option<String>,
}

/// A token, and zeros behind it: all are of one length, so that to compare any two takes the same time.
#[derive(Clone)]
struct Padded([u8; MOST]);

impl Padded {
    fn new(token: &[u8]) -> Result<Self, String> {
        if !LENGTHS.contains(&token.len()) {
            let (fewest, length) = (LENGTHS.start(), token.len());
            return Err(format!("a token has {fewest} to {MOST} characters, this one {length}"));
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err("a token is of visible ASCII characters".into());
        }
        let mut padded = [0; MOST];
        padded[..token.len()].copy_from_slice(token);
        Ok(Self(padded))
    }

    fn text(&self) -> &[u8] {
        self.0.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    fn header(&self) -> Result<HeaderValue, String> {
        let value = HeaderValue::from_bytes(&[b"Bearer ", self.text()].concat());
        let mut value = value.map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Tokens {
    /// Reads a file. `Err` names it, and the line.
    pub fn load(file: &Path) -> Result<Self, String> {
        let at = |why: String| format!("{}: {why}", file.display());
        let (text, warning) = read(file).map_err(at)?;
        let all = parse(&text).map_err(|(line, why)| at(format!("line {line}: {why}")))?;
        if all.is_empty() {
            return Err(at("it names no operator: a line for each, NAME TOKEN".into()));
        }
        Ok(Self { all: all.into(), warning: warning.map(at) })
    }

    /// What is not as it should be, although it can be used.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Whether nobody has one.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whose token this is. How long that takes says nothing of whose, nor how much of it was right.
    pub fn find(&self, token: &[u8]) -> Option<&Operator> {
        let token = Padded::new(token).ok()?;
        let mut found = 0_u64; // counted from one
        for ((_, other), nth) in self.all.iter().zip(1..) {
            found.conditional_assign(&nth, other.0.ct_eq(&token.0));
        }
        let nth = usize::try_from(found).ok()?.checked_sub(1)?;
        self.all.get(nth).map(|(operator, _)| operator)
    }

    /// The header with which the first operator would ask.
    pub fn first_header(&self) -> Option<HeaderValue> {
        self.all.first().and_then(|(_, token)| token.header().ok())
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter().map(|(operator, _)| operator)).finish()
    }
}

/// Reads a client's file: its first line is `NAME TOKEN`, or just a token. The header with which to ask.
pub fn client_header(file: &Path) -> Result<HeaderValue, String> {
    let read = || {
        let (text, _) = read(file)?;
        let (line, text) = lines(&text).next().ok_or("it holds no token")?;
        let at = |why: String| format!("line {line}: {why}");
        match text.split_ascii_whitespace().collect::<Vec<_>>()[..] {
            [token] | [_, token] => Padded::new(token.as_bytes()).and_then(|it| it.header()).map_err(at),
            _ => Err(at(FORM.into())),
        }
    };
    read().map_err(|why| format!("{}: {why}", file.display()))
}

const FORM: &str = "it must be NAME TOKEN";

/// A file's text, and what to warn about.
fn read(file: &Path) -> Result<(String, Option<String>), String> {
    let text = files::read_text(file, FILE_BYTES).map_err(|error| error.to_string())?;
    let there = std::fs::metadata(file).map_err(|error| error.to_string())?;
    let mode = there.permissions().mode() & 0o777;
    let mend = format!("(mode {mode:04o}); `chmod 600` keeps it to its owner");
    if mode & 0o027 != 0 {
        return Err(format!("others than its owner can read or write it {mend}"));
    }
    let is_open = mode & 0o040 != 0 && !files::is_handed(&there);
    Ok((text, is_open.then(|| format!("its group can read it {mend}"))))
}

/// The lines that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = (1..).zip(text.lines().map(str::trim));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// `Err` holds the line and what is wrong with it.
fn parse(text: &str) -> Result<Vec<(Operator, Padded)>, (usize, String)> {
    let mut all = Vec::new();
    let mut names = BTreeMap::new();
    let mut tokens = BTreeMap::new();
    for (number, line) in lines(text) {
        let wrong = |why: String| (number, why);
        let [name, token] = line.split_ascii_whitespace().collect::<Vec<_>>()[..] else {
            return Err(wrong(FORM.into()));
        };
        if name.len() > LONGEST_NAME || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong(format!("a name is of 1 to {LONGEST_NAME} visible ASCII characters")));
        }
        let padded = Padded::new(token.as_bytes()).map_err(wrong)?;
        if let Some(first) = names.insert(name, number) {
            return Err(wrong(format!("{name} is in line {first} already")));
        }
        if let Some(first) = tokens.insert(token, number) {
            return Err(wrong(format!("{name} has the token of line {first}: who asks could not be told")));
        }
        all.push((Operator::new(name), padded));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    const ALICE: &str = "0123456789abcdef";
    const BOB: &str = "0123456789abcdeg";

    fn load(text: &str, mode: u32) -> Result<Tokens, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens.txt");
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, Permissions::from_mode(mode)).expect("it is ours");
        let folder = format!("{}/", folder.path().display());
        Tokens::load(&file).map_err(|why| why.replace(&folder, ""))
    }

    #[test]
    fn an_operator_is_known_by_the_whole_token_and_nothing_else() {
        let long = "x".repeat(MOST);
        let text = format!("\u{feff}# who\r\n\r\nalice {ALICE}\r\n  bob\t{BOB}\ncarol {long}\n");
        let tokens = load(&text, 0o600).expect("valid");
        let find = |token: &str| tokens.find(token.as_bytes()).map(Operator::name);
        assert_eq!((find(ALICE), find(BOB), find(&long)), (Some("alice"), Some("bob"), Some("carol")));
        let almost = [
            "",
            "alice",
            &ALICE[..15],
            &ALICE.to_uppercase(),
            &format!("{ALICE}0"),
            &format!("{ALICE}\0"),
            &format!("{ALICE} "),
            &format!("{long}x"),
            &long[1..],
        ];
        for token in almost {
            assert_eq!(find(token), None, "{token:?}");
        }
        assert_eq!(format!("{tokens:?}"), r#"["alice", "bob", "carol"]"#, "no token is printed");
        let header = tokens.first_header().expect("there is one");
        assert_eq!(header.as_bytes(), format!("Bearer {ALICE}").as_bytes());
        assert!(!format!("{header:?}").contains(ALICE));
    }

    #[test]
    fn each_mistake_is_named_with_its_file_and_line_and_no_token() {
        let mistakes = [
            (format!("alice {ALICE}\nbob"), "line 2: it must be NAME TOKEN"),
            (format!("alice {ALICE} {BOB}"), "line 1: it must be NAME TOKEN"),
            ("alice 0123456789abcde".into(), "line 1: a token has 16 to 128 characters, this one 15"),
            (format!("alice {}", "x".repeat(129)), "line 1: a token has 16 to 128 characters, this one 129"),
            ("alice 0123456789abcdé".into(), "line 1: a token is of visible ASCII characters"),
            (format!("älice {ALICE}"), "line 1: a name is of 1 to 64 visible"),
            (format!("{} {ALICE}", "x".repeat(65)), "line 1: a name is of 1 to 64 visible"),
            (format!("alice {ALICE}\n#\nalice {BOB}"), "line 3: alice is in line 1 already"),
            (format!("alice {ALICE}\nbob {ALICE}"), "line 2: bob has the token of line 1"),
            ("# nobody\n".into(), "it names no operator"),
            ("x".repeat(FILE_BYTES as usize + 1), "it has more than 65536 bytes"),
        ];
        for (text, expected) in mistakes {
            let said = load(&text, 0o600).expect_err(expected);
            assert!(said.starts_with(&format!("tokens.txt: {expected}")), "{said}");
            assert!(!said.contains("0123456789abcde"), "a token is printed: {said}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let text = format!("alice {ALICE}");
        for mode in [0o600, 0o400, 0o700] {
            assert!(load(&text, mode).expect("its owner's").warning().is_none(), "{mode:o}");
        }
        let warned = load(&text, 0o440).expect("its group's");
        assert!(warned.warning().is_some_and(|why| why.contains("its group can read it (mode 0440)")));
        for mode in [0o644, 0o604, 0o602, 0o620, 0o660] {
            let said = load(&text, mode).expect_err("too open");
            assert!(said.contains(&format!("(mode {mode:04o}); `chmod 600`")), "{said}");
        }
    }

    #[test]
    fn a_clients_file_is_a_token_with_or_without_a_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        let header = |text: &str| {
            fs::write(&file, text).expect("written");
            fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("it is ours");
            client_header(&file)
        };
        for text in [ALICE.to_owned(), format!("# me\nalice {ALICE}\nbob {BOB}\n")] {
            assert_eq!(header(&text).expect("valid").as_bytes(), format!("Bearer {ALICE}").as_bytes());
        }
        for (text, why) in [("", "no token"), ("\nshort", "line 2: a token has"), ("a b c", "NAME TOKEN")] {
            assert!(header(text).is_err_and(|said| said.contains(why)), "{text}");
        }
    }
}
