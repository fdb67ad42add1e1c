"""How fast rows are rendered, beside Go's own text/template and beside Jinja2.

All three render the same rows in one run, in turns, and the least CPU time of all turns counts. The SHA-256 of
everything that was rendered must be the same for Go and for us. Jinja2 gets a template of the same meaning, without
Go's rules for numbers; it shows what another compiled template language of Python needs.

    python bench/gotemplate.py            100,000 rows, 5 turns
    python bench/gotemplate.py --quick    2,000 rows, 1 turn

Go comes with `uv sync --group bench`. The goals are those for `simple` and `medium`; the other templates show that
nothing else is slow.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2

from gristmill import gotemplate
from harness import machine, number, scratch, table, verdict

GO = Path(sys.executable).with_name("go")
SOURCE = Path(__file__).parent / "gotemplate_go"
GOALS = {"simple": 0.75, "medium": 0.5}
ROWS, TURNS = 100_000, 5

SIMPLE = "{{.name}} from {{.city}}, {{.state}}: {{.about}}"
MEDIUM = """## {{.name}}
{{.city}}{{if .state}}, {{.state}}{{end}}
{{if gt .price 100.0}}Premium: {{printf "%.2f" .price}} USD{{else if .price}}{{printf "%8.2f" .price}} USD\
{{else}}free{{end}}; {{if .stock}}{{.stock}} in stock{{else}}sold out{{end}}
{{with .about}}{{.}}{{end}}
{{range $i, $tag := .tags}}{{if $i}}, {{end}}{{$tag}}{{else}}(no tags){{end}}
{{.url}}"""
CARD = """<a href="{{.url | html}}?q={{urlquery .name}}">{{.name | html}}</a>
{{- $state := index . "state"}}{{if and $state (ne $state "TX")}} ({{$state}}){{end}}
{{- if or (eq .city "Austin" "Boise") (lt .stock 10)}} near{{end}}
{{len .about}} {{slice .about 0 10}} {{print .stock " pieces"}}"""
ORDERS = """{{range .orders}}- {{.item}}: {{printf "%d x %8.2f" .count .price}}{{if .note}} ({{.note}}){{end}}
{{else}}no orders{{end}}"""
PARTS = """{{define "place"}}{{.city}}{{with .state}}, {{.}}{{end}}{{end -}}
{{template "place" .}} | {{template "place" .shop}}"""
FIRST = ["Anna", "José", "Chloë", "Mehmet", "Siobhán", "Rahul", "Zoë", "Ivan", "Maria", "Li"]
LAST = ["Müller", "O'Brien", "García", "Smith", "Nguyen", "Berg", "Kim", "Silva", "Rossi", "Novák"]
PLACES = [("Austin", "TX"), ("Portland", "OR"), ("New York", "NY"), ("Zürich", ""), ("San José", "CA"), ("Boise", "ID")]
WORDS = ["fast", "reliable", "café", "&", "wholesale", '"premium"', "local", "family-owned", "organic", "repair", "24h"]
TAGS = ["food", "retail", "b2b", "online", "vip", "new", "export", "service"]
TEMPLATES = {"simple": SIMPLE, "medium": MEDIUM, "card": CARD, "orders": ORDERS, "parts": PARTS}
JINJA = {
    "simple": "{{name}} from {{city}}, {{state}}: {{about}}",
    "medium": """## {{name}}
{{city}}{% if state %}, {{state}}{% endif %}
{% if price > 100.0 %}Premium: {{'%.2f'|format(price)}} USD{% elif price %}{{'%8.2f'|format(price)}} USD\
{% else %}free{% endif %}; {% if stock %}{{stock}} in stock{% else %}sold out{% endif %}
{% if about %}{{about}}{% endif %}
{% for tag in tags %}{% if not loop.first %}, {% endif %}{{tag}}{% else %}(no tags){% endfor %}
{{url}}""",
}


FLAT = ("simple", "medium", "card")
"""Templates over flat rows of eight columns; the others go over nested ones."""


def flat_rows(count: int) -> list[dict[str, Any]]:
    """Rows of a catalogue; the same each time."""
    rand = random.Random(7)
    rows: list[dict[str, Any]] = []
    for n in range(count):
        city, state = rand.choice(PLACES)
        rows.append(
            {
                "name": f"{rand.choice(FIRST)} {rand.choice(LAST)}",
                "city": city,
                "state": state,
                "about": " ".join(rand.choice(WORDS) for _ in range(rand.randint(6, 14))),
                "price": round(rand.uniform(1, 500), 2),
                "stock": rand.randint(0, 900),
                "tags": rand.sample(TAGS, rand.randint(0, 4)),
                "url": f"https://example.com/p/{n}",
            }
        )
    return rows


def nested_rows(count: int) -> list[dict[str, Any]]:
    """Rows with maps and lists in them; the same each time."""
    rand = random.Random(8)

    def place() -> dict[str, str]:
        return dict(zip(("city", "state"), rand.choice(PLACES), strict=True))

    def order() -> dict[str, Any]:
        item, count, price = rand.choice(WORDS), rand.randint(1, 9), rand.uniform(1, 99)
        return {"item": item, "count": count, "price": price, "note": rand.choice(["", "gift"])}

    return [{**place(), "shop": place(), "orders": [order() for _ in range(rand.randint(0, 4))]} for _ in range(count)]


def least_ns(render: Callable[[], Sequence[str]], count: int) -> tuple[float, str]:
    """CPU time per row, and the hash of the output."""
    gc.collect()
    start = time.process_time_ns()
    texts = render()
    spent = time.process_time_ns() - start
    return spent / count, hashlib.sha256("".join(texts).encode("utf-8", "surrogateescape")).hexdigest()


def build_go(folder: Path) -> Path:
    """Compile Go's side."""
    program = folder / "bench"
    env = {**os.environ, "GOCACHE": str(folder / "cache"), "GOPATH": str(folder / "path"), "GOFLAGS": "-mod=mod"}
    subprocess.run([GO, "build", "-o", program, "."], cwd=SOURCE, env=env, check=True)
    return program


