"""Whether somebody looks on at torch's operators."""

import torch


def seen_by_modes() -> bool:
    """Whether somebody is to see operators as such: a mode of torch's that traces, counts or fakes them.

    Where nobody does, what an operator would call is called at once: the way through the dispatcher and back to Python
    takes longer than a small kernel.
    """
    return torch._C._len_torch_dispatch_stack() > 0
