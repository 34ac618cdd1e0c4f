//! `run` and `chat` at a terminal, and interrupts.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Stdio},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

use super::automaton::{Automaton, REPLY, TEMPLATE};
use crate::support::Sandbox;

/// A command whose three streams are a terminal.
pub(super) struct OnTerminal {
    pub(super) child: Child,
    control: File,
    seen: String,
}

impl OnTerminal {
    pub(super) fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&control).unwrap();
        unlockpt(&control).unwrap();
        let name = ptsname(&control, Vec::new()).unwrap().into_string().unwrap();
        let terminal = || File::options().read(true).write(true).open(&name).unwrap();
        let mut command = sandbox.command(args);
        command.env("TERM", "xterm-256color").stdin(terminal()).stdout(terminal()).stderr(terminal());
        let child = command.spawn().unwrap();
        // Nobody but the child has the terminal's end of it any more, so that reading ends with it: with an error on Linux.
        drop(command);
        Self { child, control: File::from(control), seen: String::new() }
    }

    /// Reads until a text appears, and returns what came up to it.
    pub(super) fn until(&mut self, text: &str) -> String {
        let mut bytes = [0; 1024];
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            match self.control.read(&mut bytes) {
                Ok(count) if count > 0 => self.seen.push_str(&String::from_utf8_lossy(&bytes[..count])),
                _ => panic!("expected {text:?} in {:?}", self.seen),
            }
        }
    }

    pub(super) fn type_in(&mut self, text: &str) {
        self.control.write_all(text.as_bytes()).unwrap();
    }

    fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// Reads to the end, and returns the rest and the exit status.
    fn finish(mut self) -> (String, i32) {
        let mut bytes = Vec::new();
        let _ = self.control.read_to_end(&mut bytes);
        self.seen.push_str(&String::from_utf8_lossy(&bytes));
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), None);
        (self.seen, status.code().unwrap())
    }
}

#[test]
fn nothing_that_a_model_writes_moves_a_terminal() {
    let sandbox = Sandbox::new();
    let text = "\u{1b}[2J\r\u{7}\u{202e}\u{9b}\u{200d}";
    Automaton::new()
        .chain([58].into_iter().chain([0x1b, 91, 50, 74, 13, 7, 0xe2, 0x80, 0xae, 10, 9, 120]))
        .write(&sandbox, "m");
    let (seen, code) = OnTerminal::start(&sandbox, &["run", "./m", ":", "-q"]).finish();
    assert_eq!(code, 0, "{seen:?}");
    // A terminal gets newlines as returns and newlines.
    assert!(seen.contains("\\u{1b}[2J\\r\\u{7}\\u{202e}\r\n\tx\r\n"), "{seen:?}");
    assert!(
        !seen.contains(|letter: char| text.contains(letter)
            && letter != '['
            && letter != '2'
            && letter != 'J'
            && letter != '\r'),
        "{seen:?}"
    );
}

#[test]
fn a_conversation_at_a_terminal_ends_with_exit() {
    let sandbox = Sandbox::new();
    Automaton::new().chain([REPLY, 72, 105]).template(TEMPLATE).write(&sandbox, "m");
    let mut chat = OnTerminal::start(&sandbox, &["chat", "./m"]);
    chat.until("/exit ends the conversation");
    chat.until("> ");
    chat.type_in("one\n");
    assert!(chat.until("> ").contains("Hi\r\n"));
    // A template may refuse a turn: the conversation goes on.
    chat.type_in("refuse\n");
    assert!(chat.until("> ").contains("not that"));
    chat.type_in("two\n");
    assert!(chat.until("> ").contains("Hi\r\n"));
    chat.type_in("/exit\n");
    let (rest, code) = chat.finish();
    assert_eq!(code, 0, "{rest:?}");
}

#[test]
fn an_interrupt_ends_an_answer_and_leaves_the_terminal_whole() {
    let sandbox = Sandbox::new();
    // Two letters for ever, in a context that holds an hour of them.
    let endless = Automaton::new().chain([58, 97, 98, 97]).config("max_position_embeddings", 1 << 30);
    endless.write(&sandbox, "m");
    let args = ["run", "./m", ":", "--max-tokens", "1000000000", "-q", "--max-seq", "100000000"];
    let mut run = OnTerminal::start(&sandbox, &args);
    run.until("abababab");
    run.interrupt();
    let (rest, code) = run.finish();
    assert_eq!(code, 130, "{rest:?}");
    // The error begins a line.
    assert!(rest.ends_with("\r\nerror: interrupted\r\n"), "{rest:?}");
    // In a pipe likewise.
    let mut child = sandbox.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 64];
    child.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "error: interrupted\n");
}

#[test]
fn an_interrupt_ends_a_wait_for_words() {
    let sandbox = Sandbox::new();
    Automaton::new().chain([REPLY, 72, 105]).template(TEMPLATE).write(&sandbox, "m");
    let mut chat = OnTerminal::start(&sandbox, &["chat", "./m"]);
    chat.until("> ");
    chat.interrupt();
    let (rest, code) = chat.finish();
    assert_eq!(code, 130, "{rest:?}");
    assert!(rest.ends_with("\r\nerror: interrupted\r\n"), "{rest:?}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_an_answer() {
    let sandbox = Sandbox::new();
    let endless = Automaton::new().chain([58, 97, 98, 97]).config("max_position_embeddings", 1 << 30);
    endless.write(&sandbox, "m");
    let args = ["run", "./m", ":", "--max-tokens", "1000000000", "-q", "--max-seq", "100000000"];
    let mut child = sandbox.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn an_interrupt_ends_a_measurement() {
    let sandbox = Sandbox::new();
    Automaton::new().chain([58, 97, 98, 97]).write(&sandbox, "m");
    std::fs::write(sandbox.path().join("text"), "ab".repeat(4_000_000)).unwrap();
    for args in [&["perplexity", "./m", "--window", "32"][..], &["calibrate", "./m", "out"]] {
        let mut run = OnTerminal::start(&sandbox, &[args, &["--text", "text"]].concat());
        run.until(if args[0] == "calibrate" { "calibrating" } else { "measuring" });
        run.interrupt();
        let (rest, code) = run.finish();
        assert_eq!(code, 130, "{rest:?}");
        assert!(rest.contains("error: interrupted"), "{rest:?}");
    }
    assert!(!sandbox.path().join("out").exists());
}
