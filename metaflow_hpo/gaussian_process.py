"""A small Gaussian process: Matern-5/2 with one length a dimension, fitted by its posterior mode.

The one thing to know: it standardises its targets itself and answers on their scale; points live in the unit cube.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.special import ndtr

from metaflow_hpo.space import Array

_ROOT5 = 5.0**0.5
_JITTER = 1e-6
_LENGTH_PRIOR = (0.0, 1.0)
"""Mean and deviation of log(length / sqrt(D / 4)); 1 is half the diagonal of the cube."""
_SIGNAL_PRIOR = (0.0, 0.5)
_NOISE_PRIOR = (-5.0, 1.5)
_MIN_TRIALS_TO_FIT = 3
_MAX_ITERATIONS = 40


def squared_distances(a: Array, b: Array) -> Array:
    """Return squared distances `(N, P)` of points `(N, D)` and `(P, D)`."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * a @ b.T
    return np.asarray(np.maximum(squares, 0.0))


def matern(squared: Array) -> Array:
    """Return the Matern-5/2 correlation at squared distances in units of the length."""
    r = _ROOT5 * np.sqrt(squared)
    return np.asarray((1.0 + r + r**2 / 3.0) * np.exp(-r))


def expected_improvement(mean: Array, deviation: Array, best: Array | float) -> Array:
    """Return E[max(f - best, 0)] for a Gaussian f.

    References:
        Jones, Schonlau, Welch 1998, Efficient global optimization of expensive black-box functions.
    """
    safe = np.maximum(deviation, 1e-12)
    u = (mean - best) / safe
    density = np.exp(-0.5 * u**2) / np.sqrt(2.0 * np.pi)
    return np.asarray(safe * (u * ndtr(u) + density))


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process.

    Attributes:
        points: `(N, D)` points it was fitted to, divided by the lengths.
        lengths: `(D,)`.
        signal: Prior variance in units of the targets' variance.
        noise: Noise variance, same unit.
        center: Mean of the targets.
        scale: Deviation of the targets.
        cholesky: `(N, N)` lower factor of the covariance of the targets.
        weights: `(N,)` covariance^-1 applied to the standardised targets.
    """

    points: Array
    lengths: Array
    signal: float
    noise: float
    center: float
    scale: float
    cholesky: Array
    weights: Array

    @classmethod
    def fit(cls, points: Array, targets: Array, start: "GaussianProcess | None" = None) -> "GaussianProcess":
        """Fit lengths, signal and noise, then condition on the trials.

        Args:
            points: `(N, D)` in the unit cube.
            targets: `(N,)` finite.
            start: A process whose hyperparameters the search starts from.
        """
        center, scale = float(targets.mean()), float(targets.std())
        scale = scale if scale > 1e-12 else 1.0
        y = (targets - center) / scale
        d = points.shape[1]
        theta = np.concatenate([np.zeros(d) + _length_centre(d), [_SIGNAL_PRIOR[0], _NOISE_PRIOR[0]]])
        if start is not None:
            theta = np.log(np.concatenate([start.lengths, [start.signal, start.noise]]))
        if len(y) >= _MIN_TRIALS_TO_FIT:
            squares = (points[:, None, :] - points[None, :, :]) ** 2  # (N, N, D)
            from scipy.optimize import minimize

            found = minimize(
                _negative_log_posterior,
                theta,
                args=(squares, y),
                jac=True,
                method="L-BFGS-B",
                bounds=[(-4.0, 4.0)] * d + [(-3.0, 3.0), (-9.0, 1.0)],
                options={"maxiter": _MAX_ITERATIONS},
            )
            theta = found.x
        return cls._condition(points, y, np.exp(theta), center, scale)

    def like(self, points: Array, targets: Array) -> "GaussianProcess":
        """Return a process on other trials `(N, D)`, `(N,)` with the lengths, signal and noise of this one."""
        center, scale = float(targets.mean()), float(targets.std())
        scale = scale if scale > 1e-12 else 1.0
        theta = np.concatenate([self.lengths, [self.signal, self.noise]])
        return self._condition(points, (targets - center) / scale, theta, center, scale)

    @classmethod
    def _condition(cls, points: Array, y: Array, theta: Array, center: float, scale: float) -> "GaussianProcess":
        d = points.shape[1]
        lengths, signal, noise = theta[:d], float(theta[d]), float(theta[d + 1])
        scaled = points / lengths
        covariance = signal * matern(squared_distances(scaled, scaled)) + (noise + _JITTER) * np.eye(len(y))
        cholesky = np.linalg.cholesky(covariance)
        weights = np.asarray(cho_solve((cholesky, True), y))
        return cls(scaled, lengths, signal, noise, center, scale, np.asarray(cholesky, dtype=np.float64), weights)

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Return means and deviations `(P,)` of the noise-free function at `(P, D)` points."""
        cross = self.signal * matern(squared_distances(points / self.lengths, self.points))  # (P, N)
        half = solve_triangular(self.cholesky, cross.T, lower=True)  # (N, P)
        variance = np.maximum(self.signal - (half**2).sum(axis=0), 1e-12)
        return self.center + self.scale * (cross @ self.weights), self.scale * np.sqrt(variance)

    def leave_one_out(self, targets: Array) -> tuple[Array, Array]:
        """Return mean and deviation `(N,)` at each of the fitted trials, given all others.

        References:
            Rasmussen, Williams 2006, Gaussian processes for machine learning, section 5.4.2.
        """
        inverse = cho_solve((self.cholesky, True), np.eye(len(targets)))
        variance = 1.0 / np.diag(inverse)
        return targets - self.scale * self.weights * variance, self.scale * np.sqrt(variance)


