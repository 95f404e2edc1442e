//! Options of collections as they are stored.

use smongo_bson::{DocWriter, Value, number};

/// The options of a capped collection. MongoDB rounds sizes up to a multiple of 256 bytes.
pub fn write_capped(w: &mut DocWriter<'_>, size: i64, max: i64) {
    w.append("capped", true).append("size", compact_number(round_up(size)));
    if max > 0 {
        w.append("max", compact_number(max));
    }
}

/// An integer of type int where it fits.
pub fn compact_number(n: i64) -> Value<'static> {
    number::to_i32_exact(Value::Int64(n)).map_or(Value::Int64(n), Value::Int32)
}

pub fn round_up(size: i64) -> i64 {
    size.max(1).saturating_add(255) / 256 * 256
}
