"""``msr check``: whether a saved layer or network is equivariant."""

import dataclasses
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from msr.cli.answers import as_json, give
from msr.cli.doors import is_terminal
from msr.cli.notations import read_notation
from msr.equivariance import Certificate, certify
from msr.equivariance.measuring.evaluation import error_text
from msr.equivariance.measuring.inputs import draw_inputs, seeded, template_of
from msr.errors import ModelError, MSRError, NonFiniteError
from msr.failures import is_lack_of_memory
from msr.files.writing import Write
from msr.memory import refuse_if_larger
from msr.models.onnx import OnnxNetwork
from msr.models.reading import read_model, weight_shape
from msr.representations import Representation
from msr.version import __version__

__all__ = ["EXIT_CODES", "run"]

EXIT_CODES = {"certified": 0, "refuted": 1, "cannot tell": 3}

PLAIN = 100
"""A weight whose largest number lies between 2^-100 and 2^100 is not rescaled: sums of its squares fit into float64."""

BLACK_BOX = (
    "a network in ONNX is a black box here: draws can say that a defect above eps is rare, not that there is none, and "
    "not which layer causes it"
)

COPIES = 4
"""Copies of all inputs and outputs, in float64, that are in memory at once; it bounds what --draws may need."""

LARGEST = 1e120
SMALLEST = 1e-120
"""Sizes of a network's outputs between which sums of their squares are far from overflow and underflow of float64."""


def run(options: Any) -> int:
    """Certify the model, write the files that were asked for, print the answer, and return the exit code."""
    size_out, size_in = weight_shape(options.model) or (None, None)
    group, rep_in, rep_out = read_notation(options.group, options.rep_in, options.rep_out, sizes=(size_in, size_out))
    model = read_model(options.model, trust=options.trust, shape_out=rep_out.shape)
    if not isinstance(model, Tensor):
        size = 8 * COPIES * options.draws * (rep_in.dim + rep_out.dim)
        refuse_if_larger(size, f"{options.draws} draws of inputs and outputs", advice="give fewer --draws")
    levels: dict[str, Any] = {"eps": options.eps, "alpha": options.alpha, "n": options.draws}
    if isinstance(model, OnnxNetwork):
        levels["dtype"] = model.dtype
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the certificate holds them
            exponent = _rescale(model) if options.model.suffix.lower() in (".npy", ".npz", ".safetensors") else 0
            if not exponent and not isinstance(model, Tensor):
                _check_size(options.model, model, rep_in, levels.get("dtype"))
            certificate = certify(model, group, rep_in, rep_out, **levels)
    except (MSRError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # a model's code may raise anything, and exit code 1 is a verdict
        if is_lack_of_memory(error):
            raise
        raise ModelError(f"{options.model} failed: {type(error).__name__}: {error_text(error)}") from error
    certificate = _in_own_units(certificate, exponent)
    if isinstance(model, OnnxNetwork):
        certificate = dataclasses.replace(certificate, warnings=(*certificate.warnings, BLACK_BOX))
    answer = as_json({**dataclasses.asdict(certificate), "certified": certificate.certified, "version": __version__})
    files: dict[Path, Write] = {}
    if options.json is not None and not is_terminal(options.json):
        files[options.json] = lambda file: file.write(answer.encode())
    give(answer if is_terminal(options.json) else f"{certificate}\n", files)
    return EXIT_CODES[certificate.verdict]


def _rescale(layer: Tensor | nn.Module) -> int:
    """Divide a layer ``x ↦ W x + b`` in place by a power of two where its squares would overflow or vanish.

    That is exact, and a symmetry does not depend on the unit of the outputs. Returns the exponent of the divisor, which
    is negative for one below 1, and 0 for a layer that was left as it is.
    """
    parts = [layer] if isinstance(layer, Tensor) else [p.detach() for p in layer.parameters()]
    largest = max((float(part.abs().max()) for part in parts if part.numel()), default=0.0)
    if largest == 0 or not math.isfinite(largest):
        return 0
    exponent = math.frexp(largest)[1]
    if abs(exponent) <= PLAIN:
        return 0
    half = -exponent // 2  # in two steps, since 2 to the whole power may overflow
    for part in parts:
        part.mul_(2.0**half).mul_(2.0 ** (-exponent - half))
    return exponent


def _in_own_units(certificate: Certificate, exponent: int) -> Certificate:
    """A certificate in the units of the layer before :func:`_rescale`.

    Raises: NonFiniteError where the size of the outputs does not fit into float64 in these units.
    """
    try:
        size, unit = (math.ldexp(value, exponent) for value in (certificate.size, certificate.unit))
    except OverflowError as error:
        raise NonFiniteError(
            f"the outputs are of size {certificate.size:.3g} times 2^{exponent}, which is no number: divide the weight "
            f"by 2^{exponent}, which changes no symmetry"
        ) from error
    return dataclasses.replace(certificate, size=size, unit=unit)


def _check_size(path: Path, model: Any, rep_in: Representation, dtype: torch.dtype | None) -> None:
    """Raise ModelError for a network whose outputs, on two random inputs, are too large or too small to be squared.

    A network that fails on them passes: whatever else is wrong is left to the certificate.

    Args:
        path: of the network, for the message.
        dtype: of the inputs; None for that of the network's parameters.
    """
    x = draw_inputs(None, 2, rep_in, template_of(model, dtype), seeded(0, rep_in))
    try:
        y = model(x)
        size = float(y.detach().abs().max()) if isinstance(y, Tensor) and y.numel() else 0.0
    except Exception:
        return
    if size > LARGEST or 0 < size < SMALLEST:
        raise ModelError(
            f"{path} gives outputs of size {size:.3g}, whose squares float64 cannot hold; scale its last layer by "
            f"{1 / max(size, 1e-300):.0e}, which changes no symmetry"
        )
