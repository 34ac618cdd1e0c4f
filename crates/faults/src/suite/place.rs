//! A store as a verb finds it, made as often as it is needed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    SuiteError,
    command::{Binary, End, Run},
    tree::{self, Tree},
    verb::{Step, Verb},
};
use crate::{Class, Fault, Strike};

/// A directory in which a verb is run.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) verb: &'static Verb,
    pub(crate) binary: Binary<'a>,
    before: PathBuf,
    _directory: TempDir,
}

/// Behaviour of a verb without a fault.
#[derive(Debug)]
pub(crate) struct Clean {
    /// Output without the parts that differ from run to run.
    pub(crate) answer: Value,
    pub(crate) run: Run,
    pub(crate) before: State,
    pub(crate) after: State,
    /// The store after a further import and a collection.
    pub(crate) swept: Tree,
}

/// The files, and their appearance from outside.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tree: Tree,
    pub(crate) models: Models,
    pub(crate) bad: Vec<String>,
}

/// Names and digests.
pub(crate) type Models = Vec<(String, String)>;

impl<'a> Place<'a> {
    pub(crate) fn new(path: &'a Path, source: &Path, verb: &'static Verb) -> Result<Self, SuiteError> {
        let directory = TempDir::new()?;
        // The library compares with paths as the kernel has them.
        let root = directory.path().canonicalize()?;
        let binary = Binary { path, work: root.join("work"), notes: root.join("notes") };
        fs::create_dir(&binary.notes)?;
        let place = Self { verb, binary, before: root.join("before"), _directory: directory };
        fs::create_dir(&place.binary.work)?;
        tree::copy(source, &place.binary.work.join("source"))?;
        for step in verb.before {
            place.prepare(step)?;
        }
        tree::copy(&place.binary.work, &place.before)?;
        Ok(place)
    }

    /// Makes everything as it was before.
    pub(crate) fn reset(&self) -> Result<(), SuiteError> {
        fs::remove_dir_all(&self.binary.work)?;
        Ok(tree::copy(&self.before, &self.binary.work)?)
    }

    pub(crate) fn tree(&self) -> Result<Tree, SuiteError> {
        Ok(Tree::of(&self.binary.work)?)
    }

    /// Runs the verb without a fault, and resets.
    pub(crate) fn clean(&self) -> Result<Clean, SuiteError> {
        let before = self.state()?;
        self.reset()?;
        let run = self.succeed(self.verb.act)?;
        let after = self.state()?;
        self.sweep()?;
        let swept = self.tree()?;
        self.reset()?;
        Ok(Clean { answer: settled(run.document()), run, before, after, swept })
    }

    /// The models that the store lists, or why it does not.
    pub(crate) fn models(&self) -> Result<Result<Models, String>, SuiteError> {
        let run = self.binary.run(&["list"], None)?;
        let document = run.document();
        let models = document["models"].as_array().filter(|_| run.is_done());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let listed =
            models.map(|models| models.iter().map(|model| (text(&model["name"]), text(&model["digest"]))).collect());
        Ok(listed.ok_or_else(|| format!("list: {run}")))
    }

    /// The digests of the blobs that `verify` finds bad, or why it finds none.
    pub(crate) fn bad(&self) -> Result<Result<Vec<String>, String>, SuiteError> {
        let run = self.binary.run(&["verify"], None)?;
        let document = run.document();
        let is_answer = matches!(run.end, End::Status(0 | 1));
        let bad = document["bad"].as_array().filter(|_| is_answer);
        let digests =
            bad.map(|bad| bad.iter().map(|bad| bad["digest"].as_str().unwrap_or_default().to_owned()).collect());
        Ok(digests.ok_or_else(|| format!("verify: {run}")))
    }

    /// Imports something else and removes it again, with everything that nobody needs.
    pub(crate) fn sweep(&self) -> Result<(), SuiteError> {
        for arguments in [&["import", "SOURCE", "swept"][..], &["rm", "swept"], &["gc", "--grace", "0s"]] {
            self.succeed(arguments)?;
        }
        Ok(())
    }

    fn state(&self) -> Result<State, SuiteError> {
        let tree = self.tree()?;
        Ok(State { tree, models: self.models()?.map_err(SuiteError)?, bad: self.bad()?.map_err(SuiteError)? })
    }

    fn succeed(&self, arguments: &[&str]) -> Result<Run, SuiteError> {
        let run = self.binary.run(arguments, None)?;
        if run.is_done() { Ok(run) } else { Err(SuiteError(format!("{}: {run}", arguments.join(" ")))) }
    }

    fn prepare(&self, step: &Step) -> Result<(), SuiteError> {
        let store = self.binary.work.join("store");
        match *step {
            Step::Run(arguments) => self.succeed(arguments).map(drop),
            Step::Killed(arguments, nth) => {
                let strike = Strike { class: Class::Write, fault: Fault::Kill, nth, goes_on: false };
                match self.binary.run(arguments, Some(strike))? {
                    Run { end: End::Signal(9), .. } => Ok(()),
                    run => Err(SuiteError(format!("{}, to be killed: {run}", arguments.join(" ")))),
                }
            }
            Step::Forget(name) => {
                let names = store.join("manifests/registry.ollama.ai/library").join(name);
                Ok(fs::remove_dir_all(names)?)
            }
            Step::Damage => damage(&store.join("blobs")),
        }
    }
}

fn damage(blobs: &Path) -> Result<(), SuiteError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(blobs)? {
        let path = entry?.path();
        found.push((path.metadata()?.len(), path));
    }
    found.sort();
    let Some([(_, missing), (_, damaged)]) = found.last_chunk() else {
        return Err(SuiteError("the store has no two blobs".into()));
    };
    let mut bytes = fs::read(damaged)?;
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    // A blob is read-only: another file takes its place.
    fs::remove_file(damaged)?;
    fs::write(damaged, bytes)?;
    Ok(fs::remove_file(missing)?)
}

/// A document without what differs from run to run: times, and what was measured.
pub(crate) fn settled(document: Value) -> Value {
    match document {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(name, _)| !MEASURED.contains(&name.as_str()));
            Value::Object(fields.map(|(name, value)| (name, settled(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(settled).collect()),
        other => other,
    }
}

const MEASURED: [&str; 4] = ["seconds", "limit", "peak_rss", "modified"];
