//! From file to file, from a file that isn't whole, and into what isn't empty. From a file to
//! servers and back: with the tests of Postgres.

mod world;

pub(in crate::store) use world::{fill, goes_on, see};

use super::format::{FORMAT, Header, Writer};
use super::tables::{LEFT_OUT, TABLES};
use super::{Error, Mark, Place, Progress, Sum, export, import};
use crate::clock::{Clock as _, ManualClock, SystemClock};
use crate::model::{Id, Message, Position, TopicKey};
use crate::store::suite::Recorder;
use crate::store::{Handle, Upkeep as _, sqlite::Sqlite};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Hears nothing.
pub(in crate::store) struct Quiet;

impl Progress for Quiet {
    fn told(&mut self, _: &'static str, _: u64, _: u64) {}
}

/// The time that the messages of a world lead up to.
pub(in crate::store) fn now() -> i64 {
    SystemClock::default().wall_ms()
}

pub(in crate::store) struct Folder(tempfile::TempDir);

impl Folder {
    pub(in crate::store) fn fresh() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub(in crate::store) fn file(&self) -> PathBuf {
        self.0.path().join("data/chirm.db")
    }

    pub(in crate::store) async fn store(&self, now: i64) -> Handle {
        let clock = Arc::new(ManualClock::new(now));
        let relay = Arc::new(Recorder::default());
        Arc::new(
            Sqlite::open_with_clock(&self.file(), relay, clock)
                .await
                .unwrap(),
        )
    }

    pub(in crate::store) async fn filled(now: i64) -> (Folder, Position) {
        let folder = Folder::fresh();
        let store = folder.store(now).await;
        fill(&store, now).await;
        let position = store.topic_position(TopicKey::user(3)).await.unwrap();
        assert!(position.seq > 0);
        store.close().await;
        (folder, position)
    }

    pub(in crate::store) async fn exported(&self) -> (Vec<u8>, Vec<Sum>) {
        exported(Sqlite::open_to_export(&self.file()).await.unwrap()).await
    }

