//! `chirm health`: whether a server serves, for what looks after containers.

use super::output;
use anyhow::{Context as _, bail};
use std::time::Duration;
use tonic::transport::{ClientTlsConfig, Endpoint};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ask a server whether it serves. Exit code 0: it does.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server's URL.
    #[arg(
        long,
        env = "CHIRM_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:7300"
    )]
    server: String,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let asked = tokio::time::timeout(PATIENCE, status(&args.server));
    let status = asked
        .await
        .with_context(|| format!("{} doesn't answer within {PATIENCE:?}", args.server))??;
    if status != ServingStatus::Serving {
        bail!("{} answers, and doesn't serve: it drains", args.server);
    }
    output::line("serving")
}

async fn status(server: &str) -> anyhow::Result<ServingStatus> {
    let mut endpoint = Endpoint::from_shared(server.to_owned())
        .with_context(|| format!("{server:?} is no URL: http://host:port is one"))?;
    if server.starts_with("https://") {
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
    }
    let channel = endpoint
        .connect()
        .await
        .with_context(|| format!("{server} can't be reached"))?;
    let mut health = HealthClient::new(channel);
    let answer = health.check(HealthCheckRequest::default()).await?;
    Ok(answer.into_inner().status())
}
