//! `chirm bot`: programs with an account of their own.

use super::connection::Connection;
use super::output;
use chirm_proto::v1;

/// Make bots.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a bot that you own. Its token is shown this once and doesn't expire.
    Create {
        /// The unique name.
        name: String,
        /// What people see; the name if left out.
        #[arg(long, default_value = "")]
        display_name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let Command::Create {
        name,
        display_name,
        json,
    } = args.command;
    let api = args.connection.authorized().await?;
    let request = v1::CreateBotRequest {
        username: name,
        display_name,
    };
    let answer = api.auth().create_bot(request).await?.into_inner();
    if json {
        return output::json("CreateBotResponse", &answer);
    }
    let user = answer.user.unwrap_or_default();
    output::line(&format!("{}  {}", user.id, output::who(&user)))?;
    output::line(&format!("token, shown this once: {}", answer.token))
}
