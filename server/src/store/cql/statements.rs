//! The statements, prepared once.

use super::session::failure;
use crate::store::Error;
use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::session::Session;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

/// The columns of a message, without its key's first part.
const COLUMNS: &str = "message_id, author_id, nonce, content, reply_to, mentions, mention_groups, \
                       metadata, sent_hash, flags, revision, edited_at, deleted";

/// All of them are idempotent: each write names its time.
pub(super) struct Statements {
    // Messages.
    pub(super) insert: PreparedStatement,
    pub(super) edit: PreparedStatement,
    pub(super) delete: PreparedStatement,
    pub(super) seal: PreparedStatement,
    pub(super) mark: PreparedStatement,
    pub(super) get: PreparedStatement,
    pub(super) times: PreparedStatement,
    pub(super) among: PreparedStatement,
    pub(super) older: PreparedStatement,
    pub(super) newer: PreparedStatement,
    pub(super) authors_older: PreparedStatement,
    pub(super) authors_newer: PreparedStatement,
    pub(super) purge: PreparedStatement,
    // Nonces.
    pub(super) name: PreparedStatement,
    pub(super) named: PreparedStatement,
    // Buckets.
    pub(super) add_bucket: PreparedStatement,
    pub(super) buckets_older: PreparedStatement,
    pub(super) buckets_newer: PreparedStatement,
    pub(super) remove_bucket: PreparedStatement,
    pub(super) add_author: PreparedStatement,
    pub(super) of_author: PreparedStatement,
}

struct Preparing<'a> {
    session: &'a Session,
    keyspace: &'a str,
    consistency: Consistency,
    reads: ExecutionProfileHandle,
}

impl Preparing<'_> {
    /// `{k}` stands for the keyspace.
    async fn write(&self, statement: &str) -> Result<PreparedStatement, Error> {
        let statement = statement.replace("{k}", self.keyspace);
        let mut prepared = self.session.prepare(statement).await.map_err(failure)?;
        prepared.set_is_idempotent(true);
        prepared.set_consistency(self.consistency);
        Ok(prepared)
    }

    async fn read(&self, statement: &str) -> Result<PreparedStatement, Error> {
        let mut prepared = self.write(&statement.replace("{columns}", COLUMNS)).await?;
        prepared.set_use_cached_result_metadata(true);
        prepared.set_execution_profile_handle(Some(self.reads.clone()));
        Ok(prepared)
    }
}

impl Statements {
    pub(super) async fn prepare(
        session: &Session,
        keyspace: &str,
        consistency: Consistency,
        reads: ExecutionProfile,
    ) -> Result<Statements, Error> {
        let p = Preparing {
            session,
            keyspace,
            consistency,
            reads: reads.into_handle(),
        };
        Ok(Statements {
            insert: p.write(INSERT).await?,
            edit: p.write(EDIT).await?,
            delete: p.write(DELETE).await?,
            seal: p.write(SEAL).await?,
            mark: p.write(MARK).await?,
            get: p.read(GET).await?,
            times: p.read(TIMES).await?,
            among: p.read(AMONG).await?,
            older: p.read(OLDER).await?,
            newer: p.read(NEWER).await?,
            authors_older: p.read(AUTHORS_OLDER).await?,
            authors_newer: p.read(AUTHORS_NEWER).await?,
            purge: p.write(PURGE).await?,
            name: p.write(NAME).await?,
            named: p.read(NAMED).await?,
            add_bucket: p.write(ADD_BUCKET).await?,
            buckets_older: p.read(BUCKETS_OLDER).await?,
            buckets_newer: p.read(BUCKETS_NEWER).await?,
            remove_bucket: p.write(REMOVE_BUCKET).await?,
            add_author: p.write(ADD_AUTHOR).await?,
            of_author: p.read(OF_AUTHOR).await?,
        })
    }
}

const INSERT: &str = "INSERT INTO {k}.messages (channel_id, bucket, message_id, author_id, nonce, \
    content, reply_to, mentions, mention_groups, metadata, sent_hash) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";

