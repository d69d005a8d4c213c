"""What the page on seeing inside says of a run is what was found in it."""

from __future__ import annotations

import json
import re

from tests.docs.pages import DOCS

PAGE = (DOCS / "guides" / "diagnosing.md").read_text(encoding="utf-8")
SHOWN = re.compile(r"<!-- diagnosis: (?P<name>[\w-]+) -->\n```text\n(?P<text>.*?)```", re.DOTALL)


def test_the_findings_are_those_of_the_record():
    blocks = list(SHOWN.finditer(PAGE))
    assert blocks
    for block in blocks:
        record = json.loads((DOCS / "records" / "diagnosis" / f"{block['name']}.json").read_text(encoding="utf-8"))
        told = [record["looked_at"], *(f"{one['about']} {one['text']}" for one in record["findings"])]
        assert block["text"].split() == " ".join(told).split()


def test_what_the_page_concludes_is_what_was_found():
    for name in ("mim-mnist-small", "predrnn-mnist-small"):
        record = json.loads((DOCS / "records" / "diagnosis" / f"{name}.json").read_text(encoding="utf-8"))
        gates = record["gates"]["memories"]
        assert all(found["saturated"] < record["gates"]["claim"]["share"] / 2 for found in gates.values()), (
            "they are open"
        )
        assert {one["verdict"] for one in record["stationarity"]["made_minus_read"]} <= {"less"}
