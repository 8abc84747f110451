//! A factory reset, with the real NetworkManager.

use std::fs;
use std::path::Path;

use crate::air::{must, run, until};
use crate::device::profiles;
use crate::place::{PASSWORD, SSID};
use crate::scene::Scene;

/// The folders in which NetworkManager remembers networks.
const MEMORY: [&str; 3] = ["/etc/NetworkManager/system-connections", "/run/NetworkManager", "/var/lib/NetworkManager"];

/// The files in which NetworkManager has a text.
fn files_with(text: &str) -> String {
    let found = run("grep", &[&["--recursive", "--files-with-matches", "--fixed-strings", "--text", text][..], &MEMORY].concat());
    String::from_utf8_lossy(&found.stdout).into_owned()
}

async fn networkmanager_answers() {
    until("NetworkManager answers", async || run("nmcli", &["general", "status"]).status.success()).await;
}

#[tokio::test]
async fn a_reset_leaves_no_profile_and_completes_after_networkmanager_was_away() {
    let mut scene = Scene::set().await;
    scene.provision().await;
    scene.goes().await;
    scene.device.kill();
    let uuid = profiles().pop().expect("the profile is kept");
    assert!(files_with(PASSWORD).contains(MEMORY[0]), "its file is found");

    must("systemctl", &["stop", "NetworkManager"]);
    let (status, output) = scene.device.reset().await;
    assert_eq!((status, output.as_str()), (Some(5), ""));
    assert!(files_with(PASSWORD).contains(MEMORY[0]), "without NetworkManager it cannot be deleted");

    must("systemctl", &["start", "NetworkManager"]);
    networkmanager_answers().await;
    let (status, output) = scene.device.reset().await;
    assert_eq!(status, Some(0));
    assert!(output.contains("cleared wifi_credentials"), "{output}");
    assert!(profiles().is_empty(), "{:?}", profiles());
    for secret in [SSID, PASSWORD] {
        assert_eq!(files_with(secret), "", "{secret}");
    }
    must("systemctl", &["restart", "NetworkManager"]);
    networkmanager_answers().await;
    assert!(profiles().is_empty(), "{:?}", profiles());
    // What docs/security.md names.
    for file in files_with(&uuid).lines().map(Path::new).filter(|file| file.starts_with(MEMORY[2])) {
        eprintln!("left: {}: {}", file.display(), fs::read_to_string(file).unwrap_or_default());
        let name = file.file_name().and_then(|name| name.to_str()).expect("plain text");
        assert!(["timestamps", "seen-bssids"].contains(&name), "{}", file.display());
    }
    for entry in fs::read_dir(MEMORY[2]).expect("root may").flatten() {
        eprintln!("kept: {}: {}", entry.path().display(), fs::read_to_string(entry.path()).unwrap_or_default());
    }
    scene.ends().await;
}
