//! Commands on the pages for users are commands that this program takes, and their links lead somewhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Parser as _;

use crate::args::Cli;

/// The pages: README.md and all in `crates/cli/docs`.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let found = [docs.clone(), docs.join("guides")]
        .into_iter()
        .flat_map(|folder| fs::read_dir(folder).expect("the pages lie there"));
    let found = found
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"));
    let paths: Vec<PathBuf> = found.chain([docs.join("../../../README.md")]).collect();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(&path).expect("a page is text"))).collect()
}

/// Cuts a line into words as a shell does, as far as the pages need it: quotes, and comments.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for letter in line.chars() {
        match letter {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            '#' if !quoted && word.is_none() => break,
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[test]
fn a_command_on_a_page_is_one_that_is_taken() {
    let mut count = 0;
    for (path, text) in pages() {
        for line in text.lines().filter(|line| line.starts_with("longshore ")) {
            let words = words(line);
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{}: {line}\n{error}", path.display());
            }
            count += 1;
        }
    }
    assert!(count > 30, "{count} commands");
}

#[test]
fn a_link_on_a_page_leads_to_a_file() {
    for (path, text) in pages() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") || target.starts_with('#') {
                continue;
            }
            let file = path.with_file_name(target.split('#').next().unwrap_or_default());
            assert!(file.exists(), "{}: {target}", path.display());
        }
    }
}

#[test]
fn words_are_cut_as_a_shell_does() {
    assert_eq!(words("a --b '*c d*' '' e#f  # g 'h"), ["a", "--b", "*c d*", "", "e#f"]);
}
