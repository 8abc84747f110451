//! A PostgreSQL of our own: a cluster in a temporary folder, gone with the test program.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use command_center::Database;

/// Makes a cluster and runs it until standard input ends, which it does with the program at the other end however that
/// dies; then removes it. With `PRIMARY`, the folder of another cluster, it is a standby of that one. Each line of input is the
/// name of a function, and is answered when that is done. `fsync=off`: nothing here cuts the power.
const SCRIPT: &str = r#"
set -e
folder=$1 programs=$2
shift 2
if [ "$PRIMARY" ]; then
    "$programs/pg_basebackup" --pgdata "$folder/data" --host "$PRIMARY" --username postgres --write-recovery-conf \
        --checkpoint fast --no-sync >"$folder/initdb.log" 2>&1
else
    "$programs/initdb" --pgdata "$folder/data" --username postgres --auth trust --no-sync >"$folder/initdb.log" 2>&1
fi
start() {
    "$programs/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= -c fsync=off -c max_connections=300 "$@" \
        </dev/null >>"$folder/postgres.log" 2>&1 &
    server=$!
    until "$programs/pg_isready" --quiet --host "$folder"; do kill -0 $server && sleep 0.05; done
}
stop() {
    kill -INT $server
    wait $server || true
}
crash() {
    kill -QUIT $server
    wait $server || true
}
destroy() {
    kill -KILL $server
    wait $server || true
}
promote() {
    "$programs/pg_ctl" promote --pgdata "$folder/data" >>"$folder/postgres.log"
}
start "$@"
echo done!
while read -r command; do
    $command "$@"
    echo done!
done
stop 2>/dev/null
rm -rf "$folder"
"#;

/// A running cluster.
pub(crate) struct Cluster {
    folder: PathBuf,
    commands: ChildStdin,
    answers: ChildStdout,
    databases: u32,
    /// It ends after this program, so it is not awaited.
    _script: Child,
}

impl Cluster {
    /// Makes and starts one.
    pub(crate) fn start() -> Self {
        Self::start_with(5432, &[], &[], None)
    }

    /// Makes and starts a standby, whose primary reports changes as committed only when the standby has them, too.
    pub(crate) fn start_standby_of(primary: &Self) -> Self {
        let standby = Self::start_with(5432, &[], &[], Some(primary));
        let database = format!("postgres://postgres@localhost/postgres?host={}", primary.folder.display()).parse().unwrap();
        run_sql(&database, "ALTER SYSTEM SET synchronous_standby_names = '*'");
        run_sql(&database, "SELECT pg_reload_conf()");
        standby
    }

    /// Makes and starts one that also listens on a port of 127.0.0.1, there also with TLS.
    pub(crate) fn start_with_tls(certificate: &str, key: &str, port: u16) -> Self {
        let files = [("server.crt", certificate), ("server.key", key)];
        let settings = ["ssl=on", "ssl_cert_file=../server.crt", "ssl_key_file=../server.key", "listen_addresses=127.0.0.1"];
        Self::start_with(port, &files, &settings, None)
    }

    fn start_with(port: u16, files: &[(&str, &str)], settings: &[&str], primary: Option<&Self>) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        let mut command = if is_root {
            // The server refuses to run as root.
            std::os::unix::fs::chown(&folder, Some(user_id("postgres")), None).unwrap();
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        for (name, text) in files {
            let path = folder.join(name);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            if is_root {
                std::os::unix::fs::chown(&path, Some(user_id("postgres")), None).unwrap();
            }
        }
        command.args(["-c", SCRIPT, "sh"]).arg(&folder).arg(programs()).current_dir("/");
        // The server and its tools take the port from here.
        command.env("PGPORT", port.to_string());
        command.env("PRIMARY", primary.map_or_else(PathBuf::new, |primary| primary.folder.clone()));
        command.args(settings.iter().flat_map(|setting| ["-c", *setting]));
        let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (commands, answers) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let mut cluster = Self { folder, commands, answers, databases: 0, _script: script };
        cluster.await_answer();
        cluster
    }

