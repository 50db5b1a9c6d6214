"""The names under which models keep the weights of their blocks."""

from dataclasses import dataclass

from msr.brief import Brief
from msr.errors import ConfigError

__all__ = ["STATE_NAMES", "StateNames"]


@dataclass(frozen=True, eq=False, repr=False)
class StateNames(Brief):
    """Names of linear layers and norms in a ``state_dict``; ``{}`` in them stands for the number of the block.

    A name is that of a layer, which has ``.weight`` and perhaps ``.bias``, or of the weight itself, whose bias then has
    ``bias`` in place of ``weight`` in its name.

    Attributes:
        q, k, v: the projections of queries, keys and values; None where they are one matrix.
        qkv: that matrix, in which those of all heads stand one after the other: first all queries.
        o: the projection of the output.
        up, down: the two layers of the token-wise network; None where it is not read.
        attention_norm, feedforward_norm: the norms; None for a block without.
        transposed: whether weights are ``(in, out)``, as those of GPT-2's ``Conv1D``.
        by_head: whether ``qkv`` has queries, keys and values of the first head, then of the second, and so on.

    Raises: ConfigError where the matrices of attention are not all named once.
    """

    q: str | None = None
    k: str | None = None
    v: str | None = None
    qkv: str | None = None
    o: str = ""
    up: str | None = None
    down: str | None = None
    attention_norm: str | None = None
    feedforward_norm: str | None = None
    transposed: bool = False
    by_head: bool = False

    def __post_init__(self) -> None:
        apart = [self.q, self.k, self.v]
        fits = all(apart) if self.qkv is None else not any(apart)
        if not fits or not self.o:
            raise ConfigError("name q, k, v and o, or qkv and o; a matrix of queries, keys and values is one of both")
        if (self.up is None) != (self.down is None):
            raise ConfigError("name both layers of the network, up and down, or none")
        if self.by_head and self.qkv is None:
            raise ConfigError("by_head is the order of one matrix qkv; q, k and v apart have none")
        names = [n for n in (*apart, self.qkv, self.o, self.up, self.down) if n is not None]
        names += [n for n in (self.attention_norm, self.feedforward_norm) if n is not None]
        numbered = {name.count("{}") for name in names}
        if numbered not in ({0}, {1}):
            raise ConfigError("either each name has {} once, for the number of the block, or none has it")

    @property
    def is_numbered(self) -> bool:
        """Whether the names are those of several blocks."""
        return "{}" in self.o


STATE_NAMES: dict[str, StateNames] = {
    "torch": StateNames(
        qkv="layers.{}.self_attn.in_proj_weight",
        o="layers.{}.self_attn.out_proj",
        up="layers.{}.linear1",
        down="layers.{}.linear2",
        attention_norm="layers.{}.norm1",
        feedforward_norm="layers.{}.norm2",
    ),
    "gpt2": StateNames(
        qkv="h.{}.attn.c_attn",
        o="h.{}.attn.c_proj",
        up="h.{}.mlp.c_fc",
        down="h.{}.mlp.c_proj",
        attention_norm="h.{}.ln_1",
        feedforward_norm="h.{}.ln_2",
        transposed=True,
    ),
    "bert": StateNames(
        q="encoder.layer.{}.attention.self.query",
        k="encoder.layer.{}.attention.self.key",
        v="encoder.layer.{}.attention.self.value",
        o="encoder.layer.{}.attention.output.dense",
        up="encoder.layer.{}.intermediate.dense",
        down="encoder.layer.{}.output.dense",
        attention_norm="encoder.layer.{}.attention.output.LayerNorm",
        feedforward_norm="encoder.layer.{}.output.LayerNorm",
    ),
}
"""Names of three kinds of model: torch's TransformerEncoder, GPT-2 and BERT as they are published. A prefix such as
``transformer.`` or ``bert.`` is given beside them."""
