//! CronJobs on their way to the store.

use super::*;
use crate::core::v1::Container;
use crate::kind::testing::{defaulted, refused, refused_update};

fn job(change: impl FnOnce(&mut CronJob)) -> CronJob {
    let mut own = CronJob::default();
    own.metadata.name = "nightly".into();
    own.metadata.namespace = "shop".into();
    own.spec.schedule = "0 3 * * *".into();
    let pod = &mut own.spec.job_template.spec.template.spec;
    pod.restart_policy = "OnFailure".into();
    pod.containers = vec![Container { name: "main".into(), image: "perl:1".into(), ..Default::default() }];
    change(&mut own);
    own
}

#[test]
fn defaults() {
    let spec = defaulted(job(|_| {})).spec;
    assert_eq!(spec.concurrency_policy, ConcurrencyPolicy::Allow);
    assert_eq!((spec.successful_jobs_history_limit, spec.failed_jobs_history_limit), (Some(3), Some(1)));
    assert_eq!(spec.job_template.spec.completions, None, "Jobs get theirs when they are made");
}

#[test]
fn what_is_refused() {
    assert!(refused(job(|_| {})).is_empty());
    assert_eq!(
        refused(job(|j| {
            j.metadata.name = "a".repeat(53);
            j.spec.schedule = "TZ=UTC 61 * * * *".into();
            j.spec.time_zone = Some("Mars/North".into());
            j.spec.concurrency_policy = "Maybe".into();
            j.spec.job_template.spec.manual_selector = Some(true);
        })),
        [
            r#"spec.schedule: Invalid value: "TZ=UTC 61 * * * *": end of range (61) above maximum (59): 61"#,
            r#"spec.schedule: Invalid value: "TZ=UTC 61 * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"#,
            r#"spec.timeZone: Invalid value: "Mars/North": unknown time zone Mars/North"#,
            r#"spec.concurrencyPolicy: Unsupported value: "Maybe": supported values: "Allow", "Forbid", "Replace""#,
            r#"spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false""#,
            r#"metadata.name: Invalid value: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": must be no more than 52 characters"#,
        ]
    );
}

#[test]
fn what_was_wrong_before_may_stay() {
    let old = job(|j| {
        j.metadata.name = "a".repeat(60);
        j.spec.schedule = "TZ=UTC 0 3 * * *".into();
        j.spec.time_zone = None;
    });
    let mut new = old.clone();
    new.spec.suspend = Some(true);
    assert!(refused_update(new, old).is_empty());
}
