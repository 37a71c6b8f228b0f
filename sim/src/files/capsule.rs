//! Plans and capsules as files, in TOML or JSON.
//!
//! A **capsule** is a plan with all that is needed to run it again, and the verdict it must give. It replays
//! for ever, also after the generator of plans has changed. A plan written by hand is the same file.
//!
//! ```toml
//! about = "A participant crashes before it votes: the step aborts."
//! scenario = "tickets-calm"
//! engine = "madsim"           # or "direct"
//! seed = 1
//! verdict = "passed"          # or "violated" with `invariant`, "not_converged", "panicked"; the latter may have
//!                             # `place`, which must then be the same, or else `message`
//!
//! [plan]
//! heal_at_ms = 15000
//! converge_within_ms = 30000
//! steps = [
//!   { at_ms = 500, fault = { crash = { node = 3, down_ms = 4000 } } },
//! ]
//! ```
//!
//! A plan that names no verdict is run to see what comes of it.
//!
//! A file that names a `model` instead of a scenario holds a [path](crate::files::path): a counterexample of the checker.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use coalmine_core::node::Node;
use coalmine_real::files;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::files::path::PathCapsule;
use crate::files::words;
use crate::spec::data::{Piece, piece};
use crate::spec::mistake::MistakeName;
use crate::spec::plan::{Links, Plan, PlanStep};
use crate::spec::verdict::Engine;
use crate::spec::verdict::Expected;

/// The keys of a plan's step: one of the first, one of the second.
const WHEN: [&str; 3] = ["at_ms", "received", "durable"];
const WHAT: [&str; 2] = ["ask", "fault"];

/// A plan that can be run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "", deny_unknown_fields)]
pub struct Capsule<N: Node> {
    /// What it shows, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Whose system it runs, and whose expectations it must meet.
    pub scenario: String,
    /// What runs it.
    #[serde(default)]
    pub engine: Engine,
    /// What all is drawn from that the plan leaves open. Beyond 2^53 it is a string, as not every reader of JSON has
    /// larger numbers.
    #[serde(default, with = "piece")]
    pub seed: u64,
    /// The verdict it must give.
    #[serde(flatten)]
    pub expected: Expected,
    /// What happens.
    pub plan: Plan<N>,
}

/// The folder that is written into where nobody says another.
pub const FOLDER: &str = "coalmine-out";

/// Where a capsule is kept if nobody says: what it is of, the mistake that is made there, and what tells it from others.
pub fn usual_path(name: &str, mistake: Option<MistakeName>, which: &str) -> PathBuf {
    let mistake = mistake.map_or(String::new(), |mistake| format!("-{mistake}"));
    Path::new(FOLDER).join(format!("{name}{mistake}-{which}.toml"))
}

/// A file that was read, but whose scenario is not known yet.
#[derive(Debug)]
pub struct File {
    path: String,
    value: Value,
}

