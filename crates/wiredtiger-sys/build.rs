//! Links WiredTiger: a library named by `SMONGO_WIREDTIGER_LIB_DIR`, or the pinned source release,
//! fetched with its checksum and compiled once into a cache that every profile shares.
//!
//! Environment:
//! - `SMONGO_WIREDTIGER_LIB_DIR`: a folder with `libwiredtiger.a` (11.3, builtin lz4 and zstd).
//! - `SMONGO_WIREDTIGER_CACHE`: where compiled libraries are kept; default `<workspace>/.tools`.
//! - `SMONGO_WIREDTIGER_SDIST_DIR`: a folder holding the sdist, for machines without a registry.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "11.3.1";
const SHA256: &str = "95052d1b6fc06921dd617aafa1ba2a773d8dbbbf2eb74f77147290a630e598d0";
const CONFIG_H: &str = include_str!("csrc/wiredtiger_config.h");
const LAYOUT_C: &str = include_str!("csrc/layout.c");
const GLOBAL_C: &str = include_str!("csrc/global.c");
const ALLOC_C: &str = include_str!("csrc/alloc.c");
/// Upstream's sources that ours wrap.
const WRAPPED: [&str; 2] = ["src/support/global.c", "src/os_common/os_alloc.c"];
/// Raise it when this file changes what is compiled in another way than by [`PATCHES`].
const RECIPE: &str = "5";

