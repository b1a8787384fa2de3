"""taiyi_ray: distributed annotation of biomedical literature in English and Chinese."""

__version__ = "0.1.0"
