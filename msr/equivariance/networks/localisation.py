"""Where in a network the symmetry breaks: the defect of each layer by itself, on the activations that it receives."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from msr.arrays import takes_arrays
from msr.equivariance.measuring.defects import equivariance_error
from msr.equivariance.measuring.evaluation import Elements
from msr.equivariance.networks.walk import Representations, walk
from msr.errors import ConfigError, MSRError

__all__ = ["LayerDefects", "localise"]


@dataclass(frozen=True, eq=False)
class LayerDefects:
    """A table of defects: a row for each layer, a column for each element.

    Attributes:
        layers: names of the layers, in the order they run.
        elements: labels of the elements.
        values: ``(layers, elements)`` float64, defects without unit, in [0, √2].
        sizes: ``(layers,)``, the root mean square of each layer's outputs.
        unmeasured: why a layer is not in the table, or only in part, by its name.
    """

    layers: tuple[str, ...]
    elements: tuple[str, ...]
    values: Tensor
    sizes: Tensor
    unmeasured: dict[str, str] = field(default_factory=dict)

    @property
    def worst(self) -> str:
        """The name of the layer with the largest defect."""
        return self.layers[int(self.values.max(dim=1).values.argmax())]

    def compare(self, after: "LayerDefects") -> str:
        """A text: the largest defect of each layer beside that of another table, such as one made after training.

        Raises: ConfigError for tables of different layers.
        """
        if after.layers != self.layers:
            raise ConfigError(f"the tables are of different layers: {self.layers} and {after.layers}")
        width = max(len("layer"), *map(len, self.layers))
        lines = [f"{'layer':<{width}}  {'before':>9}  {'after':>9}  at"]
        for i, name in enumerate(self.layers):
            largest_before = float(self.values[i].max())
            largest_after = float(after.values[i].max())
            label = after.elements[int(after.values[i].argmax())]
            lines.append(f"{name:<{width}}  {largest_before:>9.2e}  {largest_after:>9.2e}  {label}")
        return "\n".join(lines)

    def __str__(self) -> str:
        width = max(len("layer"), *map(len, self.layers))
        columns = [max(9, len(label)) for label in self.elements]
        head = "  ".join(f"{label:>{w}}" for label, w in zip(self.elements, columns, strict=True))
        lines = [f"{'layer':<{width}}  {head}"]
        for name, row in zip(self.layers, self.values.tolist(), strict=True):
            cells = "  ".join(f"{value:>{w}.2e}" for value, w in zip(row, columns, strict=True))
            lines.append(f"{name:<{width}}  {cells}")
        lines += [f"{name}: {reason}" for name, reason in self.unmeasured.items()]
        return "\n".join(lines)


@takes_arrays("x", "masks")
def localise(
    network: nn.Module,
    x: Tensor,
    representations: Representations,
    elements: Elements = "all",
    *,
    masks: Mapping[str, Tensor] | None = None,
) -> LayerDefects:
    """The defect of each layer by itself, on the activations that ``x`` causes, for each element.

    A layer's input ``h`` is moved and given to that layer alone, ``layer(ρ_in(g) h)`` against ``ρ_out(g) layer(h)``, so
    a defect that arose in an earlier layer is not blamed on it. The defects are those of :func:`equivariance_error`.

    Args:
        network: any module; layers are its innermost modules, in the order they run. One that runs several times is
            measured the first time. One that takes or returns anything but one tensor is left out, and ``unmeasured``
            says so; with a function as ``representations`` the nearest module around it that maps one tensor to one
            tensor is measured instead.
        x: inputs ``(batch, ...)``.
        representations: one of
            a list for a chain of ``L`` layers, ``L + 1`` long: before the first layer, after it, …;
            a mapping ``name -> (rep_in, rep_out)``: then only the layers named are measured;
            a function ``shape -> representation`` of one activation's shape, for all layers, such as
            ``lambda shape: trivial(C4, shape[0]) * grid_rotations(shape[1:])``.
        elements: as in :func:`equivariance_error`.
        masks: by the names of some of the layers, which outputs to compare (:func:`interior`).

    Raises: ModelError where the network fails, no layer can be measured, or one that was asked for by name cannot be.
    """
    # One run gives the inputs of all layers.
    traced = walk(network, x, representations, masks)
    rows: dict[str, Tensor] = {}
    sizes: list[Tensor] = []
    labels: tuple[str, ...] = ()
    for name, layer in traced.layers.items():
        mask = (masks or {}).get(name)
        try:
            defects = equivariance_error(layer.module, layer.h, layer.before, layer.after, elements, mask=mask)
        except MSRError as error:
            traced.leave_out(name, error)
            continue
        rows[name] = defects.values
        # The size belongs to the outputs and hardly depends on the element, so the first stands for all.
        sizes.append(defects.size[0])
        labels = defects.labels
    traced.check_not_empty(list(rows))
    return LayerDefects(tuple(rows), labels, torch.stack(list(rows.values())), torch.stack(sizes), traced.unmeasured)
