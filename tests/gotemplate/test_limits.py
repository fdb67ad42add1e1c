"""Hostile templates: each ends in a `TemplateError` soon, in little memory; none crashes or hangs."""

from __future__ import annotations

import gc
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from gristmill import gotemplate
from gristmill.gotemplate import HELPERS, TemplateError

SECONDS = 1.0
"""CPU time; the limit of a row is 0.3 s, and a row that fails is rendered twice."""
MEASURABLE = os.access("/proc/self/clear_refs", os.W_OK)
BYTES = 64 * 1024 * 1024
ROW: dict[str, Any] = {
    "text": "x" * 100_000,
    "same": "x" * 100_000,
    "wide": "é" * 50_000,
    "list": list(range(20_000)),
    "map": {str(n): n for n in range(20_000)},
}

HOSTILE = {
    "a long range": "{{range 1000000000}}x{{end}}",
    "ranges in ranges": "{{range 60}}{{range 60}}{{range 60}}{{range 60}}{{end}}{{end}}{{end}}{{end}}",
    "a range in a range": "{{range .list}}{{range $.list}}{{end}}{{end}}",
    "a map in a range": "{{range 10000000}}{{range $.map}}{{break}}{{end}}{{end}}",
    "calls itself": '{{define "a"}}{{template "a" .}}{{end}}{{template "a" .}}',
    "calls itself twice": '{{define "a"}}{{template "a" .}}{{template "a" .}}{{end}}{{template "a" .}}',
    "halves by calls": '{{define "a"}}{{if .}}{{template "a" (slice . 1)}}{{template "a" (slice . 1)}}{{end}}{{end}}'
    '{{template "a" "' + "x" * 60 + '"}}',
    "doubles by calls": "".join(
        f'{{{{define "a{n}"}}}}{{{{template "a{n + 1}" .}}}}{{{{template "a{n + 1}" .}}}}{{{{end}}}}' for n in range(40)
    )
    + '{{define "a40"}}x{{end}}{{template "a0" .}}',
    "calls in a circle": "".join(
        f'{{{{define "x{n}"}}}}{{{{template "x{(n + 1) % 500}" .}}}}{{{{end}}}}' for n in range(500)
    )
    + '{{template "x0" .}}',
    "a wide verb": '{{printf "' + "%1000000d" * 500 + '" 1}}',
    "wide operands": '{{printf "%*d" 1000000 1}}' * 50,
    "a wide verb for a list": '{{printf "%1000d" .list}}',
    "text that doubles": '{{$x := "aaaaaaaaaaaaaaaa"}}' + "{{$x = print $x $x}}" * 60,
    "variables that double": '{{$v0 := "😀😀😀😀"}}'
    + "".join(f"{{{{$v{n + 1} := print $v{n} $v{n}}}}}" for n in range(60)),
    "text that is escaped again": '{{$x := "&&&&&&&&"}}' + "{{$x = html $x $x}}" * 60,
    "comparing long texts": "{{range 10000000}}{{if eq $.text $.same}}{{end}}{{end}}",
    "measuring long texts": "{{range 10000000}}{{if len $.wide}}{{end}}{{end}}",
    "cutting long texts": "{{range 10000000}}{{if slice $.wide 2}}{{end}}{{end}}",
    "printing the row": "{{.}}" * 1500,
    "printing a long text": "{{.text}}" * 1500,
    "blocks in blocks": "{{if 1}}" * 2000 + "{{end}}" * 2000,
    "ranges in ranges, many": "{{range .list}}" * 60 + "{{end}}" * 60,
    "parentheses": "{{" + "(" * 50_000 + "1" + ")" * 50_000 + "}}",
    "a long chain": "{{.a" + ".b" * 50_000 + "}}",
    "a long pipe": "{{.a" + " | print" * 20_000 + "}}",
    "many actions": "{{.a}}" * 40_000,
    "a long text": "x" * 300_000,
    "a long number": "{{" + "9" * 100_000 + "}}",
    "a long hexadecimal number": "{{0x" + "f" * 100_000 + "}}",
    "a long complex number": "{{1+" + "1" * 100_000 + "i}}",
    "quotes that do not end": '{{"' + "\\a" * 100_000,
    "delimiters": "{{" * 100_000,
}
BY_HELPERS = {
    "repeat": "{{repeat 100000000 .text}}",
    "repeat in a row": '{{$x := repeat 1000000 "a"}}' * 50,
    "replace": '{{replace "x" .text .text}}',
    "indent": "{{indent 1000000000 .text}}",
    "join": "{{join .text .list}}",
    "lists that double": "{{$l := list 1}}{{range 1000}}{{$l = list $l $l}}{{end}}{{$l}}",
    "maps that double": '{{$l := dict}}{{range 1000}}{{$l = dict "a" $l "b" $l}}{{end}}{{toJson $l}}',
    "sorting again and again": "{{range 10000000}}{{$x := sortAlpha $.list}}{{end}}",
    "JSON again and again": "{{range 10000000}}{{$x := toJson $.map}}{{end}}",
    "numbers that grow": "{{$x := 3}}{{range 1000}}{{$x = mul $x $x}}{{end}}",
    "a number of many digits": "{{int .text}}",
    "rounding": "{{round 1.5 1000000000}}",
}


