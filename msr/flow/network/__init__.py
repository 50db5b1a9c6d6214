"""Real networks beside the flow: their weights read head by head, and their tokens followed by depth."""

from msr.flow.network.block_weights import BlockWeights as BlockWeights
from msr.flow.network.depth import DepthCurve as DepthCurve
from msr.flow.network.depth import NetworkPath as NetworkPath
from msr.flow.network.following import follow as follow
from msr.flow.network.parts import FeedForward as FeedForward
from msr.flow.network.parts import TokenNorm as TokenNorm
from msr.flow.network.state_dicts import read_state as read_state
from msr.flow.network.state_names import STATE_NAMES as STATE_NAMES
from msr.flow.network.state_names import StateNames as StateNames
from msr.flow.network.torch_layers import read_block as read_block
from msr.flow.network.torch_layers import read_blocks as read_blocks

__all__ = [
    "STATE_NAMES", "BlockWeights", "DepthCurve", "FeedForward", "NetworkPath", "StateNames", "TokenNorm", "follow",
    "read_block", "read_blocks", "read_state",
]  # fmt: skip
