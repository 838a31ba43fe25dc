//! The binary `chirm`: a server and its command line.

fn main() -> std::process::ExitCode {
    chirm_server::cli::main()
}
