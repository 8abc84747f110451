//! Programs that this one starts, and that end with it.
//!
//! The kernel signals a child when the thread ends that has started it (`PR_SET_PDEATHSIG`). A child can ask for this only
//! itself, so this program is started first, as `jarvis-provision child`, asks, and becomes the other program. Children are
//! started by the task of the radio, which runs on the main thread: that ends with the process and not earlier.
//!
//! The kernel forgets this when a program changes its user, as `dnsmasq` does if it is started by root. Such a program is
//! supervised: this one stays as its parent, and ends it at the end of standard input, whose other end the parent has.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, getppid, kill_process, set_parent_process_death_signal};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::cause::Cause;

/// A program ends within this time after it was asked to.
const END_LIMIT: Duration = Duration::from_secs(3);
/// Where programs of the system are, beside the `PATH`, which services and users may have without these.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// Becomes another program, which ends when its parent does. Returns only if that fails.
pub fn become_child(parent: u32, program: &Path, arguments: &[String]) -> io::Error {
    let asking = || {
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // The parent may have ended before.
        let alive = getppid().is_some_and(|found| found.as_raw_nonzero().get().cast_unsigned() == parent);
        if alive { Ok(()) } else { Err(io::Error::other("the parent has ended")) }
    };
    match asking() {
        Ok(()) => std::process::Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}

/// Runs another program, and ends it when standard input ends. Returns when it has ended.
pub fn supervise(program: &Path, arguments: &[String]) -> io::Result<ExitStatus> {
    let mut child = std::process::Command::new(program).args(arguments).stdin(Stdio::null()).spawn()?;
    let id = Pid::from_raw(child.id().cast_signed());
    std::thread::spawn(move || {
        let _ended = io::copy(&mut io::stdin().lock(), &mut io::sink());
        // This process has not waited for it, or has ended with it.
        if let Some(id) = id {
            let _ended = kill_process(id, Signal::TERM);
        }
    });
    child.wait()
}

/// The path of a program.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A program that runs. It is asked to end when this is dropped.
pub(super) struct Child {
    program: &'static str,
    process: tokio::process::Child,
    /// The end of standard input of one that is supervised.
    life: Option<ChildStdin>,
    is_supervised: bool,
}

/// Whether the kernel may forget that a program ends with this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// The program keeps its user.
    Kept,
    /// It changes its user if it is root's.
    Dropped,
}

impl Child {
    /// Starts a program, and waits until it prints `ready`; an empty text is there at once. Its output goes to the log.
    pub(super) async fn start(
        launcher: &Path,
        program: &'static str,
        rights: Rights,
        arguments: &[&str],
        ready: &str,
        limit: Duration,
    ) -> Result<Self, Cause> {
        let failed = |source| Cause::Start { program, source };
        let missing = || failed(io::Error::new(io::ErrorKind::NotFound, "it is not installed"));
        let path = find(program).ok_or_else(missing)?;
        let (reader, writer) = io::pipe().map_err(failed)?;
        let mut command = Command::new(launcher);
        let is_supervised = rights == Rights::Dropped && geteuid().is_root();
        let parent = if is_supervised { "0".to_owned() } else { std::process::id().to_string() };
        command.arg("child").arg(parent).arg(path).args(arguments);
        command.stdin(if is_supervised { Stdio::piped() } else { Stdio::null() });
        command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
        let mut process = command.spawn().map_err(failed)?;
        // The command has the ends of the pipe that the child writes to; its output ends with the child.
        drop(command);
        let life = process.stdin.take();
        let mut child = Self { program, process, life, is_supervised };
        let output = pipe::Receiver::from_owned_fd(reader.into()).map_err(failed)?;
        let (line, mut lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut output = BufReader::new(output).lines();
            while let Ok(Some(text)) = output.next_line().await {
                debug!("{program}: {text}");
                // Nobody listens once it is ready.
                let _unheard = line.send(text);
            }
        });
        let mut said = String::new();
        let wait = async {
            while !ready.is_empty() {
                match lines.recv().await {
                    Some(text) if text.contains(ready) => break,
                    Some(text) => said = text,
                    None => return Err(Cause::Ended { program, said: std::mem::take(&mut said) }),
                }
            }
            Ok(())
        };
        match timeout(limit, wait).await {
            Ok(Ok(())) => Ok(child),
            Ok(Err(cause)) => Err(cause),
            Err(_) => {
                child.ask_to_end();
                Err(Cause::NotReady { program, after: limit })
            }
        }
    }

    /// Its name.
    pub(super) const fn program(&self) -> &'static str {
        self.program
    }

    /// Waits until it ends by itself. May be cancelled.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        self.process.wait().await.ok()
    }

    /// Ends it: asks, and kills it if it does not.
    pub(super) async fn stop(mut self) {
        self.ask_to_end();
        if timeout(END_LIMIT, self.process.wait()).await.is_err() {
            warn!(program = self.program, "it does not end, and is killed");
            let _ended = self.process.kill().await;
        }
    }

    fn ask_to_end(&mut self) {
        // A signal would end the supervisor without the program.
        if self.is_supervised {
            self.life = None;
            return;
        }
        // Without an id it was waited for, and the number may belong to another process.
        let id = self.process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(id) = id {
            let _ended = kill_process(id, Signal::TERM);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.ask_to_end();
    }
}