/// What is changed in the library: a file, its text, and what stands there instead; these few words are WiredTiger's, under its
/// licence.
const PATCHES: &[(&str, &str, &str)] = &[
    // Waits for a thread that may have met a failing disk and be no more. Programs are expected to abort when the library has
    // failed for good; ours goes on, and its callers must hear of it.
    (
        "src/evict/evict_lru.c",
        "(initial_progress = __wt_atomic_loadv64(&evict->eviction_progress);; ret = 0) {\n",
        "(initial_progress = __wt_atomic_loadv64(&evict->eviction_progress);; ret = 0) {\n        WT_ERR(WT_SESSION_CHECK_PANIC(session));\n",
    ),
    (
        "src/log/log.c",
        "while (__wt_log_cmp(&log->write_lsn, &slot->slot_release_lsn) != 0) {\n",
        "while (!F_ISSET(S2C(session), WT_CONN_PANIC) && __wt_log_cmp(&log->write_lsn, &slot->slot_release_lsn) != 0) {\n",
    ),
    (
        "src/log/log.c",
        "while (log->sync_lsn.l.file < min_lsn->l.file) {\n",
        "while (log->sync_lsn.l.file < min_lsn->l.file) {\n        WT_RET(WT_SESSION_CHECK_PANIC(session));\n",
    ),
    (
        "src/log/log.c",
        "while (F_ISSET_ATOMIC_16(slot, WT_SLOT_SYNC | WT_SLOT_SYNC_DIR)) {\n",
        "while (F_ISSET_ATOMIC_16(slot, WT_SLOT_SYNC | WT_SLOT_SYNC_DIR)) {\n        WT_ERR(WT_SESSION_CHECK_PANIC(session));\n",
    ),
    (
        "src/log/log.c",
        "            __wt_cond_wait(session, log->log_write_cond, 10 * WT_THOUSAND, NULL);\n    } else",
        "            if ((ret = WT_SESSION_CHECK_PANIC(session)) != 0)\n                break;\n            else\n                __wt_cond_wait(session, log->log_write_cond, 10 * WT_THOUSAND, NULL);\n    } else",
    ),
    (
        "src/log/log.c",
        "            __wt_cond_wait(session, log->log_sync_cond, 10 * WT_THOUSAND, NULL);\n    }\n\nerr:",
        "            if ((ret = WT_SESSION_CHECK_PANIC(session)) != 0)\n                break;\n            else\n                __wt_cond_wait(session, log->log_sync_cond, 10 * WT_THOUSAND, NULL);\n    }\n\nerr:",
    ),
    (
        "src/log/log.c",
        "while (__wt_log_cmp(&last_lsn, &lsn) > 0) {\n",
        "while (__wt_log_cmp(&last_lsn, &lsn) > 0) {\n        WT_RET(WT_SESSION_CHECK_PANIC(session));\n",
    ),
    // Joining a slot has no result: who gets no slot knows why.
    (
        "src/log/log.c",
        "    __wti_log_slot_join(session, rdup_len, flags, &myslot);\n",
        "    __wti_log_slot_join(session, rdup_len, flags, &myslot);\n    if (myslot.slot == NULL)\n        return (WT_PANIC);\n",
    ),
    (
        "src/log/log_slot.c",
        "    for (;;) {\n        WT_COMPILER_BARRIER();\n        slot = __wt_atomic_load_pointer(&log->active_slot);\n        old_state",
        "    for (;;) {\n        if (F_ISSET(S2C(session), WT_CONN_PANIC)) {\n            myslot->slot = NULL;\n            return;\n        }\n        WT_COMPILER_BARRIER();\n        slot = __wt_atomic_load_pointer(&log->active_slot);\n        old_state",
    ),
    // The journal's buffers, 32 MB: taken by turns, each is out of the processor's cache when its turn comes. From the front on,
    // a few are used again and again.
    (
        "src/log/log_slot.c",
        "for (i = 0, pool_i = log->pool_index; i < WT_SLOT_POOL; i++, pool_i++) {\n",
        "for (i = 0, pool_i = 0; i < WT_SLOT_POOL; i++, pool_i++) {\n",
    ),
    // A block that fails its checksum, or does not decompress, ends the statement that needs it, not the store: other tables are
    // sound, and this one can be salvaged or built anew. Without its own tables the library cannot go on.
    (
        "src/block/block_read.c",
        "    WT_RET_PANIC(session, WT_ERROR, \"%s: fatal read error\", block->name);\n",
        "    if (!WT_PREFIX_MATCH(block->name, \"WiredTiger\"))\n        WT_RET_MSG(session, WT_ERROR, \"%s: fatal read error: the block at offset %\" PRIuMAX \" is damaged\", block->name, (uintmax_t)offset);\n    WT_RET_PANIC(session, WT_ERROR, \"%s: fatal read error\", block->name);\n",
    ),
    (
        "src/block_cache/block_io.c",
        "        WT_RET_PANIC(session, ret, \"%s: fatal read error: %s\", btree->dhandle->name, fail_msg);\n",
        "        if (!WT_PREFIX_MATCH(btree->dhandle->name, \"file:WiredTiger\"))\n            WT_RET_MSG(session, WT_ERROR, \"%s: fatal read error: %s\", btree->dhandle->name + strlen(\"file:\"), fail_msg);\n        WT_RET_PANIC(session, ret, \"%s: fatal read error: %s\", btree->dhandle->name, fail_msg);\n",
    ),
    // The thread that looks for obsolete pages reads all tables by turns; it passes over one that cannot be read.
    (
        "src/btree/bt_sync_obsolete.c",
        "        if (ret == ENOENT || ret == EBUSY) {\n",
        "        if (ret == ENOENT || ret == EBUSY || ret == WT_ERROR || ret == EIO) {\n",
    ),
    // Who repairs a database goes on behind a change of the journal that cannot be made, because its page or its file is damaged.
    (
        "src/txn/txn_recover.c",
        "          \"operation apply failed during recovery: operation type %\" PRIu32 \" at LSN %s\", optype,\n          (char *)lsn_str->mem);\n",
        "          \"operation apply failed during recovery: operation type %\" PRIu32 \" at LSN %s\", optype,\n          (char *)lsn_str->mem);\n        if (F_ISSET(S2C(session), WT_CONN_SALVAGE) && ret != WT_PANIC) {\n            ret = cursor == NULL ? 0 : cursor->reset(cursor);\n            *pp = end;\n        }\n",
    ),
    // A value is about to be copied to where it clears the memory first.
    (
        "src/include/txn_inline.h",
        "    WT_RET(__wt_calloc(session, 1, allocsz, &upd));\n",
        "    WT_RET(__wt_malloc(session, allocsz, &upd));\n    memset(upd, 0, WT_MIN(allocsz, sizeof(WT_UPDATE)));\n",
    ),
    // A table may go while somebody still reads a snapshot from before its last change: the engine lets nobody read a collection
    // that is gone, and a file that waits for the oldest snapshot costs memory, descriptors and tries. What the test kept away,
    // changes that are not committed, have their cursor open in our sessions, and a table with open cursors is busy.
    (
        "src/conn/conn_dhandle.c",
        "if (check_visibility && !__wt_txn_visible_all(",
        "if (check_visibility && !mark_dead && !__wt_txn_visible_all(",
    ),
    // Over its target with pages that a transaction under way has changed, the cache cannot be helped: looked at every millisecond
    // they cost a tenth of a core and more for as long as the transaction idles. Who needs room wakes the server.
    (
        "src/evict/evict_lru.c",
        "__wt_cond_wait(session, evict->evict_cond, WT_THOUSAND, NULL);\n                continue;",
        "__wt_cond_wait(session, evict->evict_cond,\n                  WT_THOUSAND * WT_MIN(loop + 1, F_ISSET(evict, WT_EVICT_CACHE_HARD) ? 10 : 100), NULL);\n                continue;",
    ),
    // Counters of each table, 23 times over so that threads do not share a cache line: 62 KB a table, which nobody reads but for
    // the sizes that are counted when they are asked for. The counters of the connection stay.
    ("src/include/stat.h", "#define WT_STAT_DSRC_COUNTER_SLOTS 23\n", "#define WT_STAT_DSRC_COUNTER_SLOTS 1\n"),
    ("src/include/stat.h", "WT_STATP_DSRC_INCRV(session, (session)->dhandle->stats, fld, value);  \\", "(void)0; \\"),
    ("src/include/stat.h", "WT_STATP_DSRC_DECRV(session, (session)->dhandle->stats, fld, value);  \\", "(void)0; \\"),
];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() {
    for name in ["SMONGO_WIREDTIGER_LIB_DIR", "SMONGO_WIREDTIGER_CACHE", "SMONGO_WIREDTIGER_SDIST_DIR"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=csrc");
    println!("cargo:rustc-check-cfg=cfg(wiredtiger_layout)");
    if let Err(error) = run() {
        eprintln!("wiredtiger-sys: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    if let Some(dir) = env::var_os("SMONGO_WIREDTIGER_LIB_DIR") {
        return link(Path::new(&dir));
    }
    let home = cache_root()?.join(format!("wiredtiger-{VERSION}-{:016x}", inputs_hash()?));
    let library = home.join("libwiredtiger.a");
    if !library.exists() {
        build_into(&home)?;
    }
    println!("cargo:rustc-cfg=wiredtiger_layout");
    println!("cargo:rerun-if-changed={}", library.display());
    println!("cargo:include={}", home.join("include").display());
    link(&home)
}

fn link(dir: &Path) -> Result<()> {
    println!("cargo:rustc-link-search=native={}", dir.display());
    println!("cargo:rustc-link-lib=static=wiredtiger");
    if env::var("CARGO_CFG_TARGET_OS")? == "linux" {
        for lib in ["pthread", "dl", "rt"] {
            println!("cargo:rustc-link-lib={lib}");
        }
    }
    Ok(())
}

fn cache_root() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("SMONGO_WIREDTIGER_CACHE") {
        return Ok(PathBuf::from(dir));
    }
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = here.ancestors().nth(2).ok_or("wiredtiger-sys is not inside of the workspace")?;
    Ok(root.join(".tools"))
}

/// FNV-1a over what decides the bytes of the library.
fn inputs_hash() -> Result<u64> {
    let target = env::var("TARGET")?;
    let parts = [VERSION, SHA256, RECIPE, CONFIG_H, LAYOUT_C, GLOBAL_C, ALLOC_C, &target];
    let patches = PATCHES.iter().flat_map(|(file, old, new)| [*file, old, new]);
    let bytes = parts.into_iter().chain(patches).flat_map(|part| part.bytes().chain([0]));
    Ok(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)))
}

