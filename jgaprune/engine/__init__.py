"""The engine: the only place that knows of populations, chunks and generations."""

from jgaprune.engine.batching import with_strategy
from jgaprune.engine.evaluate import evaluate
from jgaprune.engine.fitting import Build, Fitting, TooLargeError, smaller
from jgaprune.engine.islands import Islands, survivors_of
from jgaprune.engine.memory import Need, in_words, memory_limit, most_of, ran_out_of_memory
from jgaprune.engine.mesh import make_mesh, mesh_fault, num_shares
from jgaprune.engine.placement import on_host_device, readable
from jgaprune.engine.refine import refine
from jgaprune.engine.screen import Screen
from jgaprune.engine.search import Search, as_pytree, build_search
from jgaprune.engine.state import Record, SearchState
from jgaprune.engine.strategy import DTYPES, FORMS, SEQUENTIAL, Strategy
from jgaprune.engine.tuning import Tuning, candidate_strategies, recall, tune, usual_strategy

__all__ = [
    "DTYPES",
    "FORMS",
    "SEQUENTIAL",
    "Build",
    "Fitting",
    "Islands",
    "Need",
    "Record",
    "Screen",
    "Search",
    "SearchState",
    "Strategy",
    "TooLargeError",
    "Tuning",
    "as_pytree",
    "build_search",
    "candidate_strategies",
    "evaluate",
    "in_words",
    "make_mesh",
    "memory_limit",
    "mesh_fault",
    "most_of",
    "num_shares",
    "on_host_device",
    "ran_out_of_memory",
    "readable",
    "recall",
    "refine",
    "smaller",
    "survivors_of",
    "tune",
    "usual_strategy",
    "with_strategy",
]
