"""The corpus job on Ray Data: it plans, reads, annotates, commits unit by unit, and verifies."""

from taiyi_ray.job.job import run

__all__ = ["run"]
