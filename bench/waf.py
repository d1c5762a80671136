"""Measures the rules against attacks beside ModSecurity in Apache: the same rules, the same requests.

Every request goes once to Apache with Debian's libapache2-mod-security2 and once to Tidegate, both as reverse proxies
before one upstream and with Debian's modsecurity-crs at a paranoia level. What each decides is compared, and each
disagreement is listed with the rules that fired on either side. Then both are asked again and again, with and without
the rules, for the processor's time of one request; and the engine alone (`cargo build --release -p tidegate-waf
--example judge`).

    scripts/peers.sh                       # Apache, ModSecurity and the rules, without root
    python3 bench/waf.py                   # prints the tables
    python3 bench/waf.py --write           # puts them into docs/waf.md
    python3 bench/waf.py --verdicts        # ModSecurity's verdicts anew, which tests hold the engine to
    python3 bench/waf.py --rules FOLDER --setup FILE   # with other rules, such as those of the Core Rule Set 4

`scripts/bench.sh --waf` builds the program and the engine first, and writes the table.
"""

import argparse, json, os, pathlib, re, signal, socket, subprocess, sys, tempfile, threading, time
from dataclasses import dataclass

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import waf_requests, waf_verdicts

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = pathlib.Path(os.environ.get("TIDEGATE_PEERS", ROOT / "target/peers"))
DEBIAN = pathlib.Path(os.environ.get("TIDEGATE_MODSECURITY", PEERS / "modsecurity"))
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Rules:
    """A folder of the Core Rule Set's rules, and its setup."""

    folder: pathlib.Path = DEBIAN / "usr/share/modsecurity-crs/rules"
    setup: pathlib.Path = DEBIAN / "etc/modsecurity/crs/crs-setup.conf"

    def version(self):
        """Such as 3.3.4, as the rules say it."""
        first = next(iter(sorted(self.folder.glob("*.conf"))), None)
        found = first and re.search(r"ver:'OWASP_CRS/([0-9.]+)'", first.read_text())
        return found[1] if found else "of no version"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def upstream():
    """Answers everything with 200 and a header that nobody else gives. Returns its port."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-reached: yes\r\ncontent-length: 3\r\n\r\nok\n"

    def serve(one):
        with one, one.makefile("rb") as reader:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while line := reader.readline():
                length, is_chunked = 0, False
                while (field := reader.readline().strip().lower()):
                    if field.startswith(b"content-length:"):
                        length = int(field.split(b":")[1])
                    is_chunked |= field.startswith(b"transfer-encoding:")
                reader.read(length)
                while is_chunked and (size := int(reader.readline().split(b";")[0], 16)) >= 0:
                    reader.read(size + 2)
                    if size == 0:
                        break
                one.sendall(answer)

    def accept():
        while True:
            one, _ = listening.accept()
            threading.Thread(target=serve, args=(one,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listening.getsockname()[1]


class Connection:
    """A kept connection that sends bytes and reads answers."""

    def __init__(self, port):
        self.port, self.socket = port, None

    def ask(self, request):
        """The status, and whether the upstream answered."""
        for _ in range(2):
            try:
                if self.socket is None:
                    self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=20)
                    self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.reader = self.socket.makefile("rb")
                self.socket.sendall(request)
                line = self.reader.readline()
                if line:
                    return self.answer(line, request.startswith(b"HEAD "))
            except OSError:
                pass
            self.close()
        return 0, False

    def answer(self, line, is_head):
        length, reached, is_chunked, closes = 0, False, False, False
        while (field := self.reader.readline().strip().lower()):
            if field.startswith(b"content-length:"):
                length = int(field.split(b":")[1])
            reached |= field.startswith(b"x-reached:")
            is_chunked |= field.startswith(b"transfer-encoding:")
            closes |= field == b"connection: close"
        if not is_head:
            self.reader.read(length)
            while is_chunked and (size := int(self.reader.readline().split(b";")[0], 16)) >= 0:
                self.reader.read(size + 2)
                if size == 0:
                    break
        if closes:
            self.close()
        return int(line.split()[1]), reached

    def close(self):
        if self.socket is not None:
            self.reader.close()
            self.socket.close()
        self.socket = None


class Server:
    """A program whose time is counted with that of its children."""

    def __init__(self, command, port, environment=None, output=subprocess.DEVNULL):
        self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT,
                                        start_new_session=True)
        self.port = port
        deadline = time.time() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.time() > deadline:
                    sys.exit(f"{command[0]} does not listen")
                time.sleep(0.05)

    def pids(self):
        found = [self.process.pid]
        for parent in found:
            for task in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
                found.extend(int(child) for child in task.read_text().split())
        return found

    def cpu(self):
        total = 0
        for pid in self.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


def apache(folder, origin, rules, paranoia):
    """Apache as a proxy, with rules when there are any."""
    port = free_port()
    folder.mkdir()
    modules = DEBIAN / "usr/lib/apache2/modules"
    names = ["mpm_event", "authz_core", "unique_id", "proxy", "proxy_http"] + (["security2"] if rules else [])
    lines = [f"LoadModule {name}_module {modules}/mod_{name}.so" for name in names]
    lines += [f"Listen 127.0.0.1:{port}", f"PidFile {folder}/pid", f"ServerRoot {folder}", "ServerName api.example.test",
              f"ErrorLog {folder}/error.log", "LogLevel warn", "StartServers 1", "ServerLimit 1", "ThreadsPerChild 25",
              "MaxRequestWorkers 25", "MaxKeepAliveRequests 0", "KeepAliveTimeout 60", f"DefaultRuntimeDir {folder}",
              f"Mutex file:{folder}", "AllowEncodedSlashes NoDecode", f"ProxyPass / http://127.0.0.1:{origin}/ nocanon",
              f'LogFormat "%t %>s %U" short', ]
    if rules:
        levels = "".join(f",setvar:tx.{name}={paranoia}" for name in ("paranoia_level", "blocking_paranoia_level"))
        setup = rules.setup.read_text() + f'\nSecAction "id:900000,phase:1,nolog,pass,t:none{levels}"\n'
        (folder / "setup.conf").write_text(setup)
        recommended = (DEBIAN / "etc/modsecurity/modsecurity.conf-recommended").read_text()
        recommended = recommended.replace("SecRuleEngine DetectionOnly", "SecRuleEngine On")
        recommended = recommended.replace("SecAuditEngine RelevantOnly", "SecAuditEngine Off")
        recommended = recommended.replace("SecResponseBodyAccess On", "SecResponseBodyAccess Off")
        recommended = recommended.replace("unicode.mapping", str(DEBIAN / "etc/modsecurity/unicode.mapping"))
        recommended = re.sub(r"(SecTmpDir|SecDataDir) .*", rf"\1 {folder}", recommended)
        recommended = re.sub(r"SecAuditLog .*", f"SecAuditLog {folder}/audit.log", recommended)
        (folder / "modsecurity.conf").write_text(recommended)
        lines += [f"Include {folder}/modsecurity.conf", f"Include {folder}/setup.conf", f"Include {rules.folder}/*.conf"]
    (folder / "httpd.conf").write_text("\n".join(lines) + "\n")
    libraries = DEBIAN / "usr/lib/x86_64-linux-gnu"
    environment = dict(os.environ, LD_LIBRARY_PATH=str(libraries))
    command = [str(DEBIAN / "usr/sbin/apache2"), "-f", f"{folder}/httpd.conf", "-D", "FOREGROUND"]
    return Server(command, port, environment, open(folder / "output", "wb"))


def tidegate(folder, program, origin, rules, paranoia):
    port = free_port()
    folder.mkdir()
    waf = rules and {"rules": [str(rules.folder)], "setup": str(rules.setup), "paranoia": paranoia,
                     "allowedMethods": ["GET", "HEAD", "POST", "OPTIONS"]}
    config = {
        "runtime": {"workers": 1},
        "admin": {"address": f"127.0.0.1:{free_port()}"},
        "accessLog": [{"kind": "file", "path": f"{folder}/access.log"}],
        "listeners": [{"name": "public", "address": f"127.0.0.1:{port}"}],
        "upstreams": [{"name": "origin", "endpoints": [{"address": f"127.0.0.1:{origin}"}]}],
        "routes": [{"name": "all", "match": [{"path": {"prefix": "/"}}], "backends": [{"upstream": "origin"}],
                    "policies": [{"waf": waf}] if rules else []}],
    }
    (folder / "tidegate.json").write_text(json.dumps(config))
    command = [str(program), "run", "--config", f"{folder}/tidegate.json", "--data-dir", f"{folder}/data"]
    return Server(command, port, None, open(folder / "output", "wb"))


class Log:
    """What is new in a file, a moment after it was written."""

    def __init__(self, path):
        self.path, self.at = path, 0

    def new(self, is_there, patience=3.0):
        deadline = time.time() + patience
        text = ""
        while True:
            with open(self.path, "rb") as file:
                file.seek(self.at)
                text = file.read().decode("utf-8", "replace")
            if is_there(text) or time.time() > deadline:
                self.at += len(text.encode("utf-8", "replace"))
                return text
            time.sleep(0.002)


def decide(requests, apache_one, tidegate_one, folder):
    """What each side decides, and the rules that fired."""
    theirs, ours = Log(folder / "apache/error.log"), Log(folder / "tidegate/access.log")
    one, two, rows = Connection(apache_one.port), Connection(tidegate_one.port), []
    for request in requests:
        status, reached = one.ask(request.bytes)
        fired = theirs.new(lambda text: reached or "[id " in text, 0.3 if not reached else 0.0)
        their_rules = sorted(set(re.findall(r'\[id "(\d+)"\]', fired)))
        own_status, own_reached = two.ask(request.bytes)
        lines = ours.new(lambda text: text.endswith("\n"))
        record = json.loads(lines.strip().splitlines()[-1]) if lines.strip() else {}
        own_rules = sorted(str(rule) for rule in record.get("waf", {}).get("rules", []))
        by = record.get("stopped_by") or record.get("failure", {}).get("stage", "")
        rows.append(dict(request=request, theirs=not reached, status=status, their_rules=their_rules,
                         ours=not own_reached, own_status=own_status, own_rules=own_rules, by=by))
        if not reached:
            one.close()
        if not own_reached:
            two.close()
    return rows


def cost(server, requests, seconds):
    """The processor's time of one request in microseconds."""
    connection = Connection(server.port)
    for request in requests:
        connection.ask(request.bytes)
    began, count, deadline = server.cpu(), 0, time.time() + seconds
    while time.time() < deadline:
        for request in requests:
            connection.ask(request.bytes)
        count += len(requests)
    return (server.cpu() - began) * 1e6 / count


