"""What the tests of training share."""

import pytest
import torch

from taiyi_ray import models


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tiny models are slower on several threads, most of all beside other work."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def embedded() -> models.Model:
    """The embedded model in the user's own cache, made there if it is not yet."""
    return models.resolve()
