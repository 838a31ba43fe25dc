//! The binary `chirm`: a server and its command line.

/// A send allocates some dozens of times on one thread and frees on another: see
/// docs/adr/0009-allocating-by-mimalloc.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    chirm_server::cli::main()
}
