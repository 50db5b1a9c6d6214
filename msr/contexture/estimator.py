"""A scikit-learn estimator: columns in, the functions that a context teaches out, and how much of it was learned."""

import sys
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msr.contexture.contexts.base import Context
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
            ``torch`` trains a network. ``auto`` is exact for contexts that know about other rows, up to 4,000 rows.
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
        max_steps: int = 2000,
        learning_rate: float = 3e-3,
        batch_size: int = 512,
        n_draws: int = 8,
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

        Raises: ConfigError for options that cannot work; DataError for rows that cannot; ShapeError, NonFiniteError.
        """
        rows = torch.from_numpy(self._rows(X, reset=True))
        if len(rows) < 3:
            raise DataError(
                f"at least 3 rows are needed for a function of mean 0 and its neighbour; got {len(rows)} sample(s)"
            )
        self._check(len(rows))
        made = self._made(rows, y)
        self.context_ = made
        self.spectrum_: Spectrum | None = None
        self.encoder_: nn.Module | None = None
        self.captured_ = self.beyond_ = float("nan")
        if isinstance(made, Context):
            self.spectrum_ = spectrum(made, None if made.n <= _ALL else self.n_components + 1)
        kept = self._fit_exact() if self._is_exact(made) else self._fit_network(rows, made)
        if kept < self.n_components:
            warnings.warn(
                f"the context {self._name} has {kept} functions to give, of {self.n_components} that were asked for",
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
        with torch.no_grad():
            outputs = self.encoder_(self._scaled(rows, torch.float64))
        return ((outputs - self._means) @ self._mixing).numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """How much of the context *of these rows* the functions capture, of what so many can: a share, 0 to 1.

        On rows that were not fitted it says whether the functions hold beyond those that were.
        Raises: ConfigError for a sampler, whose energy is not known.
        """
        check_is_fitted(self, "context_")
        rows = torch.from_numpy(self._rows(X, reset=False))
        made = self._made(rows, y)
        if isinstance(made, SamplerContext):
            raise ConfigError(f"what can be captured of {made.name} is not known, since it is known by examples only")
        values = torch.from_numpy(self.transform(rows.numpy()))
        d = min(values.shape[1], made.n - 1)
        return captured(made, values).share(spectrum(made, d), min(d, len(captured(made, values).squares)))

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
        if not isinstance(self.n_components, (int, np.integer)) or self.n_components < 1:
            raise ConfigError(f"n_components must be a whole number from 1; got {self.n_components!r}")
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
        if isinstance(made, PoolContext):
            return self.backend == "exact" or (self.backend == "auto" and made.n <= _EXACT)
        if self.backend == "exact":
            raise ConfigError(f"the exact backend cannot continue the context {made.name} to other rows; take torch")
        return False

    def _fit_exact(self) -> int:
        """Keep the exact functions, and return how many there are."""
        assert isinstance(self.context_, PoolContext)
        found = self.spectrum_
        assert found is not None
        values = extend(self.context_, found, self.context_.pool)[:, : self.n_components]
        self._signs = _signs(values)
        self.captured_ = 100.0
        return values.shape[1]

    def _fit_network(self, rows: Tensor, made: Context | SamplerContext) -> int:
        """Train a network, and return how many functions it has."""
        self._centre = rows.mean(dim=0)
        spread = rows.std(dim=0, correction=0)
        # A column that does not vary carries nothing, whatever it is divided by.
        self._spread = torch.where(spread > 0, spread, 1.0)
        learned = learn(
            made,
            self._scaled(rows),
            self.n_components,
            objective=None if self.objective is None else _OBJECTIVES[self.objective](),
            network=self.network,
            spectrum=self.spectrum_,
            schedule=Schedule(steps=self.max_steps, rate=self.learning_rate, batch=self.batch_size, draws=self.n_draws),
            seed=_seed(self.random_state),
            progress=_lines if self.verbose else None,
        )
        # In double precision a row's functions do not depend on which rows it comes with.
        self.encoder_ = learned.encoder.double()
        self.n_steps_ = learned.steps
        self._means, self._mixing = _reading(self.encoder_, self._scaled(rows, torch.float64), made)
        self._signs = _signs(torch.from_numpy(self._outputs(rows)))
        self._mixing = self._mixing * self._signs
        if learned.share is not None:
            self.captured_ = 100 * learned.share
        return len(self._signs)

    def _outputs(self, rows: Tensor) -> NDArray[np.float64]:
        """The functions before their signs are chosen."""
        with torch.no_grad():
            outputs = self.encoder_(self._scaled(rows, torch.float64))  # type: ignore[misc]
        return ((outputs - self._means) @ self._mixing).numpy()

    def _scaled(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Rows as the network gets them: of mean 0 and variance 1 in each column."""
        return ((rows - self._centre) / self._spread).to(dtype or torch.get_default_dtype())


def _reading(encoder: nn.Module, rows: Tensor, made: Context | SamplerContext) -> tuple[Tensor, Tensor]:
    """The means of a trained network, and the matrix that makes its functions uncorrelated and puts the best first."""
    with torch.no_grad():
        outputs = encoder(rows)
    if isinstance(made, Context):
        what = captured(made, outputs)
        return what.means, what.mixing
    means = outputs.mean(dim=0)
    sizes, vectors = torch.linalg.eigh((outputs - means).T.cov(correction=0))
    order = sizes.argsort(descending=True)
    kept = order[sizes[order] > 1e-10 * sizes.max()]
    return means, vectors[:, kept] / sizes[kept].sqrt()


def _signs(values: Tensor) -> Tensor:
    """Signs for the columns, so that the largest entry of each is positive: functions have none of their own."""
    largest = values.gather(0, values.abs().argmax(dim=0, keepdim=True))[0]
    return torch.where(largest < 0, -1.0, 1.0).double()


def _seed(random_state: Any) -> int:
    """A seed for torch from what scikit-learn takes."""
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    source = np.random if random_state is None else random_state  # what scikit-learn promises
    return int(source.randint(2**31 - 1))


def _lines(step: int, steps: int, share: float | None) -> None:
    """A line on stderr about a training."""
    known = "" if share is None else f", {100 * share:.2f}% of what can be captured"
    print(f"step {step} of {steps}{known}", file=sys.stderr)
