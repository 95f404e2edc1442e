//! Updates given as a pipeline.

use smongo_bson::{Array, Code, Doc, Result, Value, bail};

use super::replace::with_old_id;
use super::{Applied, delta, diff};
use crate::arena::Arena;
use crate::cx::CompileCx;
use crate::expr::Expr;
use crate::pipeline::fill::Fill;
use crate::pipeline::named_stage;
use crate::projection::Projection;

pub(super) struct Stages(Vec<Stage>);

enum Stage {
    Project(Projection),
    ReplaceRoot(Expr),
}

impl Stages {
    pub fn compile(stages: Array<'_>, cx: &CompileCx) -> Result<Stages> {
        let cx = &CompileCx { unfolded: true, ..cx.clone() };
        stages.iter().map(|stage| compile(stage, cx)).collect::<Result<_>>().map(Stages)
    }

    pub fn apply(&self, old: Doc<'_>, arena: &Arena) -> Result<Applied> {
        let mut doc = old;
        for stage in &self.0 {
            doc = stage.run(doc, arena)?;
        }
        let new = with_old_id(doc, old)?;
        if new.as_bytes() == old.as_bytes() {
            return Ok(Applied::NOTHING);
        }
        smongo_bson::check::document(new.as_bytes()).map_err(|e| match e.code() {
            Code::Overflow => e,
            _ => e.context("the update made an invalid document"),
        })?;
        let delta = diff::diff(old, new.as_doc()).map_or_else(|| new.clone(), |d| delta::wrap(&d));
        Ok(Applied { doc: Some(new), delta: Some(delta) })
    }
}

impl Stage {
    fn run<'a>(&'a self, doc: Doc<'a>, arena: &'a Arena) -> Result<Doc<'a>> {
        match self {
            Stage::Project(projection) => {
                let mut out = Vec::new();
                projection.apply(doc, None, arena, &mut out)?;
                Ok(Doc::from_checked(arena.bytes(&out)))
            }
            Stage::ReplaceRoot(expr) => match expr.eval_doc(doc, arena)? {
                Value::Document(root) => Ok(root),
                other => bail!(
                    40228,
                    "'newRoot' expression must evaluate to an object, but resulting value was: {}. Type of resulting value: '{}'.",
                    other,
                    other.type_name()
                ),
            },
        }
    }
}

/// Refuses what is no stage of any pipeline.
pub fn check_stages(stages: Array<'_>) -> Result<()> {
    stages.iter().try_for_each(|stage| named_stage(document(stage)?).map(|_| ()))
}

fn document(stage: Value<'_>) -> Result<Doc<'_>> {
    match stage {
        Value::Document(stage) => Ok(stage),
        _ => bail!(TypeMismatch, "Each element of the 'pipeline' array must be an object"),
    }
}

fn compile(stage: Value<'_>, cx: &CompileCx) -> Result<Stage> {
    let stage = document(stage)?;
    let (name, spec) = named_stage(stage)?;
    match name {
        "$addFields" | "$set" => match spec {
            Value::Document(fields) => Ok(Stage::Project(Projection::compile_add_fields(fields, cx)?)),
            _ => bail!(40272, "{name} specification stage must be an object, got {}", spec.type_name()),
        },
        "$project" => match spec {
            Value::Document(fields) => Ok(Stage::Project(Projection::compile_project(fields, cx)?)),
            _ => bail!(15969, "$project specification must be an object"),
        },
        "$unset" => Ok(Stage::Project(Projection::compile_unset(spec, cx)?)),
        "$replaceRoot" => {
            let Value::Document(options) = spec else {
                bail!(40229, "expected an object as specification for $replaceRoot stage, got {}", spec.type_name());
            };
            if let Some(other) = options.iter().find(|e| e.name() != "newRoot") {
                bail!(40230, "unrecognized option to $replaceRoot stage: {}, only valid option is 'newRoot'.", other.name());
            }
            match options.get("newRoot") {
                Value::Missing => bail!(40231, "no newRoot specified for the $replaceRoot stage"),
                root => Ok(Stage::ReplaceRoot(Expr::compile(root, cx)?)),
            }
        }
        "$fill" => Ok(Stage::Project(Projection::compile_add_fields(Fill::values_only(spec)?.as_doc(), cx)?)),
        "$replaceWith" => Ok(Stage::ReplaceRoot(Expr::compile(spec, cx)?)),
        _ => bail!(InvalidOptions, "{name} is not allowed to be used within an update"),
    }
}
