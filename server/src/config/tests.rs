//! Loading, precedence and refusals.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use super::*;

fn load(toml: &str, env: &[(&str, &str)], overrides: &[(&str, &str)]) -> Result<Config, Error> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    let env = env
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Config::from_sources(
        Some(file.path()),
        Some(env.collect::<HashMap<_, _>>()),
        overrides,
    )
}

fn refusal(toml: &str, env: &[(&str, &str)], overrides: &[(&str, &str)]) -> String {
    load(toml, env, overrides).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_those_of_the_protocol() {
    let config = Config::default();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7300");
    assert_eq!(config.auth.registration, Registration::Open);
    assert!(config.tls.is_none() && config.admin_listen.is_none());
    assert!(!config.auth.jwt.is_enabled());
    let limits = &config.limits;
    assert!(limits.enabled);
    assert_eq!(
        (limits.content_chars_max, limits.content_bytes_max),
        (4_000, 16 << 10)
    );
    assert_eq!(limits.name_chars_max, 100);
    assert_eq!(
        (limits.metadata_keys_max, limits.metadata_bytes_max),
        (16, 4 << 10)
    );
    assert_eq!(limits.custom_event_bytes_max, 4 << 10);
    assert_eq!(
        (limits.request_bytes_max, limits.header_bytes_max),
        (64 << 10, 8 << 10)
    );
    assert_eq!(
        (limits.identify_bytes_max, limits.positions_max),
        (256 << 10, 4_096)
    );
    assert_eq!(
        (
            limits.streams_per_connection,
            limits.requests_per_connection
        ),
        (128, 32)
    );
    assert_eq!(limits.calls, 4_096);
    assert_eq!((limits.local_error_resets, limits.pending_resets), (64, 20));
    let windows = (limits.stream_window_bytes, limits.connection_window_bytes);
    assert_eq!(windows, (64 << 10, 128 << 10));
    assert_eq!(
        (limits.outbound_queue_events, limits.outbound_queue_bytes),
        (256, 1 << 20)
    );
    assert_eq!(limits.client_frames_per_minute, 120);
    assert_eq!(
        (limits.sends_per_window, limits.send_window),
        (5, seconds(5))
    );
    let calls = (limits.calls_per_minute, limits.creates_per_minute);
    assert_eq!(calls, (1_200, 30));
    assert_eq!(limits.service_factor, 100);
    let server = (limits.channels_per_server, limits.members_per_server);
    assert_eq!((limits.servers_per_user, server), (200, (500, 100_000)));
    assert_eq!(
        (limits.sessions_per_user, limits.connections_per_address),
        (20, 50)
    );
    let ring = (limits.ring_events, limits.ring_bytes, limits.ring_age);
    assert_eq!(ring, (1_000, 1 << 20, seconds(600)));
}

#[test]
fn the_times_are_those_of_the_protocol() {
    let config = Config::default();
    let gateway = &config.gateway;
    assert_eq!(
        (gateway.heartbeat, gateway.deadline),
        (seconds(20), seconds(40))
    );
    assert_eq!(
        (gateway.grace, gateway.identify_deadline),
        (seconds(20), seconds(5))
    );
    assert_eq!(config.auth.access_ttl, seconds(60 * 60));
    assert_eq!(config.auth.refresh_ttl, seconds(30 * 24 * 60 * 60));
    let net = &config.net;
    assert_eq!(
        (net.detect_timeout, net.handshake_timeout),
        (seconds(5), seconds(5))
    );
    assert_eq!(
        (net.keepalive, net.keepalive_timeout),
        (seconds(25), seconds(10))
    );
    assert_eq!(net.answer_timeout, seconds(40));
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn flags_win_over_the_environment_over_the_file() {
    let toml = "[gateway]\nheartbeat_ms = 1\ndeadline_ms = 100\ngrace_ms = 5\n";
    let env = [
        ("CHIRM__GATEWAY__HEARTBEAT_MS", "2"),
        ("CHIRM__GATEWAY__DEADLINE_MS", "200"),
    ];
    let config = load(toml, &env, &[("gateway.heartbeat_ms", "3")]).unwrap();
    assert_eq!(config.gateway.heartbeat, Duration::from_millis(3));
    assert_eq!(config.gateway.deadline, Duration::from_millis(200));
    assert_eq!(config.gateway.grace, Duration::from_millis(5));
}

#[test]
fn every_kind_of_value_can_come_from_the_environment() {
    let env = [
        ("CHIRM__DATA", "007"),
        ("CHIRM__LISTEN", "[::1]:0"),
        ("CHIRM__ADMIN_LISTEN", "127.0.0.1:0"),
        ("CHIRM__LIMITS__ENABLED", "false"),
        ("CHIRM__AUTH__REGISTRATION", "closed"),
        ("CHIRM__TLS__CERT", "/c"),
        ("CHIRM__TLS__KEY", "/k"),
        ("CHIRM_MUTATION", "is no setting"),
    ];
    let config = load("", &env, &[]).unwrap();
    assert_eq!(config.data, PathBuf::from("007"));
    assert_eq!(config.admin_listen.unwrap().to_string(), "127.0.0.1:0");
    assert!(!config.limits.enabled);
    assert_eq!(config.auth.registration, Registration::Closed);
    assert_eq!(
        config.tls,
        Some(Tls {
            cert: "/c".into(),
            key: "/k".into()
        })
    );
}

#[test]
fn dev_switches_the_limits_off() {
    assert!(!load("dev = true", &[], &[]).unwrap().limits.enabled);
    assert!(!load("", &[], &[("dev", "true")]).unwrap().limits.enabled);
}

#[test]
fn an_unknown_key_is_named() {
    for message in [
        refusal("lisen = \"127.0.0.1:1\"", &[], &[]),
        refusal("", &[("CHIRM__LISEN", "127.0.0.1:1")], &[]),
        refusal("[limits]\nlisen = 1", &[], &[]),
        refusal("", &[("CHIRM__GATEWAY__LISEN", "1")], &[]),
        refusal("", &[], &[("net.lisen", "1")]),
        refusal(
            "[[auth.jwt.keys]]\nkid = \"a\"\nalgorithm = \"ES256\"\nlisen = 1",
            &[],
            &[],
        ),
    ] {
        assert!(message.contains("lisen"), "{message}");
    }
}

#[test]
fn a_wrong_value_is_named() {
    for (toml, key) in [
        ("listen = \"here\"", "listen"),
        ("[gateway]\nheartbeat_ms = \"soon\"", "heartbeat_ms"),
        ("[gateway]\nheartbeat_ms = -1", "heartbeat_ms"),
        ("[gateway]\ndeadline_ms = 10", "deadline_ms"),
        ("[auth]\nregistration = \"maybe\"", "registration"),
        ("[tls]\ncert = \"/c\"", "key"),
        ("[limits]\nconnections = 0", "connections"),
        ("[limits]\nstream_window_bytes = 10", "stream_window_bytes"),
        ("[net]\nidle_timeout_ms = 0", "idle_timeout_ms"),
        ("[auth.jwt]\njwks_file = \"/j\"", "audience"),
    ] {
        let message = refusal(toml, &[], &[]);
        assert!(message.contains(key), "{toml}: {message}");
    }
}

#[test]
fn nats_stands_beside_a_cluster_and_is_told_who_asks_in_one_way() {
    let cluster = "postgres.url = \"p\"\ncql.nodes = [\"c\"]\nredis.urls = [\"r\"]\n";
    let urls = "nats.urls = [\"nats://n\"]\n";
    for (toml, key) in [
        (urls.to_owned(), "nats.urls: is set, but postgres.url"),
        (
            format!("{cluster}nats.user = \"u\""),
            "nats.user: is set, but nats.urls",
        ),
        (
            format!("{cluster}nats.token = \"t\""),
            "nats.token: is set, but nats.urls",
        ),
        (
            format!("{cluster}{urls}nats.password = \"p\""),
            "nats.password: is set, but nats.user",
        ),
        (
            format!("{cluster}{urls}nats.user = \"u\"\nnats.token = \"t\""),
            "nats.token: is set, and so is nats.user",
        ),
    ] {
        let message = refusal(&toml, &[], &[]);
        assert!(message.contains(key), "{toml}: {message}");
    }
    load(cluster, &[], &[]).unwrap();
    let from = [("CHIRM__NATS__URLS", "nats://a, tls://b")];
    let config = load(&format!("{cluster}nats.user = \"u\""), &from, &[]).unwrap();
    assert_eq!(config.nats.urls.len(), 2);
}

#[test]
fn operators_keys_cross_no_network_in_cleartext() {
    let listen = |at: &str| format!("admin_listen = \"{at}\"\n");
    let tls = "[tls]\ncert = \"/c\"\nkey = \"/k\"\n";
    for at in ["0.0.0.0:7399", "192.0.2.1:7399", "[::]:7399"] {
        let message = refusal(&listen(at), &[], &[]);
        assert!(message.contains("admin_listen"), "{message}");
        let config = load(&format!("{}{tls}", listen(at)), &[], &[]).unwrap();
        assert!(config.admin_has_tls(config.admin_listen.unwrap().ip()));
        load(&format!("dev = true\n{}", listen(at)), &[], &[]).unwrap();
    }
    for at in ["127.0.0.1:7399", "[::1]:7399", "[::ffff:127.0.0.1]:7399"] {
        load(&listen(at), &[], &[]).unwrap();
        let config = load(&format!("{}{tls}", listen(at)), &[], &[]).unwrap();
        assert!(!config.admin_has_tls(config.admin_listen.unwrap().ip()));
    }
}

#[test]
fn a_missing_file_is_an_error() {
    let path = Path::new("/nowhere/chirm.toml");
    let message = Config::from_sources(Some(path), Some(HashMap::new()), &[]).unwrap_err();
    assert!(
        message.to_string().contains("/nowhere/chirm.toml"),
        "{message}"
    );
}

#[test]
fn keys_are_checked_and_not_printed() {
    let key = "[[auth.jwt.keys]]\nkid = \"a\"\nalgorithm = \"HS256\"\n";
    let audience = "[auth.jwt]\naudience = \"game\"\n";
    let config = load(&format!("{audience}{key}key = \"hush\"\n"), &[], &[]).unwrap();
    assert_eq!(
        config.auth.jwt.keys[0].key.as_ref().unwrap().expose(),
        "hush"
    );
    assert!(!format!("{config:?}").contains("hush"));
    assert!(refusal(&format!("{audience}{key}"), &[], &[]).contains("key_file"));
    let twice = format!("{audience}{key}key = \"x\"\n{key}key = \"y\"\n");
    assert!(refusal(&twice, &[], &[]).contains("twice"));
}

#[test]
fn a_hook_needs_a_url_and_a_secret_and_is_not_waited_for_long() {
    let hook = "[hooks.pre_send]\nurl = 'http://127.0.0.1:1/'\n";
    let config = load(&format!("{hook}secret = 'whsec_x'"), &[], &[]).unwrap();
    let set = config.hooks.pre_send.as_ref().unwrap();
    assert_eq!(set.timeout, Duration::from_millis(150));
    assert_eq!((set.fail, set.concurrency), (HookFailure::Open, 64));
    assert!(!format!("{config:?}").contains("whsec_x"), "it is secret");
    assert!(Config::default().hooks.pre_send.is_none());
    for (more, key) in [
        ("", "hooks.pre_send.secret"),
        ("secret = 'x'\nsecret_file = 'y'", "hooks.pre_send.secret"),
        ("secret = 'x'\ntimeout_ms = 0", "hooks.pre_send.timeout_ms"),
        (
            "secret = 'x'\ntimeout_ms = 3001",
            "hooks.pre_send.timeout_ms",
        ),
        (
            "secret = 'x'\nconcurrency = 0",
            "hooks.pre_send.concurrency",
        ),
        ("secret = 'x'\nfail = 'ajar'", "ajar"),
    ] {
        let refused = refusal(&format!("{hook}{more}"), &[], &[]);
        assert!(refused.contains(key), "{more}: {refused}");
    }
}

#[test]
fn origins_stand_in_files_and_in_the_environment() {
    let of = |text: &str| Config::load(None, &[("browsers.allowed_origins", text)]);
    let listed = of("https://a.test, app://game").unwrap();
    assert_eq!(
        listed.browsers.allowed_origins,
        ["https://a.test", "app://game"]
    );
    assert!(Config::default().browsers.allowed_origins.is_empty());
    let wrong = of("a.test").unwrap_err().to_string();
    assert!(wrong.contains("browsers.allowed_origins"), "{wrong}");
    assert!(wrong.contains("no origin"), "{wrong}");
}

#[test]
fn a_port_by_itself_has_the_servers_defaults() {
    let config = Config::default();
    let listener = config.listener(false).unwrap();
    let own = format!("{:?}", chirm_net::Limits::default());
    assert_eq!(own, format!("{:?}", listener.limits));
    let own = format!("{:?}", chirm_net::Net::default());
    assert_eq!(own, format!("{:?}", config.net));
}

#[test]
fn where_traces_go_is_checked() {
    let defaults = Config::default();
    assert!(!defaults.tracing.is_enabled());
    for endpoint in ["http://collector:4317", "https://10.0.0.1:4317/"] {
        let config = load("", &[("CHIRM__TRACING__ENDPOINT", endpoint)], &[]).unwrap();
        assert!(config.tracing.is_enabled());
    }
    for endpoint in [
        "collector:4317",
        "localhost",
        "ftp://collector",
        "http://",
        "http://me:secret@collector",
        "http://collector/v1/traces",
        "not a url",
    ] {
        let message = refusal("", &[], &[("tracing.endpoint", endpoint)]);
        assert!(message.contains("tracing.endpoint"), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
    for ratio in ["-0.1", "1.5", "nan"] {
        let message = refusal("", &[], &[("tracing.ratio", ratio)]);
        assert!(message.contains("tracing.ratio"), "{message}");
    }
}
