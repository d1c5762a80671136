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
        id_token = self.server.key.token({**claims, "nonce": getattr(self.server, "nonce", "")})
        return self.say({"access_token": "a", "token_type": "Bearer", "expires_in": 3600, "id_token": id_token})

    def say(self, what):
        answer = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Issuers(http.server.ThreadingHTTPServer):
    """As many may come at once as a load has clients."""

    request_queue_size = 128
    daemon_threads = True


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
    """Somebody in the bench's own process is asked, whose time is not counted: once, before there is any load."""

    def start(self):
        self.issuer = Issuers(("127.0.0.1", 0), Issuer)
        self.issuer.key = Key(self.folder)
        threading.Thread(target=self.issuer.serve_forever, daemon=True).start()
        super().start()
        self.begin()
        return self

    def begin(self):
        wait_until(self, lambda: self.asks("/", self.sends()).status == 200)

    def asks(self, path, fields):
        """One GET."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        client.request("GET", path, headers={"Accept": "application/json", **fields})
        answer = client.getresponse()
        answer.read()
        client.close()
        return answer

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


class Credited(Asking):
    """The gateway's own token for the upstream, which it was given before."""

    NAME = "Tidegate, a token of its own"

    def policies(self):
        client = {"id": "bench", "secret": SECRET}
        return [{"clientCredentials": {"tokenEndpoint": f"http://{self.asked()}/token", "client": client}}]


class SignedIn(Asking):
    """Somebody who has signed in, and shows the cookie of the session."""

    NAME = "Tidegate, a session"

    def policies(self):
        return [{"oidc": {"issuer": f"http://{self.asked()}", "clientId": "bench", "clientSecret": SECRET, "secret": SECRET * 2}}]

    def begin(self):
        wait_until(self, lambda: self.follows("/", {}).getheader("location"))
        begun = self.follows("/", {})
        place = begun.getheader("location") + "&"
        self.issuer.nonce, state = (re.search(rf"[?&]{name}=([^&]*)&", place)[1] for name in ("nonce", "state"))
        self.session = cookies(self.follows(f"/oidc/callback?state={state}&code=c", {"Cookie": cookies(begun)}))
        super().begin()

    def follows(self, path, fields):
        """What somebody gets who follows a link."""
        return self.asks(path, {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none", **fields})

    def sends(self):
        return {"Cookie": self.session}


def wait_until(proxy, is_so, seconds=20):
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            proxy.stop()
            raise RuntimeError(f"{proxy.NAME}: whoever comes is not let in after {seconds} s")
        time.sleep(0.1)


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
