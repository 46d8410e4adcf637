use super::*;
use crate::error::{Classified, ErrorKind};
use crate::model::{CommandInfo, Secret};
use crate::spec::ContainerSpec;

fn executor() -> ExecutorInfo {
    let (framework_id, executor_id, agent_id) = ("F".into(), "E".into(), "S".into());
    ExecutorInfo { framework_id, executor_id, agent_id, ..ExecutorInfo::default() }
}

fn task() -> TaskInfo {
    TaskInfo { task_id: "t".into(), name: "a task".into(), ..TaskInfo::default() }
}

fn host() -> ContainerSpec {
    ContainerSpec::host("a").expect("valid").command(["/executor"])
}

fn image() -> ContainerSpec {
    ContainerSpec::image("a", "alpine").expect("valid")
}

#[test]
fn a_container_of_another_type_is_unsupported_and_not_merely_invalid() {
    let error = image().container_type(ContainerType::Docker).validate().expect_err("refused");
    assert_eq!((&error, error.kind()), (&InvalidSpec::ContainerType, ErrorKind::Unsupported));
    assert_eq!(image().container_type(ContainerType::Mesos).validate(), Ok(()));
    // Also where more is wrong with it: whoever it is for will say so.
    let host = ContainerSpec::host("a").expect("valid").container_type(ContainerType::Docker);
    assert_eq!(host.validate(), Err(InvalidSpec::ContainerType));
}

#[test]
fn executors_and_tasks_are_accepted_with_and_without_an_image() {
    assert_eq!(host().executor(executor()).validate(), Ok(()));
    assert_eq!(image().executor(executor()).validate(), Ok(()), "the image says what runs");
    assert_eq!(host().command_task(executor(), task()).validate(), Ok(()));
    let both = image().command(["/executor"]).command_task(executor(), task());
    assert_eq!(both.validate(), Ok(()), "what the task runs, its image says");
    let line = host().shell("exec executor").command_task(executor(), task());
    assert_eq!(line.validate(), Ok(()), "without an image it needs no arguments");
}

#[test]
fn what_no_executor_or_task_can_be_is_refused() {
    let with = |change: fn(&mut ExecutorInfo)| {
        let mut changed = executor();
        change(&mut changed);
        host().executor(changed)
    };
    let of_task = |change: fn(&mut TaskInfo)| {
        let mut changed = task();
        change(&mut changed);
        host().command_task(executor(), changed)
    };
    for (spec, reason) in [
        (with(|it| it.framework_id = String::new()), "framework id"),
        (with(|it| it.executor_id = "a/b".into()), "executor id"),
        (with(|it| it.agent_id = "..".into()), "agent id"),
        (with(|it| it.agent_id = "x".repeat(256)), "agent id"),
        (with(|it| it.executor_id = "a\nb".into()), "executor id"),
        (with(|it| it.authentication_token = Some(Secret::new("a\0b"))), "authentication token"),
        (of_task(|it| it.task_id = ".".into()), "task id"),
        (of_task(|it| it.name = "a\0".into()), "task name"),
        (of_task(|it| it.command.shell = true), "a shell needs a command line"),
        (of_task(|it| it.command.arguments = vec!["\0".into()]), "argument"),
        (
            of_task(|it| it.command.environment = [("A=".to_owned(), String::new())].into()),
            "environment variable",
        ),
        (image().command_task(executor(), task()), "nothing to run"),
        (image().shell("x").command_task(executor(), task()), "a shell line takes none"),
        (host().agent_env("", "x"), "environment variable"),
        (host().agent_env("A", "\0"), "NUL"),
    ] {
        let error = spec.validate().expect_err(reason);
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.to_string().contains(reason), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn a_token_is_not_told_by_the_error_that_refuses_it() {
    let token = Some(Secret::new("hunter\0two"));
    let spec = host().executor(ExecutorInfo { authentication_token: token, ..executor() });
    let error = spec.validate().expect_err("refused").to_string();
    assert!(!error.contains("hunter"), "{error}");
    assert!(!format!("{spec:?}").contains("hunter"));
}

#[test]
fn a_container_without_a_task_keeps_its_own_command() {
    let own = CommandInfo { value: Some("/x".into()), ..CommandInfo::default() };
    let spec = host().command_info(own.clone()).executor(executor());
    assert_eq!(spec.into_config("/s".into()).expect("valid").command, own);
}
