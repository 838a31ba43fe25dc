//! What README's tour does.

use super::{Machine, Server, text};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;

/// Signs a user up: later commands of the machine are its.
pub(super) fn register(machine: &Machine, server: &Server, name: &str) -> Value {
    let arguments = ["user", "register", name, "--json", "--server", &server.url];
    let answer = machine.ok_with(&arguments, "correct horse battery");
    serde_json::from_str(&answer).expect("JSON")
}

fn lines(json: &str) -> Vec<Value> {
    json.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn contents(messages: &[Value]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| text(&message["content"]))
        .collect()
}

#[test]
fn a_user_a_server_a_channel_and_a_first_message() {
    let machine = Machine::new();
    let server = machine.serve();
    let url = ["--server", server.url.as_str()];
    let user = register(&machine, &server, "ann")["user"].clone();
    let kept = machine.path(".config/chirm/credentials.json");
    assert_eq!(
        std::fs::metadata(kept).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        machine.json(&["user", "show", "--json", url[0], url[1]]),
        user
    );

    let made = machine.json(&["server", "create", "Ann's place", "--json", url[0], url[1]]);
    let (place, general) = (text(&made["server"]["id"]), text(&made["generalChannelId"]));
    let other = machine.json(&["channel", "create", place, "news", "--json", url[0], url[1]]);
    let listed = machine.json(&["channel", "list", place, "--json", url[0], url[1]]);
    assert_eq!(listed["channels"].as_array().map(Vec::len), Some(2));

    let first = machine.json(&["send", general, "Hello", "--json", url[0], url[1]]);
    let id = text(&first["id"]);
    machine.ok(&[
        "send",
        general,
        "Hello yourself",
        "--reply-to",
        id,
        url[0],
        url[1],
    ]);
    machine.ok_with(&["send", general, url[0], url[1]], "by standard input");
    machine.ok(&[
        "send",
        text(&other["channel"]["id"]),
        "elsewhere",
        url[0],
        url[1],
    ]);

    let history = lines(&machine.ok(&["history", general, "--json", url[0], url[1]]));
    assert_eq!(
        contents(&history),
        ["Hello", "Hello yourself", "by standard input"]
    );
    assert_eq!(history[1]["replyTo"], first["id"]);
    let after = [
        "history", general, "--after", id, "--limit", "1", "--json", url[0], url[1],
    ];
    assert_eq!(contents(&lines(&machine.ok(&after))), ["Hello yourself"]);
    let people = machine.ok(&["history", general, url[0], url[1]]);
    assert!(people.contains("ann: Hello"), "{people}");
    let members = machine.ok(&["server", "members", place, url[0], url[1]]);
    assert!(members.contains("owner"), "{members}");
}

#[test]
fn sending_under_the_same_nonce_is_one_message() {
    let machine = Machine::new();
    let server = machine.serve();
    let url = ["--server", server.url.as_str()];
    register(&machine, &server, "ann");
    let made = machine.json(&["server", "create", "place", "--json", url[0], url[1]]);
    let general = text(&made["generalChannelId"]);
    let nonce = "01890a5d-ac96-774b-bcce-b302099a8057";
    let send = ["send", general, "once", "--nonce", nonce, url[0], url[1]];
    assert_eq!(machine.ok(&send), machine.ok(&send));
    let history = machine.ok(&["history", general, "--all", "--json", url[0], url[1]]);
    assert_eq!(history.lines().count(), 1);
}

#[test]
fn tail_follows_a_channel() {
    let machine = Machine::new();
    let server = machine.serve();
    let url = ["--server", server.url.as_str()];
    register(&machine, &server, "ann");
    let made = machine.json(&["server", "create", "place", "--json", url[0], url[1]]);
    let general = text(&made["generalChannelId"]);
    let tail = ["tail", general, "--count", "2", "--json", url[0], url[1]];
    let mut child = machine.bounded(&tail).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        said.any(|line| line.unwrap().starts_with("connected")),
        "it ended too early"
    );
    machine.ok(&["send", general, "one", url[0], url[1]]);
    machine.ok(&["send", general, "two", url[0], url[1]]);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let heard = lines(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(contents(&heard), ["one", "two"]);
}

#[test]
fn tail_renews_the_tokens_that_are_kept() {
    let machine = Machine::new();
    let server = machine.serve_by(&["env", "CHIRM__AUTH__ACCESS_TTL_S=1"], &[]);
    let url = ["--server", server.url.as_str()];
    register(&machine, &server, "ann");
    let made = machine.json(&["server", "create", "place", "--json", url[0], url[1]]);
    let general = text(&made["generalChannelId"]);
    let kept = || std::fs::read_to_string(machine.path(".config/chirm/credentials.json"));
    let mut child = machine
        .bounded(&["tail", general, "--count", "1", url[0], url[1]])
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().starts_with("connected")));
    // From here on nobody but the tail can change them, until it is answered.
    let before = kept().unwrap();
    while kept().unwrap() == before {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // Another command shares the session, and spends the tail's tokens.
    machine.ok(&["send", general, "later", url[0], url[1]]);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let heard = String::from_utf8(output.stdout).unwrap();
    assert!(heard.contains(": later"), "{heard}");
}

