"""docs/performance.md, wholly, and the figures of README.md: what is measured, how, on what machine, the goals beside the figures, and the recipes."""

import os
import pathlib
import platform
import re
import subprocess

import ai
import goals
import parts
import picture
import scenes
import table
from proxies import PEERS
from tools import ROOT

PAGE = """# Performance

Written by `make bench`; do not edit. {rounds} interleaved rounds of {seconds} s per proxy and scene, all on one machine:
{machine}. Tidegate {revision} beside {versions}.

## Goals

{goals}

![CPU per request against nginx](performance.svg)

## Scenes

CPU is µs of the proxy's processes per request, user and system apart; a ratio is taken within a round and shown as
median (least–most). Where the load is a closed loop, p50 and p99 are those of a saturated machine and say little;
those at a fixed rate count.

{scenes}

## How it is measured

- The proxies of a scene all run, and only one has load at a time: A B C A B C …, so that a machine that slows down
  slows all alike. Medians and ratios are over rounds.
- CPU is utime + stime of the proxy's whole tree of processes from `/proc`, over exactly the requests that were
  answered. The kernel splits user from system by sampling, so the sum is exact and the parts are less so.
- Each proxy has two workers, keep-alive on both sides, and adds `X-Forwarded-For` and `X-Request-Id`. Tidegate is built
  with profile `dist`; its metrics, admin endpoint and trace context are on, as they always are.
- The mock upstream (`bench/tools`) answers 1 KiB with eight header fields from memory, in a process of its own.
- `wrk` sends HTTP/1.1 and TLS over 64 connections, `h2load` HTTP/2 and gRPC over 16 with 10 streams each,
  `openssl s_time` shakes hands without resumption, four at a time.
- The fixed rate is an open loop: a request has a time at which it is due, and its latency counts from then.
- The chain is, in nginx, `map`, `limit_req` and a JSON `access_log` with a buffer of 64 KiB; in HAProxy a map, a
  stick-table and a JSON `log-format` on standard output, in Envoy `api_key_auth`, `local_ratelimit` and a JSON access
  log. No limit is ever reached.
- One of the routes is asked for at random in every request. nginx has a `location` per route, HAProxy a `map_beg`,
  Envoy a list, which it searches from the top.
- A reload adds a route to 10,000 and counts as done when that route answers. The longest answer under reloads stands
  beside the longest under the same load without.
- Memory is the resident set; of several processes the proportional one, so that what they share counts once.

```sh
make bench                                          # everything; writes this page and the README's figures
scripts/bench.sh --ai                               # the AI gateway alone; writes docs/performance-ai.md
scripts/bench.sh --parts                            # single policies and handlers; writes docs/performance-parts.md
scripts/bench.sh --quick --scene bare --scene chain # a look, printed only
scripts/bench.sh --against main --scene chain       # this tree beside another revision
```

## Instructions per request

Time is noisy, instruction counts are not. `scripts/instructions.sh` runs the codec and the gateway with its full chain
under callgrind and compares with `bench/instructions.toml`; `make test` fails when one grows by more than
5 %. A growth that is worth it is recorded with `scripts/instructions.sh --record`, and its reason goes into the
commit.

## Parts

`cargo bench` measures codec, router, header handling, rate limiter and balancers by themselves with Criterion, for
example `cargo bench -p tidegate-proxy --bench router`.

## Profiling

[CONTRIBUTING.md](../CONTRIBUTING.md#speed) says how to record a profile and draw a flame graph.
"""

AI_PAGE = """# Performance of the AI gateway

Written by `scripts/bench.sh --ai`; do not edit. {rounds} interleaved rounds of {seconds} s per gateway and scene, all on one
machine: {machine}. Tidegate {revision} beside {versions}. How CPU, memory and ratios are measured is told with
[the other figures](performance.md). Bifrost, agentgateway and Busbar are not measured.

## Goals

{goals}

## Scenes

{scenes}

## How it is measured

- One mock provider (`bench/provider`) answers all of them: OpenAI's dialect, and Anthropic's where Tidegate translates.
  A request is a conversation of about 1 KiB; an answer has 60 tokens, a stream {tokens}.
- *Plain* is Tidegate as a proxy of the same bytes, without its AI gateway; *bare* is the AI gateway and no policy;
  *governed* adds what `bench/proxies/tidegate_ai.py` lists; *translated* is a caller of OpenAI's dialect and a provider
  of Anthropic's.
- LiteLLM runs with two workers and a master key, without a database; Portkey as one process, as it comes, without
  limits or guardrails. Both send OpenAI's dialect on in OpenAI's dialect.
- Bifrost, agentgateway and Busbar are not measured: none of them comes as a package of PyPI, npm or Debian that holds its program
  (Bifrost's of npm fetches it from elsewhere).
- A streamed token is a chunk of its own; its CPU is that of whole streams divided by their tokens.
- The slow streams say a token every two seconds; memory is looked at when all have begun, and again later.
"""

