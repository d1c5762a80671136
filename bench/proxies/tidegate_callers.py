"""Tidegate that finds out who calls, each in one way, before a proxied call."""

import base64
import hashlib
import hmac
import http.client
import http.server
import json
import re
import threading
import time

from proxies.process import KEY
from proxies.tidegate_policies import ORDER, Key, Posted, WithPolicy

SECRET = "the-secret-of-the-hooks"


class Issuer(http.server.BaseHTTPRequestHandler):
    """Says of every token that it is good, decides for everybody, and is what signs people in."""

    def do_GET(self):
        own = f"http://{self.headers['host']}"
        told = {"issuer": own, "authorization_endpoint": f"{own}/auth", "token_endpoint": f"{own}/token", "jwks_uri": f"{own}/keys"}
        self.say(self.server.key.web_keys if self.path == "/keys" else told)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path != "/token":
            return self.say({"active": True, "sub": "ann", "scope": "orders.read", "result": True})
        now = int(time.time())
        claims = {"iss": f"http://{self.headers['host']}", "aud": "bench", "sub": "ann", "iat": now, "exp": now + 3600}
        id_token = self.server.key.token({**claims, "nonce": self.server.nonce})
        return self.say({"access_token": "a", "token_type": "Bearer", "id_token": id_token})

    def say(self, what):
        answer = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class WithKey(WithPolicy):
    """One consumer, of whose key only a digest is known; clients show it in each request."""

    def config(self):
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        return {**super().config(), "consumers": [{"name": "bench", "hashedKeys": [{"sha256": digest}]}]}


class Keyed(WithKey):
    """A key, before which failures are counted."""

    NAME = "Tidegate, a key and lockout"

    def policies(self):
        return [{"keyAuth": {}}, {"lockout": {"by": ["address", "key"]}}]


class AnyWay(WithKey):
    """A key where a password would do as well."""

    NAME = "Tidegate, one of two ways"

    def policies(self):
        return [{"anyOf": {"policies": [{"basicAuth": {}}, {"keyAuth": {}}]}}]


class Introduced(WithKey):
    """A key, and a token that tells the upstream who that is."""

    NAME = "Tidegate, a key and a token for the upstream"

    def config(self):
        return {**super().config(), "tokenIssuers": [{"name": "own", "issuer": "https://gateway.test", "generated": {}}]}

    def policies(self):
        return [{"keyAuth": {}}, {"internalJwt": {"issuer": "own", "audiences": ["orders"]}}]


class Asking(WithPolicy):
    """Somebody in the bench's own process is asked, whose time is not counted."""

    def start(self):
        self.issuer = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
        self.issuer.key = Key(self.folder)
        threading.Thread(target=self.issuer.serve_forever, daemon=True).start()
        return super().start()

    def stop(self):
        super().stop()
        self.issuer.shutdown()
        self.issuer.server_close()

    def asked(self):
        return f"127.0.0.1:{self.issuer.server_address[1]}"

    def config(self):
        config = super().config()
        asked = {"name": "asked", "endpoints": [{"address": self.asked()}]}
        return {**config, "upstreams": [*config["upstreams"], asked]}


class Introspected(Asking):
    """A token that its issuer was asked about before."""

    NAME = "Tidegate, a token that was asked about"

    def policies(self):
        settings = {"url": f"http://{self.asked()}/introspect", "clientId": "bench", "clientSecret": SECRET, "ttl": "1h"}
        return [{"oauth2Introspection": settings}]

    def sends(self):
        return {"Authorization": "Bearer " + base64.urlsafe_b64encode(b"x" * 24).decode()}


class Decided(Asking):
    """What the Open Policy Agent was asked before."""

    NAME = "Tidegate, a decision that is kept"

    def policies(self):
        return [{"opa": {"upstream": "asked", "decision": "bench/allow", "requestHeaders": ["accept"], "cache": {"ttl": "1h"}}}]


class SignedIn(Asking):
    """Somebody who has signed in, and shows the cookie of the session."""

    NAME = "Tidegate, a session"

    def policies(self):
        return [{"oidc": {"issuer": f"http://{self.asked()}", "clientId": "bench", "clientSecret": SECRET, "secret": SECRET * 2}}]

    def start(self):
        super().start()
        end = time.monotonic() + 20
        while not self.asks("/", {}).getheader("location"):
            if time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"{self.NAME}: nobody is sent to sign in")
            time.sleep(0.2)
        begun = self.asks("/", {})
        place = begun.getheader("location") + "&"
        self.issuer.nonce, state = (re.search(rf"[?&]{name}=([^&]*)&", place)[1] for name in ("nonce", "state"))
        answer = self.asks(f"/oidc/callback?state={state}&code=c", {"Cookie": cookies(begun)})
        self.session = cookies(answer)
        if answer.status != 303 or not self.session:
            self.stop()
            raise RuntimeError(f"{self.NAME}: nobody is signed in: {answer.status}")
        return self

    def asks(self, path, fields):
        """What somebody gets who follows a link."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        client.request("GET", path, headers={"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none", **fields})
        answer = client.getresponse()
        answer.read()
        client.close()
        return answer

    def sends(self):
        return {"Cookie": self.session}


def cookies(answer):
    """What is kept of an answer's cookies."""
    lines = [value for name, value in answer.getheaders() if name.lower() == "set-cookie" and "Max-Age=0" not in value]
    return "; ".join(line.split(";")[0] for line in lines)


class Judged(WithPolicy):
    """A service that is asked about each call: the upstream itself, which lets everybody in."""

    NAME = "Tidegate, a service asked each time"
    KEEPS = {}

    def policies(self):
        return [{"extAuth": {"upstream": "mock", "path": "/judge", "requestHeaders": ["x-api-key"], **self.KEEPS}}]


class JudgedBefore(Judged):
    """The same, with what it said before."""

    NAME = "Tidegate, a service asked before"
    KEEPS = {"cache": {"ttl": "1h"}}


class Hooked(Posted):
    """A webhook as GitHub signs it, the same in every request."""

    NAME = "Tidegate, a signature verified"

    def policies(self):
        return [{"hmac": {"style": "github", "secrets": [SECRET], "allowReplays": True}}]

    def sends(self):
        tag = hmac.new(SECRET.encode(), json.dumps(ORDER).encode(), hashlib.sha256).hexdigest()
        return {"X-Hub-Signature-256": f"sha256={tag}"}


class Resigned(Posted):
    """The same body, signed for the upstream."""

    NAME = "Tidegate, signed for the upstream"

    def policies(self):
        return [{"signRequests": {"key": {"id": "bench", "algorithm": "hmac-sha256", "secret": SECRET}}}]
