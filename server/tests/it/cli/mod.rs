//! The binary, as a shell runs it.

mod bench;
mod conversation;
mod disk;
mod moderation;
mod operation;
mod people;
mod refusals;
mod sockets;
mod webhooks;

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_chirm");
/// Far more than any command here takes, in seconds.
const HANGS_AFTER_S: &str = "120";

/// A setting as a variable of the environment.
fn variable((key, value): &(&'static str, String)) -> (String, String) {
    let name = key.replace('.', "__").to_uppercase();
    (format!("CHIRM__{name}"), value.clone())
}

/// A user's machine: a home for credentials, a folder for data.
struct Machine {
    home: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().expect("a folder"),
        }
    }

    /// A path in the machine's folder.
    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The data folder.
    fn data(&self) -> String {
        self.path("data").display().to_string()
    }

    /// A command, to be ended by who starts it.
    fn command(&self, arguments: &[&str]) -> Command {
        self.command_by(&[], arguments)
    }

    /// A command that should end by itself: one that hangs is ended, so that its test fails.
    fn bounded(&self, arguments: &[&str]) -> Command {
        self.command_by(&["timeout", HANGS_AFTER_S], arguments)
    }

    /// A command that other programs start. Nothing of the environment changes what it does.
    fn command_by(&self, starters: &[&str], arguments: &[&str]) -> Command {
        let words = [starters, &[BINARY], arguments].concat();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("HOME", self.home.path())
            .envs(
                crate::support::stack_of(&self.path("data"))
                    .iter()
                    .map(variable),
            )
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    fn run(&self, arguments: &[&str]) -> Output {
        self.bounded(arguments).output().expect("the binary runs")
    }

    /// Runs a command that has to succeed; answers what it printed.
    fn ok(&self, arguments: &[&str]) -> String {
        printed(arguments, self.run(arguments))
    }

    /// As [`Machine::ok`], with JSON printed.
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Runs a command that has to succeed, with a line on its standard input.
    fn ok_with(&self, arguments: &[&str], line: &str) -> String {
        let mut child = self
            .bounded(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut stdin = child.stdin.take().expect("piped");
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .expect("it reads");
        drop(stdin);
        printed(arguments, child.wait_with_output().expect("it ends"))
    }

    /// Runs a command that has to fail; answers its error.
    fn error(&self, arguments: &[&str]) -> String {
        self.error_by(&[], arguments)
    }

    /// As [`Machine::error`], started by other programs.
    fn error_by(&self, starters: &[&str], arguments: &[&str]) -> String {
        let output = self.command_by(starters, arguments).output();
        let output = output.expect("the binary runs");
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        text
    }

    /// Starts a server on the data folder and a free port, and waits until it is ready.
    fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    /// As [`Machine::serve`], with more arguments.
    fn serve_with(&self, more: &[&str]) -> Server {
        self.serve_by(&[], more)
    }

    /// As [`Machine::serve_with`], started by other programs, which the server takes the place of.
    fn serve_by(&self, starters: &[&str], more: &[&str]) -> Server {
        let data = self.data();
        let mut arguments = vec!["serve", "--data", &data];
        arguments.extend(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        arguments.extend(more);
        let child = self.command_by(starters, &arguments).spawn();
        let mut child = child.expect("the binary runs");
        let mut said = BufReader::new(child.stderr.take().expect("piped")).lines();
        let admin = said
            .find_map(|line| Some(line.ok()?.strip_prefix(OPERATORS)?.to_owned()))
            .expect("it says where operators connect");
        // What it says later is for whoever reads the test's output.
        std::thread::spawn(move || {
            said.map_while(Result::ok)
                .for_each(|line| eprintln!("{line}"))
        });
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = lines
            .next()
            .expect("it says that it is ready")
            .expect("UTF-8");
        let url = line
            .strip_prefix("chirm ready on ")
            .expect("the line that scripts wait for");
        Server {
            child,
            url: url.to_owned(),
            admin,
        }
    }
}

/// A running server; killed when dropped.
struct Server {
    child: Child,
    url: String,
    /// The listener for operators.
    admin: String,
}

/// What a server's word of its listener for operators begins with.
const OPERATORS: &str = "operators connect to ";

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is as good.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn printed(arguments: &[&str], output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
