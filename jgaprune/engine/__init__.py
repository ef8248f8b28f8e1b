"""The engine: the only place that knows of populations, chunks and generations."""

from jgaprune.engine.batching import with_strategy
from jgaprune.engine.evaluate import evaluate
from jgaprune.engine.islands import Islands, survivors_of
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
    "Islands",
    "Record",
    "Screen",
    "Search",
    "SearchState",
    "Strategy",
    "Tuning",
    "as_pytree",
    "build_search",
    "candidate_strategies",
    "evaluate",
    "make_mesh",
    "mesh_fault",
    "num_shares",
    "on_host_device",
    "readable",
    "recall",
    "refine",
    "survivors_of",
    "tune",
    "usual_strategy",
    "with_strategy",
]
