-- Datasets: files that a template turned into texts an agent can search and rows it can count.
--
-- A record is written once and never changed. Records and their chunks share one line of numbers per dataset, the
-- ordinals: a record has the ordinal of its first chunk. What belongs to a version is a bit per ordinal, so a version
-- that changes one percent writes one percent, and going back is choosing another set of bits.

CREATE FUNCTION app_dataset() RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('gristmill.dataset_id', true), '')::bigint $$;

-- Words to stems for the keyword index. No stop words: those are left out of questions, not of texts.
CREATE TEXT SEARCH DICTIONARY app_stem (TEMPLATE = snowball, LANGUAGE = english);

-- Knowledge of one agent, made from a file by a template.
CREATE TABLE dataset (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id    bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    agent_id           bigint NOT NULL,
    title              text NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    type               text NOT NULL CHECK (type IN ('csv', 'json', 'excel')),
    file_id            uuid NOT NULL,               -- the file that is wanted; each version names the one it was made of
    template           text NOT NULL,
    options            json NOT NULL DEFAULT '{}',  -- of the template: missing keys, which helpers
    primary_key_field  text,
    embedder           json NOT NULL,               -- kind and config
    ingest_status      text NOT NULL CHECK (ingest_status IN ('pending', 'processing', 'completed', 'failed')),
    revision           int NOT NULL DEFAULT 1,      -- goes up with every wish to process; work for an older one starts over
    confirmed          boolean NOT NULL DEFAULT false, -- of this revision: removing many records is meant
    epoch              int NOT NULL DEFAULT 0,      -- goes up with every claim; with worker_id it fences late writes
    worker_id          uuid REFERENCES worker,      -- the lease: which worker processes it now
    progress           json,                        -- of the latest processing: phase and counters
    last_error         text,
    version            int,                         -- the version that is searched; NULL before the first
    version_next       int NOT NULL DEFAULT 1,
    ordinal_next       int NOT NULL DEFAULT 0,
    indexed_to         int NOT NULL DEFAULT 0,      -- every ordinal below is in a segment
    source_count       int NOT NULL DEFAULT 0,      -- records of the version that is searched
    last_unfurled_at   timestamptz,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (organization_id, agent_id) REFERENCES agent (organization_id, id) ON DELETE CASCADE,
    CHECK ((ingest_status = 'processing') = (worker_id IS NOT NULL))
);
CREATE INDEX dataset_agent ON dataset (organization_id, agent_id, id);
CREATE INDEX dataset_open ON dataset (ingest_status) WHERE ingest_status IN ('pending', 'processing');
CREATE INDEX dataset_worker ON dataset (worker_id) WHERE worker_id IS NOT NULL;

-- A file in the object store. One without a dataset is removed when it expires.
CREATE TABLE dataset_file (
    id               uuid PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    agent_id         bigint NOT NULL,               -- no reference: the line outlives its agent until the object is gone
    dataset_id       bigint REFERENCES dataset ON DELETE SET NULL,
    object_key       text NOT NULL UNIQUE,
    name             text NOT NULL,
    type             text NOT NULL,
    size_bytes       bigint NOT NULL,
    sha256           text NOT NULL,
    expires_at       timestamptz NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dataset_file_dataset ON dataset_file (dataset_id);
CREATE INDEX dataset_file_unused ON dataset_file (expires_at) WHERE dataset_id IS NULL;

-- A state of a dataset that was built to its end. It is there as a whole or not at all.
CREATE TABLE dataset_version (
    dataset_id         bigint NOT NULL REFERENCES dataset ON DELETE CASCADE,
    version            int NOT NULL,
    organization_id    bigint NOT NULL,
    file_id            uuid NOT NULL,
    template           text NOT NULL,
    options            json NOT NULL,
    primary_key_field  text,
    embedder           json NOT NULL,
    model              text NOT NULL,               -- what the cache of vectors knows the embedder's model by
    recipe             bytea NOT NULL,              -- hash of all that decides how a record becomes chunks
    columns            json NOT NULL,               -- name, kind and counts of each column
    reading            json NOT NULL,               -- dialect and receipt of the file
    warnings           json NOT NULL DEFAULT '[]',
    rows_in            int NOT NULL,
    records            int NOT NULL,
    duplicates         int NOT NULL,
    empties            int NOT NULL,
    failures           int NOT NULL,
    added              int NOT NULL,
    changed            int NOT NULL,
    removed            int NOT NULL,
    unchanged          int NOT NULL,
    chunks             int NOT NULL,
    embedded           int NOT NULL,                -- chunks whose vectors were computed for this version
    words              bigint NOT NULL,             -- words of all chunks, for the mean length
    members            bytea NOT NULL,              -- a bit per ordinal, least significant first
    positions          bytea NOT NULL,              -- row number of each ordinal's record, int32, 0 where it is no member
    lengths            bytea NOT NULL,              -- words of each ordinal's chunk, uint16
    segments           bigint[] NOT NULL,
    rows_table         bigint NOT NULL,
    vectors_table      bigint,                      -- NULL: the server has no pgvector
    ef_search          int,                         -- of the vector index; NULL while every vector is compared
    recall             real,                        -- share of the true ten nearest that the index finds
    seconds            real NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dataset_id, version),
    -- The receipt: no row of the file is lost silently.
    CONSTRAINT receipt CHECK (rows_in = records + duplicates + empties + failures),
    CONSTRAINT difference CHECK (records = added + changed + unchanged)
);
ALTER TABLE dataset_version ALTER members SET STORAGE EXTERNAL, ALTER positions SET STORAGE EXTERNAL,
    ALTER lengths SET STORAGE EXTERNAL;

