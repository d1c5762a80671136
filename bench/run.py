"""`make bench`: measures Tidegate beside its peers in interleaved rounds and writes docs/performance.md.

    scripts/bench.sh [--quick] [--ai] [--parts] [--waf] [--scene NAME]... [--against REF] [--rounds N] [--seconds S]

Only a full run (no option but --rounds and --seconds) writes the page and its picture, with --ai the page of the AI
gateway's scenes, with --parts that of single policies and handlers and the table of docs/waf.md, with --waf that table
alone; one with --quick or --against prints its tables alone.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import ai
import parts
import report
import scenes
import table
from proxies import PEERS, Tidegate
from proxies.process import Ports, free_port
from tools import DEBIAN, ROOT, TARGET, Tools

FULL, QUICK = (7, 4), (3, 2)
EVERY = (*scenes.ALL, *ai.ALL, *parts.ALL)


def arguments():
    names = [scene.name for scene in EVERY]
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--scene", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--ai", action="store_true", help="the scenes of the AI gateway alone; writes their page")
    parser.add_argument("--parts", action="store_true", help="the scenes of single policies and handlers; writes their page")
    parser.add_argument("--waf", action="store_true", help="rules against attacks beside ModSecurity; writes the table of docs/waf.md")
    parser.add_argument("--against", metavar="REF", help="a revision of this repository to compare with")
    parser.add_argument("--against-binary", help=argparse.SUPPRESS)
    parser.add_argument("--no-peers", action="store_true", help="leave out all but nginx")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int)
    options = parser.parse_args()
    rounds, seconds = QUICK if options.quick else FULL
    options.rounds, options.seconds = options.rounds or rounds, options.seconds or seconds
    if options.ai or options.parts or options.waf:
        wanted = (*(ai.ALL if options.ai else ()), *(parts.ALL if options.parts else ()))
        options.scene = [scene.name for scene in wanted] + ["waf"] * options.waf
    options.full = not (options.quick or options.scene or options.against or options.no_peers)
    return options


def candidates(options):
    class Ours(Tidegate):
        pass

    found = [Ours]
    if options.against:

        class Theirs(Tidegate):
            NAME = table.OTHER_REVISION + options.against
            BINARY = options.against_binary

        found.append(Theirs)
    return found + [peer for peer in PEERS if not options.no_peers or peer.NAME == "nginx"]


def start_upstreams(tools):
    ports = Ports(free_port(), free_port(), free_port())
    command = [tools.bench_tools, "upstream", f"127.0.0.1:{ports.http1}", f"127.0.0.1:{ports.h2c}", "2"]
    processes = [subprocess.Popen(command)]
    command = [tools.mock_provider, "--listen", f"127.0.0.1:{ports.provider}"]
    processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    time.sleep(0.3)
    if any(process.poll() is not None for process in processes):
        raise RuntimeError("the mock upstream or the mock provider did not start")
    return processes, ports


def run_scene(scene, options, tools, ports, kinds):
    """Samples by proxy: a list with one entry per round."""
    able = [kind for kind in kinds if kind.NAME not in scene.cannot]
    running = []
    try:
        for kind in able:
            folder = tools.folder / scene.name / kind.NAME.replace("/", "-")
            running.append(kind(scene.setup, ports, folder, tools).start())
        for proxy in running:
            scene.warm(tools, proxy)
        samples = {proxy.NAME: [] for proxy in running}
        for number in range(min(options.rounds, scene.rounds_max)):
            for proxy in running:
                samples[proxy.NAME].append(scene.measure(tools, proxy, options.seconds))
            print(f"  {scene.name}: round {number + 1} of {options.rounds}", file=sys.stderr)
        return samples
    finally:
        for proxy in running:
            proxy.stop()


def main():
    options = arguments()
    tools = Tools()
    Tidegate.BINARY = str(ROOT / "target" / "dist" / "tidegate")
    upstreams, ports = start_upstreams(tools)
    results = {}
    try:
        for scene in EVERY:
            if not options.scene or scene.name in options.scene:
                kinds = getattr(scene, "kinds", None) or candidates(options)
                results[scene.name] = run_scene(scene, options, tools, ports, kinds)
                show(scene, results[scene.name])
    finally:
        for upstream in upstreams:
            upstream.terminate()
            upstream.wait()
    pathlib.Path(TARGET / "results.json").write_text(
        json.dumps(results, default=lambda sample: sample.__dict__, indent=1)
    )
    if options.full:
        report.write(results, options, tools)
    is_whole = not (options.quick or options.against)
    if options.full or (options.ai and is_whole):
        report.write_ai(results, options, tools)
    if options.full or (options.parts and is_whole):
        report.write_parts(results, options, tools)
    if options.full or ((options.parts or options.waf) and is_whole):
        beside_modsecurity()


def beside_modsecurity():
    """The table of the rules against attacks: what is refused, and what that costs."""
    environment = {**os.environ, "TIDEGATE_MODSECURITY": str(DEBIAN)}
    command = [sys.executable, "-B", str(ROOT / "bench" / "waf.py"), "--tidegate", Tidegate.BINARY, "--write"]
    subprocess.run(command, check=True, env=environment)


def show(scene, samples):
    """A scene's table, on the terminal."""
    print(f"\n{scene.title}")
    print(table.plain(samples, getattr(scene, "base", table.BASE)), flush=True)


if __name__ == "__main__":
    main()