/// Builds in a scratch folder beside `home` and renames it into place, under a lock that lets
/// concurrent builds (two profiles, Cargo and maturin) wait for the first one.
fn build_into(home: &Path) -> Result<()> {
    let root = home.parent().ok_or("the cache has no parent folder")?;
    fs::create_dir_all(root)?;
    let lock = File::create(root.join("wiredtiger.lock"))?;
    lock.lock()?;
    if home.join("libwiredtiger.a").exists() {
        return Ok(());
    }
    let scratch = root.join(format!("wiredtiger-building-{}", std::process::id()));
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(scratch.join("out/include"))?;
    let built = fetch(&scratch).and_then(|sdist| {
        let source = unpack(&sdist, &scratch)?;
        patch(&source)?;
        compile(&source, &scratch.join("out"))
    });
    if built.is_ok() {
        let _ = fs::remove_dir_all(home);
        fs::rename(scratch.join("out"), home)?;
    }
    let _ = fs::remove_dir_all(&scratch);
    built
}

/// Has pip fetch the official sdist and check its hash; returns the archive.
fn fetch(scratch: &Path) -> Result<PathBuf> {
    let pins = scratch.join("pins.txt");
    fs::write(&pins, format!("wiredtiger=={VERSION} --hash=sha256:{SHA256}\n"))?;
    let archive = scratch.join(format!("wiredtiger-{VERSION}.tar.gz"));
    let mut tried = String::new();
    for program in [&["python3", "-m", "pip"][..], &["pip3"], &["pip"], &["python", "-m", "pip"]] {
        let mut pip = Command::new(program[0]);
        pip.args(&program[1..]);
        pip.args(["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:"]);
        if let Some(dir) = env::var_os("SMONGO_WIREDTIGER_SDIST_DIR") {
            pip.arg("--no-index").arg("--no-build-isolation").arg("--find-links").arg(dir);
        }
        pip.arg("--require-hashes").arg("-r").arg(&pins).arg("-d").arg(scratch);
        match pip.output() {
            Ok(output) if output.status.success() && archive.exists() => return Ok(archive),
            Ok(output) => tried += &format!("{}: {}\n", program.join(" "), String::from_utf8_lossy(&output.stderr)),
            Err(error) => tried += &format!("{}: {error}\n", program.join(" ")),
        }
    }
    Err(format!("cannot fetch the WiredTiger {VERSION} sources from PyPI with pip; tried:\n{tried}").into())
}

