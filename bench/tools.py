"""Where the programs of a benchmark are, and the files that all proxies share: certificate, key, API key.

`scripts/bench.sh` installs and builds the programs; this file only looks.
"""

import json
import os
import pathlib
import resource
import shutil
import subprocess

from proxies.process import KEY

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "target" / "bench"
DEBIAN = TARGET / "debian"


class Tools:
    """Paths of programs and shared files."""

    def __init__(self):
        self.folder = TARGET / "run"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        libraries = f"{DEBIAN}/usr/lib/x86_64-linux-gnu:{DEBIAN}/usr/lib/aarch64-linux-gnu"
        self.env = {**os.environ, "LD_LIBRARY_PATH": libraries}
        self.nginx = self.debian("usr/sbin/nginx")
        self.haproxy = self.debian("usr/sbin/haproxy")
        self.varnish = self.debian("usr/sbin/varnishd")
        self.redis = self.debian("usr/bin/redis-server")
        self.redis_cli = self.debian("usr/bin/redis-cli")
        self.nats = self.debian("usr/sbin/nats-server")
        self.wrk = self.debian("usr/bin/wrk")
        self.h2load = self.debian("usr/bin/h2load")
        self.envoy = str(next((TARGET / "envoy").glob("lib/python3*/site-packages/envoy/_bin/envoy")))
        self.mock_provider = str(ROOT / "target" / "dist" / "mock-provider")
        self.litellm = str(TARGET / "litellm" / "bin" / "litellm")
        self.portkey = TARGET / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        self.node = shutil.which("node") or "node"
        self.bench_tools = str(TARGET / "tools" / "release" / "bench-tools")
        self.uid = os.getuid()
        self.files = self.raise_file_limit()
        self.make_files()

    @staticmethod
    def debian(path):
        return str(DEBIAN / path)

    @staticmethod
    def raise_file_limit():
        """Descriptors that a proxy may open: as many as 10,000 connections on both sides need, if the system lets us."""
        wanted = 65_536
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, hard), max(wanted, hard)))
        except (ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def make_files(self):
        self.certificate, self.key = str(self.folder / "cert.pem"), str(self.folder / "key.pem")
        self.bundle, self.key_file = str(self.folder / "bundle.pem"), str(self.folder / "api-key")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "30", "-subj", "/CN=bench.test", "-addext", "subjectAltName=DNS:bench.test,IP:127.0.0.1"]
        subprocess.run([*command, "-keyout", self.key, "-out", self.certificate], check=True, capture_output=True)
        both = pathlib.Path(self.certificate).read_text() + pathlib.Path(self.key).read_text()
        pathlib.Path(self.bundle).write_text(both)
        pathlib.Path(self.key_file).write_text(KEY)

    def versions(self):
        """What each program calls itself, for the report."""

        def first(command, prefix):
            try:
                done = subprocess.run(command, capture_output=True, text=True, env=self.env, check=False)
            except OSError:
                return "?"
            text = (done.stdout + done.stderr).strip()
            words = text.replace("/", " ").replace("varnish-", " ").replace("v=", " ").replace(" v", " ").split()
            return next((word for word in words if word[0].isdigit() and "." in word), prefix)

        return {
            "nginx": first([self.nginx, "-v"], "?"),
            "HAProxy": first([self.haproxy, "-v"], "?"),
            "Varnish": first([self.varnish, "-V"], "?"),
            "Redis": first([self.redis, "--version"], "?"),
            "NATS": first([self.nats, "--version"], "?"),
            "Envoy": first([self.envoy, "--version"], "?"),
            "LiteLLM": installed(TARGET / "litellm", "lib/python3*/site-packages/litellm-[0-9]*.dist-info"),
            "Portkey": json.loads((self.portkey.parent.parent / "package.json").read_text())["version"]
            if self.portkey.exists()
            else "?",
        }


def installed(folder, pattern):
    """The version in the name of a package's folder."""
    found = next(folder.glob(pattern), None)
    return found.name.split("-")[1].removesuffix(".dist") if found else "?"
