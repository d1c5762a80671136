//! The reference configuration itself, `tests/contract/tidegate.yaml`, and each promise of its comments over sockets.
//!
//! The file is served as it is but for three things that are done to its text: the ports become free ones, 7001 to 7004
//! upstreams of the test, and so do the addresses of the vendors of models. Its comments, from the top, and their tests:
//!
//! | comment | test |
//! |---|---|
//! | "`tidegate validate` accepts it, `tidegate run --config` serves it" | `reference::validate_accepts_it_and_run_serves_it` |
//! | "comment is a promise that a black-box test can check" | `reference::each_comment_has_a_row_and_each_row_a_test` |
//! | "environment references are resolved when it is loaded" | `reference::keys_of_the_environment_are_resolved_when_it_is_loaded` |
//! | 8080: "HTTP/1.1 and cleartext HTTP/2 (prior knowledge) on one port" | `listeners::one_port_speaks_http1_and_cleartext_http2` |
//! | 8443: "ALPN h2 and http/1.1" | `listeners::tls_agrees_on_h2_or_http1` |
//! | "the certificate is chosen by SNI" | `listeners::the_certificate_is_chosen_by_sni` |
//! | "and reloaded when the files change" | `listeners::new_certificate_files_are_shown_without_a_restart` |
//! | 9080: "/livez /readyz /metrics, the admin API under /api/v1" | `listeners::admin_answers_where_the_comment_says` |
//! | "the console at /" | `listeners::the_console_stands_at_the_root_and_shows_what_runs` |
//! | (`accessLog: stdout, json`) | `listeners::the_access_log_is_json_on_standard_output` |
//! | "twice the share under roundRobin" | `catalog::a_weight_of_two_is_twice_the_share` |
//! | "roundRobin, leastRequest, peakEwma, …" | `catalog::each_algorithm_of_the_comment_serves` |
//! | (`healthCheck`) | `catalog::an_endpoint_that_is_not_ready_gets_nothing_until_it_is` |
//! | "a try over perTry counts as 504 for retry.on" | `catalog::a_try_over_its_time_counts_as_504_and_is_made_again` |
//! | "over request: 504 to the client" | `catalog::over_the_time_of_the_request_the_client_gets_504` |
//! | (`retry.on`) | `catalog::what_retry_names_is_tried_at_another_endpoint` |
//! | "a POST here is 405 with Allow" | `catalog::a_post_is_405_with_allow` |
//! | "no key or a wrong key: 401; the key never reaches the upstream" | `catalog::a_key_lets_in_and_never_reaches_the_upstream` |
//! | "the sixth in a second: 429, Retry-After, RateLimit headers" | `catalog::the_sixth_in_a_second_is_told_when_to_come_back` |
//! | "versions by media type, header or path" | `catalog::versions_are_chosen_by_media_type_header_or_path` |
//! | "exact host beats wildcard; wildcard beats none" | `orders::an_exact_host_beats_a_wildcard_and_a_wildcard_none` |
//! | (`jwt`) | `orders::a_token_of_either_algorithm_with_the_scope_is_let_in_and_no_other` |
//! | (`headers`) | `orders::the_user_of_the_token_goes_on_and_cookies_do_not` |
//! | "within 2 % of 90/10 over 10,000 requests" | `orders::ninety_to_ten_holds_over_ten_thousand_requests` |
//! | "one answer from three calls, in parallel" | `page::one_answer_from_three_calls_in_parallel` |
//! | "its failure leaves null and names it in degraded", (`timeout`) | `page::what_is_optional_and_fails_is_null_and_named` |
//! | "strangler fig: what has not moved yet still goes to the monolith" | `fixed::what_has_not_moved_yet_still_goes_to_the_monolith` |
//! | "Deprecation, Sunset and Link headers", (`redirect`) | `fixed::the_old_shop_is_deprecated_and_redirects` |
//! | (`respond`) | `fixed::ping_is_answered_here` |
//! | "a prompt and a model as a REST API", (`messages`, `output`) | `translate::a_text_and_a_language_become_a_typed_translation` |
//! | "a body that does not fit: 400 naming the field" | `translate::a_body_that_does_not_fit_is_400_naming_the_field` |
//! | "several MCP servers as one endpoint", "its tools appear as shop_<tool>", "these keep their own names" | `tools::both_servers_are_one_endpoint` |
//! | "two tools of one name are an error at load" | `tools::two_servers_whose_tools_would_have_one_name_are_an_error_at_load` |
//! | "… or, found later, a clear one" | `mcp::federation::two_tools_of_one_name_are_a_clear_error_and_neither_is_listed` |
//! | "RFC 9111 as the upstream's headers say; Cache-Status tells what happened" | `cached::the_upstreams_fields_decide_and_cache_status_tells` |
//! | "every dialect's endpoints under one prefix", "/ai/v1/chat/completions, /ai/v1/responses, …" | `models::every_dialects_endpoints_stand_under_one_prefix` |
//! | "so that every vendor's SDK works as it is" | `models::every_vendors_sdk_shows_its_key_where_it_does_and_the_vendor_gets_its_own` |
//! | "baseUrl points any kind anywhere" | `models::base_urls_point_any_kind_anywhere` |
//! | "the name that clients use", "tried by weight" | `translate::a_text_and_a_language_become_a_typed_translation` |
//! | "then the others in order when one fails before its first byte" | `models::a_target_that_fails_before_its_first_byte_gives_way_to_the_other` |
//! | "any model of that provider, by its own name" | `models::any_model_of_a_provider_is_had_by_its_own_name` |
//! | (`tokenRateLimit`) | `models::a_consumers_tokens_are_bounded_per_minute` |
//! | "REST in, gRPC out" | `hello::rest_in_grpc_out` |

