package shop

import rego.v1

# The form of its own.
default allow := false

allow if {
	input.request.method == "GET"
	input.request.segments[0] == "public"
}

allow if {
	input.request.segments == ["orders", input.consumer.name]
	"partners" in input.consumer.groups
}

allow if {
	input.request.method == "POST"
	input.request.body.amount < 100
}

# An object with what the client and the upstream get.
decision := {"allow": true, "headers": {"x-tier": "gold", "x-else": "no"}} if {
	input.request.headers["x-plan"] == "gold"
}

decision := {
	"allow": false,
	"status": 402,
	"headers": {"retry-after": "7", "x-secret": "s"},
	"body": {"why": "pay first"},
} if {
	input.request.headers["x-plan"] == "free"
}

# As Envoy's, Kong's and APISIX's plugins have it.
envoy := {"allowed": true} if {
	input.attributes.request.http.method == "GET"
	input.parsed_path == ["orders", "7"]
	input.parsed_query.full == ["1"]
}

kong := true if {
	input.request.http.querystring.full == "1"
	input.request.http.headers["x-plan"] == "gold"
}

apisix := {"allow": true} if {
	input.request.query.full == "1"
	input.var.remote_addr == "127.0.0.1"
}

more if input.tenant == "a"
