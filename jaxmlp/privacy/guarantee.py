"""What a private training run promises, and what not."""

from typing import NamedTuple

from jaxmlp.privacy.ledger import Accountant, epsilon

ADJACENCY = "data sets that differ by one training row, added or removed"
SAMPLING = (
    "each step takes every training row with the same probability, independently of the "
    "others (Poisson sampling); the random key of samples and noise stays secret"
)
PREPROCESSING = (
    "statistics of the rows used to prepare the features (centring, scaling, categories)"
)
MEASURED = (
    "the training loss, norms and clipped fraction in the history: measured on the rows, "
    "without noise; do not publish them"
)
SPLIT = (
    "the drawing of the parts from the labels of all rows: one row more or less in the "
    "table draws other parts; the guarantee is for the training part as it was drawn"
)
WEAK_DELTA = (
    "the publishing of a row, drawn at random and whole: delta is not below one by the "
    "number of training rows, so it allows that; choose one far below"
)
NOT_COVERED = (
    "choices made by looking at other runs on the same rows (hyper-parameter search): "
    "their epsilons add up",
    PREPROCESSING,
    "validation and test rows, which choose the epoch and give the figures",
    MEASURED,
    "the number of training rows and the labels' names, which are taken as known",
    "attacks on pseudo-random numbers or on the rounding of the noise",
)


class Guarantee(NamedTuple):
    """What a private run promises, and what not.

    Attributes:
      epsilon: Upper bound of ε for all planned steps; infinite without noise.
      delta: The δ that it holds for.
      noise_multiplier: Standard deviation of the noise by `max_grad_norm`.
      max_grad_norm: Norm to which each row's gradient is clipped.
      sampling_rate: Probability of a row to be in a step.
      n_steps: Steps accounted for: all that were planned, also if the run ended early.
      accountant: `"pld"` or `"rdp"`.
      adjacency: Which data sets the promise compares.
      sampling: What it assumes of sampling.
      not_covered: What it says nothing about.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    max_grad_norm: float
    sampling_rate: float
    n_steps: int
    accountant: Accountant
    adjacency: str = ADJACENCY
    sampling: str = SAMPLING
    not_covered: tuple[str, ...] = NOT_COVERED


def make_guarantee(
    noise_multiplier: float,
    max_grad_norm: float,
    *,
    batch_size: float,
    n_samples: int,
    n_steps: int,
    delta: float,
    accountant: Accountant,
) -> Guarantee:
    """Asks the ledger what a run costs; a wrong δ or accountant raises ValueError."""
    spent = epsilon(
        sampling_rate=batch_size / n_samples,
        noise_multiplier=noise_multiplier,
        n_steps=n_steps,
        delta=delta,
        accountant=accountant,
    )
    is_weak = delta * n_samples >= 1
    return Guarantee(
        epsilon=spent,
        delta=delta,
        noise_multiplier=noise_multiplier,
        max_grad_norm=max_grad_norm,
        sampling_rate=batch_size / n_samples,
        n_steps=n_steps,
        accountant=accountant,
        not_covered=((WEAK_DELTA,) if is_weak else ()) + NOT_COVERED,
    )
