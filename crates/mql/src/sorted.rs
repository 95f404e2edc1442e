//! The elements of an array in order, so that a value is found among them by halves.

use smongo_bson::compare::{Collator, compare_with};
use smongo_bson::doc::Iter;
use smongo_bson::{Array, Doc, Value};

/// Up to so many elements are looked at one by one.
pub(crate) const FEW: usize = 16;

/// Where the elements of an array begin, in the order of their values.
pub(crate) struct SortedElements(Box<[u32]>);

fn at<'a>(array: Array<'a>, offset: u32) -> Value<'a> {
    let rest = Doc::from_checked(array.as_bytes()).body().get(offset as usize..).unwrap_or(&[]);
    Iter::over(rest).next().map_or(Value::Missing, |e| e.value())
}

impl SortedElements {
    pub fn new(array: Array<'_>, collator: Option<&dyn Collator>) -> SortedElements {
        let mut next = 0;
        let mut elements: Vec<(Value<'_>, u32)> = Vec::new();
        for e in array.elements() {
            elements.push((e.value(), next));
            next += e.raw().len() as u32;
        }
        elements.sort_by(|(a, _), (b, _)| compare_with(*a, *b, collator));
        SortedElements(elements.into_iter().map(|(_, offset)| offset).collect())
    }

    /// Whether the array, the one it was made of, has an element that equals the value.
    pub fn contains(&self, array: Array<'_>, value: Value<'_>, collator: Option<&dyn Collator>) -> bool {
        self.0.binary_search_by(|offset| compare_with(at(array, *offset), value, collator)).is_ok()
    }
}
