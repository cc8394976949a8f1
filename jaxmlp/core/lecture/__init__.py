r"""The lecture, equation by equation, in its own symbols and its column convention.

Where the rest of the package works on rows (`X` is `(n, p)`, `w` is `(d_in, d_out)`), this
module works on one column vector at a time, as the lecture does up to its matrix slides:
x is p×1, W1 is q×p, W2 is 1×q, and h, a, z, ŷ, the loss and every gradient have just the
sizes that the lecture's recap tables print. The network has one hidden layer.

Functions that take `params` take the package's `Params` (from `init_params`) and return
gradients in the same structure, so that all forms can be compared number by number; the
transpose in between is `Theta.from_params` and `Theta.to_params`.

The loss is computed from ŷ, as the lecture writes it, for reading. It is infinite where ŷ
has rounded to the wrong end; `jaxmlp.bce_with_logits` is what training uses.

Readers who write these functions themselves find out by `check_forward_one`,
`check_backward_one`, `check_backward`, `check_sgd_update` and `check_init` which equation
is wrong, if one is.

Where the lecture's text slips, this is what is meant:

* Objective function III: the second term is $(1 - y_i) \log(1 - \hat y_i)$; the index
  i is missing there, and ŷ depends on $x_i$ as well as on θ. See `minibatch_loss`.
* Equation (5): $\mathbf{1}_{\mathrm{ReLU}}(a)$ is $\mathbf{1}_{a>0}$, the
  derivative of ReLU, and what it multiplies is $\partial\mathcal{L}/\partial h$. See
  `dL_da`.
* Equation (3): the factor 1 belongs to $dz/db_2 = 1$; it is not a third factor. See
  `dL_db2`.
* Mini-batch gradient of b1: the sum runs to s, not to m, and a bracket is left open. See
  `minibatch_loop`.
* Matrix notation, size of $\nabla_{b_1}$: q×1 (a sum over the s examples), not s×1.
  See `minibatch_matrix`.
* Matrix notation, mask: $\mathbf{1}_{H>0}$ is the same as $\mathbf{1}_{A>0}$.
* Epochs: r = m/s is a whole number only if s divides m. See `minibatches`.
"""

from jaxmlp.core.lecture.backward import (
    Backward,
    backward_one,
    dh_da,
    dL_da,
    dL_db1,
    dL_db2,
    dL_dh,
    dL_dW1,
    dL_dW2,
    dL_dyhat,
    dL_dz,
    dyhat_dz,
)
from jaxmlp.core.lecture.checks import (
    check_backward,
    check_backward_one,
    check_forward_one,
    check_init,
    check_sgd_update,
)
from jaxmlp.core.lecture.forward import Forward, Theta, forward_one, relu, sigmoid
from jaxmlp.core.lecture.minibatch import (
    minibatch_loop,
    minibatch_loss,
    minibatch_matrix,
    minibatch_vmap,
)
from jaxmlp.core.lecture.objectives import linear_regression_sse, logistic_regression_nll
from jaxmlp.core.lecture.recap import RecapRow, backward_recap, forward_recap
from jaxmlp.core.lecture.updates import epoch, gd_update, minibatches, sgd_update

__all__ = [
    "Backward",
    "Forward",
    "RecapRow",
    "Theta",
    "backward_one",
    "backward_recap",
    "check_backward",
    "check_backward_one",
    "check_forward_one",
    "check_init",
    "check_sgd_update",
    "dL_dW1",
    "dL_dW2",
    "dL_da",
    "dL_db1",
    "dL_db2",
    "dL_dh",
    "dL_dyhat",
    "dL_dz",
    "dh_da",
    "dyhat_dz",
    "epoch",
    "forward_one",
    "forward_recap",
    "gd_update",
    "linear_regression_sse",
    "logistic_regression_nll",
    "minibatch_loop",
    "minibatch_loss",
    "minibatch_matrix",
    "minibatch_vmap",
    "minibatches",
    "relu",
    "sgd_update",
    "sigmoid",
]
