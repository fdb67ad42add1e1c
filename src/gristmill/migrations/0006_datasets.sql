-- Datasets, their versions, records, chunks and embeddings.
SELECT 1;
