//! Where flags come from beside the command line: the environment (`ETCD_NAME` as etcd has it,
//! `KVSTORE_NAME` of our own) and etcd's configuration file. What comes out is a command line again, which
//! `flags` reads. Those of etcd's flags that kvstore does not have are seen to by `etcd_flags`, wherever
//! they stand.
//!
//! The command line wins over `KVSTORE_NAME`, and that over `ETCD_NAME`. A flag that stands on the command
//! line and as `ETCD_NAME` is refused, as etcd does; a configuration file stands alone.

use std::ffi::OsString;
use std::path::Path;

use clap::CommandFactory;
use serde_json::Value;

use crate::etcd_flags;
use crate::flags::{FlagError, Flags};

const CONFIG_FILE: &str = "config-file";
/// What etcd reads from the environment alone, or its unit files and images put there: none of it changes
/// anything here.
const NOT_FLAGS: &[&str] = &["CONFIG_FILE", "UNSUPPORTED_ARCH", "VERSION"];

/// A command line, and what there is to say about where it came from, once there is a log.
#[derive(Debug, Default)]
pub struct Words {
    pub words: Vec<OsString>,
    pub warnings: Vec<String>,
}

/// The words of a command line, with what the environment and a configuration file add.
pub fn words(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &[(String, String)],
) -> Result<Words, FlagError> {
    let words: Vec<OsString> = arguments.into_iter().map(two_dashes).collect();
    let mut source = Source { words, environment, warnings: Vec::new() };
    if let Some(path) = source.config_file()? {
        return source.only_file(&path);
    }
    source.fill_in()?;
    Ok(Words { words: etcd_flags::sift(source.words)?, warnings: source.warnings })
}

struct Source<'a> {
    words: Vec<OsString>,
    environment: &'a [(String, String)],
    warnings: Vec<String>,
}

impl Source<'_> {
    /// Names of the flags on the command line, each with its value if that is in the same word.
    fn flags(&self) -> impl Iterator<Item = (String, Option<&str>)> {
        let named = self.words.iter().skip(1).filter_map(|word| word.to_str()?.strip_prefix("--"));
        named.map(|word| match word.split_once('=') {
            Some((name, value)) => (name.replace('_', "-"), Some(value)),
            None => (word.replace('_', "-"), None),
        })
    }

    fn given(&self, flag: &str) -> bool {
        self.flags().any(|(name, _)| name == flag)
    }

    fn find(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A flag's value in the environment.
    fn variable(&self, flag: &str) -> Option<&str> {
        let name = variable_name(flag);
        self.find(&format!("KVSTORE_{name}")).or_else(|| self.find(&format!("ETCD_{name}")))
    }

    fn config_file(&self) -> Result<Option<String>, FlagError> {
        let mut words = self.words.iter().skip(1);
        while let Some(word) = words.next() {
            match word.to_str() {
                Some("--config-file") => {
                    let path = words.next().and_then(|path| path.to_str());
                    let missing = || invalid("needs the path of a file");
                    return path.map(|path| Some(path.to_owned())).ok_or_else(missing);
                }
                Some(word) if word.starts_with("--config-file=") => {
                    return Ok(word.split_once('=').map(|(_, path)| path.to_owned()));
                }
                _ => {}
            }
        }
        Ok(self.variable(CONFIG_FILE).map(str::to_owned))
    }

    /// COMPAT: with a configuration file nothing else counts. On the command line nothing else may stand;
    /// the environment is passed over and said so.
    fn only_file(mut self, path: &str) -> Result<Words, FlagError> {
        if let Some((other, _)) = self.flags().find(|(name, _)| name != CONFIG_FILE) {
            return Err(invalid(&format!("a configuration file stands alone, but --{other} is given too")));
        }
        for (name, value) in self.environment {
            let ours = name.starts_with("ETCD_") || name.starts_with("KVSTORE_");
            if ours && !value.is_empty() && !name.ends_with("_CONFIG_FILE") {
                self.warnings.push(format!("{name} is not looked at: there is a configuration file"));
            }
        }
        let mut words: Vec<OsString> = self.words.into_iter().take(1).collect();
        words.extend(file_words(path)?.into_iter().map(OsString::from));
        Ok(Words { words: etcd_flags::sift(words)?, warnings: self.warnings })
    }

    /// Adds what only the environment says.
    fn fill_in(&mut self) -> Result<(), FlagError> {
        let command = Flags::command();
        let mut known = Vec::new();
        for argument in command.get_arguments() {
            known.extend(argument.get_long().map(str::to_owned));
            known.extend(argument.get_all_aliases().into_iter().flatten().map(str::to_owned));
        }
        for flag in &known {
            let etcd = format!("ETCD_{}", variable_name(flag));
            if self.given(flag) {
                if self.find(&etcd).is_some() {
                    return Err(FlagError::Shadowed(etcd));
                }
            } else if let Some(value) = self.variable(flag) {
                let word = format!("--{flag}={value}").into();
                self.words.push(word);
            }
        }
        let names: Vec<String> = known.iter().map(|flag| variable_name(flag)).collect();
        for (name, value) in self.environment {
            let flag = name.strip_prefix("ETCD_").or_else(|| name.strip_prefix("KVSTORE_"));
            let Some(flag) = flag.filter(|flag| !names.iter().any(|known| known == flag)) else { continue };
            if NOT_FLAGS.contains(&flag) {
                continue;
            }
            let flag = flag.to_lowercase().replace('_', "-");
            // COMPAT: an empty variable is none.
            let known =
                if value.is_empty() { etcd_flags::is_known(&flag) } else { etcd_flags::admit(&flag, value)? };
            if !known {
                self.warnings.push(format!("unrecognized environment variable {name}"));
            }
        }
        Ok(())
    }
}

