"""Networks in ONNX: the same numbers as the network, and nothing that runs, reads or fills memory without consent."""

import contextlib
import warnings
from pathlib import Path

import hypothesis
import numpy as np
import onnx
import pytest
import torch
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from msr.equivariance import certify
from msr.errors import DataError, ModelError, MSRError
from msr.groups import cyclic
from msr.models.onnx import OPERATORS
from msr.models.reading import read_model
from msr.representations import regular
from tests.support.forks import in_a_fork

FLOAT, DOUBLE, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64


def constant(name, *values, dtype=np.int64):
    return numpy_helper.from_array(np.array(values, dtype=dtype), name)


def model(nodes, constants=(), *, kind=FLOAT, shape=("batch", 6), opset=20, domains=(), functions=(), output=FLOAT):
    """A model from ``x`` to ``y``."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", output, ("batch", "m"))],
        list(constants),
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=9)


def node(kind, inputs, output="y", **attributes):
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def circulant(dtype=np.float32):
    i = np.arange(6)
    return np.cos((i - i[:, None]) % 6 * 1.3).astype(dtype)


@pytest.fixture
def saved(tmp_path):
    def save(made):
        onnx.save(made, tmp_path / "net.onnx")
        return tmp_path / "net.onnx"

    return save


@pytest.mark.parametrize(("kind", "dtype"), [(FLOAT, np.float32), (DOUBLE, np.float64)])
def test_a_network_is_evaluated_in_its_own_precision_and_certified(kind, dtype, saved):
    weight = numpy_helper.from_array(circulant(dtype), "W")
    path = saved(model([node("MatMul", "x W", "h"), node("Tanh", "h")], [weight], kind=kind, output=kind))
    network = read_model(path)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 6)).astype(dtype))
    assert torch.allclose(network(x), torch.tanh(x @ torch.from_numpy(circulant(dtype))), rtol=0, atol=1e-6)
    assert network(x).dtype == network.dtype == x.dtype
    rep = regular(cyclic(6))
    assert certify(network, cyclic(6), rep, rep, eps=0.01, dtype=network.dtype).certified
    swapped = circulant(dtype)[:, [1, 0, 2, 3, 4, 5]]
    broken = model([node("MatMul", "x W")], [numpy_helper.from_array(swapped, "W")], kind=kind, output=kind)
    assert certify(read_model(saved(broken)), cyclic(6), rep, rep, eps=0.01, dtype=network.dtype).verdict == "refuted"


def export_and_read(path):
    """Print how far a network that torch has exported is from the network."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    front = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.GELU(), nn.MaxPool2d(2), nn.Dropout()]
    net = nn.Sequential(*front, nn.Flatten(), nn.Linear(36, 5), nn.LayerNorm(5), nn.Softmax(1)).eval()
    batch = ({0: torch.export.Dim("batch")},)
    x = torch.randn(2, 2, 6, 6)
    torch.onnx.export(net, (x,), path, dynamo=True, dynamic_shapes=batch, verbose=False, external_data=False)
    x = torch.randn(7, 2, 6, 6)
    print(float((read_model(path)(x) - net(x)).abs().max()))


@pytest.mark.slow
def test_what_torch_exports_gives_the_same_numbers(tmp_path):
    """In a process of its own: the exporter leaves much behind."""
    pytest.importorskip("onnxscript")
    output = in_a_fork(lambda: export_and_read(tmp_path / "net.onnx"))
    assert float(output.strip().splitlines()[-1]) < 1e-6


def one(name, made, says):
    return pytest.param(made, says, id=name)


def _external():
    made = model([node("MatMul", "x W")], [numpy_helper.from_array(circulant(), "W")])
    tensor = made.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location="secret.bin")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    return made


def _loop():
    kind = helper.make_tensor_type_proto
    body = helper.make_graph(
        [node("Identity", "go", "again"), node("Concat", "v v", "w", axis=1)],
        "body",
        [helper.make_value_info(n, kind(t, None)) for n, t in (("i", INT64), ("go", TensorProto.BOOL), ("v", FLOAT))],
        [helper.make_value_info(n, kind(t, None)) for n, t in (("again", TensorProto.BOOL), ("w", FLOAT))],
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    times = numpy_helper.from_array(np.array(10**9), "times")
    return model([node("Loop", "times yes x", body=body)], [yes, times])


def _function():
    made = helper.make_function("mine", "F", ["a"], ["b"], [node("Relu", "a", "b")], [helper.make_opsetid("", 20)])
    return model([node("F", "x", domain="mine")], domains=["mine"], functions=[made])


def _lying():
    made = model([node("Add", "x c")], [constant("c", 1.0, dtype=np.float32)])
    made.graph.initializer[0].dims[:] = [10**6, 10**6]
    return made


def _sparse():
    made = model([node("Add", "x c")])
    values = numpy_helper.from_array(np.ones(1, np.float32), "c")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [10**6, 10**6]))
    return made


def _many(n):
    return [node("Concat", f"{'x' if i == 0 else f'h{i}'} " * 32, f"h{i + 1}", axis=1) for i in range(n)]


