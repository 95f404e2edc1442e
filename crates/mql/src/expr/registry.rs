//! All operators: the families' tables in one sorted list.

use std::sync::OnceLock;

use super::parse::Row;
use super::{
    accumulators, arithmetic, array, basic, bitwise, boolean, comparison, conditional, convert, date, misc, object, set, string, trigonometry, variables,
};

/// One sorted table per family file.
static FAMILIES: &[&[Row]] = &[
    accumulators::ROWS,
    arithmetic::FUNCTION_ROWS,
    arithmetic::ROUND_ROWS,
    arithmetic::ROWS,
    array::NTH_ROWS,
    array::ROWS,
    array::SORT_ROWS,
    array::ZIP_ROWS,
    basic::ROWS,
    bitwise::ROWS,
    boolean::ROWS,
    comparison::ROWS,
    conditional::ROWS,
    convert::ROWS,
    date::ADD_ROWS,
    date::DIFF_ROWS,
    date::FORMAT_ROWS,
    date::PARSE_ROWS,
    date::PARTS_ROWS,
    date::ROWS,
    date::TRUNC_ROWS,
    misc::ROWS,
    object::ROWS,
    set::ROWS,
    string::REGEX_ROWS,
    string::ROWS,
    string::SUBSTR_ROWS,
    trigonometry::ROWS,
    variables::ROWS,
];

fn rows() -> &'static [&'static Row] {
    static SORTED: OnceLock<Vec<&'static Row>> = OnceLock::new();
    SORTED.get_or_init(|| {
        let mut all: Vec<_> = FAMILIES.iter().copied().flatten().collect();
        all.sort_by_key(|r| r.name);
        all
    })
}

/// The row of an operator by its name with the `$`.
pub(super) fn find(name: &str) -> Option<&'static Row> {
    let rows = rows();
    rows.binary_search_by_key(&name, |r| r.name).ok().map(|i| rows[i])
}

/// Names of all operators with whether they are implemented, sorted.
pub fn operators() -> impl Iterator<Item = (&'static str, bool)> {
    rows().iter().map(|r| (r.name, !matches!(r.parse, super::parse::Parse::Todo)))
}
