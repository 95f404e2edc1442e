/*
 * The C compiler's view of the structs that src/lib.rs declares by hand. A test compares both.
 * Each row is an offset or a size, in the order of `LAYOUT` in src/layout.rs.
 */
#include <stddef.h>
#include <wiredtiger.h>

const size_t smongo_wiredtiger_layout[] = {
    sizeof(WT_ITEM), offsetof(WT_ITEM, data), offsetof(WT_ITEM, size), offsetof(WT_ITEM, flags),
    sizeof(WT_MODIFY), offsetof(WT_MODIFY, data), offsetof(WT_MODIFY, offset), offsetof(WT_MODIFY, size),
    sizeof(WT_EVENT_HANDLER), offsetof(WT_EVENT_HANDLER, handle_error),
    offsetof(WT_EVENT_HANDLER, handle_message), offsetof(WT_EVENT_HANDLER, handle_progress),
    offsetof(WT_EVENT_HANDLER, handle_close), offsetof(WT_EVENT_HANDLER, handle_general),
    sizeof(WT_CONNECTION), offsetof(WT_CONNECTION, close), offsetof(WT_CONNECTION, reconfigure),
    offsetof(WT_CONNECTION, compile_configuration), offsetof(WT_CONNECTION, is_new),
    offsetof(WT_CONNECTION, open_session), offsetof(WT_CONNECTION, add_compressor),
    sizeof(WT_COMPRESSOR), offsetof(WT_COMPRESSOR, compress), offsetof(WT_COMPRESSOR, decompress),
    offsetof(WT_COMPRESSOR, pre_size), offsetof(WT_COMPRESSOR, terminate),
    sizeof(WT_SESSION), offsetof(WT_SESSION, close), offsetof(WT_SESSION, reconfigure),
    offsetof(WT_SESSION, open_cursor), offsetof(WT_SESSION, create), offsetof(WT_SESSION, compact),
    offsetof(WT_SESSION, drop), offsetof(WT_SESSION, log_flush), offsetof(WT_SESSION, reset),
    offsetof(WT_SESSION, salvage), offsetof(WT_SESSION, truncate), offsetof(WT_SESSION, verify),
    offsetof(WT_SESSION, begin_transaction), offsetof(WT_SESSION, commit_transaction),
    offsetof(WT_SESSION, rollback_transaction), offsetof(WT_SESSION, checkpoint),
    offsetof(WT_SESSION, get_rollback_reason),
    offsetof(WT_CURSOR, get_key), offsetof(WT_CURSOR, get_value),
    offsetof(WT_CURSOR, get_raw_key_value), offsetof(WT_CURSOR, set_key), offsetof(WT_CURSOR, set_value),
    offsetof(WT_CURSOR, compare), offsetof(WT_CURSOR, next), offsetof(WT_CURSOR, prev),
    offsetof(WT_CURSOR, reset), offsetof(WT_CURSOR, search), offsetof(WT_CURSOR, search_near),
    offsetof(WT_CURSOR, insert), offsetof(WT_CURSOR, modify), offsetof(WT_CURSOR, update),
    offsetof(WT_CURSOR, remove), offsetof(WT_CURSOR, close), offsetof(WT_CURSOR, largest_key),
    offsetof(WT_CURSOR, reconfigure), offsetof(WT_CURSOR, bound),
};

const size_t smongo_wiredtiger_layout_rows =
    sizeof(smongo_wiredtiger_layout) / sizeof(smongo_wiredtiger_layout[0]);
