//! The binary `chirm-bridge-ws`: browsers in front, gateways behind.

fn main() -> std::process::ExitCode {
    chirm_bridge_ws_edge::main()
}
