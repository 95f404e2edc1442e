//! `$replaceRoot` and `$replaceWith`: the document an expression makes takes the place of the document.

use smongo_bson::{Doc, Result, Value, bail};

use super::args::show;
use super::step::{Step, over};
use super::{Operator, Stage};
use crate::arena::Arena;
use crate::cx::{CompileCx, Cx};
use crate::expr::Expr;
use crate::stream::{Host, Stream};

pub(super) struct ReplaceRoot {
    name: &'static str,
    root: Expr,
}

pub(super) fn parse_replace_root(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let Value::Document(spec) = arg else {
        bail!(40229, "expected an object as specification for $replaceRoot stage, got {}", arg.type_name());
    };
    let mut root = None;
    for field in spec {
        match field.name() {
            "newRoot" => root = Some(field.value()),
            other => bail!(40415, "BSON field '$replaceRoot.{other}' is an unknown field."),
        }
    }
    let Some(root) = root else { bail!(40414, "BSON field '$replaceRoot.newRoot' is missing but a required field") };
    out.push(Stage::Other(Box::new(ReplaceRoot { name: "$replaceRoot", root: Expr::compile(root, cx)? })));
    Ok(())
}

pub(super) fn parse_replace_with(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    out.push(Stage::Other(Box::new(ReplaceRoot { name: "$replaceWith", root: Expr::compile(arg, cx)? })));
    Ok(())
}

impl Operator for ReplaceRoot {
    fn name(&self) -> &'static str {
        self.name
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(over(input, ReplaceStream { spec: *self, arena: Arena::new(), out: Vec::new() }))
    }
}

struct ReplaceStream {
    spec: ReplaceRoot,
    arena: Arena,
    out: Vec<u8>,
}

impl Step for ReplaceStream {
    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        if !input.advance(host)? {
            return Ok(false);
        }
        self.arena.reset();
        self.arena.set_meta(input.meta());
        let cx = Cx::new(&self.arena, input.doc(), self.spec.root.slots());
        let value = self.spec.root.eval(&cx)?;
        let Value::Document(doc) = value else {
            let what = if self.spec.name == "$replaceRoot" { "'newRoot' expression " } else { "'replacement document' " };
            bail!(
                40228,
                "{what} must evaluate to an object, but resulting value was: {}. Type of resulting value: '{}'. Input document: {:?}",
                show(value),
                value.type_name(),
                input.doc()
            );
        };
        self.out.clear();
        self.out.extend_from_slice(doc.as_bytes());
        Ok(true)
    }
    fn doc<'a>(&'a self, _input: &'a dyn Stream) -> Doc<'a> {
        Doc::from_checked(&self.out)
    }
}
