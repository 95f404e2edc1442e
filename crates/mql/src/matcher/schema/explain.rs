//! Why a value does not satisfy a schema: the `details` of a failed validation.

use smongo_bson::{Doc, DocBuf, DocWriter, Value, ValueBuf};

use super::{Dependency, Rest, Rule, Schema, duplicate, is_additional};

impl Schema {
    /// `{operatorName: "$jsonSchema", schemaRulesNotSatisfied: […]}`.
    pub fn explain(&self, doc: Doc<'_>) -> DocBuf {
        DocBuf::build(|w| {
            w.append("operatorName", "$jsonSchema");
            self.annotate(w);
            w.append("schemaRulesNotSatisfied", self.details(Value::Document(doc)).view());
        })
    }

    /// `title` and `description` of the schema.
    fn annotate(&self, w: &mut DocWriter<'_>) {
        for keyword in ["title", "description"] {
            w.append(keyword, self.source.get(keyword));
        }
    }

    /// The rules the value breaks. A value of the wrong type is reported as that only.
    fn details(&self, value: Value<'_>) -> ValueBuf {
        ValueBuf::array(|out| {
            for rule in self.rules.iter().filter(|r| !r.accepts(value)) {
                out.push(rule.explain(self.source.as_doc(), value).as_doc());
                if matches!(rule, Rule::Type { .. }) {
                    break;
                }
            }
        })
    }
}

fn specified(w: &mut DocWriter<'_>, source: Doc<'_>, keyword: &str) {
    w.document("specifiedAs").append(keyword, source.get(keyword));
}

fn failed(w: &mut DocWriter<'_>, source: Doc<'_>, keyword: &str, reason: &str, value: Value<'_>) {
    w.append("operatorName", keyword);
    specified(w, source, keyword);
    w.append("reason", reason).append("consideredValue", value);
}

impl Rule {
    fn explain(&self, source: Doc<'_>, value: Value<'_>) -> DocBuf {
        DocBuf::build(|w| match self {
            Rule::Type { keyword, .. } => {
                failed(w, source, keyword, "type did not match", value);
                w.append("consideredType", value.type_name());
            }
            Rule::AllOf(schemas) => branches(w, "allOf", schemas, value),
            Rule::AnyOf(schemas) => branches(w, "anyOf", schemas, value),
            Rule::OneOf(schemas) => one_of(w, schemas, value),
            Rule::Not(_) => {
                w.append("operatorName", "not").append("reason", "child expression matched");
            }
            Rule::Enum(_) => failed(w, source, "enum", "value was not found in enum", value),
            Rule::Bound { keyword, .. } => bound(w, source, keyword, value),
            Rule::MultipleOf(_) => failed(w, source, "multipleOf", "considered value is not a multiple of the specified value", value),
            Rule::Length { keyword, .. } => failed(w, source, keyword, "specified string length was not satisfied", value),
            Rule::Pattern(_) => failed(w, source, "pattern", "regular expression did not match", value),
            Rule::ItemCount { keyword, .. } => failed(w, source, keyword, "array did not match specified length", value),
            Rule::UniqueItems => {
                failed(w, source, "uniqueItems", "found a duplicate item", value);
                if let Some(twice) = value.as_array().and_then(duplicate) {
                    w.append("duplicatedValue", twice.view());
                }
            }
            Rule::Items(schema) => {
                let broken = value.as_array().and_then(|a| a.iter().enumerate().find(|(_, v)| !schema.accepts(*v)));
                item(w, "items", schema, broken);
            }
            Rule::Tuple { schemas, rest } => tuple(w, source, schemas, rest, value),
            _ => self.explain_doc(w, source, value.as_doc().unwrap_or(Doc::EMPTY)),
        })
    }

    /// Rules about documents.
    fn explain_doc(&self, w: &mut DocWriter<'_>, source: Doc<'_>, doc: Doc<'_>) {
        match self {
            Rule::Properties(schemas) => {
                w.append("operatorName", "properties");
                let mut list = w.array("propertiesNotSatisfied");
                for (name, schema) in schemas {
                    let value = doc.get(name);
                    if !value.is_missing() && !schema.accepts(value) {
                        let mut one = list.document();
                        one.append("propertyName", name.as_str());
                        schema.annotate(&mut one);
                        one.append("details", schema.details(value).view());
                    }
                }
            }
            Rule::PatternProperties(schemas) => {
                w.append("operatorName", "patternProperties");
                let mut list = w.array("details");
                for e in doc {
                    for (regex, schema) in schemas {
                        if regex.is_match(e.name()).unwrap_or(false) && !schema.accepts(e.value()) {
                            let mut one = list.document();
                            one.append("propertyName", e.name()).append("regexMatched", regex.pattern.as_str());
                            schema.annotate(&mut one);
                            one.append("details", schema.details(e.value()).view());
                        }
                    }
                }
            }
            Rule::AdditionalProperties { known, patterns, rest } => {
                let names: Vec<&str> = doc.iter().map(|e| e.name()).filter(|n| is_additional(n, known, patterns)).collect();
                additional_properties(w, source, doc, &names, rest);
            }
            Rule::Required(names) => {
                w.append("operatorName", "required");
                specified(w, source, "required");
                missing(w, names, doc);
            }
            Rule::PropertyCount { keyword, .. } => {
                w.append("operatorName", *keyword);
                specified(w, source, keyword);
                w.append("reason", "specified number of properties was not satisfied").append("numberOfProperties", doc.len() as i32);
            }
            Rule::Dependencies(list) => dependencies(w, list, doc),
            _ => {}
        }
    }
}

