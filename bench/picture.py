"""docs/performance.svg: CPU per request against nginx, a bar per proxy and scene, with spread and goal."""

from statistics import median

from table import BASE, ratios

COLOURS = {"Tidegate": "#0b7285", "nginx": "#868e96", "HAProxy": "#5c7cfa", "Envoy": "#e8590c"}
GOALS = {"bare": 0.80, "chain": 0.85, "tls": 1.0, "h2": 0.75}
SCENES = ("bare", "chain", "tls", "handshakes", "h2", "grpc", "large")
LEFT, WIDTH, BAR, GAP, MOST = 280, 590, 14, 16, 2.5
SCALE = WIDTH / MOST


def draw(results, titles):
    """The picture as text."""
    parts, y = [], 46
    for scene in (scene for scene in SCENES if scene in results):
        samples = results[scene]
        parts.append(label(LEFT - 12, y + len(samples) * BAR / 2 + 4, titles[scene], "end"))
        top = y
        for name in samples:
            parts += bar(y, name, ratios(samples, name))
            y += BAR
        if scene in GOALS:
            x = LEFT + GOALS[scene] * SCALE
            parts.append(f'<path d="M{x:.0f} {top - 4}V{y + 4}" stroke="#c92a2a" stroke-width="2"/>')
        y += GAP
    unit = LEFT + SCALE
    parts.insert(0, f'<path d="M{unit:.0f} 34V{y}" stroke="#adb5bd" stroke-dasharray="3 3"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 70} {y + 8}" '
        'font-family="sans-serif" font-size="13">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{legend()}\n' + "\n".join(parts) + "\n</svg>\n"
    )


def bar(y, name, values):
    middle, low, high = median(values), min(values), max(values)
    end = LEFT + min(middle, MOST) * SCALE
    parts = [f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.0f}" height="{BAR - 2}" fill="{COLOURS.get(name, "#333")}"/>']
    if high <= MOST and name != BASE:
        at = y + BAR / 2 - 1
        parts.append(f'<path d="M{LEFT + low * SCALE:.0f} {at}H{LEFT + high * SCALE:.0f}" stroke="#212529"/>')
        end = LEFT + high * SCALE
    arrow = " →" if middle > MOST else ""
    parts.append(label(end + 5, y + BAR - 3, f"{middle:.2f}{arrow}", "start"))
    return parts


def legend():
    parts, x = [label(8, 20, f"CPU per request, {BASE} = 1", "start")], LEFT
    for name, colour in COLOURS.items():
        parts.append(f'<rect x="{x}" y="10" width="12" height="12" fill="{colour}"/>')
        parts.append(label(x + 17, 20, name, "start"))
        x += 95
    parts.append(f'<path d="M{x + 6} 8V24" stroke="#c92a2a" stroke-width="2"/>')
    parts.append(label(x + 14, 20, "goal", "start"))
    return "".join(parts)


def label(x, y, text, anchor):
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="#212529">{text}</text>'
