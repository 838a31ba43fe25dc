//! What the driver's errors mean to callers, whichever database they are of.

use super::{Error, postgres, sqlite};
use sqlx::postgres::PgDatabaseError;

/// For the futures of changes.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(told) if told.try_downcast_ref::<PgDatabaseError>().is_some() => {
                postgres::failure(error)
            }
            _ => sqlite::failure(error),
        }
    }
}
