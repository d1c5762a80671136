"""Measures the rules against attacks beside ModSecurity in Apache: the same rules, the same requests.

Every request goes once to Apache with Debian's libapache2-mod-security2 and once to Tidegate, both as reverse proxies
before one upstream and with Debian's modsecurity-crs at a paranoia level. What each decides is compared, and each
disagreement is listed with the rules that fired on either side. Then both are asked again and again, with and without
the rules, for the processor's time of one request; and the engine alone (`cargo build --release -p tidegate-waf
--example judge`).

    scripts/peers.sh                       # Apache, ModSecurity and the rules, without root
    python3 bench/waf.py                   # prints the tables
    python3 bench/waf.py --write           # puts them into docs/waf.md
"""

import argparse, json, os, pathlib, re, signal, socket, subprocess, sys, tempfile, threading, time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import waf_requests

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = pathlib.Path(os.environ.get("TIDEGATE_PEERS", ROOT / "target/peers"))
DEBIAN = PEERS / "modsecurity"
RULES = DEBIAN / "usr/share/modsecurity-crs/rules"
TICKS = os.sysconf("SC_CLK_TCK")


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


def apache(folder, origin, has_rules, paranoia):
    port = free_port()
    folder.mkdir()
    modules = DEBIAN / "usr/lib/apache2/modules"
    names = ["mpm_event", "authz_core", "unique_id", "proxy", "proxy_http"] + (["security2"] if has_rules else [])
    lines = [f"LoadModule {name}_module {modules}/mod_{name}.so" for name in names]
    lines += [f"Listen 127.0.0.1:{port}", f"PidFile {folder}/pid", f"ServerRoot {folder}", "ServerName api.example.test",
              f"ErrorLog {folder}/error.log", "LogLevel warn", "StartServers 1", "ServerLimit 1", "ThreadsPerChild 25",
              "MaxRequestWorkers 25", "MaxKeepAliveRequests 0", "KeepAliveTimeout 60", f"DefaultRuntimeDir {folder}",
              f"Mutex file:{folder}", "AllowEncodedSlashes NoDecode", f"ProxyPass / http://127.0.0.1:{origin}/ nocanon",
              f'LogFormat "%t %>s %U" short', ]
    if has_rules:
        setup = (DEBIAN / "etc/modsecurity/crs/crs-setup.conf").read_text()
        setup += (f'\nSecAction "id:900000,phase:1,nolog,pass,t:none,setvar:tx.paranoia_level={paranoia}"\n')
        (folder / "setup.conf").write_text(setup)
        recommended = (DEBIAN / "etc/modsecurity/modsecurity.conf-recommended").read_text()
        recommended = recommended.replace("SecRuleEngine DetectionOnly", "SecRuleEngine On")
        recommended = recommended.replace("SecAuditEngine RelevantOnly", "SecAuditEngine Off")
        recommended = recommended.replace("SecResponseBodyAccess On", "SecResponseBodyAccess Off")
        recommended = recommended.replace("unicode.mapping", str(DEBIAN / "etc/modsecurity/unicode.mapping"))
        recommended = re.sub(r"(SecTmpDir|SecDataDir) .*", rf"\1 {folder}", recommended)
        recommended = re.sub(r"SecAuditLog .*", f"SecAuditLog {folder}/audit.log", recommended)
        (folder / "modsecurity.conf").write_text(recommended)
        lines += [f"Include {folder}/modsecurity.conf", f"Include {folder}/setup.conf", f"Include {RULES}/*.conf"]
    (folder / "httpd.conf").write_text("\n".join(lines) + "\n")
    libraries = DEBIAN / "usr/lib/x86_64-linux-gnu"
    environment = dict(os.environ, LD_LIBRARY_PATH=str(libraries))
    command = [str(DEBIAN / "usr/sbin/apache2"), "-f", f"{folder}/httpd.conf", "-D", "FOREGROUND"]
    return Server(command, port, environment, open(folder / "output", "wb"))


