//! `login HOST`, `logout HOST`: passwords for registries.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    process::ExitCode,
};

use longshore_registry::{Reference, Registry};
use longshore_transfer::{Login, Secret, redacted};

use super::client;
use crate::{
    advice::Advice,
    args::net::{LoginArgs, LogoutArgs},
    printer::Printer,
};

/// Longest password that is read from stdin, in bytes.
const MAX: u64 = 64 << 10;

/// The registry that a host means, as a reference to something in it.
fn registry(host: &str) -> anyhow::Result<Reference> {
    let host = host.trim_end_matches('/');
    format!("oci:{host}/x").parse().map_err(|_| {
        Advice::failure(format!("{:?} is no host of a registry", redacted(host)))
            .hint("write it as ghcr.io, localhost:5000 or https://host")
            .into()
    })
}

pub(in crate::commands) fn login(args: &LoginArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let reference = registry(&args.host)?;
    let is_terminal = io::stdin().is_terminal();
    let user = match &args.username {
        Some(user) => user.clone(),
        None if is_terminal => ask("User name: ")?,
        None => {
            return Err(Advice::failure("without a terminal the user is not asked for")
                .hint("longshore login HOST --username USER, with the password on stdin")
                .into());
        }
    };
    let password = if is_terminal { hidden("Password: ")? } else { from_stdin()? };
    if user.is_empty() || password.reveal().is_empty() {
        return Err(Advice::failure("user name and password may not be empty").into());
    }
    let client = client::client(args.ca_cert.as_deref())?;
    let given = Login::Password { user: user.clone(), password: password.clone() };
    Registry::check_login(&client, reference.base(), given)?;
    client::logins()?.store(reference.registry(), &user, &password)?;
    printer.note(&format!("the password of {user} at {} is kept", reference.registry()));
    Ok(ExitCode::SUCCESS)
}

pub(in crate::commands) fn logout(args: &LogoutArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let reference = registry(&args.host)?;
    if !client::logins()?.forget(reference.registry())? {
        let hint = "what docker or podman keep is theirs to forget";
        return Err(Advice::input(format!("no password for {} is kept here", reference.registry())).hint(hint).into());
    }
    printer.note(&format!("the password for {} is forgotten", reference.registry()));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn ask(question: &str) -> anyhow::Result<String> {
    io::stderr().write_all(question.as_bytes())?;
    let mut answer = String::new();
    io::stdin().lock().take(MAX).read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

fn from_stdin() -> anyhow::Result<Secret> {
    let mut text = String::new();
    io::stdin().lock().take(MAX).read_to_string(&mut text)?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

/// Asks at the terminal, which shows nothing of the answer.
#[cfg(unix)]
fn hidden(question: &str) -> anyhow::Result<Secret> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

    /// Brings the terminal back to what it was, however the answer ends.
    struct Back(rustix::termios::Termios);

    impl Drop for Back {
        fn drop(&mut self) {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
        }
    }

    let before = tcgetattr(io::stdin()).map_err(io::Error::from)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let back = Back(before);
    tcsetattr(io::stdin(), OptionalActions::Now, &silent).map_err(io::Error::from)?;
    let answer = ask(question);
    drop(back);
    let _ = io::stderr().write_all(b"\n");
    Ok(Secret::new(answer?))
}

#[cfg(not(unix))]
fn hidden(_question: &str) -> anyhow::Result<Secret> {
    Err(Advice::failure("on this platform a terminal would show the password")
        .hint("give it on stdin, with --username")
        .into())
}
