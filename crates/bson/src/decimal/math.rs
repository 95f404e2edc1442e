//! Arithmetic on decimals: exact sums and products here, the rest by Intel's library.

use dfp_number_sys::bid128_000 as intel;
use dfp_number_sys::{
    BID128, EXE_CLEAR, RND_DOWNWARD, RND_NEAREST_AWAY, RND_NEAREST_EVEN, RND_TOWARD_ZERO, RND_UPWARD,
};

use super::{Decimal, MIN_EXPONENT, Parts, digits, pow10};

/// Which neighbour a number goes to when digits are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    HalfEven,
    HalfAway,
    Down,
    Up,
    TowardZero,
}

impl Rounding {
    fn mode(self) -> u32 {
        match self {
            Rounding::HalfEven => RND_NEAREST_EVEN,
            Rounding::HalfAway => RND_NEAREST_AWAY,
            Rounding::Down => RND_DOWNWARD,
            Rounding::Up => RND_UPWARD,
            Rounding::TowardZero => RND_TOWARD_ZERO,
        }
    }
}

pub(super) fn bid(d: Decimal) -> BID128 {
    let bits = d.bits();
    BID128::new(bits as u64, (bits >> 64) as u64)
}

/// The bits of a result. The crate's only safe way to them is the two hexadecimal numbers its `Debug` writes.
fn unbid(n: BID128) -> Decimal {
    struct Hex(u128);
    impl std::fmt::Write for Hex {
        fn write_str(&mut self, s: &str) -> std::fmt::Result {
            for digit in s.bytes().filter_map(|b| char::from(b).to_digit(16)) {
                self.0 = (self.0 << 4) | u128::from(digit);
            }
            Ok(())
        }
    }
    let mut hex = Hex(0);
    let _ = std::fmt::Write::write_fmt(&mut hex, format_args!("{n:?}"));
    Decimal::from_bits(hex.0)
}

/// Functions of one number, rounded half to even.
macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident = $f:ident;)*) => {
        impl Decimal {
            $($(#[$doc])* pub fn $name(self) -> Decimal {
                let mut flags = EXE_CLEAR;
                unbid(intel::$f(bid(self), RND_NEAREST_EVEN, &mut flags))
            })*
        }
    };
}

unary! {
    exp = bid128_exp;
    /// The natural logarithm.
    ln = bid128_log;
    log10 = bid128_log10;
    log2 = bid128_log2;
    sqrt = bid128_sqrt;
    sin = bid128_sin;
    cos = bid128_cos;
    tan = bid128_tan;
    asin = bid128_asin;
    acos = bid128_acos;
    atan = bid128_atan;
    sinh = bid128_sinh;
    cosh = bid128_cosh;
    tanh = bid128_tanh;
    asinh = bid128_asinh;
    acosh = bid128_acosh;
    atanh = bid128_atanh;
}

impl Decimal {
    pub fn add(self, other: Decimal) -> Decimal {
        if let Some(sum) = exact_sum(self, other) {
            return sum;
        }
        let mut flags = EXE_CLEAR;
        unbid(intel::bid128_add(bid(self), bid(other), RND_NEAREST_EVEN, &mut flags))
    }

    pub fn sub(self, other: Decimal) -> Decimal {
        if let Some(sum) = exact_sum(self, other.neg()) {
            return sum;
        }
        let mut flags = EXE_CLEAR;
        unbid(intel::bid128_sub(bid(self), bid(other), RND_NEAREST_EVEN, &mut flags))
    }

    pub fn mul(self, other: Decimal) -> Decimal {
        if let (
            Parts::Finite { negative: n, coefficient: c, exponent: e },
            Parts::Finite { negative: m, coefficient: d, exponent: f },
        ) = (self.parts(), other.parts())
            && let Some(product) = c.checked_mul(d).and_then(|c| Decimal::from_parts(n != m, c, e + f))
        {
            return product;
        }
        let mut flags = EXE_CLEAR;
        unbid(intel::bid128_mul(bid(self), bid(other), RND_NEAREST_EVEN, &mut flags))
    }

    pub fn div(self, other: Decimal) -> Decimal {
        let mut flags = EXE_CLEAR;
        unbid(intel::bid128_div(bid(self), bid(other), RND_NEAREST_EVEN, &mut flags))
    }