class Times:
    """The least time of each template, and what was rendered."""

    def __init__(self) -> None:
        self.ns: dict[str, float] = {}
        self.hash: dict[str, str] = {}

    def add(self, name: str, ns: float, digest: str) -> None:
        """One turn."""
        self.ns[name] = min(ns, self.ns.get(name, ns))
        self.hash[name] = digest


def measure(folder: Path, count: int, turns: int) -> tuple[Times, Times, Times]:
    """Go, Gristmill and Jinja2, in turns."""

    program = build_go(folder)
    go, ours, jinja = Times(), Times(), Times()
    sets = [
        (flat_rows(count), [name for name in TEMPLATES if name in FLAT]),
        (nested_rows(count), [name for name in TEMPLATES if name not in FLAT]),
    ]
    for rows, names in sets:
        file = folder / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        paths = [folder / f"{name}.tmpl" for name in names]
        for path in paths:
            path.write_text(TEMPLATES[path.stem], encoding="utf-8")
        for _ in range(turns):
            done = subprocess.run([program, file, "1", *paths], check=True, capture_output=True, text=True)
            for line in done.stdout.splitlines():
                found = json.loads(line)
                go.add(found["name"], found["cpu_ns"], found["sha256"])
            for name in names:
                template = gotemplate.compile(TEMPLATES[name])
                ours.add(name, *least_ns(partial(template.render_many, rows), count))
            for name in set(names) & set(JINJA):
                peer = jinja2.Environment(autoescape=False).from_string(JINJA[name])
                jinja.add(name, *least_ns(partial(list, map(peer.render, rows)), count))
    return go, ours, jinja


def main() -> None:
    """Measure and print; the exit code is 1 when the output is not Go's."""
    parser = argparse.ArgumentParser(description="CPU time per rendered row.")
    parser.add_argument("--quick", action="store_true", help="2,000 rows, one turn")
    options = parser.parse_args()
    if not GO.exists() or shutil.which(GO) is None:
        sys.exit("Go is not there: uv sync --group bench")
    count, turns = (2_000, 1) if options.quick else (ROWS, TURNS)
    print(f"Templates: {count:,} rows, {turns} turns, CPU ns per row. {machine()}\n")
    with scratch() as folder:
        go, ours, jinja = measure(folder, count, turns)
    lines = []
    for name in TEMPLATES:
        ratio = ours.ns[name] / go.ns[name]
        goal = verdict(ratio, GOALS[name], at_most=True) if name in GOALS else ""
        beside = f"{jinja.ns[name] / ours.ns[name]:.1f} x" if name in jinja.ns else ""
        same = "same" if ours.hash[name] == go.hash[name] else "DIFFERENT"
        lines.append((name, number(go.ns[name]), number(ours.ns[name]), f"{ratio:.2f}", goal, beside, same))
    head = ("template", "Go", "gristmill", "ratio", "goal", "faster than Jinja2", "output")
    print(table(head, lines))
    sys.exit(any(line[-1] != "same" for line in lines))


if __name__ == "__main__":
    main()
