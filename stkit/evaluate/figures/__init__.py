"""Figures of a run: maps, scores against lead time, loss, an animation. Drawn without a display."""
