-- Flat views over the output of `taiyi-ray annotate`, for DuckDB:
--
--     duckdb -init examples/views.sql
--
-- They read out/annotations. For another place, s3:// too, set the variable first:
--
--     D SET VARIABLE annotations = 's3://bucket/job/annotations/**/*.parquet';
--     D .read examples/views.sql
--
-- The key of a document is (source, position): ids may repeat in a corpus, and are NULL where a
-- source itself was faulty.

CREATE OR REPLACE VIEW annotations AS
SELECT *, metadata['journal'] AS journal, try_cast(metadata['year'] AS INTEGER) AS year
FROM read_parquet(
    coalesce(getvariable('annotations'), 'out/annotations/**/*.parquet'),
    hive_partitioning = false -- the name of a source may look like a partition
);

-- One row a document; `mentions` and `relations` are counts.
CREATE OR REPLACE VIEW documents AS
SELECT
    document_id, source, position, version, language, title, journal, year, status, errors,
    array_to_string([passage.text FOR passage IN passages], chr(10)) AS text,
    len(mentions) AS mentions,
    len(relations) AS relations,
    coalesce(list_sum([answer.output_tokens FOR answer IN answers]), 0)::BIGINT AS output_tokens
FROM annotations;

-- One row a mention: `text` is what stands from `start` to before `end`, counted in code points of
-- the document's text (from 0: DuckDB's slices begin at 1, so text[start + 1 : "end"]).
CREATE OR REPLACE VIEW mentions AS
SELECT
    document_id, source, position, title, journal, year,
    mention.id AS mention_id,
    mention.type AS type,
    mention.text AS text,
    mention.start AS start,
    mention.end AS "end",
    passages[mention.passage + 1].language AS language,
    mention.grounded AS grounded,
    mention.score AS score,
    mention.concept.db AS concept_db,
    mention.concept.id AS concept_id
FROM annotations, unnest(mentions) AS each(mention);

-- One row a relation. `head_type` and `tail_type` are the types of the mentions with that text,
-- joined by a comma where there are several, NULL where only the relation names it.
CREATE OR REPLACE VIEW relations AS
SELECT
    document_id, source, position, title, journal, year,
    relation.id AS relation_id,
    relation.type AS type,
    relation.head_text AS head_text,
    relation.tail_text AS tail_text,
    nullif(array_to_string(list_sort(list_distinct(
        [mention.type FOR mention IN mentions IF list_contains(relation.head, mention.id)]
    )), ', '), '') AS head_type,
    nullif(array_to_string(list_sort(list_distinct(
        [mention.type FOR mention IN mentions IF list_contains(relation.tail, mention.id)]
    )), ', '), '') AS tail_type,
    relation.score AS score
FROM annotations, unnest(relations) AS each(relation);

-- One row an argument of an event, one with NULLs for an event without arguments.
CREATE OR REPLACE VIEW events AS
SELECT
    document_id, source, position, title, journal, year,
    event.id AS event_id,
    event.type AS type,
    ([mention.text FOR mention IN mentions IF mention.id = event.trigger])[1] AS trigger,
    argument.role AS role,
    argument.text AS argument
FROM annotations, unnest(events) AS each(event)
LEFT JOIN LATERAL unnest(event.arguments) AS every(argument) ON true;

-- One row a label: `task` is tc, similarity, entailment, qa or qa:NAME.
CREATE OR REPLACE VIEW labels AS
SELECT
    document_id, source, position, title, journal, year,
    label.task AS task, label.label AS label, label.score AS score
FROM annotations, unnest(labels) AS each(label);

-- One row a text: `task` is mt:zh, mt:en, title, summary, dialogue, report:SECTION, qa or qa:NAME.
CREATE OR REPLACE VIEW texts AS
SELECT
    document_id, source, position, title, journal, year,
    written.task AS task, written.text AS text
FROM annotations, unnest(texts) AS each(written);
