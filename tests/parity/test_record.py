"""The records that the packages carry say what the tests hold, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stkit.api import Paper
from stkit.errors import PluginError
from stkit.plugin.manager import plugins
from stkit.plugin.parity import parity_of
from stkit.plugin.resource import find_resource

from .golden import TOLERANCE
from .record import RECORDS, REPOSITORIES, SHIPPED, record_of, rows_in

ROWS = [row for record in dict.fromkeys(RECORDS.values()) for row in rows_in(record)]
PAPERS = {
    spec.paper for kind in ("cells", "stacks", "modules") for spec in plugins().specs(kind) if spec.paper is not None
}


def test_the_shipped_files_are_those_that_are_recorded_as_shipped() -> None:
    shipped = sorted(path.name for path in SHIPPED.glob("*.safetensors"))
    assert sorted(row["file"] for row in ROWS if row["shipped"]) == shipped
    assert len({row["file"] for row in ROWS}) == len(ROWS) > len(shipped), "a fuller set was held, too"


@pytest.mark.parametrize("record", dict.fromkeys(RECORDS.values()), ids=lambda record: record.parent.name)
def test_a_record_has_the_rows_of_its_plugin_within_the_limit(record: Path) -> None:
    rows = rows_in(record)
    assert rows
    for row in rows:
        assert record_of(row["file"]) == record
        assert row["limit"] == TOLERANCE
        assert 0 <= row["largest_error"] <= row["limit"]
        assert row["dtype"] in ("float64", "float32 and float64"), "a third party's peepholes are float32 in its files"


def test_every_plugin_with_a_record_names_it() -> None:
    named = {find_resource(paper.parity) for paper in PAPERS if paper.parity}
    assert named == set(RECORDS.values())
    read = {row.file for paper in PAPERS for row in parity_of(paper)}
    assert read == {row["file"] for row in ROWS}


def test_the_sources_are_on_the_page_about_the_files() -> None:
    page = (SHIPPED / "README.md").read_text(encoding="utf-8")
    for row in ROWS:
        assert row["repository"] in page
        assert row["commit"] in page
    assert {row["repository"] for row in ROWS} == set(REPOSITORIES.values())


def paper(parity: str) -> Paper:
    return Paper("A title", "An author", 2019, parity=parity)


def test_a_record_that_is_not_there_or_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parity_of(None) == parity_of(paper("")) == ()
    for missing in ("stkit_mim:nowhere.json", "no_such_package:parity.json"):
        with pytest.raises(PluginError, match=f"the parity record '{missing}' of 'A title' is not there"):
            parity_of(paper(missing))
    (tmp_path / "odd_package").mkdir()
    (tmp_path / "odd_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    for text in ("{", "{}", "[]", json.dumps({"rows": [{"file": "a"}]})):
        (tmp_path / "odd_package" / "parity.json").write_text(text)
        with pytest.raises(
            PluginError, match=r"cannot be read: .*; it is JSON with 'rows', each with file, repository"
        ):
            parity_of(paper("odd_package:parity.json"))
