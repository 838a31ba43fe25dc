//! The contract suite on real servers, and what is this backend's alone.

use super::{Postgres, PostgresSettings};
use crate::clock::{Clock, SystemClock};
use crate::store::cql::{Cql, CqlSettings, Replication};
use crate::store::suite::*;
use crate::store::{Error, Handle, Relay, Upkeep};
use sqlx::{ConnectOptions, Connection, Executor};
use std::sync::Arc;
use std::time::Duration;

mod faults;
mod moving;
mod nodes;
mod widths;
mod workers;

/// An address of the environment, as `make stack-up` tells it.
pub(super) fn address(name: &str) -> String {
    let hint = "; run make stack-up, and eval \"$(tools/stack.sh env)\"";
    std::env::var(name).unwrap_or_else(|_| panic!("{name} isn't set{hint}"))
}

/// A schema of its own in Postgres, and a part of its own of the shared keyspace.
pub(super) struct Schema {
    name: String,
    salt: i64,
}

impl Schema {
    /// Postgres's address with the schema as its search path.
    pub(super) fn url(&self) -> String {
        let url = address("CHIRM_TEST_POSTGRES");
        let sign = if url.contains('?') { '&' } else { '?' };
        format!("{url}{sign}options=-csearch_path%3D{}", self.name)
    }

    pub(super) fn settings(&self) -> PostgresSettings {
        PostgresSettings {
            // Several tests run at once on one server.
            max_connections: 6,
            ..PostgresSettings::new(self.url())
        }
    }

    /// Makes the schema if it isn't there.
    pub(super) async fn make(&self) {
        // One after the other: Postgres may refuse two that make one schema at once.
        execute(format!(
            "BEGIN; SELECT pg_advisory_xact_lock({}); CREATE SCHEMA IF NOT EXISTS {}; COMMIT",
            self.salt, self.name
        ))
        .await;
    }

    pub(super) async fn messages(&self, clock: Arc<dyn Clock>) -> Cql {
        let settings = CqlSettings {
            keyspace: "chirm_test".into(),
            replication: Replication::Simple(1),
            single: true,
            timeout: Duration::from_secs(10),
            salt: self.salt,
            ..CqlSettings::new(vec![address("CHIRM_TEST_CQL")])
        };
        Cql::open(&settings, clock).await.unwrap()
    }

    pub(super) async fn store(&self, relay: Arc<dyn Relay>, clock: Arc<dyn Clock>) -> Postgres {
        self.make().await;
        let messages = self.messages(clock.clone()).await;
        let opened = Postgres::open(&self.settings(), messages, relay, clock).await;
        opened.unwrap()
    }
}

impl Place for Schema {
    fn fresh() -> Self {
        let random = rand::random::<u64>();
        Schema {
            name: format!("chirm_test_{random:016x}"),
            salt: rand::random(),
        }
    }

    async fn open(&self, relay: Arc<dyn Relay>, clock: Arc<dyn Clock>) -> Handle {
        Arc::new(self.store(relay, clock).await)
    }
}

impl Drop for Schema {
    /// What a test leaves behind when this fails does no harm.
    fn drop(&mut self) {
        let drop = format!(
            "SET lock_timeout = '2s'; SET client_min_messages = warning; \
             DROP SCHEMA IF EXISTS {} CASCADE",
            self.name
        );
        let work = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let execute = execute(drop);
            runtime.map(|runtime| runtime.block_on(execute))
        });
        if work.join().is_err() {
            eprintln!("the schema {} stays behind", self.name);
        }
    }
}

async fn execute(statements: String) {
    let options: sqlx::postgres::PgConnectOptions = address("CHIRM_TEST_POSTGRES").parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let statements = sqlx::AssertSqlSafe(statements);
    connection.execute(sqlx::raw_sql(statements)).await.unwrap();
    connection.close().await.unwrap();
}

