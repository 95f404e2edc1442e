//! `$documents`: documents given in the pipeline itself.

use smongo_bson::{Doc, DocBuf, Result, Value, bail};

use super::{Operator, Stage};
use crate::arena::Arena;
use crate::cx::{CompileCx, Cx};
use crate::expr::Expr;
use crate::stream::{Docs, Stream};

struct Documents(Vec<DocBuf>);

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let expr = Expr::compile(arg, cx)?;
    let arena = Arena::new();
    let Value::Array(list) = expr.eval(&Cx::new(&arena, Doc::EMPTY, expr.slots()))? else {
        bail!(5858203, "an array is expected");
    };
    let mut docs = Vec::new();
    for doc in list.iter() {
        let Value::Document(d) = doc else { bail!(40228, "an element of $documents must be an object, but found {}", doc.type_name()) };
        docs.push(DocBuf::from(d));
    }
    out.push(Stage::Other(Box::new(Documents(docs))));
    Ok(())
}

impl Operator for Documents {
    fn name(&self) -> &'static str {
        "$documents"
    }
    fn open(self: Box<Self>, _input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(Box::new(Docs::new(self.0)))
    }
    fn is_source(&self) -> bool {
        true
    }
}
