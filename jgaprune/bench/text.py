"""The result of `bench` as a table."""

from typing import Any

from jgaprune.report.text import pairs, percent, table


def as_text(result: dict[str, Any]) -> str:
    """For a terminal: what was measured, and everyone's speed."""
    ours = result["ours"]
    head = {
        "network": f"{result['model']}, {result['num_weights']:,} prunable weights",
        "task": f"{result['population']} masks on {result['num_inputs']} inputs each",
        "strategy": ours["strategy"],
        "of a matrix product's speed": percent(ours["sgemm_fraction"]),
        "of the unmasked network's": percent(result["pure_inference_fraction"]),
        "update, of a generation": percent(result["update_fraction"]),
        "memory": _mebibytes(result["peak_memory_bytes"]),
        "compilation": f"{result['compile_seconds']:.1f} s",
    }
    speed = ours["forwards_per_second"]
    rows = [["method", "forwards/s", "ours is faster by"], ["jgaprune", f"{speed:.1f}", "-"]]
    for name, rival in result["competitors"].items():
        theirs = rival["forwards_per_second"]
        rows.append([name, f"{theirs:.1f}", f"{speed / theirs:.1f}x"])
    return "\n\n".join([pairs(head), table(rows)])


def _mebibytes(count: int | None) -> str:
    return "not known" if count is None else f"{count / 2**20:.0f} MiB"