    /// The remainder of the division truncated towards zero; it has the sign of `self`.
    pub fn rem(self, other: Decimal) -> Decimal {
        let mut flags = EXE_CLEAR;
        unbid(intel::bid128_fmod(bid(self), bid(other), &mut flags))
    }

    /// As MongoDB answers it: with all 34 digits, also where fewer would be exact, and a zero as 0E-6176 without sign.
    pub fn pow(self, exponent: Decimal) -> Decimal {
        let mut flags = EXE_CLEAR;
        let power = unbid(intel::bid128_pow(bid(self), bid(exponent), RND_NEAREST_EVEN, &mut flags));
        let Parts::Finite { negative, coefficient, exponent: e } = power.parts() else { return power };
        if exponent.is_zero() || self.compare(Decimal::ONE).is_eq() {
            return Decimal::ONE;
        }
        if coefficient == 0 {
            return Decimal::from_parts(false, 0, MIN_EXPONENT).unwrap_or(power);
        }
        let zeros = (34 - digits(coefficient) as i32).min(e - MIN_EXPONENT).max(0);
        Decimal::from_parts(negative, coefficient * pow10(zeros as u32), e - zeros).unwrap_or(power)
    }

    /// The angle of the point (`x`, `self`).
    pub fn atan2(self, x: Decimal) -> Decimal {
        let mut flags = EXE_CLEAR;
        unbid(intel::bid128_atan2(bid(self), bid(x), RND_NEAREST_EVEN, &mut flags))
    }

    /// The number with the given exponent; NaN when that needs more than 34 digits.
    pub fn quantize(self, exponent: i32, rounding: Rounding) -> Decimal {
        let Some(unit) = Decimal::from_parts(false, 1, exponent) else { return Decimal::NAN };
        let mut flags = EXE_CLEAR;
        unbid(intel::bid128_quantize(bid(self), bid(unit), rounding.mode(), &mut flags))
    }

    /// The nearest integer in the given direction; infinite and NaN stay.
    pub fn round_to_integer(self, rounding: Rounding) -> Decimal {
        let mut flags = EXE_CLEAR;
        let n = bid(self);
        unbid(match rounding {
            Rounding::HalfEven => intel::bid128_round_integral_nearest_even(n, &mut flags),
            Rounding::HalfAway => intel::bid128_round_integral_nearest_away(n, &mut flags),
            Rounding::Down => intel::bid128_round_integral_negative(n, &mut flags),
            Rounding::Up => intel::bid128_round_integral_positive(n, &mut flags),
            Rounding::TowardZero => intel::bid128_round_integral_zero(n, &mut flags),
        })
    }

    /// Rounded at a decimal place: 2 keeps hundredths, -2 hundreds. What has no digits there stays as it is.
    pub fn round_to_place(self, place: i32, rounding: Rounding) -> Decimal {
        let Parts::Finite { exponent, .. } = self.parts() else { return self };
        if exponent >= -place {
            return self;
        }
        let rounded = self.quantize(-place, rounding);
        if rounded.is_nan() { self } else { rounded }
    }

    pub fn floor(self) -> Decimal {
        self.round_to_integer(Rounding::Down)
    }
    pub fn ceil(self) -> Decimal {
        self.round_to_integer(Rounding::Up)
    }
    pub fn trunc(self) -> Decimal {
        self.round_to_integer(Rounding::TowardZero)
    }
}

/// The sum of two finite numbers when it needs no rounding; its exponent is the smaller of the two, as IEEE 754 wants.
fn exact_sum(a: Decimal, b: Decimal) -> Option<Decimal> {
    let (
        Parts::Finite { negative: n, coefficient: c, exponent: e },
        Parts::Finite { negative: m, coefficient: d, exponent: f },
    ) = (a.parts(), b.parts())
    else {
        return None;
    };
    let scale = |c: u128, by: i32| if by > 38 { None } else { c.checked_mul(pow10(by as u32)) };
    let exponent = e.min(f);
    let x = i128::try_from(scale(c, e - exponent)?).ok()?;
    let y = i128::try_from(scale(d, f - exponent)?).ok()?;
    let sum = (if n { -x } else { x }).checked_add(if m { -y } else { y })?;
    let negative = if sum == 0 { n && m } else { sum < 0 };
    Decimal::from_parts(negative, sum.unsigned_abs(), exponent)
}
