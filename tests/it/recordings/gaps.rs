//! Recordings of which something is missing: whatever was cut from those of a correct run, nobody is accused, and
//! what was not judged is said. Of a wrong run, what breaks an invariant is found in what is left of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use coalmine::rollout::chaos;
use coalmine::{counter, register, twophase};
use coalmine_core::codec::recording::{self, Header, Line, Step, Took};
use coalmine_core::node::{Node, NodeId};
use coalmine_core::rollout::RolloutNode;
use coalmine_sim::spec::system::{NodeOf, System};
use coalmine_sim::spec::verdict::{Engine, Verdict};
use coalmine_sim::suite::{AnyModel, AnyScenario, ModelDef};
use coalmine_sim::verify::Verified;
use coalmine_tests::chaos_of;

use super::folder;
use super::random::{Random, random_run};

/// The recording of one node, as a real recorder writes it: a part for each life.
pub struct Lives<N: Node> {
    pub header: Header,
    pub lives: Vec<Vec<Line<N>>>,
}

impl<N: Node> Lives<N> {
    /// Of a simulated run, which has one part for all lives.
    fn of(bytes: &[u8]) -> Self {
        let part = recording::decode::<N>(bytes).expect("it can be read").expect("there are lines in it");
        let mut lives: Vec<Vec<Line<N>>> = Vec::new();
        for line in part.lines {
            match &line {
                Line::Step(Step { took: Took::Boot { .. }, .. }) => lives.push(vec![line]),
                Line::Step(_) | Line::Gap { .. } | Line::End {} => {
                    lives.last_mut().expect("a boot comes first").push(line);
                }
            }
        }
        Self { header: part.header, lives }
    }

    /// Writes the beginning of each life: so many lines of it.
    fn write(&self, folder: &Path, keep: &[usize]) {
        for (number, (life, &keep)) in (1..).zip(self.lives.iter().zip(keep)) {
            let mut bytes = Vec::new();
            recording::encode_header(&Header { part: number, ..self.header.clone() }, &mut bytes);
            for (number, line) in (2..).zip(&life[..keep]) {
                recording::encode(number, line, &mut bytes).expect("it is plain data");
            }
            let older = if number < self.lives.len() as u64 { format!(".{number}") } else { String::new() };
            fs::write(folder.join(format!("{}.rec{older}", self.header.node)), bytes)
                .expect("the folder is ours");
        }
    }

    fn whole(&self) -> Vec<usize> {
        self.lives.iter().map(Vec::len).collect()
    }
}

type Tapes<N> = Vec<Lives<N>>;

fn tapes<N: Node>(recordings: &BTreeMap<NodeId, Vec<u8>>) -> Tapes<N> {
    recordings.values().map(|bytes| Lives::of(bytes)).collect()
}

/// What is left of a run, and verified.
struct Cut<'a, N: Node> {
    folder: &'a Path,
    tapes: &'a Tapes<N>,
    verify: &'a dyn Fn(&Path) -> Verified,
}

impl<N: Node> Cut<'_, N> {
    fn verify(&self, keep: &[Vec<usize>]) -> Verified {
        for (tape, keep) in self.tapes.iter().zip(keep) {
            tape.write(self.folder, keep);
        }
        (self.verify)(self.folder)
    }

    fn whole(&self) -> Vec<Vec<usize>> {
        self.tapes.iter().map(Lives::whole).collect()
    }

    /// Every recording is cut at random, some of them nowhere.
    fn random(&self, random: &mut Random) -> Vec<Vec<usize>> {
        let mut keep = self.whole();
        for length in keep.iter_mut().flatten() {
            if random.below(3) == 0 {
                *length = random.below(*length as u64 + 1) as usize;
            }
        }
        keep
    }
}

/// How much of what is left was judged.
#[derive(Default)]
struct Share {
    steps: u64,
    judged: u64,
}

impl Share {
    fn nobody_is_accused(&mut self, verified: &Verified, is_cut: bool, about: &str) {
        assert_eq!((&verified.difference, &verified.violated), (&None, &None), "{about}");
        assert_eq!(verified.exit_code(), 0, "{about}");
        assert_eq!(verified.is_complete(), !is_cut, "{about}: {:?}", verified.describe_incomplete());
        self.steps += verified.steps;
        self.judged += verified.judged.iter().map(|it| it.steps).min().unwrap_or(0);
    }
}

fn verify_rollout(folder: &Path) -> Verified {
    chaos::scenario().verify(&[folder.to_owned()], false).expect("the recordings can be read")
}

fn empty(folder: &Path) {
    for file in fs::read_dir(folder).expect("it is there") {
        fs::remove_file(file.expect("it is there").path()).expect("it is ours");
    }
}