    async fn import(&self, file: &[u8]) -> Result<Vec<Sum>, Error> {
        imported(Sqlite::open_to_import(&self.file()).await?, file).await
    }
}

pub(in crate::store) async fn exported(mut place: Box<dyn Place>) -> (Vec<u8>, Vec<Sum>) {
    let mut file = Vec::new();
    let sums = export(place.as_mut(), &mut file, 5, &mut Quiet)
        .await
        .unwrap();
    place.close().await.unwrap();
    (file, sums)
}

pub(in crate::store) async fn imported(
    mut place: Box<dyn Place>,
    file: &[u8],
) -> Result<Vec<Sum>, Error> {
    let sums = import(place.as_mut(), file, &mut Quiet).await;
    place.close().await.unwrap();
    sums
}

async fn refused(file: &[u8], why: &str) {
    let target = Folder::fresh();
    let error = target.import(file).await.unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
    // Whatever was written of it, nobody takes it for a deployment.
    if let Err(error) = open(&target.file()).await {
        assert!(error.contains("isn't finished"), "{error}");
    }
}

async fn open(file: &Path) -> Result<(), String> {
    let opened = Sqlite::open(file, Arc::new(Recorder::default())).await;
    match opened {
        Ok(store) => {
            store.close().await;
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn lines(file: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(file).unwrap();
    text.split_inclusive('\n').map(str::to_owned).collect()
}

#[tokio::test]
async fn what_moves_is_as_it_was_and_goes_on() {
    let now = now();
    let (source, old) = Folder::filled(now).await;
    let (file, sums) = source.exported().await;
    for (table, sum) in TABLES.iter().zip(&sums) {
        assert!(sum.rows > 0, "nothing is in {}", table.name);
    }
    let target = Folder::fresh();
    assert_eq!(target.import(&file).await.unwrap(), sums);
    assert_eq!(target.exported().await.1, sums);
    let (before, after) = (source.store(now).await, target.store(now).await);
    assert_eq!(see(&after, now).await, see(&before, now).await);
    goes_on(&after, now, old).await;
    before.close().await;
    after.close().await;
}

#[tokio::test]
async fn an_import_that_broke_off_goes_on() {
    let now = now();
    let (source, _) = Folder::filled(now).await;
    let (file, sums) = source.exported().await;
    let target = Folder::fresh();
    let mut places: Vec<Mark> = Vec::new();
    for tenths in [2, 4, 4, 7, 9] {
        let part = &file[..file.len() / 10 * tenths];
        let error = target.import(part).await.unwrap_err().to_string();
        assert!(error.contains("cut off"), "{error}");
        let error = open(&target.file()).await.unwrap_err();
        assert!(error.contains("isn't finished"), "{error}");
        let beside = Sqlite::open_beside(&target.file()).await;
        assert!(beside.is_err(), "a command works on half of the data");
        let mut place = Sqlite::open_to_import(&target.file()).await.unwrap();
        places.push(place.mark().await.unwrap().unwrap());
        place.close().await.unwrap();
    }
    let progress: Vec<_> = places
        .iter()
        .map(|mark| (mark.section, mark.rows))
        .collect();
    assert!(
        progress.is_sorted() && progress[0] < progress[1],
        "{progress:?}"
    );
    assert_eq!(progress[1], progress[2]);
    // Another export of the same data isn't the same file.
    let (other, _) = source.exported().await;
    let error = target.import(&other).await.unwrap_err().to_string();
    assert!(error.contains("another file"), "{error}");
    assert_eq!(target.import(&file).await.unwrap(), sums);
    assert_eq!(target.exported().await.1, sums);
    // And then it is somebody's data.
    let error = target.import(&file).await.unwrap_err().to_string();
    assert!(error.contains("data of its own"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_whole_is_refused() {
    let (source, _) = Folder::filled(now()).await;
    let (file, _) = source.exported().await;
    let lines = lines(&file);
    let section = |name: &str| {
        let begin = format!("{{\"section\":\"{name}\"");
        lines
            .iter()
            .position(|line| line.starts_with(&begin))
            .unwrap()
    };
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        lines.concat().into_bytes()
    };
    refused(b"", "cut off").await;
    refused(b"SQLite format 3\n", "no export").await;
    let newer = with(&|l| l[0] = l[0].replace("\"format\":1", "\"format\":2"));
    refused(&newer, "has format 2").await;
    let (users, blocks) = (section("users"), section("blocks"));
    let renamed = with(&|l| l[users + 1] = l[users + 1].replace("User1", "Root1"));
    refused(&renamed, "the section users is damaged").await;
    let lost = with(&|l| drop(l.remove(users + 1)));
    refused(&lost, "the section users is damaged").await;
    let twice = with(&|l| {
        let again: Vec<String> = l[users..blocks].to_vec();
        l.splice(blocks..blocks, again).for_each(drop);
    });
    refused(&twice, "the section users begins here, where blocks must").await;
    let left_out = with(&|l| l.drain(users..blocks).for_each(drop));
    refused(&left_out, "where users must").await;
    let column = with(&|l| l[users] = l[users].replace("\"bot\"", "\"robot\""));
    refused(&column, "has other columns").await;
    let kind = with(&|l| l[users + 1] = l[users + 1].replacen('1', "\"1\"", 1));
    refused(&kind, "no row of users").await;
    let more = with(&|l| l.push("{}\n".into()));
    refused(&more, "something follows").await;
    let cut = with(&|l| drop(l.pop()));
    refused(&cut, "cut off").await;
    let total = with(&|l| {
        let last = l.last_mut().unwrap();
        *last = last.replace("\"rows\":", "\"rows\":1");
    });
    refused(&total, "totals").await;
    let long = with(&|l| l.insert(users + 1, format!("[{}\n", "1".repeat(9 << 20))));
    refused(&long, "longer than").await;
}

/// A file of one table's rows, whole.
async fn file_of(name: &str, rows: &[super::Row]) -> Vec<u8> {
    let header = Header {
        chirm: "export".into(),
        format: FORMAT,
        version: String::new(),
        id: 7,
        exported_at: 0,
    };
    let mut file = Vec::new();
    let mut writer = Writer::begin(&mut file, &header).await.unwrap();
    for table in TABLES {
        writer.section(table).await.unwrap();
        for row in rows.iter().filter(|_| table.name == name) {
            writer.row(row).await.unwrap();
        }
        for row in super::row::counters_of([0; 4])
            .iter()
            .filter(|_| table.is_meta())
        {
            writer.row(row).await.unwrap();
        }
        writer.end(table).await.unwrap();
    }
    writer.done().await.unwrap();
    file
}

#[tokio::test]
async fn what_is_read_again_is_held_against_the_file() {
    let row = vec![super::Value::Int(1), super::Value::Int(2)];
    let target = Folder::fresh();
    let sums = target
        .import(&file_of("blocks", std::slice::from_ref(&row)).await)
        .await;
    assert_eq!(sums.unwrap().iter().map(|sum| sum.rows).sum::<u64>(), 5);
    let twice = file_of("blocks", &[row.clone(), row]).await;
    refused(&twice, "blocks isn't as it was in the file: 1 rows").await;
}

/// Elsewhere a nonce names one message for a day, here for as long as the message is there.
#[tokio::test]
async fn a_nonce_that_was_used_again_moves_with_both() {
    let now = now();
    let (source, _) = Folder::filled(now).await;
    let (file, _) = source.exported().await;
    let nonce = world::sent(now, 1).nonce;
    let quoted = serde_json::to_string(&nonce).unwrap();
    let again = world::sent(now, world::MESSAGES - 3);
    assert_eq!(again.author_id, world::sent(now, 1).author_id);
    let changed: Vec<String> = lines(&file)
        .into_iter()
        .map(
            |line| match line.starts_with(&format!("[11,{},", again.id)) {
                true => line.replace(&serde_json::to_string(&again.nonce).unwrap(), &quoted),
                false => line,
            },
        )
        .collect();
    let file = summed(&changed).await;
    let target = Folder::fresh();
    let sums = target.import(&file).await.unwrap();
    assert_eq!(target.exported().await.1, sums);
    let store = target.store(now).await;
    let get = async |number| store.get(world::CHANNEL, world::id(now, number)).await;
    assert_eq!(get(1).await.unwrap().unwrap().nonce, nonce);
    let newer = get(world::MESSAGES - 3).await.unwrap().unwrap();
    assert_eq!(newer.nonce, nonce);
    let found = store.by_nonce(world::CHANNEL, newer.author_id, nonce).await;
    assert_eq!(found.unwrap().unwrap().id, newer.id);
    store.close().await;
}

/// The lines of a file with the sums that they should have.
async fn summed(lines: &[String]) -> Vec<u8> {
    let header: Header = serde_json::from_str(&lines[0]).unwrap();
    let mut file = Vec::new();
    let mut writer = Writer::begin(&mut file, &header).await.unwrap();
    let mut rows = lines
        .iter()
        .skip(1)
        .filter(|line| !line.starts_with("{\"section"));
    for table in TABLES {
        writer.section(table).await.unwrap();
        for line in rows.by_ref().take_while(|line| !line.starts_with("{\"end")) {
            let row = super::row::read_line(table, line.as_bytes()).unwrap();
            writer.row(&row).await.unwrap();
        }
        writer.end(table).await.unwrap();
    }
    writer.done().await.unwrap();
    file
}

#[tokio::test]
async fn a_store_in_use_and_one_with_data_are_refused() {
    let now = now();
    let (source, _) = Folder::filled(now).await;
    let (file, _) = source.exported().await;
    let store = source.store(now).await;
    for opened in [
        Sqlite::open_to_export(&source.file()).await,
        Sqlite::open_to_import(&source.file()).await,
    ] {
        let error = opened.err().unwrap().to_string();
        assert!(error.contains("in use"), "{error}");
    }
    store.close().await;
    let error = source.import(&file).await.unwrap_err().to_string();
    assert!(error.contains("something in users"), "{error}");
    // It is none the worse for it.
    open(&source.file()).await.unwrap();
}

/// Whether a column of a table moves or is left out for a reason.
pub(in crate::store) fn known(table: &str, column: &str) -> bool {
    let left_out = |name: &str| LEFT_OUT.iter().any(|(left, _)| *left == name);
    if left_out(table) || left_out(&format!("{table}.{column}")) {
        return true;
    }
    let moves = TABLES.iter().find(|moves| moves.name == table);
    moves.is_some_and(|moves| moves.names().any(|name| name == column))
}

/// Of the migrations' text: each table's columns, as far as they begin a line.
fn columns(migrations: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut table = String::new();
    for line in migrations.lines() {
        let words: Vec<&str> = line
            .trim()
            .trim_end_matches(';')
            .split_whitespace()
            .collect();
        match words.as_slice() {
            ["CREATE", "TABLE", "IF", "NOT", "EXISTS", name, ..]
            | ["CREATE", "TABLE", name, ..] => {
                table = name.trim_end_matches('(').to_owned();
                found.push((table.clone(), String::new()));
            }
            ["ALTER", "TABLE", name, "ADD", "COLUMN", column, ..] => {
                found.push(((*name).to_owned(), (*column).to_owned()));
            }
            ["PRIMARY" | "UNIQUE" | "--" | "CONSTRAINT", ..] | [] => {}
            [name, _, ..] if line.starts_with("    ") && !table.is_empty() => {
                found.push((table.clone(), (*name).to_owned()));
            }
            _ => table.clear(),
        }
    }
    found
}

#[test]
fn each_table_moves_or_is_left_out_for_a_reason() {
    assert!(known("users", "bot") && !known("users", "new") && !known("new", "id"));
    assert!(known("workers", "holder") && known("messages", "flags"));
    let mut texts = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => texts += &std::fs::read_to_string(path).unwrap(),
            }
        }
    }
    let found = columns(&texts);
    assert!(found.len() > 250, "hardly any columns: {found:?}");
    for (table, column) in found {
        let there = match column.is_empty() {
            true => {
                TABLES.iter().any(|moves| moves.name == table)
                    || LEFT_OUT.iter().any(|(left, _)| *left == table)
            }
            false => known(&table, &column),
        };
        assert!(
            there,
            "{table}.{column} is of a migration, and neither moves nor is left out for a reason: \
             see store/moving/tables.rs"
        );
    }
    let reasons = LEFT_OUT.iter().all(|(_, reason)| reason.len() > 10);
    assert!(reasons, "each has its reason");
}