HUGE = constant("s", 10**6, 10**6)
IMAGE = ("batch", 1, 4, 4)
BAD = [
    one("external data", _external(), "keeps numbers in another file"),
    one("loop", _loop(), "a node of kind Loop"),
    one("function", _function(), "functions of its own"),
    one("other domain", model([node("Do", "x", domain="a.b")], domains=["a.b"]), "a node of kind a.b.Do"),
    one("image decoder", model([node("ImageDecoder", "x")]), "a node of kind ImageDecoder"),
    one("random", model([node("RandomNormalLike", "x")]), "a node of kind RandomNormalLike"),
    one("numbers that are not there", _lying(), "do not fill its shape"),
    one("sparse", _sparse(), "sparse tensors"),
    one("text", model([node("Cast", "x", to=8)]), "something else than numbers"),
    one("constant of shape", model([node("ConstantOfShape", "s")], [HUGE]), "would take about 1e+12 numbers"),
    one("expand", model([node("Expand", "x s")], [constant("s", 10**6, 10**6, 2, 6)]), "numbers beside"),
    one("tile", model([node("Tile", "x s")], [constant("s", 10**6, 10**6)]), "numbers beside"),
    one(
        "range",
        model([node("Range", "a b c", "r"), node("Cast", "r", to=1)],
              [numpy_helper.from_array(np.array(v), n) for n, v in (("a", 0), ("b", 10**12), ("c", 1))]),
        "would take about 1e+12",
    ),
    one("pad", model([node("Pad", "x p")], [constant("p", 0, 0, 0, 10**12)]), "numbers beside"),
    one("eye", model([node("ConstantOfShape", "s", "z"), node("EyeLike", "z")], [HUGE]), "would take about 1e+12"),
    one("doubling", model([*_many(8), node("Identity", "h8")]), "numbers beside"),
    one(
        "padded pool",
        model([node("MaxPool", "x", kernel_shape=[10**6, 10**6], pads=[10**6] * 4, strides=[10**6] * 2)], shape=IMAGE),
        "numbers beside",
    ),
    one(
        "cropped transpose",
        model([node("ConvTranspose", "x W", strides=[10**6, 10**6], pads=[10**6] * 4)],
              [numpy_helper.from_array(np.ones((1, 1, 2, 2), np.float32), "W")], shape=IMAGE),
        "numbers beside",
    ),
    one(
        "holes",
        model([node("Conv", "x W", dilations=[10**6, 10**6], pads=[10**6] * 4)],
              [numpy_helper.from_array(np.ones((1, 1, 2, 2), np.float32), "W")], shape=IMAGE),
        "numbers beside",
    ),
    one("fixed batch", model([node("Relu", "x")], shape=(3, 6)), "exported for batches of 3 only"),
    one("whole numbers", model([node("Identity", "x")], kind=INT64, output=INT64), "float32 or float64"),
    one("too new", model([node("Relu", "x")], opset=10**6), "operator set 1000000"),
    one("nothing before", model([node("Add", "x nowhere")]), "not a valid ONNX file"),
    one("wrong shape", model([node("MatMul", "x W")], [numpy_helper.from_array(np.eye(5), "W")]), "node 0 (MatMul)"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "says"), BAD)
def test_what_cannot_be_evaluated_safely_is_refused(made, says, saved):
    path = saved(made)
    (path.parent / "secret.bin").write_bytes(circulant().tobytes())
    shape = [1, 4, 4] if made.graph.input[0].type.tensor_type.shape.dim[2:] else [6]
    with pytest.raises((DataError, ModelError)) as caught:
        read_model(path)(torch.zeros(2, *shape))
    assert says in str(caught.value)


def test_dropout_that_draws_is_refused(saved):
    yes = numpy_helper.from_array(np.array(True), "yes")
    ratio = numpy_helper.from_array(np.array(0.5, np.float32), "ratio")
    network = read_model(saved(model([node("Dropout", "x ratio yes")], [yes, ratio])))
    with pytest.raises(ModelError, match="draws at random"):
        network(torch.zeros(2, 6))


def test_values_that_are_used_no_more_make_room(saved, monkeypatch):
    monkeypatch.setattr("msr.models.onnx.LARGEST_WHOLE", 3 * 60)
    chain = [node("Relu", "x" if i == 0 else f"h{i}", f"h{i + 1}") for i in range(20)]
    network = read_model(saved(model([*chain, node("Relu", "h20")])))
    assert network(torch.ones(10, 6)).sum() == 60


def test_operators_that_repeat_draw_or_read_are_not_evaluated():
    assert not OPERATORS & {
        "Loop",
        "Scan",
        "If",
        "SequenceMap",
        "RandomNormal",
        "Bernoulli",
        "ImageDecoder",
        "Optional",
    }
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert known | {"Swish", "RMSNormalization"} >= OPERATORS  # these two came later than the oldest onnx


WHOLE = model([node("MatMul", "x W", "h"), node("Tanh", "h")], [numpy_helper.from_array(circulant(), "W")])


@hypothesis.settings(max_examples=150, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(
    at=st.integers(0, WHOLE.ByteSize() - 1),
    new=st.binary(min_size=1, max_size=4),
    how=st.sampled_from(["write", "cut", "insert"]),
)
def test_a_damaged_file_ends_in_an_error_of_ours_or_a_network(at, new, how, tmp_path):
    data = WHOLE.SerializeToString()
    tail = {"write": data[at + len(new) :], "cut": b"", "insert": data[at:]}[how]
    path = Path(tmp_path / "net.onnx")
    path.write_bytes(data[:at] + (b"" if how == "cut" else new) + tail)
    with contextlib.suppress(MSRError):
        assert isinstance(read_model(path)(torch.zeros(2, 6)), torch.Tensor)
