//! buildInfo, hostInfo-like facts that drivers ask for when they connect.

use smongo_bson::{DocWriter, Result};

use crate::data::limits;
use crate::service::command::{Access, Args, Command, Cx, LIGHT};

pub const BUILD_INFO: Command = Command::new("buildInfo", build_info, LIGHT, Access::User);
pub const BUILD_INFO_LOWER: Command = Command::new("buildinfo", build_info, LIGHT, Access::User);

/// The version of MongoDB whose answers smongo gives.
pub const VERSION: [i32; 4] = [8, 2, 0, 0];

fn build_info(cx: &mut Cx<'_>, args: &mut Args<'_>, w: &mut DocWriter<'_>) -> Result<()> {
    args.finish()?;
    let [major, minor, patch, _] = VERSION;
    w.append("version", &*format!("{major}.{minor}.{patch}"));
    if cx.pass.is_strangers() && cx.shared.parameters.build_info_mode() == "versionOnlyIfPreAuth" {
        return Ok(());
    }
    w.append("gitVersion", "smongo");
    w.array("modules");
    w.append("allocator", "system").append("javascriptEngine", "none").append("sysInfo", "deprecated");
    {
        let mut list = w.array("versionArray");
        for n in VERSION {
            list.push(n);
        }
    }
    // There is no TLS in it.
    w.document("openssl").append("running", "disabled").append("compiled", "disabled");
    {
        let mut build = w.document("buildEnvironment");
        build.append("distmod", "").append("distarch", std::env::consts::ARCH).append("cc", "").append("ccflags", "").append("cxx", "").append("cxxflags", "");
        build.append("linkflags", "").append("target_arch", std::env::consts::ARCH).append("target_os", std::env::consts::OS).append("cppdefines", "");
    }
    w.append("bits", 64).append("debug", cfg!(debug_assertions)).append("maxBsonObjectSize", limits::DOCUMENT_BYTES as i32);
    {
        let mut engines = w.array("storageEngines");
        engines.push("wiredTiger");
    }
    w.append("smongoVersion", env!("CARGO_PKG_VERSION"));
    Ok(())
}

/// `8.2.0`.
pub fn version() -> String {
    let [major, minor, patch, _] = VERSION;
    format!("{major}.{minor}.{patch}")
}
