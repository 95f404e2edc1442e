//! The environment of containers: the first user comes from it, as in MongoDB's image.

use std::path::Path;

use smongo_bson::DocBuf;
use smongo_engine::{Client, Engine};

use super::Failure;

/// Where MongoDB's image looks for programs that fill a new database.
const SCRIPTS: &str = "/docker-entrypoint-initdb.d";

/// Who is to be made if there is nobody.
pub struct FirstUser {
    name: String,
    password: String,
}

impl FirstUser {
    /// The user that the environment names, if it does.
    ///
    /// # Errors
    /// It names half of one, or something that only a shell could do.
    pub fn of_environment() -> Result<Option<FirstUser>, Failure> {
        let (name, password) = (variable("MONGO_INITDB_ROOT_USERNAME")?, variable("MONGO_INITDB_ROOT_PASSWORD")?);
        let has_scripts = std::fs::read_dir(SCRIPTS).is_ok_and(|mut files| files.any(|f| f.is_ok_and(|f| is_script(&f.path()))));
        if has_scripts || std::env::var_os("MONGO_INITDB_DATABASE").is_some() {
            return Err(Failure::usage(format!(
                "MONGO_INITDB_DATABASE and the scripts in {SCRIPTS} are for a shell, which this program has not: leave them out, and run the scripts with mongosh once it serves"
            )));
        }
        match (name, password) {
            (None, None) => Ok(None),
            (Some(name), Some(password)) if !name.is_empty() && !password.is_empty() => Ok(Some(FirstUser { name, password })),
            _ => Err(Failure::usage("MONGO_INITDB_ROOT_USERNAME and MONGO_INITDB_ROOT_PASSWORD (or …_PASSWORD_FILE) belong together, and neither may be empty")),
        }
    }

    /// Makes the user, who may do everything, in a database that has none.
    pub fn make(&self, engine: &Engine) -> Result<(), Failure> {
        if engine.has_users() {
            return Ok(());
        }
        let user = DocBuf::build(|w| {
            w.append("createUser", self.name.as_str()).append("pwd", self.password.as_str());
            w.array("roles").document().append("role", "root").append("db", "admin");
        });
        engine.session(Client::owner()).run_command("admin", &user)?;
        Ok(())
    }
}

/// A variable, or the first line of the file that its sister names.
fn variable(name: &str) -> Result<Option<String>, Failure> {
    let file = format!("{name}_FILE");
    match (std::env::var(name).ok(), std::env::var_os(&file)) {
        (Some(_), Some(_)) => Err(Failure::usage(format!("{name} and {file} say the same thing twice"))),
        (value, None) => Ok(value),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(&path).map_err(|e| Failure::new(format!("{file}: {}: {e}", Path::new(&path).display())))?;
            Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
        }
    }
}

fn is_script(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "js" || e == "sh")
}
