//! What is measured, in Prometheus's text format, version 0.0.4.

use std::fmt::{Display, Write};

/// The content type of what is written here.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How many samples one answer has at most. Labels are chosen by whoever runs the node, and a mistake there must not make a
/// scrape grow without end.
const MOST_SAMPLES: usize = 20_000;

/// What a family of samples measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the process ends.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often a value was at most so large.
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label and its value.
pub type Label<'a> = (&'static str, &'a str);

/// A scrape that is being written. Samples of one family stand together: [`family`](Self::family) begins the next.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    name: &'static str,
    samples: usize,
}

impl Exposition {
    /// Begins a family.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.name = name;
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
    }

    /// A sample of the family.
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        self.write("", labels, None, value);
    }

    /// A family of one sample.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }

    /// A histogram of the family: how many values were at most as large as each bound, in ascending order, and the count and
    /// the sum of all.
    pub fn histogram(&mut self, labels: &[Label<'_>], buckets: &[(f64, u64)], count: u64, sum: f64) {
        for (bound, count) in buckets {
            self.write("_bucket", labels, Some(&bound.to_string()), count);
        }
        self.write("_bucket", labels, Some("+Inf"), count);
        self.write("_sum", labels, None, sum);
        self.write("_count", labels, None, count);
    }

    fn write(&mut self, suffix: &str, labels: &[Label<'_>], bound: Option<&str>, value: impl Display) {
        self.samples += 1;
        if self.samples > MOST_SAMPLES {
            return;
        }
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let bound = bound.map(|bound| ("le", bound));
        let mut opening = '{';
        for (label, value) in labels.iter().copied().chain(bound) {
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(self.text, "{opening}{label}=\"{value}\"");
            opening = ',';
        }
        if opening == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_the_format_wants_them() {
        let mut out = Exposition::default();
        out.family("asked_total", Kind::Counter, "One \\ two\nthree.");
        out.sample(&[("model", "a\"b\\c\nd"), ("node", "1")], 7);
        out.single("up", Kind::Gauge, "Up.", 1.5);
        out.family("took_seconds", Kind::Histogram, "Took.");
        out.histogram(&[("model", "v1")], &[(0.5, 1), (1.0, 3)], 4, 2.25);
        let expected = "# HELP asked_total One \\\\ two\\nthree.\n# TYPE asked_total counter\n\
                        asked_total{model=\"a\\\"b\\\\c\\nd\",node=\"1\"} 7\n\
                        # HELP up Up.\n# TYPE up gauge\nup 1.5\n\
                        # HELP took_seconds Took.\n# TYPE took_seconds histogram\n\
                        took_seconds_bucket{model=\"v1\",le=\"0.5\"} 1\n\
                        took_seconds_bucket{model=\"v1\",le=\"1\"} 3\n\
                        took_seconds_bucket{model=\"v1\",le=\"+Inf\"} 4\n\
                        took_seconds_sum{model=\"v1\"} 2.25\ntook_seconds_count{model=\"v1\"} 4\n";
        assert_eq!(out.finish(), expected);
    }

    #[test]
    fn a_scrape_does_not_grow_without_end() {
        let mut out = Exposition::default();
        out.family("many", Kind::Gauge, "Many.");
        (0..2 * MOST_SAMPLES).for_each(|n| out.sample(&[("n", &n.to_string())], 1));
        assert_eq!(out.finish().lines().count(), MOST_SAMPLES + 2);
    }
}
