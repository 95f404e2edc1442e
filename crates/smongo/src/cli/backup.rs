//! `smongo backup`: a copy of a database, also while a server has it open.

use std::path::PathBuf;
use std::process::ExitCode;

use smongo_bson::DocBuf;

use super::target::{self, Target};
use super::{Failure, Outcome};

#[derive(clap::Args, Clone)]
pub struct Args {
    #[command(flatten)]
    target: target::Args,
    /// The directory to copy into: empty, or made when it does not exist. With --uri, the server on this machine writes it
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

pub fn main(args: Args) -> Outcome {
    let out = std::path::absolute(&args.out)?;
    let Some(path) = out.to_str() else {
        return Err(Failure::new(format!("--out {}: not a UTF-8 path", out.display())));
    };
    let mut target = Target::open(&args.target, false)?;
    let command = DocBuf::build(|w| {
        w.append("backup", path).append("$db", "admin");
    });
    let copied = target.run(&command, None);
    target.close()?;
    copied?;
    Ok(ExitCode::SUCCESS)
}