    fn await_answer(&mut self) {
        let mut said = [0; 6];
        let heard = self.answers.read_exact(&mut said);
        assert!(heard.is_ok() && &said == b"done!\n", "see the logs in {}", self.folder.display());
    }

    /// Has the script call one of its functions.
    fn call(&mut self, function: &str) {
        writeln!(self.commands, "{function}").unwrap();
        self.await_answer();
    }

    /// Stops the server, as for maintenance.
    pub(crate) fn pause(&mut self) {
        self.call("stop");
    }

    /// Stops the server at once, as a power cut does: what it has not written is lost.
    pub(crate) fn crash(&mut self) {
        self.call("crash");
    }

    /// Starts it again.
    pub(crate) fn resume(&mut self) {
        self.call("start");
    }

    /// Ends the server for good, by SIGKILL.
    pub(crate) fn destroy(&mut self) {
        self.call("destroy");
    }

    /// Makes a standby the primary.
    pub(crate) fn promote(&mut self) {
        self.call("promote");
    }

    /// An empty database of this cluster, at the address of both.
    pub(crate) fn fresh_database_with(&mut self, standby: &Self) -> Database {
        let Database::Postgres(url) = self.fresh_database() else { unreachable!("a fresh database is one") };
        format!("{},{}", *url, standby.folder.display()).parse().unwrap()
    }

    /// Makes an empty database.
    pub(crate) fn fresh_database(&mut self) -> Database {
        let name = format!("test_{}", self.databases);
        self.databases += 1;
        let folder = self.folder.display();
        let made = Command::new(programs().join("createdb"))
            .arg(format!("--host={folder}"))
            .args(["--username=postgres", &name])
            .status()
            .unwrap();
        assert!(made.success());
        format!("postgres://postgres@localhost/{name}?host={folder}").parse().unwrap()
    }
}

static SHARED: Mutex<Option<Cluster>> = Mutex::new(None);

/// An empty database in the cluster that the tests of this program share.
pub(crate) async fn fresh_database() -> Database {
    let make = || SHARED.lock().unwrap().get_or_insert_with(Cluster::start).fresh_database();
    tokio::task::spawn_blocking(make).await.unwrap()
}

fn user_id(name: &str) -> u32 {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.split(':').next() == Some(name)).expect("PostgreSQL's user exists");
    line.split(':').nth(2).unwrap().parse().unwrap()
}

/// Whether there is a PostgreSQL.
pub(crate) fn is_installed() -> bool {
    super::is_there("PostgreSQL (Debian: postgresql)", find_programs().is_some())
}

fn programs() -> PathBuf {
    find_programs().expect("the tests check `is_installed` first")
}

/// The folder with the programs: Debian keeps them out of the path, one folder for each version.
fn find_programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    versions.chain(std::env::split_paths(&path)).find(|folder| folder.join("initdb").exists())
}

/// Runs statements on a database.
pub(crate) fn run_sql(database: &Database, sql: &str) {
    let Database::Postgres(url) = database else { panic!("{database:?}") };
    let command = ["--quiet", "--set=ON_ERROR_STOP=1", "--command", sql, url.as_str()];
    assert!(Command::new(programs().join("psql")).args(command).status().unwrap().success());
}

/// What a query of a database returns, one line per row.
pub(crate) fn rows(url: &str, sql: &str) -> String {
    let command = ["--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command", sql, url];
    let output = Command::new(programs().join("psql")).args(command).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The whole database as SQL.
pub(crate) fn dump(url: &str) -> String {
    let output = Command::new(programs().join("pg_dump")).arg(url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Copies a database into an empty one, with the tools that an operator uses.
pub(crate) fn copy(from: &str, to: &Database) {
    let Database::Postgres(to) = to else { panic!("{to:?}") };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump");
    let programs = programs();
    let dumped = Command::new(programs.join("pg_dump")).arg("--format=custom").arg("--file").arg(&file).arg(from).status();
    assert!(dumped.unwrap().success());
    let restored = Command::new(programs.join("pg_restore")).arg("--dbname").arg(to.as_str()).arg(&file).status();
    assert!(restored.unwrap().success());
}
