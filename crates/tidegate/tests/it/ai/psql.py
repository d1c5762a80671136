"""Asks a PostgreSQL with the `psql` of the package that brings the server, and prints the answer.

usage: psql.py URL SQL
"""

import pathlib
import subprocess
import sys
import sysconfig

BIN = pathlib.Path(sysconfig.get_path("purelib")) / "pgserver" / "pginstall" / "bin"
url, sql = sys.argv[1:]
sys.exit(subprocess.run([BIN / "psql", "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", url, "-c", sql]).returncode)
