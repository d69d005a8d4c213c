"""The rules of the contract, each with what it asks for and what to do where it is broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["CELL_RULES", "RULES", "STACK_RULES", "ContractViolation", "Rule", "obey"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the contract."""

    name: str
    says: str
    remedy: str


class ContractViolation(AssertionError):
    """A component breaks a rule. ``rule`` is the rule's name."""

    def __init__(self, rule: Rule, subject: str, found: str) -> None:
        self.rule = rule.name
        super().__init__(
            f"{subject} breaks the rule '{rule.name}': {rule.says}\n  found: {found}\n  what to do: {rule.remedy}"
        )


CELL_RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "shapes",
            "a cell maps B C_in H W to B C_out H W for any batch, any grid and C_in different from C_out, and says "
            "both in in_channels and out_channels.",
            "Take the sizes from x (or from the state, where x is None) in every step, never from the constructor or "
            "from an earlier call; pad so that H and W are kept.",
        ),
        Rule(
            "pure",
            "the same input from the same state gives the same output, whatever the module has seen before.",
            "Hand back everything that a later step needs in StepOut.state or StepOut.carry; keep nothing on self.",
        ),
        Rule(
            "writes-nothing",
            "step writes no attribute or buffer of the module, and changes neither its input nor the state and carry "
            "that it was given.",
            "Build new dicts and new tensors; no in-place operation on what came in; no cache and no running "
            "statistics on self.",
        ),
        Rule(
            "batch-independence",
            "a sample's output does not depend on what else is in the batch.",
            "Look for a reshape, a norm or an attention that mixes dimension 0 with another one.",
        ),
        Rule(
            "causality",
            "a later frame changes no earlier output, nor a tensor that was already handed out.",
            "Use x of this step and the state only; never write into a tensor that an earlier step returned.",
        ),
        Rule(
            "resumes",
            "a sequence that is split, its state saved, and resumed gives what the unsplit sequence gives.",
            "Put all memory into the state or the carry as tensors: no counters, lists or tensors on self.",
        ),
        Rule(
            "state-form",
            "the state has the same keys at every step, each a tensor of its own storage in initial_state, with "
            "constant shape and dtype.",
            "Make every entry in initial_state, with its own torch.zeros, and return every entry from every step; "
            "for 'not yet there' keep a flag as a tensor.",
        ),
        Rule(
            "state-moves",
            "every entry of the state changes, over at least as many steps as there are entries.",
            "Return the updated memory, not the one that came in; remove an entry that nothing updates.",
        ),
        Rule(
            "carry-as-declared",
            "the carry holds the registers of carry_spec with the channels declared there, agrees with the config's "
            "carry_ports, and registers that are not declared pass through untouched.",
            "Return {**carry, 'name': new}; declare what is written in carry_spec of the cell and in carry_ports of "
            "its config.",
        ),
        Rule(
            "out-key",
            "the state entry named by out_key is the output y.",
            "Set out_key to the entry that rises, and return the same tensor as y and in the state.",
        ),
        Rule(
            "places-as-declared",
            "every place for attention that the configuration declares is an entry of the state with the form of y.",
            "List in places of the config class the entries of the state at which attention may stand, by their names: "
            "places = ('h', 'c'). Without it there is one, 'h'.",
        ),
        Rule(
            "gradients",
            "every parameter gets a gradient from a sequence that starts at the initial state.",
            "Remove the parameter that nothing uses, or find out why its path is cut: a memory that is computed but "
            "not returned, a detach, a bias in front of a norm or a softmax that cancels it.",
        ),
        Rule(
            "gradcheck",
            "gradients through several steps are those of finite differences, in float64.",
            "Look for detach, .data, no_grad, rounding or a custom backward between one step and the next.",
        ),
        Rule(
            "translation",
            "away from the borders, moving the input moves the output with it.",
            "Look for a reshape between 'B C H W' and 'B (H W) C' without a permute. Where the position matters on "
            "purpose (parameters per pixel, positional encoding), set position_dependent = True in the contract's "
            "class.",
        ),
        Rule(
            "saves",
            "the weights go through safetensors into a second instance, and the module can be deep-copied.",
            "Keep everything learned in nn.Parameter or a buffer, no two names for one tensor.",
        ),
        Rule(
            "meta-device",
            "the cell builds and steps on the meta device, wholly.",
            "Pass device and dtype of the site to every constructor, and make tensors in step with the device of x "
            "or of the state; no .cuda(), .cpu(), .item() or .numpy().",
        ),
        Rule(
            "dtype",
            "a cell built in float64 or bfloat16 computes, keeps and returns that dtype, finite, and it runs under "
            "autocast.",
            "Pass dtype of the site to every constructor and of the arguments to every torch.zeros; no .float().",
        ),
        Rule(
            "compiles",
            "torch.compile captures a step as one graph, once for all time steps, and the graph gives the same "
            "outputs, states and gradients.",
            "No branch on the values of tensors, no .item(), numpy or print in step; nothing on self that changes; the "
            "entries of the state come in the order of initial_state, keep their shapes, and each requires a gradient "
            "either after every step or after none.",
        ),
        Rule(
            "options-act",
            "every field of the configuration changes the cell: its parameters, its state or its output.",
            "Read the field in from_config, or remove it. Where the values that act cannot be guessed, list some in "
            "other_values of the contract's class: other_values = {'field': [value]}.",
        ),
        Rule(
            "light-config",
            "importing the module of the config class imports no torch.",
            "Move the config into a module of its own (config.py) that imports stkit.api and nothing heavy.",
        ),
    )
}