-- A row of a file, with the identity it keeps from version to version.
CREATE TABLE dataset_record (
    dataset_id       bigint NOT NULL REFERENCES dataset ON DELETE CASCADE,
    ordinal          int NOT NULL,
    organization_id  bigint NOT NULL,
    parts            int NOT NULL CHECK (parts > 0), -- chunks, which have the ordinals from this one on
    record_key       text NOT NULL,
    key_hash         bytea NOT NULL CHECK (octet_length(key_hash) = 16),
    content_hash     bytea NOT NULL CHECK (octet_length(content_hash) = 16),
    recipe           bytea NOT NULL,
    data             json NOT NULL,                 -- the row as it came
    PRIMARY KEY (dataset_id, ordinal)
);

-- A piece of a record's text.
CREATE TABLE dataset_chunk (
    dataset_id       bigint NOT NULL REFERENCES dataset ON DELETE CASCADE,
    ordinal          int NOT NULL,
    organization_id  bigint NOT NULL,
    text_hash        bytea NOT NULL CHECK (octet_length(text_hash) = 16),
    text             text NOT NULL,
    PRIMARY KEY (dataset_id, ordinal)
);

-- Vectors of texts by model: no text is embedded twice.
CREATE TABLE embedding (
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    model            text NOT NULL,
    text_hash        bytea NOT NULL,
    vector           bytea NOT NULL,                -- little-endian 16-bit floats
    used_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, model, text_hash)
);
ALTER TABLE embedding ALTER vector SET STORAGE PLAIN;
CREATE INDEX embedding_used ON embedding (used_at);

-- A part of the keyword index: the words of a run of ordinals. Never changed, shared by versions.
CREATE TABLE dataset_segment (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id  bigint NOT NULL,
    dataset_id       bigint NOT NULL REFERENCES dataset ON DELETE CASCADE,
    low              int NOT NULL,                  -- first ordinal
    high             int NOT NULL,                  -- the one after the last
    lengths          bytea NOT NULL                 -- words of each chunk, uint16
);
CREATE INDEX dataset_segment_dataset ON dataset_segment (dataset_id, low);

CREATE TABLE dataset_posting (
    segment_id       bigint NOT NULL REFERENCES dataset_segment ON DELETE CASCADE,
    organization_id  bigint NOT NULL,
    term             text NOT NULL,
    ordinals         bytea NOT NULL,                -- chunks that have the term, int32
    counts           bytea NOT NULL,                -- how often, uint8
    PRIMARY KEY (segment_id, term)
);
ALTER TABLE dataset_posting ALTER ordinals SET STORAGE EXTERNAL, ALTER counts SET STORAGE EXTERNAL;

-- Rows that are not in a version as they are in its file, and why.
CREATE TABLE dataset_error (
    dataset_id       bigint NOT NULL REFERENCES dataset ON DELETE CASCADE,
    version          int NOT NULL,
    number           int NOT NULL,
    organization_id  bigint NOT NULL,
    kind             text NOT NULL CHECK (kind IN ('reject', 'duplicate', 'template', 'empty')),
    line             int NOT NULL,
    record_key       text,
    reason           text NOT NULL,
    data             json,                          -- the row, or the text of a record that is no row
    PRIMARY KEY (dataset_id, version, number)
);

-- Tables that are made while the system runs, in schema datasets: `rows_<id>` has the records' cells as typed columns,
-- `vectors_<id>` the chunks' vectors. A table lives as long as its line here.
CREATE TABLE dataset_table (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id  bigint NOT NULL,
    dataset_id       bigint NOT NULL REFERENCES dataset ON DELETE CASCADE,
    kind             text NOT NULL CHECK (kind IN ('rows', 'vectors')),
    signature        text NOT NULL,                 -- what is in it: columns with their kinds, or model and dimensions
    indexed          boolean NOT NULL DEFAULT false -- vectors: whether there is an index for the nearest
);
CREATE INDEX dataset_table_dataset ON dataset_table (dataset_id);

SELECT app_tenant_table(name) FROM unnest(ARRAY['dataset', 'dataset_file', 'dataset_version', 'dataset_record',
    'dataset_chunk', 'embedding', 'dataset_segment', 'dataset_posting', 'dataset_error', 'dataset_table']) AS name;

CREATE SCHEMA datasets;
GRANT USAGE ON SCHEMA datasets TO gristmill_app, gristmill_system, gristmill_query;

