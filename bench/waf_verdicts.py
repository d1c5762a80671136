"""ModSecurity's verdicts as a file that tests hold the engine of `waf` to; `bench/waf.py --verdicts` writes it.

A line is a request: the beginning of its SHA-1, whether it is benign, what it is, and a cell for each paranoia level. A
cell is the status (200 when it passed), the score where the rules told one, and the rules that fired, above level 1 only
what is new (`+`) or gone (`-`) against the level before.
"""

import hashlib, pathlib, re

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "crates/waf/tests/verdicts"
#: Rules that sum up in the phase of logging, when the answer is out: they may come too late to be seen.
SUMMING_UP = range(980_000, 981_000)


def engine(folder):
    """What ModSecurity calls itself in Apache's log."""
    log = (folder / "error.log").read_text(errors="replace")
    found = re.search(r"ModSecurity for Apache/([0-9.]+)", log)
    return f"ModSecurity {found[1] if found else '?'} in Apache"


def judged(request, connection, log):
    """Status, score and rules of a request."""
    status, reached = connection.ask(request.bytes)
    told = log.new(lambda text: reached or "Access denied" in text, 0.0 if reached else 0.3)
    if not reached:
        connection.close()
    fired = {int(rule) for rule in re.findall(r'\[id "(\d+)"\]', told)}
    score = re.search(r"\(Total Score: (\d+)\)", told)
    return 200 if reached else status, int(score[1]) if score else 0, fired - set(SUMMING_UP)


def text(asked, levels, name, rules):
    """The file."""
    lines = [
        f"# {name} with the Core Rule Set {rules.version()}. Written by `python3 bench/waf.py --verdicts`; see",
        "# bench/waf_verdicts.py for what stands where.",
    ]
    for at, (side, request) in enumerate(asked):
        what = f"{request.family}, {request.place}: {request.name}".replace("\t", " ")
        cells, before = [], set()
        for level in levels:
            status, score, fired = level[at]
            added = [f"+{rule}" if cells else str(rule) for rule in sorted(fired - before)]
            gone = [f"-{rule}" for rule in sorted(before - fired)]
            cells.append(f"{status} {score} {','.join(added + gone)}".rstrip())
            before = fired
        lines.append("\t".join([hashlib.sha1(request.bytes).hexdigest()[:12], side, what, *cells]))
    return "\n".join(lines) + "\n"
