//! The operator's page, as text and in a browser.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use command_center::audit::Actor;
use command_center::operator::Partner;
use reqwest::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, ORIGIN, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use crate::support::{self, ADMIN_KEY, Center, on_both_databases};

const FIRST: &str = "84:3A:5B:91:B6:61";

on_both_databases!(
    a_browser_is_asked_for_the_administrators_key,
    the_page_shows_sites_codes_appliances_and_nodes,
    values_of_devices_and_operators_cannot_become_markup,
    codes_are_created_and_shown_once,
    a_code_is_revoked_from_the_page,
    a_form_of_another_page_is_refused,
    an_invalid_form_is_reported_on_the_page,
);

pub(crate) fn as_operator(center: &Center, method: Method, path: &str) -> reqwest::RequestBuilder {
    center.request(method, path).basic_auth("operator", Some(ADMIN_KEY))
}

async fn page(center: &Center) -> String {
    page_at(center, "/").await
}

pub(crate) async fn page_at(center: &Center, path: &str) -> String {
    let response = as_operator(center, Method::GET, path).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.text().await.unwrap()
}

pub(crate) async fn submit(center: &Center, path: &str, form: &str) -> Response {
    let request = as_operator(center, Method::POST, path).header(ORIGIN, center.url(""));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.body(form.to_owned()).send().await.unwrap()
}

/// The codes on a page, as they are typed.
pub(crate) fn codes_on(page: &str) -> Vec<String> {
    page.split("<code>").skip(1).map(|rest| rest.split("</code>").next().unwrap().to_owned()).collect()
}

async fn a_browser_is_asked_for_the_administrators_key(center: Center) {
    for request in [center.request(Method::GET, "/"), center.request(Method::GET, "/").basic_auth("operator", Some("wrong"))] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers()[WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic "));
    }
}

async fn the_page_shows_sites_codes_appliances_and_nodes(center: Center) {
    let (appliance_id, bearer) = center.appliance(FIRST).await;
    let body = json!({ "appliance_id": appliance_id, "status": "testing", "progress_percent": 40, "message": "disk" });
    center.post("/api/provision/status", &[("authorization", &bearer)], &body).await;
    let node = center.node().await;
    center.heartbeat(&node).await;
    let response = as_operator(&center, Method::GET, "/").send().await.unwrap();
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let page = response.text().await.unwrap();
    for (page, shown) in [
        (&page, "<td>Clinic</td>".to_owned()),
        (&page, "<td>claimed</td>".to_owned()),
        (&page_at(&center, "/appliances").await, format!(">{appliance_id}</a></th><td>Clinic</td>")),
        (
            &page_at(&center, "/appliances").await,
            "value=\"40\" aria-label=\"Progress\"></progress>&nbsp;40&nbsp;% disk".to_owned(),
        ),
        (&page_at(&center, "/nodes").await, format!(">{}</a></th><td>home</td>", node.split(':').next().unwrap())),
        (
            &page_at(&center, "/nodes").await,
            "<span class=\"state online\">online</span></td><td>–</td><td>2026-01-04 15:30</td>".to_owned(),
        ),
    ] {
        assert!(page.contains(&shown), "{shown} in:\n{page}");
    }
}

async fn values_of_devices_and_operators_cannot_become_markup(center: Center) {
    let hostile = "<script>document.title='owned'</script>\"'&";
    let partner = Partner { slug: "p".into(), brand_name: hostile.into(), primary_color: "#000000".into(), logo_url: None };
    center.operator().await.acting(Actor::at_the_command_line()).add_partner(partner).await.unwrap();
    let code = center.codes(Some(hostile), 1).await.remove(0);
    let body = json!({ "provision_code": code, "mac_address": FIRST, "hostname": hostile });
    center.post("/api/provision/claim", &[], &body).await;
    let page = page(&center).await + &page_at(&center, "/appliances").await;
    assert!(page.contains("&lt;script&gt;document.title=&#39;owned&#39;&lt;/script&gt;&quot;&#39;&amp;"));
    assert!(!page.contains("<script"));
}

async fn codes_are_created_and_shown_once(center: Center) {
    let made = submit(&center, "/codes", "site=North+Clinic&partner=default&days=7&count=2").await;
    assert_eq!(made.status(), StatusCode::OK);
    let shown = made.text().await.unwrap();
    let codes = codes_on(&shown);
    assert_eq!(codes.len(), 2);
    assert_eq!(shown.matches("src=\"data:image/png;base64,").count(), 2);
    let later = page(&center).await;
    assert_eq!(later.matches("<td>pending</td>").count(), 2);
    for code in codes {
        assert!(!later.contains(&code));
        assert_eq!(center.claim(&code, FIRST).await.0, StatusCode::OK);
    }
}

