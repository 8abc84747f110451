//! The import law of the node and of the core: which module may import which, and that no modules import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module and those that it may import.
type Edges = &'static [(&'static str, &'static [&'static str])];

/// The node. The program, `cli`, imports the library from outside.
const NODE: Edges = &[
    ("files", &[]),
    ("identity", &[]),
    ("label", &[]),
    ("network", &["files"]),
    ("config", &[]),
    ("simulation", &["network"]),
    ("login", &["files"]),
    ("store", &["files", "identity"]),
    ("claim", &["files", "identity"]),
    ("command_center", &["claim"]),
    ("daemon", &["claim", "command_center", "network", "store"]),
    ("care", &["command_center", "daemon", "label", "network"]),
    ("link", &["care", "config", "daemon", "label"]),
    ("panel", &["care", "daemon"]),
];

/// The core.
const CORE: Edges = &[
    ("backoff", &[]),
    ("fault", &[]),
    ("secret", &[]),
    ("domain", &["fault", "secret"]),
    ("endpoint", &[]),
    ("wire", &["domain", "endpoint", "fault", "secret"]),
    ("session", &["domain", "endpoint", "fault", "secret", "wire"]),
    ("espressif", &["domain", "secret", "wire"]),
    ("improv", &["domain", "secret"]),
    ("nymea", &["domain", "fault", "secret"]),
    ("gatt", &["domain", "endpoint", "fault", "wire"]),
    ("care", &["backoff", "domain"]),
    ("panel", &["domain"]),
    ("machine", &["backoff", "domain", "endpoint", "espressif", "fault", "improv", "nymea", "secret", "session", "wire"]),
];

/// Crates that the core must not know: the layers above it, and what has sockets, files or a clock.
const ABOVE_THE_CORE: &[&str] = &["jarvis_provisioning", "jarvis_http", "tokio", "std"];

/// One import: the file, the line, the module of the file, and the module that is imported.
struct Import {
    place: String,
    from: String,
    to: String,
}

/// The imports of other modules in a file; `path` is its path in the folder of sources.
fn imports(path: &Path, text: &str) -> Vec<Import> {
    let from = module(path);
    let mut imports = Vec::new();
    for (number, line) in code(text) {
        for rest in line.split("crate::").skip(1) {
            for to in names(rest) {
                if to != from {
                    imports.push(Import { place: format!("{}:{number}", path.display()), from: from.clone(), to });
                }
            }
        }
    }
    imports
}

/// The lines that are no comments, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The modules that a path after `crate::` names: one, or those of a list in braces.
fn names(rest: &str) -> Vec<String> {
    let name = |text: &str| text.trim().chars().take_while(|&letter| letter.is_ascii_alphanumeric() || letter == '_').collect();
    match rest.strip_prefix('{') {
        Some(list) => list.split(',').map(name).filter(|name: &String| !name.is_empty()).collect(),
        None => vec![name(rest)],
    }
}

/// The module at the root of the crate that a file belongs to.
fn module(path: &Path) -> String {
    let first = path.components().next().expect("a path of a file").as_os_str().to_str().expect("a plain name");
    first.trim_end_matches(".rs").to_owned()
}

/// What is wrong with some imports.
fn offences(edges: Edges, imports: &[Import]) -> Vec<String> {
    let allowed: BTreeMap<_, _> = edges.iter().copied().collect();
    let offence = |import: &Import| {
        let Import { place, from, to } = import;
        match allowed.get(from.as_str()) {
            None => Some(format!("{place}: `{from}` belongs to no layer")),
            Some(targets) if !targets.contains(&to.as_str()) => Some(format!("{place}: `{from}` must not import `{to}`")),
            Some(_) => None,
        }
    };
    imports.iter().filter_map(offence).collect()
}

