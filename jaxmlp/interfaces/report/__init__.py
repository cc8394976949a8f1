"""The report of a training run: what it measures, and the page that shows it.

`evaluate` makes JSON values; `render_report` makes the page of nothing but these.
"""

from jaxmlp.interfaces.report.evaluation import evaluate
from jaxmlp.interfaces.report.page import render_report

__all__ = ["evaluate", "render_report"]
