//! `smongo user`: who may log in, without a server: for the first user, and for the way back in when nobody can.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use smongo_bson::{Array, Doc, DocBuf, DocWriter, Value};
use smongo_engine::{Client, Engine, Options, Session};

use super::{Failure, Outcome};

#[derive(clap::Args, Clone)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Clone)]
enum Command {
    /// Add a user; the first one may do everything unless --role says less
    Add(Add),
    /// Give a user a new password
    Passwd(Passwd),
    /// List the users, with their roles and how they log in
    List(List),
    /// Remove a user
    Drop(Drop),
}

#[derive(clap::Args, Clone)]
struct Where {
    /// Directory of the data, which no server has open
    #[arg(long, value_name = "DIR", default_value = "./data")]
    dbpath: PathBuf,
}

#[derive(clap::Args, Clone)]
struct Name {
    /// The name to log in with
    #[arg(value_name = "NAME")]
    name: String,
    /// The database the user belongs to, which clients name as authSource
    #[arg(long, value_name = "DB", default_value = "admin")]
    db: String,
}

#[derive(clap::Args, Clone)]
pub(super) struct Password {
    /// Read the password from the first line of a file, or of standard input if it is -. Without it the terminal asks
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(clap::Args, Clone)]
#[command(after_help = "\
Examples:
  smongo user add ann                          the first user: may do everything
  smongo user add app --role readWrite@shop    reads and writes the database shop
  smongo serve --auth                          and from now on clients must log in, as
                                               mongodb://ann:PASSWORD@127.0.0.1:27017/?authSource=admin")]
struct Add {
    #[command(flatten)]
    name: Name,
    /// What the user may do: a role of the user's database, or of another one. Again for more roles
    #[arg(long = "role", value_name = "ROLE[@DB]")]
    roles: Vec<String>,
    #[command(flatten)]
    password: Password,
    #[command(flatten)]
    at: Where,
    /// Make a new database in the directory though there are other files in it
    #[arg(long)]
    allow_other_files: bool,
}

#[derive(clap::Args, Clone)]
struct Passwd {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    password: Password,
    #[command(flatten)]
    at: Where,
}

#[derive(clap::Args, Clone)]
struct List {
    /// Only users of this database
    #[arg(long, value_name = "DB")]
    db: Option<String>,
    #[command(flatten)]
    at: Where,
}

#[derive(clap::Args, Clone)]
struct Drop {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    at: Where,
}

pub fn main(args: Args) -> Outcome {
    match args.command {
        Command::Add(args) => add(&args),
        Command::Passwd(args) => passwd(&args),
        Command::List(args) => list(&args),
        Command::Drop(args) => remove(&args),
    }
}

/// The database, open in this process alone.
struct Opened {
    engine: Engine,
    session: Session,
}

impl Opened {
    fn at(dbpath: &Path, create: bool, allow_other_files: bool) -> Result<Opened, Failure> {
        if !create && !dbpath.is_dir() {
            return Err(Failure::new(format!("there is no directory {}", dbpath.display())));
        }
        let opened = Engine::open(Options { path: Some(dbpath.to_owned()), allow_other_files, ..Options::default() });
        let engine = opened.map_err(|e| match e.code() {
            smongo_bson::Code::LockBusy => Failure::new(format!("{}: stop the server first, or let one of its users do it with a shell", e.message())),
            _ => Failure::from(e),
        })?;
        let session = engine.session(Client::owner());
        Ok(Opened { engine, session })
    }

