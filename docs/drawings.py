"""The drawings of the papers' ideas, one for each page in ``docs/cells/``, and of what stands around a network.

    python docs/drawings.py write     write docs/_static/<name>.svg
    python docs/drawings.py check     exit 1 if a file differs

Colours mean the same in all of them: what rises within a step, what stays with its layer, what returns from the top.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from html import escape
from pathlib import Path

STATIC = Path(__file__).resolve().parent / "_static"
WIDTH = 790

STYLE = """\
  .bg { fill: #ffffff; }
  .cell { fill: #eef2f7; stroke: #51606f; stroke-width: 1.4; }
  .frame { fill: #f8fafc; stroke: #c3ccd5; stroke-width: 1.2; }
  .io { fill: #ffffff; stroke: #9aa6b2; stroke-width: 1.2; stroke-dasharray: 4 3; }
  text { font: 15px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2933; text-anchor: middle; }
  .small { font-size: 13px; fill: #51606f; }
  .rises { stroke: #0a7d91; fill: none; stroke-width: 2.4; }
  .stays { stroke: #b4540a; fill: none; stroke-width: 2.4; }
  .returns { stroke: #7a3fb5; fill: none; stroke-width: 2.4; }
  .t-rises { fill: #0a7d91; font-weight: 600; }
  .t-stays { fill: #b4540a; font-weight: 600; }
  .t-returns { fill: #7a3fb5; font-weight: 600; }
  .h-rises { fill: #0a7d91; } .h-stays { fill: #b4540a; } .h-returns { fill: #7a3fb5; }
  .start { text-anchor: start; } .end { text-anchor: end; }"""
HEADS = {"rises": "a", "stays": "b", "returns": "c"}


class Drawing:
    """Boxes, arrows and words on a white sheet."""

    def __init__(self, title: str, told: str, height: int) -> None:
        self.title, self.told, self.height = title, told, height
        self.parts: list[str] = []

    def box(self, x: float, y: float, w: float, h: float, text: str, kind: str = "cell") -> None:
        """A rounded rectangle around ``x y``, its centre."""
        self.parts.append(
            f'<rect class="{kind}" x="{x - w / 2:g}" y="{y - h / 2:g}" width="{w:g}" height="{h:g}" rx="6"/>'
        )
        if text:
            self.text(x, y + 5, text)

    def frame(self, x: float, y: float, w: float, h: float, text: str, *, low: bool = False) -> None:
        """A large box with its name in the top left corner, or the low one; ``x y`` is the top left corner."""
        self.parts.append(f'<rect class="frame" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="10"/>')
        self.text(x + 12, y + h - 10 if low else y + 20, text, "small start")

    def arrow(self, path: str, kind: str) -> None:
        """A line along an SVG path, with a head at its end."""
        self.parts.append(f'<path class="{kind}" marker-end="url(#{HEADS[kind]})" d="{path}"/>')

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        """Words; ``_`` and ``^`` set the next letter, or what stands in braces, low or high."""
        self.parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}">{spans(text)}</text>')

    def svg(self) -> str:
        """The file."""
        heads = "\n".join(
            f'  <marker id="{name}" viewBox="0 0 8 8" refX="6.5" refY="4" markerWidth="8" markerHeight="8" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path class="h-{kind}" d="M0 0 8 4 0 8z"/></marker>'
            for kind, name in HEADS.items()
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" role="img" '
            f'aria-label="{escape(self.told)}">\n<title>{escape(self.title)}</title>\n<style>\n{STYLE}\n</style>\n'
            f'<defs>\n{heads}\n</defs>\n<rect class="bg" width="{WIDTH}" height="{self.height}" rx="8"/>\n'
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )


def spans(text: str) -> str:
    """Text with low and high letters as SVG spans."""
    out, rest, shift = "", text, 0
    while rest:
        mark, rest = rest[0], rest[1:]
        if mark not in "_^":
            out += f'<tspan dy="{-shift}">{escape(mark)}</tspan>' if shift else escape(mark)
            shift = 0
            continue
        inside, rest = rest[1:].split("}", 1) if rest.startswith("{") else (rest[0], rest[1:])
        wanted = 4 if mark == "_" else -6
        out += f'<tspan dy="{wanted - shift}" font-size="11">{escape(inside)}</tspan>'
        shift = wanted
    return out


def convlstm() -> Drawing:
    """The encoder's states start the forecaster."""
    d = Drawing(
        "ConvLSTM: encoder and forecaster",
        "An encoder of two layers reads the frames. Its states are copied, layer by layer, to a forecaster of two "
        "layers without input. The states of both its layers together give each forecast.",
        390,
    )
    d.frame(20, 60, 320, 260, "encoder: reads the frames")
    d.frame(430, 60, 340, 260, "forecaster: no input", low=True)
    for x, name in ((90, "t − 1"), (250, "t")):
        d.box(x, 356, 110, 36, f"frame {name}", "io")
        for y, layer in ((265, 1), (155, 2)):
            d.box(x, y, 100, 52, f"layer {layer}")
        d.arrow(f"M{x} 338 V294", "rises")
        d.arrow(f"M{x} 239 V184", "rises")
    for x, name in ((505, "t + 1"), (665, "t + 2")):
        d.box(x, 28, 136, 36, f"forecast {name}", "io")
        for y, layer in ((265, 1), (155, 2)):
            d.box(x, y, 100, 52, f"layer {layer}")
        d.arrow(f"M{x - 22} 239 V184", "rises")
        d.arrow(f"M{x - 22} 129 V49", "rises")
        d.arrow(f"M{x + 36} 239 C{x + 84} 205 {x + 84} 105 {x + 36} 49", "rises")
    for y in (265, 155):
        d.arrow(f"M140 {y} H197", "stays")
        d.arrow(f"M300 {y} H452", "stays")
        d.arrow(f"M555 {y} H612", "stays")
    d.text(385, 205, "copies", "t-stays")
    d.text(385, 225, "of H, C", "t-stays")
    d.text(600, 352, "every layer's H, side by side, gives the frame", "small")
    return d


def predrnn() -> Drawing:
    """Two memories in one cell."""
    d = Drawing(
        "PredRNN: the spatiotemporal LSTM",
        "One cell with two memories. C stays with the layer from step to step. M comes from the layer below, and at "
        "the bottom from the top layer of the step before, and goes to the layer above. Both reach the hidden state.",
        400,
    )
    d.frame(150, 50, 490, 280, "")
    d.text(410, 72, "one layer, one step", "small")
    d.box(320, 125, 210, 46, "C = f ∘ C_{t−1} + i ∘ g")
    d.box(320, 245, 210, 46, "M = f′ ∘ M + i′ ∘ g′")
    d.box(545, 185, 150, 60, "")
    d.text(545, 181, "H = o ∘ tanh(")
    d.text(545, 201, "1×1 of [C, M])")
    d.arrow("M30 125 H212", "stays")
    d.text(80, 115, "C_{t−1}", "t-stays")
    d.arrow("M425 117 H760", "stays")
    d.text(712, 107, "C_t", "t-stays")
    d.arrow("M425 135 C448 135 448 175 467 175", "stays")
    d.arrow("M320 390 V271", "returns")
    d.text(332, 368, "M from the layer below", "t-returns start")
    d.text(332, 386, "(at the bottom: from the top layer, one step ago)", "small start")
    d.arrow("M425 245 C448 245 448 195 467 195", "returns")
    d.arrow("M215 245 C182 245 182 225 182 200 V12", "returns")
    d.text(194, 28, "M to the layer above", "t-returns start")
    d.arrow("M545 155 V12", "rises")
    d.text(557, 28, "H to the layer above", "t-rises start")
    d.arrow("M620 185 H760", "stays")
    d.text(712, 205, "H_t", "t-stays")
    d.text(80, 205, "H_{t−1}", "t-stays")
    d.arrow("M30 185 H147", "stays")
    d.arrow("M215 390 V333", "rises")
    d.text(203, 368, "X from below", "t-rises end")
    d.text(332, 296, "the gates of C see X and H_{t−1},", "small start")
    d.text(332, 315, "those of M see X and M", "small start")
    return d


def predrnnpp() -> Drawing:
    """A cascade, and a highway beside it."""
    d = Drawing(
        "PredRNN++: a cascade of memories and a gradient highway",
        "Left, in a Causal LSTM the memory C is renewed first, then M from it, then the hidden state from M: a longer "
        "way through one step. Right, a gradient highway unit between the layers is a short way through time.",
        410,
    )
    d.frame(20, 50, 390, 310, "Causal LSTM: a cascade")
    d.box(275, 305, 220, 46, "C from X, H_{t−1}, C_{t−1}")
    d.box(275, 215, 220, 46, "M from X, C, M")
    d.box(275, 125, 220, 46, "H from X, C, M")
    d.arrow("M275 400 V331", "rises")
    d.text(287, 390, "X", "t-rises start")
    d.arrow("M30 305 H162", "stays")
    d.text(92, 295, "C_{t−1}, H_{t−1}", "t-stays")
    d.arrow("M30 215 H162", "returns")
    d.text(92, 205, "M from below", "t-returns")
    d.arrow("M275 282 V241", "stays")
    d.arrow("M275 192 V151", "returns")
    d.arrow("M275 102 V14", "rises")
    d.text(287, 30, "H to the layer above", "t-rises start")
    d.text(287, 267, "C", "t-stays start")
    d.text(287, 177, "M", "t-returns start")
    d.frame(440, 50, 330, 310, "the highway: a short way through time")
    for x, name in ((530, "t − 1"), (680, "t")):
        d.box(x, 310, 100, 40, "layer 1")
        d.box(x, 225, 100, 40, "highway")
        d.box(x, 140, 100, 40, "layer 2")
        d.arrow(f"M{x} 290 V248", "rises")
        d.arrow(f"M{x} 205 V163", "rises")
        d.arrow(f"M{x} 120 V90", "rises")
        d.arrow(f"M{x} 400 V333", "rises")
        d.text(x + 10, 390, f"step {name}", "small start")
    d.arrow("M580 225 H627", "stays")
    d.arrow("M580 310 H627", "stays")
    d.arrow("M580 140 H627", "stays")
    d.arrow("M730 225 H766", "stays")
    d.arrow("M444 225 H477", "stays")
    d.text(604, 214, "z", "t-stays")
    return d


def e3d_lstm() -> Drawing:
    """Windows of frames, and memories that are looked up."""
    d = Drawing(
        "E3D-LSTM: windows of frames, and RECALL",
        "Left, the last frames are stacked as the depth of a 3-D field. Right, a recall gate is compared with the "
        "memories of the last steps at every cell of the grid; what fits is added to the last memory.",
        330,
    )
    d.frame(20, 20, 250, 290, "a window is the depth of a field")
    d.box(75, 245, 84, 58, "t − 2", "io")
    d.box(175, 245, 84, 58, "", "cell")
    d.box(190, 233, 84, 58, "t − 1, t")
    d.text(182, 296, "the last two frames", "small")
    d.arrow("M190 204 V120", "rises")
    d.box(160, 92, 180, 50, "3-D convolutions")
    d.frame(300, 20, 470, 290, "RECALL: looking back instead of forgetting")
    for k, x in enumerate((355, 435, 515)):
        d.box(x, 265, 68, 42, ("C_{t−3}", "C_{t−2}", "C_{t−1}")[k])
        d.arrow(f"M{x} 244 C{x} 212 {435 + 16 * (k - 1)} 216 {435 + 16 * (k - 1)} 188", "stays")
    d.box(435, 162, 190, 46, "softmax(r · C^{T}) · C")
    d.arrow("M250 92 H379", "rises")
    d.box(435, 92, 106, 40, "r")
    d.arrow("M435 112 V136", "rises")
    d.arrow("M530 162 H602", "stays")
    d.box(675, 162, 140, 46, "norm(C_{t−1} + ·)")
    d.arrow("M549 265 H675 V188", "stays")
    d.arrow("M675 139 V110", "stays")
    d.text(650, 98, "C = i ∘ g + norm(·)", "t-stays")
    d.text(650, 290, "no gate closes on C_{t−1}", "small")
    return d


def mim() -> Drawing:
    """Two units in place of one gate."""
    d = Drawing(
        "MIM: a memory in memory in place of the forget gate",
        "The change of the layer's input since the last step goes into MIM-N, which gives D. D and the last memory go "
        "into MIM-S, which gives T, in place of what the forget gate would keep: C is T plus input gate times g.",
        400,
    )
    d.frame(120, 50, 540, 290, "in place of f ∘ C_{t−1}")
    d.box(300, 280, 170, 56, "")
    d.text(300, 276, "MIM-N")
    d.text(300, 296, "what changes", "small")
    d.box(460, 180, 170, 56, "")
    d.text(460, 176, "MIM-S")
    d.text(460, 196, "what is left", "small")
    d.box(580, 100, 130, 46, "C = T + i ∘ g")
    d.arrow("M300 392 V311", "rises")
    d.text(312, 366, "X_t − X_{t−1}, the change of the input", "t-rises start")
    d.text(312, 384, "(or D of the layer below, as released)", "small start")
    d.arrow("M300 252 V180 H372", "rises")
    d.text(334, 170, "D", "t-rises")
    d.arrow("M300 180 V12", "returns")
    d.text(312, 28, "D to the layer above", "t-returns start")
    d.arrow("M460 152 V100 H512", "stays")
    d.text(474, 90, "T", "t-stays")
    d.arrow("M30 232 H430 V211", "stays")
    d.text(76, 222, "C_{t−1}", "t-stays")
    d.arrow("M645 100 H760", "stays")
    d.text(716, 90, "C_t", "t-stays")
    d.arrow("M385 280 H760", "stays")
    d.text(716, 270, "N, D", "t-stays")
    d.arrow("M545 180 H760", "stays")
    d.text(716, 170, "S", "t-stays")
    d.arrow("M30 280 H212", "stays")
    d.text(76, 270, "N, D", "t-stays")
    d.arrow("M30 195 H372", "stays")
    d.text(76, 185, "S", "t-stays")
    return d


def nonstationary() -> Drawing:
    """On the way in and on the way out, with one memory."""
    d = Drawing(
        "A module for non-stationary fields, around the network",
        "A frame is encoded before it goes into the layers; what the head says is decoded into the forecast. Both use "
        "one memory, which knows the level and the scale from the frames so far and stays for the next step. Where no "
        "frame comes the forecast is fed in its place.",
        310,
    )
    y = 176
    d.box(84, y, 120, 40, "frame t", "io")
    d.box(236, y, 110, 52, "encode")
    d.box(400, y, 130, 78, "")
    d.text(400, y - 2, "the network")
    d.text(400, y + 18, "layers, head", "small")
    d.box(564, y, 110, 52, "decode")
    d.box(706, y, 122, 40, "forecast t + 1", "io")
    d.arrow(f"M144 {y} H178", "rises")
    d.arrow(f"M291 {y} H332", "rises")
    d.text(313, y - 12, "z_t", "t-rises")
    d.arrow(f"M465 {y} H506", "rises")
    d.text(486, y - 12, "z_{t+1}", "t-rises")
    d.arrow(f"M619 {y} H642", "rises")
    d.arrow("M20 74 H214 V147", "stays")
    d.text(92, 62, "memory_{t−1}", "t-stays")
    d.arrow("M258 150 V74 H778", "stays")
    d.arrow("M564 74 V147", "stays")
    d.text(424, 62, "memory_t: level and scale, from the frames so far", "t-stays")
    d.text(728, 62, "stays", "t-stays")
    d.arrow(f"M706 {y + 20} V254 H236 V205", "returns")
    d.text(471, 276, "where no frame comes, the forecast is fed in its place; no statistics are taken of it", "small")
    return d


DRAWINGS: dict[str, Callable[[], Drawing]] = {
    "convlstm": convlstm,
    "predrnn": predrnn,
    "predrnnpp": predrnnpp,
    "e3d-lstm": e3d_lstm,
    "mim": mim,
    "nonstationary": nonstationary,
}


def main(arguments: list[str]) -> int:
    """The command; see the top of this file."""
    files = {STATIC / f"{name}.svg": drawn().svg() for name, drawn in DRAWINGS.items()}
    match arguments:
        case ["write"]:
            for path, text in files.items():
                path.write_text(text, encoding="utf-8")
        case ["check"]:
            stale = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
            if stale:
                print(*(f"{path.name} differs from its drawing" for path in stale), sep="\n")
                return 1
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
