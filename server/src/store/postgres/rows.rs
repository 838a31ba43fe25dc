//! Rows as Postgres alone has them.

use crate::model::Channel;
pub(super) use crate::store::rows::*;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row as _};

impl FromRow<'_, PgRow> for Of<Channel> {
    /// Its members stand in a column of their own: an array of ids.
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        channel(row, row.try_get("member_ids")?).map(Of)
    }
}
