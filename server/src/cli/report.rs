//! `chirm report`: messages that are shown to the moderators.

use super::connection::Connection;
use super::output;
use chirm_client::Api;
use chirm_proto::v1;

/// Show a message to a server's moderators; list and close such reports.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum State {
    /// Nobody has closed it.
    Open,
    /// Something was done about the message.
    Resolved,
    /// Nothing has to be done about it.
    Dismissed,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Report a message.
    Create {
        /// The server's id.
        server_id: i64,
        /// The channel's id.
        channel_id: i64,
        /// The message's id.
        message_id: i64,
        /// Why.
        reason: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List a server's reports, newest first.
    List {
        /// The server's id.
        server_id: i64,
        /// Only those.
        #[arg(long, value_enum)]
        state: Option<State>,
        /// Print JSON: one report a line.
        #[arg(long)]
        json: bool,
    },
    /// Close a report.
    Resolve {
        /// The server's id.
        server_id: i64,
        /// The report's id.
        report_id: i64,
        /// Nothing has to be done about it.
        #[arg(long)]
        dismiss: bool,
        /// What there is to say.
        #[arg(long, default_value = "", hide_default_value = true)]
        note: String,
    },
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    match args.command {
        Command::Create {
            server_id,
            channel_id,
            message_id,
            reason,
            json,
        } => {
            let request = v1::ReportMessageRequest {
                server_id,
                channel_id,
                message_id,
                reason,
            };
            let answer = api.moderation().report_message(request).await?.into_inner();
            if json {
                return output::json("ReportMessageResponse", &answer);
            }
            output::line(&answer.report.unwrap_or_default().id.to_string())
        }
        Command::List {
            server_id,
            state,
            json,
        } => list(&api, server_id, state, json).await,
        Command::Resolve {
            server_id,
            report_id,
            dismiss,
            note,
        } => {
            let state = if dismiss {
                v1::ReportState::Dismissed
            } else {
                v1::ReportState::Resolved
            };
            let request = v1::ResolveReportRequest {
                server_id,
                report_id,
                state: state.into(),
                note,
            };
            let answer = api.moderation().resolve_report(request).await?.into_inner();
            output::line(&state_of(&answer.report.unwrap_or_default()))
        }
    }
}

async fn list(api: &Api, server_id: i64, state: Option<State>, json: bool) -> anyhow::Result<()> {
    let mut page_token = String::new();
    loop {
        let request = v1::ListReportsRequest {
            server_id,
            state: state.map_or(0, |state| state.as_protocol().into()),
            page_token,
            ..Default::default()
        };
        let answer = api.moderation().list_reports(request).await?.into_inner();
        for report in &answer.reports {
            if json {
                output::json("Report", report)?;
                continue;
            }
            let reason = output::printable(&report.reason).replace('\n', " ");
            let (by, of) = (report.reporter_id, report.author_id);
            output::line(&format!(
                "{}  {:<9}  channel {}  message {}  of {of}  by {by}: {reason}",
                report.id,
                state_of(report),
                report.channel_id,
                report.message_id,
            ))?;
        }
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

fn state_of(report: &v1::Report) -> String {
    let name = report.state().as_str_name();
    name.trim_start_matches("REPORT_STATE_").to_lowercase()
}

impl State {
    fn as_protocol(self) -> v1::ReportState {
        match self {
            State::Open => v1::ReportState::Open,
            State::Resolved => v1::ReportState::Resolved,
            State::Dismissed => v1::ReportState::Dismissed,
        }
    }
}
