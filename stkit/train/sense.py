"""What in a recipe's training does not fit its model or data. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from stkit.recipe.model import Recipe


def training_problems(recipe: Recipe) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Each problem as the path of the value and a sentence; nothing when all is well."""
    train, departure = recipe.train, recipe.data.departure_from
    if train.reverse_batches and departure != "none":
        yield (
            ("train", "reverse_batches"),
            f"a departure from {departure} has no reverse in time; "
            "set data.departure_from to none, or reverse_batches to false",
        )
    if train.loss.name.rpartition("/")[2] == "bce":
        if recipe.model.nonstationary is not None:
            name = recipe.model.nonstationary.name
            yield (
                ("train", "loss"),
                f"bce scores probabilities, and what {name} makes of the head's answer is none; "
                "take a loss such as mse",
            )
        elif getattr(recipe.model.head, "activation", "sigmoid") != "sigmoid":
            yield (("train", "loss"), "bce scores probabilities; set model.head.activation to sigmoid")
        if departure != "none":
            yield (("train", "loss"), f"bce scores probabilities, and a departure from {departure} is none")
