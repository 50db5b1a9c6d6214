"""The cases of one library, judged by the Python that runs this: a line of JSON each, the first tells the versions."""

import contextlib
import importlib
import importlib.metadata
import json
import sys
import traceback
from typing import Any

import torch

from benchmarks.foreign.judge import Case, judge


def main(library: str, only: str) -> int:
    """Print the versions of the library's packages, then the row of each case, as lines of JSON.

    The exit code is 0 even where a case is judged wrongly, which the table shows.

    Args:
        library: the NAME of ``cases_NAME.py``.
        only: a text that the names of the cases must hold; empty for all cases.
    """
    rows = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # libraries print what they please
        module = importlib.import_module(f"benchmarks.foreign.cases_{library}")
        versions = {name: importlib.metadata.version(name) for name in module.PACKAGES}
        print(json.dumps({"versions": versions}), file=rows, flush=True)
        torch.set_num_threads(1)
        for case in module.CASES:
            if only in case.name:
                print(json.dumps(judged(case)), file=rows, flush=True)
    return 0


def judged(case: Case) -> dict[str, Any]:
    """The row of a case; of one that cannot be made or judged a row with the verdict ``wrong`` and the error."""
    try:
        return judge(case)
    except Exception as error:
        traceback.print_exc()
        row: dict[str, Any] = {"case": case.name, "group": "", "expected": case.expected, "theory": case.theory}
        row.update({"assert": "not made", "certify": "not made", "defect": None, "verdict": "wrong"})
        row.update({"assert_seconds": 0.0, "certify_seconds": 0.0, "error": f"{type(error).__name__}: {error}"})
        return row


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
