"""Torch's errors about missing derivatives, as errors that name the operation and a remedy."""

import re

from msr.errors import ModelError

__all__ = ["explain"]

_NO_DERIVATIVE = (
    re.compile(r"derivative for '?(?:aten::)?_*(\w+?)(?:_backward)?'? is not implemented"),
    re.compile(r"Trying to use forward AD with (?:aten::)?_*(\w+?)(?:_forward|_backward)? that does not support it"),
)


def explain(error: Exception, remedy: str) -> ModelError | None:
    """A ModelError that names the operation and the remedy, or None where this is another kind of error.

    ``remedy`` is what the caller tried, or knows to work, when an operation has no second derivative.
    """
    text = str(error)
    for pattern in _NO_DERIVATIVE:
        match = pattern.search(text)
        if match:
            return ModelError(f"torch has no second derivative of {match[1]}, which this problem calls; {remedy}")
    if "saved tensor hooks" in text:
        return ModelError(
            "this problem uses saved_tensors_hooks (save_on_cpu, or checkpointing of another library), which "
            "torch.func cannot differentiate; leave them out of the network's forward"
        )
    method = re.search(r"(requires_grad_|retain_grad)\(\)", text)
    if method and "functorch transform" in text:
        return ModelError(
            f"this problem calls Tensor.{method[1]}() while it predicts, which torch.func cannot differentiate; leave "
            "it out, and take a derivative inside a network by torch.func.grad or torch.func.jacrev"
        )
    if "data pointer of Tensor that doesn't have storage" in text:
        return ModelError(
            "this problem calls an operation that reads a tensor's memory, which torch.func has none of, such as "
            f"pack_padded_sequence with lengths that are computed from the input; {remedy}"
        )
    if "setup_context staticmethod" in text:
        return ModelError(
            "this problem calls a torch.autograd.Function of its own without setup_context, or one of a library; "
            "torch.func needs it written with forward(...) and setup_context(ctx, inputs, output)"
        )
    return None
