//! TLS towards PostgreSQL, and servers that do not speak it.

use std::path::Path;

use command_center::{Config, Database, OpenError, Server, StartError};

use crate::support;
use crate::support::postgres::Cluster;

/// Starts a server on a database and stops it; why it did not start. Its secret is in the folder.
async fn open(folder: &Path, address: &str) -> Result<(), String> {
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), address.parse().unwrap());
    config.secret_file = Some(folder.join("secret"));
    match Server::start(config).await {
        Ok(server) => {
            server.stop().await;
            Ok(())
        }
        Err(StartError::Open(OpenError::Database(reason))) => Err(reason),
        Err(other) => panic!("{other:?}"),
    }
}

fn certificate(name: &str) -> (String, String) {
    let identity = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    (identity.cert.pem(), identity.signing_key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn sslmode_decides_which_servers_are_accepted() {
    if !support::postgres::is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (own, key) = certificate("127.0.0.1");
    let (wrong_name, _) = certificate("db.example");
    let root = folder.path().join("root.pem");
    let cluster = {
        let own = own.clone();
        tokio::task::spawn_blocking(move || Cluster::start_with_tls(&own, &key, port)).await.unwrap()
    };
    let address = |options: &str| format!("postgres://postgres@127.0.0.1:{port}/postgres?{options}");
    let open = async |trusted: &str, mode: &str| {
        std::fs::write(&root, trusted).unwrap();
        open(folder.path(), &address(&format!("sslmode={mode}&sslrootcert={}", root.display()))).await
    };
    for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
        assert_eq!(open(&own, mode).await, Ok(()), "{mode}");
    }
    assert_eq!(open(&wrong_name, "require").await, Ok(()));
    for mode in ["verify-ca", "verify-full"] {
        let refused = open(&wrong_name, mode).await.unwrap_err();
        assert!(refused.contains("invalid peer certificate"), "{mode}: {refused}");
    }
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_accepted_by_verify_ca_alone() {
    if !support::postgres::is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (own, key) = certificate("db.example");
    let (folder, root) = (folder.path(), folder.path().join("root.pem"));
    std::fs::write(&root, &own).unwrap();
    let cluster = tokio::task::spawn_blocking(move || Cluster::start_with_tls(&own, &key, port)).await.unwrap();
    let root = root.display();
    let address = |mode: &str| format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode={mode}&sslrootcert={root}");
    assert_eq!(open(folder, &address("verify-ca")).await, Ok(()));
    let refused = open(folder, &address("verify-full")).await.unwrap_err();
    assert!(refused.contains("not valid for name"), "{refused}");
    drop(cluster);
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    if !support::postgres::is_installed() {
        return;
    }
    let Database::Postgres(address) = support::postgres::fresh_database().await else { panic!("a fresh database is one") };
    let folder = tempfile::tempdir().unwrap();
    let refused = open(folder.path(), &format!("{}&sslmode=require", *address)).await.unwrap_err();
    assert!(refused.contains("server does not support TLS"), "{refused}");
    assert_eq!(open(folder.path(), &format!("{}&sslmode=prefer", *address)).await, Ok(()));
}
