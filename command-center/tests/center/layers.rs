//! The import law: `base` ← `store` ← `config` ← `domain` ← `api` ← `server`; nothing imports a layer above its own.

use std::path::{Path, PathBuf};

/// The layers of the library, from the lowest.
const LAYERS: [&str; 6] = ["base", "store", "config", "domain", "api", "server"];

/// Libraries that only some layers know.
const RESERVED: [(&str, &[&str]); 5] = [
    ("rusqlite::", &["store"]),
    ("tokio_postgres::", &["store"]),
    ("axum::", &["api", "server"]),
    ("jarvis_http::", &["server"]),
    ("provisioning_core::", &["base"]),
];

/// What the program around the library consists of. It uses the library from outside.
const PROGRAM: [&str; 2] = ["main", "cli"];

/// What is wrong with the imports of a file; `path` is its path in `src`.
fn offences(path: &Path, text: &str) -> Vec<String> {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    let module = first.trim_end_matches(".rs");
    let rank = LAYERS.iter().position(|layer| *layer == module);
    let is_in_folder = path.components().count() == 2;
    let mut offences = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
        let mut offend = |reason: String| offences.push(format!("{}:{}: {}: {reason}", path.display(), number + 1, line.trim()));
        for rest in line.split("crate::").skip(1) {
            let end = rest.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
            let imported = &rest[..end.unwrap_or(rest.len())];
            match (rank, LAYERS.iter().position(|layer| *layer == imported)) {
                // A path of another crate, such as `self::some_crate::`, is none of ours.
                (None, None) if PROGRAM.contains(&imported) => {}
                (Some(own), Some(other)) if other > own => offend(format!("`{module}` must not import `{imported}`")),
                (Some(own), Some(other)) if other == own && is_in_folder => offend("siblings are imported with `super::`".into()),
                (Some(_), Some(_)) => {}
                _ => offend(format!("`{module}` must not import `crate::{imported}`")),
            }
        }
        for (library, _) in RESERVED.iter().filter(|(library, layers)| line.contains(library) && !layers.contains(&module)) {
            offend(format!("`{module}` must not import `{library}`"));
        }
        if line.contains("super::super") {
            offend("other layers are imported with `crate::`".into());
        }
        if rank.is_some() && line.contains("command_center::") {
            offend("the library does not import itself by name".into());
        }
    }
    if rank.is_none() && module != "lib" && !PROGRAM.contains(&module) {
        offences.push(format!("{}: belongs to no layer", path.display()));
    }
    offences
}

/// All Rust files in a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    entries.flat_map(files).filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

#[test]
fn no_file_imports_a_layer_above_its_own() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&source);
    assert!(LAYERS.iter().all(|layer| files.contains(&source.join(format!("{layer}.rs")))));
    let of = |path: &PathBuf| offences(path.strip_prefix(&source).unwrap(), &std::fs::read_to_string(path).unwrap());
    let offences = files.iter().flat_map(of).collect::<Vec<_>>();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn an_offence_names_the_file_and_the_import() {
    let found = |path: &str, text: &str| offences(Path::new(path), text).join("\n");
    let upwards = found("domain/nodes.rs", "use std::fmt;\nuse crate::api::auth::Peer;\n");
    assert_eq!(upwards, "domain/nodes.rs:2: use crate::api::auth::Peer;: `domain` must not import `api`");
    for (path, line) in [
        ("store.rs", "pub(crate) fn f(refusal: crate::domain::Refusal) {}"),
        ("store/sqlite.rs", "use crate::{base, domain};"),
        ("domain/nodes.rs", "use crate::domain::claims::Claim;"),
        ("domain/operator/operations.rs", "use super::super::claims::Claim;"),
        ("domain/nodes.rs", "use command_center::Server;"),
        ("domain/nodes.rs", "use axum::Json;"),
        ("main.rs", "use crate::store::Store;"),
        ("stray.rs", "use std::fmt;"),
    ] {
        assert!(found(path, line).starts_with(path), "{path}: {line}");
    }
    for (path, line) in [
        ("domain/nodes.rs", "use crate::store::Store;"),
        ("domain/operator/operations.rs", "use crate::domain::claims::Claim;"),
        ("api/nodes.rs", "use super::Center;"),
        ("base/clock.rs", "//! See `crate::store`."),
        ("cli/serve.rs", "use command_center::Server;"),
    ] {
        assert_eq!(found(path, line), "", "{path}: {line}");
    }
}
