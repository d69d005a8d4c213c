"""What each form of attention costs on grids of 32 x 32 to 128 x 128 cells: time, and memory at its highest.

    python benchmarks/attention.py            print a table
    python benchmarks/attention.py --record   also keep it in docs/records/attention/cost.json, for the documentation

One step of a place with 32 channels, forward and backward, one sample, in float32 on the processor. Each measurement
is a process of its own; the memory is what it takes beyond its inputs and parameters at the highest.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RECORD = Path(__file__).resolve().parents[1] / "docs" / "records" / "attention" / "cost.json"
CHANNELS = 32
SIDES = (32, 64, 96, 128)
FORMS: dict[str, dict[str, Any]] = {
    "self_attention": {},
    "self_attention, 4 heads, rotary": {"heads": 4, "positions": "rotary"},
    "self_attention_memory": {},
    "self_attention_memory, window 8": {"window": 8},
    "windowed_attention, window 8": {"window": 8},
    "axial_attention": {},
    "recall, 5 memories": {"tau": 5},
    "recall, 5 memories, averaged over 4 x 4": {"tau": 5, "pool": 4},
}


def measure(form: str, side: int) -> dict[str, Any]:
    """Milliseconds of the fastest step, of three or as many as take ten seconds, and MiB at the highest.

    It is the processor's time on one core, which says the same on a machine that is busy with other work.
    """
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    step = build(form)
    signal = torch.randn(1, CHANNELS, side, side, requires_grad=True)
    step(torch.randn(1, CHANNELS, 8, 8, requires_grad=True))  # what the first call of anything loads
    before = resident("VmRSS")
    forget_peak()
    times: list[float] = []
    while len(times) < 3 and sum(times) < 10:
        start = time.process_time()
        step(signal)
        times.append(time.process_time() - start)
    return {"milliseconds": 1000 * min(times), "mebibytes": (resident("VmHWM") - before) / 1024}


def build(form: str) -> Callable[[Any], None]:
    """A step of that form on a signal: forward, and the gradients of all parameters and of the signal."""
    import torch

    from stkit.cells import AttachmentSite, TransitionSite, elapsed
    from stkit.plugin.manager import plugins

    name = form.partition(",")[0]
    slot = "transition" if name == "recall" else "attention"
    spec = plugins().resolve("modules", name, slot=slot)
    config = spec.load_config()(name=name, **({"norm": None} if slot == "transition" else {}), **FORMS[form])
    site: Any = AttachmentSite(CHANNELS)
    if slot == "transition":
        site = TransitionSite(CHANNELS, CHANNELS, {}, None, None)
    module = spec.load_target().from_config(config, site)

    def step(signal: torch.Tensor) -> None:
        state = module.initial_state(1, *signal.shape[-2:])
        if slot == "transition":  # with all memories there
            rooms = {name: torch.randn_like(room) for name, room in state.items() if name != "taken"}
            state = {**rooms, "taken": state["taken"] + config.tau}
            with elapsed.after(config.tau):  # as a stack says
                out = module(signal, torch.zeros_like(signal), None, state, {})[0]
        else:
            out = module(signal, state)[0]
        out.square().mean().backward()
        module.zero_grad()
        signal.grad = None

    return step


def resident(what: str) -> int:
    """KiB of this process in memory, now (``VmRSS``) or at the highest (``VmHWM``)."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(what + ":"))


def processor() -> str:
    """Its name."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")


def forget_peak() -> None:
    """Let ``VmHWM`` start anew."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def measured(form: str, side: int) -> dict[str, Any]:
    """As :func:`measure`, in a process of its own."""
    command = [sys.executable, __file__, "--one", form, str(side)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {"form": form, "side": side, **json.loads(found)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="keep the results for the documentation")
    parser.add_argument("--one", nargs=2, metavar=("FORM", "SIDE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], int(arguments.one[1]))))
        return 0
    rows = []
    for form in FORMS:
        for side in SIDES:
            rows.append(measured(form, side))
            last = rows[-1]
            print(f"{form:<42} {side:>4} {last['milliseconds']:>10.1f} ms {last['mebibytes']:>9.1f} MiB", flush=True)
    if arguments.record:
        import torch

        about = {
            "date": datetime.now(UTC).date().isoformat(),
            "platform": platform.platform(),
            "processor": processor(),
            "torch": torch.__version__,
            "channels": CHANNELS,
        }
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