async fn a_code_is_revoked_from_the_page(center: Center) {
    let code = center.code().await;
    let page = page(&center).await;
    let id = page.split("name=\"id\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let question = page_at(&center, &format!("/codes/revoke?id={id}")).await;
    assert!(question.contains(&format!("<h2>Revoke {id}?</h2>")), "{question}");
    assert_eq!(center.get(&format!("/api/provision/validate/{code}"), &[]).await.1["valid"], true);
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = client.post(center.url("/codes/revoke")).basic_auth("", Some(ADMIN_KEY)).header(ORIGIN, center.url(""));
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(format!("id={id}"));
    let response = request.send().await.unwrap();
    assert_eq!((response.status(), &response.headers()[LOCATION]), (StatusCode::SEE_OTHER, &"/".parse().unwrap()));
    assert_eq!(center.claim(&code, FIRST).await.1["detail"], "Provision code is revoked");
}

async fn a_form_of_another_page_is_refused(center: Center) {
    let form = "site=&partner=default&days=7&count=1";
    for origin in [None, Some("http://evil.example"), Some("null"), Some("http://127.0.0.1:1")] {
        let mut request = as_operator(&center, Method::POST, "/codes").body(form);
        request = request.header("content-type", "application/x-www-form-urlencoded");
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN, "{origin:?}");
    }
    assert!(center.operator().await.codes(None).await.unwrap().is_empty());
}

async fn an_invalid_form_is_reported_on_the_page(center: Center) {
    for form in ["", "partner=default&days=0&count=1", "partner=default&days=1&count=25", "partner=default&days=x&count=1"] {
        let response = submit(&center, "/codes", form).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{form}");
        assert!(response.text().await.unwrap().contains("role=\"alert\">Choose 1 to 24 codes"));
    }
    let response = submit(&center, "/codes", "partner=nobody&days=1&count=1").await;
    assert!(response.text().await.unwrap().contains("there is no partner `nobody`"));
    let response = submit(&center, "/codes/revoke", "id=nothing").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

/// Runs Chromium on an address until it has done what `arguments` say; what it wrote.
fn chromium(folder: &Path, arguments: &[&str], address: &str) -> String {
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1280,1400"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .args(arguments)
        .arg(address)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Where screenshots are kept for people to look at: `$SCREENSHOTS`, or with the other things of the build.
pub(crate) fn screenshots() -> PathBuf {
    let folder = std::env::var_os("SCREENSHOTS").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Whether there is a browser.
fn is_chromium_installed() -> bool {
    let version = Command::new("chromium").arg("--version").stdout(Stdio::null()).status();
    support::is_there("Chromium (Debian: chromium)", version.is_ok_and(|status| status.success()))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_the_page_is_rendered_and_hostile_names_are_text() {
    if !is_chromium_installed() {
        return;
    }
    let center = Center::on_sqlite().await;
    let hostile = "<script>document.title='owned'</script>";
    let code = center.codes(Some(hostile), 3).await.remove(0);
    center.claim(&code, FIRST).await;
    let node = center.node().await;
    center.heartbeat(&node).await;
    // The key of the tests has blanks, which an address must escape.
    let address = format!("http://operator:{}@{}/", ADMIN_KEY.replace(' ', "%20"), center.address());
    let document = chromium(center.place(), &["--dump-dom"], &address);
    assert!(document.contains("<title>Codes and sites – Jarvis command center</title>"), "{document}");
    assert!(document.contains("&lt;script&gt;document.title='owned'&lt;/script&gt;"));
    let image = screenshots().join("command-center.png");
    chromium(center.place(), &[&format!("--screenshot={}", image.display())], &address);
    assert!(std::fs::metadata(image).unwrap().len() > 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_a_new_code_can_be_scanned_from_the_screen() {
    if !is_chromium_installed() {
        return;
    }
    let center = Center::on_sqlite().await;
    let shown = submit(&center, "/codes", "site=North+Clinic&partner=default&days=7&count=1").await.text().await.unwrap();
    let code = codes_on(&shown).remove(0).replace('-', "");
    let file = center.place().join("codes.html");
    std::fs::write(&file, shown).unwrap();
    let image = screenshots().join("command-center-codes.png");
    let screenshot = format!("--screenshot={}", image.display());
    chromium(center.place(), &[&screenshot], &format!("file://{}", file.display()));
    let mut decoder = png::Decoder::new(Cursor::new(std::fs::read(image).unwrap()));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let (width, height, samples) = (info.width as usize, info.height as usize, info.color_type.samples());
    let mut grey = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| pixels[(y * width + x) * samples]);
    let (_, content) = grey.detect_grids()[0].decode().unwrap();
    assert_eq!(content, format!("osiris://{code}"));
}
