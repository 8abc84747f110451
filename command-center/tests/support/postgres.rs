//! A PostgreSQL of our own: a cluster in a temporary folder, gone with the test program.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use command_center::Database;
use sqlx::{Connection as _, PgConnection};

/// Makes the cluster, runs it until standard input ends, which it does with the program at the other end however that
/// dies, and removes it. `fsync=off`: nothing here cuts the power.
const SCRIPT: &str = r#"
set -e
folder=$1 programs=$2
"$programs/initdb" --pgdata "$folder/data" --username postgres --auth trust --no-sync >"$folder/initdb.log" 2>&1
"$programs/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= -c fsync=off -c max_connections=300 \
    >"$folder/postgres.log" 2>&1 &
until "$programs/pg_isready" --quiet --host "$folder"; do kill -0 $! && sleep 0.05; done
echo ready
cat >/dev/null || true
kill -INT $!
wait $! || true
rm -rf "$folder"
"#;

struct Cluster {
    folder: PathBuf,
    /// Its standard input is open as long as the cluster is wanted. It ends after this program, so nobody waits for it.
    _wanted: Child,
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// An empty database.
pub async fn fresh_database() -> Database {
    let cluster = tokio::task::spawn_blocking(|| CLUSTER.get_or_init(start)).await.unwrap();
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(&url(&cluster.folder, "postgres")).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    url(&cluster.folder, &name).parse().unwrap()
}

fn url(folder: &Path, database: &str) -> String {
    format!("postgres://postgres@localhost/{database}?host={}", folder.display())
}

fn start() -> Cluster {
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
    let mut child = command
        .args(["-c", SCRIPT, "sh"])
        .arg(&folder)
        .arg(programs())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 5];
    let heard = child.stdout.take().unwrap().read_exact(&mut said);
    assert!(heard.is_ok() && &said == b"ready", "PostgreSQL did not start; see {}", folder.display());
    Cluster { folder, _wanted: child }
}

fn user_id(name: &str) -> u32 {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.split(':').next() == Some(name)).expect("PostgreSQL's user exists");
    line.split(':').nth(2).unwrap().parse().unwrap()
}

/// The folder with the programs: Debian keeps them out of the path, one folder for each version.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = versions.chain(std::env::split_paths(&path)).filter(|folder| folder.join("initdb").exists());
    folders.next().expect("PostgreSQL is installed (Debian: postgresql)")
}

/// The whole database as SQL.
pub fn dump(url: &str) -> String {
    let output = Command::new(programs().join("pg_dump")).arg(url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
