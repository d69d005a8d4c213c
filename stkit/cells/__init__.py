"""Cells: the interface, and the blocks that the papers' cells share."""

from stkit.cells import elapsed, gated, observe
from stkit.cells.attached import Attached
from stkit.cells.attachment import Attachment, AttachmentSite
from stkit.cells.attend import KeyMask, attend, attention_weights, mask_keys, masked_keys
from stkit.cells.attend_parts import attend_parts
from stkit.cells.auto import Auto
from stkit.cells.base import (
    Cell,
    CellSite,
    HeadSite,
    NormFactory,
    NormSite,
    StepOut,
    Tensors,
    Transition,
    TransitionSite,
    slices,
)
from stkit.cells.engine import DIRECT, Direct, Engine
from stkit.cells.forget import Forget
from stkit.cells.fused import Fused
from stkit.cells.gates import GateBlock, Source, sequence, use_engine
from stkit.cells.peephole import NoPeephole, Peephole, build_peephole
from stkit.cells.winograd import Winograd

__all__ = [
    "DIRECT",
    "Attached",
    "Attachment",
    "AttachmentSite",
    "Auto",
    "Cell",
    "CellSite",
    "Direct",
    "Engine",
    "Forget",
    "Fused",
    "GateBlock",
    "HeadSite",
    "KeyMask",
    "NoPeephole",
    "NormFactory",
    "NormSite",
    "Peephole",
    "Source",
    "StepOut",
    "Tensors",
    "Transition",
    "TransitionSite",
    "Winograd",
    "attend",
    "attend_parts",
    "attention_weights",
    "build_peephole",
    "elapsed",
    "gated",
    "mask_keys",
    "masked_keys",
    "observe",
    "sequence",
    "slices",
    "use_engine",
]
