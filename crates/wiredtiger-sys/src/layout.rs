//! The declarations against the C compiler's view of `wiredtiger.h` (`csrc/layout.c`).
extern crate std;

use super::*;
use core::mem::{offset_of, size_of};
use std::vec::Vec;

unsafe extern "C" {
    static smongo_wiredtiger_layout: [usize; ROWS];
    static smongo_wiredtiger_layout_rows: usize;
}

macro_rules! rows {
    ($($row:expr),* $(,)?) => {
        const LAYOUT: &[(&str, usize)] = &[$((stringify!($row), $row)),*];
        const ROWS: usize = LAYOUT.len();
    };
}

rows![
    size_of::<WT_ITEM>(),
    offset_of!(WT_ITEM, data),
    offset_of!(WT_ITEM, size),
    offset_of!(WT_ITEM, flags),
    size_of::<WT_MODIFY>(),
    offset_of!(WT_MODIFY, data),
    offset_of!(WT_MODIFY, offset),
    offset_of!(WT_MODIFY, size),
    size_of::<WT_EVENT_HANDLER>(),
    offset_of!(WT_EVENT_HANDLER, handle_error),
    offset_of!(WT_EVENT_HANDLER, handle_message),
    offset_of!(WT_EVENT_HANDLER, handle_progress),
    offset_of!(WT_EVENT_HANDLER, handle_close),
    offset_of!(WT_EVENT_HANDLER, handle_general),
    size_of::<WT_CONNECTION>(),
    offset_of!(WT_CONNECTION, close),
    offset_of!(WT_CONNECTION, reconfigure),
    offset_of!(WT_CONNECTION, compile_configuration),
    offset_of!(WT_CONNECTION, is_new),
    offset_of!(WT_CONNECTION, open_session),
    offset_of!(WT_CONNECTION, add_compressor),
    size_of::<WT_COMPRESSOR>(),
    offset_of!(WT_COMPRESSOR, compress),
    offset_of!(WT_COMPRESSOR, decompress),
    offset_of!(WT_COMPRESSOR, pre_size),
    offset_of!(WT_COMPRESSOR, terminate),
    size_of::<WT_SESSION>(),
    offset_of!(WT_SESSION, close),
    offset_of!(WT_SESSION, reconfigure),
    offset_of!(WT_SESSION, open_cursor),
    offset_of!(WT_SESSION, create),
    offset_of!(WT_SESSION, compact),
    offset_of!(WT_SESSION, drop),
    offset_of!(WT_SESSION, log_flush),
    offset_of!(WT_SESSION, reset),
    offset_of!(WT_SESSION, salvage),
    offset_of!(WT_SESSION, truncate),
    offset_of!(WT_SESSION, verify),
    offset_of!(WT_SESSION, begin_transaction),
    offset_of!(WT_SESSION, commit_transaction),
    offset_of!(WT_SESSION, rollback_transaction),
    offset_of!(WT_SESSION, checkpoint),
    offset_of!(WT_SESSION, get_rollback_reason),
    offset_of!(WT_CURSOR, get_key),
    offset_of!(WT_CURSOR, get_value),
    offset_of!(WT_CURSOR, get_raw_key_value),
    offset_of!(WT_CURSOR, set_key),
    offset_of!(WT_CURSOR, set_value),
    offset_of!(WT_CURSOR, compare),
    offset_of!(WT_CURSOR, next),
    offset_of!(WT_CURSOR, prev),
    offset_of!(WT_CURSOR, reset),
    offset_of!(WT_CURSOR, search),
    offset_of!(WT_CURSOR, search_near),
    offset_of!(WT_CURSOR, insert),
    offset_of!(WT_CURSOR, modify),
    offset_of!(WT_CURSOR, update),
    offset_of!(WT_CURSOR, remove),
    offset_of!(WT_CURSOR, close),
    offset_of!(WT_CURSOR, largest_key),
    offset_of!(WT_CURSOR, reconfigure),
    offset_of!(WT_CURSOR, bound),
];

#[test]
fn layout_is_that_of_the_header() {
    // SAFETY: the row count is read first; the array behind it is constant and as long as it says.
    let c = unsafe {
        assert_eq!(smongo_wiredtiger_layout_rows, ROWS);
        &smongo_wiredtiger_layout
    };
    let wrong: Vec<_> = LAYOUT.iter().zip(c).filter(|((_, rust), c)| rust != *c).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
