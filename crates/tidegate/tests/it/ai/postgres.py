"""PostgreSQL with pgvector, from the package that carries both: in the folder that it is given, on a Unix socket, as a
user that is not root, which it refuses. It prints its address and its process id, and ends with whoever started this."""

import ctypes
import os
import pathlib
import pwd
import signal
import subprocess
import sys
import sysconfig
import time

BIN = pathlib.Path(sysconfig.get_path("purelib")) / "pgserver" / "pginstall" / "bin"
USER = "nobody" if os.getuid() == 0 else None


def with_parent():
    # Whoever kills this process kills the server, too.
    ctypes.CDLL(None).prctl(1, signal.SIGINT)


folder = pathlib.Path(sys.argv[1])
if USER:
    folder.chmod(0o755)
    os.chown(folder, pwd.getpwnam(USER).pw_uid, -1)
options = {"user": USER, "cwd": folder, "stdout": subprocess.DEVNULL}
subprocess.run(
    [BIN / "initdb", "-D", folder / "data", "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8"],
    check=True, **options,
)
server = subprocess.Popen(
    [BIN / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"],
    preexec_fn=with_parent, stderr=open(folder / "log", "w"), **options,
)
while subprocess.run([BIN / "pg_isready", "-q", "-h", folder, "-U", "postgres"], **options).returncode:
    if server.poll() is not None:
        sys.exit((folder / "log").read_text())
    time.sleep(0.05)
print(f"postgresql://postgres@/postgres?host={folder}&sslmode=disable", flush=True)
print(server.pid, flush=True)
server.wait()
