//! Damaged files: what concerns one index or one collection stays there, is told by its name, and can be repaired.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use bson::{Document, doc};
use smongo_engine::client::Client;
use smongo_engine::{Options, repair};

const DOCUMENTS: i32 = 1000;

fn document(id: i32) -> Document {
    doc! {"_id": id, "x": id % 100, "pad": format!("{id}").repeat(40)}
}

/// A database with the collections `a.sound` and `a.hurt`, both indexed on `x`.
fn make(at: &Path) {
    let client = Client::open(at).unwrap();
    for name in ["sound", "hurt"] {
        let coll = client.database("a").collection::<Document>(name);
        coll.insert_many((0..DOCUMENTS).map(document).collect::<Vec<_>>().iter()).unwrap();
        client.database("a").run_command(doc! {"createIndexes": name, "indexes": [{"key": {"x": 1}, "name": "x_1"}]}).unwrap();
    }
}

/// The files of `a.hurt`: of its documents, its index on `_id`, its index on `x`.
fn hurt(at: &Path) -> [PathBuf; 3] {
    // Tables are numbered as they are made: `admin.system.version` has 1 and 2, `a.sound` 3, 4 and 5.
    ["c6.wt", "i7.wt", "i8.wt"].map(|name| at.join(name))
}

/// Damages every page behind the first that holds entries; or only the one in the middle.
fn damage(file: &Path, all: bool) {
    let mut bytes = fs::read(file).unwrap();
    let pages: Vec<usize> = (4096..bytes.len()).step_by(4096).collect();
    let chosen = if all { &pages[..] } else { &pages[pages.len() / 2..=pages.len() / 2] };
    for at in chosen {
        bytes[at + 100] ^= 0x10;
    }
    fs::write(file, bytes).unwrap();
}

fn find(client: &Client, name: &str, filter: Document) -> Result<usize, String> {
    let coll = client.database("a").collection::<Document>(name);
    let found = coll.find(filter).run().map_err(|e| e.message().to_owned())?;
    found.map(|d| d.map(|_| ()).map_err(|e| e.message().to_owned())).collect::<Result<Vec<_>, _>>().map(|all| all.len())
}

fn sound(client: &Client) {
    assert_eq!(find(client, "sound", doc! {"x": 7}), Ok(DOCUMENTS as usize / 100));
    assert_eq!(find(client, "sound", doc! {}), Ok(DOCUMENTS as usize));
    client.database("a").collection::<Document>("sound").insert_one(&doc! {"_id": "new", "x": -1}).unwrap();
    client.database("a").run_command(doc! {"delete": "sound", "deletes": [{"q": {"_id": "new"}, "limit": 1}]}).unwrap();
}

fn repaired(at: &Path) -> Vec<String> {
    let mut said = Vec::new();
    repair(Options { path: Some(at.to_owned()), ..Options::default() }, &mut |line| said.push(line.to_owned())).unwrap();
    said
}

fn all_is_there(client: &Client) {
    assert_eq!(find(client, "hurt", doc! {}), Ok(DOCUMENTS as usize));
    for x in 0..100 {
        assert_eq!(find(client, "hurt", doc! {"x": x}), Ok(DOCUMENTS as usize / 100));
    }
    assert_eq!(find(client, "hurt", doc! {"_id": 77}), Ok(1));
}

#[test]
fn a_damaged_index_fails_by_name_and_is_built_anew() {
    let dir = tempfile::tempdir().unwrap();
    for (which, all) in [(2, true), (2, false), (1, true), (1, false)] {
        let at = dir.path().join(format!("{which}{all}"));
        make(&at);
        let file = &hurt(&at)[which];
        damage(file, all);
        let client = Client::open(&at).unwrap();
        let name = ["", "_id_", "x_1"][which];
        let failed: Vec<String> = (0..DOCUMENTS).filter_map(|n| find(&client, "hurt", if which == 1 { doc! {"_id": n} } else { doc! {"x": n % 100} }).err()).collect();
        assert!(!failed.is_empty() && (!all || failed.len() == DOCUMENTS as usize));
        for message in &failed {
            assert!(message.contains(&format!("index {name} of a.hurt is damaged")) && message.contains(file.file_name().unwrap().to_str().unwrap()), "{message}");
        }
        assert_eq!(find(&client, "hurt", doc! {}), Ok(DOCUMENTS as usize), "the documents are sound");
        sound(&client);
        let status = client.database("admin").run_command(doc! {"serverStatus": 1}).unwrap();
        let told = status.get_document("storageEngine").unwrap().get_array("damagedFiles").unwrap();
        assert!(told.len() == 1 && told[0].to_string().contains(name), "{told:?}");
        let report = client.database("a").run_command(doc! {"validate": "hurt"}).unwrap();
        assert!(!report.get_bool("valid").unwrap() && report.to_string().contains(&format!("index {name} is damaged")), "{report}");
        let report = client.database("a").run_command(doc! {"validate": "hurt", "repair": true}).unwrap();
        assert!(report.get_bool("valid").unwrap() && report.get_bool("repaired").unwrap(), "{report}");
        all_is_there(&client);
        let status = client.database("admin").run_command(doc! {"serverStatus": 1}).unwrap();
        assert!(!status.get_document("storageEngine").unwrap().contains_key("damagedFiles"), "{status}");
        drop(client);
        all_is_there(&Client::open(&at).unwrap());
    }
}

