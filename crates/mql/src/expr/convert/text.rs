//! Numbers as strings and back.

/// A long of decimal digits with an optional sign.
pub(super) fn long(s: &str) -> Option<i64> {
    let digits = s.strip_prefix(['+', '-']).unwrap_or(s);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    s.parse().ok()
}

/// A double in decimal, what is none in words, or a hexadecimal one, as C's `strtod` reads it: behind `0X`, and behind `0x` where a sign
/// stands before it. Nothing before or behind it, and nothing that is too large, or too small to keep all of its digits.
pub(super) fn double(s: &str) -> Option<f64> {
    let (signed, negative, rest) = match s.as_bytes().first()? {
        b'-' => (true, true, s.get(1..)?),
        b'+' => (true, false, s.get(1..)?),
        _ => (false, false, s),
    };
    let n = match rest.strip_prefix("0X").or_else(|| rest.strip_prefix("0x").filter(|_| signed)) {
        Some(hex) => hexadecimal(hex)?,
        None => decimal(rest)?,
    };
    Some(if negative { -n } else { n })
}

fn decimal(s: &str) -> Option<f64> {
    match s.to_ascii_lowercase().get(..) {
        Some("inf" | "infinity") => return Some(f64::INFINITY),
        Some("nan") => return Some(f64::NAN),
        _ => {}
    }
    if !s.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-')) {
        return None;
    }
    let n: f64 = s.parse().ok()?;
    let mantissa = s.split(['e', 'E']).next().unwrap_or_default();
    let underflow = n < f64::MIN_POSITIVE && mantissa.bytes().any(|b| matches!(b, b'1'..=b'9'));
    if n.is_infinite() || underflow { None } else { Some(n) }
}

/// What stands behind `0x`: digits with a point, and an exponent of two behind `p`.
fn hexadecimal(s: &str) -> Option<f64> {
    let (mantissa, exponent) = match s.split_once(['p', 'P']) {
        Some((m, e)) => (m, e.parse::<i32>().ok().filter(|_| e.bytes().any(|b| b.is_ascii_digit()))?),
        None => (s, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut n = 0.0f64;
    for c in whole.chars().chain(fraction.chars()) {
        n = n * 16.0 + f64::from(c.to_digit(16)?);
    }
    let n = n * 2f64.powi(exponent.saturating_sub(4 * fraction.len() as i32));
    if n.is_finite() { Some(n) } else { None }
}

/// The shortest digits that read back as the same double; an exponent from 1e16 on and below 1e-4.
pub(super) fn of_double(n: f64) -> String {
    if n.is_nan() {
        return "NaN".to_owned();
    }
    if n.is_infinite() {
        return if n < 0.0 { "-Infinity" } else { "Infinity" }.to_owned();
    }
    let scientific = format!("{n:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if n != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{n}")
}
