//! Which sentence of the protocol has which cases.

use crate::case::Case;
use anyhow::Result;
use std::path::Path;

/// The table, and what is wrong with it.
pub(crate) struct Table {
    pub(crate) text: String,
    pub(crate) faults: Vec<String>,
}

pub(crate) fn table(_protocol: Option<&Path>, _cases: &[Case]) -> Result<Table> {
    Ok(Table {
        text: String::new(),
        faults: Vec::new(),
    })
}
