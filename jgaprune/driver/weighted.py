"""Weighted sums of objectives by name, as text: `kl+0.1*feature_distance`."""

from collections.abc import Collection

from jgaprune.report import LABELLED_OBJECTIVES


def weighted_names(text: str) -> list[tuple[str, float]]:
    """The names in a sum and their weights, 1 where there is none.

    Raises:
      ValueError: a weight is not a number.

    >>> weighted_names("kl + 0.1*feature_distance")
    [('kl', 1.0), ('feature_distance', 0.1)]
    """
    return [_weighted(term) for term in text.split("+")]


def objective_fault(objective: object, known: Collection[str]) -> str | None:
    """What is wrong with the name of an objective, or with a sum of names; None if nothing is."""
    if not isinstance(objective, str) or objective in known:
        return None
    try:
        terms = weighted_names(objective)
    except ValueError as error:
        return str(error)
    unknown = [name for name, _ in terms if name not in known]
    if unknown:
        sums = " or a weighted sum of them such as kl+0.1*feature_distance"
        return f"objective must be one of {', '.join(known)},{sums}, got {unknown[0]!r}"
    if labelled := [name for name, _ in terms if name in LABELLED_OBJECTIVES]:
        return (
            f"objective {labelled[0]} needs labels and cannot be part of a sum by name; build it "
            "with jgaprune.objectives.weighted_sum"
        )
    wrong = [f"{weight:g}" for _, weight in terms if not 0 < weight < float("inf")]
    return f"weights of objectives must be finite and above 0, got {wrong[0]}" if wrong else None


def _weighted(term: str) -> tuple[str, float]:
    weight, star, name = term.rpartition("*")
    if not star:
        return name.strip(), 1.0
    try:
        return name.strip(), float(weight)
    except ValueError:
        raise ValueError(
            f"the weight of an objective must be a number, as in 0.1*{name.strip()}; got {weight!r}"
        ) from None
