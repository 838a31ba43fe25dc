//! Writing to others directly, and what is unread.

use super::{Machine, Server, text};
use serde_json::Value;

fn register(machine: &Machine, server: &Server, name: &str) -> String {
    let arguments = ["user", "register", name, "--json", "--server", &server.url];
    let answer = machine.ok_with(&arguments, "correct horse battery");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    text(&answer["user"]["id"]).to_owned()
}

#[test]
fn two_write_to_each_other_and_read_it() {
    let (ann, bob) = (Machine::new(), Machine::new());
    let server = ann.serve();
    let url = ["--server", server.url.as_str()];
    let ann_id = register(&ann, &server, "ann");
    register(&bob, &server, "bob");
    let sent = ann.json(&["dm", "bob", "Hello bob", "--json", url[0], url[1]]);
    let channel = text(&sent["channelId"]);
    let unread = bob.json(&["unread", "--json", url[0], url[1]]);
    assert_eq!(unread["readStates"][0]["channelId"], channel);
    assert_eq!(unread["readStates"][0]["lastMessageId"], sent["id"]);
    let people = bob.ok(&["unread", url[0], url[1]]);
    assert!(people.contains("ann, bob"), "{people}");
    let none = ann.ok(&["unread", url[0], url[1]]);
    assert_eq!(none.trim(), "nothing unread");
    let read = bob.ok(&["ack", channel, url[0], url[1]]);
    assert_eq!(read.trim(), format!("read up to {}", text(&sent["id"])));
    let none = bob.ok(&["unread", url[0], url[1]]);
    assert_eq!(none.trim(), "nothing unread");
    // By id it is the same channel, and so it is by a name that looks the same.
    for word in [ann_id.as_str(), "ann", "@Ann"] {
        let again = bob.json(&["dm", word, "Hi", "--json", url[0], url[1]]);
        assert_eq!(text(&again["channelId"]), channel, "{word}");
    }
    let second = bob.json(&["dm", "ann", "and more", "--json", url[0], url[1]]);
    let history = ann.ok(&["history", channel, "--json", url[0], url[1]]);
    let first: Value = serde_json::from_str(history.lines().nth(1).expect("a line")).unwrap();
    let half = ann.json(&["ack", channel, text(&first["id"]), "--json", url[0], url[1]]);
    assert_eq!(half["lastReadId"], first["id"]);
    assert_eq!(half["lastMessageId"], second["id"]);
    let error = bob.error(&["dm", "nobody-here", "?", url[0], url[1]]);
    assert!(error.contains("NOT_FOUND"), "{error}");
}

#[test]
fn a_direct_channel_is_followed_and_a_setting_shuts_it() {
    use std::io::{BufRead as _, BufReader};
    let (ann, bob) = (Machine::new(), Machine::new());
    let server = ann.serve();
    let url = ["--server", server.url.as_str()];
    register(&ann, &server, "ann");
    register(&bob, &server, "bob");
    let follow = ["dm", "ann", "--count", "1", "--json", url[0], url[1]];
    let mut child = bob.bounded(&follow).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        said.any(|line| line.unwrap().starts_with("connected")),
        "it ended too early"
    );
    ann.ok(&["dm", "bob", "are you there?", url[0], url[1]]);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let heard: Value = serde_json::from_slice(&output.stdout).expect("a message");
    assert_eq!(heard["content"], "are you there?");
    let set = bob.ok(&["user", "settings", "--direct", "nobody", url[0], url[1]]);
    assert!(set.contains("nobody"), "{set}");
    let error = ann.error(&["dm", "bob", "?", url[0], url[1]]);
    assert!(error.contains("DIRECT_REFUSED"), "{error}");
    let shown = bob.ok(&["user", "settings", url[0], url[1]]);
    assert_eq!(shown, set);
}