mod cached;
mod catalog;
mod fixed;
mod hello;
mod listeners;
mod models;
mod orders;
mod page;
mod reference;
mod tools;
mod translate;

use std::{fs, net::SocketAddr};

use super::{
    harness::{Answer, Gateway, Upstream, free_port},
    policies::tokens::{Signer, jwks},
    tidy::root,
    wire::tls::Authority,
};

const GOLD: &str = "gold-key-of-the-test";
const WEB: &str = "web-key-of-the-test";

/// What its environment references ask for.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("GOLD_KEY", GOLD),
    ("WEB_KEY", WEB),
    ("OPENAI_API_KEY", "openai-key-of-the-test"),
    ("ANTHROPIC_API_KEY", "anthropic-key-of-the-test"),
];

/// The file as it stands in the repository.
fn whole() -> String {
    fs::read_to_string(root().join("tests/contract/tidegate.yaml")).expect("the reference")
}

/// Puts a text in the place of another, which must be there.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the reference lacks `{from}`");
    text.replace(from, to)
}

/// The upstreams behind the gateway.
struct Behind {
    catalog: [Upstream; 2],
    orders: Upstream,
    canary: Upstream,
    /// Both providers of models, each in its own dialect.
    models: Upstream,
}

impl Behind {
    /// All of them answer with the target that they saw.
    fn echoes() -> Self {
        Self::with_catalog([Upstream::echo(), Upstream::echo()])
    }

    fn with_catalog(catalog: [Upstream; 2]) -> Self {
        let models = super::prompt::model::text(translate::translated);
        Self { catalog, orders: Upstream::echo(), canary: Upstream::echo(), models }
    }

    /// What an instance of `catalog` saw of clients, health checks left out.
    fn sold(&self, instance: usize) -> usize {
        self.catalog[instance].seen().iter().filter(|seen| seen.target() != "/readyz").count()
    }
}

/// A gateway on the reference configuration, and what it trusts.
struct Served {
    gateway: Gateway,
    /// Its listener `public-tls`.
    tls: SocketAddr,
    authority: Authority,
    rs256: Signer,
    es256: Signer,
}

impl Served {
    /// The file in front of these upstreams.
    fn new(behind: &Behind) -> Self {
        Self::changed(behind, "", |text| text)
    }

    /// The same with a second file of further resources beside it, and a change of the text.
    fn changed(behind: &Behind, beside: &str, change: impl FnOnce(String) -> String) -> Self {
        let [plain, tls, admin] = [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let mut text = change(whole());
        for (port, address) in [
            (8080, plain),
            (8443, tls),
            (9080, admin),
            (7001, behind.catalog[0].address),
            (7002, behind.catalog[1].address),
            (7003, behind.orders.address),
            (7004, behind.canary.address),
        ] {
            text = replaced(&text, &format!("address: 127.0.0.1:{port}"), &format!("address: {address}"));
        }
        for (kind, path) in [("openai", "/v1"), ("anthropic", "")] {
            let kind = format!("kind: {kind}, ");
            let base = format!("{kind}baseUrl: \"http://{}{path}\", ", behind.models.address);
            // Some tests have a vendor of their own.
            text = text.replace(&format!("{kind}keys"), &format!("{base}keys"));
        }
        let authority = Authority::new("ca");
        let (rs256, es256) = (Signer::new("RS256", "rs"), Signer::new("ES256", "es"));
        let folder = tempfile::tempdir().expect("a folder");
        let conf = folder.path().join("conf");
        fs::create_dir_all(conf.join("certs")).expect("a folder");
        authority.issue(&["api.example.test"]).write(&conf.join("certs"), "api");
        authority.issue(&["a.shop.example.test"]).write(&conf.join("certs"), "shop");
        fs::write(conf.join("certs/greeter.binpb"), super::transcode::GREETER_SET).expect("a file");
        fs::write(conf.join("certs/jwks.json"), jwks(&[&rs256, &es256])).expect("a file");
        fs::write(conf.join("tidegate.yaml"), text).expect("a file");
        if !beside.is_empty() {
            fs::write(conf.join("beside.yaml"), beside).expect("a file");
        }
        let conf = conf.display().to_string();
        let gateway = Gateway::on_folder(folder, &conf, plain, admin, |command| {
            command.envs(ENVIRONMENT);
        });
        Self { gateway, tls, authority, rs256, es256 }
    }

    /// A request without a body, with further header lines, each with a `\n` in front.
    fn ask(&self, line: &str, headers: &str) -> Answer {
        self.gateway.send(&format!("{line} HTTP/1.1\nhost: test.example{headers}"), b"")
    }
}
