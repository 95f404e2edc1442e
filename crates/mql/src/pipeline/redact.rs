//! `$redact`: keeps, prunes or descends into each document level as an expression says.

use smongo_bson::{Array, ArrayWriter, Doc, DocWriter, Result, Value, bail};

use super::step::{Step, over};
use super::{Operator, Stage};
use crate::arena::Arena;
use crate::cx::{CompileCx, Cx};
use crate::expr::Expr;
use crate::stream::{Host, Stream};

struct Redact {
    expr: Expr,
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let expr = Expr::compile_with_vars(arg, cx, &["CURRENT", "DESCEND", "KEEP", "PRUNE"])?;
    out.push(Stage::Other(Box::new(Redact { expr })));
    Ok(())
}

impl Operator for Redact {
    fn name(&self) -> &'static str {
        "$redact"
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(over(input, RedactStream { expr: self.expr, arena: Arena::new(), out: Vec::new() }))
    }
}

struct RedactStream {
    expr: Expr,
    arena: Arena,
    out: Vec<u8>,
}

/// Whether a level stays; a level that is descended into is written to `out`.
enum Verdict {
    Prune,
    Keep,
    Descend,
}

fn verdict<'a>(expr: &'a Expr, level: Doc<'a>, root: Doc<'a>, arena: &'a Arena) -> Result<Verdict> {
    let cx = Cx::new(arena, root, expr.slots());
    let bound = [Value::Document(level), Value::String("descend"), Value::String("keep"), Value::String("prune")];
    for (slot, value) in cx.vars.iter().zip(bound) {
        slot.set(value);
    }
    match expr.eval(&cx)? {
        Value::String("prune") => Ok(Verdict::Prune),
        Value::String("keep") => Ok(Verdict::Keep),
        Value::String("descend") => Ok(Verdict::Descend),
        _ => bail!(17053, "$redact's expression should not return anything aside from the variables $$KEEP, $$DESCEND, and $$PRUNE, but returned a different value"),
    }
}

fn fields(expr: &Expr, level: Doc<'_>, root: Doc<'_>, arena: &Arena, w: &mut DocWriter<'_>) -> Result<()> {
    for field in level {
        match field.value() {
            Value::Document(d) => match verdict(expr, d, root, arena)? {
                Verdict::Prune => {}
                Verdict::Keep => {
                    w.append_element(&field);
                }
                Verdict::Descend => fields(expr, d, root, arena, &mut w.document(field.name()))?,
            },
            Value::Array(a) => elements(expr, a, root, arena, &mut w.array(field.name()))?,
            _ => {
                w.append_element(&field);
            }
        }
    }
    Ok(())
}

fn elements(expr: &Expr, array: Array<'_>, root: Doc<'_>, arena: &Arena, w: &mut ArrayWriter<'_>) -> Result<()> {
    for element in array.elements() {
        match element.value() {
            Value::Document(d) => match verdict(expr, d, root, arena)? {
                Verdict::Prune => {}
                Verdict::Keep => {
                    w.push_element(&element);
                }
                Verdict::Descend => fields(expr, d, root, arena, &mut w.document())?,
            },
            Value::Array(a) => elements(expr, a, root, arena, &mut w.array())?,
            _ => {
                w.push_element(&element);
            }
        }
    }
    Ok(())
}

impl Step for RedactStream {
    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        while input.advance(host)? {
            self.arena.reset();
            self.arena.set_meta(input.meta());
            let doc = input.doc();
            self.out.clear();
            match verdict(&self.expr, doc, doc, &self.arena)? {
                Verdict::Prune => continue,
                Verdict::Keep => self.out.extend_from_slice(doc.as_bytes()),
                Verdict::Descend => fields(&self.expr, doc, doc, &self.arena, &mut DocWriter::new(&mut self.out))?,
            }
            return Ok(true);
        }
        Ok(false)
    }
    fn doc<'a>(&'a self, _input: &'a dyn Stream) -> Doc<'a> {
        Doc::from_checked(&self.out)
    }
}