/// At every line, of every life of every node.
#[test]
fn no_cut_of_a_correct_run_accuses_anybody() {
    let folder = folder("every-cut");
    let mut share = Share::default();
    let mut cuts = 0;
    for (engine, seed) in [(Engine::Direct, 5), (Engine::Madsim, 2)] {
        empty(&folder);
        let outcome = chaos::scenario().run(engine, seed, true);
        assert_eq!(outcome.verdict, Verdict::Passed);
        let tapes: Tapes<RolloutNode> = tapes(&outcome.recordings);
        let cut = Cut { folder: &folder, tapes: &tapes, verify: &verify_rollout };
        share.nobody_is_accused(&cut.verify(&cut.whole()), false, "whole");
        for tape in 0..tapes.len() {
            for life in 0..tapes[tape].lives.len() {
                // Most lives are long and say the same again and again in the end.
                let length = tapes[tape].lives[life].len();
                for lines in (0..length).filter(|lines| *lines < 60 || lines % 7 == 0) {
                    let mut keep = cut.whole();
                    keep[tape][life] = lines;
                    let about = format!("{engine} {seed}: {lines} lines of life {life} of tape {tape}");
                    share.nobody_is_accused(&cut.verify(&keep), true, &about);
                    cuts += 1;
                }
            }
        }
    }
    println!("{cuts} cuts: {} of {} recorded steps were judged", share.judged, share.steps);
    assert!(cuts > 300 && share.judged * 3 > share.steps, "{cuts} {} {}", share.judged, share.steps);
    fs::remove_dir_all(folder).expect("it is ours");
}

/// Many recordings at once, over many seeds of both engines.
#[test]
fn no_cuts_of_correct_runs_accuse_anybody() {
    let folder = folder("many-cuts");
    let mut share = Share::default();
    let mut random = Random(1);
    for (engine, seeds) in [(Engine::Direct, 100..160), (Engine::Madsim, 200..215)] {
        for seed in seeds {
            empty(&folder);
            let outcome = chaos::scenario().run(engine, seed, true);
            assert_eq!(outcome.verdict, Verdict::Passed);
            let tapes: Tapes<RolloutNode> = tapes(&outcome.recordings);
            let cut = Cut { folder: &folder, tapes: &tapes, verify: &verify_rollout };
            for _ in 0..4 {
                let keep = cut.random(&mut random);
                let is_cut = keep != cut.whole();
                share.nobody_is_accused(&cut.verify(&keep), is_cut, &format!("{engine} {seed}: {keep:?}"));
            }
        }
    }
    println!("{} of {} recorded steps were judged", share.judged, share.steps);
    fs::remove_dir_all(folder).expect("it is ours");
}

/// Other protocols, whose runs no engine makes.
#[test]
fn no_cuts_of_other_protocols_accuse_anybody() {
    fn cut<S: System>(model: &ModelDef<S>, crashes: bool) {
        let folder = folder(model.name);
        let system = (model.system)(model.size.0, model.size.1);
        let verify = |folder: &Path| model.verify(&[folder.to_owned()], false).expect("it can be read");
        let mut share = Share::default();
        for seed in 0..40 {
            empty(&folder);
            let mut random = Random(seed);
            let tapes: Tapes<NodeOf<S>> = random_run(&system, model.name, &mut random, 150, crashes);
            let cut = Cut { folder: &folder, tapes: &tapes, verify: &verify };
            share.nobody_is_accused(&cut.verify(&cut.whole()), false, &format!("{} {seed}", model.name));
            for _ in 0..8 {
                let keep = cut.random(&mut random);
                let is_cut = keep != cut.whole();
                let about = format!("{} {seed}: {keep:?}", model.name);
                share.nobody_is_accused(&cut.verify(&keep), is_cut, &about);
            }
        }
        println!("{}: {} of {} recorded steps were judged", model.name, share.judged, share.steps);
        fs::remove_dir_all(folder).expect("it is ours");
    }
    cut(&counter::model(), true);
    cut(&twophase::model(), false);
    cut(&register::abd(), false);
    cut(&register::paxos(), false);
}

/// What breaks an invariant is found in what a cut leaves of it, in a good share of cuts.
#[test]
fn a_mistake_is_found_in_what_is_left() {
    let folder = folder("wrong");
    let mut random = Random(7);
    let mut all = (0, 0);
    for mistake in ["presumed-commit", "forgetful-voter", "any-vote"] {
        let mut found = (0, 0);
        let scenario = chaos_of(mistake);
        let is_wrong = |seed: &u64| {
            matches!(scenario.run(Engine::Direct, *seed, false).verdict, Verdict::Violated { .. })
        };
        for seed in (0..600).filter(is_wrong).take(6) {
            empty(&folder);
            let outcome = scenario.run(Engine::Direct, seed, true);
            let Verdict::Violated { invariant, .. } = outcome.verdict else { panic!("as before") };
            let tapes: Tapes<RolloutNode> = tapes(&outcome.recordings);
            let cut = Cut { folder: &folder, tapes: &tapes, verify: &verify_rollout };
            let whole = cut.verify(&cut.whole()).violated.expect("the whole history breaks it");
            assert_eq!(whole.invariant, invariant);
            for _ in 0..6 {
                let mut keep = cut.whole();
                let tape = random.below(keep.len() as u64) as usize;
                for length in &mut keep[tape] {
                    // A kill loses the last moments.
                    *length -= random.below(10.min(*length as u64)) as usize;
                }
                let verified = cut.verify(&keep);
                assert_eq!(verified.difference, None, "{mistake:?} {seed}");
                found.1 += 1;
                if verified.violated.is_some() {
                    assert_eq!(verified.exit_code(), 1);
                    found.0 += 1;
                }
            }
        }
        println!("{mistake:?}: found in {} of {} cut recordings", found.0, found.1);
        assert!(found.1 > 0, "{mistake:?}: no seed is wrong");
        all = (all.0 + found.0, all.1 + found.1);
    }
    println!("found in {} of {}", all.0, all.1);
    assert!(all.0 * 4 > all.1, "{all:?}");
    fs::remove_dir_all(folder).expect("it is ours");
}
