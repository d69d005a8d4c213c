"""Which adapter holds which file against our code: by the beginning of the file's name."""

from __future__ import annotations

from collections.abc import Callable

from ..golden import Golden
from . import attention, convlstm, e3d_lstm, mim, patch, predrnn, predrnnpp

Adapter = Callable[[Golden], None]

ADAPTERS: dict[str, Adapter] = {
    "thuml_reshape_patch": patch.reshape_patch,
    "thuml_stlstm_cell": predrnn.cell,
    "thuml_stlstmv2_cell": predrnn.cell,
    "thuml_predrnn_model": predrnn.model,
    "thuml_predrnn_v2_model": predrnn.model,
    "openstl_predrnn_model": predrnn.model,
    "openstl_predrnnv2_model": predrnn.model,
    "openstl_convlstm_cell": convlstm.openstl_cell,
    "openstl_convlstm_model": convlstm.openstl_model,
    "tsugumi_convlstm_peephole_cell": convlstm.tsugumi_peephole_cell,
    "tf_causal_cell": predrnnpp.cell,
    "tf_ghu": predrnnpp.ghu,
    "tf_predrnnpp_model": predrnnpp.model,
    "openstl_predrnnpp_model": predrnnpp.openstl_model,
    "tf_mim_stlstm_cell": mim.bottom_cell,
    "tf_mim_block": mim.block,
    "tf_mimn": mim.mim_n,
    "tf_mim_model": mim.model,
    "openstl_mim_model": mim.openstl_model,
    "tf_e3d_cell": e3d_lstm.cell,
    "tf_e3d_model": e3d_lstm.model,
    "tsugumi_self_attention": attention.self_attention,
    "tsugumi_self_attention_memory": attention.memory,
    "tsugumi_sa_convlstm_cell": attention.cell,
}

NOT_SHIPPED: dict[str, Adapter] = {
    "openstl_e3dlstm_model": e3d_lstm.openstl_model,
}
"""Adapters of files that are too large to be kept here; a folder named by ``STKIT_GOLDENS`` may have them."""


def adapter_of(file_name: str) -> Adapter | None:
    """The adapter with the longest fitting beginning; None where there is none."""
    known = {**ADAPTERS, **NOT_SHIPPED}
    fitting = [prefix for prefix in known if file_name.startswith(prefix)]
    return known[max(fitting, key=len)] if fitting else None
