"""The engine: the only place that knows of populations, chunks and generations."""

from jgaprune.engine.chunks import auto_chunk
from jgaprune.engine.search import Search, as_pytree, build_search
from jgaprune.engine.state import Record, SearchState

__all__ = ["Record", "Search", "SearchState", "as_pytree", "auto_chunk", "build_search"]