#[test]
fn a_damaged_collection_fails_alone_and_is_saved_as_far_as_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let harms: [(&str, fn(&Path)); 4] = [
        ("one", |file| damage(file, false)),
        ("all", |file| damage(file, true)),
        ("missing", |file| fs::remove_file(file).unwrap()),
        ("empty", |file| fs::write(file, "").unwrap()),
    ];
    for (how, harm) in harms {
        let at = dir.path().join(how);
        make(&at);
        let file = &hurt(&at)[0];
        harm(file);
        let client = Client::open(&at).unwrap();
        sound(&client);
        let message = find(&client, "hurt", doc! {"pad": "none"}).unwrap_err();
        assert!(message.contains("collection a.hurt is damaged") && message.contains("c6.wt") && message.contains("smongo repair"), "{how}: {message}");
        drop(client);
        let said = repaired(&at);
        assert!(said.iter().any(|line| line.contains("c6.wt")), "{how}: {said:?}");
        let client = Client::open(&at).unwrap();
        sound(&client);
        let left = find(&client, "hurt", doc! {}).unwrap();
        assert!(if how == "one" { left > DOCUMENTS as usize / 2 } else { left == 0 }, "{how}: {left}");
        let lost = format!("a.hurt: {} documents are lost", DOCUMENTS as usize - left);
        assert!(said.iter().any(|line| line.starts_with(&lost)), "{how}: {lost}, {said:?}");
        let report = client.database("a").run_command(doc! {"validate": "hurt", "full": true}).unwrap();
        assert!(report.get_bool("valid").unwrap(), "{how}: {report}");
        client.database("a").collection::<Document>("hurt").insert_one(&doc! {"_id": "new", "x": 1}).unwrap();
        drop(client);
        assert_eq!(repaired(&at).len(), 1, "nothing to repair the second time");
    }
}

#[test]
fn a_damaged_catalog_is_refused_and_repair_finds_the_documents() {
    let dir = tempfile::tempdir().unwrap();
    for (how, file) in [("damaged", "catalog.wt"), ("missing", "catalog.wt"), ("damaged", "meta.wt"), ("missing", "oplog.wt"), ("missing", "sessions.wt")] {
        let at = dir.path().join(format!("{how}-{file}"));
        make(&at);
        let file = at.join(file);
        if how == "damaged" { damage(&file, true) } else { fs::remove_file(&file).unwrap() }
        let before: Vec<_> = names(&at);
        if let Err(e) = Client::open(&at) {
            assert!(e.message().contains(file.file_name().unwrap().to_str().unwrap()), "{}", e.message());
            assert!(before.iter().all(|name| at.join(name).exists() || name.contains("Log.")), "{before:?}");
        }
        let said = repaired(&at);
        let client = Client::open(&at).unwrap();
        let names: Vec<String> = client.database("local").list_collection_names().unwrap();
        let orphans: Vec<_> = names.iter().filter(|name| name.starts_with("orphan.")).collect();
        if file.ends_with("catalog.wt") {
            assert_eq!(orphans.len(), 3, "{said:?}");
            for name in orphans.iter().filter(|name| !name.ends_with("c1")) {
                let found = client.database("local").run_command(doc! {"count": name.as_str(), "query": {"x": {"$gte": 0}}}).unwrap();
                assert_eq!(found.get_i32("n").unwrap(), DOCUMENTS, "{said:?}");
            }
        } else {
            all_is_there(&client);
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}
