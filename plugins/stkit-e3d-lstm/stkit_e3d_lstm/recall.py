"""RECALL: attention over past memories, which fills the slot of the forget gate.

Eidetic 3D LSTM: A Model for Video Prediction and Beyond. Yunbo Wang, Lu Jiang, Ming-Hsuan Yang, Li-Jia Li, Mingsheng
Long, Li Fei-Fei, ICLR 2019. Reference code: https://github.com/google/e3d_lstm, Apache-2.0 (nothing is copied).

Deviations. The released code attends to every memory since the start, so that its state grows; here the state has
room for a number of memories that is said beforehand, and attention works over those that are there. With room for the
whole sequence the numbers are the same. The zeros before the first step are no memory, unless asked for.

Axes: ``B`` batch, ``S`` memories from the oldest to the newest, ``C`` channels, ``D`` depth, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit.cells import (
    KeyMask,
    NormFactory,
    NormSite,
    Tensors,
    Transition,
    TransitionSite,
    attend_parts,
    attention_weights,
    elapsed,
    observe,
)
from stkit_e3d_lstm.config import RecallConfig


class Recall(Transition):
    """``keep = norm(C' + RECALL(R, memories))``, with ``C' = C_{t-1}``::

        RECALL(R, memories) = softmax(R * memories^T) * memories,    R = sigmoid(gate)

    A query is the gate at one cell of the grid; a key, which is its own value, is one cell of one past memory
    ``C_{t-tau} .. C_{t-1}``. It works in cells on ``B C D H W`` and on ``B C H W``. The matrix of scores is never held:
    memory grows with the number of cells, not with its square.

    State: ``memory.tau`` .. ``memory.1``, each ``B D H W C`` (averaged over squares of ``pool`` cells), the memory of
    so many steps ago; and ``taken``, ``B``: how many there have been. A memory is handed on and never copied. In a
    stack, which knows how many steps it has taken, attention works over the memories that are there; a cell by itself
    masks the others.

    Args:
        width: channels of the memory.
        tau: memories that are attended to.
        depth: slices of the cell's tensors; 0: they are ``B C H W``.
        start: whether the zeros before the first step are a memory.
        norm: makes the norm of ``C' + RECALL``; None: no norm.
        pool: side in cells of the squares over which remembered memories are averaged.
        region: side in cells of the squares inside which attention stays; None: the whole grid.

    Raises:
        ValueError: if there is no memory to attend to, or both ways to save are asked for.
    """

    def __init__(
        self,
        width: int,
        *,
        tau: int = 5,
        depth: int = 0,
        start: bool = False,
        norm: NormFactory | None = None,
        pool: int = 1,
        region: int | None = None,
    ) -> None:
        super().__init__()
        if tau < 1:
            raise ValueError(f"RECALL needs at least 1 memory to attend to, received tau = {tau}")
        if pool > 1 and region is not None:
            raise ValueError("RECALL over averaged memories and RECALL inside regions exclude each other")
        self.width, self.tau, self.depth, self.start = width, tau, depth, start
        self.pool, self.region = pool, region
        self.norm = nn.Identity() if norm is None else norm(width)
        self.mask = KeyMask()

    @classmethod
    def from_config(cls, config: RecallConfig, site: TransitionSite) -> Recall:
        """As a recipe says it."""
        grid = site.grid if site.grid is None or not site.depth else (site.depth, *site.grid)

        def norm(channels: int) -> nn.Module:
            made: nn.Module = site.norms(config.norm, NormSite(channels, grid, site.device, site.dtype))
            return made

        return cls(
            site.width,
            tau=config.room,
            depth=site.depth,
            start=config.start,
            norm=None if config.norm is None else norm,
            pool=config.pool,
            region=config.region,
        )

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """No memory yet."""
        size = (batch, max(self.depth, 1), -(-height // self.pool), -(-width // self.pool), self.width)
        rooms = {name: torch.zeros(size, device=device, dtype=dtype) for name in self._rooms(self.tau)}
        return {**rooms, "taken": torch.zeros(batch, device=device, dtype=torch.int64)}

    def forward(
        self, gate: Tensor | None, c: Tensor, x: Tensor | None, state: Tensors, carry: Tensors
    ) -> tuple[Tensor, Tensors, Tensors]:
        """``gate`` and ``c``: ``B C *grid``.

        Raises:
            ValueError: if there is no gate.
        """
        if gate is None:
            raise ValueError("RECALL needs the pre-activation of its gate")
        queries = torch.sigmoid(_by_cell(gate).contiguous())
        taken, steps = state["taken"], elapsed.steps()
        there = self.tau if steps is None else min(steps + self.start, self.tau)
        valid = self.mask(*c.shape[-2:])
        observe.attention(
            self, self._ages(), lambda cells: self.weights(queries, self._all(state), taken, valid, cells)
        )
        if there:  # else there is nothing to recall
            memories = [state[name] for name in self._rooms(there)]
            seen = self._seen(taken) if steps is None else None
            c = c + self.recall(queries, memories, seen).movedim(-1, 1).reshape(c.shape)
        return self.norm(c), state, carry

    def recall(self, queries: Tensor, memories: Sequence[Tensor], seen: Tensor | None = None) -> Tensor:
        """What the queries find in the memories, ``B D H W C`` as they.

        Args:
            queries: ``B D H W C``.
            memories: as in the state.
            seen: ``B S``, bool: which of them are there; None: all.
        """
        batch, depth, height, width, channels = queries.shape
        valid = self.mask(height, width)
        if self.region is None:
            here = None if valid is None else (_share(valid, self.pool) > 0).flatten(1)
            parts = [memory.flatten(1, 3) for memory in memories]
            found = attend_parts(queries.flatten(1, 3), *parts, allowed=_allowed(here, seen, depth, parts))
            return found.reshape(queries.shape)

        side = self.region
        rows, columns = -(-height // side), -(-width // side)
        if valid is None and (height % side or width % side):
            valid = torch.ones(1, height, width, dtype=torch.bool, device=queries.device)
        here = None
        if valid is not None:
            here = _regions(valid.expand(batch, -1, -1)[:, None, :, :, None], side).flatten(1)
        seen = None if seen is None else seen.repeat_interleave(rows * columns, dim=0)
        parts = [_regions(memory, side).flatten(1, 3) for memory in memories]
        allowed = _allowed(here, seen, depth, parts)
        found = attend_parts(_regions(queries, side).flatten(1, 3), *parts, allowed=allowed)
        found = found.reshape(batch, rows, columns, depth, side, side, channels)
        found = found.permute(0, 3, 1, 4, 2, 5, 6)  # B rows columns D y x C -> B D rows y columns x C
        return found.reshape(batch, depth, rows * side, columns * side, channels)[:, :, :height, :width]

    def weights(self, queries: Tensor, memories: Tensor, taken: Tensor, valid: Tensor | None, cells: Tensor) -> Tensor:
        """How some cells look at the memories: ``B K S H W``, see :mod:`stkit.cells.observe`.

        Args:
            queries: ``B D H W C``; those of a cell's slices are averaged.
            memories: ``B S D H W C``, of the state; the weights of a cell's slices are added up, those of a
                square of ``pool`` cells shared out among its cells.
            taken: as in the state.
            valid: ``B H W`` or ``1 H W``, what may be looked at; None: everything.
            cells: ``K``, counted row by row.
        """
        batch, depth, height, width, _ = queries.shape
        rows, columns = cells // width, cells % width
        if valid is None:
            valid = torch.ones(1, height, width, dtype=torch.bool, device=queries.device)
        share = _share(valid, self.pool)
        allowed = self._seen(taken)[:, None, :, None, None, None] & (share > 0)[:, None, None, None]  # B 1 S 1 h w
        if self.region is not None:
            same_row = rows[:, None] // self.region == torch.arange(height, device=cells.device) // self.region
            same_column = columns[:, None] // self.region == torch.arange(width, device=cells.device) // self.region
            allowed = allowed & (same_row[:, :, None] & same_column[:, None])[:, None, None]
        kept = share.shape[1:]
        allowed = allowed.expand(batch, len(cells), self.tau, depth, *kept).flatten(2)
        chosen = queries[:, :, rows, columns].flatten(1, 2)  # B (D K) C
        found = attention_weights(chosen, memories.flatten(1, 4), allowed.repeat(1, depth, 1))
        found = found.reshape(batch, depth, len(cells), self.tau, depth, *kept).mean(dim=1).sum(dim=3)
        in_square = torch.where(share > 0, share * self.pool**2, 1.0).to(found.dtype)
        spread = (found / in_square[:, None, None]).repeat_interleave(self.pool, 3).repeat_interleave(self.pool, 4)
        return spread[..., :height, :width] * valid[:, None, None]

    def commit(self, c_new: Tensor, state: Tensors) -> Tensors:
        """The new memory comes, the oldest one goes."""
        names = self._rooms(self.tau)
        memory = _by_cell(c_new).to(state[names[0]].dtype)  # not copied, whatever its order in memory
        if self.pool > 1:
            memory = self._averaged(memory)
        rooms = [*(state[name] for name in names[1:]), memory]
        if elapsed.steps() is None:
            # So that one compiled step serves all steps: either every room requires a gradient, or none.
            rooms = [*torch.stack(rooms).unbind()]
        return {**dict(zip(names, rooms, strict=True)), "taken": state["taken"] + 1}

    def extra_repr(self) -> str:
        """What is attended to, for ``print(model)``."""
        return f"tau={self.tau}, start={self.start}, pool={self.pool}, region={self.region}"

    @staticmethod
    def _rooms(count: int) -> list[str]:
        """Names of the newest memories, from the oldest to the newest."""
        return [f"memory.{age}" for age in range(count, 0, -1)]

    def _all(self, state: Tensors) -> Tensor:
        """Every room: ``B S D H W C``."""
        return torch.stack([state[name] for name in self._rooms(self.tau)], dim=1)

    def _ages(self) -> tuple[str, ...]:
        return tuple(f"t-{age}" for age in range(self.tau, 0, -1))

    def _seen(self, taken: Tensor) -> Tensor:
        """Which memories are there: ``B S``. Before the first one the zeros stand in, which add nothing to ``C'``."""
        present = taken + 1 if self.start else taken.clamp(min=1)
        age = torch.arange(self.tau - 1, -1, -1, device=taken.device)
        return age < present[:, None]

    def _averaged(self, memory: Tensor) -> Tensor:
        """Means over squares of valid cells, ``B D H W C -> B D h w C``; zero where a square has none."""
        _, _, height, width, _ = memory.shape
        valid = self.mask(height, width)
        if valid is None:
            valid = torch.ones(1, height, width, dtype=torch.bool, device=memory.device)
        else:
            memory = torch.where(valid[:, None, :, :, None], memory, torch.zeros_like(memory))
        share = _share(valid, self.pool).to(memory.dtype)[:, None, :, :, None]
        means = _squares(memory, self.pool).mean(dim=(3, 5))
        return means / torch.where(share > 0, share, torch.ones_like(share))


def _allowed(here: Tensor | None, seen: Tensor | None, depth: int, parts: Sequence[Tensor]) -> Tensor | None:
    """What attention may look at, ``B M``; None: everything.

    Args:
        here: ``B`` or ``1``, cells of a slice; None: all.
        seen: ``B S``, memories; None: all.
        depth: slices.
        parts: the memories, ``B M_i C``.
    """
    if here is None and seen is None:
        return None
    batch, keys, _ = parts[0].shape
    allowed = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=parts[0].device)
    if here is not None:
        allowed = allowed & here[:, None, None]
    if seen is not None:
        allowed = allowed & seen[:, :, None, None]
    return allowed.expand(batch, len(parts), depth, keys // depth).flatten(1)


def _by_cell(field: Tensor) -> Tensor:
    """``B C H W`` or ``B C D H W`` -> ``B D H W C``."""
    return (field if field.ndim == 5 else field[:, :, None]).movedim(1, -1)


def _squares(field: Tensor, side: int) -> Tensor:
    """``B D H W C -> B D rows side columns side C``, with zeros behind, so that squares of ``side`` cells fit."""
    batch, depth, height, width, channels = field.shape
    rows, columns = -(-height // side), -(-width // side)
    field = F.pad(field, (0, 0, 0, columns * side - width, 0, rows * side - height))
    return field.reshape(batch, depth, rows, side, columns, side, channels)


def _share(valid: Tensor, side: int) -> Tensor:
    """How much of each square of ``side`` cells is valid: ``B H W -> B h w``."""
    return _squares(valid.to(torch.float64)[:, None, :, :, None], side).mean(dim=(3, 5))[:, 0, :, :, 0]


def _regions(field: Tensor, side: int) -> Tensor:
    """``B D H W C -> (B rows columns) D side side C``."""
    return _squares(field, side).permute(0, 2, 4, 1, 3, 5, 6).flatten(0, 2)  # -> B rows columns D y x C
