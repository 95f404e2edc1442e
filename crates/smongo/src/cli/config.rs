//! `--config FILE`: YAML with mongod's names, read as flags. A flag on the command line wins over the file; what is not known ends the start.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use saphyr::{LoadableYamlNode, Yaml, YamlLoader};
use saphyr_parser::Parser;

use super::Failure;

/// What a setting stands for.
enum Kind {
    /// A flag with a value.
    Value(&'static str),
    /// A flag that is there or not.
    Switch(&'static str),
    /// One of two words: with the first one the flag is there.
    Word(&'static str, [&'static str; 2]),
    /// A word that changes nothing, because it is how things are here; others are refused.
    Only(&'static str),
    /// `-v`, so many times.
    Verbosity,
    /// Not there, with the reason.
    Refused(&'static str),
}

/// One setting: its name, what it stands for, and the ids of the flags that win over it where they are given.
struct Setting(&'static str, Kind, &'static [&'static str]);

const MEMBERS: &str = "it is about the members of a replica set, and this server is the only member of its set";

/// Settings as mongod names them.
const SETTINGS: &[Setting] = &[
    Setting("auditLog.destination", Kind::Value("--auditDestination"), &["destination"]),
    Setting("auditLog.failure", Kind::Value("--auditFailure"), &["failure"]),
    Setting("auditLog.filter", Kind::Value("--auditFilter"), &["filter"]),
    Setting("auditLog.format", Kind::Value("--auditFormat"), &["format"]),
    Setting("auditLog.path", Kind::Value("--auditPath"), &["path"]),
    Setting("auditLog.runtimeConfiguration", Kind::Only("false"), &[]),
    Setting("auditLog.schema", Kind::Value("--auditSchema"), &["schema"]),
    Setting("auditLog.sync", Kind::Switch("--auditSync"), &["sync"]),
    Setting("net.bindIp", Kind::Value("--bind_ip"), &["bind_ip", "bind_ip_all"]),
    Setting("net.bindIpAll", Kind::Switch("--bind_ip_all"), &["bind_ip", "bind_ip_all"]),
    Setting("net.ipv6", Kind::Switch("--ipv6"), &["ipv6"]),
    Setting("net.maxIncomingConnections", Kind::Value("--maxConns"), &["max_conns"]),
    Setting("net.port", Kind::Value("--port"), &["port"]),
    Setting("net.tls.CAFile", Kind::Value("--tlsCAFile"), &["ca_file"]),
    Setting("net.tls.CRLFile", Kind::Value("--tlsCRLFile"), &["crl_file"]),
    Setting("net.tls.allowConnectionsWithoutCertificates", Kind::Switch("--tlsAllowConnectionsWithoutCertificates"), &["allow_connections_without_certificates"]),
    Setting("net.tls.allowInvalidCertificates", Kind::Switch("--tlsAllowInvalidCertificates"), &[]),
    Setting("net.tls.allowInvalidHostnames", Kind::Switch("--tlsAllowInvalidHostnames"), &[]),
    Setting("net.tls.certificateKeyFile", Kind::Value("--tlsCertificateKeyFile"), &["certificate_key_file"]),
    Setting("net.tls.certificateKeyFilePassword", Kind::Refused("private keys with a password are not read"), &[]),
    Setting("net.tls.clusterCAFile", Kind::Refused(MEMBERS), &[]),
    Setting("net.tls.clusterFile", Kind::Refused(MEMBERS), &[]),
    Setting("net.tls.disabledProtocols", Kind::Value("--tlsDisabledProtocols"), &["disabled_protocols"]),
    Setting("net.tls.mode", Kind::Value("--tlsMode"), &["tls_mode"]),
    Setting("net.unixDomainSocket.filePermissions", Kind::Value("--filePermissions"), &["file_permissions"]),
    Setting("net.unixDomainSocket.pathPrefix", Kind::Value("--unixSocketPrefix"), &["unix_socket_prefix"]),
    Setting("processManagement.fork", Kind::Only("false"), &[]),
    Setting("processManagement.timeZoneInfo", Kind::Refused("time zones are built in; leave it out"), &[]),
    Setting("replication.oplogSizeMB", Kind::Value("--oplogSize"), &["oplog_size"]),
    Setting("replication.replSetName", Kind::Value("--replSet"), &["repl_set"]),
    Setting("security.authorization", Kind::Word("--auth", ["enabled", "disabled"]), &["auth", "noauth", "allow_unauthenticated_network"]),
    Setting("security.clusterAuthMode", Kind::Refused(MEMBERS), &[]),
    Setting("security.keyFile", Kind::Refused("it is about the members of a replica set, and this server is the only member of its set; to have clients log in say security.authorization: enabled"), &[]),
    Setting("security.transitionToAuth", Kind::Refused(MEMBERS), &[]),
    Setting("storage.dbPath", Kind::Value("--dbpath"), &["dbpath"]),
    Setting("storage.engine", Kind::Value("--storageEngine"), &["storage_engine"]),
    Setting("storage.journal.commitIntervalMs", Kind::Value("--journalCommitInterval"), &["journal_commit_interval"]),
    Setting("storage.oplogMinRetentionHours", Kind::Value("--oplogMinRetentionHours"), &["oplog_min_retention_hours"]),
    Setting("storage.syncPeriodSecs", Kind::Value("--syncdelay"), &["syncdelay"]),
    Setting("storage.wiredTiger.engineConfig.cacheSizeGB", Kind::Value("--wiredTigerCacheSizeGB"), &["cache_size_gb"]),
    Setting("systemLog.destination", Kind::Only("file"), &[]),
    Setting("systemLog.logAppend", Kind::Switch("--logappend"), &["logappend"]),
    Setting("systemLog.logRotate", Kind::Only("rename"), &[]),
    Setting("systemLog.path", Kind::Value("--logpath"), &["logpath"]),
    Setting("systemLog.quiet", Kind::Switch("--quiet"), &["quiet", "verbose"]),
    Setting("systemLog.verbosity", Kind::Verbosity, &["quiet", "verbose"]),
];

/// What stands before the names of parameters.
const PARAMETER: &str = "setParameter.";

/// The arguments that a configuration file stands for, without those that were given.
///
/// # Errors
/// The file cannot be read, is no YAML, or has something in it that is not known.
pub fn arguments(file: &Path, given: &ArgMatches) -> Result<Vec<OsString>, Failure> {
    let at = |what: &dyn std::fmt::Display| Failure::usage(format!("--config {}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| at(&e))?;
    // The loader keeps what is said twice to itself.
    Yaml::load_from_str(&text).map_err(|e| at(&e))?;
    let mut loader = YamlLoader::<Yaml<'_>>::default();
    // As the text stands there: 0700 is a mode and not seven hundred.
    loader.early_parse(false);
    Parser::new_from_str(&text).load(&mut loader, true).map_err(|e| at(&e))?;
    let documents = loader.into_documents();
    let mut settings = Vec::new();
    match documents.as_slice() {
        [] => {}
        [one] => flatten("", one, &mut settings).map_err(|e| at(&e))?,
        _ => return Err(at(&"more than one document")),
    }
    let mut arguments = Vec::new();
    for (name, value) in settings {
        read(&name, &value, given, &mut arguments).map_err(|e| at(&e))?;
    }
    Ok(arguments)
}

/// Dotted names and texts of all that is not a mapping.
fn flatten(path: &str, node: &Yaml<'_>, out: &mut Vec<(String, String)>) -> Result<(), String> {
    match node {
        Yaml::Mapping(mapping) => {
            for (key, value) in mapping {
                let key = scalar(key).ok_or_else(|| format!("{path}: a name is expected"))?;
                let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                flatten(&path, value, out)?;
            }
            Ok(())
        }
        node => match scalar(node) {
            Some(text) if path.is_empty() => Err(format!("settings are expected, as in \"net:\" and \"port: 27017\" below it, and not {text:?}")),
            // A heading below which everything is commented out.
            Some("" | "~" | "null") if !SETTINGS.iter().any(|s| s.0 == path) && SETTINGS.iter().any(|s| s.0.starts_with(&format!("{path}."))) => Ok(()),
            Some(text) => {
                out.push((path.to_owned(), text.to_owned()));
                Ok(())
            }
            None => Err(format!("{path}: one value is expected")),
        },
    }
}

fn scalar<'y>(node: &'y Yaml<'_>) -> Option<&'y str> {
    match node {
        Yaml::Representation(text, ..) => Some(text),
        _ => None,
    }
}

fn read(name: &str, value: &str, given: &ArgMatches, out: &mut Vec<OsString>) -> Result<(), String> {
    if let Some(parameter) = name.strip_prefix(PARAMETER) {
        let mut said = given.get_many::<(String, String)>("set_parameter").into_iter().flatten();
        if !said.any(|(name, _)| name == parameter) {
            out.push(format!("--setParameter={parameter}={value}").into());
        }
        return Ok(());
    }
    let Some(Setting(_, kind, flags)) = SETTINGS.iter().find(|setting| setting.0 == name) else {
        return Err(format!("{name} is not known"));
    };
    let wins = flags.iter().any(|id| given.value_source(id) == Some(ValueSource::CommandLine));
    let (flag, present) = match kind {
        Kind::Refused(why) => return Err(format!("{name} is not there: {why}")),
        Kind::Only(word) if value == *word => return Ok(()),
        Kind::Only(word) => return Err(format!("{name} can only be {word}, and not {value:?}")),
        Kind::Value(flag) => {
            if value.is_empty() {
                return Err(format!("{name} has no value"));
            }
            if !wins {
                out.push(format!("{flag}={value}").into());
            }
            return Ok(());
        }
        Kind::Verbosity => {
            let times: usize = value.parse().ok().filter(|n| *n <= 5).ok_or_else(|| format!("{name} is a number from 0 to 5, and not {value:?}"))?;
            if !wins {
                out.extend(std::iter::repeat_n(OsString::from("--verbose"), times));
            }
            return Ok(());
        }
        Kind::Switch(flag) => (flag, truth(value).ok_or_else(|| format!("{name} is true or false, and not {value:?}"))?),
        Kind::Word(flag, [yes, no]) => match value {
            v if v == *yes => (flag, true),
            v if v == *no => (flag, false),
            _ => return Err(format!("{name} is {yes} or {no}, and not {value:?}")),
        },
    };
    if present && !wins {
        out.push(OsString::from(*flag));
    }
    Ok(())
}

fn truth(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// The file that was named.
pub fn file(given: &ArgMatches) -> Option<&PathBuf> {
    given.get_one::<PathBuf>("config")
}