mod suite {
    use super::Schema;
    contract_suite! {
        #[ignore = "needs the real servers: make stack-up"]
        Schema
    }
    use crate::store::suite::contract_suite;
}

async fn refusal(settings: &PostgresSettings) -> Error {
    let clock = Arc::new(SystemClock::default());
    let messages = Schema::fresh().messages(clock.clone()).await;
    let opened = Postgres::open(settings, messages, Arc::new(Recorder::default()), clock).await;
    let error = opened.err().unwrap();
    let password = address("CHIRM_TEST_POSTGRES");
    let password = password.split([':', '@']).nth(2).unwrap();
    for shown in [format!("{error} {error:?}"), format!("{settings:?}")] {
        assert!(!shown.contains(password), "a password is shown");
    }
    error
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn what_is_wrong_is_told_with_what_to_do() {
    let url = address("CHIRM_TEST_POSTGRES");
    let at = |url: String| async move { refusal(&PostgresSettings::new(url)).await };
    let place = url.split(['@', '/']).nth(3).unwrap();

    let error = at(url.replace(":p", ":x")).await;
    let says = |what| matches!(&error, Error::Unusable(text) if text.contains(what));
    assert!(says(place) && says("password"), "{error:?}");

    let error = at(format!("{url}-none")).await;
    let says = |what| matches!(&error, Error::Unusable(text) if text.contains(what));
    assert!(
        says(place) && says("CREATE DATABASE chirm-none"),
        "{error:?}"
    );

    let error = at(format!("{url}?options=-csearch_path%3Dnone")).await;
    let says = |what| matches!(&error, Error::Unusable(text) if text.contains(what));
    assert!(says(place) && says("search_path"), "{error:?}");

    let error = at(url.replace(place, "127.0.0.1:1")).await;
    let says = |what| matches!(&error, Error::Unavailable(text) if text.contains(what));
    assert!(
        says("127.0.0.1:1") && says("check that it runs"),
        "{error:?}"
    );

    // It takes connections, and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_at = silent.local_addr().unwrap().to_string();
    let impatient = PostgresSettings {
        connect_timeout: Duration::from_millis(100),
        ..PostgresSettings::new(url.replace(place, silent_at.as_str()))
    };
    let error = refusal(&impatient).await;
    let says = |what| matches!(&error, Error::Unavailable(text) if text.contains(what));
    assert!(
        says(silent_at.as_str()) && says("doesn't answer"),
        "{error:?}"
    );
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_newer_and_a_foreign_schema_are_refused_with_advice() {
    let newer = Schema::fresh();
    let clock = Arc::new(SystemClock::default());
    let store = newer.store(Arc::new(Recorder::default()), clock).await;
    store.close().await;
    execute(format!(
        "INSERT INTO {}.chirm_schema VALUES (77)",
        newer.name
    ))
    .await;
    let error = refusal(&newer.settings()).await;
    let says = |what| matches!(&error, Error::Unusable(text) if text.contains(what));
    assert!(says("version 77") && says("newer server"), "{error:?}");

    let foreign = Schema::fresh();
    foreign.make().await;
    execute(format!("CREATE TABLE {}.users (a int)", foreign.name)).await;
    let error = refusal(&foreign.settings()).await;
    let says = |what| matches!(&error, Error::Unusable(text) if text.contains(what));
    assert!(says("another program"), "{error:?}");
}

/// All nodes of a cluster may start at once on an empty schema.
#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn of_many_that_start_at_once_one_migrates() {
    let schema = Schema::fresh();
    let clock = Arc::new(SystemClock::default());
    let open = || schema.store(Arc::new(Recorder::default()), clock.clone());
    let stores = tokio::join!(open(), open(), open());
    let epoch = stores.0.epoch;
    for store in [stores.0, stores.1, stores.2] {
        store.check().await.unwrap();
        assert_eq!(store.epoch, epoch);
        store.close().await;
    }
}