STACK_RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "shapes",
            "a forecaster maps B T C_in H W to B horizon C_out H W for any batch, grid and horizon.",
            "Take sizes from the context in every call; pad to the patch and crop back.",
        ),
        Rule(
            "pure",
            "the same context gives the same forecast, whatever was forecast before.",
            "Start every call from the initial state; keep nothing of a sequence on a module.",
        ),
        Rule(
            "writes-nothing",
            "forecasting writes no attribute or buffer, and changes no argument.",
            "Keep sequence memory in the stream's state; no caches, no running statistics, no in-place operation on "
            "arguments.",
        ),
        CELL_RULES["batch-independence"],
        Rule(
            "causality",
            "no prediction depends on its own or a later frame, and none depends on a frame that was hidden from it.",
            "Predict frame t from frames before t only; after the context, feed the model's own forecasts.",
        ),
        Rule(
            "stepwise",
            "warm and step give, frame by frame, what the whole forecast gives.",
            "Let both walk through the same step of the stack.",
        ),
        Rule(
            "resumes",
            "a stream that is split and resumed from a copy of its state gives what the unsplit stream gives.",
            "Put all memory into the stream's state.",
        ),
        Rule(
            "state-form",
            "a stream's state has the same keys, shapes and dtypes after every frame, whether one came or not.",
            CELL_RULES["state-form"].remedy,
        ),
        CELL_RULES["gradients"],
        CELL_RULES["gradcheck"],
        CELL_RULES["saves"],
        Rule(
            "meta-device",
            "the forecaster builds and runs on the meta device.",
            CELL_RULES["meta-device"].remedy,
        ),
        Rule(
            "dtype",
            "a forecaster built in float64 or bfloat16 returns that dtype, finite, and it runs under autocast.",
            CELL_RULES["dtype"].remedy,
        ),
        Rule(
            "exports",
            "torch.export captures a whole forecast as one graph for any batch and, unless weights belong to grid "
            "cells, any grid, and the graph gives the same forecast.",
            "No branch on the values of tensors, no .item(), numpy or print; take batch, height and width from the "
            "shapes of tensors, with no int() around them and no table or tensor that was made for one size.",
        ),
    )
}

RULES = {"cell": CELL_RULES, "stack": STACK_RULES}


@contextmanager
def obey(rule: Rule, subject: str, doing: str) -> Iterator[None]:
    """Turns an exception of the component into a violation of ``rule``; ``doing`` says what was tried."""
    try:
        yield
    except ContractViolation:
        raise
    except Exception as error:
        raise ContractViolation(rule, subject, f"{type(error).__name__} while {doing}: {error}") from error
