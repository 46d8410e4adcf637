//! What a payload finds around it, and what it does not.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd as _;

use longshore::error::Stage;
use longshore::model::{Rlimit, RlimitKind, Volume};
use longshore::spec::ContainerSpec;

use crate::embedded::{Scene, code, embedded, embedded_with, write};

/// The 14 that container engines grant, as the kernel prints them.
const DEFAULT: &str = "00000000a80425fb";
const NONE: &str = "0000000000000000";

/// Lines of /proc/self/status of a payload, without the names.
async fn capabilities(scene: &Scene, set: impl FnOnce(ContainerSpec) -> ContainerSpec) -> String {
    let line = "grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs)' /proc/self/status";
    let text = scene.output(set(scene.spec("caps", line))).await;
    text.split_whitespace().filter(|word| !word.ends_with(':')).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_capabilities_are_those_of_container_engines_and_what_was_asked_for() {
    embedded(async |scene| {
        let own = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
        assert!(own.contains("NoNewPrivs:\t0"), "or the test sees its own bit");
        let root = capabilities(scene, |spec| spec).await;
        assert_eq!(root, format!("{NONE} {DEFAULT} {DEFAULT} {DEFAULT} {NONE} 0"));
        let user = capabilities(scene, |spec| spec.user("user")).await;
        assert_eq!(user, format!("{NONE} {NONE} {NONE} {DEFAULT} {NONE} 0"));
        let none = capabilities(scene, |spec| spec.capability_drop("ALL")).await;
        assert_eq!(none, format!("{NONE} {NONE} {NONE} {NONE} {NONE} 0"));
        let one = capabilities(scene, |spec| {
            spec.user("user").capability_drop("ALL").capability_add("CAP_NET_BIND_SERVICE")
        });
        let bind = "0000000000000400";
        assert_eq!(one.await, format!("{bind} {bind} {bind} {bind} {bind} 0"));
    });
}

#[test]
fn with_its_isolator_no_process_gains_privileges() {
    let isolation = ["filesystem/linux", "docker/runtime", "namespaces/pid", "linux/nnp"];
    let set = isolation.map(str::to_owned).to_vec();
    embedded_with(
        |config| config.isolation = Some(set),
        async |scene| assert!(capabilities(scene, |spec| spec).await.ends_with(" 1")),
    );
}

#[test]
fn resource_limits_are_the_payloads_and_what_cannot_be_given_is_refused() {
    embedded(async |scene| {
        let nofile = |soft, hard| Rlimit::new(RlimitKind::Nofile, soft).hard(hard);
        let spec = scene.spec("limited", "ulimit -Sn; ulimit -Hn");
        let printed = scene.output(spec.rlimit(nofile(Some(100), Some(200)))).await;
        assert_eq!(printed, "100\n200\n");
        let spec = scene.spec("crossed", "exit 0").rlimit(nofile(Some(200), Some(100)));
        match scene.node.launch(spec) {
            Err(error) => assert_eq!(error.stage(), Stage::Configure),
            Ok(job) => {
                let end = job.wait().await.expect("it was launched");
                assert_eq!(end.failure.expect("refused").stage, Stage::Prepare);
            }
        }
    });
}

#[test]
fn what_would_give_the_host_away_is_hidden_or_read_only() {
    embedded(async |scene| {
        let line = "
            [ $(head -c 10 /proc/kcore | wc -c) = 0 ] || echo kcore
            [ $(head -c 10 /proc/keys | wc -c) = 0 ] || echo keys
            [ -z \"$(ls /sys/firmware 2>/dev/null)\" ] || echo firmware
            for file in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/default_smp_affinity
            do [ ! -e $file ] || (echo x > $file) 2>&1 | grep -q 'Read-only' || echo $file; done
            for cgroup in /sys/fs/cgroup/*
            do (mkdir $cgroup/x) 2>&1 | grep -q 'Read-only\\|Not a dir' || echo $cgroup; done
            (echo x > /sys/kernel/uevent_helper) 2>&1 | grep -q 'Read-only\\|nonexistent' || echo sys
            mount -t tmpfs none /tmp 2>/dev/null && echo mounted
            mknod /tmp/kmem c 1 2 && (head -c 1 /tmp/kmem) 2>/dev/null && echo kmem
            exit 0";
        assert_eq!(scene.output(scene.spec("hidden", line)).await, "");
    });
}

#[test]
fn the_usual_devices_are_there_and_work_for_everybody() {
    embedded(async |scene| {
        let line = "
            echo away > /dev/null; head -c 4 /dev/zero | od -An -tx1; head -c 4 /dev/urandom | wc -c
            (echo x > /dev/full) 2>&1 | grep -c 'No space left'
            for link in fd stdin stdout stderr; do readlink /dev/$link; done
            echo through > /dev/shm/file && cat /dev/shm/file
            ls /dev";
        let printed = scene.output(scene.spec("devices", line).user("user")).await;
        let listed: Vec<&str> = printed.lines().collect();
        assert_eq!(
            listed[..8],
            [" 00 00 00 00", "4", "1", "/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1"]
                .into_iter()
                .chain(["/proc/self/fd/2", "through"])
                .collect::<Vec<_>>(),
            "{printed}"
        );
        let devices: BTreeSet<&str> = listed[8..].iter().copied().collect();
        let allowed = BTreeSet::from_iter([
            "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr",
            "stdin", "stdout", "tty", "urandom", "zero", "console",
        ]);
        assert!(devices.is_subset(&allowed), "{devices:?}");
    });
}

#[test]
fn the_container_sees_its_own_processes_and_its_own_shared_memory() {
    embedded(async |scene| {
        let line = "
            set -- /proc/[0-9]*; echo $#; cat /proc/1/comm; echo $$
            for kind in pid ipc mnt net; do readlink /proc/self/ns/$kind; done
            hostname";
        let printed = scene.output(scene.spec("alone", line)).await;
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines[0], "2", "the init and the shell: {printed}");
        assert_eq!((lines[1], lines[2]), ("longshore-init", "2"), "{printed}");
        for (line, kind) in lines[3..].iter().zip(["pid", "ipc", "mnt", "net"]) {
            let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("/proc is there");
            assert_eq!(host.to_str() == Some(line), kind == "net", "{kind}");
        }
    });
}

#[test]
fn volumes_are_shown_as_asked_and_nothing_of_the_image_changes() {
    embedded(async |scene| {
        let (read, writable) = (scene.world.path().join("read"), scene.world.path().join("write"));
        std::fs::create_dir(&read).expect("the world can be written");
        std::fs::create_dir(&writable).expect("the world can be written");
        write(&read.join("file"), "shown\n", 0o644);
        let line = "
            cat /read/file; (echo x > /read/file) 2>&1 | grep -c Read-only
            echo written > /deep/er/file; cat /mnt/mesos/sandbox/relative/file
            cat /one; echo changed > /etc/hostname; mount | grep -c ' /read '";
        let spec = scene
            .spec("volumes", line)
            .volume(Volume::new(&read, "/read").read_only())
            .volume(Volume::new(&writable, "/deep/er"))
            .volume(Volume::new(&read, "relative"))
            .volume(Volume::new(read.join("file"), "/one").read_only());
        assert_eq!(scene.output(spec).await, "shown\n1\nshown\nshown\n1\n");
        let written = std::fs::read_to_string(writable.join("file")).expect("it was written");
        assert_eq!(written, "written\n");
        let root = crate::embedded::root_of(&scene.world);
        for made in ["deep", "read", "one", "doors", "mnt", "etc/hostname"] {
            assert!(!std::fs::exists(root.join(made)).expect("it can be looked at"), "{made}");
        }
    });
}

#[test]
fn without_an_image_the_payload_is_in_the_hosts_files_and_in_its_sandbox() {
    embedded(async |scene| {
        let line = "pwd; test -e /etc/passwd && echo host; ls /proc | grep -c '^[0-9]'; id -u
                    echo here > made; echo $MESOS_SANDBOX";
        let spec = ContainerSpec::host("host").expect("valid").shell(line);
        let end = scene.end(spec).await;
        assert_eq!(code(&end), 0, "{end:?}");
        let sandbox = scene.world.work_dir().join("containers/host");
        let sandbox_text = sandbox.display();
        let printed = scene.stdout("host");
        let expected = format!("{sandbox_text}\nhost\n");
        assert!(printed.starts_with(&expected), "{printed}");
        assert!(printed.ends_with(&format!("0\n{sandbox_text}\n")), "{printed}");
        let processes = printed.lines().nth(2).and_then(|count| count.parse::<u32>().ok());
        assert!(processes.is_some_and(|count| count <= 4), "/proc is the host's: {printed}");
        let made = std::fs::read_to_string(sandbox.join("made")).expect("it was made");
        assert_eq!(made, "here\n");
        let source = scene.world.path().join("doors");
        write(&source.join("file"), "shown\n", 0o644);
        let volume = Volume::new(source, "data").read_only();
        let spec = ContainerSpec::host("again").expect("valid").volume(volume);
        assert_eq!(scene.output(spec.shell("cat data/file")).await, "shown\n");
    });
}

#[test]
fn nothing_of_the_embedder_reaches_a_payload_but_what_was_asked_for() {
    embedded(async |scene| {
        // Inheritable by anything that this process executes.
        let file = File::open("/etc/passwd").expect("it can be read");
        let kept =
            rustix::io::fcntl_dupfd_cloexec(file.as_fd(), 700).expect("descriptors are free");
        rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).expect("it is open");
        // `ls` has one of its own, of the directory.
        let line = "ls /proc/self/fd | tr '\\n' ' '; readlink /proc/1/fd/0 /proc/1/exe /proc/1/cwd | wc -l; \
                    env | cut -d= -f1 | grep -v '^_$' | sort | tr '\\n' ' '; umask; pwd";
        let printed = scene.output(scene.spec("image", line)).await;
        let expected = "0 1 2 3 0\nDOOR MESOS_SANDBOX PATH PWD SHLVL 0022\n/\n";
        assert_eq!(printed.replace("HOME ", "").replace("HOSTNAME ", ""), expected);
        let host = ContainerSpec::host("bare").expect("valid");
        assert_eq!(scene.output(host.shell("ls /proc/self/fd | tr '\\n' ' '")).await, "0 1 2 3 ");
    });
}
