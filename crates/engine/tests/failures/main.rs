//! The n-th write, sync, open … fails: the caller gets an error, the process lives, the database reopens with all that was durable.
//!
//! A preloaded library (`shim.c`) makes the calls fail in a victim, which is this test started again. Half of the victims
//! reopen the database in the same process, half just end; this process opens it afterwards in any case.
//!
//! By itself it tries one call of each workload. `SMONGO_FAULTS=kinds` tries one of each kind, `all` every n until there is no
//! n-th call any more (8,000 victims, half an hour of two cores), `all/WORKLOAD` those of one workload, and
//! `KIND/ERRNO/N/WORKLOAD` that one.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod model;
mod workloads;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use model::Model;
use smongo_engine::{Engine, Options};
use workloads::Host;

const VICTIM: &str = "SMONGO_FAULT_VICTIM";
const EIO: i32 = 5;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// What is to fail: kinds of the shim's `FAULT_OPS`, the error, and whether all later calls fail as well.
const FAULTS: &[(&str, i32, bool)] = &[
    ("w", EIO, false),
    ("wt", ENOSPC, true),
    ("s", EIO, false),
    ("o", EIO, false),
    ("t", ENOSPC, false),
    ("r", EIO, false),
    ("i", EIO, false),
    // Permissions are lost, and the file system is read-only, from then on.
    ("o", EACCES, true),
    ("wot", EROFS, true),
];

#[derive(Clone, Copy)]
struct Fault {
    ops: &'static str,
    errno: i32,
    stays: bool,
    at: usize,
}

/// How a victim ended.
struct Ending {
    /// The call that failed, and on which file; `None` when there were less than n calls.
    fired: Option<String>,
    told: bool,
    faults: Vec<String>,
}

/// Not a test by itself: runs a workload, and looks at what is left when it is to reopen.
#[test]
fn victim() {
    let Ok(text) = std::env::var(VICTIM) else { return };
    let [dir, name, reopen] = text.split('\n').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let dir = Path::new(dir);
    let (_, workload) = workloads::ALL.iter().find(|(n, _)| *n == name).unwrap();
    let mut host = Host::new(&dir.join("data"), std::fs::File::create(dir.join("journal")).unwrap());
    if name == workloads::OPENING {
        std::fs::write(dir.join("fault.on"), "").unwrap();
    }
    host.open();
    std::fs::write(dir.join("fault.on"), "").unwrap();
    workload(&mut host);
    if reopen != "reopen" {
        // As a program that ends without closing: threads of the database are at work until the last.
        std::process::exit(0);
    }
    host.close();
    drop(host);
    std::fs::write(dir.join("fault.off"), "").unwrap();
    let faults = examine(dir);
    std::fs::write(dir.join("examined"), faults.join("\n")).unwrap();
}

/// Opens what is left, compares it with what was told, and writes to it.
fn examine(dir: &Path) -> Vec<String> {
    let journal = std::fs::read_to_string(dir.join("journal")).unwrap_or_default();
    let options = || Options { path: Some(dir.join("data")), cache_bytes: 8 << 20, ..Options::default() };
    let opened = Instant::now();
    let engine = loop {
        match Engine::open(options()) {
            Ok(engine) => break engine,
            Err(e) if opened.elapsed() > Duration::from_secs(2) => return vec![format!("it does not reopen: {e}")],
            Err(e) if e.to_string().contains("in use") => std::thread::sleep(Duration::from_millis(10)),
            Err(e) => return vec![format!("it does not reopen: {e}")],
        }
    };
    let mut faults = Model::read(&journal).faults(&engine);
    let mut session = engine.session(smongo_engine::Client::owner());
    for text in [r#"{"insert": "after", "documents": [{"v": 1}], "writeConcern": {"j": true}}"#, r#"{"drop": "after"}"#] {
        if let Err(e) = model::run(&mut session, "after", text) {
            faults.push(format!("{text}: {e}"));
        }
    }
    drop(session);
    if let Err(e) = engine.close() {
        faults.push(format!("closing: {e}"));
    }
    faults
}

fn try_one(shim: &Path, name: &str, fault: Fault) -> Ending {
    let dir = scratch();
    let reopen = if fault.at % 2 == 1 { "reopen" } else { "" };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "victim", "--nocapture"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env(VICTIM, format!("{}\n{name}\n{reopen}", dir.path().display()));
    command.env("LD_PRELOAD", shim).env("FAULT_DIR", dir.path().join("data")).env("FAULT_LOG", dir.path().join("fault"));
    command.env("FAULT_OPS", fault.ops).env("FAULT_AT", fault.at.to_string()).env("FAULT_ERRNO", fault.errno.to_string());
    if fault.stays {
        command.env("FAULT_STAYS", "1");
    }
    let output = finish(command.spawn().unwrap());
    let fired = std::fs::read_to_string(dir.path().join("fault")).ok().map(|text| text.trim().to_owned());
    let journal = std::fs::read_to_string(dir.path().join("journal")).unwrap_or_default();
    let mut faults = Vec::new();
    match output {
        None => faults.push("it hangs".to_owned()),
        Some((status, said)) if !status.success() || said.contains("panicked at") => faults.push(format!("{status}: {said}")),
        Some(_) => {}
    }
    if journal.contains("the command failed inside") {
        faults.push(format!("a panic was caught:\n{journal}"));
    }
    if let Ok(text) = std::fs::read_to_string(dir.path().join("examined")) {
        faults.extend(text.lines().map(|l| format!("reopened in the process: {l}")));
    }
    faults.extend(examine(dir.path()).into_iter().map(|f| format!("reopened in another process: {f}")));
    if !faults.is_empty() {
        let failed: Vec<&str> = journal.lines().filter(|l| l.starts_with("failed")).collect();
        faults.push(format!("told: {failed:#?}"));
    }
    Ending { fired, told: journal.contains("failed"), faults }
}