def tidegate(folder, program, origin, has_rules, paranoia):
    port = free_port()
    folder.mkdir()
    waf = {"rules": [str(RULES)], "setup": str(DEBIAN / "etc/modsecurity/crs/crs-setup.conf"), "paranoia": paranoia,
           "allowedMethods": ["GET", "HEAD", "POST", "OPTIONS"]}
    config = {
        "runtime": {"workers": 1},
        "admin": {"address": f"127.0.0.1:{free_port()}"},
        "accessLog": [{"kind": "file", "path": f"{folder}/access.log"}],
        "listeners": [{"name": "public", "address": f"127.0.0.1:{port}"}],
        "upstreams": [{"name": "origin", "endpoints": [{"address": f"127.0.0.1:{origin}"}]}],
        "routes": [{"name": "all", "match": [{"path": {"prefix": "/"}}], "backends": [{"upstream": "origin"}],
                    "policies": [{"waf": waf}] if has_rules else []}],
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


def engine(program, requests, paranoia, folder, rounds=20):
    """Verdicts, rules that fired and time of the engine alone."""
    file = folder / "requests"
    with open(file, "wb") as out:
        for request in requests:
            out.write(b"%d\n" % len(request.bytes) + request.bytes)
    environment = dict(os.environ, PARANOIA=str(paranoia))
    command = [str(program), str(RULES), "--file", str(file), str(rounds)]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    *lines, time_of_one = output.strip().splitlines()
    return [line.partition(" ")[::2] for line in lines], float(time_of_one)


def decide_by_engine(requests, apache_one, program, paranoia, folder):
    """The same with the engine in the place of the gateway."""
    theirs, one, rows = Log(folder / "apache/error.log"), Connection(apache_one.port), []
    decided, _ = engine(program, requests, paranoia, folder, 1)
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
    options = parser.parse_args()
    dist = ROOT / "target/dist/tidegate"
    program = options.tidegate or (dist if dist.exists() else ROOT / "target/debug/tidegate")
    is_optimised = "debug" not in program.parts
    for needed in (RULES, options.engine if options.engine_only else program):
        if not needed.exists():
            sys.exit(f"{needed} is missing: run scripts/peers.sh, and build the program")
    benign, hostile = waf_requests.benign(), waf_requests.hostile()
    origin = upstream()
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        apache_on = apache(place / "apache", origin, True, options.paranoia)
        if options.engine_only:
            own_on, is_optimised = None, False
            rows = decide_by_engine(benign + hostile, apache_on, options.engine, options.paranoia, place)
        else:
            own_on = tidegate(place / "tidegate", program, origin, True, options.paranoia)
            rows = decide(benign + hostile, apache_on, own_on, place)
        text = verdicts(rows, benign, hostile, options.paranoia)
        text += ["", "| CPU per request, µs | benign | hostile |", "|---|---|---|"]
        apache_off = apache(place / "apache-off", origin, False, options.paranoia)

        def row(name, values):
            text.append(f"| {name} | {values[0]:.0f} | {values[1]:.0f} |")

        def measured(server):
            return [cost(server, requests, options.seconds) for requests in (benign, hostile)]

        theirs, bare = measured(apache_on), measured(apache_off)
        row("Apache with ModSecurity", theirs)
        row("Apache without", bare)
        row("**ModSecurity alone (the difference)**", [a - b for a, b in zip(theirs, bare)])
        if is_optimised:
            own_off = tidegate(place / "tidegate-off", program, origin, False, options.paranoia)
            ours, bare = measured(own_on), measured(own_off)
            row("Tidegate with `waf`", ours)
            row("Tidegate without", bare)
            row("**`waf` alone (the difference)**", [a - b for a, b in zip(ours, bare)])
            own_off.stop()
        if options.engine.exists():
            alone = [engine(options.engine, requests, options.paranoia, place)[1] for requests in (benign, hostile)]
            row("**The engine of `waf` alone, release build**", alone)
        for server in filter(None, (apache_on, apache_off, own_on)):
            server.stop()
    print("\n".join(text))
    if options.write:
        page = ROOT / "docs/waf.md"
        begin, end = "<!-- measured -->", "<!-- /measured -->"
        before, rest = page.read_text().split(begin)
        page.write_text(f"{before}{begin}\n" + "\n".join(text) + f"\n{end}{rest.split(end)[1]}")


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