    fn run(&mut self, db: &str, fill: impl FnOnce(&mut DocWriter<'_>)) -> Result<DocBuf, Failure> {
        Ok(self.session.run_command(db, &DocBuf::build(fill))?)
    }

    fn users(&mut self) -> Result<Vec<DocBuf>, Failure> {
        let reply = self.run("admin", |w| {
            w.document("usersInfo").append("forAllDBs", true);
        })?;
        Ok(documents(reply.get("users")).map(DocBuf::from).collect())
    }

    fn close(self) -> Outcome {
        drop(self.session);
        self.engine.begin_shutdown();
        self.engine.close()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn documents(list: Value<'_>) -> impl Iterator<Item = Doc<'_>> {
    list.as_array().into_iter().flat_map(Array::iter).filter_map(|v| v.as_doc())
}

fn add(args: &Add) -> Outcome {
    let Name { name, db } = &args.name;
    let mut roles: Vec<(&str, &str)> = args.roles.iter().map(|role| role.split_once('@').unwrap_or((role, db))).collect();
    if roles.iter().any(|(role, db)| role.is_empty() || db.is_empty()) {
        return Err(Failure::usage("--role: a role is a name, or a name and its database, as readWrite@shop"));
    }
    let mut opened = Opened::at(&args.at.dbpath, true, args.allow_other_files)?;
    if roles.is_empty() {
        if !opened.users()?.is_empty() {
            return Err(Failure::usage("what may the user do? Only the first may everything without --role, as --role readWrite@shop"));
        }
        roles.push(("root", "admin"));
    }
    let password = args.password.read(name)?;
    opened.run(db, |w| {
        w.append("createUser", &**name).append("pwd", &*password);
        let mut list = w.array("roles");
        for (role, db) in &roles {
            list.document().append("role", *role).append("db", *db);
        }
    })?;
    let roles: Vec<String> = roles.iter().map(|(role, db)| format!("{role}@{db}")).collect();
    println!("added {}@{} with {}", shown(name), shown(db), shown(&roles.join(", ")));
    opened.close()
}

fn passwd(args: &Passwd) -> Outcome {
    let Name { name, db } = &args.name;
    let mut opened = Opened::at(&args.at.dbpath, false, false)?;
    require(&mut opened, &args.name)?;
    let password = args.password.read(name)?;
    opened.run(db, |w| {
        w.append("updateUser", &**name).append("pwd", &*password);
    })?;
    println!("{}@{} has a new password", shown(name), shown(db));
    opened.close()
}

fn list(args: &List) -> Outcome {
    let mut opened = Opened::at(&args.at.dbpath, false, false)?;
    let text = |doc: Doc<'_>, name: &str| doc.get(name).as_str().unwrap_or_default().to_owned();
    for user in opened.users()? {
        let user = user.as_doc();
        if args.db.as_ref().is_some_and(|db| *db != text(user, "db")) {
            continue;
        }
        let roles: Vec<String> = documents(user.get("roles")).map(|role| format!("{}@{}", text(role, "role"), text(role, "db"))).collect();
        let mechanisms: Vec<&str> = user.get("mechanisms").as_array().into_iter().flat_map(Array::iter).filter_map(|m| m.as_str()).collect();
        println!("{}@{}\t{}\t{}", shown(&text(user, "user")), shown(&text(user, "db")), shown(&roles.join(", ")), mechanisms.join(", "));
    }
    opened.close()
}

fn remove(args: &Drop) -> Outcome {
    let Name { name, db } = &args.name;
    let mut opened = Opened::at(&args.at.dbpath, false, false)?;
    require(&mut opened, &args.name)?;
    opened.run(db, |w| {
        w.append("dropUser", &**name);
    })?;
    println!("removed {}@{}", shown(name), shown(db));
    opened.close()
}

/// Fails where there is no such user, with those there are of the name elsewhere.
fn require(opened: &mut Opened, who: &Name) -> Result<(), Failure> {
    let users = opened.users()?;
    let dbs: Vec<&str> = users.iter().filter(|user| user.get("user").as_str() == Some(&who.name)).filter_map(|user| user.get("db").as_str()).collect();
    if dbs.contains(&&*who.db) {
        return Ok(());
    }
    let elsewhere = if dbs.is_empty() { "smongo user list shows those there are".to_owned() } else { format!("there is one with --db {}", shown(&dbs.join(", --db "))) };
    Err(Failure::new(format!("there is no user {} of the database {}; {elsewhere}", shown(&who.name), shown(&who.db))))
}

/// Names come from whoever could make users; they must not move the cursor.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

impl Password {
    /// A new password, for which a terminal asks twice.
    fn read(&self, name: &str) -> Result<String, Failure> {
        self.get(name, true)
    }

    /// The password that somebody has.
    pub(super) fn known(&self, name: &str) -> Result<String, Failure> {
        self.get(name, false)
    }

    fn get(&self, name: &str, twice: bool) -> Result<String, Failure> {
        let password = match self.password_file.as_deref() {
            None => ask(name, twice)?,
            Some(file) if file == Path::new("-") => first_line(std::io::stdin().lock())?,
            Some(file) => {
                let named = |e: std::io::Error| Failure::new(format!("{}: {e}", file.display()));
                first_line(File::open(file).map_err(named)?).map_err(|e| Failure::new(format!("{}: {}", file.display(), e.message)))?
            }
        };
        if password.is_empty() {
            return Err(Failure::new("the password is empty"));
        }
        Ok(password)
    }
}

fn first_line(from: impl Read) -> Result<String, Failure> {
    let mut line = String::new();
    // More than any password; a wrong file may be large.
    BufReader::new(from.take(64 << 10)).read_line(&mut line)?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

/// Asks on the terminal and shows nothing of what is typed.
fn ask(name: &str, twice: bool) -> Result<String, Failure> {
    let Ok(mut terminal) = File::options().read(true).write(true).open("/dev/tty") else {
        return Err(Failure::usage("there is no terminal to ask for the password on: --password-file FILE, or --password-file - to read standard input"));
    };
    let silent = Silent::new(&terminal)?;
    let mut lines = BufReader::new(&terminal);
    let mut line = |prompt: String| -> Result<String, Failure> {
        (&terminal).write_all(prompt.as_bytes())?;
        let mut line = String::new();
        lines.read_line(&mut line)?;
        (&terminal).write_all(b"\n")?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    let first = line(format!("Password for {}: ", shown(name)))?;
    let again = if twice { line("Again: ".to_owned())? } else { first.clone() };
    drop(silent);
    terminal.flush()?;
    if first != again {
        return Err(Failure::new("the two passwords differ"));
    }
    Ok(first)
}

/// A terminal that does not show what is typed, as long as this lives.
struct Silent<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Silent<'t> {
    fn new(terminal: &'t File) -> Result<Silent<'t>, Failure> {
        let before = tcgetattr(terminal).map_err(std::io::Error::from)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &silent).map_err(std::io::Error::from)?;
        Ok(Silent { terminal, before })
    }
}

impl std::ops::Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}
