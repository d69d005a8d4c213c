"""Which architecture the contract tests, how it is built, and what goes through it.

Axes: ``B`` batch, ``T`` time, ``C`` channels, ``K`` known inputs, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from stkit.errors import StkitError
from stkit.plugin.manager import plugins
from stkit.plugin.specs import StackSpec
from stkit.recipe.alone import model_config
from stkit.recipe.sections.model import ModelConfig
from stkit.stacks.build import build_forecaster
from stkit.stacks.forecaster import Forecaster
from stkit.testing import _drive as drive
from stkit.testing._contract import Contract
from stkit.testing.rules import STACK_RULES
from stkit.testing.strategies import Case, tensor


class Sample(NamedTuple):
    """A whole sequence and its parts. ``T`` is context and horizon together."""

    frames: Tensor
    """``B T C H W``: the state's channels."""
    known: Tensor | None
    """``B T K H W``."""
    base: Tensor | None
    """``B T-1 C H W``: of each frame from the second one."""
    context_steps: int
    fed: int
    """State channels that the model takes in."""

    @property
    def horizon(self) -> int:
        """Frames after the context."""
        return self.frames.shape[1] - self.context_steps

    def context(self, start: int = 0, stop: int | None = None) -> Tensor:
        """``B T C_in H W``: what a forecaster is given."""
        stop = self.context_steps if stop is None else stop
        parts = [self.frames[:, start:stop, : self.fed]]
        return torch.cat(parts if self.known is None else [*parts, self.known[:, start:stop]], dim=2)

    def future(self) -> dict[str, Tensor | None]:
        """Known inputs and base of the frames after the context."""
        known = None if self.known is None else self.known[:, self.context_steps :]
        return {"known": known, "base": None if self.base is None else self.base[:, self.context_steps - 1 :]}

    def ahead(self, frame: int) -> dict[str, Tensor | None]:
        """Known inputs and base of one frame that is to be forecast."""
        known = None if self.known is None else self.known[:, frame]
        return {"next_known": known, "base": None if self.base is None else self.base[:, frame - 1]}


class StackUnderTest(Contract):
    """The attributes that a contract's class sets, and the architecture they stand for."""

    rules = STACK_RULES

    name: ClassVar[str] = ""
    """The architecture's registered name, ``name`` or ``plugin/name``; "" where ``overrides`` says the whole model."""
    variant: ClassVar[str | None] = None
    """The architecture's variant; None: its default."""
    overrides: ClassVar[Mapping[str, Any]] = {}
    """What to change, as in a recipe's ``model`` section. Layers that are said here keep their widths."""
    needs_grid: ClassVar[bool | None] = None
    """It has parameters per pixel: it is built for one grid and used on it; None: find out by building it without."""

    @property
    def subject(self) -> str:
        """What the messages call the architecture."""
        variant = f", variant '{self.variant}'" if self.variant else ""
        return f"architecture '{self.name}'{variant}" if self.name else "the model"

    def model(self) -> ModelConfig:
        """The model section under test, its layers narrow."""
        named = {"name": self.name} if self.name else {}
        values = {**named, **({"variant": self.variant} if self.variant else {}), **self.overrides}
        if not self.name or "layers" in self.overrides:
            return model_config(values)
        spec = plugins().resolve("stacks", self.name)
        assert isinstance(spec, StackSpec)
        layers = spec.variants[self.variant or spec.default_variant]["layers"]
        said: StkitError | None = None
        for divisor in (16, 8, 4, 2, 1):
            model = model_config({**values, "layers": [_narrowed(layer, divisor) for layer in layers]})
            try:
                build_forecaster(model, in_channels=1, out_channels=1, grid=(8, 8), device="meta")
            except StkitError as error:
                said = error
            else:
                return model
        raise self.violation("shapes", f"it cannot be built: {said}")

    def belongs_to_grid(self) -> bool:
        """Whether it can only be built for a grid."""
        if self.needs_grid is not None:
            return self.needs_grid
        try:
            build_forecaster(self.model(), in_channels=1, out_channels=1, device="meta")
        except StkitError:
            return True
        return False

    def build(
        self,
        channels: tuple[int, int] = (1, 1),
        grid: tuple[int, int] | None = None,
        *,
        dtype: torch.dtype = torch.float64,
        device: str = "cpu",
        seed: int = 0,
    ) -> Forecaster:
        """A forecaster for so many channels in and out, its weights moved by noise, in evaluation mode."""
        grid = grid if self.belongs_to_grid() else None
        with self.obey("shapes", f"building it for {channels} channels"), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            forecaster = build_forecaster(
                self.model(), in_channels=channels[0], out_channels=channels[1], grid=grid, device=device, dtype=dtype
            )
        if device != "meta":
            drive.stir(forecaster, seed)
        return forecaster.eval()

    def sample(
        self, case: Case, channels: tuple[int, int] = (1, 1), *, with_base: bool = False, horizon: int = 2
    ) -> Sample:
        """A sequence of ``case.steps`` frames of context and ``horizon`` after it, in float64."""
        inside, outside = channels
        steps, known, grid = case.steps + horizon, max(inside - outside, 0), case.grid
        return Sample(
            frames=tensor(case.seed, case.batch, steps, outside, *grid, dtype=torch.float64),
            known=tensor(case.seed + 1, case.batch, steps, known, *grid, dtype=torch.float64) if known else None,
            base=tensor(case.seed + 2, case.batch, steps - 1, outside, *grid, dtype=torch.float64)
            if with_base
            else None,
            context_steps=case.steps,
            fed=inside - known,
        )


def _narrowed(layer: Any, divisor: int) -> Any:
    """A layer as a recipe says it, a number or a mapping, with its width divided but at least four channels."""
    if isinstance(layer, int):
        return min(layer, max(4, layer // divisor))
    return {**layer, "width": _narrowed(layer["width"], divisor)}
