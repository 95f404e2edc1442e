//! Sums, deviations and covariances that documents can be taken out of again, for frames that move.

use smongo_bson::number::{self, add, is_infinite, is_nan, multiply, subtract};
use smongo_bson::{Decimal, Value};

use super::scalar::count_value;
use super::summation::DoubleDouble;

/// A sum of numbers; its type is the widest of those it holds.
#[derive(Clone, Debug)]
pub struct RemovableSum {
    plain: DoubleDouble,
    decimal: Decimal,
    ints: i64,
    longs: i64,
    doubles: i64,
    decimals: i64,
    nans: i64,
    positive: i64,
    negative: i64,
}

impl Default for RemovableSum {
    fn default() -> Self {
        let zero = Decimal::from_i64(0);
        RemovableSum { plain: DoubleDouble::default(), decimal: zero, ints: 0, longs: 0, doubles: 0, decimals: 0, nans: 0, positive: 0, negative: 0 }
    }
}

impl RemovableSum {
    pub fn add(&mut self, value: Value<'_>) {
        self.change(value, 1);
    }

    pub fn remove(&mut self, value: Value<'_>) {
        self.change(value, -1);
    }

    fn change(&mut self, value: Value<'_>, by: i64) {
        match value {
            Value::Int32(_) => self.ints += by,
            Value::Int64(_) => self.longs += by,
            Value::Double(_) => self.doubles += by,
            Value::Decimal(_) => self.decimals += by,
            _ => return,
        }
        if is_nan(value) {
            self.nans += by;
            return;
        }
        if is_infinite(value) {
            let negative = number::compare(value, Value::Int32(0)).is_lt();
            *(if negative { &mut self.negative } else { &mut self.positive }) += by;
            return;
        }
        match value {
            Value::Int32(n) => self.plain.add(f64::from(n) * by as f64),
            Value::Int64(n) if by > 0 => self.plain.add_i64(n),
            Value::Int64(n) => self.plain.subtract_i64(n),
            Value::Double(x) => self.plain.add(x * by as f64),
            Value::Decimal(d) if by > 0 => self.decimal = self.decimal.add(d),
            Value::Decimal(d) => self.decimal = self.decimal.sub(d),
            _ => {}
        }
    }

    /// How many numbers it holds.
    pub fn count(&self) -> i64 {
        self.ints + self.longs + self.doubles + self.decimals
    }

    pub fn value(&self) -> Value<'static> {
        let special = match (self.nans, self.positive, self.negative) {
            (0, 0, 0) => None,
            (0, _, 0) => Some(f64::INFINITY),
            (0, 0, _) => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        };
        if self.decimals > 0 {
            let others = self.count() - self.decimals;
            return Value::Decimal(match special {
                Some(x) => Decimal::from_f64(x),
                None if others == 0 => self.decimal,
                None => self.decimal.add(self.plain.to_decimal()),
            });
        }
        if let Some(x) = special {
            return Value::Double(x);
        }
        if self.doubles > 0 {
            return Value::Double(self.plain.get());
        }
        match self.plain.to_i64() {
            Some(n) if self.longs > 0 => Value::Int64(n),
            Some(n) => count_value(n),
            None => Value::Double(self.plain.get()),
        }
    }

    /// The mean; null of nothing.
    pub fn average(&self) -> Value<'static> {
        match (self.count(), self.value()) {
            (0, _) => Value::Null,
            (n, Value::Decimal(d)) => Value::Decimal(d.div(Decimal::from_i64(n))),
            (n, v) => Value::Double(number::to_f64(v).unwrap_or(f64::NAN) / n as f64),
        }
    }
}

/// Standard deviation by running sum and sum of squared differences.
#[derive(Clone, Debug, Default)]
pub struct RemovableDeviation {
    count: i64,
    sum: DoubleDouble,
    m2: f64,
    special: i64,
}

impl RemovableDeviation {
    /// Adds the value (`by` 1) or takes it out (`by` -1).
    pub fn change(&mut self, value: Value<'_>, by: i64) {
        let Some(x) = number::to_f64(value) else { return };
        if !x.is_finite() {
            self.special += by;
            return;
        }
        if self.count == 0 || self.count + by == 0 {
            let special = self.special;
            *self = RemovableDeviation { special, ..Default::default() };
            if by > 0 {
                self.count = 1;
                self.sum.add(x);
            }
            return;
        }
        let difference = self.count as f64 * x - self.sum.get();
        self.count += by;
        self.sum.add(x * by as f64);
        self.m2 += by as f64 * difference * difference / (self.count * (self.count - by)) as f64;
    }

    /// Null without numbers (of a sample: fewer than two), and with one that is not finite.
    pub fn value(&self, sample: bool) -> Value<'static> {
        let divisor = if sample { self.count - 1 } else { self.count };
        if self.special > 0 || divisor <= 0 {
            return Value::Null;
        }
        if self.m2 < 0.0 || (!sample && self.count == 1) {
            return Value::Int32(0);
        }
        Value::Double((self.m2 / divisor as f64).sqrt())
    }
}

/// Covariance of pairs, from running sums.
#[derive(Clone, Debug, Default)]
pub struct Covariance {
    count: i64,
    x: RemovableSum,
    y: RemovableSum,
    product: RemovableSum,
}

fn or_nan(v: smongo_bson::Result<Value<'static>>) -> Value<'static> {
    v.unwrap_or(Value::Double(f64::NAN))
}

fn divided(v: Value<'static>, by: i64) -> Value<'static> {
    match v {
        // A count is a double here, and a double becomes a decimal of 15 digits: that shows in the exponent of a zero.
        Value::Decimal(d) => Value::Decimal(d.div(Decimal::from_f64(by as f64))),
        v => Value::Double(number::to_f64(v).unwrap_or(f64::NAN) / by as f64),
    }
}

fn mean(sum: &RemovableSum, count: i64) -> Value<'static> {
    if count == 0 { Value::Int32(0) } else { divided(sum.value(), count) }
}

impl Covariance {
    pub fn add(&mut self, x: Value<'_>, y: Value<'_>) {
        if self.special(x, y, RemovableSum::add) {
            return;
        }
        let dx = or_nan(subtract(x, mean(&self.x, self.count)));
        self.count += 1;
        self.x.add(x);
        self.y.add(y);
        let dy = or_nan(subtract(y, mean(&self.y, self.count)));
        self.product.add(or_nan(multiply(dx, dy)));
    }

    pub fn remove(&mut self, x: Value<'_>, y: Value<'_>) {
        if self.special(x, y, RemovableSum::remove) {
            return;
        }
        let dy = or_nan(subtract(y, mean(&self.y, self.count)));
        self.count -= 1;
        self.x.remove(x);
        self.y.remove(y);
        let dx = or_nan(subtract(x, mean(&self.x, self.count)));
        self.product.remove(or_nan(multiply(dx, dy)));
    }

    /// Pairs that are not finite only mark the result.
    fn special(&mut self, x: Value<'_>, y: Value<'_>, change: fn(&mut RemovableSum, Value<'_>)) -> bool {
        let special = [x, y].into_iter().any(|v| is_nan(v) || is_infinite(v));
        if special {
            change(&mut self.product, or_nan(add(x, y)));
        }
        special
    }

    /// Null without finite pairs (for a sample: with fewer than two).
    pub fn value(&self, sample: bool) -> Value<'static> {
        match (self.count, sample) {
            (0, _) | (1, true) => Value::Null,
            (1, false) => Value::Double(0.0),
            (n, false) => divided(self.product.value(), n),
            (n, true) => divided(self.product.value(), n - 1),
        }
    }
}