def memory(name: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` at most since `forget_peak`."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def forget_peak() -> int:
    """Let the peak start anew; answers the memory in use now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def cost(text: str, functions: Any) -> tuple[float, int]:
    """CPU seconds and peak memory of a template that must fail."""
    before = forget_peak() if MEASURABLE else 0
    start = time.process_time()
    with pytest.raises(TemplateError):
        gotemplate.compile(text, functions=functions).render(ROW)
    seconds = time.process_time() - start
    return seconds, memory("VmHWM") - before if MEASURABLE else 0


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_template_ends_soon(text: str) -> None:
    seconds, peak = cost(text, None)
    assert seconds < SECONDS
    assert peak < BYTES


@pytest.mark.parametrize("text", BY_HELPERS.values(), ids=BY_HELPERS)
def test_a_hostile_use_of_helpers_ends_soon(text: str) -> None:
    seconds, peak = cost(text, HELPERS)
    assert seconds < SECONDS
    assert peak < BYTES


def test_a_limit_is_told_with_its_place_and_what_was_written() -> None:
    with pytest.raises(TemplateError) as caught:
        gotemplate.compile("a\n{{range 5}}b{{end}}{{range 100000000}}c{{end}}").render({})
    assert caught.value.line == 2
    assert caught.value.partial.startswith("a\nbbbbbc")
    assert "executing" in caught.value.message


def test_what_is_large_but_honest_is_rendered() -> None:
    row = {"rows": [{"n": n, "t": f"name {n}"} for n in range(5_000)], "long": "word " * 20_000}
    text = gotemplate.compile("{{range .rows}}{{.n}}: {{.t | html}}\n{{end}}{{.long}}").render(row)
    assert text.count("\n") == 5_000
    assert len(text) > 150_000
    deep = gotemplate.compile("{{if .rows}}" * 30 + "x" + "{{end}}" * 30).render(row)
    assert deep == "x"
    chain = "{{if .gone}}" + "".join(f"{{{{else if eq .rows0 {n}}}}}{n}" for n in range(800)) + "{{else}}none{{end}}"
    assert gotemplate.compile(chain).render({"rows0": 777}) == "777"
    chain = "{{with .gone}}" + "".join(f"{{{{else with .b{n}}}}}{{{{.}}}}" for n in range(700)) + "{{end}}"
    assert gotemplate.compile(chain).render({"b699": "found"}) == "found"
    tree: dict[str, Any] = {"name": "leaf"}
    for n in range(100):
        tree = {"name": f"node {n}", "next": tree}
    walk = '{{define "walk"}}{{.name}};{{with .next}}{{template "walk" .}}{{end}}{{end}}{{template "walk" .}}'
    assert gotemplate.compile(walk).render(tree).count(";") == 101


def test_deep_data_is_refused_and_does_not_crash() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for text in ("{{.}}", "{{range .}}{{.}}{{end}}", "{{printf `%v` .}}", "{{toJson .}}", "{{uniq .}}", "{{eq . 1}}"):
        with pytest.raises(TemplateError):
            gotemplate.compile(text, functions=HELPERS).render(deep)
    while deep:  # taken apart here, since its deallocation nests as deep
        deep = deep.pop()
