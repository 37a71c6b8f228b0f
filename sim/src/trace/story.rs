//! What happened in lines, each with what kind of line it is: a terminal colours by that, and reads no words.

use std::fmt::{self, Display};
use std::ops::Deref;

/// What kind of line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tone {
    /// What happens all the time.
    Plain,
    /// Something broke: a node's life ended, or what must hold does not.
    Broken,
    /// What is done to the whole system, by a plan or by the harness.
    Staged,
    /// What was left out here.
    LeftOut,
}

/// A story. It reads like the text that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Story {
    text: String,
    tones: Vec<Tone>,
}

impl Story {
    /// Adds a line, without its line feed.
    pub fn line(&mut self, tone: Tone, line: impl Display) {
        let start = self.text.len();
        self.text += &format!("{line}\n");
        // What is told of a node may have line feeds.
        self.tones.resize(self.tones.len() + self.text[start..].lines().count(), tone);
    }

    /// Adds another story.
    pub fn extend(&mut self, other: &Self) {
        self.text += &other.text;
        self.tones.extend(&other.tones);
    }

    /// Its lines, each with its tone.
    pub fn toned_lines(&self) -> impl Iterator<Item = (Tone, &str)> {
        self.tones.iter().copied().zip(self.text.lines())
    }
}

impl Deref for Story {
    type Target = str;
    fn deref(&self) -> &str {
        &self.text
    }
}

impl Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_tone() {
        let mut story = Story::default();
        story.line(Tone::Plain, "one\nor two");
        let mut end = Story::default();
        end.line(Tone::Broken, "three");
        end.line(Tone::Plain, "");
        story.extend(&end);
        let lines: Vec<_> = story.toned_lines().collect();
        let told =
            [(Tone::Plain, "one"), (Tone::Plain, "or two"), (Tone::Broken, "three"), (Tone::Plain, "")];
        assert_eq!(lines, told);
        assert_eq!(&*story, "one\nor two\nthree\n\n");
    }
}
