//! Accumulators (`$group`, `$bucket`, expressions) and window functions (`$setWindowFields`).
