"""The corpus job on Ray Data: plan, read, annotate, commit unit by unit, verify."""

from taiyi_ray.job.job import run

__all__ = ["run"]
