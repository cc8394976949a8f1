"""The outcome of a search, collected as its networks end."""

import math
from typing import NamedTuple

import jax
import numpy as np

from jaxmlp.core import Params
from jaxmlp.training.grid import Choice, HiddenSizes
from jaxmlp.training.pool import Report
from jaxmlp.training.stack import cut_params, stack_params
from jaxmlp.training.state import BestEpoch, History, Settings


class Configuration(NamedTuple):
    """One row of the search's table.

    Attributes:
      learning_rate: Step size η.
      hidden_sizes: Widths of the hidden layers.
      l2: Strength of the L2 penalty.
      seed: Number of the starting weights, from 0.
      epoch: Epoch with the lowest validation loss, counted from 1; 0 if none was finite.
      train_loss: Training loss of that epoch in nats; NaN if there is none.
      val_loss: Validation loss at its end in nats; infinite if there is none.
      diverged: Epoch in which the training loss became NaN or infinite and the run ended,
        or None.
    """

    learning_rate: float
    hidden_sizes: HiddenSizes
    l2: float
    seed: int
    epoch: int
    train_loss: float
    val_loss: float
    diverged: int | None = None


class Network(NamedTuple):
    """A trained network of a search.

    Attributes:
      configuration: Its row of the table.
      params: Parameters at the end of the row's epoch.
      history: Loss curves of the whole run, as in `FitResult`.
    """

    configuration: Configuration
    params: Params
    history: History


class SearchResult(NamedTuple):
    """Outcome of `search`.

    Attributes:
      table: One row for each network: hidden sizes, within them learning rates, penalties
        and seeds, in the order given.
      networks: The `n_best` networks with the lowest finite validation losses, best first;
        equal ones in the table's order.
    """

    table: list[Configuration]
    networks: list[Network]

    @property
    def best(self) -> Network:
        """The network with the lowest validation loss."""
        return self.networks[0]

    @property
    def ensemble(self) -> Params:
        """All `networks`, stacked for `ensemble_proba`; see `stack_params`."""
        return stack_params([network.params for network in self.networks])


class SearchProgress(NamedTuple):
    """What a callback of `search` gets.

    Attributes:
      n_done: Epochs done, of all networks together; one that has stopped early counts
        with all its epochs.
      n_epochs: Epochs asked for, of all networks together.
      table: Rows of the networks that have ended, in the order of the final table.
    """

    n_done: int
    n_epochs: int
    table: list[Configuration]


class Ranking:
    """Collects the outcomes of chunks, whatever the order they come in."""

    def __init__(self, choices: list[Choice], n_best: int, settings: Settings) -> None:
        self._choices = choices
        self._n_best = n_best
        self._settings = settings
        self._n_done = [0] * len(choices)
        self._rows: dict[int, Configuration] = {}
        # (validation loss, position in the table, padded parameters, history)
        self._kept: list[tuple[float, int, Params, History]] = []

    def add(self, report: Report) -> None:
        """Takes in how far a chunk has come, and its outcome if it has ended."""
        for position, index in enumerate(report.networks):
            self._n_done[index] = report.n_done
            if report.outcome is not None:
                self._n_done[index] = self._settings.plan.n_epochs
                best, history = jax.tree.map(lambda a, p=position: a[p], report.outcome)
                self._rows[index] = row = _row(
                    self._choices[index], best, history, self._settings.patience
                )
                if math.isfinite(row.val_loss):
                    self._kept.append((row.val_loss, index, best.params, history))
        self._kept = sorted(self._kept, key=lambda kept: kept[:2])[: self._n_best]

    def progress(self) -> SearchProgress:
        """How far the search has come."""
        return SearchProgress(
            n_done=sum(self._n_done),
            n_epochs=len(self._choices) * self._settings.plan.n_epochs,
            table=[self._rows[index] for index in sorted(self._rows)],
        )

    def result(self) -> SearchResult:
        """The outcome of the whole search."""
        if not self._kept:
            rate = min(choice.learning_rate for choice in self._choices)
            l2 = min(choice.l2 for choice in self._choices)
            raise FloatingPointError(
                "no configuration had a finite validation loss: even the smallest learning "
                f"rate, {rate:g}, and penalty, {l2:g}, are too large for these data"
            )
        patience = self._settings.patience
        networks = [
            Network(
                self._rows[index],
                cut_params(params, self._choices[index].hidden_sizes),
                {
                    name: curve[: _n_run(self._rows[index], len(curve), patience)]
                    for name, curve in curves.items()
                },
            )
            for _, index, params, curves in self._kept
        ]
        return SearchResult(self.progress().table, networks)


def _n_run(row: Configuration, n_epochs: int, patience: int | None) -> int:
    """Epochs that a network ran; others of its chunk may have gone on."""
    if row.diverged is not None:
        return row.diverged
    return n_epochs if patience is None else min(n_epochs, row.epoch + patience)


def _row(
    choice: Choice, best: BestEpoch, history: History, patience: int | None
) -> Configuration:
    epoch, losses = int(best.epoch), history["train_loss"]
    row = Configuration(
        learning_rate=choice.learning_rate,
        hidden_sizes=choice.hidden_sizes,
        l2=choice.l2,
        seed=choice.seed,
        epoch=epoch,
        train_loss=float(losses[epoch - 1]) if epoch else math.nan,
        val_loss=float(best.val_loss),
    )
    # A run out of patience has no loss after its end either.
    lost = np.flatnonzero(~np.isfinite(losses[: _n_run(row, len(losses), patience)]))
    return row._replace(diverged=int(lost[0]) + 1) if len(lost) else row
