//! Facts of the build that `--version` and /version report: commit, tree state, date, compiler.
//! They are those of the moment this crate was compiled last. We do not watch the commit: every
//! crate depends on this one, and a commit would rebuild them all. A release sets
//! FERROKUBE_GIT_COMMIT (and SOURCE_DATE_EPOCH), which are watched.

use std::process::Command;

fn output(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Seconds since 1970 as `2026-11-21T10:40:25Z` (days-to-civil after Howard Hinnant).
fn rfc3339(secs: i64) -> String {
    let (days, s) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (d, m) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let y = yoe + era * 400 + i64::from(m <= 2);
    format!("{y:04}-{m:02}-{d:02}T{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60)
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=FERROKUBE_GIT_COMMIT");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let commit = std::env::var("FERROKUBE_GIT_COMMIT").ok().or_else(|| output("git", &["rev-parse", "HEAD"]));
    let state = match output("git", &["status", "--porcelain", "--untracked-files=no"]) {
        Some(s) if s.is_empty() => "clean",
        Some(_) => "dirty",
        None => "archive",
    };
    let secs = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
    });
    let rustc = std::env::var("RUSTC").ok().and_then(|r| output(&r, &["--version"])).unwrap_or_default();
    println!("cargo::rustc-env=BUILD_GIT_COMMIT={}", commit.unwrap_or_default());
    println!("cargo::rustc-env=BUILD_GIT_TREE_STATE={state}");
    println!("cargo::rustc-env=BUILD_DATE={}", rfc3339(secs));
    println!("cargo::rustc-env=BUILD_RUSTC={rustc}");
}
