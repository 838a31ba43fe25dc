//! What moderators do from a shell.

use super::conversation::register;
use super::{Machine, text};

#[test]
fn a_server_is_moderated_from_a_shell() {
    let (machine, other) = (Machine::new(), Machine::new());
    let server = machine.serve();
    let url = ["--server", server.url.as_str()];
    register(&machine, &server, "ann");
    let made = register(&other, &server, "bob");
    let bob = text(&made["user"]["id"]).to_owned();
    let ann = |arguments: &[&str]| {
        let printed = machine.ok(&[arguments, &url].concat());
        printed.trim_end().to_owned()
    };
    let json = |machine: &Machine, arguments: &[&str]| {
        machine.json(&[arguments, &["--json"], &url].concat())
    };
    let refused = |arguments: &[&str]| other.error(&[arguments, &url].concat());
    let made = json(&machine, &["server", "create", "Home", "--open"]);
    let server = text(&made["server"]["id"]);
    let channel = text(&made["generalChannelId"]);
    json(&other, &["server", "join", "--id", server]);
    let sent = json(&other, &["send", channel, "spam"]);
    let message = text(&sent["id"]);
    let report = ann(&["report", "create", server, channel, message, "Spam"]);
    let listed = ann(&["report", "list", server, "--state", "open"]);
    assert!(
        listed.starts_with(&report) && listed.contains(message),
        "{listed}"
    );
    let slow = ann(&["channel", "slow-mode", channel, "600"]);
    assert_eq!(slow, "600 s between two messages of a user");
    let early = refused(&["send", channel, "more"]);
    assert!(early.contains("SLOW_MODE"), "{early}");
    let timed_out = ["member", "timeout", server, &bob, "600", "--reason", "Spam"];
    assert_eq!(ann(&timed_out), "timed out");
    let silent = refused(&["send", channel, "more"]);
    assert!(silent.contains("TIMED_OUT"), "{silent}");
    assert_eq!(ann(&["member", "timeout", server, &bob, "0"]), "lifted");
    let purged = ann(&["member", "purge", server, &bob, "600"]);
    assert_eq!(purged, "deleted 1 messages");
    let closed = ann(&["report", "resolve", server, &report, "--note", "Gone"]);
    assert_eq!(closed, "resolved");
    assert_eq!(ann(&["member", "kick", server, &bob]), "kicked");
    let banned = ["member", "ban", server, &bob, "--delete-messages", "600"];
    assert_eq!(ann(&banned), "banned");
    assert_eq!(ann(&["member", "unban", server, &bob]), "unbanned");
    let log = ann(&["audit", server]);
    let actions = [
        "user-unbanned",
        "user-banned",
        "member-kicked",
        "report-resolved",
        "messages-bulk-deleted",
        "member-timed-out",
        "member-timed-out",
        "channel-updated",
    ];
    assert_eq!(log.lines().count(), actions.len(), "{log}");
    for (line, action) in log.lines().zip(actions) {
        assert!(line.contains(action), "{action}: {line}");
    }
    let some = [
        "audit",
        server,
        "--action",
        "member-timed-out",
        "--limit",
        "1",
    ];
    let entry = json(&machine, &some);
    assert_eq!(entry["action"], "AUDIT_ACTION_MEMBER_TIMED_OUT", "{entry}");
}
