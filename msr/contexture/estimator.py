"""A scikit-learn estimator: columns in, the functions that a context teaches out, and how much of it was learned."""

import sys
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msr.contexture.contexts.base import SCALE, Context
from msr.contexture.contexts.pools import PoolContext
from msr.contexture.contexts.samplers import SamplerContext
from msr.contexture.learning import Schedule, learn
from msr.contexture.measures import captured
from msr.contexture.notation import parse_context
from msr.contexture.objectives import (
    KISE,
    SVME,
    LowRank,
    NonContrastive,
    Objective,
    SpectralContrastive,
    VICSurrogate,
)
from msr.contexture.spectra import Spectrum, extend, spectrum
from msr.errors import ConfigError, DataError, MissingExtraError

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise MissingExtraError(
        "scikit-learn 1.6 or newer is the base of ContextureEncoder. Try: pip install 'msr[contexture]'"
    ) from error

__all__ = ["ContextureEncoder"]

_EXACT = 4000
"""Rows up to which ``auto`` takes the exact backend: some seconds for all singular functions."""

_ALL = 2000
"""Rows up to which all singular values are computed."""

_OBJECTIVES: dict[str, Callable[[], Objective | VICSurrogate]] = {
    "svme": SVME,
    "kise": KISE,
    "low-rank": LowRank,
    "spectral": SpectralContrastive,
    "non-contrastive": NonContrastive,
    "vic": VICSurrogate,
}


class ContextureEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """The top singular functions of a context, as a transformer.

    Columns should be on comparable scales (``StandardScaler``), since distances decide who is near. The functions are
    of mean 0 and mean square 1 on the rows that were fitted, uncorrelated, the most informative first.

    Args:
        context: what is learned: a text in the notation of :func:`msr.contexture.notation.parse_context` such as
            ``knn:30`` or ``rbf:auto``; a function of rows ``(n, p)`` and target that gives a context; or a
            :class:`SamplerContext`, with the torch backend.
        n_components: how many functions.
        objective: of the torch backend: ``svme``, ``kise``, ``low-rank``, ``spectral``, ``non-contrastive``, ``vic``
            (the published surrogate); None for ``svme``, or ``kise`` where the context has a kernel only.
        network: makes the torch backend's network of so many inputs and outputs from a generator; None for a
            perceptron of two hidden layers of 128 tanh units.
        backend: ``exact`` decomposes the context of the fitted rows, and continues its functions to others;
            ``torch`` trains a network. ``auto`` is exact for contexts that know about other rows, up to 4,000 rows,
            where neither an objective nor a network is given.
        max_steps: gradient steps at most; training ends before where 99.99% of what can be captured is.
        learning_rate: of Adam.
        batch_size: rows of a step.
        n_draws: contexts of each row of a batch.
        random_state: an int, a ``numpy.random.RandomState``, or None for another seed each time.
        verbose: whether to print a line on stderr now and then.

    Attributes (after ``fit``):
        captured_: how much of what ``n_components`` functions can capture of the context was captured, in per cent; nan
            where that is not known (a sampler).
        beyond_: what more components could add, in per cent of all that the context knows; nan where not known.
        spectrum_: the exact :class:`Spectrum` of the context; None for a sampler.
        context_: the context of the fitted rows.
        encoder_: the trained network; None for the exact backend.
        n_steps_: gradient steps that it took; 0 for the exact backend.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.
    """

    def __init__(
        self,
        context: Any = "rbf:auto",
        n_components: int = 2,
        *,
        objective: str | None = None,
        network: Callable[[int, int, torch.Generator], nn.Module] | None = None,
        backend: Literal["auto", "exact", "torch"] = "auto",
        max_steps: int = 1500,
        learning_rate: float = 1e-2,
        batch_size: int = 512,
        n_draws: int = 4,
        random_state: Any = None,
        verbose: bool = False,
    ):
        self.context = context
        self.n_components = n_components
        self.objective = objective
        self.network = network
        self.backend = backend
        self.max_steps = max_steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_draws = n_draws
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> "ContextureEncoder":
        """Learn the context of rows ``X (n, p)``; ``y (n,)`` is for contexts that look at it.

        Raises: ConfigError for options that cannot work; DataError for rows that cannot; ValueError, as everywhere in
        scikit-learn, for rows that are no finite numbers.
        """
        rows = torch.from_numpy(self._rows(X, reset=True))
        if len(rows) < 3:
            raise DataError(
                f"at least 3 rows are needed for a function of mean 0 and its neighbour; got {len(rows)} sample(s)"
            )
        self._check(len(rows))
        made = self._made(rows, y)
        if isinstance(made, Context) and made.n != len(rows):
            raise ConfigError(f"the context {made.name} is of {made.n} points, and there are {len(rows)} rows")
        if isinstance(made, PoolContext) and not isinstance(self.context, str):
            _check_coordinates(made, rows)
        self.context_ = made
        self.spectrum_: Spectrum | None = None
        self.encoder_: nn.Module | None = None
        self.n_steps_ = 0
        self.captured_ = self.beyond_ = float("nan")
        if isinstance(made, Context):
            self.spectrum_ = spectrum(made, None if made.n <= _ALL else self.n_components + 1)
        exact = self._is_exact(made)
        kept = self._fit_exact(rows) if exact else self._fit_network(rows, made)
        if kept < self.n_components:
            who = f"the context {self._name}" if exact else "the network, which collapsed,"
            warnings.warn(
                f"{who} has {kept} functions to give, of {self.n_components} that were asked for",
                UserWarning,
                stacklevel=2,
            )
        if self.spectrum_ is not None and self.spectrum_.energy > 0:
            self.beyond_ = 100 * max(0.0, 1 - self.spectrum_.best_energy(kept) / self.spectrum_.energy)
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """The functions at rows ``X (n, p)``: ``(n, n_components)`` float64. Raises: NotFittedError, ShapeError."""
        check_is_fitted(self, "context_")
        rows = torch.from_numpy(self._rows(X, reset=False))
        if self.encoder_ is None:
            assert isinstance(self.context_, PoolContext)
            assert self.spectrum_ is not None
            continued = extend(self.context_, self.spectrum_, rows)
            return (continued[:, : self._n_features_out] * self._signs).numpy()
        return ((self._outputs(rows) - self._means) @ self._mixing).numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """How much of the context *of these rows* the functions capture, of what so many can: a share, 0 to 1.

        On rows that were not fitted it says whether the functions hold beyond those that were.
        Raises: ConfigError for a sampler, whose energy is not known.
        """
        check_is_fitted(self, "context_")
        values = torch.from_numpy(self.transform(X))
        rows = torch.from_numpy(self._rows(X, reset=False))
        made = self._made(rows, y)
        if isinstance(made, SamplerContext):
            raise ConfigError(f"what can be captured of {made.name} is not known, since it is known by examples only")
        d = min(self.n_components, made.n - 1)
        return captured(made, values).share(spectrum(made, d), d)

    @property
    def _n_features_out(self) -> int:
        return int(self._signs.shape[0])

    @property
    def _name(self) -> str:
        return self.context if isinstance(self.context, str) else getattr(self.context_, "name", "given")

    def _rows(self, X: Any, *, reset: bool) -> NDArray[np.float64]:
        """The rows as float64, checked the way of scikit-learn."""
        # A copy: torch would share the caller's memory, which may be read-only or change.
        return np.array(validate_data(self, X, reset=reset, dtype=np.float64, ensure_min_samples=1))

    def _check(self, n: int) -> None:
        """Raise ConfigError for options that cannot work with ``n`` rows."""
        for name, least in (("n_components", 1), ("max_steps", 1), ("batch_size", 4), ("n_draws", 2)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise ConfigError(f"{name} must be a whole number from {least}; got {value!r}")
        if not 0 < self.learning_rate < np.inf:
            raise ConfigError(f"learning_rate must be above 0; got {self.learning_rate!r}")
        if self.n_components > n - 1:
            raise ConfigError(f"{n} rows have {n - 1} functions of mean 0; n_components is {self.n_components}")
        if self.backend not in ("auto", "exact", "torch"):
            raise ConfigError(f"backend must be auto, exact or torch; got {self.backend!r}")
        if self.objective is not None and self.objective not in _OBJECTIVES:
            raise ConfigError(f"objective must be one of {', '.join(_OBJECTIVES)}; got {self.objective!r}")

    def _made(self, rows: Tensor, y: Any) -> Context | SamplerContext:
        """The context of these rows."""
        if isinstance(self.context, SamplerContext):
            return self.context
        if isinstance(self.context, str):
            return parse_context(self.context).on(rows, y)
        if callable(self.context):
            made = self.context(rows, y)
            if not isinstance(made, (Context, SamplerContext)):
                raise ConfigError(
                    f"what the function for the context returned is no context; got {type(made).__name__}"
                )
            return made
        raise ConfigError(f"context must be a text, a function or a SamplerContext; got {type(self.context).__name__}")

    def _is_exact(self, made: Context | SamplerContext) -> bool:
        """Whether the exact backend is taken. Raises: ConfigError where it was asked for and cannot work."""
        wants_network = self.objective is not None or self.network is not None
        if self.backend == "exact" and wants_network:
            raise ConfigError("objective and network are of the torch backend, and backend is exact")
        if isinstance(made, PoolContext):
            return self.backend == "exact" or (self.backend == "auto" and made.n <= _EXACT and not wants_network)
        if self.backend == "exact":
            raise ConfigError(f"the exact backend cannot continue the context {made.name} to other rows; take torch")
        return False

    def _fit_exact(self, rows: Tensor) -> int:
        """Keep the exact functions, and return how many there are."""
        assert isinstance(self.context_, PoolContext)
        found = self.spectrum_
        assert found is not None
        values = extend(self.context_, found, rows)[:, : self.n_components]
        self._signs = _signs(values)
        self.captured_ = 100 * (found.best_energy(values.shape[1]) / found.best_energy(self.n_components))
        return values.shape[1]

    def _fit_network(self, rows: Tensor, made: Context | SamplerContext) -> int:
        """Train a network, and return how many functions it has."""
        self._centre = rows.mean(dim=0)
        spread = rows.std(dim=0, correction=0)
        # A column that varies by rounding alone carries nothing, and must not be divided by that.
        rounding = 10 * len(rows) * torch.finfo(torch.float64).eps * rows.abs().amax(dim=0)
        self._spread = torch.where(spread > rounding, spread, 1.0)
        goal = None if self.objective is None else _OBJECTIVES[self.objective]()
        if isinstance(goal, (SpectralContrastive, NonContrastive)) and not isinstance(made, PoolContext):
            raise ConfigError(
                f"{self.objective} encodes contexts, and continues to other rows on a pool only (knn, rbf); "
                f"{made.name} is none: take svme or kise"
            )
        learned = learn(
            made,
            rows,
            self.n_components,
            objective=goal,
            network=self.network,
            spectrum=self.spectrum_,
            schedule=Schedule(steps=self.max_steps, rate=self.learning_rate, batch=self.batch_size, draws=self.n_draws),
            seed=_seed(self.random_state),
            prepare=self._scaled,
            progress=_lines if self.verbose else None,
        )
        # In double precision a row's functions do not depend on which rows it comes with.
        self.encoder_ = learned.encoder.double()
        self.n_steps_ = learned.steps
        self._averages = learned.of_contexts
        outputs = self._outputs(rows)
        self._means, self._mixing = _reading(outputs, made)
        self._signs = _signs((outputs - self._means) @ self._mixing)
        self._mixing = self._mixing * self._signs
        if learned.share is not None:
            self.captured_ = 100 * learned.share
        return len(self._signs)

    def _outputs(self, rows: Tensor) -> Tensor:
        """What the network gives for rows: its outputs, or the means of those over each row's contexts."""
        assert self.encoder_ is not None
        with torch.no_grad():
            if not self._averages:
                return self.encoder_(self._scaled(rows, torch.float64))
            assert isinstance(self.context_, PoolContext)
            outputs = self.encoder_(self._scaled(self.context_.pool, torch.float64))
        return torch.from_numpy(np.asarray(self.context_.conditional_rows(rows) @ outputs.numpy()))

    def _scaled(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Rows as the network gets them: of mean 0 and variance 1 in each column."""
        return ((rows - self._centre) / self._spread).to(dtype or torch.get_default_dtype())


def _check_coordinates(made: PoolContext, rows: Tensor) -> None:
    """Raise ConfigError for a context that says something else of the rows than of the points it was made on.

    A function that scales the rows first would be asked about other rows in units that it does not know.
    """
    few = rows[:50]
    off = abs(made.conditional_rows(few) - made.conditional[: len(few)]).max()
    if off > SCALE:
        raise ConfigError(
            f"the context {made.name} was made on other points than the rows as they were given (P(a|x) differs by "
            f"{off:.3g}): scale the rows before the estimator, in a pipeline"
        )


def _reading(outputs: Tensor, made: Context | SamplerContext) -> tuple[Tensor, Tensor]:
    """The means of a network's outputs, and the matrix that makes them uncorrelated and puts the best first."""
    if isinstance(made, Context):
        what = captured(made, outputs)
        return what.means, what.mixing
    means = outputs.mean(dim=0)
    centred = outputs - means
    sizes, vectors = torch.linalg.eigh(centred.mT @ centred / len(centred))
    order = sizes.argsort(descending=True)
    kept = order[sizes[order] > 1e-10 * sizes.max()]
    return means, vectors[:, kept] / sizes[kept].sqrt()


def _signs(values: Tensor) -> Tensor:
    """Signs for the columns, so that the largest entry of each is positive: functions have none of their own."""
    largest = values.gather(0, values.abs().argmax(dim=0, keepdim=True))[0]
    return torch.where(largest < 0, -1.0, 1.0).double()


def _seed(random_state: Any) -> int:
    """A seed for torch from what scikit-learn takes."""
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _lines(step: int, steps: int, share: float | None) -> None:
    """A line on stderr about a training."""
    known = "" if share is None else f", {100 * share:.2f}% of what can be captured"
    print(f"step {step} of {steps}{known}", file=sys.stderr)