def _length_centre(dimensions: int) -> float:
    return _LENGTH_PRIOR[0] + 0.5 * float(np.log(dimensions / 4.0))


def _negative_log_posterior(theta: Array, squares: Array, y: Array) -> tuple[float, Array]:
    """Value and gradient in the log hyperparameters `(D + 2,)`: lengths, signal, noise."""
    d = squares.shape[2]
    inverse_squares = np.exp(-2.0 * theta[:d])
    signal, noise = np.exp(theta[d]), np.exp(theta[d + 1])
    root = _ROOT5 * np.sqrt(squares @ inverse_squares)  # (N, N)
    decay = np.exp(-root)
    correlation = (1.0 + root + root**2 / 3.0) * decay
    covariance = signal * correlation
    covariance[np.diag_indices_from(covariance)] += noise + _JITTER
    cholesky = np.linalg.cholesky(covariance)
    alpha = cho_solve((cholesky, True), y)
    inner = np.outer(alpha, alpha) - cho_solve((cholesky, True), np.eye(len(y)))
    value = 0.5 * float(y @ alpha) + float(np.log(np.diag(cholesky)).sum())
    # dk/dlog l_d = 5/3 signal (1 + r) exp(-r) squares_d / l_d^2
    weight = inner * (signal * (5.0 / 3.0) * (1.0 + root) * decay)
    gradient = np.empty_like(theta)
    gradient[:d] = -0.5 * np.einsum("ij,ijd->d", weight, squares) * inverse_squares
    gradient[d] = -0.5 * signal * float((inner * correlation).sum())
    gradient[d + 1] = -0.5 * noise * float(np.trace(inner))
    centre = np.concatenate([np.full(d, _length_centre(d)), [_SIGNAL_PRIOR[0], _NOISE_PRIOR[0]]])
    width = np.concatenate([np.full(d, _LENGTH_PRIOR[1]), [_SIGNAL_PRIOR[1], _NOISE_PRIOR[1]]])
    z = (theta - centre) / width
    return value + 0.5 * float(z @ z), gradient + z / width
