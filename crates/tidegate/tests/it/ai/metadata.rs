//! Identities that a machine has from its cloud, asked of metadata services that want what the clouds' own want.

use ai::dialect::Dialect;
use serde_json::json;

use super::{
    provider,
    signing::{MODEL, ask, bearer, gateway},
};
use crate::harness::{Seen, Upstream, eventually};

fn told(status: u16, body: &str) -> Option<Vec<u8>> {
    Some(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

fn method(seen: &Seen) -> &str {
    seen.line.split(' ').next().unwrap_or_default()
}

fn temporary_key() -> String {
    json!({
        "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIAOFTHEMACHINE", "SecretAccessKey": "s/ecret",
        "Token": "the-machines-session", "Expiration": "2099-01-01T00:00:00Z",
    })
    .to_string()
}

/// Waits for the first token, and calls with it.
fn called(gateway: &crate::harness::Gateway) {
    eventually("a call with the token", || ask(gateway, false).status == 200);
}

#[test]
fn google_tells_a_token_of_the_machines_account() {
    let service = Upstream::scripted(|seen| {
        if seen.header("metadata-flavor") != Some("Google") {
            return told(403, "Missing required header: Metadata-Flavor");
        }
        told(200, r#"{"access_token":"ya29.machine","expires_in":3599,"token_type":"Bearer"}"#)
    });
    let upstream = provider::of(Dialect::Gemini);
    let gateway = gateway(
        &format!(
            "kind: gemini, baseUrl: \"http://{}/v1beta\", metadata: {{cloud: google, endpoint: \"http://{}\"}}",
            upstream.address, service.address
        ),
        "gemini-2.5-pro",
    );
    called(&gateway);
    assert_eq!(bearer(&upstream), "Bearer ya29.machine");
    let seen = &service.seen()[0];
    assert!(
        seen.target()
            .starts_with("/computeMetadata/v1/instance/service-accounts/default/token?scopes=https%3A%2F%2F"),
        "{}",
        seen.target()
    );
}

#[test]
fn azure_tells_a_token_of_a_managed_identity() {
    let service = Upstream::scripted(|seen| {
        if seen.header("metadata") != Some("true") {
            return told(
                400,
                r#"{"error":"invalid_request","error_description":"Required metadata header not specified"}"#,
            );
        }
        told(200, r#"{"access_token":"eyJ.machine","expires_in":"3599","token_type":"Bearer"}"#)
    });
    let upstream = provider::of(Dialect::OpenAiChat);
    let gateway = gateway(
        &format!(
            "kind: azure-openai, baseUrl: \"http://{}\", values: {{resource: r}}, metadata: {{cloud: azure, identity: app-1, endpoint: \"http://{}\"}}",
            upstream.address, service.address
        ),
        "my-deployment",
    );
    called(&gateway);
    assert_eq!(bearer(&upstream), "Bearer eyJ.machine");
    assert_eq!(
        service.seen()[0].target(),
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fcognitiveservices.azure.com&client_id=app-1"
    );
}

#[test]
fn amazon_tells_a_temporary_key_of_the_machines_role_in_a_session() {
    let service = Upstream::scripted(|seen| {
        let session = seen.header("x-aws-ec2-metadata-token");
        match (method(seen), seen.target(), session) {
            ("PUT", "/latest/api/token", _)
                if seen.header("x-aws-ec2-metadata-token-ttl-seconds").is_some() =>
            {
                told(200, "a-session==")
            }
            // The first version has no session, and is turned off.
            (_, _, session) if session != Some("a-session==") => told(401, ""),
            ("GET", "/latest/meta-data/iam/security-credentials/", _) => told(200, "the-role"),
            ("GET", "/latest/meta-data/iam/security-credentials/the-role", _) => told(200, &temporary_key()),
            _ => told(404, ""),
        }
    });
    let upstream = provider::of(Dialect::Bedrock);
    let gateway = gateway(
        &format!(
            "kind: bedrock, baseUrl: \"http://{}\", values: {{region: eu-central-1}}, metadata: {{cloud: aws, endpoint: \"http://{}\"}}",
            upstream.address, service.address
        ),
        MODEL,
    );
    called(&gateway);
    let seen = upstream.seen().pop().expect("a request");
    assert!(seen.header("authorization").is_some_and(|text| text.contains("Credential=ASIAOFTHEMACHINE/")));
    assert_eq!(seen.header("x-amz-security-token"), Some("the-machines-session"));
    assert!(!format!("{seen:?}").contains("s/ecret"));
}

#[test]
fn amazon_tells_pods_and_tasks_a_temporary_key() {
    let service = Upstream::scripted(|seen| match (seen.target(), seen.header("authorization")) {
        ("/v1/credentials", Some("the-pods-token")) => told(200, &temporary_key()),
        _ => told(401, ""),
    });
    let upstream = provider::of(Dialect::Bedrock);
    let gateway = gateway(
        &format!(
            "kind: bedrock, baseUrl: \"http://{}\", values: {{region: eu-central-1}}, metadata: {{cloud: awsContainer, authorization: the-pods-token, endpoint: \"http://{}/v1/credentials\"}}",
            upstream.address, service.address
        ),
        MODEL,
    );
    called(&gateway);
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!(seen.header("x-amz-security-token"), Some("the-machines-session"));
}

/// Where each cloud's metadata is, as the kernel's table of connections has it: addresses are written backwards.
const SERVICES: [&str; 2] = ["FEA9FEA9", "17AAFEA9"];

/// Whether the gateway has a connection to a metadata service, or is trying to make one.
fn asks_a_service(gateway: &crate::harness::Gateway) -> bool {
    let connections = std::fs::read_to_string(format!("/proc/{}/net/tcp", gateway.pid())).expect("a table");
    SERVICES.iter().any(|address| connections.contains(address))
}

#[test]
fn no_metadata_service_is_asked_unless_the_configuration_says_so() {
    // A provider without credentials calls without any: nobody looks for some elsewhere.
    let upstream = provider::of(Dialect::Bedrock);
    let settings = |more: &str| {
        format!("kind: bedrock, baseUrl: \"http://{}\", values: {{region: r}}{more}", upstream.address)
    };
    let bare = gateway(&settings(""), MODEL);
    called(&bare);
    assert_eq!(upstream.seen()[0].header("authorization"), None);
    assert!(!asks_a_service(&bare), "nobody said so");
    let keyed = gateway(&settings(", keys: [k]"), MODEL);
    called(&keyed);
    assert!(!asks_a_service(&keyed), "nobody said so");
    // The same measure sees one that is told to.
    let told = gateway(&settings(", metadata: {cloud: aws}"), MODEL);
    eventually("a service is asked", || asks_a_service(&told));
}

#[test]
fn a_metadata_service_is_link_local_and_of_the_providers_own_cloud() {
    for (provider, says) in [
        (
            "kind: bedrock, values: {region: r}, metadata: {cloud: aws, endpoint: \"http://192.0.2.1\"}",
            "no metadata service",
        ),
        (
            "kind: bedrock, values: {region: r}, metadata: {cloud: google}",
            "metadata.cloud: a provider of kind",
        ),
        ("kind: openai, metadata: {cloud: azure}", "metadata.cloud: a provider of kind"),
        ("kind: bedrock, values: {region: r}, keys: [k], metadata: {cloud: aws}", "in one way"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidegate.yaml");
        let text = format!(
            "listeners: [{{name: a, address: \"127.0.0.1:0\"}}]\nroutes: [{{name: r, match: [{{path: {{prefix: /}}}}], ai: {{}}}}]\nai:\n  providers: [{{name: one, {provider}}}]\n  models: [{{name: m, targets: [{{provider: one, model: m}}]}}]\n"
        );
        std::fs::write(&path, text).expect("a file");
        let (code, out, error) = crate::harness::run(&["validate", "-c", path.to_str().expect("a path")]);
        assert_ne!(code, 0, "{provider}");
        let told = format!("{out}{error}").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(says), "{provider}: {told}");
    }
}
