"""The statements that register the tables elsewhere."""

from __future__ import annotations

import pytest

from taiyi_ray.errors import ConfigError
from taiyi_ray.lake.dialects import DIALECTS, statements
from taiyi_ray.lake.tables import TABLES


@pytest.mark.parametrize("dialect", DIALECTS)
def test_statements_of_a_dialect_name_every_table_at_its_address(lake, dialect):
    text = statements(lake, dialect)
    for table in TABLES:
        assert f"{lake}/{table}" in text
    with pytest.raises(ConfigError, match="did you mean 'spark'"):
        statements(lake, "sparc")
