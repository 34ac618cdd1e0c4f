//! The binary on a terminal of 80 columns.

use std::{
    fs::{self, File},
    io::Read as _,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::{
    hostile::{HOSTILE, SHOWN, checkpoint},
    support::{DEMO, Sandbox},
};

/// What a command writes to the terminal that both its streams are, with these variables set.
fn drawn(sandbox: &Sandbox, args: &[&str], variables: &[(&str, &str)]) -> String {
    let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&control).unwrap();
    unlockpt(&control).unwrap();
    let name = ptsname(&control, Vec::new()).unwrap().into_string().unwrap();
    let terminal = File::options().read(true).write(true).open(name).unwrap();
    tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let mut command = sandbox.command(args);
    command.env_remove("NO_COLOR").env("TERM", "xterm-256color").envs(variables.iter().copied());
    let mut child = command.stdout(terminal.try_clone().unwrap()).stderr(terminal).spawn().unwrap();
    // Nobody but the child has the terminal's end of it any more, so that reading ends with it: with an error on Linux.
    drop(command);
    let mut bytes = Vec::new();
    let _ = File::from(control).read_to_end(&mut bytes);
    child.wait().unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn nothing_of_a_model_draws_on_it() {
    let sandbox = Sandbox::new();
    let dir = checkpoint(&sandbox, "hostile", HOSTILE);
    fs::write(dir.join(format!("{HOSTILE}.txt")), "").unwrap();
    let shown = |args: &[&str]| {
        let text = drawn(&sandbox, args, &[]);
        // Of the progress that is drawn too, nothing begins with any of these.
        for word in
            ["\u{1b}]", "\u{1b}[2J", "\u{7}", "\u{7f}", "\u{9b}", "\u{202e}", "\u{2066}", "\u{2028}", "\u{200b}"]
        {
            assert!(!text.contains(word), "{args:?}: {text:?}");
        }
        assert!(!text.split(['\n', '\r']).any(|line| line.starts_with("error: forged")), "{args:?}: {text:?}");
        text
    };
    assert!(shown(&["import", "hostile", "m"]).contains(SHOWN));
    assert!(shown(&["inspect", "hostile"]).contains("\\u{1b}[2J"));
    assert!(shown(&["import", HOSTILE, "m"]).contains(SHOWN));
    assert!(shown(&[HOSTILE]).contains(SHOWN));
    assert!(shown(&["load", "m", "--select", &format!("{HOSTILE}[")]).contains(SHOWN));
    for args in [&["show", "m", "--tensors"][..], &["list"], &["verify"], &["diff", "m", "m"]] {
        shown(args);
    }
    // A table keeps to the columns, whatever is in it.
    checkpoint(&sandbox, "wide", &"w".repeat(70_000));
    sandbox.ok(["import", "wide", "n"]);
    for line in drawn(&sandbox, &["list", "--color", "never"], &[]).lines() {
        assert!(line.trim_end().chars().count() <= 80, "{line}");
    }
}

#[test]
fn it_has_colours_where_nobody_forbids_them() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m"]);
    for args in [&["list", "--bogus"][..], &["lst"], &["show", "nothing"], &["list"], &["--help"], &["import"]] {
        let has = |more: &[&str], variables: &[(&str, &str)]| {
            drawn(&sandbox, &[args, more].concat(), variables).contains('\u{1b}')
        };
        assert!(has(&[], &[]), "{args:?}");
        assert!(!has(&["--color", "never"], &[]), "{args:?}");
        assert!(!has(&["--color=never"], &[]), "{args:?}");
        assert!(!has(&[], &[("NO_COLOR", "1")]), "{args:?}");
        assert!(has(&["--color", "always"], &[("NO_COLOR", "1")]), "{args:?}");
    }
}
