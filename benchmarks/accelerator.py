"""How fast is everything on this accelerator? All measurements of a machine in one command.

Throughput of every network, strategy and dtype; the update; the roofline; scaling; whether bfloat16
changes who wins; where a generation's time goes, with a trace; the paper's CIFAR-10 run. Each part
is a process with a time limit, all together under 25 minutes; what is done is kept when a part is
stopped. A part that fails doesn't stop the others; the exit code is the number of parts that failed
or were stopped. Nothing is installed.

    python benchmarks/accelerator.py --data FOLDER

FOLDER holds `cifar10_test.npz` and `cifar10_unlabelled_jpeg.npz` (images as `uint8 [N, H, W, 3]`,
the first with labels) and `cifar_resnet20.th`, `cifar_resnet32.th`; parts that need a file that
isn't there are skipped. Where there is no accelerator, it says so and measures nothing. `--smoke`
starts every script once in its smallest form, anywhere.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from documents import RESULTS, document, write

FOLDER = Path(__file__).resolve().parent
ALL = ("vmap", "matmul", "kernel", "sequential", "unrolled")
BOTH = ("--dtypes", "bfloat16", "float32")
TRAINED = "paper_cifar10.safetensors"


class Part(NamedTuple):
    """One process.

    Attributes:
      name: of the part, and of its JSON file.
      script: in this folder.
      arguments: besides `--out`.
      limit_seconds: after which it is stopped.
      needs: files without which it is skipped.
    """

    name: str
    script: str
    arguments: tuple[str, ...]
    limit_seconds: int
    needs: tuple[Path, ...] = ()


class Outcome(NamedTuple):
    """How a part ended: "done", "failed", "stopped" or "skipped"."""

    part: str
    result: str
    seconds: float


def main() -> None:
    """Runs all parts, one after another, and sums up."""
    options = _options()
    # The device is asked for in a process that ends: this one must not hold its memory.
    backend = _backend()
    if backend == "cpu" and not options.smoke:
        raise SystemExit("There is no accelerator here: JAX finds the CPU only. Nothing measured.")
    chosen = [part for part in parts(options) if not options.parts or part.name in options.parts]
    if options.smoke:
        chosen = list({part.script: part for part in chosen}.values())
    outcomes = [_run(part, backend, options) for part in chosen]
    for outcome in outcomes:
        print(f"{outcome.result:8} {outcome.seconds:6.0f} s  {outcome.part}")
    if not options.smoke:
        rows = [outcome._asdict() for outcome in outcomes]
        write(options.out / f"accelerator_{backend}.json", document(__doc__, parts=rows))
    raise SystemExit(sum(outcome.result in ("failed", "stopped") for outcome in outcomes))


def parts(options: argparse.Namespace) -> list[Part]:
    """Everything to measure, the most important first."""
    return [
        _throughput("paper_mnist", 1000, 64, 64, 110),
        _throughput("paper_cifar10", 256, 64, 64, 120),
        _throughput("cifar_resnet20", 256, 64, 64, 130),
        _throughput("resnet18", 64, 16, 8, 140),
        Part("ga_update", "ga_update.py", ("--populations", "64"), 90),
        *_paper(options.data, options.out),
        *_profiles(options.out),
        Part("roofline", "roofline.py", _ROOFLINE, 110),
        Part("scaling", "scaling.py", _SCALING, 100),
        _precision(options.data),
        Part("rivals", "throughput.py", _RIVALS, 100),
    ]


_ROOFLINE = (
    *("--archs", "paper_mnist", "paper_cifar10", "cifar_resnet20"),
    *("--strategies", "vmap", "matmul", "--inputs", "256", "--population", "32", *BOTH),
)
_SCALING = (
    *("--arch", "cifar_resnet20", "--dtype", "bfloat16", "--num-inputs", "256"),
    *("--population", "32", "--populations", "16", "32", "64", "128"),
    *("--inputs", "128", "256", "512", "1024"),
)
_RIVALS = (
    *("--archs", "paper_mnist", "paper_cifar10", "cifar_resnet20"),
    *("--populations", "16", "--chunk", "16", "--strategies", "vmap", "--rounds", "3"),
)


def _throughput(arch: str, inputs: int, population: int, chunk: int, limit: int) -> Part:
    size = ("--inputs", str(inputs), "--populations", str(population), "--chunk", str(chunk))
    how = ("--strategies", *ALL, *BOTH, "--rounds", "3", "--no-rivals")
    return Part(f"throughput_{arch}", "throughput.py", ("--archs", arch, *size, *how), limit)


def _profiles(out: Path) -> list[Part]:
    sizes = {"paper_mnist": ("1000", "64"), "cifar_resnet20": ("256", "64")}
    return [
        Part(
            f"profile_{arch}",
            "profile_generation.py",
            (
                *("--arch", arch, "--inputs", inputs, "--population", population),
                *("--dtype", "bfloat16", "--trace", str(out / f"trace_{arch}")),
            ),
            75,
        )
        for arch, (inputs, population) in sizes.items()
    ]


def _paper(data: Path, out: Path) -> list[Part]:
    """The paper's network, trained if its weights aren't there, and its run."""
    weights, images, test = (
        out / TRAINED,
        data / "cifar10_unlabelled_jpeg.npz",
        data / "cifar10_test.npz",
    )
    teacher = data / "cifar_resnet32.th"
    train = (str(images), str(test), "--teacher", str(teacher), "--output", str(weights))
    run = (str(weights), str(test), "--dtype", "bfloat16")
    trained = [Part("train", "train_paper_cifar10.py", train, 120, (images, test, teacher))]
    return [
        *([] if weights.exists() else trained),
        Part("paper_cifar10", "paper_cifar10.py", run, 240, (weights, test)),
    ]


def _precision(data: Path) -> Part:
    weights, images = data / "cifar_resnet20.th", data / "cifar10_unlabelled_jpeg.npz"
    network = ("--network", str(weights), str(images)) if weights.exists() else ()
    return Part("precision", "precision.py", ("--masks", "256", "--inputs", "256", *network), 80)


def _run(part: Part, backend: str, options: argparse.Namespace) -> Outcome:
    """Runs one part to its end or its limit."""
    if not options.smoke and (missing := [str(path) for path in part.needs if not path.exists()]):
        print(f"== {part.name}: skipped, there is no {', '.join(missing)}", flush=True)
        return Outcome(part.name, "skipped", 0.0)
    print(f"== {part.name}", flush=True)
    kept = ["--smoke"] if options.smoke else _output(part, backend, options.out)
    command = [sys.executable, str(FOLDER / part.script), *part.arguments, *kept]
    limit = None if options.smoke else part.limit_seconds  # a busy machine proves it, too
    started = time.perf_counter()
    try:
        code = subprocess.run(command, timeout=limit, check=False).returncode
        result = "failed" if code else "done"
    except subprocess.TimeoutExpired:
        result = "stopped"
    return Outcome(part.name, result, time.perf_counter() - started)


def _output(part: Part, backend: str, out: Path) -> list[str]:
    """Training has weights to write, and knows where."""
    return [] if part.name == "train" else ["--out", str(out / f"{part.name}_{backend}.json")]


def _backend() -> str:
    code = "import jax; print(jax.default_backend())"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data", type=Path, default=Path("data"), metavar="FOLDER")
    arguments.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    arguments.add_argument("--parts", nargs="+", help="these alone")
    arguments.add_argument("--smoke", action="store_true", help="tiny, and keeps nothing")
    return arguments.parse_args()


if __name__ == "__main__":
    main()