PARTS_PAGE = """# Performance of single policies and handlers

Written by `scripts/bench.sh --parts`; do not edit. {rounds} interleaved rounds of {seconds} s per proxy and scene, all on one
machine: {machine}. Tidegate {revision} beside {versions}. How CPU, memory and ratios are measured is told with
[the other figures](performance.md); rules against attacks have [a table of their own](waf.md#beside-modsecurity).

## Goals

{goals}

## Scenes

{scenes}

## How it is measured

- `wrk` asks over 64 connections. The upstream answers 1 KiB of JSON over HTTP/1.1, and a message of 27 bytes over gRPC.
- *Kept*: the answer says `max-age` and lies in memory; nginx has `proxy_cache`, whose file of the answer it
  keeps open (`open_file_cache`) and the system in memory, Varnish its own storage of 64 MiB. That each gives what it kept is
  checked before it is measured.
- *Composed*: three calls at once, whose JSON is read and put into one answer of 3 KiB.
- *Limited in Redis*: one server on the same machine, whose own time is not counted. Its round trips are the scripts that it
  ran by its own count, for each request that was answered. The limit is never reached.
- *HTTP/3*: 16 connections with ten requests each at a time, to which the upstream answers 1 KiB; over HTTP/2 by `h2load`, over HTTP/3
  by `bench-tools http3` (quinn and h3), whose own time is not counted. QUIC does in the process what TCP does in the kernel.
- *Under one policy*: what the policy is told stands in `bench/proxies/tidegate_policies.py`. The token is signed
  by RSA with 2,048 bits and verified in each request. The answer that jq makes another and that loses two
  fields is the upstream's kibibyte of JSON. Idempotency keys are new each time, and their answers are kept in memory.
- *Somebody who is known*, *a signature* and *one bound*: what stands in `bench/proxies/tidegate_callers.py` and
  `bench/proxies/tidegate_traffic.py`. Keys, tokens and bodies are the same in every request, so that what may be known from before
  is known. Who is asked each time is the upstream itself, with an answer of 1 KiB.
- *Brokers*: a NATS server of each gateway's on the same machine, whose streams are in memory and whose own time is not counted. A
  POST is answered when the server has confirmed that it keeps the message. What is delivered is posted to the upstream, 64 at a
  time, and confirmed; a round is as many messages as are published at once, until the last one is confirmed. What clients listen
  to is counted for each client that gets it.
- *A file*: in the system's memory; nginx keeps it open (`open_file_cache`) and sends it by `sendfile`.
- *Rules against attacks*: a GET without a body under Debian's Core Rule Set at paranoia 1. Requests of every kind, and
  ModSecurity beside them, are in [the table](waf.md#beside-modsecurity) that the same command writes.
- *REST to gRPC*: `GET /v1/prices/17` becomes a call, and its answer JSON, by the annotations in `examples/shop/prices.proto`.
"""

FIGURES = ("<!-- figures -->", "<!-- end of figures -->")
AI_FIGURES = ("<!-- figures of the AI gateway -->", "<!-- end of figures of the AI gateway -->")


def write(results, options, tools):
    """The page and its picture."""
    titles = {scene.name: scene.title for scene in scenes.ALL}
    versions = tools.versions()
    text = PAGE.format(
        rounds=options.rounds,
        seconds=options.seconds,
        machine=machine(),
        revision=revision(),
        versions=", ".join(f"{peer.NAME} {versions[peer.NAME]}" for peer in PEERS),
        goals=markdown(["what", "goal", "measured", ""], goals.rows(results)),
        scenes="\n\n".join(section(scene, results[scene.name]) for scene in scenes.ALL if scene.name in results),
    )
    (ROOT / "docs" / "performance.md").write_text(text)
    (ROOT / "docs" / "performance.svg").write_text(picture.draw(results, titles))
    write_figures(FIGURES, goals.rows(results))


def write_ai(results, options, tools):
    """The page of the AI gateway."""
    versions = tools.versions()
    text = AI_PAGE.format(
        rounds=options.rounds,
        seconds=options.seconds,
        machine=machine(),
        revision=revision(),
        versions=", ".join(f"{peer} {versions[peer]}" for peer in ("LiteLLM", "Portkey")),
        goals=markdown(["what", "goal", "measured", ""], goals.ai_rows(results)),
        scenes="\n\n".join(section(scene, results[scene.name]) for scene in ai.ALL if scene.name in results),
        tokens=ai.STREAM_TOKENS,
    )
    (ROOT / "docs" / "performance-ai.md").write_text(text)
    write_figures(AI_FIGURES, goals.ai_rows(results))


def write_parts(results, options, tools):
    """The page of single policies and handlers."""
    versions = tools.versions()
    text = PARTS_PAGE.format(
        rounds=options.rounds,
        seconds=options.seconds,
        machine=machine(),
        revision=revision(),
        versions=", ".join(f"{peer} {versions[peer]}" for peer in ("nginx", "Varnish", "Redis", "NATS", "Envoy")),
        goals=markdown(["what", "goal", "measured", ""], goals.part_rows(results)),
        scenes="\n\n".join(section(scene, results[scene.name]) for scene in parts.ALL if scene.name in results),
    )
    (ROOT / "docs" / "performance-parts.md").write_text(text)


def write_figures(marks, rows):
    """Puts these goals between two marks of the README; reasons stay with the pages."""
    readme = ROOT / "README.md"
    begin, end = marks
    before, rest = readme.read_text().split(begin, 1)
    after = rest.split(end, 1)[1]
    short = [[*row[:3], row[3].split(":")[0]] for row in rows]
    readme.write_text(f"{before}{begin}\n{markdown(['what', 'goal', 'measured', ''], short)}\n{end}{after}")


def section(scene, samples):
    base = getattr(scene, "base", table.BASE)
    cannot = "".join(f"\n\n{name} cannot: {reason}." for name, reason in scene.cannot.items())
    return f"### {scene.title}\n\n{markdown(*table.rows(samples, base))}{cannot}"


def markdown(head, rows):
    line = lambda cells: "| " + " | ".join(cells) + " |"  # noqa: E731
    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def machine():
    """The machine without its name."""
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", info)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    name = model[1] if model else platform.machine()
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {kernel}, loopback"


def revision():
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return f"at {done.stdout.strip()}" if done.returncode == 0 else "of this tree"
