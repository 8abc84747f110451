//! The first login of a device.

use std::fs;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::json;

use crate::server::{Server, Verdict};
use crate::support::{CONF, Desk, Run, mode};

fn device(server: &Server) -> Desk {
    let desk = Desk::new();
    desk.tree("rootfs");
    desk.single(server, &[]).succeeded();
    server.calls();
    desk
}

fn login(desk: &Desk, server: &Server) -> Run {
    let conf = format!("rootfs/{CONF}");
    desk.run(&["login", "--loader-url", &server.url(), "--device-conf", &conf, "--token-file", "token", "--tries", "2"])
}

#[test]
fn a_device_logs_in_with_the_credentials_of_its_image() {
    let server = Server::start();
    let desk = device(&server);
    let run = login(&desk, &server).succeeded();
    assert_eq!(fs::read_to_string(desk.path("token")).unwrap(), "jwt.of.azaion-jetson-0042@azaion.com");
    assert_eq!((mode(&desk.path("token")), server.calls()), (0o600, vec!["POST /login".to_owned()]));
    run.shows_none_of(&["jwt.of".into()]);
}

#[test]
fn a_loader_may_return_no_token() {
    let server = Server::start();
    let desk = device(&server);
    server.script(|_, _| Verdict::Refuse(axum::Json(json!({"status": "ok"})).into_response()));
    login(&desk, &server).succeeded();
    assert!(!desk.path("token").exists());
}

#[test]
fn refused_credentials_have_their_own_status_and_keep_the_old_token() {
    let server = Server::start();
    let desk = device(&server);
    login(&desk, &server).succeeded();
    server.world().passwords.clear();
    assert_eq!(login(&desk, &server).failed_with("401").status, Some(6));
    assert_eq!(fs::read_to_string(desk.path("token")).unwrap(), "jwt.of.azaion-jetson-0042@azaion.com");
}

#[test]
fn a_loader_that_fails_has_its_own_status() {
    let server = Server::start();
    let desk = device(&server);
    server.script(|_, _| Verdict::Refuse(StatusCode::BAD_GATEWAY.into_response()));
    assert_eq!(login(&desk, &server).failed_with("502").status, Some(7));
    assert_eq!(server.calls().len(), 2);
}

#[test]
fn an_image_without_credentials_is_reported() {
    let (desk, server) = (Desk::new(), Server::start());
    assert_eq!(login(&desk, &server).failed_with("rootfs").status, Some(6));
    fs::create_dir_all(desk.path("rootfs/etc/azaion")).unwrap();
    assert_eq!(login(&desk, &server).failed_with("not provisioned").status, Some(6));
    fs::write(desk.path("rootfs").join(CONF), "AZAION_DEVICE_EMAIL=a@b\nAZAION_DEVICE_PASSWORD\n").unwrap();
    assert_eq!(login(&desk, &server).failed_with("AZAION_DEVICE_PASSWORD").status, Some(6));
    assert_eq!(server.calls(), Vec::<String>::new());
}

#[test]
fn a_missing_folder_for_the_token_is_reported() {
    let server = Server::start();
    let desk = device(&server);
    let conf = format!("rootfs/{CONF}");
    let arguments = ["login", "--loader-url", &server.url(), "--device-conf", &conf, "--token-file", "missing/token"];
    desk.run(&arguments).failed_with("storing the token");
}
