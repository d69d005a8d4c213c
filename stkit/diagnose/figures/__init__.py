"""Figures of a diagnosis, in the style of a run's other figures."""

from stkit.diagnose.figures.draw import draw_figures

__all__ = ["draw_figures"]
