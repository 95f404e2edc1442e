//! The hash of MongoDB's hashed indexes and shard keys, which `$toHashedIndexKey` shows: the first half of an MD5.

use md5::{Digest, Md5};

use crate::doc::{Doc, Element};
use crate::number;
use crate::owned::DocBuf;
use crate::value::{Type, Value};

/// Hashes a value. All numbers hash as the long they are cut to, so that 1, 1.0 and 1.5 hash alike.
pub fn hashed_index_key(value: Value<'_>) -> i64 {
    let holder = DocBuf::build(|w| {
        w.append("", if value.is_missing() { Value::Null } else { value });
    });
    let mut md5 = Md5::new();
    // The seed.
    md5.update(0i32.to_le_bytes());
    if let Some(element) = holder.as_doc().first() {
        add(&mut md5, &element, false);
    }
    md5.finalize().first_chunk().map_or(0, |half| i64::from_le_bytes(*half))
}

fn add(md5: &mut Md5, element: &Element<'_>, named: bool) {
    let rank = match element.type_of() {
        Type::MinKey => -1,
        Type::Undefined => 0,
        other => i32::from(other.rank()),
    };
    md5.update(rank.to_le_bytes());
    if named {
        md5.update(element.name_bytes());
        md5.update([0]);
    }
    match element.value() {
        Value::Document(d) => add_all(md5, d),
        Value::Array(a) => a.elements().for_each(|e| add(md5, &e, true)),
        Value::CodeWithScope(c) => {
            md5.update(c.code().as_bytes());
            md5.update([0]);
            add_all(md5, c.scope());
        }
        v => match number::to_i64_saturating(v) {
            Some(n) => md5.update(n.to_le_bytes()),
            None => md5.update(element.value_bytes()),
        },
    }
    if matches!(element.type_of(), Type::Document | Type::Array | Type::CodeWithScope) {
        // The end of what is inside.
        md5.update(0i32.to_le_bytes());
    }
}

fn add_all(md5: &mut Md5, doc: Doc<'_>) {
    doc.iter().for_each(|e| add(md5, &e, true));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys() {
        assert_eq!(hashed_index_key(Value::Int64(1)), 5902408780260971510);
        assert_eq!(hashed_index_key(Value::Double(1.0)), 5902408780260971510);
        assert_eq!(hashed_index_key(Value::String("hello")), 5347277839332858538);
    }
}
