//! The only list of kinds.

use crate::kind::{Row, Strategy};
use std::sync::LazyLock;

/// One row a kind; the order is that of discovery.
macro_rules! kinds {
    ($($path:path),* $(,)?) => {
        static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| vec![$(row::<$path>()),*]);
    };
}

fn row<T: Strategy + crate::value::Typed>() -> Row {
    Row::of::<T>()
}

kinds! {}

/// All rows.
pub fn all() -> &'static [Row] {
    &ROWS
}

/// The row of a resource (`apps`, `v1`, `deployments`).
pub fn by_resource(group: &str, version: &str, resource: &str) -> Option<&'static Row> {
    all()
        .iter()
        .find(|row| row.kind.resource == resource && row.kind.group == group && row.kind.version == version)
}

/// The row of a kind (`apps`, `v1`, `Deployment`).
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Row> {
    all().iter().find(|row| row.kind.kind == kind && row.kind.group == group && row.kind.version == version)
}
