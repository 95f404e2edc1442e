//! Sums without drift: a double and its rounding error, kept apart (double-double arithmetic).

use smongo_bson::{Decimal, Value};

/// A running sum as the unevaluated sum of two doubles, about 106 bits of significand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DoubleDouble {
    sum: f64,
    addend: f64,
    /// The plain sum of infinities and NaN, whose error terms would be NaN.
    special: f64,
}

/// The sum of two doubles and its rounding error, exactly.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

impl DoubleDouble {
    pub fn new(sum: f64, addend: f64) -> DoubleDouble {
        DoubleDouble { sum, addend, special: 0.0 }
    }

    pub fn add(&mut self, x: f64) {
        self.special += x;
        let (sum, err) = two_sum(self.sum, x);
        if sum.is_finite() {
            let (sum, addend) = two_sum(sum, self.addend + err);
            self.sum = sum;
            self.addend = addend;
        } else {
            self.sum = sum;
            self.addend = 0.0;
        }
    }

    /// Adds an integer without losing the bits a double has no room for.
    pub fn add_i64(&mut self, n: i64) {
        // The high part is a multiple of 2^32 and the low part below it: both are exact doubles.
        let low = n & 0xffff_ffff;
        self.add((n - low) as f64);
        self.add(low as f64);
    }

    pub fn subtract_i64(&mut self, n: i64) {
        let low = n & 0xffff_ffff;
        self.add(-((n - low) as f64));
        self.add(-(low as f64));
    }

    pub fn add_other(&mut self, other: DoubleDouble) {
        self.add(other.sum);
        self.add(other.addend);
    }

    pub fn get(&self) -> f64 {
        let sum = self.sum + self.addend;
        if sum.is_finite() || self.special.is_finite() { sum } else { self.special }
    }

    /// The two doubles.
    pub fn parts(&self) -> (f64, f64) {
        if self.sum.is_finite() { (self.sum, self.addend) } else { (self.get(), 0.0) }
    }

    /// The sum as a long, when it is an integer in range.
    pub fn to_i64(&self) -> Option<i64> {
        let (sum, addend) = self.parts();
        if !sum.is_finite() || sum.fract() != 0.0 || addend.fract() != 0.0 || sum.abs() > 1e20 {
            return None;
        }
        i64::try_from(sum as i128 + addend as i128).ok()
    }

    /// The sum as a decimal of 34 digits.
    pub fn to_decimal(&self) -> Decimal {
        let (sum, addend) = self.parts();
        if addend == 0.0 { exact_decimal(sum) } else { exact_decimal(sum).add(exact_decimal(addend)) }
    }
}

