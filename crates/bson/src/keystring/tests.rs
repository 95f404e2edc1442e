use super::*;
use crate::compare::compare;
use crate::{Decimal, DocBuf, ObjectId, Timestamp, ValueBuf};
use crate::value::Binary;

fn dec(text: &str) -> ValueBuf {
    ValueBuf::new(Value::Decimal(Decimal::parse(text).unwrap_or(Decimal::NAN)))
}

fn samples() -> Vec<ValueBuf> {
    let mut all: Vec<ValueBuf> = [
        Value::MinKey, Value::Undefined, Value::Null, Value::MaxKey, Value::Bool(false), Value::Bool(true),
        Value::String(""), Value::String("a"), Value::String("a\0"), Value::String("a\0b"), Value::String("a\u{1}"), Value::String("ab"), Value::Symbol("é"),
        Value::ObjectId(ObjectId([7; 12])), Value::DateTime(-1), Value::DateTime(0), Value::DateTime(i64::MAX),
        Value::Timestamp(Timestamp { time: u32::MAX, increment: 0 }), Value::Timestamp(Timestamp { time: 1, increment: 2 }),
        Value::JavaScript("f()"), Value::Binary(Binary::from_raw(&[0])), Value::Binary(Binary::from_raw(&[4, 1, 0])), Value::Binary(Binary::from_raw(&[0, 1, 1])),
        Value::Binary(Binary::from_raw(&[9; 300])), Value::Regex(crate::Regex::from_raw(b"a\0i\0")), Value::Regex(crate::Regex::from_raw(b"a\0\0")),
    ].map(ValueBuf::new).into();
    for n in [0, 1, 63, 64, 127, 128, 255, 256, 65535, 65536, i32::MAX as i64, i32::MAX as i64 + 1, (1 << 53) + 1, 1 << 62, i64::MAX] {
        for n in [n, -n, -n - 1] {
            all.push(ValueBuf::new(Value::Int64(n)));
            all.push(ValueBuf::new(Value::Double(n as f64)));
            all.push(ValueBuf::new(Value::Double(n as f64 + 0.5)));
            all.push(ValueBuf::new(Value::Decimal(Decimal::from_i64(n))));
            if let Ok(n) = i32::try_from(n) {
                all.push(ValueBuf::new(Value::Int32(n)));
            }
        }
    }
    for f in [f64::NAN, f64::INFINITY, f64::MAX, f64::MIN_POSITIVE, 5e-324, 0.1, 0.999, 1.1, 19.99, 1e18, 9.3e18, 1e22, 1e23, 1e300, -0.0] {
        all.push(ValueBuf::new(Value::Double(f)));
        all.push(ValueBuf::new(Value::Double(-f)));
        all.push(ValueBuf::new(Value::Decimal(Decimal::from_f64_exact(f))));
    }
    for t in ["0.1", "1.10", "1.1", "19.99", "-19.99", "1E-6176", "1E-324", "-3E-324", "5E-324", "1E309", "-1E400", "9.999999999999999999999999999999999E6144", "1E6144", "1E23", "99999999999999999999999", "100000000000000008388608", "1152921504606846976.5", "1152921504606846976.1", "1152921504606846977.5", "9223372036854775807.5", "9223372036854775808", "9223372036854775808.5", "0.5000000000000000000000000000000001", "0.25", "2.250", "1000000000000000000000000000000000", "-0E-5", "0E100", "nan", "-inf", "1.000000000000000000000000000000001"] {
        all.push(dec(t));
    }
    let parts: Vec<ValueBuf> = all.iter().step_by(9).cloned().collect();
    for (i, v) in parts.iter().enumerate() {
        let (v, next) = (v.view(), parts[(i + 1) % parts.len()].view());
        all.push(ValueBuf::array(|w| { w.push(v); }));
        all.push(ValueBuf::array(|w| { w.push(v).push(next); }));
        all.push(ValueBuf::document(DocBuf::build(|w| { w.append("a", v).append("b", next); })));
        all.push(ValueBuf::document(DocBuf::build(|w| { w.append("ab", v); })));
    }
    all
}

#[test]
fn key_order_is_value_order() {
    let all = samples();
    for a in &all {
        let (up, down) = (encode(a.view(), false), encode(a.view(), true));
        for b in &all {
            let order = compare(a.view(), b.view());
            assert_eq!(up.cmp(&encode(b.view(), false)), order, "{a:?} {b:?}");
            assert_eq!(down.cmp(&encode(b.view(), true)), order.reverse(), "{a:?} {b:?} descending");
        }
    }
}

#[test]
fn keys_decode() {
    for v in &samples() {
        for descending in [false, true] {
            let (mut key, mut bits) = (Vec::new(), TypeBits::new());
            append_with_type_bits(&mut key, &mut bits, v.view(), descending);
            key.push(0xab);
            assert_eq!(skip(&key, descending).unwrap_or_default(), [0xab], "{v:?}");
            let Ok((back, rest)) = decode(&key, descending) else { panic!("{v:?} does not decode") };
            assert!(compare(back.view(), v.view()).is_eq() && rest == [0xab], "{v:?} became {back:?}");
            let mut reader = TypeBitsReader::new(bits.as_bytes());
            let Ok((back, _)) = decode_with(&key, descending, &mut reader) else { panic!("{v:?} does not decode") };
            let bytes = |v: &ValueBuf| DocBuf::build(|w| { w.append("", v.view()); }).into_bytes();
            assert_eq!(bytes(&back), bytes(v), "{v:?} became {back:?} by {bits:?}");
        }
    }
}

#[test]
fn common_keys_are_short() {
    for (v, len) in [(Value::Int32(0), 1), (Value::Int32(-1), 2), (Value::Int64(100), 2), (Value::Double(16000.0), 3), (Value::Int32(i32::MAX), 5), (Value::Double(19.99), 9), (Value::ObjectId(ObjectId([0; 12])), 13), (Value::String("abc"), 5)] {
        assert_eq!(encode(v, false).len(), len, "{v:?}");
    }
    let mut bits = TypeBits::new();
    for v in [Value::Int32(5), Value::Double(0.5), Value::Int64(1 << 40), Value::String("x")] {
        append_with_type_bits(&mut Vec::new(), &mut bits, v, false);
    }
    assert!(bits.as_bytes().is_empty());
}

#[test]
fn ranges() {
    let mut key = vec![1, 0xff, 0xff];
    assert!(prefix_end(&mut key));
    assert_eq!(key, [2]);
    assert!(!prefix_end(&mut vec![0xff]));
    for v in &samples() {
        for descending in [false, true] {
            let (low, high) = class_range(v.view().type_of(), descending);
            let first = encode(v.view(), descending)[0];
            assert!(low <= first && first < high, "{v:?}");
        }
    }
}
