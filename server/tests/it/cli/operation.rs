//! Keys, backups, settings.

use super::{Machine, text, utf8};

#[test]
fn a_key_is_made_before_a_server_runs_and_beside_it() {
    let machine = Machine::new();
    let data = machine.data();
    let first = machine.json(&[
        "key", "create", "--data", &data, "--scope", "admin", "--name", "a", "--json",
    ]);
    assert!(text(&first["token"]).starts_with("k1."), "{first}");
    let _server = machine.serve();
    let token = machine.ok(&["key", "create", "--data", &data, "--name", "b"]);
    assert!(token.starts_with("k1."), "{token}");
    let keys = machine.json(&["key", "list", "--data", &data, "--json"]);
    let names: Vec<_> = keys["keys"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|k| &k["name"])
        .collect();
    assert_eq!(names, ["b", "a"], "newest first");
}

#[test]
fn a_revoked_key_is_gone() {
    let machine = Machine::new();
    let data = machine.data();
    let made = machine.json(&["key", "create", "--data", &data, "--json"]);
    let id = text(&made["key"]["id"]);
    machine.ok(&["key", "revoke", "--data", &data, id]);
    assert!(
        machine
            .ok(&["key", "list", "--data", &data])
            .contains("no keys yet")
    );
    let error = machine.error(&["key", "revoke", "--data", &data, id]);
    assert!(error.contains("chirm key list"), "{error}");
}

#[test]
fn a_backup_is_restored() {
    let machine = Machine::new();
    let data = machine.data();
    let made = machine.json(&["key", "create", "--data", &data, "--json"]);
    let (file, restored) = (machine.path("copy.chirm"), machine.path("restored"));
    machine.ok(&["backup", "--data", &data, utf8(&file)]);
    let error = machine.error(&["backup", "--data", &data, utf8(&file)]);
    assert!(error.contains("exists"), "{error}");
    machine.ok(&["restore", utf8(&file), "--data", utf8(&restored)]);
    let keys = machine.json(&["key", "list", "--data", utf8(&restored), "--json"]);
    assert_eq!(keys["keys"][0]["id"], made["key"]["id"]);
    let error = machine.error(&["restore", utf8(&file), "--data", &data]);
    assert!(error.contains("another folder"), "{error}");
}

#[test]
fn an_export_is_imported() {
    use std::os::unix::fs::PermissionsExt as _;
    let machine = Machine::new();
    let data = machine.data();
    // On folders alone, also where the other tests run on servers.
    let run = |arguments: &[&str]| {
        let mut command = machine.command(arguments);
        let command = command.env_clear().env("HOME", machine.home.path());
        command.output().expect("the binary runs")
    };
    let ok = |arguments: &[&str]| super::printed(arguments, run(arguments));
    let error = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let made = json(ok(&["key", "create", "--data", &data, "--json"]));
    let (file, target) = (machine.path("move.export"), machine.path("moved"));
    let (file, target) = (utf8(&file), utf8(&target));
    let told = ok(&["export", "--data", &data, file]);
    assert!(told.contains("rows in 26 sections"), "{told}");
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let why = error(&["export", "--data", &data, file]);
    assert!(why.contains("exists"), "{why}");
    let why = error(&["export", "--data", target, "-"]);
    assert!(why.contains("no data of a server"), "{why}");
    let why = error(&["import", file]);
    assert!(why.contains("--data"), "{why}");

    // It goes on where it stopped; until then nobody works on it.
    let whole = std::fs::read(file).unwrap();
    let part = machine.path("part.export");
    std::fs::write(&part, &whole[..whole.len() / 2]).unwrap();
    let why = error(&["import", "--data", target, utf8(&part)]);
    assert!(why.contains("cut off"), "{why}");
    let why = error(&["key", "list", "--data", target]);
    assert!(why.contains("isn't finished"), "{why}");
    let imported = ok(&["import", "--data", target, file]);
    assert!(imported.contains("imported and verified"), "{imported}");
    let keys = json(ok(&["key", "list", "--data", target, "--json"]));
    assert_eq!(keys["keys"][0]["id"], made["key"]["id"]);
    let why = error(&["import", "--data", target, file]);
    assert!(why.contains("data of its own"), "{why}");
    let again = ok(&["export", "--data", target, "-"]);
    let ends = |text: &str| {
        let ends = text.lines().filter(|line| line.starts_with("{\"end\""));
        ends.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ends(&again), ends(std::str::from_utf8(&whole).unwrap()));
}

#[test]
fn a_backup_is_not_restored_under_the_log_of_an_earlier_server() {
    let machine = Machine::new();
    let data = machine.data();
    machine.ok(&["key", "create", "--data", &data]);
    let file = machine.path("copy.chirm");
    machine.ok(&["backup", "--data", &data, utf8(&file)]);
    // Someone moved the file away, but not what a killed server left beside it.
    let target = machine.path("restored");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("chirm.db-wal"), "left over").unwrap();
    let error = machine.error(&["restore", utf8(&file), "--data", utf8(&target)]);
    assert!(
        error.contains("chirm.db-wal") && error.contains("whole folder"),
        "{error}"
    );
    assert!(!target.join("chirm.db").exists(), "nothing was put there");
}

