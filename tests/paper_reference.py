"""The paper's operators in NumPy, loop by loop, on given random draws.

Transcribed from the description of sun-asterisk-research/ga_pruning_research, independently of
`jgaprune`: individuals are lists of one flat array per tensor.
"""

import numpy as np


def masks(individual, sparsity):
    """Per tensor, the int(sparsity * size) smallest |score| are removed; True = kept."""
    result = []
    for tensor in individual:
        order = sorted(range(len(tensor)), key=lambda place: abs(tensor[place]))
        kept = np.ones(len(tensor), bool)
        for place in order[: int(sparsity * len(tensor))]:
            kept[place] = False
        result.append(kept)
    return result


def pick(qualities, power, draw):
    """The individual on which a draw in [0, 1) falls on a roulette wheel."""
    slices = [np.float32(max(quality, 0.0)) ** power for quality in qualities]
    if not any(slices):
        slices = [1.0] * len(slices)
    target = draw * np.sum(np.array(slices, np.float64))
    reached = 0.0
    for index, share in enumerate(slices):
        reached += float(share)
        if reached > target:
            return index
    return len(slices) - 1


def cross(first, second, cuts):
    """Both children of one cut per tensor."""
    one, two = [], []
    for mine, other, cut in zip(first, second, cuts, strict=True):
        one.append(np.array([*other[:cut], *mine[cut:]], np.float32))
        two.append(np.array([*mine[:cut], *other[cut:]], np.float32))
    return one, two


def mutate(individual, chances, values, rate):
    """Genes whose chance is below the rate take the drawn value."""
    result = []
    place = 0
    for tensor in individual:
        changed = tensor.copy()
        for i in range(len(tensor)):
            if chances[place] < np.float32(rate):
                changed[i] = values[place]
            place += 1
        result.append(changed)
    return result


def next_generation(population, qualities, strategy, size, rate, draws):
    """Kept individuals and children, in the order in which they are made.

    `draws` yields, per pair of children: two parent draws, the cuts, and for either child the
    mutation's chances and values.
    """
    power = {1: 1, 2: 2, 3: 1, 4: 1, 5: 2}[strategy]
    share = {1: 0.0, 2: 0.0, 3: 0.2, 4: 0.5, 5: 0.5}[strategy]
    ranking = sorted(range(len(population)), key=lambda index: -qualities[index])
    new = [population[index] for index in ranking[: int(share * len(population))]]
    num_kept = len(new)
    for parent_draws, cuts, mutations in draws:
        if len(new) >= size:
            break
        parents = [population[pick(qualities, power, draw)] for draw in parent_draws]
        children = cross(*parents, cuts)
        for child, (chances, values) in zip(children, mutations, strict=True):
            new.append(mutate(child, chances, values, rate))
    return new, num_kept
