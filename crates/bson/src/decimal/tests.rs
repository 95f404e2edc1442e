use super::{Decimal, Flags, Rounding};
use std::cmp::Ordering;

fn d(text: &str) -> Decimal {
    Decimal::parse(text).unwrap_or_else(|| panic!("{text} is no decimal"))
}

#[test]
fn text_forms_of_the_bson_specification() {
    for (input, output) in [
        ("0", "0"),
        ("-0", "-0"),
        ("+0.00", "0.00"),
        ("0E+3", "0E+3"),
        ("0E-8", "0E-8"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1E-7"),
        ("0.00001234567890123456789012345678901234", "0.00001234567890123456789012345678901234"),
        ("1E+3", "1E+3"),
        ("1.50e2", "150"),
        ("15e2", "1.5E+3"),
        (".5", "0.5"),
        ("5.", "5"),
        ("007", "7"),
        ("1234567890.1234567890", "1234567890.1234567890"),
        ("9999999999999999999999999999999999", "9999999999999999999999999999999999"),
        ("12345678901234567890123456789012345", "1.234567890123456789012345678901234E+34"),
        ("12345678901234567890123456789012335", "1.234567890123456789012345678901234E+34"),
        ("99999999999999999999999999999999995", "1.000000000000000000000000000000000E+35"),
        ("1E6144", "1.000000000000000000000000000000000E+6144"),
        ("9.999999999999999999999999999999999E+6144", "9.999999999999999999999999999999999E+6144"),
        ("1E6145", "Infinity"),
        ("-1E99999999999999999999", "-Infinity"),
        ("1E-6176", "1E-6176"),
        ("1E-6177", "0E-6176"),
        ("5E-6177", "0E-6176"),
        ("5.1E-6177", "1E-6176"),
        ("0E-99999999999", "0E-6176"),
        ("0E99999", "0E+6111"),
        ("nan", "NaN"),
        ("-NaN", "NaN"),
        ("inf", "Infinity"),
        ("-INFINITY", "-Infinity"),
    ] {
        assert_eq!(d(input).to_string(), output, "{input}");
    }
    for bad in ["", ".", "e5", "1e", "1e+", "1.2.3", "--1", " 1", "1 ", "0x10", "infinit", "1_0", "é"] {
        assert!(Decimal::parse(bad).is_none(), "{bad}");
    }
    assert!(d("-NaN").is_negative() && d("-NaN").is_nan());
}

#[test]
fn parsing_tells_what_was_lost() {
    assert_eq!(Decimal::parse_flags("1.5").map(|x| x.1), Some(Flags::default()));
    assert_eq!(Decimal::parse_flags("1E7000").map(|x| x.1), Some(Flags { overflow: true, inexact: true, underflow: false }));
    assert_eq!(Decimal::parse_flags("1E-7000").map(|x| x.1), Some(Flags { overflow: false, inexact: true, underflow: true }));
}

#[test]
fn encodings_that_are_not_canonical_are_zero() {
    let large = Decimal::from_bits((0x3040 << 112) | ((1 << 113) - 1));
    assert!(large.is_zero() && large.to_string() == "0");
    let other_form = Decimal::from_bits(0x6c10 << 112);
    assert!(other_form.is_zero() && other_form.to_string() == "0", "{other_form}");
    assert_eq!(large.add(d("2")).to_string(), "2");
}

#[test]
fn doubles_become_fifteen_digits() {
    for (n, text) in [
        (2.5, "2.50000000000000"),
        (0.1, "0.100000000000000"),
        (5.0, "5.00000000000000"),
        (0.0, "0"),
        (-0.0, "-0"),
        (9.999999999999998e15, "1.00000000000000E+16"),
        (1.234567890123455, "1.23456789012345"),
        (0.9999999999999996, "1.00000000000000"),
        (9007199254740991.0, "9.00719925474099E+15"),
        (5e-324, "4.94065645841247E-324"),
        (f64::MIN, "-1.79769313486232E+308"),
        (f64::NEG_INFINITY, "-Infinity"),
    ] {
        assert_eq!(Decimal::from_f64(n).to_string(), text);
    }
    assert_eq!(Decimal::from_f64_exact(0.5).to_string(), "0.5");
    assert_eq!(Decimal::from_f64_exact(1e20).to_string(), "100000000000000000000");
    assert_eq!(Decimal::from_f64_exact(0.1).to_string(), "0.1000000000000000055511151231257827");
}

#[test]
fn order() {
    let sorted = ["NaN", "-Infinity", "-1E6000", "-10", "-1.5", "-1E-6176", "0", "1E-6176", "0.1", "0.11", "1", "1E30", "1E6144", "Infinity"];
    for (i, a) in sorted.iter().enumerate() {
        for (j, b) in sorted.iter().enumerate() {
            assert_eq!(d(a).compare(d(b)), i.cmp(&j), "{a} {b}");
        }
    }
    assert_eq!(d("-0").compare(d("0E+100")), Ordering::Equal);
    assert_eq!(d("1.000000000000000000000000000000000").compare(d("1")), Ordering::Equal);
    assert_eq!(d("NaN").compare(d("-NaN")), Ordering::Equal);
}

#[test]
fn arithmetic() {
    let cases: &[(Decimal, &str)] = &[
        (d("1.10").add(d("2.2")), "3.30"),
        (d("1").sub(d("1.0")), "0.0"),
        (d("-0").add(d("-0")), "-0"),
        (d("-0").add(d("0")), "0"),
        (d("9999999999999999999999999999999999").add(d("1")), "1.000000000000000000000000000000000E+34"),
        (d("1E6144").mul(d("10")), "Infinity"),
        (d("1.5").mul(d("-2")), "-3.0"),
        (d("1").div(d("3")), "0.3333333333333333333333333333333333"),
        (d("10").div(d("4")), "2.5"),
        (d("1").div(d("0")), "Infinity"),
        (d("0").div(d("0")), "NaN"),
        (d("-7").rem(d("3")), "-1"),
        (d("7.5").rem(d("-2")), "1.5"),
        (d("2").sqrt(), "1.414213562373095048801688724209698"),
        (d("2.5").round_to_integer(Rounding::HalfEven), "2"),
        (d("-2.1").floor(), "-3"),
        (d("2.1").ceil(), "3"),
        (d("-2.9").trunc(), "-2"),
        (d("1234.5678").round_to_place(2, Rounding::HalfEven), "1234.57"),
        (d("1234.5678").round_to_place(-2, Rounding::TowardZero), "1.2E+3"),
        (d("2").pow(d("10")), "1024.000000000000000000000000000000"),
        (d("1.5").pow(d("2")), "2.250000000000000000000000000000000"),
        (d("0.5000000000000000000000000000000001").pow(d("2")), "0.2500000000000000000000000000000001"),
        (d("2").pow(d("100")), "1267650600228229401496703205376.000"),
        (d("-0").pow(d("3")), "0E-6176"),
        (d("-Infinity").pow(d("3")), "-Infinity"),
        (d("7").pow(d("0")), "1"),
        (d("1").exp(), "2.718281828459045235360287471352662"),
        (d("-1").exp(), "0.3678794411714423215955237701614609"),
        (d("0").exp(), "1"),
        (d("-Infinity").exp(), "0"),
        (d("-9.999999999999999999999999999999999E+6144").exp(), "0E-6176"),
        (d("2.718281828459045").ln(), "0.9999999999999999134157889710887611"),
        (d("10").ln(), "2.302585092994045684017991454684364"),
        (d("1E-6143").ln(), "-14144.78022626242263692252150612605"),
        (d("1E-6176").ln(), "-14220.76553433122614449511522413063"),
        (d("9.999999999999999999999999999999999E+6144").ln(), "14149.38539644841072829055748903542"),
        (d("1E-6143").log10(), "-6143"),
        (d("9.999999999999999999999999999999999E+6144").log10(), "6145"),
        (d("100").log10(), "2"),
        (d("2").log10(), "0.3010299956639811952137388947244930"),
        (d("64").ln().div(d("2").ln()), "5.999999999999999999999999999999999"),
        (d("1000").ln().div(d("10").ln()), "3.000000000000000000000000000000000"),
        (d("1.00000000000000000000000000000000").sqrt(), "1.0000000000000000"),
        (d("1E+6144").sqrt(), "1.00000000000000000E+3072"),
        (d("1E-6143").sqrt(), "3.162277660168379331998893544432719E-3072"),
        (d("9.999999999999999999999999999999999E+6144").sqrt(), "3.162277660168379331998893544432718E+3072"),
        (d("-0").sqrt(), "-0"),
        (d("23.298").round_to_place(-1, Rounding::HalfEven), "2E+1"),
        (d("1E+6144").round_to_integer(Rounding::HalfEven), "1.000000000000000000000000000000000E+6144"),
        (d("1E-6143").round_to_integer(Rounding::HalfEven), "0"),
        (d("1E+6144").rem(d("3")), "1"),
    ];
    let wrong: Vec<_> = cases.iter().filter(|(got, want)| got.to_string() != *want).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn integers() {
    assert_eq!(Decimal::from_i64(i64::MIN).to_i64_exact(), Some(i64::MIN));
    assert_eq!(d("9223372036854775808").to_i64_trunc(), None);
    assert_eq!(d("1E2").to_i64_exact(), Some(100));
    assert_eq!(d("1.0").to_i64_exact(), Some(1));
    assert_eq!(d("-1.9").to_i64_trunc(), Some(-1));
    assert_eq!(d("1.9").to_i64_exact(), None);
    assert_eq!(d("2.5").to_i64_rounded(), Some(2));
    assert_eq!(d("1E-6000").to_i64_trunc(), Some(0));
    assert!(d("1E6000").is_integer() && !d("1E-1").is_integer());
    assert_eq!(d("0.1").to_f64(), 0.1);
    assert_eq!(d("1E400").to_f64(), f64::INFINITY);
}
