"""The order of channels inside a patch."""

from __future__ import annotations

from stkit.stacks import fold, unfold

from ..golden import Golden, channels_first, channels_last


def reshape_patch(golden: Golden) -> None:
    """``thuml_reshape_patch``: the image folded with each patch size in the file, and back."""
    image = channels_first(golden.take("in.img_BTHWC"))
    for name in golden.names("out.patch"):
        folded = channels_first(golden.take(name))
        patch = image.shape[-1] // folded.shape[-1]
        golden.compare(name, channels_last(fold(image, patch)))
        assert unfold(folded, patch).equal(image)
