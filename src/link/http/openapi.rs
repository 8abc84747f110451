//! The published schema: generated from the types of the JSON bodies and from the endpoint table.
//!
//! The program serves the files that are checked in. With `UPDATE_OPENAPI` in the environment, the test writes them.

use std::collections::BTreeSet;
use std::path::Path;

use utoipa::openapi::Required;
use utoipa::openapi::content::Content;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::Ref;
use utoipa::{OpenApi, ToSchema};

use super::routes::{DOCUMENT, FACTORY_RESET, Route};
use super::schema::{
    FactoryResetResponse, K2ProvisionRequest, K2ProvisionResponse, NodeInfo, ProvisionRequest, ProvisionResponse,
    ProvisionStatus, ScanNetworksResponse,
};
use provisioning_core::endpoint::{ENDPOINTS, Endpoint, Method};

const JSON: &str = "application/json";

#[derive(OpenApi)]
#[openapi(
    info(title = "Jarvis Node Provisioning", version = "1.0.0", description = "", license(name = "MIT OR Apache-2.0")),
    components(schemas(
        FactoryResetResponse,
        K2ProvisionRequest,
        K2ProvisionResponse,
        NodeInfo,
        ProvisionRequest,
        ProvisionResponse,
        ProvisionStatus,
        ScanNetworksResponse
    ))
)]
struct Types;

/// A published operation.
struct Published {
    path: &'static str,
    method: Method,
    id: &'static str,
    summary: &'static str,
    request: Option<String>,
    response: String,
}

/// The paths of the JSON representation. A new endpoint does not compile without an arm here.
fn published() -> Vec<Published> {
    let of = |route: Route, path, id, summary, request, response| {
        let method = *route.methods().first().expect("a route has a method");
        Published { path, method, id, summary, request, response }
    };
    let name = |name: std::borrow::Cow<'static, str>| name.into_owned();
    let rows = ENDPOINTS.iter().filter_map(|row| {
        let (id, summary, request, response) = match row.endpoint {
            Endpoint::Info => ("info", "The node's identity and capabilities.", None, NodeInfo::name()),
            Endpoint::Scan => ("scan_networks", "The networks in range.", None, ScanNetworksResponse::name()),
            Endpoint::K2 => {
                ("provision_k2", "Hand over the settings key.", Some(K2ProvisionRequest::name()), K2ProvisionResponse::name())
            }
            Endpoint::Credentials => {
                ("provision", "Bring the node online and enroll it.", Some(ProvisionRequest::name()), ProvisionResponse::name())
            }
            Endpoint::Status => ("status", "The status of provisioning.", None, ProvisionStatus::name()),
            // It has no JSON representation.
            Endpoint::Session => return None,
        };
        Some(of(Route::Endpoint(row.endpoint), row.path, id, summary, request.map(name), name(response)))
    });
    let reset = of(
        Route::Reset,
        FACTORY_RESET,
        "factory_reset",
        "Delete everything that the owner has entered.",
        None,
        name(FactoryResetResponse::name()),
    );
    let mut all: Vec<Published> = rows.chain([reset]).collect();
    all.sort_by_key(|published| published.path);
    all
}

/// `openapi.json`.
fn document() -> String {
    let mut document = Types::openapi();
    for Published { path, method, id, summary, request, response } in published() {
        let content = |name: String| Content::new(Some(Ref::from_schema_name(name)));
        let response = ResponseBuilder::new().content(JSON, content(response)).build();
        let request =
            request.map(|name| RequestBodyBuilder::new().content(JSON, content(name)).required(Some(Required::True)).build());
        let operation = OperationBuilder::new()
            .tag("Provisioning")
            .summary(Some(summary))
            .operation_id(Some(id))
            .request_body(request)
            .response("200", response);
        let method = match method {
            Method::Get => HttpMethod::Get,
            Method::Post => HttpMethod::Post,
            Method::Delete => HttpMethod::Delete,
        };
        document.paths.paths.insert(path.to_owned(), PathItem::new(method, operation));
    }
    serde_json::to_string(&document).expect("a schema is JSON")
}

/// `docs.html`: the same for people.
fn page() -> String {
    let list: String = published()
        .iter()
        .map(|Published { path, method, summary, .. }| format!("<li><code>{} {path}</code> {summary}", method.as_str()))
        .collect();
    format!(
        "<!doctype html><title>Jarvis Node Provisioning</title><h1>Jarvis Node Provisioning</h1><ul>{list}</ul>\
         <p><a href=\"/openapi.json\">openapi.json</a>"
    )
}

#[test]
fn the_checked_in_documents_are_those_of_the_types_and_the_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/link/http");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(folder.join("openapi.json"), document()).expect("the source can be written");
        std::fs::write(folder.join("docs.html"), page()).expect("the source can be written");
    }
    let checked_in = |name| std::fs::read_to_string(folder.join(name)).expect("it is checked in");
    let advice = "run this test with UPDATE_OPENAPI=1";
    assert_eq!(checked_in("openapi.json"), document(), "{advice}");
    assert_eq!(checked_in("docs.html"), page(), "{advice}");
}

fn parsed() -> serde_json::Value {
    serde_json::from_str(DOCUMENT).expect("the schema is JSON")
}

#[test]
fn the_published_schema_is_the_one_that_the_apps_were_written_against() {
    let document = parsed();
    assert_eq!(document["info"]["title"], "Jarvis Node Provisioning");
    assert_eq!(document["info"]["version"], "1.0.0");
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let schemas = &document["components"]["schemas"];
    for (name, required, optional) in [
        ("NodeInfo", "node_id firmware_version hardware mac_address state", "capabilities previously_provisioned"),
        ("NetworkInfo", "ssid signal_strength security", ""),
        ("ScanNetworksResponse", "", "networks"),
        (
            "ProvisionRequest",
            "wifi_ssid wifi_password room command_center_url household_id node_id provisioning_token",
            "config_service_url",
        ),
        ("ProvisionResponse", "success message", ""),
        ("ProvisionStatus", "state message", "progress_percent error error_code registration_status retryable hotspot_restored"),
        ("K2ProvisionRequest", "node_id kid k2 created_at", ""),
        ("K2ProvisionResponse", "success", "node_id kid error"),
    ] {
        let required: BTreeSet<&str> = required.split_whitespace().collect();
        let all: BTreeSet<&str> = required.iter().copied().chain(optional.split_whitespace()).collect();
        let schema = &schemas[name];
        let listed: BTreeSet<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
        let properties: BTreeSet<&str> =
            schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        assert_eq!(listed, required, "{name}");
        assert_eq!(properties, all, "{name}");
    }
    assert_eq!(
        schemas["ProvisioningState"]["enum"],
        serde_json::json!(["AP_MODE", "CONNECTING", "REGISTERING", "PROVISIONED", "ERROR"])
    );
}

#[test]
fn every_endpoint_of_the_json_api_is_published() {
    let paths = parsed();
    let paths: Vec<&str> = paths["paths"].as_object().into_iter().flatten().map(|(path, _)| path.as_str()).collect();
    for path in ["info", "scan-networks", "status", "provision", "provision/k2", "factory-reset"] {
        assert!(paths.contains(&format!("/api/v1/{path}").as_str()), "{path}");
    }
}
