-- Enrichment jobs, provider answers, payments.
SELECT 1;
