"""The Gauss-Newton model by brute force: every gradient written out, explicit inverses."""

import jax
import numpy as np

from jaxmlp import forward


def jacobian(params, X):
    """Gradient of each logit, by `jax.grad`, `(n, P)`."""
    grads = jax.vmap(jax.grad(lambda p, x: forward(p, x[None, :])[0]), (None, 0))(params, X)
    leaves = [np.asarray(leaf).reshape(len(X), -1) for leaf in jax.tree.leaves(grads)]
    return np.concatenate(leaves, axis=1)


class Dense:
    """All quantities from the matrix H and its inverse."""

    def __init__(self, params, X, y, l2, weight=None):
        self.params, self.y = params, y
        self.z = np.asarray(forward(params, X))
        self.p = 1 / (1 + np.exp(-self.z))
        weight = np.ones(len(y)) if weight is None else weight
        self.total = weight.sum()
        self.share = weight / weight.sum()
        self.d = self.share * self.p * (1 - self.p)
        self.J = jacobian(params, X)
        self.H = (self.J.T * self.d) @ self.J + l2 * np.eye(self.J.shape[1])
        self.inverse = np.linalg.inv(self.H)
        self.residual = self.share * (self.p - y)
        self.leverage = self.d * np.einsum("ip,pq,iq->i", self.J, self.inverse, self.J)

    def influence(self, X_query, *, newton=True):
        change = jacobian(self.params, X_query) @ self.inverse @ self.J.T * self.residual
        return change / (1 - self.leverage) if newton else change

    def group(self, X_query, rows, *, newton=True):
        """Removal of the rows from matrix and gradient."""
        J, d = self.J[rows], self.d[rows]
        inverse = np.linalg.inv(self.H - (J.T * d) @ J) if newton else self.inverse
        step = inverse @ J.T @ self.residual[rows]
        return jacobian(self.params, X_query) @ step

    def leave_one_out(self):
        own = np.einsum("ip,pq,iq->i", self.J, self.inverse, self.J) * self.residual
        return self.z + own / (1 - self.leverage)

    def covariance(self, X_query):
        J = jacobian(self.params, X_query)
        return J @ self.inverse @ J.T / self.total