fn unpack(sdist: &Path, scratch: &Path) -> Result<PathBuf> {
    let top = format!("wiredtiger-{VERSION}");
    let parts = ["src", "dist/filelist", "ext/compressors"].map(|part| format!("{top}/{part}"));
    let status = Command::new("tar").arg("xzf").arg(sdist).arg("-C").arg(scratch).args(&parts).status()?;
    if !status.success() {
        return Err(format!("tar cannot unpack {}: {status}", sdist.display()).into());
    }
    Ok(scratch.join(top))
}

fn patch(source: &Path) -> Result<()> {
    for (file, old, new) in PATCHES {
        let path = source.join(file);
        let text = fs::read_to_string(&path)?;
        if text.matches(old).count() != 1 {
            return Err(format!("{file} does not have, or has more than once: {old}").into());
        }
        fs::write(&path, text.replace(old, new))?;
    }
    Ok(())
}

fn compile(source: &Path, out: &Path) -> Result<()> {
    let include = out.join("include");
    fs::write(include.join("wiredtiger_config.h"), CONFIG_H)?;
    fs::write(include.join("wiredtiger.h"), public_header(source)?)?;
    let mut build = cc::Build::new();
    for (name, text) in [("layout", LAYOUT_C), ("global", GLOBAL_C), ("alloc", ALLOC_C)] {
        let file = source.join(format!("smongo_{name}.c"));
        fs::write(&file, text)?;
        build.file(file);
    }
    build.files(sources(source)?).out_dir(out).cargo_metadata(false);
    build.include(&include).include(source.join("src/include"));
    for library in ["DEP_LZ4_INCLUDE", "DEP_MIMALLOC_INCLUDE_DIR", "DEP_ZSTD_INCLUDE"] {
        let dirs = env::var(library).map_err(|_| format!("{library} is not set"))?;
        build.includes(dirs.split(';'));
    }
    build.opt_level(2).debug(false).warnings(false).extra_warnings(false).pic(true);
    build.flag("-std=gnu11").flag("-w").flag("-fno-strict-aliasing").define("_GNU_SOURCE", None);
    for (name, path) in ["SMONGO_WIREDTIGER_GLOBAL_C", "SMONGO_WIREDTIGER_ALLOC_C"].into_iter().zip(WRAPPED) {
        build.define(name, &*format!("\"{path}\""));
    }
    build.include(source);
    match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => build.flag("-msse4.2"),
        "aarch64" => build.flag("-march=armv8-a+crc").flag_if_supported("-moutline-atomics"),
        _ => &mut build,
    };
    build.try_compile("wiredtiger")?;
    // The archive is all that is linked; drop the objects and intermediate folders.
    for entry in fs::read_dir(out)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "o") {
            fs::remove_file(path)?;
        } else if path.is_dir() && path != include {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

/// Upstream's list of sources for this platform but those that ours wrap, and the two compressors
/// built in.
fn sources(source: &Path) -> Result<Vec<PathBuf>> {
    let os = env::var("CARGO_CFG_TARGET_OS")?;
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let tags = [
        "POSIX_HOST",
        match os.as_str() {
            "linux" => "LINUX_HOST",
            "macos" => "DARWIN_HOST",
            _ => return Err(format!("no WiredTiger build for {os}: set SMONGO_WIREDTIGER_LIB_DIR").into()),
        },
        match arch.as_str() {
            "x86_64" => "X86_HOST",
            "aarch64" => "ARM64_HOST",
            "riscv64" => "RISCV64_HOST",
            "loongarch64" => "LOONGARCH64_HOST",
            "powerpc64" => "POWERPC_HOST",
            _ => return Err(format!("no WiredTiger build for {arch}: set SMONGO_WIREDTIGER_LIB_DIR").into()),
        },
    ];
    let mut files = Vec::new();
    for line in fs::read_to_string(source.join("dist/filelist"))?.lines() {
        let mut words = line.split_whitespace();
        let (Some(file), tag) = (words.next(), words.next()) else { continue };
        if !WRAPPED.contains(&file) && !file.starts_with('#') && tag.is_none_or(|tag| tags.contains(&tag)) {
            files.push(source.join(file));
        }
    }
    files.push(source.join("ext/compressors/lz4/lz4_compress.c"));
    files.push(source.join("ext/compressors/zstd/zstd_compress.c"));
    Ok(files)
}

fn public_header(source: &Path) -> Result<String> {
    let mut header = fs::read_to_string(source.join("src/include/wiredtiger.in"))?;
    let mut version = VERSION.split('.');
    for (mark, text) in [
        ("@VERSION_MAJOR@", version.next().unwrap_or_default()),
        ("@VERSION_MINOR@", version.next().unwrap_or_default()),
        ("@VERSION_PATCH@", version.next().unwrap_or_default()),
        ("@VERSION_STRING@", "\"WiredTiger 11.3.1\""),
        (
            "@wiredtiger_includes_decl@",
            "#include <sys/types.h>\n#include <inttypes.h>\n#include <stdarg.h>\n#include <stdbool.h>\n#include <stdint.h>\n#include <stdio.h>",
        ),
        ("@off_t_decl@", "typedef off_t wt_off_t;"),
        ("@uintmax_t_decl@", ""),
        ("@uintptr_t_decl@", ""),
    ] {
        header = header.replace(mark, text);
    }
    Ok(header)
}