impl File {
    /// Reads a TOML or JSON file, whatever its name ends in: JSON begins with a brace, which TOML never does. Errors
    /// name the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let text = files::read_text(path, files::TEXT_BYTES).map_err(|why| format!("{name}: {why}"))?;
        let value = if text.trim_start().starts_with('{') {
            serde_json::from_str(&text).map_err(|why| format!("{name}: as JSON: {why}"))?
        } else {
            toml::from_str(&text).map_err(|why| format!("{name}: as TOML: {}", why.to_string().trim_end()))?
        };
        Ok(Self { path: name, value })
    }

    /// Where it was read from.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The scenario it names.
    pub fn scenario(&self) -> Result<&str, String> {
        let name = self.value.get("scenario").and_then(Value::as_str);
        name.ok_or_else(|| {
            format!("{}: the key `scenario` is missing (or `model`, for a counterexample)", self.path)
        })
    }

    /// The mistake that its nodes are to make on purpose.
    pub fn mistake(&self) -> Option<&str> {
        let place = if self.model().is_some() { "/space/mistake" } else { "/plan/mistake" };
        self.value.pointer(place).and_then(Value::as_str)
    }

    /// The model it names, if it holds a [path](crate::files::path) and not a plan.
    pub fn model(&self) -> Option<&str> {
        self.value.get("model").and_then(Value::as_str)
    }

    /// The path that it holds. Errors name the file and the step.
    pub fn parse_path<N: Node>(self) -> Result<PathCapsule<N>, String> {
        if let (None, Ok(scenario)) = (self.model(), self.scenario()) {
            return Err(format!(
                "{}: it is a plan of the scenario {scenario:?}, which `replay` runs; this takes the path of a model, as \
                 `check` writes it",
                self.path
            ));
        }
        PathCapsule::parse(self.value).map_err(|why| format!("{}: {why}", self.path))
    }

    /// All of it. Errors name the file and the place.
    pub fn parse<N: Node>(self) -> Result<Capsule<N>, String> {
        let at = |place: String, why: String| format!("{}: {place}{why}", self.path);
        // serde cannot refuse unknown keys beside flattened ones, so it is done here.
        let known =
            ["about", "scenario", "engine", "seed", "verdict", "invariant", "message", "place", "plan"];
        if let Some(key) =
            self.value.as_object().and_then(|it| it.keys().find(|key| !known.contains(&key.as_str())))
        {
            return Err(at(String::new(), format!("unknown key `{key}`; known are {}", known.join(", "))));
        }
        let steps = self.value.pointer("/plan/steps").and_then(Value::as_array);
        for (place, step) in steps.into_iter().flatten().enumerate() {
            let keys: Vec<&str> =
                step.as_object().into_iter().flat_map(|it| it.keys()).map(String::as_str).collect();
            let whens = keys.iter().filter(|key| WHEN.contains(key)).count();
            let whats = keys.iter().filter(|key| WHAT.contains(key)).count();
            if (whens, whats, keys.len()) != (1, 1, 2) {
                let why = format!(
                    "must have one of {} and one of {}, has {}",
                    WHEN.join(", "),
                    WHAT.join(", "),
                    keys.join(", ")
                );
                return Err(at(format!("plan.steps[{place}]: "), why));
            }
        }
        let capsule = Capsule::<N>::deserialize(&self.value).map_err(|why| {
            // serde forgets places within flattened ones, so the plan is asked alone.
            match self.value.get("plan").map(serde_path_to_error::deserialize::<_, Plan<N>>) {
                Some(Err(why)) if why.path().iter().next().is_none() => {
                    at("plan: ".into(), why.into_inner().to_string())
                }
                Some(Err(why)) => at(format!("plan.{}: ", why.path()), why.inner().to_string()),
                Some(Ok(_)) | None => at(String::new(), why.to_string()),
            }
        })?;
        capsule.expected.check().map_err(|why| format!("{}: {why}", self.path))?;
        Ok(capsule)
    }
}

impl<N: Node> Capsule<N> {
    /// As TOML, to be read and edited: a line for each step, in order of time.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        words::key(&mut out, "about", &self.about);
        words::key(&mut out, "scenario", &self.scenario);
        words::key(&mut out, "engine", &self.engine.to_string());
        let _ = writeln!(out, "seed = {}", words::inline(&Piece(self.seed)));
        words::expected(&mut out, &self.expected);
        let Plan { members, mistake, links, steps: _, heal_at_ms, converge_within_ms, steady_ms } =
            &self.plan;
        out += "\n[plan]\n";
        if let Some(members) = members {
            let _ = writeln!(out, "members = {members}");
        }
        words::key(&mut out, "mistake", mistake.as_ref().map_or("", |mistake| mistake.as_str()));
        if *links != Links::default() {
            let _ = writeln!(out, "links = {}", words::inline(links));
        }
        for (key, ms) in
            [("heal_at_ms", heal_at_ms), ("converge_within_ms", converge_within_ms), ("steady_ms", steady_ms)]
        {
            let _ = writeln!(out, "{key} = {ms}");
        }
        out += "steps = [\n";
        for PlanStep { when, what } in &self.plan.clone().in_order().steps {
            let _ = writeln!(out, "  {{ {}, {} }},", words::entries(when), words::entries(what));
        }
        out + "]\n"
    }
}
