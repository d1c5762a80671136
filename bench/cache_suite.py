"""Runs the public suite http-cache-tests against nginx, Varnish and Tidegate, one after the other, and prints the table of
docs/cache.md.

    python3 bench/cache_suite.py [--target FOLDER] [--binary TIDEGATE]

`scripts/peers.sh` installs the suite, `scripts/bench.sh` nginx and Varnish; both are looked for in `target`, as is the
binary. The suite's client and origin are those of the test (crates/tidegate/tests/it/policies/cache/suite.mjs).
"""

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SUITE = ROOT / "crates/tidegate/tests/it/policies/cache/suite.mjs"
START_SECONDS, SUITE_SECONDS = 30, 600

NGINX = """user root; daemon off; pid {folder}/nginx.pid; worker_processes 1; error_log stderr error;
events {{ worker_connections 1000; }}
http {{
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  access_log off;
  proxy_cache_path {folder}/kept keys_zone=kept:10m;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{origin};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache kept;
      {more}
    }}
  }}
}}
"""
VARNISH = 'vcl 4.1;\nbackend origin {{ .host = "127.0.0.1"; .port = "{origin}"; }}\n'
TIDEGATE = """listeners: [{{name: l, address: "127.0.0.1:{port}"}}]
upstreams: [{{name: u, endpoints: [{{address: "127.0.0.1:{origin}"}}], retry: {{maxAttempts: 1}}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{cache: {more}}}], backends: [{{upstream: u}}]}}]
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def nginx(programs, folder, ports, more):
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, more=more, **ports))
    return [programs["nginx"], "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"]


def varnish(programs, folder, ports, more):
    (folder / "default.vcl").write_text(VARNISH.format(**ports))
    command = [programs["varnishd"], "-F", "-j", "none", "-a", f"127.0.0.1:{ports['port']}", "-n", str(folder / "work")]
    return [*command, "-f", str(folder / "default.vcl"), "-s", "malloc,64m"]


def tidegate(programs, folder, ports, more):
    (folder / "tidegate.yaml").write_text(TIDEGATE.format(more=more, **ports))
    return [programs["tidegate"], "run", "--config", str(folder / "tidegate.yaml"), "--data-dir", str(folder / "data")]


ALL = (
    ("Tidegate, defaults", tidegate, "{}"),
    ("Tidegate, `heuristic: {}`", tidegate, "{heuristic: {}}"),
    ("nginx, `proxy_cache`", nginx, ""),
    ("nginx, `proxy_cache_revalidate` as well", nginx, "proxy_cache_revalidate on;"),
    ("Varnish, its own VCL", varnish, ""),
)


def wait_for(process, port, name):
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"{name} does not serve")


def judged(programs, name, start, more):
    """Each test's kind and outcome, as the suite's client saw this cache."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        ports = {"port": free_port(), "origin": free_port()}
        # Beside the packages, so that Node finds them.
        (folder / "node_modules").symlink_to(programs["packages"])
        (folder / "suite.mjs").write_text(SUITE.read_text())
        command = start(programs, folder, ports, more)
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=programs["env"])
        try:
            wait_for(process, ports["port"], name)
            suite = [programs["node"], str(folder / "suite.mjs"), str(ports["origin"]), f"http://127.0.0.1:{ports['port']}"]
            done = subprocess.run(suite, capture_output=True, text=True, check=True, timeout=SUITE_SECONDS)
        finally:
            process.terminate()
            process.wait(10)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=pathlib.Path, default=ROOT / "target")
    parser.add_argument("--binary", type=pathlib.Path)
    options = parser.parse_args()
    target = options.target.resolve()
    debian = target / "bench/debian"
    libraries = f"{debian}/usr/lib/x86_64-linux-gnu:{debian}/usr/lib/aarch64-linux-gnu"
    programs = {
        "nginx": str(debian / "usr/sbin/nginx"),
        "varnishd": str(debian / "usr/sbin/varnishd"),
        "tidegate": str(options.binary or target / "dist/tidegate"),
        "node": str(target / "peers/python/bin/node"),
        "packages": str(target / "peers/cache-tests/node_modules"),
        "env": {**os.environ, "LD_LIBRARY_PATH": libraries},
    }
    print("| | required | optimal |\n|---|---|---|")
    for name, start, more in ALL:
        told = judged(programs, name, start, more).values()
        passed = lambda kind: f"{sum(one['passed'] for one in told if one['kind'] == kind)} of {sum(one['kind'] == kind for one in told)}"
        print(f"| {name} | {passed('required')} | {passed('optimal')} |", flush=True)


if __name__ == "__main__":
    main()
