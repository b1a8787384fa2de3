"""The statements that register the tables elsewhere."""

from __future__ import annotations

import duckdb
import pytest
import yaml

from taiyi_ray.errors import ConfigError
from taiyi_ray.lake.dialects import DIALECTS, statements
from taiyi_ray.lake.tables import TABLES

BUCKET = "s3://bucket/it's {here}"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_statements_of_a_dialect_name_every_table_at_its_address(dialect):
    text = statements("s3://bucket/lake", dialect)
    for table in TABLES:
        assert f"s3://bucket/lake/{table}" in text
    with pytest.raises(ConfigError, match="did you mean 'spark'"):
        statements("s3://bucket/lake", "sparc")


def test_a_local_lake_is_named_by_a_url_and_athena_cannot_read_it(lake):
    for dialect in DIALECTS.keys() - {"athena"}:
        assert f"file://{lake}/documents" in statements(lake, dialect)
    with pytest.raises(ConfigError, match=f"reads tables in S3 only, and not {lake}"):
        statements(lake, "athena")


def test_an_address_with_a_quote_is_one_literal():
    text = statements(BUCKET, "duckdb")
    parsed = duckdb.extract_statements(text)
    assert len(parsed) == 2 + 1 + len(TABLES)  # INSTALL, LOAD, the secret, a view each
    assert "delta_scan('s3://bucket/it''s {here}/documents')" in text
    assert "LOCATION 's3://bucket/it\\'s {here}/documents';" in statements(BUCKET, "spark")
    assert "LOCATION 's3://bucket/it\\'s {here}/documents/' " in statements(BUCKET, "athena")
    assert "=> 's3://bucket/it''s {here}/documents')" in statements(BUCKET, "trino")


def test_the_sources_of_dbt_are_what_dbt_duckdb_reads():
    (source,) = yaml.safe_load(statements(BUCKET, "dbt"))["sources"]
    assert [table["name"] for table in source["tables"]] == list(TABLES)
    location = source["tables"][0]["meta"]["external_location"]
    assert location.format(name="documents") == ("delta_scan('s3://bucket/it''s {here}/documents')")
