//! Ordered byte tables with snapshot transactions over WiredTiger
