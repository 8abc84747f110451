//! Operators who sign in with a name: their sessions, and what the command line and the audit know of them.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use command_center::audit::Actor;
use command_center::permissions::Role;
use command_center::{Config, SecretText};
use reqwest::header::{COOKIE, LOCATION, ORIGIN, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::operator::{done, listed, program, run};
use crate::support::{ADMIN_KEY, Center, dump, on_both_databases, text};

pub(crate) const PASSWORD: &str = "the password of an operator";

on_both_databases!(
    an_operator_signs_in_with_a_name_and_a_password,
    a_session_ends_after_twelve_hours_or_thirty_idle_minutes,
    a_page_that_is_only_left_open_does_not_keep_a_session,
    a_session_ends_with_a_sign_out_or_a_change_of_the_operator,
    a_second_factor_is_needed_once_it_is_set_and_its_codes_count_once,
    guesses_of_passwords_are_limited,
    a_form_of_another_page_does_not_sign_in,
    a_changed_operator_is_not_shown_more_of_a_live_device,
    the_audit_names_the_operator,
    operators_are_managed_at_the_command_line,
    neither_tokens_nor_passwords_nor_factors_are_in_the_database,
);

/// Follows no redirects.
pub(crate) fn browser() -> reqwest::Client {
    crate::support::client();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

pub(crate) async fn add(center: &Center, name: &str, role: Role) {
    let operator = center.operator().await;
    operator.acting(Actor::at_the_command_line()).add_operator(name, role, SecretText::new(PASSWORD.into())).await.unwrap();
    operator.close().await;
}

/// Sends the form of the page.
pub(crate) async fn submit_sign_in(center: &Center, name: &str, password: &str, code: &str) -> Response {
    let form = [("name", name), ("password", password), ("code", code)];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = browser().post(center.url("/sign-in")).header(ORIGIN, center.url(""));
    request.header("content-type", "application/x-www-form-urlencoded").body(form).send().await.unwrap()
}

/// Signs in; the cookie.
pub(crate) async fn sign_in(center: &Center, name: &str) -> String {
    let response = submit_sign_in(center, name, PASSWORD, "").await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    cookie(&response)
}

fn cookie(response: &Response) -> String {
    response.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned()
}

/// What the page answers in a session.
async fn page(center: &Center, path: &str, cookie: &str) -> (StatusCode, String) {
    let response = browser().get(center.url(path)).header(COOKIE, cookie).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

async fn is_signed_in(center: &Center, cookie: &str) -> bool {
    page(center, "/", cookie).await.0 == StatusCode::OK
}

async fn an_operator_signs_in_with_a_name_and_a_password(center: Center) {
    let asked = || browser().get(center.url("/")).send();
    assert!(asked().await.unwrap().headers()[WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic "));
    add(&center, "kim", Role::Viewer).await;
    let response = asked().await.unwrap();
    assert_eq!((response.status(), response.headers()[LOCATION].to_str().unwrap()), (StatusCode::SEE_OTHER, "/sign-in"));
    let form = browser().get(center.url("/sign-in")).send().await.unwrap();
    assert_eq!(form.status(), StatusCode::OK);
    assert!(form.text().await.unwrap().contains("autocomplete=\"current-password\""));
    for (name, password) in [("kim", "another password"), ("lee", PASSWORD), ("kim", ""), ("k\0im", PASSWORD)] {
        let response = submit_sign_in(&center, name, password, "").await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(!response.headers().contains_key(SET_COOKIE));
        assert!(response.text().await.unwrap().contains("role=\"alert\">No operator has this name"));
    }
    let response = submit_sign_in(&center, " kim", PASSWORD, "").await;
    assert_eq!((response.status(), response.headers()[LOCATION].to_str().unwrap()), (StatusCode::SEE_OTHER, "/"));
    let attributes = response.headers()[SET_COOKIE].to_str().unwrap().split_once("; ").unwrap().1;
    assert_eq!(attributes, "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict");
    let (status, shown) = page(&center, "/", &cookie(&response)).await;
    assert_eq!(status, StatusCode::OK);
    assert!(shown.contains("<span>kim</span><button>Sign out</button>"), "{shown}");
    assert!(!is_signed_in(&center, "jarvis-session=another").await);
    // The key stays, for browsers and for scripts.
    let by_key = browser().get(center.url("/administrator"));
    assert_eq!(by_key.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    for path in ["/administrator", "/"] {
        let response = browser().get(center.url(path)).basic_auth("any", Some(ADMIN_KEY)).send().await.unwrap();
        assert!(!response.status().is_client_error(), "{path}");
    }
    // A wrong key is refused beside a session.
    let request = browser().get(center.url("/")).header(COOKIE, sign_in(&center, "kim").await);
    assert_eq!(request.header("x-api-key", "wrong").send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

async fn a_session_ends_after_twelve_hours_or_thirty_idle_minutes(center: Center) {
    add(&center, "kim", Role::Administrator).await;
    let used = sign_in(&center, "kim").await;
    let idle = sign_in(&center, "kim").await;
    center.clock.advance(Duration::from_mins(29));
    assert!(is_signed_in(&center, &used).await && is_signed_in(&center, &idle).await);
    for _ in 0..23 {
        center.clock.advance(Duration::from_mins(29));
        assert!(is_signed_in(&center, &used).await);
    }
    assert!(!is_signed_in(&center, &idle).await);
    center.clock.advance(Duration::from_mins(24));
    assert!(!is_signed_in(&center, &used).await);
}

async fn a_page_that_is_only_left_open_does_not_keep_a_session(center: Center) {
    add(&center, "kim", Role::Viewer).await;
    let cookie = sign_in(&center, "kim").await;
    for status in [StatusCode::OK, StatusCode::OK, StatusCode::SEE_OTHER] {
        let request = browser().get(center.url("/")).header(COOKIE, &cookie).header("sec-fetch-dest", "empty");
        assert_eq!(request.send().await.unwrap().status(), status);
        center.clock.advance(Duration::from_mins(15));
    }
}

async fn a_session_ends_with_a_sign_out_or_a_change_of_the_operator(center: Center) {
    add(&center, "kim", Role::Viewer).await;
    add(&center, "lee", Role::Viewer).await;
    let other = sign_in(&center, "lee").await;
    let operator = center.operator().await;
    let acting = operator.acting(Actor::at_the_command_line());
    for end in ["role", "password", "factor", "sign-out", "removal"] {
        let cookie = sign_in(&center, "kim").await;
        assert!(is_signed_in(&center, &cookie).await);
        match end {
            "role" => acting.set_role("kim", Role::Administrator).await.unwrap(),
            "password" => acting.set_password("kim", SecretText::new(PASSWORD.into())).await.unwrap(),
            "factor" => acting.remove_totp("kim").await.unwrap(),
            "removal" => acting.remove_operator("kim").await.unwrap(),
            _ => {
                let request = browser().post(center.url("/sign-out")).header(COOKIE, &cookie);
                assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN, "a form of another page");
                assert!(is_signed_in(&center, &cookie).await);
                let request = browser().post(center.url("/sign-out")).header(COOKIE, &cookie);
                let response = request.header(ORIGIN, center.url("")).send().await.unwrap();
                assert_eq!(response.status(), StatusCode::SEE_OTHER);
                assert!(response.headers()[SET_COOKIE].to_str().unwrap().starts_with("jarvis-session=; Path=/; Max-Age=0;"));
            }
        }
        assert!(!is_signed_in(&center, &cookie).await, "{end}");
        assert!(is_signed_in(&center, &other).await, "{end}");
    }
    assert_eq!(submit_sign_in(&center, "kim", PASSWORD, "").await.status(), StatusCode::UNAUTHORIZED);
    let taken = acting.add_operator("lee", Role::Viewer, SecretText::new(PASSWORD.into())).await;
    assert!(taken.is_err() && is_signed_in(&center, &other).await, "{taken:?}");
}

/// The code of an authenticator app at a time.
fn totp(uri: &str, seconds: i64) -> String {
    let secret = uri.split("secret=").nth(1).unwrap().split('&').next().unwrap();
    let key = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let hash = ring::hmac::sign(&key, &(seconds / 30).to_be_bytes());
    let offset = usize::from(hash.as_ref()[19] & 15);
    let number = u32::from_be_bytes(hash.as_ref()[offset..offset + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

async fn a_second_factor_is_needed_once_it_is_set_and_its_codes_count_once(center: Center) {
    add(&center, "kim", Role::Viewer).await;
    let uri = done(&center, &["operator", "totp", "kim"]);
    assert!(uri.starts_with("otpauth://totp/Jarvis:kim?secret="), "{uri}");
    let sign_in = async |code: &str| submit_sign_in(&center, "kim", PASSWORD, code).await.status();
    let now = center.clock.now().seconds();
    assert_eq!(sign_in("").await, StatusCode::UNAUTHORIZED);
    assert_eq!(sign_in(&totp(&uri, now - 60)).await, StatusCode::UNAUTHORIZED);
    assert_eq!(submit_sign_in(&center, "kim", "wrong password", &totp(&uri, now)).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(sign_in(&totp(&uri, now)).await, StatusCode::SEE_OTHER);
    assert_eq!(sign_in(&totp(&uri, now)).await, StatusCode::UNAUTHORIZED, "a code counts once");
    assert_eq!(sign_in(&totp(&uri, now - 30)).await, StatusCode::UNAUTHORIZED, "nor does an earlier one");
    assert_eq!(sign_in(&totp(&uri, now + 30)).await, StatusCode::SEE_OTHER);
    let another = done(&center, &["operator", "totp", "kim"]);
    center.clock.advance(Duration::from_mins(20));
    let now = center.clock.now().seconds();
    assert_eq!(sign_in(&totp(&uri, now)).await, StatusCode::UNAUTHORIZED);
    assert_eq!(sign_in(&totp(&another, now)).await, StatusCode::SEE_OTHER);
    done(&center, &["operator", "totp", "kim", "--remove"]);
    assert_eq!(sign_in("").await, StatusCode::SEE_OTHER);
}

async fn guesses_of_passwords_are_limited(center: Center) {
    add(&center, "kim", Role::Viewer).await;
    for _ in 0..10 {
        assert_eq!(submit_sign_in(&center, "kim", "wrong password", "").await.status(), StatusCode::UNAUTHORIZED);
    }
    let response = submit_sign_in(&center, "kim", PASSWORD, "").await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(response.headers().contains_key(RETRY_AFTER));
    center.clock.advance(Duration::from_mins(15));
    for _ in 0..20 {
        sign_in(&center, "kim").await;
    }
}

async fn a_form_of_another_page_does_not_sign_in(center: Center) {
    add(&center, "kim", Role::Viewer).await;
    for origin in [None, Some("http://evil.example"), Some("null")] {
        let mut request = browser().post(center.url("/sign-in")).body(format!("name=kim&password={PASSWORD}"));
        request = request.header("content-type", "application/x-www-form-urlencoded");
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN, "{origin:?}");
    }
    // Nor is a password taken at the name of another server.
    let request = browser().get(center.url("/sign-in")).header("host", "evil.example");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let cookie = sign_in(&center, "kim").await;
    let request = browser().get(center.url("/")).header(COOKIE, cookie).header("host", "evil.example");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN);
}

async fn a_changed_operator_is_not_shown_more_of_a_live_device(center: Center) {
    let (appliance_id, _) = center.appliance("84:3A:5B:91:B6:61").await;
    add(&center, "kim", Role::Viewer).await;
    let live = center.url(&format!("/api/v0/admin/fleet/appliances/{appliance_id}/live"));
    let mut live = browser().get(live).header(COOKIE, sign_in(&center, "kim").await).send().await.unwrap();
    assert!(live.chunk().await.unwrap().unwrap().starts_with(b"data: "));
    done(&center, &["operator", "role", "kim", "--role", "administrator"]);
    done(&center, &["appliance", "rename", &appliance_id, "Secret"]);
    assert_eq!(live.chunk().await.unwrap(), None);
}

/// The newest actions, without what is not known before.
fn actions(center: &Center, limit: usize) -> Vec<[String; 4]> {
    let entries = listed(center, &["audit", "--json", "--limit", &limit.to_string()]);
    let fields = ["actor", "place", "action", "subject"];
    entries.iter().rev().map(|entry| fields.map(|field| text(entry, field))).collect()
}

async fn the_audit_names_the_operator(center: Center) {
    let (appliance_id, _) = center.appliance("84:3A:5B:91:B6:61").await;
    add(&center, "kim", Role::Administrator).await;
    submit_sign_in(&center, "kim", "wrong password", "").await;
    submit_sign_in(&center, "a password that was typed as a name", "x", "").await;
    // The record of a refused sign-in is not waited for.
    let recorded = async {
        while actions(&center, 1)[0][2] != "sign-in refused" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), recorded).await.unwrap();
    let cookie = sign_in(&center, "kim").await;
    let post = async |path: &str, form: &'static str| {
        let request = browser().post(center.url(path)).header(COOKIE, &cookie).header(ORIGIN, center.url(""));
        let response = request.header("content-type", "application/x-www-form-urlencoded").body(form).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
    };
    post(&format!("/appliances/{appliance_id}/rename"), "name=Hall").await;
    post("/sign-out", "").await;
    let row = |actor: &str, action: &str, subject: &str| {
        [actor.to_owned(), "127.0.0.1".to_owned(), action.to_owned(), subject.to_owned()]
    };
    let expected = [
        row("unknown", "sign-in refused", "kim"),
        row("kim", "signed in", "kim"),
        row("kim", "appliance renamed", &appliance_id),
        row("kim", "signed out", "kim"),
    ];
    assert_eq!(actions(&center, 4), expected);
    assert!(!listed(&center, &["audit", "--json"]).iter().any(|entry| entry.to_string().contains("typed as a name")));
}

/// Runs a command with a password on its standard input.
fn with_password(center: &Center, arguments: &[&str], password: &str) -> (Option<i32>, String) {
    let mut command = program(center, arguments);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

async fn operators_are_managed_at_the_command_line(center: Center) {
    done(&center, &["partner", "add", "north"]);
    let (appliance_id, _) = center.appliance("84:3A:5B:91:B6:61").await;
    let site = text(&listed(&center, &["appliance", "list", &appliance_id, "--json"])[0], "site_id");
    let add = |name: &str, rights: &[&str]| with_password(&center, &[&["operator", "add", name], rights].concat(), PASSWORD);
    for (name, rights) in [
        ("kim", &["--role", "viewer"][..]),
        ("lee", &["--role", "installer", "--partner", "north"]),
        ("pat", &["--role", "installer", "--site", &site]),
        ("sam", &["--role", "administrator"]),
    ] {
        assert_eq!(add(name, rights), (Some(0), String::new()));
    }
    for (name, rights, code, error) in [
        ("kim", &["--role", "viewer"][..], 1, "there is an operator of this name already"),
        ("x", &["--role", "installer"], 2, "an installer has a --site or a --partner"),
        ("x", &["--role", "viewer", "--partner", "north"], 2, "only an installer has"),
        ("x", &["--role", "installer", "--partner", "nobody"], 1, "there is no partner `nobody`"),
        ("x", &["--role", "installer", "--site", "nowhere"], 1, "there is no such site"),
        ("administrator", &["--role", "viewer"], 2, "the one of the administrator's key"),
        ("", &["--role", "viewer"], 2, "1 to 64 characters"),
    ] {
        let (status, text) = add(name, rights);
        assert_eq!(status, Some(code), "{name} {rights:?} {text}");
        assert!(text.contains(error), "{text}");
    }
    let (status, text) = with_password(&center, &["operator", "password", "kim"], "too short");
    assert!(status == Some(2) && text.contains("12 to 1024 characters"), "{text}");
    assert_eq!(with_password(&center, &["operator", "password", "kim"], "another password").0, Some(0));
    assert_eq!(submit_sign_in(&center, "kim", PASSWORD, "").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(submit_sign_in(&center, "kim", "another password", "").await.status(), StatusCode::SEE_OTHER);
    done(&center, &["operator", "totp", "sam"]);
    let shown = |entry: &Value| ["name", "role", "partner", "site_id", "totp"].map(|field| entry[field].clone());
    let rows = listed(&center, &["operator", "list", "--json"]).iter().map(shown).collect::<Vec<_>>();
    let site = Value::from(site);
    assert_eq!(rows[0], ["kim".into(), "viewer".into(), Value::Null, Value::Null, false.into()]);
    assert_eq!(rows[1], ["lee".into(), "installer".into(), "north".into(), Value::Null, false.into()]);
    assert_eq!(rows[2], ["pat".into(), "installer".into(), Value::Null, site, false.into()]);
    assert_eq!(rows[3], ["sam".into(), "administrator".into(), Value::Null, Value::Null, true.into()]);
    assert!(done(&center, &["operator", "list"]).starts_with("NAME  ROLE "));
    done(&center, &["operator", "remove", "kim"]);
    assert_eq!(listed(&center, &["operator", "list", "--json"]).len(), 3);
    for arguments in
        [&["operator", "remove", "kim"][..], &["operator", "totp", "kim"], &["operator", "role", "kim", "--role", "viewer"]]
    {
        assert_eq!(run(&center, arguments).status.code(), Some(1), "{arguments:?}");
    }
}

async fn neither_tokens_nor_passwords_nor_factors_are_in_the_database(center: Center) {
    add(&center, "kim", Role::Viewer).await;
    let cookie = sign_in(&center, "kim").await;
    let uri = done(&center, &["operator", "totp", "kim"]);
    let secret = uri.split("secret=").nth(1).unwrap().split('&').next().unwrap();
    let dump = dump(&center.config.database);
    assert!(dump.contains("kim"));
    for secret in [cookie.split('=').nth(1).unwrap(), PASSWORD, secret] {
        assert!(!dump.contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_cookie_is_sent_over_tls_only() {
    let center = Center::on_sqlite().await;
    add(&center, "kim", Role::Viewer).await;
    let mut config: Config = center.config.clone();
    config.public_url = Some("https://127.0.0.1".into());
    let behind_proxy = center.twin_on(config).await;
    let response = submit_sign_in(&behind_proxy, "kim", PASSWORD, "").await;
    let set = response.headers()[SET_COOKIE].to_str().unwrap();
    assert!(set.starts_with("__Host-jarvis-session=") && set.ends_with("; HttpOnly; SameSite=Strict; Secure"), "{set}");
    assert!(is_signed_in(&behind_proxy, &cookie(&response)).await);
}
