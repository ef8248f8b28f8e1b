"""The engine: the only place that knows of populations, chunks, devices and generations."""

from jgaprune.engine.chunks import auto_chunk
from jgaprune.engine.search import Search, build_search
from jgaprune.engine.state import Record, SearchState

__all__ = ["Record", "Search", "SearchState", "auto_chunk", "build_search"]
