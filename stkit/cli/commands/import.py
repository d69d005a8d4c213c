"""``stkit import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from stkit.cli.output import json_option, print_json
from stkit.errors import UsageError

if TYPE_CHECKING:
    from stkit.interop.imported import Imported


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, metavar="RUN", help="Run directory to make."
)
@click.option(
    "--patch-size", type=int, metavar="N", help="Side in cells of the source's patches, where it is not in FILE."
)
@click.option("--size", metavar="HxW", help="Height and width of a frame in cells, where they are not in FILE.")
@click.option("--channels", type=int, metavar="N", help="Channels of a frame. Default: 1, or one for each --variable.")
@click.option(
    "--semantics", metavar="VERSION", help="openstl-0.3 (the published weights) or openstl-1.0, where they differ."
)
@click.option("--input-steps", type=int, metavar="N", help="Frames given. Default: as in FILE, or 10.")
@click.option("--horizon", type=int, metavar="N", help="Frames forecast. Default: as in FILE, or 10.")
@click.option("--mean", metavar="A[,B..]", help="What the source subtracts from each channel of the frames.")
@click.option("--std", metavar="A[,B..]", help="What the source then divides each channel by.")
@click.option(
    "--variable",
    "variables",
    multiple=True,
    metavar="NAME[:UNITS]",
    help="Name and units of a channel in your files, for `stkit predict`; once for each channel.",
)
@json_option
def command(
    source: str,
    file: Path,
    out: Path,
    patch_size: int | None,
    size: str | None,
    channels: int | None,
    semantics: str | None,
    input_steps: int | None,
    horizon: int | None,
    mean: str | None,
    std: str | None,
    variables: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a run of weights from a reference implementation, to forecast with.

    SOURCE is openstl, predrnn-pytorch, predrnn-pp, mim or e3d-lstm. FILE is what torch.save wrote (.pth, .ckpt),
    .safetensors, or for the TensorFlow sources an .npz of the variables by name. It is read without running code from
    it. The architecture, its widths, kernels, norms and layers are read from the parameters.

    \b
    Examples:
        stkit import openstl predrnn_mmnist.pth -o runs/predrnn --patch-size 4 --size 64x64
        stkit import openstl convlstm.pth -o runs/convlstm --patch-size 4 --size 64 --semantics openstl-0.3
        stkit import predrnn-pp variables.npz -o runs/predrnnpp --patch-size 4 --size 64
    """
    from stkit.interop.imported import Options
    from stkit.interop.run import import_weights

    named = [_variable(text) for text in variables]
    imported = import_weights(
        source,
        file,
        out,
        Options(
            patch_size=patch_size,
            size=None if size is None else _size(size),
            channels=channels or len(named) or None,
            input_steps=input_steps,
            horizon=horizon,
            semantics=semantics,
            mean=_numbers("--mean", mean),
            std=_numbers("--std", std),
        ),
        variables=named,
    )
    told = _told(imported, out)
    if as_json:
        print_json(told)
    else:
        _print(imported, told)


def _told(imported: Imported, out: Path) -> dict[str, Any]:
    return {
        "run": str(out),
        "architecture": imported.architecture.title,
        "semantics": imported.semantics,
        "parameters": sum(value.numel() for value in imported.values.values()),
        "patch_size": imported.patch_size,
        "size": imported.size,
        "channels": imported.channels,
        "input_steps": imported.input_steps,
        "horizon": imported.horizon,
        "dropped": dict(imported.dropped),
        "notes": list(imported.notes),
    }


def _print(imported: Imported, told: dict[str, Any]) -> None:
    assert imported.size is not None, "a run is made for a size"
    height, width = imported.size
    semantics = f" ({imported.semantics})" if imported.semantics else ""
    click.echo(f"{told['run']}: {told['architecture']}{semantics}, {told['parameters']:,} parameters")
    click.echo(
        f"frames {imported.channels} x {height} x {width}, patches of {imported.patch_size}, "
        f"{imported.input_steps} in, {imported.horizon} out"
    )
    if imported.dropped:
        click.echo("left out of the file:")
        for reason, names in _by_reason(imported.dropped).items():
            click.echo(f"  {reason}: {', '.join(names)}")
    for note in imported.notes:
        click.echo(f"note: {note}", err=True)


def _by_reason(dropped: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, reason in sorted(dropped.items()):
        found.setdefault(reason, []).append(name)
    return found


def _variable(text: str) -> tuple[str, str]:
    name, _, units = text.partition(":")
    if not name:
        raise UsageError(f"--variable {text!r}: expected NAME or NAME:UNITS, such as sst:degC")
    return name, units or "1"


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) not in (1, 2) or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--size {text!r}: expected HEIGHTxWIDTH in cells, such as 64x64, or one number for a square")
    return int(parts[0]), int(parts[-1])


def _numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{flag} {text!r}: expected a number, or one for each channel with commas between") from None
