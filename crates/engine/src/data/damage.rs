//! Damaged files: whose they are, and what can be done.

use smongo_bson::{Code, DocWriter, Error, Value};

use crate::data::catalog::Catalog;
use crate::data::clock::now_millis;
use crate::data::database::Data;
use crate::data::keys::{index_table, records_table};
use crate::data::namespace::Ns;

/// What is said of a collection whose documents cannot be read.
pub fn of_collection(ns: &Ns, said: &str) -> String {
    format!("the collection {ns} is damaged ({said}): drop it, or end the server and run `smongo repair`, which saves what can be read")
}

/// What is said of an index that cannot be read.
fn of_index(ns: &Ns, name: &str, said: &str) -> String {
    format!("the index {name} of {ns} is damaged ({said}): the command validate with {{repair: true}} builds it anew from the documents")
}

/// An error that names a damaged file, in the names that the user gave.
pub fn explain(data: &Data, error: Error) -> Error {
    if error.code() != Code::InternalError {
        return error;
    }
    let Some(file) = file_in(error.message()) else { return error };
    let said = describe(&data.catalog, file, error.message());
    error.with_message(said)
}

/// The first file of a table that a message names at its beginning, as the storage's messages of damage do.
fn file_in(message: &str) -> Option<&str> {
    let end = message.find(".wt")?;
    let start = message[..end].rfind([' ', '/', ':', '(']).map_or(0, |at| at + 1);
    (start < end && !message.starts_with("the ")).then(|| &message[start..end])
}

fn describe(catalog: &Catalog, table: &str, said: &str) -> String {
    for coll in catalog.snapshot().values() {
        if coll.storage().is_some_and(|s| records_table(s.id) == table) {
            return of_collection(&coll.ns, said);
        }
        if let Some(index) = coll.indexes.iter().find(|i| index_table(i.id) == table) {
            return of_index(&coll.ns, &index.name, said);
        }
    }
    format!("the database's own table {table} is damaged ({said}): end the server and run `smongo repair`")
}

/// What whoever starts the server should know.
pub fn warnings(data: &Data) -> Vec<String> {
    let mut warnings = Vec::new();
    let end = data.store.journal_end();
    if !end.is_sound() {
        warnings.push(end.describe());
    }
    for (file, said) in data.store.damaged_files() {
        warnings.push(describe(&data.catalog, file.trim_end_matches(".wt"), &said));
    }
    warnings
}

/// A line of the log as getLog gives it.
pub fn log_line(message: &str) -> String {
    let message = smongo_bson::json::value_to_relaxed(Value::String(message));
    format!(r#"{{"t":{{"$date":{{"$numberLong":"{}"}}}},"s":"W","c":"CONTROL","ctx":"initandlisten","msg":{message}}}"#, now_millis())
}

/// What serverStatus tells of damage, where there is any.
pub fn write_status(data: &Data, w: &mut DocWriter<'_>) {
    let end = data.store.journal_end();
    if !end.is_sound() {
        let mut w = w.document("journalEnd");
        w.append("file", &*end.file).append("offset", end.offset as i64).append("lostBytes", end.lost_bytes as i64);
        w.append("lostRecords", end.lost_records as i64).append("torn", end.torn).append("cutOff", end.cut_off);
    }
    let damaged = data.store.damaged_files();
    if !damaged.is_empty() {
        let mut list = w.array("damagedFiles");
        for (file, said) in damaged {
            let what = describe(&data.catalog, file.trim_end_matches(".wt"), &said);
            list.document().append("file", &*file).append("what", &*what);
        }
    }
}