-- Walls of a table in schema datasets: its organization for the app, and for users' queries also its dataset.
CREATE FUNCTION app_guard_dataset_table(item dataset_table) RETURNS void LANGUAGE plpgsql
    SET search_path = public, pg_temp AS $$
DECLARE
    name text := format('datasets.%I', item.kind || '_' || item.id);
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON %s TO gristmill_app USING ((SELECT app_organization()) = %s)'
        ' WITH CHECK ((SELECT app_organization()) = %s)', name, item.organization_id, item.organization_id);
    EXECUTE format('CREATE POLICY system ON %s TO gristmill_system USING (true) WITH CHECK (true)', name);
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON %s TO gristmill_app, gristmill_system', name);
    IF item.kind = 'rows' THEN
        EXECUTE format('CREATE POLICY query ON %s FOR SELECT TO gristmill_query'
            ' USING ((SELECT app_organization()) = %s AND (SELECT app_dataset()) = %s)',
            name, item.organization_id, item.dataset_id);
        EXECUTE format('GRANT SELECT ON %s TO gristmill_query', name);
    END IF;
END $$;

CREATE FUNCTION app_own_dataset_table(table_id bigint) RETURNS dataset_table LANGUAGE plpgsql
    SET search_path = public, pg_temp AS $$
DECLARE
    item dataset_table;
BEGIN
    SELECT * INTO item FROM dataset_table WHERE id = table_id AND organization_id = app_organization();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'table % is not of this organization', table_id;
    END IF;
    RETURN item;
END $$;

-- Only the owner of the schema may make tables; these functions make them for the app, of known kinds only.
CREATE FUNCTION app_make_rows_table(table_id bigint, kinds text[]) RETURNS void LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    item dataset_table := app_own_dataset_table(table_id);
    columns text;
BEGIN
    SELECT string_agg(format(', c%s %s', n, CASE kind WHEN 'int' THEN 'bigint' WHEN 'number' THEN 'numeric'
        WHEN 'bool' THEN 'boolean' WHEN 'date' THEN 'date' WHEN 'moment' THEN 'timestamptz' ELSE 'text' END),
        '' ORDER BY n) INTO columns FROM unnest(kinds) WITH ORDINALITY AS t(kind, n);
    EXECUTE format('CREATE TABLE datasets.rows_%s (ordinal int PRIMARY KEY, record_key text NOT NULL%s)',
        item.id, coalesce(columns, ''));
    PERFORM app_guard_dataset_table(item);
END $$;

CREATE FUNCTION app_make_vectors_table(table_id bigint, dimensions int) RETURNS void LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    item dataset_table := app_own_dataset_table(table_id);
BEGIN
    IF to_regtype('public.halfvec') IS NULL THEN  -- two first datasets at once would both make it, and one would fail
        PERFORM pg_advisory_xact_lock(hashtextextended('gristmill.extension.vector', 0));
        CREATE EXTENSION IF NOT EXISTS vector;
    END IF;
    EXECUTE format('CREATE TABLE datasets.vectors_%s (ordinal int PRIMARY KEY, embedding halfvec(%s) STORAGE PLAIN)',
        item.id, dimensions);
    PERFORM app_guard_dataset_table(item);
END $$;

CREATE FUNCTION app_index_vectors(table_id bigint) RETURNS void LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp SET maintenance_work_mem = '512MB' AS $$
DECLARE
    item dataset_table := app_own_dataset_table(table_id);
BEGIN
    EXECUTE format('CREATE INDEX IF NOT EXISTS vectors_%s_nearest ON datasets.vectors_%s'
        ' USING hnsw (embedding halfvec_ip_ops) WITH (m = 16, ef_construction = 64)', item.id, item.id);
    UPDATE dataset_table SET indexed = true WHERE id = item.id;
END $$;

CREATE FUNCTION app_analyze_dataset_table(table_id bigint) RETURNS void LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    item dataset_table := app_own_dataset_table(table_id);
BEGIN
    EXECUTE format('ANALYZE datasets.%I', item.kind || '_' || item.id);
END $$;

CREATE FUNCTION app_drop_dataset_table() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS datasets.%I', OLD.kind || '_' || OLD.id);
    RETURN NULL;
END $$;
CREATE TRIGGER dataset_table_dropped AFTER DELETE ON dataset_table
    FOR EACH ROW EXECUTE FUNCTION app_drop_dataset_table();

-- Statistics after a bulk load; only the owner may ANALYZE.
CREATE FUNCTION app_analyze_datasets() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    AS $$ BEGIN ANALYZE dataset_record, dataset_chunk, dataset_posting, embedding; END $$;

REVOKE ALL ON FUNCTION app_guard_dataset_table(dataset_table), app_own_dataset_table(bigint),
    app_make_rows_table(bigint, text[]), app_make_vectors_table(bigint, int), app_index_vectors(bigint),
    app_analyze_dataset_table(bigint), app_drop_dataset_table(), app_analyze_datasets() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app_make_rows_table(bigint, text[]), app_make_vectors_table(bigint, int),
    app_index_vectors(bigint), app_analyze_dataset_table(bigint), app_analyze_datasets()
    TO gristmill_app, gristmill_system;
