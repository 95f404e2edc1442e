//! Plans remembered by the shape of their query, in the collection's [`PlanMemory`](crate::data::catalog::PlanMemory).
//!
//! Nothing is looked up there when a query is planned: choosing among indexes costs less than the shape that would
//! have to be computed first. What is kept is what was chosen where there was a choice.

use smongo_bson::{DocBuf, Value};

use super::{Plan, Query, explain, hashes};
use crate::data::catalog::{Collection, IndexFilter};
use crate::data::clock::now_millis;

/// The index filter that was set for queries like this one.
pub fn filter(coll: &Collection, query: &Query) -> Option<IndexFilter> {
    coll.state.plans.filter(|| hashes::plan_shape(query, &[]))
}

/// Keeps what was chosen, where there was a choice.
pub fn remember(plan: &Plan) {
    if plan.costs.len() > 1 {
        plan.coll.state.plans.remember(hashes::plan_shape(&plan.query, &[]), |shape| describe(plan, shape));
    }
}

fn describe(plan: &Plan, shape: &str) -> DocBuf {
    let query = &plan.query;
    DocBuf::build(|w| {
        w.append("version", "1").append("queryHash", shape).append("planCacheShapeHash", shape).append("planCacheKey", shape);
        // Plans are compared by what they are estimated to cost; none of them runs on trial.
        w.append("works", plan.costs.first().map_or(0, |c| *c as i64)).append("timeOfCreation", Value::DateTime(now_millis()));
        {
            let mut w = w.document("createdFromQuery");
            w.append("query", query.filter_doc.as_doc()).append("sort", query.sort_doc.as_doc());
            w.append("projection", query.projection_doc.as_doc());
            if let Some(c) = &query.filter.collation {
                w.append("collation", c.spec.as_doc());
            }
        }
        explain::cached_plan(plan, &mut w.document("cachedPlan"));
        w.array("creationExecStats");
        {
            let mut scores = w.array("candidatePlanScores");
            for cost in &plan.costs {
                scores.push(1.0 / cost.max(1.0));
            }
        }
        w.append("indexFilterSet", plan.filter_set);
    })
}
