"""ClickHouse's engine, as chdb brings it, behind as much of the HTTP interface as an INSERT needs.

The engine judges the INSERT and its rows; users, HTTP and the statuses of errors are made here after ClickHouse's
documentation of its HTTP interface: 404 for a table or a database that is not there, 400 for rows that cannot be read,
500 for the rest. A POST with `by=test` in its query is a statement of the test's own.

usage: clickhouse.py PORT FOLDER
"""

import gzip
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from chdb import session

engine = session.Session(sys.argv[2])
lock = threading.Lock()
last = {}
# UNKNOWN_TABLE, UNKNOWN_DATABASE; what concerns reading rows is 6, 26, 27, 33, 38, 41, 53, 69, 72, 117, 130, 131, 691 and the like.
MISSING = {60, 81}
UNREADABLE = {6, 26, 27, 33, 36, 38, 41, 53, 69, 70, 72, 117, 130, 131, 441, 675, 676, 691}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        asked = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        if asked.pop("by", None) == "test":
            statement = body.decode()
            if statement == "LAST INSERT":
                return self.answer(200, json.dumps(last))
        else:
            if not self.headers.get("x-clickhouse-user") or not self.headers.get("x-clickhouse-key"):
                return self.answer(403, "Code: 516. Authentication failed")
            insert = asked.pop("query")
            last.update(insert=insert, settings=asked, user=self.headers["x-clickhouse-user"], key=self.headers["x-clickhouse-key"])
            # Over HTTP settings stand in the address and rows in the body; in a statement both stand in it.
            settings = ", ".join(f"{name} = '{value}'" if not value.isdigit() else f"{name} = {value}" for name, value in asked.items())
            head, form = re.fullmatch(r"(INSERT INTO \S+) (FORMAT JSONEachRow)", insert).groups()
            statement = f"{head} SETTINGS {settings} {form}\n{body.decode()}"
        try:
            with lock:
                said = engine.query(statement, "CSV")
            self.answer(200, str(said) if said is not None else "")
        except Exception as error:  # the engine has one kind of exception
            code = re.search(r"Code: (\d+)", str(error))
            code = int(code.group(1)) if code else 0
            status = 404 if code in MISSING else 400 if code in UNREADABLE else 500
            self.answer(status, str(error), code)

    def answer(self, status, text, code=0):
        text = text.encode()
        self.send_response(status)
        if code:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready")
server.serve_forever()
