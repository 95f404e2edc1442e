//! The way in for one client: commands as bytes, any number of threads at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::CommandFailed;
use crate::engine::{CLOSED, State, invalid, pymongo_error};
use crate::worker::{Failure, Outcome, Worker};

/// One client's way into an open database. A closed one answers InvalidOperation, also while the database stays open for others.
#[pyclass(frozen, module = "smongo._smongo")]
pub struct Door {
    state: Arc<State>,
    closed: AtomicBool,
}

impl Door {
    pub fn new(state: Arc<State>) -> Door {
        Door { state, closed: AtomicBool::new(false) }
    }

    /// Runs `command` with the GIL released, then `read` over the reply with it held.
    fn with<T>(&self, py: Python<'_>, command: impl FnOnce(&mut Worker) -> Outcome<()> + Send, read: impl FnOnce(&Worker) -> PyResult<T>) -> PyResult<T> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(invalid(CLOSED));
        }
        let mut worker = self.state.take()?;
        let done = py.detach(|| command(&mut worker));
        let answer = match done {
            Ok(()) => read(&worker),
            Err(Failure::Invalid(e)) => Err(pymongo_error("InvalidDocument", (e.message().to_owned(),))),
            Err(Failure::Closed) => Err(pymongo_error("AutoReconnect", ("connection closed",))),
        };
        self.state.give_back(worker);
        answer
    }
}

#[pymethods]
impl Door {
    /// The reply to a command, whatever it says.
    fn run<'py>(&self, py: Python<'py>, body: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        self.with(py, |w| w.run(body), |w| Ok(bytes(py, w)))
    }

    /// The first document of the cursor that the spliced command answers. `plain` is the collection of a find in which `value`
    /// is all that it asks: a filter by `_id` is then answered without running the command.
    #[pyo3(signature = (prefix, value, suffix, plain=None))]
    fn first<'py>(&self, py: Python<'py>, prefix: &[u8], value: &[u8], suffix: &[u8], plain: Option<&str>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.with(
            py,
            |w| match plain {
                Some(ns) if w.find_by_id(ns, value) => Ok(()),
                _ => w.splice(prefix, value, suffix),
            },
            |w| match w.first() {
                Some(doc) => Ok(Some(PyBytes::new(py, doc.as_bytes()))),
                None if w.ok() => Ok(None),
                None => Err(failed(py, w)),
            },
        )
    }

    /// The reply's cursor: its id, its namespace, and the documents of the batch one behind the other.
    fn cursor<'py>(&self, py: Python<'py>, body: &[u8]) -> PyResult<(i64, String, Bound<'py, PyBytes>)> {
        self.with(
            py,
            |w| w.run(body),
            |w| {
                if !w.ok() {
                    return Err(failed(py, w));
                }
                let (id, ns) = w.cursor();
                Ok((id, ns.to_owned(), PyBytes::new(py, &w.documents())))
            },
        )
    }

    /// Runs a write whose statements are `docs`. The reply, or `None` when `quiet` and all went well. `plain` is the collection of
    /// an insert of one document that asks for nothing else.
    #[pyo3(signature = (body, name, docs, quiet, plain=None))]
    fn write<'py>(&self, py: Python<'py>, body: &[u8], name: &str, docs: &[u8], quiet: bool, plain: Option<&str>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.with(
            py,
            |w| match plain {
                Some(ns) if w.insert_one(ns, docs) => Ok(()),
                _ => w.sequence(body, name, docs),
            },
            |w| if quiet && w.flawless() { Ok(None) } else { Ok(Some(bytes(py, w))) },
        )
    }

    /// Lets no command in any more.
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    #[getter]
    fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

fn bytes<'py>(py: Python<'py>, worker: &Worker) -> Bound<'py, PyBytes> {
    PyBytes::new(py, worker.reply().as_bytes())
}

fn failed(py: Python<'_>, worker: &Worker) -> PyErr {
    CommandFailed::new_err((bytes(py, worker).unbind(),))
}
