"""Do converted networks compute what the same networks compute in PyTorch?

Every architecture, in every format that holds a state_dict, with weights stored in four dtypes:
random weights, batch-norm statistics and heads are written to a file, both sides read it, and
their logits are compared on two batches of random inputs: images, most of them not square, or
windows of tokens, some of them padded and compared where they are not. PyTorch computes in
float64. Ours computes in float32, and for files of float64 in that (the numbers are those of
float32, which is what is loaded). One more row per network has a `vmap` over three masks against
PyTorch with each of them. An error is `max |ours - theirs| / max |theirs|`; a row holds where it
is within the tolerance, the largest logits are the same, and the comparison could have failed:
logits are not all near zero, nor the same for most inputs.

    python benchmarks/parity.py

Writes a JSON file after every network, and ends with 1 if a row does not hold. `--smoke` compares
two small networks and keeps nothing. Needs the extra `parity`.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
from documents import document, out_path, parser, write

from jgaprune.bench import torch_parity as parity
from jgaprune.bench.parity import Parity, compare
from jgaprune.bench.torch_logits import logits_of
from jgaprune.bench.torch_references import CASES, Case
from jgaprune.converters.formats import write_npz, write_pth, write_safetensors

FORMATS: dict[str, Callable[..., Any]] = {
    "pth": write_pth,
    "safetensors": write_safetensors,
    "npz": write_npz,
}
DTYPES: dict[str, Any] = {
    "float32": np.float32,
    "float64": np.float64,
    "bfloat16": ml_dtypes.bfloat16,
    "float16": np.float16,
}
IMPOSSIBLE = {("npz", "bfloat16")}
"""NumPy's own format knows its own types only."""
BATCHES = (3, 8)
NUM_MASKS = 3
_SMOKE = ("mlp_gelu", "digits_cnn_on_oblong_images")
Row = dict[str, Any]


def main() -> None:
    """Compares all networks and writes after each."""
    arguments = parser(__doc__)
    arguments.add_argument("--only", default="*", help="pattern of the networks' names")
    options = arguments.parse_args()
    names = _SMOKE if options.smoke else [n for n in CASES if fnmatchcase(n, options.only)]
    rows: list[Row] = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            of_network = [*_unmasked(name, CASES[name], folder), _masked(name, CASES[name], folder)]
        print(_line(name, of_network), flush=True)
        rows += of_network
        if not options.smoke:
            write(out_path(options, "parity"), document(__doc__, batches=BATCHES, rows=rows))
        jax.clear_caches()
    sys.exit(0 if rows and all(row["holds"] for row in rows) else 1)


def _unmasked(name: str, case: Case, folder: str) -> Iterator[Row]:
    """A row for each dtype and format."""
    for stored, dtype in DTYPES.items():
        computed = "float64" if stored == "float64" else "float32"
        for form in (form for form in FORMATS if (form, stored) not in IMPOSSIBLE):
            path = Path(folder, f"{stored}.{form}")
            pair = parity.pair(case, path, FORMATS[form], dtype)
            tolerance = parity.tolerance_of(case, computed)
            batches = [parity.inputs_of(name, case, num_inputs) for num_inputs in BATCHES]
            found = [_compared(pair, inputs, tolerance, computed) for inputs in batches]
            path.unlink()
            yield _row(name, case, {"format": form, "stored": stored}, computed, found)


def _compared(pair: parity.Pair, inputs: np.ndarray, tolerance: float, computed: str) -> Parity:
    theirs = logits_of(pair.network, inputs)
    with jax.enable_x64(computed == "float64"):
        model = parity.in_float64(pair.model) if computed == "float64" else pair.model
        return compare(parity.our_logits(model, inputs), theirs, inputs, tolerance)


def _masked(name: str, case: Case, folder: str) -> Row:
    pair = parity.pair(case, Path(folder, "masked.pth"), write_pth)
    masks = parity.random_masks(pair.model, NUM_MASKS)
    inputs = parity.inputs_of(name, case, BATCHES[0])
    ours = parity.our_masked_logits(pair.model, masks, inputs)
    theirs = parity.their_masked_logits(pair, masks, inputs)
    tolerance = parity.tolerance_of(case)
    found = [compare(*both, inputs, tolerance) for both in zip(ours, theirs, strict=True)]
    how = {"format": "pth", "stored": "float32", "masks": NUM_MASKS}
    return _row(name, case, how, "float32", found)


def _row(name: str, case: Case, how: Row, computed: str, found: list[Parity]) -> Row:
    """The worst of several comparisons."""
    return {
        "network": name,
        "arch": case.arch,
        "input_shape": list(case.input_shape),
        **how,
        "computed": computed,
        "error": max(one.relative for one in found),
        "tolerance": max(one.tolerance for one in found),
        "agreement": min(one.agreement for one in found),
        "largest_logit": min(one.max_reference for one in found),
        "variation": min(one.variation for one in found),
        "holds": all(one.is_whole for one in found),
    }


def _line(name: str, rows: list[Row]) -> str:
    worst = {
        computed: max(row["error"] for row in rows if row["computed"] == computed)
        for computed in ("float32", "float64")
    }
    failed = [row for row in rows if not row["holds"]]
    errors = ", ".join(f"{error:.1e} in {computed}" for computed, error in worst.items())
    return f"{name}: {errors}" + (f"; {len(failed)} of {len(rows)} rows FAIL" if failed else "")


if __name__ == "__main__":
    main()
