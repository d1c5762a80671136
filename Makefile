# Every target works from a fresh clone. `make demo` and `make test` share one profile and its artifacts.

.PHONY: demo test bench lint fmt

demo: ## build everything, start the gateway and the sample services, say what to try
	@scripts/demo.sh

test: ## install what the tests need and run them all
	@scripts/test.sh

bench: ## measure against other gateways on this machine; writes docs/performance.md
	@scripts/bench.sh

lint: ## formatting and lints, as CI has them
	@scripts/lint.sh

fmt: ## format all code
	cargo fmt --all
	rustfmt --edition 2024 crates/model/src/policy/*.rs crates/proxy/src/policy/*.rs crates/model/src/resource/access_log/*.rs crates/telemetry/src/senders/*.rs \
		crates/model/src/resource/*.rs crates/model/src/resource/*/mod.rs crates/proxy/src/handler/*.rs crates/proxy/src/handler/*/mod.rs
	cd fuzz && cargo fmt
	cd bench/tools && cargo fmt
