//! Errors that say what to do.

use super::{HANGS_AFTER_S, Machine, utf8};
use crate::support::on_servers;
use std::net::TcpListener;

#[test]
fn a_port_in_use_is_named() {
    let machine = Machine::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = machine.error(&["serve", "--listen", &address, "--data", &machine.data()]);
    assert!(
        error.contains(&address) && error.contains("--listen"),
        "{error}"
    );
}

#[test]
fn a_data_folder_that_cannot_be_made_is_named() {
    let machine = Machine::new();
    // A file in its way stops every user, the one who may write everywhere too.
    let file = machine.path("file");
    std::fs::write(&file, "").unwrap();
    let data = file.join("data");
    let error = machine.error(&["serve", "--listen", "127.0.0.1:0", "--data", utf8(&data)]);
    assert!(error.contains(utf8(&data)), "{error}");
}

#[test]
fn a_folder_in_use_is_refused_to_a_second_server() {
    let machine = Machine::new();
    let _server = machine.serve();
    let error = machine.error(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        &machine.data(),
    ]);
    assert!(error.contains("in use by another process"), "{error}");
}

#[test]
fn a_newer_database_is_refused() {
    const USER_VERSION: std::ops::Range<usize> = 60..64;
    let machine = Machine::new();
    machine.ok(&["key", "create", "--data", &machine.data()]);
    let file = machine.path("data").join("chirm.db");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[USER_VERSION].copy_from_slice(&9_999_u32.to_be_bytes());
    std::fs::write(&file, &bytes).unwrap();
    let error = machine.error(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        &machine.data(),
    ]);
    assert!(
        error.contains("9999") && error.contains("newer server"),
        "{error}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), bytes, "nothing was changed");
}

#[test]
fn a_damaged_database_is_refused() {
    let machine = Machine::new();
    std::fs::create_dir(machine.path("data")).unwrap();
    std::fs::write(machine.path("data").join("chirm.db"), [7; 8192]).unwrap();
    let error = machine.error(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        &machine.data(),
    ]);
    assert!(
        error.contains("damaged") && error.contains("backup"),
        "{error}"
    );
}

#[test]
fn a_setting_that_does_not_exist_is_named() {
    let machine = Machine::new();
    let file = machine.path("chirm.toml");
    std::fs::write(&file, "[limits]\nring_evnts = 1\n").unwrap();
    let error = machine.error(&["serve", "--config", utf8(&file)]);
    assert!(error.contains("ring_evnts"), "{error}");
}

#[test]
fn who_is_not_signed_in_is_told_how() {
    let machine = Machine::new();
    let error = machine.error(&["user", "show"]);
    assert!(error.contains("chirm user register"), "{error}");
}

#[test]
fn a_server_that_is_not_there_is_said_so() {
    let machine = Machine::new();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{free}");
    let error = machine.error(&["send", "1", "hello", "--server", &url, "--token", "k1.1.x"]);
    assert!(error.contains("no server answers"), "{error}");
}

/// The error of a server of a cluster of which one setting is another.
fn error_of_a_part(machine: &Machine, name: &str, value: &str) -> String {
    let setting = format!("{name}={value}");
    let starters = ["timeout", HANGS_AFTER_S, "env", &setting];
    machine.error_by(&starters, &["serve", "--listen", "127.0.0.1:0"])
}

#[test]
#[ignore = "needs the real servers: make stack"]
fn each_part_of_a_cluster_that_cannot_be_used_is_named() {
    assert!(on_servers(), "CHIRM_TEST_ON isn't set");
    let machine = Machine::new();
    // Nobody listens there, and somebody who never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    for place in ["127.0.0.1:1", &silent] {
        let postgres = format!("postgres://chirm:sesame-7@{place}/chirm");
        let redis = format!("redis://chirm:sesame-7@{place}");
        for (part, variable, value) in [
            ("Postgres at", "CHIRM__POSTGRES__URL", postgres.as_str()),
            ("CQL: ", "CHIRM__CQL__NODES", place),
            ("Redis at", "CHIRM__REDIS__URLS", &redis),
        ] {
            let error = error_of_a_part(&machine, variable, value);
            let told = error.lines().filter(|line| line.contains(part));
            assert!(told.clone().any(|line| line.contains(place)), "{error}");
            assert!(!error.contains("sesame-7"), "a secret is shown: {error}");
        }
    }
}

#[test]
#[ignore = "needs the real servers: make stack"]
fn a_wrong_password_is_named_and_not_shown() {
    assert!(on_servers(), "CHIRM_TEST_ON isn't set");
    let machine = Machine::new();
    for part in ["POSTGRES", "REDIS"] {
        let right = std::env::var(format!("CHIRM_TEST_{part}")).unwrap();
        let (start, end) = right.split_once('@').expect("a password");
        let (start, _) = start.rsplit_once(':').expect("a password");
        let wrong = format!("{start}:sesame-7@{end}");
        let setting = if part == "REDIS" { "URLS" } else { "URL" };
        let name = format!("CHIRM__{part}__{setting}");
        let error = error_of_a_part(&machine, &name, &wrong);
        let word = if part == "REDIS" {
            "Redis at"
        } else {
            "Postgres at"
        };
        assert!(
            error.contains(word) && error.contains("password"),
            "{error}"
        );
        assert!(!error.contains("sesame-7"), "a secret is shown: {error}");
    }
}