/// A directory in memory, where there is one: how long a sync takes is nothing to these tests.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Waits for the victim; `None` when it does not end.
fn finish(mut child: std::process::Child) -> Option<(std::process::ExitStatus, String)> {
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = std::thread::spawn(move || {
        let mut said = String::new();
        let _ = std::io::Read::read_to_string(&mut err, &mut said);
        let _ = std::io::Read::read_to_string(&mut out, &mut said);
        said
    });
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        if let Some(status) = child.try_wait().unwrap() {
            return Some((status, read.join().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

/// The preloaded library; `None` where there is no C compiler.
fn build_shim(dir: &Path) -> Option<PathBuf> {
    let shim = dir.join("shim.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/failures/shim.c");
    let status = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&shim).args([source, "-ldl"]).status().ok()?;
    assert!(status.success(), "the shim does not compile");
    Some(shim)
}

/// Faults of one kind in one workload, from one call to another or to the last there is.
struct Series {
    workload: usize,
    kind: usize,
    next: usize,
    last: usize,
}

/// What is to be tried, by several threads at a time.
struct Plan(Vec<Series>);

impl Plan {
    fn new(wanted: &str) -> Plan {
        let mut plan = Vec::new();
        for (w, (name, _)) in workloads::ALL.iter().enumerate() {
            for (k, &(ops, errno, _)) in FAULTS.iter().enumerate() {
                // Another call each time, near the beginning, where most kinds still have one.
                let sample = 1 + (5 * w + 3 * k) % 11;
                let (next, last) = match wanted.split('/').collect::<Vec<_>>()[..] {
                    ["all"] => (1, usize::MAX),
                    ["all", only] if only == *name => (1, usize::MAX),
                    ["all", _] => continue,
                    ["kinds"] => (sample, sample),
                    [""] if w % FAULTS.len() == k => (sample, sample),
                    [""] => continue,
                    [o, e, n, only] => {
                        if (o, e, only) != (ops, &errno.to_string(), name) {
                            continue;
                        }
                        let n = n.parse().unwrap();
                        (n, n)
                    }
                    _ => panic!("SMONGO_FAULTS={wanted}"),
                };
                plan.push(Series { workload: w, kind: k, next, last });
            }
        }
        Plan(plan)
    }

    /// The next fault to try: its series and the call.
    fn next(&mut self) -> Option<(usize, usize)> {
        let (n, series) = self.0.iter_mut().enumerate().find(|(_, s)| s.next <= s.last)?;
        series.next += 1;
        Some((n, series.next - 1))
    }
}

#[derive(Default)]
struct Tally {
    tried: [usize; workloads::ALL.len()],
    fired: [usize; workloads::ALL.len()],
    /// Calls whose failure nobody was told of, by call and file.
    silent: BTreeMap<String, usize>,
    faults: Vec<String>,
}

impl Tally {
    fn add(&mut self, workload: usize, fault: Fault, ending: &Ending) {
        let Fault { ops, errno, stays, at } = fault;
        self.tried[workload] += 1;
        self.fired[workload] += usize::from(ending.fired.is_some());
        if let Some(call) = ending.fired.as_ref().filter(|_| !ending.told) {
            let what = call.rsplit_once('/').map_or("", |(_, file)| file).trim_matches(|c: char| c.is_ascii_digit() || c == '.');
            *self.silent.entry(format!("{} {what}", call.split(' ').next().unwrap())).or_default() += 1;
        }
        for fault in &ending.faults {
            let (stays, name) = (if stays { " for good" } else { "" }, workloads::ALL[workload].0);
            let text = format!("{ops}{stays} {errno}, call {at} of {name:?} ({}): {fault}", ending.fired.as_deref().unwrap_or("none"));
            eprintln!("FAULT {}", text.chars().take(3000).collect::<String>());
            self.faults.push(text);
        }
    }
}

#[test]
fn every_failing_call_becomes_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let Some(shim) = build_shim(dir.path()) else { return };
    let plan = Mutex::new(Plan::new(&std::env::var("SMONGO_FAULTS").unwrap_or_default()));
    let tally = Mutex::<Tally>::default();
    let work = || {
        loop {
            let Some((series, at)) = plan.lock().unwrap().next() else { return };
            let Series { workload, kind, .. } = plan.lock().unwrap().0[series];
            let (ops, errno, stays) = FAULTS[kind];
            let fault = Fault { ops, errno, stays, at };
            let ending = try_one(&shim, workloads::ALL[workload].0, fault);
            if ending.fired.is_none() {
                // There are not that many calls.
                plan.lock().unwrap().0[series].last = 0;
            }
            tally.lock().unwrap().add(workload, fault, &ending);
        }
    };
    // Victims wait more than they work.
    let threads = 2 * std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let tally = tally.into_inner().unwrap();
    for (w, (name, _)) in workloads::ALL.iter().enumerate() {
        println!("{name}: {} calls failed in {} runs", tally.fired[w], tally.tried[w]);
    }
    let sum = |of: &[usize]| of.iter().sum::<usize>();
    println!("{} calls failed in {} runs; nobody was told of {:#?}", sum(&tally.fired), sum(&tally.tried), tally.silent);
    assert!(tally.faults.is_empty(), "{} faults, the first:\n{}", tally.faults.len(), tally.faults[0]);
}
