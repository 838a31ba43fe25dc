//! The SQL of both databases for a table, and its rows as both answer them.

use super::row::{Row, Value};
use super::tables::{Kind, Table};
use crate::store::rows::Cells;

/// Whose SQL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Dialect {
    Sqlite,
    Postgres,
}

/// Selects the rows of a table that move, in the order of the key, by bytes.
pub(in crate::store) fn select(table: &Table, dialect: Dialect) -> String {
    let postgres = dialect == Dialect::Postgres;
    let column = |(name, kind): &(&str, Kind)| match kind {
        // Whole numbers have different widths there.
        Kind::Int if postgres => format!("{name}::bigint AS {name}"),
        _ => (*name).to_owned(),
    };
    let order = |(name, kind): &(&str, Kind)| match kind {
        Kind::Text if postgres => format!("{}.{name} COLLATE \"C\"", table.name),
        _ => format!("{}.{name}", table.name),
    };
    let columns: Vec<String> = table.columns.iter().map(column).collect();
    let order: Vec<String> = table.columns[..table.keys].iter().map(order).collect();
    let only = match table.only {
        "" => String::new(),
        only => format!(" WHERE {only}"),
    };
    format!(
        "SELECT {} FROM {}{only} ORDER BY {}",
        columns.join(", "),
        table.name,
        order.join(", ")
    )
}

/// A column that doesn't move and must have something, with what it begins with.
pub(in crate::store) fn beginning(
    table: &Table,
    dialect: Dialect,
) -> Option<(&'static str, &'static str)> {
    match (table.name, dialect) {
        ("reaction_kinds", Dialect::Sqlite) => Some(("gone", "0")),
        ("reaction_kinds", Dialect::Postgres) => Some(("count", "0")),
        _ => None,
    }
}

/// Reads a row of [`select`].
pub(in crate::store) fn read<R: Cells>(row: &R, table: &Table) -> Result<Row, sqlx::Error> {
    let cell = |(name, kind): &(&'static str, Kind)| {
        Ok(match kind {
            Kind::Int => row.cell::<Option<i64>>(name)?.map(Value::Int),
            Kind::Bool => row.cell::<Option<bool>>(name)?.map(Value::Bool),
            Kind::Text => row.cell::<Option<String>>(name)?.map(Value::Text),
            Kind::Bytes => row.cell::<Option<Vec<u8>>>(name)?.map(Value::Bytes),
        }
        .unwrap_or(Value::Null))
    };
    table.columns.iter().map(cell).collect()
}

/// The highest of all ids that were made, but for messages': of the tables that Snowflakes name.
pub(in crate::store) const HIGHEST_OTHER: &str = "SELECT max(id) AS id FROM (
    SELECT max(id) AS id FROM users UNION ALL SELECT max(id) FROM sessions
    UNION ALL SELECT max(id) FROM servers UNION ALL SELECT max(id) FROM channels
    UNION ALL SELECT max(id) FROM pins UNION ALL SELECT max(id) FROM audit_log
    UNION ALL SELECT max(id) FROM reports UNION ALL SELECT max(id) FROM webhooks) ids";
