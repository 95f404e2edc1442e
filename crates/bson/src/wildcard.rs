//! Which keys a document has in a wildcard index: one for each value at each path in the index's scope.

use crate::doc::Doc;
use crate::error::Result;
use crate::value::Value;

/// The paths a wildcard index covers.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Whether `paths` are what is covered, or what is not.
    include: bool,
    paths: Vec<Box<str>>,
    /// Whether `_id` is covered where the paths do not say.
    id: bool,
}

/// How a path lies in a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Inside,
    Outside,
    /// Some paths below it are inside.
    Above,
    /// All but some paths below it are inside.
    Around,
}

/// Whether `path` is `root` or lies below it.
fn below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl Scope {
    pub fn new(include: bool, paths: Vec<Box<str>>, id: bool) -> Scope {
        Scope { include, paths, id }
    }

    /// Everything at and below one path: `{"a.$**": 1}`.
    pub fn below(path: &str) -> Scope {
        Scope { include: true, paths: vec![path.into()], id: false }
    }

    /// Everything but `_id`: `{"$**": 1}`.
    pub fn all() -> Scope {
        Scope::default()
    }

    /// The path below which everything is covered, where the scope is one of those.
    pub fn root(&self) -> Option<&str> {
        match &*self.paths {
            [only] if self.include => Some(&**only),
            _ => None,
        }
    }

    fn place(&self, path: &str) -> Place {
        if below(path, "_id") && !self.paths.iter().any(|p| below(p, "_id")) {
            return if self.id { Place::Inside } else { Place::Outside };
        }
        let listed = self.paths.iter().any(|p| below(path, p));
        let above = self.paths.iter().any(|p| below(p, path));
        match (self.include, listed, above) {
            (true, true, _) | (false, false, false) => Place::Inside,
            (true, false, true) => Place::Above,
            (false, false, true) => Place::Around,
            _ => Place::Outside,
        }
    }

    /// Whether the index knows every value at the path and below it.
    pub fn covers(&self, path: &str) -> bool {
        self.place(path) == Place::Inside
    }

    /// Whether the path or anything below it is indexed.
    pub fn touches(&self, path: &str) -> bool {
        self.place(path) != Place::Outside
    }

    /// Calls `emit` with every path and value of a document in the scope; returns whether an array was among them.
    ///
    /// Documents count with their fields, empty ones by themselves; arrays with their elements, an empty one as undefined and an
    /// array in an array as a whole. A field whose name has a dot cannot be reached by a path: it makes its parent known.
    pub fn keys<'a>(&self, doc: Doc<'a>, emit: &mut dyn FnMut(&str, Value<'a>) -> Result<()>) -> Result<bool> {
        let mut walk = Walk { scope: self, path: String::new(), arrays: false, emit };
        walk.fields(doc)?;
        Ok(walk.arrays)
    }
}

struct Walk<'s, 'a, 'e> {
    scope: &'s Scope,
    path: String,
    arrays: bool,
    emit: &'e mut dyn FnMut(&str, Value<'a>) -> Result<()>,
}

impl<'a> Walk<'_, 'a, '_> {
    fn fields(&mut self, doc: Doc<'a>) -> Result<()> {
        let depth = self.path.len();
        for field in doc {
            if field.name().contains('.') {
                if depth > 0 {
                    self.leaf(Value::Undefined)?;
                }
                continue;
            }
            if depth > 0 {
                self.path.push('.');
            }
            self.path.push_str(field.name());
            if self.scope.touches(&self.path) {
                self.value(field.value())?;
            }
            self.path.truncate(depth);
        }
        Ok(())
    }

    fn value(&mut self, value: Value<'a>) -> Result<()> {
        let Value::Array(array) = value else { return self.element(value) };
        self.arrays = true;
        if array.is_empty() {
            return self.leaf(Value::Undefined);
        }
        if self.scope.place(&self.path) == Place::Above {
            // A number in the path of the scope may mean an element.
            let depth = self.path.len();
            for (n, element) in array.iter().enumerate() {
                self.path.push_str(&format!(".{n}"));
                if self.scope.touches(&self.path) {
                    self.value(element)?;
                }
                self.path.truncate(depth);
            }
        }
        array.iter().try_for_each(|element| self.element(element))
    }

    fn element(&mut self, value: Value<'a>) -> Result<()> {
        match value {
            Value::Document(doc) if !doc.is_empty() => self.fields(doc),
            leaf => self.leaf(leaf),
        }
    }

    fn leaf(&mut self, value: Value<'a>) -> Result<()> {
        match self.scope.place(&self.path) {
            Place::Inside | Place::Around => (self.emit)(&self.path, value),
            Place::Above | Place::Outside => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{parse_doc, value_to_relaxed};

    fn keys(scope: &Scope, doc: &str) -> String {
        let doc = parse_doc(doc).unwrap_or_default();
        let mut all = Vec::new();
        let done = scope.keys(doc.as_doc(), &mut |path, value| {
            all.push(format!("{path}={}", value_to_relaxed(value)));
            Ok(())
        });
        format!("{}{}", all.join(" "), if done.unwrap_or(false) { " multikey" } else { "" })
    }

    #[test]
    fn everything_but_the_id() {
        let all = Scope::all();
        assert_eq!(keys(&all, r#"{"_id": 1, "a": 5, "b": {"c": "x", "d": {}}}"#), r#"a=5 b.c="x" b.d={}"#);
        assert_eq!(keys(&all, r#"{"a": [1, {"b": 2}, [3], []], "e": []}"#), r#"a=1 a.b=2 a=[3] a=[] e={"$undefined":true} multikey"#);
        assert_eq!(keys(&all, r#"{"a": {"b.c": 1}, "d.e": 2}"#), r#"a={"$undefined":true}"#);
    }

    #[test]
    fn below_a_path() {
        let scope = Scope::below("a.b");
        assert_eq!(keys(&scope, r#"{"a": {"b": {"c": 1}, "d": 2}, "ab": 3}"#), "a.b.c=1");
        assert_eq!(keys(&scope, r#"{"a": 5}"#), "");
        assert_eq!(keys(&Scope::below("a.0"), r#"{"a": [{"b": 1}, {"b": 2}]}"#), "a.0.b=1 multikey");
        assert!(scope.covers("a.b.x") && !scope.covers("a") && !scope.covers("a.bc"));
    }

    #[test]
    fn projections() {
        let only = Scope::new(true, vec!["a".into()], false);
        assert!(only.covers("a.b") && !only.covers("b") && !only.covers("_id"));
        let without = Scope::new(false, vec!["a.b".into()], true);
        assert!(without.covers("a.c") && !without.covers("a") && !without.covers("a.b.x") && without.covers("_id"));
        assert_eq!(keys(&without, r#"{"_id": 1, "a": {"b": 2, "c": 3}}"#), "_id=1 a.c=3");
    }
}