/// A configuration file as words: its keys are names of flags, but for the sections about TLS and sockets.
fn file_words(path: &str) -> Result<Vec<String>, FlagError> {
    let fields =
        daemon::config_file::mapping(Path::new(path)).map_err(|error| invalid(&error.to_string()))?;
    let mut words = Vec::new();
    for (key, value) in fields {
        let section = match key.as_str() {
            "client-transport-security" => "",
            "peer-transport-security" => "peer-",
            "socket-options" => "socket-",
            _ => {
                words.extend(word(&key, &value)?);
                continue;
            }
        };
        let Value::Object(fields) = value else {
            return Err(invalid(&format!("{key} holds no mapping")));
        };
        for (key, value) in fields {
            // COMPAT: these are named otherwise than their flags.
            let name = match (section, key.as_str()) {
                ("", "crl-file") => "client-crl-file".to_owned(),
                ("", "allowed-hostname") => "client-cert-allowed-hostname".to_owned(),
                ("peer-", "client-cert-file" | "client-key-file") => format!("peer-{key}"),
                (_, "allowed-cn") => format!("{section}cert-allowed-cn"),
                (_, "allowed-hostname") => format!("{section}cert-allowed-hostname"),
                // Of peers, as etcd's flag has it.
                (_, "skip-client-san-verification") => "peer-skip-client-san-verification".to_owned(),
                (_, key) => format!("{section}{key}"),
            };
            words.extend(word(&name, &value)?);
        }
    }
    Ok(words)
}

/// COMPAT: nothing, an empty text and an empty list stand for the default.
fn word(key: &str, value: &Value) -> Result<Option<String>, FlagError> {
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        // YAML 1.1 has it that `off` is false, and so do those who write these files.
        Value::Bool(on) if etcd_flags::is_on_or_off(key) => Some(if *on { "on" } else { "off" }.to_owned()),
        Value::Bool(_) => Some(value.to_string()),
        Value::Number(number) if etcd_flags::is_time(key) => Some(format!("{number}ns")),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let text = match value {
        Value::Null => return Ok(None),
        Value::Array(values) => {
            values.iter().map(plain).collect::<Option<Vec<_>>>().map(|texts| texts.join(","))
        }
        value => plain(value),
    };
    let text = text.ok_or_else(|| invalid(&format!("{key} holds no plain value")))?;
    Ok((!text.is_empty()).then(|| format!("--{key}={text}")))
}

