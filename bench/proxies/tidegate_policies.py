"""Tidegate with one policy before a proxied call, or as a server of files."""

import base64
import json
import re
import subprocess
import time

from proxies.nginx import Nginx
from proxies.tidegate import Tidegate

ISSUER, AUDIENCE, KEY_ID = "http://issuer.test", "bench", "bench-1"
#: About 300 bytes, as a client sends an order.
ORDER = {
    "customer": {"id": 4711, "name": "Ann Harbour", "email": "ann@harbour.test"},
    "items": [{"product": n, "count": n + 1, "note": "with the evening tide"} for n in range(3)],
    "dryRun": False,
}
SCHEMA = {
    "type": "object",
    "required": ["customer", "items"],
    "additionalProperties": False,
    "properties": {
        "customer": {
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": {"type": "integer", "minimum": 1},
                "name": {"type": "string", "maxLength": 100},
                "email": {"type": "string", "pattern": "^[^@]+@[^@]+$"},
            },
        },
        "items": {
            "type": "array",
            "minItems": 1,
            "maxItems": 20,
            "items": {
                "type": "object",
                "required": ["product", "count"],
                "properties": {"product": {"type": "integer"}, "count": {"type": "integer", "minimum": 1}, "note": {"type": "string"}},
            },
        },
        "dryRun": {"type": "boolean"},
    },
}
QUERY = "query Order($id: ID!) { order(id: $id) { id placed items { count product { id name price } } customer { name email } } }"
TYPES = """
type Query { order(id: ID!): Order }
type Order { id: ID! placed: String items: [Item!]! customer: Customer }
type Item { count: Int product: Product }
type Product { id: ID! name: String price: Int }
type Customer { name: String email: String }
"""


class WithPolicy(Tidegate):
    """One proxied call with one policy; a subclass says which, and what its clients send beside the usual."""

    def policies(self):
        return []

    def sends(self):
        """Fields of each request."""
        return {}

    def routes(self):
        [route] = super().routes()
        return [{**route, "policies": self.policies()}]


class Signed(WithPolicy):
    """A JSON Web Token signed by RSA with 2,048 bits, the same in every request."""

    NAME = "Tidegate, a token"

    def start(self):
        key = Key(self.folder)
        (self.folder / "jwks.json").write_text(json.dumps(key.web_keys))
        self.token = key.token({"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": int(time.time()) + 86_400, "scope": "orders.read"})
        return super().start()

    def policies(self):
        return [{"jwt": {"jwks": {"file": str(self.folder / "jwks.json")}, "issuer": ISSUER, "audiences": [AUDIENCE]}}]

    def sends(self):
        return {"Authorization": f"Bearer {self.token}"}


class Authorized(WithPolicy):
    """Two conditions about the call."""

    NAME = "Tidegate, conditions"

    def policies(self):
        rules = [
            {"require": "request.method == 'GET' || request.headers['x-role'] == 'editor'"},
            {"require": "request.path.startsWith('/') && !request.path.startsWith('/admin')"},
        ]
        return [{"authorize": {"rules": rules}}]


class Transformed(WithPolicy):
    """An answer of JSON that becomes another by jq."""

    NAME = "Tidegate, jq over the answer"

    def policies(self):
        return [{"transform": {"answer": {"body": [{"jq": "{id, name, tags: (.tags | length)}"}]}}}]


class Masked(WithPolicy):
    """Two fields of an answer that nobody sees."""

    NAME = "Tidegate, fields masked"

    def policies(self):
        return [{"mask": {"fields": ["name", "**.password"]}}]


class Posted(WithPolicy):
    """An order that is proxied, and nothing more."""

    NAME = "Tidegate, one proxied POST"

    def body(self):
        return json.dumps(ORDER)


class Validated(Posted):
    """The same, judged by its schema."""

    NAME = "Tidegate, judged by a schema"

    def policies(self):
        return [{"validate": {"schemas": {"body": {"schema": SCHEMA}}, "requests": "enforce"}}]


class Once(Posted):
    """The same with a key of its own each time, whose answer is kept in memory."""

    NAME = "Tidegate, an idempotency key each"
    HAS_KEYS = True

    def policies(self):
        return [{"idempotency": {"required": True, "ttl": "1m", "key": "clientAddress"}}]


class Asked(Posted):
    """A question in GraphQL, judged by the schema, its depth and its cost."""

    NAME = "Tidegate, GraphQL judged"

    def body(self):
        return json.dumps({"query": QUERY, "operationName": "Order", "variables": {"id": "17"}})

    def policies(self):
        (self.folder / "types.graphql").write_text(TYPES)
        limits = {"depth": 8, "cost": 500, "aliases": 10}
        return [{"graphql": {"schema": str(self.folder / "types.graphql"), "limits": limits}}]


def serve_file(folder):
    """A file of 1 KiB, in a folder that is served."""
    root = folder / "public"
    root.mkdir(exist_ok=True)
    (root / "app.js").write_bytes(b"x" * 1024)
    return root


class Filed(Tidegate):
    """A file."""

    NAME = "Tidegate, a file"

    def routes(self):
        [route] = super().routes()
        del route["backends"]
        return [{**route, "static": {"root": str(serve_file(self.folder))}}]


class NginxFiles(Nginx):
    """A file that is opened once."""

    NAME = "nginx"

    def http(self):
        return ["open_file_cache max=1000 inactive=1h;", "sendfile on;"]

    def locations(self):
        return [f"location / {{ root {serve_file(self.folder)}; }}"]


class Key:
    """A key of RSA's with 2,048 bits, in a folder."""

    def __init__(self, folder):
        self.file = str(folder / "token.pem")
        command = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self.file]
        subprocess.run(command, check=True, capture_output=True)
        command = ["openssl", "rsa", "-in", self.file, "-noout", "-modulus"]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        modulus = bytes.fromhex(re.search(r"Modulus=([0-9A-F]+)", told)[1])
        web_key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": KEY_ID, "n": encoded(modulus), "e": "AQAB"}
        self.web_keys = {"keys": [web_key]}

    def token(self, claims):
        head = {"alg": "RS256", "kid": KEY_ID, "typ": "JWT"}
        signed = ".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
        command = ["openssl", "dgst", "-sha256", "-sign", self.file]
        signature = subprocess.run(command, input=signed.encode(), check=True, capture_output=True).stdout
        return f"{signed}.{encoded(signature)}"


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
