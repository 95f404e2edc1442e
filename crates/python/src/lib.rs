//! `smongo._smongo`: the door of the engine for Python.
//!
//! Command bytes go in and reply bytes come out; PyMongo's own codec writes and reads them in Python. What is here beyond
//! [`Door::run`] only saves Python work on replies of a known shape: the first document of a cursor, its documents in a row,
//! whether a write succeeded. Everything enters the engine by its `Session`, with the GIL released.

mod door;
mod engine;
mod worker;

use pyo3::prelude::*;

/// As in the program: see `crates/smongo/src/main.rs`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pyo3::create_exception!(_smongo, CommandFailed, pyo3::exceptions::PyException, "A command's reply tells of a failure; `args[0]` is the reply as BSON.");

/// Called in the child after a fork: what the parent opened cannot be used there.
#[pyfunction]
fn after_fork() {
    engine::after_fork();
}

#[pymodule(gil_used = false)]
fn _smongo(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<engine::Engine>()?;
    module.add_class::<door::Door>()?;
    module.add_function(wrap_pyfunction!(after_fork, module)?)?;
    module.add("CommandFailed", module.py().get_type::<CommandFailed>())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
