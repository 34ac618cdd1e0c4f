//! Runs of the suite: each verb, its input, and the allowed states after it.

/// A way to run the binary, and what stands before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verb {
    /// The name by which it is chosen.
    pub(crate) name: &'static str,
    /// Steps that make the store before the run.
    pub(crate) before: &'static [Step],
    /// The arguments; `SOURCE` and `OUT` stand for paths.
    pub(crate) act: &'static [&'static str],
    /// Whether it can be run once more where it has done its work.
    pub(crate) is_repeatable: bool,
    /// Whether it does all of its work or nothing; otherwise a part of it is worth something.
    pub(crate) is_whole: bool,
}

/// Something that is done to a store.
#[derive(Debug)]
pub(crate) enum Step {
    /// Runs the binary, which has to succeed.
    Run(&'static [&'static str]),
    /// Kills the binary at this write.
    Killed(&'static [&'static str], u64),
    /// Deletes the name of a model, and leaves its blobs.
    Forget(&'static str),
    /// Changes a byte of the largest blob, and deletes the second largest.
    Damage,
}

/// A plain import as `m`.
const PLAIN: &[&str] = &["import", "SOURCE", "m", "--threads", "1"];
/// A quantized import under the same name.
const INT4: &[&str] = &["import", "SOURCE", "m", "--quantize", "int4", "--threads", "1"];
/// The same under another name.
const OTHER: &[&str] = &["import", "SOURCE", "other", "--quantize", "int4", "--threads", "1"];

/// One of which nothing is there yet.
const INT8: &[&str] = &["import", "SOURCE", "large", "--quantize", "int8", "--threads", "1"];

/// All of them.
pub(crate) const VERBS: &[Verb] = &[
    verb("import", &[], PLAIN),
    // Puts another model in the place of one.
    verb("import-int4", &[Step::Run(PLAIN)], INT4),
    // Goes on from what a killed import had finished.
    verb("import-after-kill", &[Step::Killed(PLAIN, 30)], PLAIN),
    once(verb("export", &[Step::Run(PLAIN)], &["export", "m", "OUT"])),
    once(verb("export-mlx", &[Step::Run(INT4)], &["export", "m", "OUT", "--format", "mlx"])),
    once(verb("rm", &[Step::Run(PLAIN), Step::Run(OTHER)], &["rm", "m"])),
    // Besides what a name has left, something of a killed import.
    in_parts(verb(
        "gc",
        &[Step::Run(PLAIN), Step::Run(OTHER), Step::Forget("other"), Step::Killed(INT8, 20)],
        &["gc", "--grace", "0s"],
    )),
    verb("copy", &[Step::Run(PLAIN)], &["copy", "m", "second"]),
    verb("verify", &[Step::Run(PLAIN)], &["verify"]),
    in_parts(verb(
        "verify-repair",
        &[Step::Run(PLAIN), Step::Damage],
        &["verify", "--repair", "SOURCE", "--threads", "1"],
    )),
    verb("load", &[Step::Run(INT4)], &["load", "m", "--device", "host"]),
    verb("load-verify", &[Step::Run(INT4)], &["load", "m", "--device", "host", "--verify"]),
];

const fn verb(name: &'static str, before: &'static [Step], act: &'static [&'static str]) -> Verb {
    Verb { name, before, act, is_repeatable: true, is_whole: true }
}

const fn once(verb: Verb) -> Verb {
    Verb { is_repeatable: false, ..verb }
}

const fn in_parts(verb: Verb) -> Verb {
    Verb { is_whole: false, ..verb }
}
