//! The command line. One file a command; each has its arguments and `run`.
//!
//! - `serve`, `config`: the server itself. `key`, `backup`, `restore`, `export`,
//!   `import`: its operation.
//! - `user`, `bot`, `server` (`crowd`: many members), `channel`, `send`, `react` (pins, too),
//!   `tail`, `history`, `who`, `dm`, `unread`, `webhook`: a client like any other.
//! - `member`, `report`, `audit`: moderation.
//! - `replay`, `bench`: proof and figures, from the crate chirm-bench.
//! - `connection`, `credentials`, `output`, `prompt`: what client commands share; `operator`,
//!   `folder`, `moving`, `progress`: what those of operators do.

mod audit;
mod backup;
mod bot;
mod channel;
mod config;
mod connection;
mod credentials;
mod crowd;
mod dm;
mod export;
mod folder;
mod health;
mod history;
mod import;
mod key;
mod member;
mod moving;
mod operator;
mod output;
mod progress;
mod prompt;
mod react;
mod report;
mod restore;
mod send;
mod serve;
mod server;
mod settings;
mod tail;
mod unread;
mod user;
mod webhook;
mod who;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A messaging server for communities, games and back ends, and its client.
#[derive(Parser)]
#[command(
    name = "chirm",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a server.
    Serve(serve::Args),
    /// Ask whether a server serves.
    Health(health::Args),
    /// Print the settings that a server would start with.
    Config(config::Args),
    /// Make, list and end the keys of back ends and operators.
    Key(key::Args),
    /// Register, sign in and out; look at users.
    User(user::Args),
    /// Make bots.
    Bot(bot::Args),
    /// Make, find, join and leave servers.
    Server(server::Args),
    /// Make and list channels, direct ones too.
    Channel(channel::Args),
    /// Kick, ban, time out; delete what somebody wrote.
    Member(member::Args),
    /// Show a message to the moderators; list and close such reports.
    Report(report::Args),
    /// Read a server's audit log.
    Audit(audit::Args),
    /// Send a message.
    Send(send::Args),
    /// React to a message.
    React(react::ReactArgs),
    /// Pin a message, or unpin it.
    Pin(react::PinArgs),
    /// Read a channel's pinned messages.
    Pins(react::PinsArgs),
    /// Follow channels as messages come.
    Tail(tail::Args),
    /// Show who is here.
    Who(who::Args),
    /// Read a channel's past.
    History(history::Args),
    /// Write to others directly, or follow what they write.
    Dm(dm::Args),
    /// List channels with something unread.
    Unread(unread::Args),
    /// Mark a channel as read.
    Ack(unread::AckArgs),
    /// Have others told of what happens.
    Webhook(webhook::Args),
    /// Copy a server's data, while it runs or not.
    Backup(backup::Args),
    /// Put a backup in place as a data folder.
    Restore(restore::Args),
    /// Write all that a deployment has to a file, to move it to another kind of store.
    ///
    /// Nothing may run on it: stop its server, or all nodes of its cluster, first. The file has the
    /// hashes of passwords and tokens, the keys of webhooks and everyone's messages: keep it as the
    /// data themselves.
    Export(export::Args),
    /// Take in what `chirm export` wrote, into an empty data folder or cluster.
    ///
    /// If it breaks off, the same command goes on where it stopped; until it has ended nothing
    /// starts on the target. At the end the target is read again, and its counts and hashes are
    /// held against the file's. Ids stay as they are. Clients that come with the positions that
    /// they held are sent what is there now.
    Import(import::Args),
    /// Replay a log of a real conversation, and check that nothing was lost.
    Replay(chirm_bench::ReplayArgs),
    /// Measure a server.
    #[command(subcommand)]
    Bench(chirm_bench::BenchCommand),
    /// List the deliberate bugs that CHIRM_MUTATION switches on: name, tab, what is wrong.
    #[cfg(feature = "mutations")]
    #[command(hide = true)]
    Mutations,
}

/// Parses the process's arguments, runs the command, and says on standard error why it failed.
/// Exit codes: 0 done, 1 failed, 2 wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", output::explain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    #[cfg(feature = "mutations")]
    crate::mutation::check()?;
    // A server and a load use all cores; the others wait for one answer at a time.
    let heavy = matches!(
        command,
        Command::Serve(_) | Command::Replay(_) | Command::Bench(_)
    );
    let mut builder = if heavy {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build()?.block_on(async {
        match command {
            Command::Serve(args) => serve::run(args).await,
            Command::Config(args) => config::run(&args),
            Command::Key(args) => key::run(args).await,
            Command::User(args) => user::run(args).await,
            Command::Bot(args) => bot::run(args).await,
            Command::Server(args) => server::run(args).await,
            Command::Channel(args) => channel::run(args).await,
            Command::Member(args) => member::run(args).await,
            Command::Report(args) => report::run(args).await,
            Command::Audit(args) => audit::run(args).await,
            Command::Send(args) => send::run(args).await,
            Command::React(args) => react::react(args).await,
            Command::Pin(args) => react::pin(args).await,
            Command::Pins(args) => react::pins(args).await,
            Command::Tail(args) => Box::pin(tail::run(args)).await,
            Command::Health(args) => Box::pin(health::run(args)).await,
            Command::Who(args) => Box::pin(who::run(args)).await,
            Command::History(args) => history::run(args).await,
            Command::Dm(args) => dm::run(args).await,
            Command::Unread(args) => unread::run(args).await,
            Command::Ack(args) => unread::ack(args).await,
            Command::Webhook(args) => webhook::run(args).await,
            Command::Backup(args) => backup::run(args).await,
            Command::Restore(args) => restore::run(args).await,
            Command::Export(args) => export::run(args).await,
            Command::Import(args) => import::run(args).await,
            Command::Replay(args) => return Box::pin(args.run()).await,
            Command::Bench(command) => return Box::pin(command.run()).await,
            #[cfg(feature = "mutations")]
            Command::Mutations => mutations(),
        }?;
        Ok(ExitCode::SUCCESS)
    })
}

#[cfg(feature = "mutations")]
fn mutations() -> anyhow::Result<()> {
    for (name, wrong) in crate::mutation::NAMES {
        output::line(&format!("{name}\t{wrong}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
