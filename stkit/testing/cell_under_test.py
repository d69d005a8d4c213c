"""Which cell the contract tests, how it is built, and what goes through it.

Axes: ``B`` batch, ``C`` channels, ``D`` depth, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from stkit.cells.base import Cell, CellSite, Tensors, slices
from stkit.plugin.config import CellConfig
from stkit.plugin.manager import plugins
from stkit.plugin.specs import CellSpec, import_string
from stkit.testing import _drive as drive
from stkit.testing._contract import Contract
from stkit.testing.rules import CELL_RULES
from stkit.testing.strategies import Case, tensor


class CellUnderTest(Contract):
    """The attributes that a contract's class sets, and the cell they stand for."""

    rules = CELL_RULES

    name: ClassVar[str] = ""
    """The cell's registered name, ``name`` or ``plugin/name``."""
    config: ClassVar[Mapping[str, Any] | CellConfig | None] = None
    """Values of the cell's configuration where they differ from its defaults, or the configuration itself."""
    target: ClassVar[type | str | None] = None
    """The cell's class or its import string, for a cell that is not registered; then ``config`` is an instance."""
    transition: ClassVar[Any] = None
    """A factory ``(TransitionSite) -> Transition`` to put into the cell; None: its own forget gate."""
    sizes: ClassVar[tuple[int, int] | None] = None
    """Channels in and width; None: the first small pair, different from each other if possible, that fits."""
    needs_grid: ClassVar[bool | None] = None
    """It has parameters per pixel: it is built for one grid and used on it; None: find out by building it without."""
    other_values: ClassVar[Mapping[str, Sequence[Any]]] = {}
    """For fields of the configuration whose other values cannot be guessed: values to try, to see that they act."""
    position_dependent: ClassVar[bool] = False
    """The output depends on the place in the field on purpose; implied by ``needs_grid``."""
    backend: ClassVar[str] = "aot_eager"
    """What ``torch.compile`` hands the graph to; ``inductor`` makes machine code of it, and needs a C++ compiler."""
    translation_step: ClassVar[int] = 1
    """Moves of the input that the output follows are multiples of this (strides, windows)."""

    @property
    def subject(self) -> str:
        """What the messages call the cell."""
        return f"cell '{self.cell_config().name}'"

    def spec(self) -> CellSpec | None:
        """What the plugin says about the cell; None for a cell that is not registered."""
        if self.target is not None:
            return None
        name = self.config.name if isinstance(self.config, CellConfig) else self.name
        if not name:
            raise TypeError(f'{type(self).__name__} says no name: write  name = "my_cell"  into the class')
        spec = plugins().resolve("cells", name)
        assert isinstance(spec, CellSpec)
        return spec

    def cell_config(self) -> CellConfig:
        """The configuration under test."""
        if isinstance(self.config, CellConfig):
            return self.config
        spec = self.spec()
        if spec is None:
            raise TypeError(f"{type(self).__name__}.config must be an instance where target is given")
        config = spec.load_config().model_validate({"name": self.name, **(self.config or {})})
        assert isinstance(config, CellConfig)
        return config

    def carry_in(self, width: int) -> dict[str, int]:
        """Channels of each register that arrives: what the cell reads, ``width`` where it takes anything."""
        ports = self.cell_config().carry_ports(width)
        return {name: width if port.reads is None else port.reads for name, port in ports.items() if port.reads != 0}

    def fitting_sizes(self) -> tuple[int, int]:
        """Channels in and width that the configuration accepts."""
        if self.sizes is not None:
            return self.sizes
        config, said = self.cell_config(), []
        for in_channels, width in ((3, 4), (4, 4), (8, 16), (16, 16), (32, 64), (64, 64)):
            said = list(config.problems(in_channels=in_channels, width=width, carry_in=self.carry_in(width)))
            if not said:
                return in_channels, width
        raise self.violation("shapes", f"no channels in and width fit; at 64 and 64 its config says: {'; '.join(said)}")

    def from_config(self, grid: tuple[int, int] | None, device: str, dtype: torch.dtype) -> Cell:
        """A cell as its target builds it."""
        spec, (in_channels, width) = self.spec(), self.fitting_sizes()
        target: Any = import_string(self.target) if isinstance(self.target, str) else self.target
        site = CellSite(
            in_channels=in_channels,
            width=width,
            carry_in=self.carry_in(width),
            grid=grid,
            transition=self.transition,
            norms=registered_norm,
            device=torch.device(device),
            dtype=dtype,
        )
        cell: Cell = (target if spec is None else spec.load_target()).from_config(self.cell_config(), site)
        return cell

    def belongs_to_grid(self) -> bool:
        """Whether it can only be built for a grid."""
        if self.needs_grid is not None:
            return self.needs_grid
        try:
            self.from_config(None, "meta", torch.float32)
        except ValueError:
            return True
        return False

    def build(
        self,
        grid: tuple[int, int] | None = None,
        *,
        dtype: torch.dtype = torch.float64,
        device: str = "cpu",
        seed: int | None = 0,
    ) -> Cell:
        """A cell, its weights moved by noise from ``seed`` (None: as built), in evaluation mode."""
        in_channels, width = self.fitting_sizes()
        doing = f"building it with {in_channels} channels in and width {width}"
        with self.obey("shapes", doing), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed or 0)
            cell = self.from_config(grid if self.belongs_to_grid() else None, device, dtype)
        if seed is not None and device != "meta":
            drive.stir(cell, seed)
        return cell.eval()

    def input(self, cell: Cell, case: Case, seed: int, **to: Any) -> Tensor:
        """One ``x``: ``B C H W``, or ``B C D H W`` where the cell has an ``input_depth``."""
        return tensor(seed, case.batch, cell.in_channels, *slices(cell.input_depth), case.height, case.width, **to)

    def inputs(self, cell: Cell, case: Case, **to: Any) -> list[Tensor]:
        """A sequence of ``x``."""
        to = {"dtype": torch.float64} | to
        return [self.input(cell, case, case.seed + 1000 * step, **to) for step in range(case.steps)]

    def start(
        self, cell: Cell, case: Case, *, dtype: torch.dtype = torch.float64, device: str = "cpu"
    ) -> tuple[Tensors, Tensors]:
        """Initial state and carry."""
        where = (case.batch, case.height, case.width, torch.device(device), dtype)
        carry = cell.initial_carry(*where)
        for name, channels in self.carry_in(self.fitting_sizes()[1]).items():
            if name not in carry and name in cell.carry_spec:
                carry[name] = torch.zeros(case.batch, channels, case.height, case.width, device=device, dtype=dtype)
        return cell.initial_state(*where), carry

    def unroll(self, cell: Cell, xs: list[Tensor], case: Case) -> drive.Trace:
        """The whole sequence from the initial state."""
        return drive.unroll(cell, xs, *self.start(cell, case))


def registered_norm(config: Any, site: Any) -> Any:
    """The norm factory of a :class:`~stkit.cells.base.CellSite`: by name, from the installed plugins."""
    return plugins().resolve("modules", config.name, slot="norm").load_target().from_config(config, site)
