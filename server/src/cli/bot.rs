//! `chirm bot`: programs with an account of their own.

use super::connection::Connection;
use super::output;
use chirm_client::Api;
use chirm_proto::v1;

/// Make, list and end bots.
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
    /// List your bots.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a bot's token and give it a new one, shown this once.
    Reset {
        /// The bot's id.
        bot_id: i64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete a bot; its messages stay.
    Delete {
        /// The bot's id.
        bot_id: i64,
    },
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    match args.command {
        Command::Create {
            name,
            display_name,
            json,
        } => create(&api, name, display_name, json).await,
        Command::List { json } => list(&api, json).await,
        Command::Reset { bot_id, json } => {
            let request = v1::ResetBotTokenRequest { bot_id };
            let answer = api.auth().reset_bot_token(request).await?.into_inner();
            if json {
                return output::json("ResetBotTokenResponse", &answer);
            }
            show(&answer.token)
        }
        Command::Delete { bot_id } => {
            let request = v1::DeleteBotRequest { bot_id };
            api.auth().delete_bot(request).await?;
            output::line("deleted")
        }
    }
}

async fn create(
    api: &Api,
    username: String,
    display_name: String,
    json: bool,
) -> anyhow::Result<()> {
    let request = v1::CreateBotRequest {
        username,
        display_name,
        request_id: uuid::Uuid::now_v7().to_string(),
    };
    let answer = api.auth().create_bot(request).await?.into_inner();
    if json {
        return output::json("CreateBotResponse", &answer);
    }
    let user = answer.user.unwrap_or_default();
    output::line(&format!("{}  {}", user.id, output::who(&user)))?;
    show(&answer.token)
}

async fn list(api: &Api, json: bool) -> anyhow::Result<()> {
    let mut answer = v1::ListBotsResponse::default();
    loop {
        let request = v1::ListBotsRequest {
            page_token: answer.next_page_token.clone(),
            ..Default::default()
        };
        let page = api.auth().list_bots(request).await?.into_inner();
        answer.bots.extend(page.bots);
        answer.next_page_token = page.next_page_token;
        if answer.next_page_token.is_empty() {
            break;
        }
    }
    if json {
        return output::json("ListBotsResponse", &answer);
    }
    let row = |bot: &v1::User| vec![bot.id.to_string(), output::who(bot)];
    let rows = answer.bots.iter().map(row).collect();
    output::table(&["id", "name"], rows, "no bots yet: `chirm bot create`")
}

fn show(token: &str) -> anyhow::Result<()> {
    output::line(&format!("token, shown this once: {token}"))
}