/// Never `deleted`, nor `flags`.
const EDIT: &str = "UPDATE {k}.messages USING TIMESTAMP ? SET content = ?, mentions = ?, \
    mention_groups = ?, revision = ?, edited_at = ? \
    WHERE channel_id = ? AND bucket = ? AND message_id = ?";

const DELETE: &str = "UPDATE {k}.messages USING TIMESTAMP ? SET content = '', mentions = [], \
    mention_groups = 0, metadata = '', sent_hash = 0, revision = ?, deleted = true \
    WHERE channel_id = ? AND bucket = ? AND message_id = ?";

/// As a delete, of what may not be there yet.
const SEAL: &str = "UPDATE {k}.messages USING TIMESTAMP ? SET author_id = ?, content = '', \
    mentions = [], mention_groups = 0, metadata = '', sent_hash = 0, revision = ?, deleted = true \
    WHERE channel_id = ? AND bucket = ? AND message_id = ?";

const MARK: &str = "UPDATE {k}.messages USING TIMESTAMP ? SET flags = 1 \
    WHERE channel_id = ? AND bucket = ? AND message_id = ?";

const GET: &str = "SELECT {columns} FROM {k}.messages \
    WHERE channel_id = ? AND bucket = ? AND message_id = ?";

const TIMES: &str = "SELECT WRITETIME(author_id), WRITETIME(revision) FROM {k}.messages \
    WHERE channel_id = ? AND bucket = ? AND message_id = ?";

const AMONG: &str = "SELECT message_id, author_id FROM {k}.messages \
    WHERE channel_id = ? AND bucket = ? AND message_id IN ?";

const OLDER: &str = "SELECT {columns} FROM {k}.messages \
    WHERE channel_id = ? AND bucket = ? AND message_id <= ? ORDER BY message_id DESC LIMIT ?";

const NEWER: &str = "SELECT {columns} FROM {k}.messages \
    WHERE channel_id = ? AND bucket = ? AND message_id >= ? ORDER BY message_id ASC LIMIT ?";

const AUTHORS_OLDER: &str = "SELECT message_id, author_id, deleted FROM {k}.messages \
    WHERE channel_id = ? AND bucket = ? AND message_id <= ? ORDER BY message_id DESC LIMIT ?";

const AUTHORS_NEWER: &str = "SELECT message_id, author_id, deleted FROM {k}.messages \
    WHERE channel_id = ? AND bucket = ? AND message_id >= ? ORDER BY message_id ASC LIMIT ?";

const PURGE: &str =
    "DELETE FROM {k}.messages USING TIMESTAMP ? WHERE channel_id = ? AND bucket = ?";

/// What it names goes by the table's default after a day.
const NAME: &str = "INSERT INTO {k}.nonces (author_id, channel_id, nonce, message_id) \
    VALUES (?, ?, ?, ?) USING TIMESTAMP ?";

const NAMED: &str = "SELECT message_id, WRITETIME(message_id) FROM {k}.nonces \
    WHERE author_id = ? AND channel_id = ? AND nonce = ?";

const ADD_BUCKET: &str = "INSERT INTO {k}.channel_buckets (channel_id, bucket, width_hours) \
    VALUES (?, ?, ?) USING TIMESTAMP ?";

const BUCKETS_OLDER: &str = "SELECT bucket FROM {k}.channel_buckets \
    WHERE channel_id = ? AND bucket <= ? ORDER BY bucket DESC LIMIT ?";

const BUCKETS_NEWER: &str = "SELECT bucket FROM {k}.channel_buckets \
    WHERE channel_id = ? AND bucket >= ? ORDER BY bucket ASC LIMIT ?";

const REMOVE_BUCKET: &str =
    "DELETE FROM {k}.channel_buckets USING TIMESTAMP ? WHERE channel_id = ? AND bucket = ?";

const ADD_AUTHOR: &str = "INSERT INTO {k}.author_buckets (author_id, channel_id, bucket) \
    VALUES (?, ?, ?) USING TIMESTAMP ?";

const OF_AUTHOR: &str = "SELECT channel_id, bucket FROM {k}.author_buckets \
    WHERE author_id = ? AND (channel_id, bucket) >= (?, ?) LIMIT ?";
