//! `control.min` and `control.max`: the smallest and the largest value of each field, within documents and arrays of each part.

use smongo_bson::compare::compare;
use smongo_bson::{ArrayWriter, DocWriter, Value, ValueBuf};

/// The extremes of a field of the measurements of one bucket.
pub enum MinMax {
    Scalar { min: ValueBuf, max: ValueBuf },
    Document(Vec<(String, MinMax)>),
    Array(Vec<MinMax>),
}

impl MinMax {
    pub fn new(value: Value<'_>) -> MinMax {
        match value {
            Value::Document(doc) => MinMax::Document(doc.iter().map(|e| (e.name().to_owned(), MinMax::new(e.value()))).collect()),
            Value::Array(array) => MinMax::Array(array.iter().map(MinMax::new).collect()),
            value => MinMax::Scalar { min: ValueBuf::new(value), max: ValueBuf::new(value) },
        }
    }

    /// Whether a value is of the same kind, all the way down: a bucket holds no others.
    pub fn takes(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (MinMax::Document(fields), Value::Document(doc)) => {
                doc.iter().all(|e| fields.iter().find(|(name, _)| name == e.name()).is_none_or(|(_, field)| field.takes(e.value())))
            }
            (MinMax::Array(elements), Value::Array(array)) => elements.iter().zip(array.iter()).all(|(element, value)| element.takes(value)),
            (MinMax::Document(_) | MinMax::Array(_), _) | (_, Value::Document(_) | Value::Array(_)) => false,
            (MinMax::Scalar { min, .. }, value) => min.view().type_of().rank() == value.type_of().rank(),
        }
    }

    pub fn add(&mut self, value: Value<'_>) {
        match (self, value) {
            (MinMax::Document(fields), Value::Document(doc)) => {
                for e in doc {
                    match fields.iter_mut().find(|(name, _)| name == e.name()) {
                        Some((_, field)) => field.add(e.value()),
                        None => fields.push((e.name().to_owned(), MinMax::new(e.value()))),
                    }
                }
            }
            (MinMax::Array(elements), Value::Array(array)) => {
                for (n, value) in array.iter().enumerate() {
                    match elements.get_mut(n) {
                        Some(element) => element.add(value),
                        None => elements.push(MinMax::new(value)),
                    }
                }
            }
            (MinMax::Scalar { min, max }, value) => {
                if compare(value, min.view()).is_lt() {
                    *min = ValueBuf::new(value);
                } else if compare(value, max.view()).is_gt() {
                    *max = ValueBuf::new(value);
                }
            }
            // What `takes` refuses does not come here.
            _ => {}
        }
    }

    pub fn write(&self, w: &mut DocWriter<'_>, name: &str, max: bool) {
        match self {
            MinMax::Scalar { min: low, max: high } => {
                w.append(name, if max { high.view() } else { low.view() });
            }
            MinMax::Document(fields) => {
                let mut w = w.document(name);
                fields.iter().for_each(|(name, field)| field.write(&mut w, name, max));
            }
            MinMax::Array(elements) => write_elements(elements, &mut w.array(name), max),
        }
    }
}

fn write_elements(elements: &[MinMax], w: &mut ArrayWriter<'_>, max: bool) {
    for element in elements {
        match element {
            MinMax::Scalar { min: low, max: high } => {
                w.push(if max { high.view() } else { low.view() });
            }
            MinMax::Document(fields) => {
                let mut w = w.document();
                fields.iter().for_each(|(name, field)| field.write(&mut w, name, max));
            }
            MinMax::Array(elements) => write_elements(elements, &mut w.array(), max),
        }
    }
}
