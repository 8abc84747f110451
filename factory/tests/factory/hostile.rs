//! Trees with links to other places: nothing outside of a tree changes, with and without `openat2`.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use factory::{AccountRule, Batch, Device, Layout, Ledger, Outcome, PAIRING};
use jarvis_provisioning::login::{Api, Credentials, Limits, Lookup, Owner, Tree};

use crate::server::Server;
use crate::support::{CONF, Desk, files};

/// Path, mode, owner and content of every file below a folder.
fn snapshot(folder: &Path) -> Vec<(PathBuf, u32, u64, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::symlink_metadata(&path).unwrap();
        let content = if about.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        found.push((path.clone(), about.mode(), about.ino(), content));
        if about.is_dir() {
            found.extend(snapshot(&path));
        }
    }
    found.sort();
    found
}

/// How a shape changes a tree; its argument is the folder of the canary.
type Shape = fn(&Path, &Path);

fn folder(tree: &Path, path: &str) {
    fs::create_dir_all(tree.join(path)).unwrap();
}

fn link(tree: &Path, path: &str, to: impl AsRef<Path>) {
    symlink(to, tree.join(path)).unwrap();
}

const SHAPES: [(&str, Shape); 18] = [
    ("etc is an absolute link out", |tree, canary| link(tree, "etc", canary)),
    ("etc is a relative link out", |tree, _| link(tree, "etc", "../canary")),
    ("etc climbs far above the root", |tree, canary| {
        let up = PathBuf::from("../".repeat(40));
        link(tree, "etc", up.join(canary.strip_prefix("/").unwrap()));
    }),
    ("azaion is an absolute link out", |tree, canary| {
        folder(tree, "etc");
        link(tree, "etc/azaion", canary.join("azaion"));
    }),
    ("azaion is a relative link out", |tree, _| {
        folder(tree, "etc");
        link(tree, "etc/azaion", "../../canary/azaion");
    }),
    ("azaion leads to what is not there", |tree, canary| {
        folder(tree, "etc");
        link(tree, "etc/azaion", canary.join("new"));
    }),
    ("the file is an absolute link out", |tree, canary| {
        folder(tree, "etc/azaion");
        link(tree, CONF, canary.join("azaion/device.conf"));
    }),
    ("the file is a relative link out", |tree, _| {
        folder(tree, "etc/azaion");
        link(tree, CONF, "../../../canary/azaion/device.conf");
    }),
    ("the file is a link to what is not there", |tree, canary| {
        folder(tree, "etc/azaion");
        link(tree, CONF, canary.join("new"));
    }),
    ("the file is another name of a file outside", |tree, canary| {
        folder(tree, "etc/azaion");
        fs::hard_link(canary.join("azaion/device.conf"), tree.join(CONF)).unwrap();
    }),
    ("the staged file is a link out", |tree, canary| {
        folder(tree, "etc/azaion");
        link(tree, "etc/azaion/.device.conf.staged", canary.join("azaion/device.conf"));
    }),
    ("the staged file is another name of a file outside", |tree, canary| {
        folder(tree, "etc/azaion");
        fs::hard_link(canary.join("azaion/device.conf"), tree.join("etc/azaion/.device.conf.staged")).unwrap();
    }),
    ("a chain of links leads out", |tree, canary| {
        link(tree, "etc", "one");
        link(tree, "one", "two/../three");
        folder(tree, "two");
        link(tree, "three", canary);
    }),
    ("a link in a circle", |tree, _| link(tree, "etc", "etc")),
    ("a link through the process's own root", |tree, canary| {
        link(tree, "etc", Path::new("/proc/self/root").join(canary.strip_prefix("/").unwrap()));
    }),
    ("the pairing file's folder is a link out", |tree, canary| link(tree, "boot", canary)),
    ("the pairing file is a link out", |tree, canary| {
        folder(tree, "boot/firmware");
        link(tree, PAIRING, canary.join("azaion/device.conf"));
    }),
    ("the pairing file's new name is a link out", |tree, canary| {
        folder(tree, "boot/firmware");
        link(tree, "boot/firmware/.jarvis-pairing.json.new", canary.join("azaion/device.conf"));
    }),
];

fn clock() -> SystemTime {
    SystemTime::UNIX_EPOCH
}

