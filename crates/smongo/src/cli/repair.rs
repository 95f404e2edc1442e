//! `smongo repair`: makes a damaged database usable again and says what is lost.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use smongo_engine::Options;

use super::{Failure, Outcome};

#[derive(clap::Args, Clone)]
pub struct Args {
    /// Directory of the data, which nobody has open
    #[arg(long, value_name = "DIR", default_value = "./data")]
    dbpath: PathBuf,
}

pub fn main(args: Args) -> Outcome {
    run(&args.dbpath)
}

pub fn run(dbpath: &Path) -> Outcome {
    let options = Options { path: Some(dbpath.to_owned()), ..Options::default() };
    smongo_engine::repair(options, &mut |line| println!("{line}")).map_err(Failure::from)?;
    Ok(ExitCode::SUCCESS)
}