fn variable_name(flag: &str) -> String {
    flag.to_uppercase().replace('-', "_")
}

fn invalid(reason: &str) -> FlagError {
    FlagError::Invalid { flag: CONFIG_FILE, reason: reason.to_owned() }
}

/// COMPAT: Go's flags take one dash as well as two.
fn two_dashes(word: OsString) -> OsString {
    match word.to_str() {
        Some(text) if text.starts_with('-') && !text.starts_with("--") && text.len() > 2 => {
            format!("-{text}").into()
        }
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: &str, environment: &[(&str, &str)]) -> Result<(String, Vec<String>), String> {
        let environment: Vec<_> =
            environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let words =
            words(line.split(' ').map(OsString::from), &environment).map_err(|error| error.to_string())?;
        let line: Vec<_> = words.words.iter().map(|word| word.to_str().unwrap()).collect();
        Ok((line.join(" "), words.warnings))
    }

    #[test]
    fn the_environment_fills_in_what_the_line_leaves_out() {
        let check = |given: &str, environment: &[(&str, &str)], expected: &str| {
            assert_eq!(line(given, environment).unwrap(), (expected.to_owned(), vec![]));
        };
        check("kvstore -name c", &[("ETCD_DATA_DIR", "/d")], "kvstore --name c --data-dir=/d");
        check(
            "kvstore",
            &[("ETCD_NAME", "a"), ("KVSTORE_NAME", "b"), ("ETCDCTL_API", "3")],
            "kvstore --name=b",
        );
        check("kvstore --name=c", &[("KVSTORE_NAME", "b"), ("ETCD_DATA_DIR", "")], "kvstore --name=c");
        let old = [("ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL", "5s")];
        check("kvstore", &old, "kvstore --experimental-watch-progress-notify-interval=5s");
    }

    #[test]
    fn what_contradicts_or_is_not_known_is_said() {
        let error = line("kvstore --name=c", &[("ETCD_NAME", "a")]).unwrap_err();
        assert!(error.contains("ETCD_NAME\" is shadowed by corresponding command-line flag"), "{error}");
        let (_, warnings) = line("kvstore", &[("ETCD_NAEM", "a"), ("KVSTORE_X", "")]).unwrap();
        let expected =
            ["ETCD_NAEM", "KVSTORE_X"].map(|name| format!("unrecognized environment variable {name}"));
        assert_eq!(warnings, expected);
        let error = line("kvstore", &[("ETCD_UNSAFE_NO_FSYNC", "true")]).unwrap_err();
        assert!(error.contains("--unsafe-no-fsync"), "{error}");
        let quiet = [("ETCD_PROXY", "off"), ("ETCD_ENABLE_V2", ""), ("ETCD_UNSUPPORTED_ARCH", "arm64")];
        assert_eq!(line("kvstore", &quiet).unwrap(), ("kvstore".to_owned(), vec![]));
    }

    #[test]
    fn a_configuration_file_stands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etcd.conf.yml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let given = format!("kvstore --config-file {}", path.display());
        // Laid out as etcd's own sample.
        write(
            "name: 'a'\ndata-dir: /d\nwal-dir:\nsnapshot-count: 5000\nquota-backend-bytes: 0\n\
             listen-client-urls: http://h:1,http://h:2\ninitial-cluster-state: 'new'\n\
             watch-progress-notify-interval: 5000000000\n\
             client-transport-security:\n  cert-file: /c\n  client-cert-auth: false\n\
             peer-transport-security:\n  trusted-ca-file: /ca\n",
        );
        let expected = "kvstore --name=a --data-dir=/d --snapshot-count=5000 --quota-backend-bytes=0 \
                        --listen-client-urls=http://h:1,http://h:2 --initial-cluster-state=new \
                        --watch-progress-notify-interval=5000000000ns --cert-file=/c --client-cert-auth=false \
                        --peer-trusted-ca-file=/ca";
        let (line_of_file, warnings) = line(&given, &[("ETCD_NAME", "b")]).unwrap();
        assert_eq!(line_of_file, expected);
        assert_eq!(warnings, ["ETCD_NAME is not looked at: there is a configuration file"]);
        assert_eq!(line("kvstore", &[("ETCD_CONFIG_FILE", path.to_str().unwrap())]).unwrap().0, expected);
        let error = line(&format!("{given} --name=x"), &[]).unwrap_err();
        assert!(error.contains("--name is given too"), "{error}");
        write("log-outputs: [stderr]\ncors:\nenable-v2: false\ncorrupt-check-time: 0\n");
        assert_eq!(line(&given, &[]).unwrap().0, "kvstore");
        write("proxy: off\nsocket-options:\n  reuse-port: false\n");
        assert_eq!(line(&given, &[]).unwrap().0, "kvstore");
        write("proxy: on\n");
        assert!(line(&given, &[]).unwrap_err().contains("--proxy=on"));
        write("socket-options: {reuse-port: true}\n");
        assert!(line(&given, &[]).unwrap_err().contains("--socket-reuse-port=true"));
        write("log-outputs: [/var/log/etcd.log]\n");
        assert!(line(&given, &[]).unwrap_err().contains("--log-outputs"));
        write("name: {a: b}\n");
        assert!(line(&given, &[]).unwrap_err().contains("name holds no plain value"));
        assert!(line("kvstore --config-file=/no/such", &[]).unwrap_err().contains("/no/such"));
    }

    /// Every key of the sample that etcd ships, with its values.
    #[test]
    fn etcds_sample_is_taken_but_for_its_profiler() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etcd.conf.yml");
        let sample = "name: 'default'\ndata-dir:\nwal-dir:\nsnapshot-count: 10000\nheartbeat-interval: 100\n\
            election-timeout: 1000\nquota-backend-bytes: 0\nlisten-peer-urls: http://localhost:2380\n\
            listen-client-urls: http://localhost:2379\nmax-snapshots: 5\nmax-wals: 5\ncors:\n\
            initial-advertise-peer-urls: http://localhost:2380\nadvertise-client-urls: http://localhost:2379\n\
            discovery:\ndiscovery-fallback: 'proxy'\ndiscovery-proxy:\ndiscovery-srv:\ninitial-cluster:\n\
            initial-cluster-token: 'etcd-cluster'\ninitial-cluster-state: 'new'\nstrict-reconfig-check: false\n\
            enable-v2: false\nenable-pprof: false\nproxy: 'off'\nproxy-failure-wait: 5000\n\
            proxy-refresh-interval: 30000\nproxy-dial-timeout: 1000\nproxy-write-timeout: 5000\n\
            proxy-read-timeout: 0\nclient-transport-security:\n  cert-file:\n  key-file:\n  \
            client-cert-auth: false\n  trusted-ca-file:\n  auto-tls: false\npeer-transport-security:\n  \
            cert-file:\n  key-file:\n  client-cert-auth: false\n  trusted-ca-file:\n  auto-tls: false\n\
            self-signed-cert-validity: 1\ndebug: false\nlog-level: debug\nlogger: zap\nlog-outputs: [stderr]\n\
            force-new-cluster: false\nauto-compaction-mode: periodic\nauto-compaction-retention: \"1\"\n\
            cipher-suites: [\n  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,\n  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\n]\n\
            tls-min-version: 'TLS1.2'\ntls-max-version: 'TLS1.3'\n";
        let given = format!("kvstore --config-file {}", path.display());
        std::fs::write(&path, sample).unwrap();
        let (words, _) = line(&given, &[]).unwrap();
        let daemon::flags::Parsed::Flags(flags) =
            daemon::flags::try_parse_from::<Flags, _>(words.split(' ').map(OsString::from)).unwrap()
        else {
            panic!("no flags in {words}");
        };
        flags.check().unwrap();
        assert!(!flags.strict_reconfig_check && flags.auto_compaction_retention == "1", "{words}");
        std::fs::write(&path, sample.replace("enable-pprof: false", "enable-pprof: true")).unwrap();
        assert!(line(&given, &[]).unwrap_err().contains("--enable-pprof=true"));
    }
}