/// A file in the folder of this run that only this user can read; removed when dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Writes it. The folder is made if it is missing.
    pub(super) fn write(folder: &Path, name: &str, content: &str) -> Result<Self, Cause> {
        let path = folder.join(name);
        let writing = || {
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            // An earlier run may have been killed. A link is replaced, and not followed.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(content.as_bytes())
        };
        writing().map_err(|source| Cause::Write(path.clone(), source))?;
        Ok(Self(path))
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The folder is of this run only.
        let _missing = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Starts a shell in place of this program: it skips `child` and the number, and becomes the rest.
    fn launcher(folder: &Path) -> PathBuf {
        let path = folder.join("launcher");
        fs::write(&path, "#!/bin/sh\nshift 2\nexec \"$@\"\n").expect("a writable folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("our own file");
        path
    }

    async fn start(script: &str, ready: &str, limit: Duration) -> Result<Child, Cause> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Child::start(&launcher(folder.path()), "sh", Rights::Kept, &["-c", script], ready, limit).await
    }

    #[tokio::test]
    async fn a_program_is_ready_once_it_says_so_and_ends_when_asked() {
        let script = "echo starting; echo AP-ENABLED; exec cat /dev/zero >/dev/null";
        let mut child = start(script, "AP-ENABLED", Duration::from_mins(1)).await.expect("it says so");
        let early = timeout(Duration::ZERO, child.ended()).await;
        assert!(early.is_err(), "it runs: {early:?}");
        child.stop().await;
    }

    #[tokio::test]
    async fn a_program_that_ends_early_is_reported_with_its_last_words() {
        let Err(cause) = start("echo could not configure; exit 1", "AP-ENABLED", Duration::from_mins(1)).await else {
            panic!("it has ended")
        };
        assert_eq!(cause.to_string(), "sh has ended: could not configure");
    }

    #[tokio::test]
    async fn a_program_that_never_says_so_is_given_up() {
        let result = start("exec cat /dev/zero >/dev/null", "AP-ENABLED", Duration::from_millis(50)).await;
        assert!(matches!(result, Err(Cause::NotReady { .. })));
    }

    #[test]
    fn a_scratch_file_is_private_replaces_a_link_and_goes_with_its_owner() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runtime = folder.path().join("run");
        let first = Scratch::write(&runtime, "hostapd.conf", "secret").expect("a writable folder");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(first.path()), mode(&runtime)), (0o600, 0o700));
        drop(first);
        let victim = folder.path().join("victim");
        std::os::unix::fs::symlink(&victim, runtime.join("hostapd.conf")).expect("a writable folder");
        let second = Scratch::write(&runtime, "hostapd.conf", "secret").expect("the link is replaced");
        assert!(!victim.exists() && second.path().is_file());
        drop(second);
        assert_eq!(fs::read_dir(&runtime).expect("the folder").count(), 0);
    }

    #[test]
    fn a_child_whose_parent_is_another_process_does_not_start() {
        assert_eq!(become_child(u32::MAX, Path::new("/bin/true"), &[]).to_string(), "the parent has ended");
    }
}