#[test]
fn another_joins_by_an_invitation() {
    let (ann, bob) = (Machine::new(), Machine::new());
    let server = ann.serve();
    let url = ["--server", server.url.as_str()];
    register(&ann, &server, "ann");
    register(&bob, &server, "bob");
    let made = ann.json(&["server", "create", "place", "--json", url[0], url[1]]);
    let (place, general) = (text(&made["server"]["id"]), text(&made["generalChannelId"]));
    let error = bob.error(&["send", general, "let me in", url[0], url[1]]);
    assert!(
        error.contains("NOT_FOUND"),
        "hidden and absent are the same: {error}"
    );
    let code = ann.ok(&["server", "invite", place, url[0], url[1]]);
    bob.ok(&["server", "join", code.trim(), url[0], url[1]]);
    bob.ok(&["send", general, "thanks", url[0], url[1]]);
    bob.ok(&["server", "leave", place, url[0], url[1]]);
    bob.error(&["history", general, url[0], url[1]]);
}

#[test]
fn signing_out_and_in_again() {
    let machine = Machine::new();
    let server = machine.serve();
    let url = ["--server", server.url.as_str()];
    register(&machine, &server, "ann");
    machine.ok(&["user", "logout", url[0], url[1]]);
    machine.error(&["user", "show", url[0], url[1]]);
    machine.ok_with(
        &["user", "login", "ann", url[0], url[1]],
        "correct horse battery",
    );
    assert!(
        machine
            .ok(&["user", "show", url[0], url[1]])
            .contains("ann")
    );
}

#[test]
fn a_back_end_writes_by_its_key() {
    let machine = Machine::new();
    let server = machine.serve();
    let key = machine.ok(&["key", "create", "--data", &machine.data(), "--name", "game"]);
    let as_key = |arguments: &[&str]| {
        let mut command = machine.command(arguments);
        command
            .env("CHIRM_TOKEN", key.trim())
            .env("CHIRM_SERVER", &server.url);
        super::printed(arguments, command.output().unwrap())
    };
    let made = as_key(&["server", "create", "Match 1", "--json"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    as_key(&["send", text(&made["generalChannelId"]), "Round one"]);
    let bot = as_key(&["user", "show"]);
    assert!(bot.contains("game") && bot.contains("bot"), "{bot}");
}

#[test]
fn reactions_and_pins_are_set_shown_and_followed() {
    let machine = Machine::new();
    let server = machine.serve();
    let url = ["--server", server.url.as_str()];
    register(&machine, &server, "ann");
    let made = machine.json(&["server", "create", "place", "--json", url[0], url[1]]);
    let general = text(&made["generalChannelId"]);
    let first = machine.json(&["send", general, "Hello", "--json", url[0], url[1]]);
    let id = text(&first["id"]);
    let tail = ["tail", general, "--count", "1", url[0], url[1]];
    let mut child = machine.bounded(&tail).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().starts_with("connected")));

    let react = ["react", general, id, ":wave:", "--json", url[0], url[1]];
    for _ in 0..2 {
        let reaction = machine.json(&react);
        assert_eq!(reaction["count"], 1);
        assert_eq!(reaction["own"], true);
    }
    assert_eq!(
        machine.ok(&["pin", general, id, url[0], url[1]]),
        "pinned\n"
    );
    let shown = machine.ok(&["history", general, url[0], url[1]]);
    assert!(shown.contains("ann: Hello (pinned) [:wave: 1*]"), "{shown}");
    let pins = machine.ok(&["pins", general, url[0], url[1]]);
    assert!(pins.contains("ann: Hello (pinned)"), "{pins}");
    let pins = lines(&machine.ok(&["pins", general, "--json", url[0], url[1]]));
    assert_eq!(pins[0]["message"]["id"], first["id"]);
    let remove = ["react", general, id, ":wave:", "--remove", url[0], url[1]];
    assert_eq!(machine.ok(&remove), ":wave: 0\n");
    machine.ok(&["pin", general, id, "--remove", url[0], url[1]]);
    assert_eq!(machine.ok(&["pins", general, "--json", url[0], url[1]]), "");
    let shown = machine.ok(&["history", general, url[0], url[1]]);
    assert!(shown.ends_with("ann: Hello\n"), "{shown}");
    machine.ok(&["send", general, "the end", url[0], url[1]]);

    let output = child.wait_with_output().unwrap();
    let heard = String::from_utf8(output.stdout).unwrap();
    let deeds: Vec<_> = heard.lines().filter(|line| line.starts_with(id)).collect();
    let expected = [
        "(ann reacted :wave:: 1)",
        "(ann pinned it)",
        "(ann no longer reacts :wave:: 0)",
        "(ann unpinned it)",
    ];
    assert_eq!(
        deeds,
        expected.map(|deed| format!("{id}  {deed}")),
        "{heard}"
    );
    let error = machine.error(&["react", general, id, "two words", url[0], url[1]]);
    assert!(
        error.contains("emoji") && error.contains("FIELD_INVALID"),
        "{error}"
    );
}