#[test]
fn a_folder_without_data_is_not_taken_for_a_server() {
    let machine = Machine::new();
    let data = machine.data();
    let error = machine.error(&["key", "list", "--data", &data]);
    assert!(error.contains("no data of a server"), "{error}");
    assert!(!machine.path("data").exists(), "nothing was made");
    let made = machine.run(&["key", "create", "--data", &data]);
    let said = String::from_utf8(made.stderr).unwrap();
    assert!(
        made.status.success() && said.contains("had no data"),
        "{said}"
    );
}

#[test]
fn a_backup_is_taken_beside_a_server() {
    let machine = Machine::new();
    let _server = machine.serve();
    let file = machine.path("copy.chirm");
    machine.ok(&["backup", "--data", &machine.data(), utf8(&file)]);
    machine.ok(&[
        "restore",
        utf8(&file),
        "--data",
        utf8(&machine.path("restored")),
    ]);
}

#[test]
fn keys_and_backups_go_by_the_listener_for_operators() {
    let machine = Machine::new();
    let data = machine.data();
    let made = machine.json(&[
        "key", "create", "--data", &data, "--scope", "admin", "--json",
    ]);
    let server = machine.serve();
    let url = server.admin.as_str();
    let operator = |arguments: &[&str]| {
        let output = machine
            .command(arguments)
            .env("CHIRM_TOKEN", text(&made["token"]))
            .output()
            .expect("the binary runs");
        super::printed(arguments, output)
    };
    let key = operator(&["key", "create", "--admin", url, "--name", "game"]);
    assert!(key.starts_with("k1."), "{key}");
    assert!(operator(&["key", "list", "--admin", url]).contains("game"));
    let file = machine.path("copy.chirm");
    operator(&["backup", "--admin", url, utf8(&file)]);
    let restored = machine.path("restored");
    machine.ok(&["restore", utf8(&file), "--data", utf8(&restored)]);
    let keys = machine.ok(&["key", "list", "--data", utf8(&restored)]);
    assert!(keys.contains("game"), "{keys}");
    let error = machine.error(&["key", "list", "--admin", url]);
    assert!(error.contains("CHIRM_TOKEN"), "{error}");
}

#[test]
fn what_is_no_backup_is_not_restored() {
    let machine = Machine::new();
    let (file, target) = (machine.path("note.txt"), machine.path("restored"));
    std::fs::write(&file, "not a database, but long enough to look at").unwrap();
    let error = machine.error(&["restore", utf8(&file), "--data", utf8(&target)]);
    assert!(error.contains("no backup"), "{error}");
    assert_eq!(
        std::fs::read_dir(target).unwrap().count(),
        0,
        "nothing of it stays"
    );
}

#[test]
fn settings_are_printed_as_they_hold() {
    let machine = Machine::new();
    let file = machine.path("chirm.toml");
    std::fs::write(&file, machine.ok(&["config", "--default"])).unwrap();
    let output = machine
        .command(&[
            "config",
            "--config",
            utf8(&file),
            "--listen",
            "127.0.0.1:1",
            "--json",
        ])
        .env("CHIRM__LIMITS__RING_EVENTS", "7")
        .output()
        .unwrap();
    let settings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(settings["listen"], "127.0.0.1:1");
    assert_eq!(settings["limits"]["ring_events"], 7);
}

#[test]
fn a_server_with_tls_is_reached_by_whoever_trusts_its_certificate() {
    let machine = Machine::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (machine.path("cert.pem"), machine.path("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let settings = machine.path("chirm.toml");
    let text = format!("[tls]\ncert = {cert:?}\nkey = {key:?}\n");
    std::fs::write(&settings, text).unwrap();
    let server = machine.serve_with(&["--config", utf8(&settings)]);
    let url = server.url.replace("127.0.0.1", "localhost");
    assert!(url.starts_with("https://"), "{url}");
    let key = machine.ok(&["key", "create", "--data", &machine.data()]);
    let create = |trusted: &std::path::Path| {
        machine
            .command(&["server", "create", "place", "--server", &url])
            .env("CHIRM_TOKEN", key.trim())
            .env("SSL_CERT_FILE", trusted)
            .output()
            .expect("the binary runs")
    };
    super::printed(&["server", "create"], create(&cert));
    // Another certificate: the connection is refused, and the error says why.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let stranger = machine.path("other.pem");
    std::fs::write(&stranger, other.cert.pem()).unwrap();
    let refused = create(&stranger);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && said.contains("certificate"),
        "{said}"
    );
}