def engine(program, requests, rules, paranoia, folder, rounds=20):
    """Verdicts, rules that fired and time of the engine alone."""
    file = folder / "requests"
    file.write_bytes(waf_requests.packed(requests))
    environment = dict(os.environ, PARANOIA=str(paranoia))
    command = [str(program), str(rules.folder), "--file", str(file), str(rounds)]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    *lines, time_of_one = output.strip().splitlines()
    return [line.partition(" ")[::2] for line in lines], float(time_of_one)


def decide_by_engine(requests, apache_one, program, rules, paranoia, folder):
    """The same with the engine in the place of the gateway."""
    theirs, one, rows = Log(folder / "apache/error.log"), Connection(apache_one.port), []
    decided, _ = engine(program, requests, rules, paranoia, folder, 1)
    for request, (verdict, fired_here) in zip(requests, decided):
        status, reached = one.ask(request.bytes)
        fired = theirs.new(lambda text: reached or "[id " in text, 0.3 if not reached else 0.0)
        own_rules = sorted(rule for rule in fired_here.split(",") if rule)
        refused = verdict == "refused"
        rows.append(dict(request=request, theirs=not reached, status=status, ours=refused,
                         their_rules=sorted(set(re.findall(r'\[id "(\d+)"\]', fired))),
                         own_status=403 if refused else 200, own_rules=own_rules, by=""))
        if not reached:
            one.close()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tidegate", type=pathlib.Path, help="the program; target/dist/tidegate when it is there")
    parser.add_argument("--engine", type=pathlib.Path, default=ROOT / "target/release/examples/judge")
    parser.add_argument("--engine-only", action="store_true", help="without the gateway around the engine")
    parser.add_argument("--paranoia", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement of time")
    parser.add_argument("--write", action="store_true", help="puts the tables into docs/waf.md")
    parser.add_argument("--verdicts", action="store_true", help="writes what ModSecurity says, and nothing else")
    parser.add_argument("--rules", type=pathlib.Path, default=Rules.folder, help="the folder of rules")
    parser.add_argument("--setup", type=pathlib.Path, default=Rules.setup, help="their setup")
    options = parser.parse_args()
    rules = Rules(options.rules.absolute(), options.setup.absolute())
    dist = ROOT / "target/dist/tidegate"
    program = options.tidegate or (dist if dist.exists() else ROOT / "target/debug/tidegate")
    needed = [rules.folder, rules.setup, DEBIAN / "usr/sbin/apache2"]
    if not options.verdicts:
        needed.append(options.engine if options.engine_only else program)
    for one in needed:
        if not one.exists():
            sys.exit(f"{one} is missing: run scripts/peers.sh, and build the program")
    if options.verdicts:
        return write_verdicts(rules)
    benign, hostile = waf_requests.benign(), waf_requests.hostile()
    with tempfile.TemporaryDirectory() as place:
        text = compare(options, rules, program, benign, hostile, pathlib.Path(place))
    print("\n".join(text))
    if options.write:
        page = ROOT / "docs/waf.md"
        begin, end = "<!-- measured -->", "<!-- /measured -->"
        before, rest = page.read_text().split(begin)
        page.write_text(f"{before}{begin}\n" + "\n".join(text) + f"\n{end}{rest.split(end)[1]}")


def compare(options, rules, program, benign, hostile, place):
    """The tables: what was decided, and what it took."""
    origin, own_on, servers = upstream(), None, []
    is_optimised = "debug" not in program.parts and not options.engine_only

    def started(server):
        servers.append(server)
        return server

    try:
        apache_on = started(apache(place / "apache", origin, rules, options.paranoia))
        if options.engine_only:
            rows = decide_by_engine(benign + hostile, apache_on, options.engine, rules, options.paranoia, place)
        else:
            own_on = started(tidegate(place / "tidegate", program, origin, rules, options.paranoia))
            rows = decide(benign + hostile, apache_on, own_on, place)
        text = verdicts(rows, benign, hostile, options.paranoia)
        text[0] = f"{waf_verdicts.engine(place / 'apache')}, Core Rule Set {rules.version()}. {text[0]}"
        text += ["", "| CPU per request, µs | benign | hostile |", "|---|---|---|"]
        apache_off = started(apache(place / "apache-off", origin, None, options.paranoia))

        def row(name, values):
            text.append(f"| {name} | {values[0]:.0f} | {values[1]:.0f} |")

        def measured(*both):
            """With rules and without, one after the other, so that what else the machine does concerns both."""
            found = [[cost(one, requests, options.seconds) for one in both] for requests in (benign, hostile)]
            return [list(values) for values in zip(*found)]

        pairs = [("Apache with ModSecurity", "Apache without", "ModSecurity", apache_on, apache_off)]
        if is_optimised:
            own_off = started(tidegate(place / "tidegate-off", program, origin, None, options.paranoia))
            pairs.append(("Tidegate with `waf`", "Tidegate without", "`waf`", own_on, own_off))
        differences = []
        for name_on, name_off, name, on, off in pairs:
            with_rules, bare = measured(on, off)
            row(name_on, with_rules)
            row(name_off, bare)
            alone = [a - b for a, b in zip(with_rules, bare)]
            differences.append(alone)
            row(f"**{name} alone (the difference)**", alone)
        if options.engine.exists():
            alone = [engine(options.engine, requests, rules, options.paranoia, place)[1] for requests in (benign, hostile)]
            row("**The engine of `waf` alone, release build**", alone)
        if is_optimised:
            text += ["", goal(*differences)]
        return text
    finally:
        for server in servers:
            server.stop()


def goal(theirs, ours):
    """What is wanted of the processor's time of the rules, and whether it is so."""
    shares = [our / their for our, their in zip(ours, theirs)]
    verdict = "met" if max(shares) <= 1 else f"**missed by {max(shares) - 1:.0%}**"
    benign, hostile = (f"{share:.2f}" for share in shares)
    return f"Goal: `waf` alone takes ≤ 1.0 × what ModSecurity alone takes. {benign} × benign and {hostile} × hostile: {verdict}."


def write_verdicts(rules):
    """What ModSecurity says about each request at every paranoia level, as a file of the tests."""
    asked = [("benign", one) for one in waf_requests.benign()] + [("hostile", one) for one in waf_requests.hostile()]
    levels, origin = [], upstream()
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        for level in range(1, 5):
            server = apache(place / f"apache-{level}", origin, rules, level)
            try:
                log, connection = Log(place / f"apache-{level}/error.log"), Connection(server.port)
                levels.append([waf_verdicts.judged(one, connection, log) for _, one in asked])
            finally:
                server.stop()
        name = waf_verdicts.engine(place / "apache-1")
    file = waf_verdicts.FOLDER / f"crs-{rules.version()}.tsv"
    file.write_text(waf_verdicts.text(asked, levels, name, rules))
    print(f"wrote {file.relative_to(ROOT)}")


def verdicts(rows, benign, hostile, paranoia):
    """The tables of what was decided."""
    text = [f"Paranoia {paranoia}; {len(benign)} benign and {len(hostile)} hostile requests.", "",
            "| | ModSecurity refuses | `waf` refuses | agree |", "|---|---|---|---|"]
    for name, part in (("benign", rows[:len(benign)]), ("hostile", rows[len(benign):])):
        theirs, ours = sum(row["theirs"] for row in part), sum(row["ours"] for row in part)
        agree = sum(row["theirs"] == row["ours"] for row in part)
        text.append(f"| {name} | {theirs} | {ours} | {agree} of {len(part)} ({100 * agree / len(part):.1f} %) |")
    groups = {}
    for row in rows:
        if row["theirs"] != row["ours"]:
            only_theirs = [rule for rule in row["their_rules"] if rule not in row["own_rules"]]
            only_ours = [rule for rule in row["own_rules"] if rule not in row["their_rules"]]
            key = (row["request"].family, row["request"].place, row["theirs"], row["status"], row["own_status"],
                   tuple(only_theirs), tuple(only_ours), row["by"])
            groups.setdefault(key, []).append(row["request"].name)
    text += ["", f"Disagreements: {sum(len(names) for names in groups.values())}."]
    if groups:
        text += ["", "| request | ModSecurity | Tidegate | fired there alone | fired here alone |", "|---|---|---|---|---|"]
    for (family, place, _, status, own, theirs, ours, by), names in sorted(groups.items(), key=str):
        what = f"{family} in {place} ({len(names)}: {', '.join(sorted(set(names))[:3])})".replace("|", "\\|")
        text.append(f"| {what} | {status} | {own}{f', {by}' if by else ''} | {' '.join(theirs)} | {' '.join(ours)} |")
    return text


if __name__ == "__main__":
    main()
