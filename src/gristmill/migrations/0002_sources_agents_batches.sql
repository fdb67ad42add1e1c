-- Saved data: the text of a CSV, or the name of an environment key with a SELECT.
CREATE TABLE data_source (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    name             text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    kind             text NOT NULL,
    config           json NOT NULL DEFAULT '{}',    -- kind's own settings and default_mapping, in the user's order
    csv_data         text,                          -- only kind csv: the file as text
    size_bytes       bigint,                        -- only kind csv: of the file as it was sent
    reading          json,                          -- only kind csv: columns, dialect and receipt of the whole text
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX data_source_organization ON data_source (organization_id, id);

-- Rows of a source as they were at one moment, so that a batch runs what was previewed.
CREATE TABLE data_source_snapshot (
    id               uuid PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    data_source_id   bigint NOT NULL REFERENCES data_source ON DELETE CASCADE,
    columns          json NOT NULL,
    object_key       text NOT NULL,                 -- JSON lines in the object store
    row_count        bigint NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX data_source_snapshot_source ON data_source_snapshot (data_source_id, id);

-- What runs on a row.
CREATE TABLE agent (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id         bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    name                    text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    runtime                 text NOT NULL,
    config                  jsonb NOT NULL DEFAULT '{}',
    input_fields            jsonb NOT NULL DEFAULT '[]',
    output_schema           jsonb,
    concurrency             int NOT NULL DEFAULT 8 CHECK (concurrency BETWEEN 1 AND 10000),
    rate_limit              jsonb NOT NULL DEFAULT '{}',
    timeout_s               double precision NOT NULL DEFAULT 60 CHECK (timeout_s > 0),
    retry                   jsonb NOT NULL DEFAULT '{}',
    price_micro_usd         bigint NOT NULL DEFAULT 0 CHECK (price_micro_usd >= 0),
    bill_on_match           boolean NOT NULL DEFAULT true,
    daily_budget_micro_usd  bigint CHECK (daily_budget_micro_usd >= 0),
    rules                   jsonb NOT NULL DEFAULT '{}',
    schedule_cron           text,
    template                text,                   -- slug of the template it was deployed from
    version                 int NOT NULL DEFAULT 1, -- goes up whenever a change can change results
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organization_id, name),
    UNIQUE (organization_id, id)
);

-- With the organization in it: a key can't be limited to another tenant's agent.
ALTER TABLE api_key ADD FOREIGN KEY (organization_id, agent_id) REFERENCES agent (organization_id, id) ON DELETE CASCADE;

-- What an agent spent on one UTC day; the daily budget is checked against it.
CREATE TABLE agent_day (
    agent_id         bigint NOT NULL REFERENCES agent ON DELETE CASCADE,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    day              date NOT NULL,
    spent_micro_usd  bigint NOT NULL DEFAULT 0 CHECK (spent_micro_usd >= 0),
    PRIMARY KEY (agent_id, day)
);

-- One run of one agent over rows.
CREATE TABLE batch (
    id                uuid PRIMARY KEY,
    organization_id   bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    agent_id          bigint NOT NULL REFERENCES agent,
    agent             json NOT NULL,                -- the agent as it was when the batch was made
    agent_version     int NOT NULL,
    name              text NOT NULL DEFAULT '',
    status            text NOT NULL CHECK (status IN ('queued', 'running', 'paused', 'completed', 'failed', 'cancelled')),
    reason            text CHECK (reason IN ('user', 'balance', 'budget', 'failures', 'schedule')),
    message           text NOT NULL DEFAULT '',     -- the reason in words
    origin            json NOT NULL DEFAULT '{}',   -- where the rows came from
    columns           json NOT NULL DEFAULT '[]',   -- the user's columns in their order
    mapping           json NOT NULL DEFAULT '{}',   -- agent field -> column
    result_columns    json NOT NULL DEFAULT '[]',   -- flattened result columns in the order they first came
    queue             text NOT NULL DEFAULT 'shared', -- workers listening to this queue run it
    priority          int NOT NULL DEFAULT 100,
    row_limit         int,
    budget_micro_usd  bigint CHECK (budget_micro_usd >= 0),
    max_failures      int CHECK (max_failures >= 0),
    callback_url      text,
    callback          json,                         -- how the last call of callback_url went
    run_key           text,                         -- the same run started again finds its batch by it
    epoch             int NOT NULL DEFAULT 1,       -- goes up with every resume; work of an older epoch ends itself
    revision          bigint NOT NULL DEFAULT 0,    -- goes up with every change; event streams resume from it
    rows_in           int NOT NULL DEFAULT 0,
    pending           int NOT NULL DEFAULT 0 CHECK (pending >= 0),
    running           int NOT NULL DEFAULT 0 CHECK (running >= 0),
    succeeded         int NOT NULL DEFAULT 0 CHECK (succeeded >= 0),
    empty             int NOT NULL DEFAULT 0 CHECK (empty >= 0),
    failed            int NOT NULL DEFAULT 0 CHECK (failed >= 0),
    skipped           int NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    duplicate         int NOT NULL DEFAULT 0 CHECK (duplicate >= 0),
    cancelled         int NOT NULL DEFAULT 0 CHECK (cancelled >= 0),
    reused            int NOT NULL DEFAULT 0 CHECK (reused >= 0), -- of the succeeded and empty: taken from earlier batches
    attempts          bigint NOT NULL DEFAULT 0,
    failures_run      int NOT NULL DEFAULT 0,       -- failures since the last start or resume, for max_failures
    price_micro_usd   bigint NOT NULL DEFAULT 0 CHECK (price_micro_usd >= 0),
    held_micro_usd    bigint NOT NULL DEFAULT 0 CHECK (held_micro_usd >= 0),
    spent_micro_usd   bigint NOT NULL DEFAULT 0 CHECK (spent_micro_usd >= 0),
    created_at        timestamptz NOT NULL DEFAULT now(),
    started_at        timestamptz,
    finished_at       timestamptz,
    updated_at        timestamptz NOT NULL DEFAULT now(),
    -- The receipt: nothing is lost silently, at any moment.
    CONSTRAINT receipt CHECK (rows_in = pending + running + succeeded + empty + failed + skipped + duplicate + cancelled),
    CONSTRAINT closed CHECK (status <> 'completed' OR (pending = 0 AND running = 0 AND held_micro_usd = 0)),
    CHECK ((status = 'paused') = (reason IS NOT NULL))
) WITH (fillfactor = 50);
CREATE INDEX batch_organization ON batch (organization_id, id DESC);
CREATE INDEX batch_agent ON batch (agent_id, id DESC);
CREATE UNIQUE INDEX batch_run_key ON batch (organization_id, run_key) WHERE run_key IS NOT NULL;
CREATE INDEX batch_live ON batch (status) WHERE status IN ('queued', 'running');

-- One work item. Its id is its batch's id with the row number in the last 32 bits, so it needs no column.
CREATE TABLE batch_row (
    batch_id          uuid NOT NULL REFERENCES batch ON DELETE CASCADE,
    row_number        int NOT NULL CHECK (row_number > 0),
    organization_id   bigint NOT NULL,
    status            text NOT NULL CHECK (status IN
                      ('pending', 'running', 'succeeded', 'empty', 'failed', 'skipped', 'duplicate', 'cancelled')),
    data              json NOT NULL,                -- the user's row as it came
    input_hash        bytea NOT NULL,               -- of the mapped input; equal hashes run once
    external_id       text,
    duplicate_of      int,                          -- row number whose result this row shares
    attempt           int NOT NULL DEFAULT 0,       -- goes up with every claim; with worker_id it fences late writes
    tries             int NOT NULL DEFAULT 0,       -- attempts that ran to their end
    losses            int NOT NULL DEFAULT 0,       -- times that a worker died while it held the row
    worker_id         uuid,                         -- the lease: which worker runs it now
    epoch             int,                          -- the batch's run in which it was claimed last
    not_before        timestamptz,                  -- a retry waits until then
    held_micro_usd    bigint NOT NULL DEFAULT 0,
    result            json,
    error_code        text,
    error             text,
    charge_micro_usd  bigint NOT NULL DEFAULT 0,
    duration_ms       int,
    trace             json,
    history           json,                         -- attempts before the last one
    reused_from       uuid,                         -- row id of the earlier batch whose result this is
    started_at        timestamptz,
    finished_at       timestamptz,
    PRIMARY KEY (batch_id, row_number),
    CHECK ((status = 'running') = (worker_id IS NOT NULL)),
    CHECK (held_micro_usd = 0 OR status = 'running')
) WITH (fillfactor = 55, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
-- No index on status: it would make each of a row's two updates write every index again.

-- What changed in one save, for event streams; one line per save, not per row.
CREATE TABLE batch_progress (
    batch_id         uuid NOT NULL REFERENCES batch ON DELETE CASCADE,
    revision         bigint NOT NULL,
    organization_id  bigint NOT NULL,
    rows             json NOT NULL,                 -- [[row number, status, charge in micro-USD, milliseconds, error code]]
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (batch_id, revision)
);

-- A worker's seat at a batch: how many rows of the agent it may have in flight. The sum over an agent's
-- seats never exceeds the agent's concurrency.
CREATE TABLE seat (
    agent_id         bigint NOT NULL REFERENCES agent ON DELETE CASCADE,
    batch_id         uuid NOT NULL REFERENCES batch ON DELETE CASCADE,
    worker_id        uuid NOT NULL REFERENCES worker, -- a worker whose lease is gone can take no seat, so no rows
    epoch            int NOT NULL,                  -- of the batch: a seat of an older epoch only finishes what it runs
    organization_id  bigint NOT NULL,
    priority         int NOT NULL DEFAULT 100,
    want             int NOT NULL CHECK (want >= 0),   -- rows that it could run now
    slots            int NOT NULL CHECK (slots >= 0),  -- rows that it may run now
    seen_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (agent_id, batch_id, worker_id, epoch)
);
CREATE INDEX seat_worker ON seat (worker_id);

-- The shared pace of one provider key: every row that calls it, of any batch and worker, obeys it.
CREATE TABLE pace (
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    key              text NOT NULL,                 -- agent:12 for the rpm of an agent, or the runtime's provider key
    tokens           double precision NOT NULL DEFAULT 0, -- calls that may start now under the rate limit
    refilled_at      timestamptz NOT NULL DEFAULT now(),
    slots_limit      double precision,              -- additive increase, multiplicative decrease; NULL is no limit
    lowered_at       timestamptz,
    blocked_until    timestamptz,                   -- Retry-After of the provider
    PRIMARY KEY (organization_id, key)
);

-- Statistics after a bulk load: without them every save would scan the whole table. Only the owner may ANALYZE.
CREATE FUNCTION app_analyze_rows() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    AS $$ BEGIN ANALYZE batch_row; END $$;
