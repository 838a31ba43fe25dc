//! `chirm webhook`: who outside is told of what.

use super::connection::Connection;
use super::output;
use anyhow::Context as _;
use chirm_client::Api;
use chirm_proto::v1;

/// Have others told of what happens, by signed HTTP requests.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a webhook. The secret that signs its requests is shown this once.
    Create {
        /// Where to send: an https URL.
        url: String,
        /// What to tell: message.created, message.updated, message.deleted, member.joined,
        /// member.left, recipient.offline.
        #[arg(long = "event", required = true, value_name = "EVENT")]
        events: Vec<String>,
        /// The server to tell of; without it all servers, which needs a key of the admin scope.
        #[arg(long = "of", value_name = "SERVER_ID", default_value_t = 0)]
        server_id: i64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the webhooks of a server, or those for all servers.
    List {
        /// The server; without it those for all servers.
        #[arg(long = "of", value_name = "SERVER_ID", default_value_t = 0)]
        server_id: i64,
        /// Print JSON: one webhook a line.
        #[arg(long)]
        json: bool,
    },
    /// Switch a webhook on again, or off.
    Enable {
        /// The webhook's id.
        webhook_id: i64,
        /// Off instead of on. What waits goes on waiting.
        #[arg(long)]
        off: bool,
    },
    /// Give a webhook a new secret, shown this once. For a day the old one signs along.
    Rotate {
        /// The webhook's id.
        webhook_id: i64,
    },
    /// Delete a webhook with all that waits for it.
    Delete {
        /// The webhook's id.
        webhook_id: i64,
    },
    /// List the events that a webhook didn't take, oldest first.
    Dead {
        /// The webhook's id.
        webhook_id: i64,
        /// Print JSON: one event a line.
        #[arg(long)]
        json: bool,
    },
    /// Send again what a webhook didn't take.
    Retry {
        /// The webhook's id.
        webhook_id: i64,
        /// One event, by the id that `dead` lists; without it all of them.
        #[arg(long, value_name = "ID", default_value_t = 0)]
        letter: i64,
    },
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    match args.command {
        Command::Create {
            url,
            events,
            server_id,
            json,
        } => create(&api, server_id, url, events, json).await,
        Command::List { server_id, json } => list(&api, server_id, json).await,
        Command::Enable { webhook_id, off } => enable(&api, webhook_id, !off).await,
        Command::Rotate { webhook_id } => {
            let request = v1::RotateWebhookSecretRequest { webhook_id };
            let rotated = api.webhooks().rotate_webhook_secret(request).await?;
            output::line(&rotated.into_inner().secret)
        }
        Command::Delete { webhook_id } => {
            let request = v1::DeleteWebhookRequest { webhook_id };
            api.webhooks().delete_webhook(request).await?;
            output::line("deleted")
        }
        Command::Dead { webhook_id, json } => dead(&api, webhook_id, json).await,
        Command::Retry { webhook_id, letter } => {
            let request = v1::RedeliverDeadLettersRequest {
                webhook_id,
                letter_id: letter,
            };
            let queued = api.webhooks().redeliver_dead_letters(request).await?;
            output::line(&format!("{} queued", queued.into_inner().redelivered))
        }
    }
}

async fn create(
    api: &Api,
    server_id: i64,
    url: String,
    events: Vec<String>,
    json: bool,
) -> anyhow::Result<()> {
    let request = v1::CreateWebhookRequest {
        server_id,
        url,
        events,
        request_id: uuid::Uuid::now_v7().to_string(),
    };
    let made = api.webhooks().create_webhook(request).await?.into_inner();
    if json {
        return output::json("CreateWebhookResponse", &made);
    }
    output::line(&made.secret)?;
    eprintln!(
        "webhook {}: keep its secret, it is shown this once",
        made.webhook.unwrap_or_default().id
    );
    Ok(())
}

async fn list(api: &Api, server_id: i64, json: bool) -> anyhow::Result<()> {
    let mut webhooks = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListWebhooksRequest {
            server_id,
            page_token,
            ..Default::default()
        };
        let page = api.webhooks().list_webhooks(request).await?.into_inner();
        webhooks.extend(page.webhooks);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if json {
        return webhooks
            .iter()
            .try_for_each(|webhook| output::json("Webhook", webhook));
    }
    let row = |webhook: v1::Webhook| {
        let state = match (webhook.enabled, webhook.disabled_reason.as_str()) {
            (true, _) => "on".to_owned(),
            (false, "") => "off".to_owned(),
            (false, why) => format!("off: {why}"),
        };
        vec![
            webhook.id.to_string(),
            webhook.url,
            webhook.events.join(" "),
            state,
            webhook.queued.to_string(),
        ]
    };
    let rows = webhooks.into_iter().map(row).collect();
    let heading = ["ID", "URL", "EVENTS", "STATE", "WAITING"];
    output::table(&heading, rows, "no webhooks yet")
}

async fn enable(api: &Api, webhook_id: i64, enabled: bool) -> anyhow::Result<()> {
    let request = v1::UpdateWebhookRequest {
        webhook_id,
        webhook: Some(v1::Webhook {
            enabled,
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["enabled".to_owned()],
        }),
    };
    let now = api.webhooks().update_webhook(request).await?.into_inner();
    let now = now
        .webhook
        .context("the server answered without a webhook")?;
    output::line(if now.enabled { "on" } else { "off" })
}

async fn dead(api: &Api, webhook_id: i64, json: bool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListDeadLettersRequest {
            webhook_id,
            page_token,
            ..Default::default()
        };
        let page = api
            .webhooks()
            .list_dead_letters(request)
            .await?
            .into_inner();
        for letter in page.letters {
            if json {
                output::json("DeadLetter", &letter)?;
                continue;
            }
            rows.push(vec![
                letter.id.to_string(),
                letter.r#type,
                letter.subject_id.to_string(),
                letter.attempts.to_string(),
                letter.error,
            ]);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if json {
        return Ok(());
    }
    let heading = ["ID", "EVENT", "OF", "TRIES", "ERROR"];
    output::table(&heading, rows, "it took everything")
}
