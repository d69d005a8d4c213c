"""A cell with something between it and its places, such as self-attention on its hidden state.

Axes: ``B`` batch, ``C`` channels, then the grid: ``H W`` or ``D H W``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stkit.cells.attachment import Attachment
from stkit.cells.base import Cell, StepOut, Tensors, slices

_PREFIX = "attention."


class Attached(Cell):
    """A cell with attachments; again a cell.

    A place is ``x`` (the input), an entry of the cell's state (``h``, ``c``, ``transition.S``) or a register that the
    cell carries (``m``). What is in ``pre`` acts on what the cell reads, what is in ``post`` on what it gives: the
    changed ``h`` stays with the cell and rises, a changed ``m`` is carried on.

    .. code-block:: python

        cell = Attached(ConvLSTM(16, 64), post={"h": SelfAttentionMemory(64)})             # SA-ConvLSTM
        cell = Attached(ConvLSTM(16, 64), pre={"x": SelfAttention(16), "h": SelfAttention(64)})
        cell = Attached(STLSTM(16, 64), post={"h": SelfAttentionMemory(64), "m": SelfAttentionMemory(64)})

    What the attachments remember is in the state as ``attention.<place>.<entry>``, of those in ``pre`` as
    ``attention.pre.<place>.<entry>``.

    Args:
        cell: any cell.
        pre: attachments on what the cell reads, by place.
        post: attachments on what the cell gives, by place; not ``x``.

    Raises:
        ValueError: if a place does not exist, is taken, or has other channels than the attachment.
    """

    places: tuple[tuple[str, ...], tuple[str, ...]]
    """Of ``pre`` and of ``post``."""

    def __init__(
        self,
        cell: Cell,
        *,
        pre: Mapping[str, Attachment] | None = None,
        post: Mapping[str, Attachment] | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = cell.in_channels, cell.out_channels
        self.carry_spec, self.out_key = cell.carry_spec, cell.out_key
        self.input_depth, self.output_depth = cell.input_depth, cell.output_depth
        self.cell = cell
        pre, post = dict(pre or {}), dict(post or {})
        inner = cell.places if isinstance(cell, Attached) else ((), ())
        _check(pre, {**({"x": cell.in_channels} if cell.in_channels else {}), **places_of(cell)}, inner[0])
        _check(post, places_of(cell, after=True), inner[1])
        self.pre, self.post = _modules(pre), _modules(post)
        self.places = (tuple(pre), tuple(post))

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """The cell's, and zeros for what the attachments remember."""
        size = (batch, height, width, device, dtype)
        state = self._cell.initial_state(*size)
        for attached in (self._pre(), self._post()):
            for prefix, attachment in attached.values():
                state |= {prefix + name: value for name, value in attachment.initial_state(*size).items()}
        return state

    def initial_carry(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """The cell's."""
        return self._cell.initial_carry(batch, height, width, device, dtype)

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        """What is in ``pre``, the cell, what is in ``post``."""
        remembered: Tensors = {}
        prefixes = tuple(prefix for attached in (self._pre(), self._post()) for prefix, _ in attached.values())
        own, carry = {name: value for name, value in state.items() if not name.startswith(prefixes)}, dict(carry)
        for place, (prefix, attachment) in self._pre().items():
            if place == "x":
                assert x is not None
                x, kept = attachment(x, _of(prefix, state))
            else:
                holder = own if place in own else carry
                holder[place], kept = attachment(holder[place], _of(prefix, state))
            remembered |= {prefix + name: value for name, value in kept.items()}

        y, own, carry, aux = self._cell.step(x, own, carry)

        own, carry = dict(own), dict(carry)
        for place, (prefix, attachment) in self._post().items():
            holder = own if place in own else carry
            holder[place], kept = attachment(holder[place], _of(prefix, state))
            remembered |= {prefix + name: value for name, value in kept.items()}
        y = own[self.out_key] if self.out_key in self.places[1] else y
        return StepOut(y, {**own, **remembered}, carry, aux)

    @property
    def _cell(self) -> Cell:
        assert isinstance(self.cell, Cell)
        return self.cell

    def _pre(self) -> dict[str, tuple[str, Attachment]]:
        return _attached(self.pre, self.places[0], f"{_PREFIX}pre.")

    def _post(self) -> dict[str, tuple[str, Attachment]]:
        return _attached(self.post, self.places[1], _PREFIX)


def places_of(cell: Cell, *, after: bool = False) -> dict[str, int]:
    """The places of a cell other than its input, each with its channels: entries of its state, then its registers.

    Entries that are no field ``B C *grid`` of the cell are left out.

    Args:
        cell: any cell.
        after: the registers as the cell hands them on; else as it reads them, which may be with other channels.
    """
    axes = (*slices(cell.output_depth), 5, 7)
    state = cell.initial_state(3, 5, 7, torch.device("meta"))
    found = {
        name: value.shape[1]
        for name, value in state.items()
        if value.is_floating_point() and (value.shape[0], *value.shape[2:]) == (3, *axes)
    }
    for name, port in cell.carry_spec.items():
        channels = port.writes if after else port.reads
        if channels and port.depth == cell.output_depth:
            found[name] = channels
    return found


def _check(attachments: Mapping[str, Attachment], known: Mapping[str, int], taken: tuple[str, ...]) -> None:
    for place, attachment in attachments.items():
        if place in taken:
            raise ValueError(f"the place {place!r} has an attachment already")
        if place not in known:
            raise ValueError(f"there is no place {place!r} to attach to; the places are {', '.join(known)}")
        if attachment.channels != known[place]:
            raise ValueError(
                f"the place {place!r} has {known[place]} channels, what is attached to it takes {attachment.channels}"
            )


def _modules(attachments: Mapping[str, Attachment]) -> nn.ModuleDict:
    return nn.ModuleDict({_named(place): attachment for place, attachment in attachments.items()})


def _attached(modules: nn.ModuleDict, places: tuple[str, ...], prefix: str) -> dict[str, tuple[str, Attachment]]:
    """For each place the prefix of what is remembered there, and the attachment."""
    found: dict[str, tuple[str, Attachment]] = {}
    for place in places:
        module = modules[_named(place)]
        assert isinstance(module, Attachment)
        found[place] = (f"{prefix}{place}.", module)
    return found


def _named(place: str) -> str:
    """A module's name has no dots."""
    return place.replace(".", "_")


def _of(prefix: str, state: Tensors) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