/// A cycle in a table of edges, if there is one.
fn cycle(edges: &[(&str, &[&str])]) -> Option<String> {
    let mut left: BTreeMap<&str, BTreeSet<&str>> = edges.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect();
    // Modules that import nothing that is left are in no cycle.
    while let Some(free) = left.iter().find(|(_, to)| to.is_empty()).map(|(from, _)| *from) {
        left.remove(free);
        for to in left.values_mut() {
            to.remove(free);
        }
    }
    let names = left.keys().copied().collect::<Vec<_>>();
    if names.is_empty() { None } else { Some(names.join(", ")) }
}

/// All Rust files of a folder, with their content.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    collect(folder, &mut files);
    let relative = |path: &PathBuf| path.strip_prefix(folder).expect("it is in the folder").to_owned();
    files.iter().map(|path| (relative(path), std::fs::read_to_string(path).expect("a readable file"))).collect()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn check(folder: &str, edges: Edges, outside: &[&str]) {
    let files = sources(&repository().join(folder));
    let of_a_layer = |path: &Path| !outside.contains(&module(path).as_str());
    let imports: Vec<Import> =
        files.iter().filter(|(path, _)| of_a_layer(path)).flat_map(|(path, text)| imports(path, text)).collect();
    let offences = offences(edges, &imports);
    assert!(offences.is_empty(), "{}", offences.join("\n"));
    let modules: BTreeSet<String> =
        files.iter().map(|(path, _)| module(path)).filter(|name| !outside.contains(&name.as_str())).collect();
    let listed: BTreeSet<String> = edges.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(modules, listed, "every module of `{folder}` is in the table");
    for (from, targets) in edges {
        for to in *targets {
            assert!(imports.iter().any(|import| import.from == *from && import.to == *to), "`{from}` does not import `{to}`");
        }
    }
    assert_eq!(cycle(edges), None);
}

#[test]
fn modules_of_the_node_import_only_what_they_may() {
    check("src", NODE, &["lib", "main", "cli"]);
}

#[test]
fn modules_of_the_core_import_only_what_they_may() {
    check("core/src", CORE, &["lib"]);
}

#[test]
fn the_core_imports_no_layer_above_it() {
    let mut found = Vec::new();
    for (path, text) in sources(&repository().join("core/src")) {
        // Unit tests, at the end of a file, may use the standard library.
        let product = text.split("#[cfg(test)]\nmod tests").next().expect("a split has a first part");
        for (number, line) in code(product) {
            let imported = ABOVE_THE_CORE.iter().find(|name| {
                line.trim_start().starts_with(&format!("use {name}::"))
                    || line.trim_start().starts_with(&format!("pub use {name}::"))
            });
            found.extend(imported.map(|name| format!("{}:{number}: the core must not import `{name}`", path.display())));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_offence_names_the_file_and_the_import() {
    let found = |path: &str, text: &str| offences(NODE, &imports(Path::new(path), text)).join("\n");
    assert_eq!(found("store/paths.rs", "\nuse crate::claim::X;"), "store/paths.rs:2: `store` must not import `claim`");
    assert_eq!(found("network/nm.rs", "fn f(_: crate::daemon::Op) {}"), "network/nm.rs:1: `network` must not import `daemon`");
    assert_eq!(found("claim.rs", "use crate::{files::Folder, store::Store};"), "claim.rs:1: `claim` must not import `store`");
    assert_eq!(found("stray.rs", "use crate::files::Folder;"), "stray.rs:1: `stray` belongs to no layer");
    for (path, text) in [
        ("claim.rs", "use crate::files::Folder;"),
        ("claim/node.rs", "use crate::claim::ServerRefusal;"),
        ("store.rs", "//! See `crate::claim`."),
    ] {
        assert_eq!(found(path, text), "", "{path}: {text}");
    }
}

#[test]
fn a_cycle_is_found() {
    assert_eq!(cycle(&[("a", &["b"]), ("b", &["c"]), ("c", &[])]), None);
    assert_eq!(cycle(&[("a", &["b"]), ("b", &["a"]), ("c", &["a"])]), Some("a, b, c".into()));
}