/// A double as a decimal with as many digits as a decimal holds (not the 15 that `$toDecimal` keeps).
pub fn exact_decimal(x: f64) -> Decimal {
    if x.fract() == 0.0 && x.abs() < 9.2e18 {
        return Decimal::from_i64(x as i64);
    }
    if !x.is_finite() {
        return Decimal::from_f64(x);
    }
    let text = format!("{x:.60e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    Decimal::parse(&format!("{digits}E{exponent}")).unwrap_or_else(|| Decimal::from_f64(x))
}

/// What `$sum` and `$avg` share: doubles and integers in one compensated sum, decimals in another, and the widest type seen.
#[derive(Clone, Debug)]
pub struct Total {
    plain: DoubleDouble,
    decimal: Option<Decimal>,
    widest: Widest,
    pub count: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Widest {
    Int,
    Long,
    Double,
    Decimal,
}

impl Default for Total {
    fn default() -> Self {
        Total { plain: DoubleDouble::default(), decimal: None, widest: Widest::Int, count: 0 }
    }
}

impl Total {
    /// Adds a number; anything else is ignored, as `$sum` and `$avg` do.
    #[inline]
    pub fn add(&mut self, value: Value<'_>) {
        let kind = match value {
            Value::Int32(n) => {
                self.plain.add(f64::from(n));
                Widest::Int
            }
            Value::Int64(n) => {
                self.plain.add_i64(n);
                Widest::Long
            }
            Value::Double(x) => {
                self.plain.add(x);
                Widest::Double
            }
            Value::Decimal(d) => {
                self.decimal = Some(self.decimal.unwrap_or(Decimal::ZERO).add(d));
                Widest::Decimal
            }
            _ => return,
        };
        self.count += 1;
        self.widest = self.widest.max(kind);
    }

    /// Adds a number as `$avg` does: longs count as the nearest double.
    pub fn add_to_average(&mut self, value: Value<'_>) {
        match value {
            Value::Int64(n) => self.add(Value::Double(n as f64)),
            v => self.add(v),
        }
    }

    fn decimal_total(&self) -> Decimal {
        let plain = self.plain.to_decimal();
        match self.decimal {
            Some(d) => d.add(plain),
            None => plain,
        }
    }

    /// The value of `$sum`: of the widest type seen; an int that overflows becomes a long, a long a double.
    pub fn sum(&self) -> Value<'static> {
        match self.widest {
            Widest::Decimal => Value::Decimal(self.decimal_total()),
            Widest::Double => Value::Double(self.plain.get()),
            Widest::Int | Widest::Long => match self.plain.to_i64() {
                Some(n) => match i32::try_from(n) {
                    Ok(n) if self.widest == Widest::Int => Value::Int32(n),
                    _ => Value::Int64(n),
                },
                None => Value::Double(self.plain.get()),
            },
        }
    }

    /// The value of `$avg`: null when there was no number.
    pub fn average(&self) -> Value<'static> {
        if self.count == 0 {
            return Value::Null;
        }
        match self.widest {
            Widest::Decimal => Value::Decimal(self.decimal_total().div(Decimal::from_i64(self.count))),
            _ => Value::Double(self.plain.get() / self.count as f64),
        }
    }

    /// The state as values, for spilling: the inverse is [`Total::merge`].
    pub fn parts(&self) -> [Value<'static>; 5] {
        let (sum, addend) = self.plain.parts();
        [
            Value::Double(sum),
            Value::Double(addend),
            self.decimal.map_or(Value::Null, Value::Decimal),
            Value::Int32(self.widest as i32),
            Value::Int64(self.count),
        ]
    }

    /// Adds a state that was taken apart by [`Total::parts`].
    pub fn merge<'v>(&mut self, mut parts: impl Iterator<Item = Value<'v>>) {
        let mut next = || parts.next().unwrap_or(Value::Null);
        if let (Value::Double(sum), Value::Double(addend)) = (next(), next()) {
            self.plain.add_other(DoubleDouble::new(sum, addend));
        }
        if let Value::Decimal(d) = next() {
            self.decimal = Some(self.decimal.map_or(d, |sum| sum.add(d)));
        }
        let widest = match next() {
            Value::Int32(1) => Widest::Long,
            Value::Int32(2) => Widest::Double,
            Value::Int32(3) => Widest::Decimal,
            _ => Widest::Int,
        };
        self.widest = self.widest.max(widest);
        if let Value::Int64(n) = next() {
            self.count += n;
        }
    }
}

/// Mean and variance in one pass (Welford). Numbers of any type count as doubles.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deviation {
    pub count: i64,
    pub mean: f64,
    pub m2: f64,
    /// A value that is not finite was seen: the result is NaN.
    pub poisoned: bool,
}

impl Deviation {
    pub fn add(&mut self, value: Value<'_>) {
        let Some(x) = smongo_bson::number::to_f64(value) else { return };
        self.count += 1;
        if !x.is_finite() {
            self.poisoned = true;
            return;
        }
        let delta = x - self.mean;
        self.mean += delta / self.count as f64;
        self.m2 += delta * (x - self.mean);
    }

    pub fn merge(&mut self, other: Deviation) {
        let (n, m) = (self.count as f64, other.count as f64);
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other;
            return;
        }
        let delta = other.mean - self.mean;
        self.poisoned |= other.poisoned;
        self.mean = (n * self.mean + m * other.mean) / (n + m);
        self.m2 += other.m2 + delta * delta * (n * m / (n + m));
        self.count += other.count;
    }

    /// `$stdDevPop`: null without numbers.
    pub fn population(&self) -> Value<'static> {
        self.root(self.count)
    }

    /// `$stdDevSamp`: null with fewer than two numbers.
    pub fn sample(&self) -> Value<'static> {
        self.root(self.count - 1)
    }

    fn root(&self, divisor: i64) -> Value<'static> {
        match divisor {
            n if n <= 0 => Value::Null,
            _ if self.poisoned => Value::Double(f64::NAN),
            n => Value::Double((self.m2 / n as f64).sqrt()),
        }
    }
}