fn missing(w: &mut DocWriter<'_>, names: &[String], doc: Doc<'_>) {
    let mut list = w.array("missingProperties");
    let mut absent: Vec<&str> = names.iter().map(String::as_str).filter(|n| !doc.contains(n)).collect();
    absent.sort_unstable();
    for name in absent {
        list.push(name);
    }
}

fn bound(w: &mut DocWriter<'_>, source: Doc<'_>, keyword: &str, value: Value<'_>) {
    let exclusive = if keyword == "minimum" { "exclusiveMinimum" } else { "exclusiveMaximum" };
    w.append("operatorName", keyword);
    w.document("specifiedAs").append(keyword, source.get(keyword)).append(exclusive, source.get(exclusive));
    w.append("reason", "comparison failed").append("consideredValue", value);
}

/// The branches that do not accept the value, with why.
fn branches(w: &mut DocWriter<'_>, keyword: &str, schemas: &[Schema], value: Value<'_>) {
    w.append("operatorName", keyword);
    let mut list = w.array("schemasNotSatisfied");
    for (index, schema) in schemas.iter().enumerate().filter(|(_, s)| !s.accepts(value)) {
        let mut one = list.document();
        one.append("index", index as i32);
        schema.annotate(&mut one);
        one.append("details", schema.details(value).view());
    }
}

fn one_of(w: &mut DocWriter<'_>, schemas: &[Schema], value: Value<'_>) {
    let matching: Vec<i32> = schemas.iter().zip(0..).filter(|(s, _)| s.accepts(value)).map(|(_, i)| i).collect();
    if matching.is_empty() {
        return branches(w, "oneOf", schemas, value);
    }
    w.append("operatorName", "oneOf").append("reason", "more than one subschema matched");
    let mut list = w.array("matchingSchemaIndexes");
    for index in matching {
        list.push(index);
    }
}

fn item(w: &mut DocWriter<'_>, keyword: &str, schema: &Schema, broken: Option<(usize, Value<'_>)>) {
    let reason = if keyword == "items" { "At least one item did not match the sub-schema" } else { "At least one additional item did not match the sub-schema" };
    w.append("operatorName", keyword).append("reason", reason);
    if let Some((index, value)) = broken {
        w.append("itemIndex", index as i32).append("details", schema.details(value).view());
    }
}

fn tuple(w: &mut DocWriter<'_>, source: Doc<'_>, schemas: &[Schema], rest: &Rest, value: Value<'_>) {
    let Some(array) = value.as_array() else { return };
    let broken = array.iter().zip(schemas).enumerate().find(|(_, (v, s))| !s.accepts(*v));
    if let Some((index, (value, schema))) = broken {
        return item(w, "items", schema, Some((index, value)));
    }
    match rest {
        Rest::Schema(schema) => {
            let broken = array.iter().enumerate().skip(schemas.len()).find(|(_, v)| !schema.accepts(*v));
            item(w, "additionalItems", schema, broken);
        }
        _ => {
            w.append("operatorName", "additionalItems");
            specified(w, source, "additionalItems");
            w.append("reason", "found additional items");
            let mut list = w.array("additionalItems");
            for v in array.iter().skip(schemas.len()) {
                list.push(v);
            }
        }
    }
}

fn additional_properties(w: &mut DocWriter<'_>, source: Doc<'_>, doc: Doc<'_>, names: &[&str], rest: &Rest) {
    w.append("operatorName", "additionalProperties");
    let Rest::Schema(schema) = rest else {
        specified(w, source, "additionalProperties");
        let mut list = w.array("additionalProperties");
        for name in names {
            list.push(*name);
        }
        return;
    };
    w.append("reason", "at least one additional property did not match the sub-schema");
    if let Some(name) = names.iter().find(|n| !schema.accepts(doc.get(n))) {
        w.append("failingProperty", *name).append("details", schema.details(doc.get(name)).view());
    }
}

fn dependencies(w: &mut DocWriter<'_>, list: &[(String, Dependency)], doc: Doc<'_>) {
    w.append("operatorName", "dependencies");
    let mut failing = w.array("failingDependencies");
    for (name, dependency) in list.iter().filter(|(n, d)| doc.contains(n) && !d.accepts(doc)) {
        let mut one = failing.document();
        one.append("conditionalProperty", name.as_str());
        match dependency {
            Dependency::Properties(names) => missing(&mut one, names, doc),
            Dependency::Schema(schema) => {
                schema.annotate(&mut one);
                one.append("details", schema.details(Value::Document(doc)).view());
            }
        }
    }
}
