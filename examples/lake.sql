-- Ten questions to a lake; each is one statement for `taiyi-ray lake query DIR "..."`.

-- 1. How many documents are there, and how did their annotation end?
SELECT status, count(*) AS documents FROM documents GROUP BY status ORDER BY documents DESC;

-- 2. Which names do most documents have?
SELECT type, text, count(DISTINCT pmid) AS documents, count(*) AS mentions
FROM mentions
GROUP BY type, text
ORDER BY documents DESC, mentions DESC, type, text
LIMIT 5;

-- 3. Where does one name stand?
SELECT pmid, type, start, "end" FROM mentions
WHERE text = 'Mycobacterium' ORDER BY pmid, start LIMIT 5;

-- 4. Which two names stand in the same documents most often, year by year?
WITH named AS (
    SELECT DISTINCT pmid, lower(text) AS name FROM mentions WHERE pmid IS NOT NULL
), years AS (
    SELECT pmid, left(metadata['date'], 4) AS year FROM documents
)
SELECT year, one.name AS one, other.name AS other, count(*) AS documents
FROM named AS one
JOIN named AS other ON one.pmid = other.pmid AND one.name < other.name
JOIN years ON years.pmid = one.pmid
GROUP BY ALL
HAVING documents > 1
ORDER BY documents DESC, year, one, other
LIMIT 5;

-- 5. What changed since a day, by kind?
SELECT change, cause, count(*) AS documents FROM changes
WHERE committed_at >= '2026-01-01' GROUP BY ALL ORDER BY documents DESC, change;

-- 6. Which documents disappeared, and why?
SELECT pmid, version, cause, committed_in FROM changes
WHERE change = 'delete' ORDER BY committed_in, pmid LIMIT 5;

-- 7. Who annotated a document: which run, model and adapter?
SELECT pmid, run_id, model, adapter, runs.fingerprint
FROM documents JOIN runs USING (run_id)
ORDER BY pmid LIMIT 3;

-- 8. How often was a document revised?
SELECT revisions, count(*) AS documents FROM (
    SELECT pmid, count(*) AS revisions FROM revisions WHERE pmid IS NOT NULL GROUP BY pmid
) GROUP BY revisions ORDER BY revisions;

-- 9. How many revisions left the text as it was?
SELECT count(*) AS revisions, sum((content_hash = before)::INTEGER) AS same_text FROM (
    SELECT content_hash, lag(content_hash) OVER (
        PARTITION BY key, version ORDER BY year, number, source, position
    ) AS before
    FROM revisions WHERE status <> 'deleted'
) WHERE before IS NOT NULL;

-- 10. What failed, and what was wrong?
SELECT kind, count(*) AS failures, any_value(message) AS for_example
FROM failures GROUP BY kind ORDER BY failures DESC;
