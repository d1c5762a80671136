"""From samples to rows: medians, spreads, and ratios that are taken within a round."""

from statistics import median

BASE = "nginx"
#: How the proxy of `--against` is named.
OTHER_REVISION = "Tidegate at "


def ratios(samples, name, base=BASE, of=lambda sample: sample.cpu):
    """One ratio per round."""
    return [of(ours) / of(theirs) for ours, theirs in zip(samples[name], samples[base], strict=True)]


def spread(values, digits=2):
    """`median (least–most)`."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def middle(samples, of):
    values = [of(sample) for sample in samples]
    return None if any(value is None for value in values) else median(values)


def duration(value):
    if value is None:
        return "–"
    return f"{value:.0f} µs" if value < 1000 else f"{value / 1000:.2f} ms" if value < 100_000 else f"{value / 1e6:.2f} s"


def rows(samples, base=BASE):
    """Header and rows of a scene, as text."""
    first = next(iter(samples.values()))[0]
    if first.user is None:
        keys = list(first.more)
        head = ["proxy", *keys]
        return head, [[name, *(text(values[0].more[key]) for key in keys)] for name, values in samples.items()]
    bases = [base, *(name for name in samples if name.startswith(OTHER_REVISION))]
    head = ["proxy", "CPU µs", "user", "system", *(f"ratio to {base}" for base in bases), "p50", "p99", "requests/s", "RSS MB"]
    table = []
    for name, values in samples.items():
        figures = [f"{middle(values, part):.1f}" for part in (lambda s: s.cpu, lambda s: s.user, lambda s: s.system)]
        compared = [spread(ratios(samples, name, base)) for base in bases]
        latencies = [duration(middle(values, part)) for part in (lambda s: s.p50, lambda s: s.p99)]
        resident = f"{middle(values, lambda s: s.rss):.1f}"
        table.append([name, *figures, *compared, *latencies, f"{middle(values, lambda s: s.per_second):,.0f}", resident])
    return head, table


def text(value):
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def plain(samples, base=BASE):
    head, table = rows(samples, base)
    widths = [max(len(row[at]) for row in [head, *table]) for at in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in [head, *table])
