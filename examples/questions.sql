-- Three questions to an annotated corpus, over the views of views.sql:
--
--     duckdb -init examples/views.sql -f examples/questions.sql

-- Which diseases do most documents write about? A document counts once, however often it does.
SELECT
    lower(text) AS disease,
    count(DISTINCT (source, position)) AS documents,
    count(*) AS mentions
FROM mentions
WHERE type = 'disease'
GROUP BY disease
ORDER BY documents DESC, mentions DESC, disease
LIMIT 20;

-- Which chemicals are named in the same documents as which diseases, and as related how?
WITH named AS (
    SELECT DISTINCT source, position, type, lower(text) AS name
    FROM mentions
    WHERE type IN ('chemical', 'disease')
)
SELECT
    chemical.name AS chemical,
    disease.name AS disease,
    count(DISTINCT (chemical.source, chemical.position)) AS documents,
    string_agg(DISTINCT relation.type, ', ' ORDER BY relation.type) AS related_by
FROM named AS chemical
JOIN named AS disease USING (source, position)
LEFT JOIN relations AS relation
    ON (relation.source, relation.position) = (chemical.source, chemical.position)
    AND list_sort([lower(head_text), lower(tail_text)]) = list_sort([chemical.name, disease.name])
WHERE chemical.type = 'chemical' AND disease.type = 'disease'
GROUP BY ALL
ORDER BY documents DESC, chemical, disease
LIMIT 20;

-- How much of each source could not be annotated, and what was the first thing that went wrong?
SELECT
    source,
    count(*) AS documents,
    round(avg((status = 'failed')::INTEGER), 4) AS failed,
    round(avg((status = 'partial')::INTEGER), 4) AS partial,
    histogram(errors[1].kind) AS first_errors
FROM documents
GROUP BY source
ORDER BY failed DESC, partial DESC, source;
