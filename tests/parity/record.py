"""Writes the records of parity that the packages carry: ``python -m tests.parity.record``.

Holds the code against the shipped files and those of the folder ``STKIT_GOLDENS``. A file that is in a record, is not
shipped and is in neither folder keeps its row.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from stkit.plugin.parity import Parity, as_record

from .adapters.registry import adapter_of
from .golden import TOLERANCE, Golden

ROOT = Path(__file__).parents[2]
SHIPPED = Path(__file__).parent / "goldens"
FOLDER = Path(os.environ.get("STKIT_GOLDENS") or SHIPPED)

RECORDS = {
    "attention": ROOT / "stkit/modules/attention/parity.json",
    "convlstm": ROOT / "plugins/stkit-convlstm/stkit_convlstm/parity.json",
    "e3d_lstm": ROOT / "plugins/stkit-e3d-lstm/stkit_e3d_lstm/parity.json",
    "mim": ROOT / "plugins/stkit-mim/stkit_mim/parity.json",
    "patch": ROOT / "plugins/stkit-predrnn/stkit_predrnn/parity.json",
    "predrnn": ROOT / "plugins/stkit-predrnn/stkit_predrnn/parity.json",
    "predrnnpp": ROOT / "plugins/stkit-predrnnpp/stkit_predrnnpp/parity.json",
}
"""By the module of the adapter: the record of the plugin whose code it drives. Patches are PredRNN's."""

REPOSITORIES = {
    "MIM": "Yunbo426/MIM",
    "OpenSTL": "chengtan9907/OpenSTL",
    "SA-tsugumi": "tsugumi-sys/SA-ConvLSTM-Pytorch",
    "e3d_lstm": "google/e3d_lstm",
    "predrnn-pp": "Yunbo426/predrnn-pp",
    "predrnn-pytorch": "thuml/predrnn-pytorch",
}
"""By the name in the files."""


def record_of(file_name: str) -> Path | None:
    """The record to which a file belongs; None where nothing holds it against our code."""
    adapter = adapter_of(file_name)
    return None if adapter is None else RECORDS[adapter.__module__.rpartition(".")[2]]


def row_of(golden: Golden) -> Parity:
    """What is to be said of a file that was held against our code."""
    kinds = {golden.tensors[name].dtype for name, _ in golden.errors}
    return Parity(
        file=golden.path.name,
        repository=REPOSITORIES[golden.said["repo"]],
        commit=golden.said["commit"][:12],
        part=golden.said["cls"],
        shipped=(SHIPPED / golden.path.name).exists(),
        tensors=len(golden.errors),
        dtype=" and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds)),
        largest_error=float(f"{golden.worst[1]:.1e}"),
        limit=TOLERANCE,
    )


def rows_in(record: Path) -> list[dict[str, Any]]:
    """The rows that a record has."""
    return json.loads(record.read_text(encoding="utf-8"))["rows"] if record.exists() else []


def main() -> None:
    """Measure, and write."""
    torch.set_num_threads(1)
    files = {path.name: path for folder in (FOLDER, SHIPPED) for path in folder.glob("*.safetensors")}
    measured: dict[Path, list[dict[str, Any]]] = {record: [] for record in RECORDS.values()}
    for name in sorted(files):
        adapter, record = adapter_of(name), record_of(name)
        if adapter is None or record is None:
            print(f"{name}: nothing holds it against the code here")
            continue
        golden = Golden.read(files[name])
        adapter(golden)
        if golden.forgotten() or not golden.worst[1] <= TOLERANCE:
            raise SystemExit(f"{name}: {golden.worst} of at most {TOLERANCE}; forgotten: {golden.forgotten()}")
        measured[record].append(asdict(row_of(golden)))
        print(f"{name}: {len(golden.errors)} tensors, {golden.worst[1]:.1e}")
    for record, rows in measured.items():
        kept = [row for row in rows_in(record) if row["file"] not in files and not row["shipped"]]
        record.write_text(as_record(sorted([*rows, *kept], key=lambda row: row["file"])), encoding="utf-8")


if __name__ == "__main__":
    main()
