//! `chirm-conformance`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    chirm_conformance::cli::main().await
}