fn provision(desk: &Desk, server: &Server, lookup: Lookup) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let url = server.url();
    let owner = Owner { uid: 0, gid: 0, required: false };
    let batch = Batch {
        api: Api::new(url.parse().unwrap(), &Credentials::default(), Limits::default(), clock).unwrap(),
        ledger: Ledger::open(&desk.path("ledger"), &url, clock).unwrap(),
        layout: Layout { pairing: Some(PAIRING.into()), owner, lookup: Some(lookup) },
        reissue: false,
        confirm: true,
        verify: true,
    };
    let rootfs = desk.path("rootfs");
    let device = Device::new("AZJN-0042".parse().unwrap(), &AccountRule::default(), rootfs.to_str().unwrap());
    let reports = runtime.block_on(Arc::new(batch).run(vec![device], |_| {}));
    reports[0].outcome.clone()
}

#[test]
fn no_link_leads_out_of_a_tree() {
    for lookup in [Lookup::Kernel, Lookup::Walk] {
        for (name, shape) in SHAPES {
            let (desk, server) = (Desk::new(), Server::start());
            let (tree, canary) = (desk.tree("rootfs"), desk.tree("canary"));
            fs::create_dir_all(canary.join("azaion")).unwrap();
            fs::create_dir_all(canary.join("firmware")).unwrap();
            fs::write(canary.join("azaion/device.conf"), "the host's own").unwrap();
            shape(&tree, &canary);
            let before = snapshot(&canary);
            let outcome = provision(&desk, &server, lookup);
            assert_eq!(snapshot(&canary), before, "{name}, {lookup:?}: {outcome:?}");
            // Created files are inside the tree.
            let made = files(&tree).iter().any(|file| file.ends_with("device.conf"));
            match outcome {
                Outcome::Created => assert!(made, "{name}, {lookup:?}"),
                Outcome::Failed(_) => assert_eq!(server.world().passwords.len(), 0, "{name}, {lookup:?}"),
                other => panic!("{name}, {lookup:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_legitimate_link_of_an_image_is_followed_within_it() {
    let (desk, server) = (Desk::new(), Server::start());
    let tree = desk.tree("rootfs");
    folder(&tree, "usr/etc");
    link(&tree, "etc", "/usr/etc");
    if Tree::open(&tree).unwrap().lookup() == Lookup::Walk {
        return eprintln!("skipped: this kernel or sandbox refuses openat2");
    }
    assert_eq!(provision(&desk, &server, Lookup::Kernel), Outcome::Created);
    assert!(tree.join("usr/etc/azaion/device.conf").is_file());
}

#[test]
fn without_openat2_a_link_on_the_way_is_an_error_that_names_it() {
    let (desk, server) = (Desk::new(), Server::start());
    let tree = desk.tree("rootfs");
    folder(&tree, "usr/etc");
    link(&tree, "etc", "usr/etc");
    let Outcome::Failed(reason) = provision(&desk, &server, Lookup::Walk) else { panic!("a link was followed") };
    assert!(reason.contains("rootfs/etc") && reason.contains("symbolic link"), "{reason}");
}

#[test]
fn a_kernel_that_refuses_openat2_is_noticed() {
    let (desk, server) = (Desk::new(), Server::start());
    let tree = desk.tree("rootfs");
    folder(&tree, "usr/etc");
    link(&tree, "etc", "usr/etc");
    let program = desk.command(&[]).get_program().to_owned();
    for refusal in ["ENOSYS", "EPERM"] {
        let mut command = std::process::Command::new("strace");
        command.current_dir(desk.path("")).args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=openat2"]);
        command.args(["-e", &format!("inject=openat2:error={refusal}")]).arg(&program);
        command.args(["prepare", "--serial", "AZJN-0042", "--rootfs-dir", "rootfs", "--api-url", &server.url()]);
        let Ok(output) = command.output() else { return eprintln!("skipped: strace is not installed") };
        crate::support::Run::of(output).failed_with("symbolic link");
    }
    assert_eq!(server.calls(), Vec::<String>::new());
}

#[test]
fn a_pipe_or_a_folder_at_the_files_name_blocks_nothing() {
    for lookup in [Lookup::Kernel, Lookup::Walk] {
        let (desk, server) = (Desk::new(), Server::start());
        let tree = desk.tree("rootfs");
        folder(&tree, "etc/azaion");
        rustix::fs::mknodat(rustix::fs::CWD, tree.join(CONF), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert_eq!(provision(&desk, &server, lookup), Outcome::Created);
        assert!(tree.join(CONF).is_file());
    }
    let (desk, server) = (Desk::new(), Server::start());
    folder(&desk.tree("rootfs"), CONF);
    assert!(matches!(provision(&desk, &server, Lookup::Kernel), Outcome::Failed(_)));
}
