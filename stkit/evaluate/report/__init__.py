"""The one-file report and the model card of a run."""

from stkit.evaluate.report.write import write_report

__all__ = ["write_report"]
