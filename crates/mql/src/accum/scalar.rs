//! Accumulators that keep one value: `$sum $avg $count $min $max $stdDevPop $stdDevSamp $mergeObjects`.

use std::sync::Arc;

use smongo_bson::compare::{Collator, compare_with};
use smongo_bson::{Result, Value, ValueBuf, bail};

use super::State;
use super::spec::Setup;
use super::summation::{Deviation, Total};
use crate::collation::Collation;
use crate::fields::NamedFields;

struct Sum {
    total: Total,
    average: bool,
}

pub(super) fn sum(_n: usize, _s: &Setup) -> Box<dyn State> {
    Box::new(Sum { total: Total::default(), average: false })
}

pub(super) fn avg(_n: usize, _s: &Setup) -> Box<dyn State> {
    Box::new(Sum { total: Total::default(), average: true })
}

impl State for Sum {
    fn add(&mut self, value: Value<'_>, _key: &[u8]) -> Result<()> {
        self.total.add(value);
        Ok(())
    }
    fn finish(&mut self) -> Result<ValueBuf> {
        Ok(ValueBuf::new(if self.average { self.total.average() } else { self.total.sum() }))
    }
    fn partial(&mut self) -> Result<ValueBuf> {
        Ok(list(self.total.parts()))
    }
    fn merge(&mut self, partial: Value<'_>) -> Result<()> {
        if let Value::Array(parts) = partial {
            self.total.merge(parts.iter());
        }
        Ok(())
    }
}

/// An array.
pub fn list<'v>(values: impl IntoIterator<Item = Value<'v>>) -> ValueBuf {
    ValueBuf::array(|w| {
        for v in values {
            w.push(v);
        }
    })
}

struct Count(i64);

pub(super) fn count(_n: usize, _s: &Setup) -> Box<dyn State> {
    Box::new(Count(0))
}

/// A count as `$count` and `{$sum: 1}` give it: an int while it fits.
pub fn count_value(n: i64) -> Value<'static> {
    i32::try_from(n).map_or(Value::Int64(n), Value::Int32)
}

impl State for Count {
    fn add(&mut self, _value: Value<'_>, _key: &[u8]) -> Result<()> {
        self.0 += 1;
        Ok(())
    }
    fn finish(&mut self) -> Result<ValueBuf> {
        Ok(ValueBuf::new(count_value(self.0)))
    }
    fn partial(&mut self) -> Result<ValueBuf> {
        Ok(ValueBuf::new(Value::Int64(self.0)))
    }
    fn merge(&mut self, partial: Value<'_>) -> Result<()> {
        if let Value::Int64(n) = partial {
            self.0 += n;
        }
        Ok(())
    }
}

struct Extreme {
    best: ValueBuf,
    collation: Option<Arc<Collation>>,
    greatest: bool,
}

fn extreme(s: &Setup, greatest: bool) -> Box<dyn State> {
    Box::new(Extreme { best: ValueBuf::MISSING(), collation: s.collation.clone(), greatest })
}

pub(super) fn min(_n: usize, s: &Setup) -> Box<dyn State> {
    extreme(s, false)
}

pub(super) fn max(_n: usize, s: &Setup) -> Box<dyn State> {
    extreme(s, true)
}

impl State for Extreme {
    fn add(&mut self, value: Value<'_>, _key: &[u8]) -> Result<()> {
        if value.is_nullish() {
            return Ok(());
        }
        let best = self.best.view();
        let better = best.is_missing() || {
            let order = compare_with(value, best, self.collation.as_deref().map(|c| c as &dyn Collator));
            if self.greatest { order.is_gt() } else { order.is_lt() }
        };
        if better {
            self.best = ValueBuf::new(value);
        }
        Ok(())
    }
    fn finish(&mut self) -> Result<ValueBuf> {
        Ok(match self.best.view() {
            Value::Missing => ValueBuf::new(Value::Null),
            v => ValueBuf::new(v),
        })
    }
    fn partial(&mut self) -> Result<ValueBuf> {
        self.finish()
    }
    fn merge(&mut self, partial: Value<'_>) -> Result<()> {
        self.add(partial, &[])
    }
    fn size(&self) -> usize {
        self.best.size()
    }
}

struct StdDev {
    deviation: Deviation,
    sample: bool,
}

pub(super) fn std_dev_pop(_n: usize, _s: &Setup) -> Box<dyn State> {
    Box::new(StdDev { deviation: Deviation::default(), sample: false })
}

pub(super) fn std_dev_samp(_n: usize, _s: &Setup) -> Box<dyn State> {
    Box::new(StdDev { deviation: Deviation::default(), sample: true })
}

impl State for StdDev {
    fn add(&mut self, value: Value<'_>, _key: &[u8]) -> Result<()> {
        self.deviation.add(value);
        Ok(())
    }
    fn finish(&mut self) -> Result<ValueBuf> {
        Ok(ValueBuf::new(if self.sample { self.deviation.sample() } else { self.deviation.population() }))
    }
    fn partial(&mut self) -> Result<ValueBuf> {
        let d = self.deviation;
        Ok(list([Value::Int64(d.count), Value::Double(d.mean), Value::Double(d.m2), Value::Bool(d.poisoned)]))
    }
    fn merge(&mut self, partial: Value<'_>) -> Result<()> {
        let Value::Array(parts) = partial else { return Ok(()) };
        let mut parts = parts.iter();
        let mut next = || parts.next().unwrap_or(Value::Null);
        if let (Value::Int64(count), Value::Double(mean), Value::Double(m2), Value::Bool(poisoned)) = (next(), next(), next(), next()) {
            self.deviation.merge(Deviation { count, mean, m2, poisoned });
        }
        Ok(())
    }
}

/// The fields merged so far, as elements' bytes by name in the order of first appearance.
#[derive(Default)]
struct MergeObjects {
    fields: NamedFields<Arc<str>, ValueBuf>,
    size: usize,
}

pub(super) fn merge_objects(_n: usize, _s: &Setup) -> Box<dyn State> {
    Box::new(MergeObjects::default())
}

impl State for MergeObjects {
    fn add(&mut self, value: Value<'_>, _key: &[u8]) -> Result<()> {
        let doc = match value {
            Value::Document(d) => d,
            v if v.is_nullish() => return Ok(()),
            v => bail!(40400, "$mergeObjects requires object inputs, but input {v:?} is of type {}", v.type_name()),
        };
        for field in doc {
            let (name, value) = (field.name(), ValueBuf::new(field.value()));
            self.size += value.size();
            match self.fields.put(name.into(), value) {
                Some(old) => self.size -= old.size(),
                None => self.size += name.len() + 64,
            }
        }
        Ok(())
    }
    fn finish(&mut self) -> Result<ValueBuf> {
        let doc = smongo_bson::DocBuf::build(|w| {
            for (name, value) in self.fields.iter() {
                w.append(name, value.view());
            }
        });
        Ok(ValueBuf::document(doc))
    }
    fn partial(&mut self) -> Result<ValueBuf> {
        self.finish()
    }
    fn merge(&mut self, partial: Value<'_>) -> Result<()> {
        self.add(partial, &[])
    }
    fn size(&self) -> usize {
        self.size
    }
}
