"""``python run_blocks.py HOME PAGE …``: run the blocks of pages that need no checkout, in a process of its own.

The package must come from below ``HOME``. Prints a line of JSON for each block: its page and number, and what went
wrong.
"""

import json
import sys
import traceback
from pathlib import Path

import torch

import msr
from tests.support.blocks import Block, blocks_of


def run_for_any_seed(block: Block) -> None:
    """Run a block once, or with three seeds if it draws from torch's global generator, as torch's own examples do."""
    for seed in range(3):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            block.run()
            if torch.equal(before, torch.get_rng_state()):
                return  # another seed would change nothing


def main(home: str, *pages: str) -> None:
    """Run all blocks of these pages that need no checkout, and print a line of JSON for each.

    Raises: SystemExit where the package does not come from below ``home``.
    """
    installed = Path(msr.__file__).resolve()
    if not installed.is_relative_to(Path(home).resolve()):
        raise SystemExit(f"error: the package came from {installed}, not from {home}")
    for page in pages:
        for block in blocks_of(Path(page)):
            if not block.needs_a_checkout:
                fault = None
                try:
                    run_for_any_seed(block)
                except Exception:
                    fault = traceback.format_exc()
                print(json.dumps({"page": page, "block": block.index, "fault": fault}), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
