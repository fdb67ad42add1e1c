-- Connectors, syncs, the ledger of objects, inventory.

-- A file that came in for an agent: uploaded, or brought by a connector. Its bytes lie in the object store as they came.
CREATE TABLE inventory (
    id               uuid PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    agent_id         bigint NOT NULL,
    name             text NOT NULL CHECK (length(name) BETWEEN 1 AND 1024),
    origin           json NOT NULL,                 -- {"kind": "upload"}, or the connector, its sync and the key
    object_key       text NOT NULL,                 -- in the object store
    size_bytes       bigint NOT NULL CHECK (size_bytes >= 0),
    sha256           text NOT NULL CHECK (length(sha256) = 64),
    format           text NOT NULL,
    dialect          json NOT NULL,                 -- how the bytes are read; every later reading uses just this
    columns          json NOT NULL,
    row_count        bigint NOT NULL CHECK (row_count >= 0),
    reject_count     bigint NOT NULL CHECK (reject_count >= 0),
    receipt          json NOT NULL,                 -- what became of every record of the file
    created_at       timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (organization_id, agent_id) REFERENCES agent (organization_id, id)
);
CREATE INDEX inventory_agent ON inventory (organization_id, agent_id, id DESC);

-- An agent's own place that inventory comes from or results go to.
CREATE TABLE connector (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    agent_id         bigint NOT NULL,
    name             text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    role             text NOT NULL CHECK (role IN ('INVENTORY_SOURCE', 'RESULTS_SINK')),
    type             text NOT NULL,                 -- kind of the plug-in
    config           json NOT NULL,                 -- the kind's own settings, without any secret
    secret_id        uuid,
    inbound_secret_id uuid,                         -- signs what is pushed in, where it is another one
    hook_id          text NOT NULL UNIQUE,          -- 128 bits: the last part of the inbound URL
    format           text,
    status           text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'PAUSED')),
    status_reason    text NOT NULL DEFAULT '',      -- why it is paused, when nobody asked for it
    schedule_cron    text,                          -- NULL: the agent's
    timezone         text NOT NULL DEFAULT 'UTC',
    planned_by       text,                          -- schedule that next_run_at was worked out from
    next_run_at      timestamptz,
    failures_in_row  int NOT NULL DEFAULT 0 CHECK (failures_in_row >= 0),
    last_started_at  timestamptz,
    last_synced_at   timestamptz,                   -- end of the last sync that went well; shown, never compared
    last_tested_at   timestamptz,
    last_test_ok     boolean,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (organization_id, agent_id) REFERENCES agent (organization_id, id),
    FOREIGN KEY (organization_id, secret_id) REFERENCES secret (organization_id, id),
    FOREIGN KEY (organization_id, inbound_secret_id) REFERENCES secret (organization_id, id),
    UNIQUE (organization_id, agent_id, name),
    UNIQUE (organization_id, id)
);
CREATE INDEX connector_due ON connector (next_run_at) WHERE next_run_at IS NOT NULL;

-- One pull or push of a connector.
CREATE TABLE connector_sync (
    id               uuid PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    connector_id     bigint NOT NULL,
    direction        text NOT NULL CHECK (direction IN ('INBOUND', 'OUTBOUND')),
    cause            text NOT NULL CHECK (cause IN ('SCHEDULE', 'MANUAL', 'HOOK', 'BATCH')),
    status           text NOT NULL CHECK (status IN ('QUEUED', 'RUNNING', 'HELD', 'COMPLETED', 'FAILED', 'DEAD', 'REJECTED')),
    batch_id         uuid,                          -- whose results are pushed
    worker_id        uuid,                          -- the lease: which worker runs it now
    tries            int NOT NULL DEFAULT 0,        -- times that it was begun
    due_at           timestamptz NOT NULL DEFAULT now(), -- it may begin from then on
    approved         boolean NOT NULL DEFAULT false, -- a person has seen that it changes much
    retry_failed     boolean NOT NULL DEFAULT false, -- also objects that were given up
    listed           int NOT NULL DEFAULT 0,
    uploaded         int NOT NULL DEFAULT 0,
    unchanged        int NOT NULL DEFAULT 0,
    rejected         int NOT NULL DEFAULT 0,
    failed           int NOT NULL DEFAULT 0,
    ignored          int NOT NULL DEFAULT 0,        -- folders, and keys that no glob matches
    deferred         int NOT NULL DEFAULT 0,        -- over a limit of this sync; the next one takes them
    bytes            bigint NOT NULL DEFAULT 0,     -- of content that was moved
    rows             bigint NOT NULL DEFAULT 0,
    requests         int NOT NULL DEFAULT 0,
    error            text,
    manifest_json    json NOT NULL DEFAULT '[]',    -- one line for each object that was listed or written
    exchanges        json NOT NULL DEFAULT '[]',    -- requests and answers worth keeping
    parcel           json,                          -- what is pushed, as it was packed
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    fetched_at       timestamptz,                   -- all bytes had come; what is left is reading them
    finished_at      timestamptz,
    FOREIGN KEY (organization_id, connector_id) REFERENCES connector (organization_id, id) ON DELETE CASCADE,
    CHECK ((status = 'RUNNING') = (worker_id IS NOT NULL)),
    -- The receipt: every object that was listed has one fate.
    CONSTRAINT sync_receipt CHECK (status NOT IN ('COMPLETED') OR direction = 'OUTBOUND'
        OR listed = uploaded + unchanged + rejected + failed + ignored + deferred)
);
CREATE INDEX connector_sync_connector ON connector_sync (connector_id, id DESC);
CREATE INDEX connector_sync_waiting ON connector_sync (due_at) WHERE status = 'QUEUED';
CREATE INDEX connector_sync_worker ON connector_sync (worker_id) WHERE worker_id IS NOT NULL;
-- Never two pulls of one connector at once, on any number of machines.
CREATE UNIQUE INDEX connector_sync_open ON connector_sync (connector_id)
    WHERE direction = 'INBOUND' AND cause <> 'HOOK' AND status IN ('QUEUED', 'RUNNING', 'HELD');

-- The ledger of objects: what is known of each key. New is what differs from it in ETag, size or version; no clock.
CREATE TABLE connector_object (
    connector_id     bigint NOT NULL,
    key              text NOT NULL,
    organization_id  bigint NOT NULL,
    etag             text NOT NULL,
    size_bytes       bigint NOT NULL,
    version          text NOT NULL DEFAULT '',
    status           text NOT NULL CHECK (status IN ('stored', 'uploaded', 'rejected', 'failed', 'ignored')),
    tries            int NOT NULL DEFAULT 0,        -- syncs in a row in which it failed
    object_key       text,                          -- of its bytes in the object store, while they wait to be read
    sha256           text,
    inventory_id     uuid,
    row_count        bigint,
    reject_count     bigint,
    error            text,
    sync_id          uuid NOT NULL,                 -- the last one that touched it
    modified_at      timestamptz,                   -- as the other side says; shown, never compared
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (connector_id, key),
    FOREIGN KEY (organization_id, connector_id) REFERENCES connector (organization_id, id) ON DELETE CASCADE
);

-- What a running sync has done so far; becomes its manifest.
CREATE TABLE connector_sync_line (
    sync_id          uuid NOT NULL REFERENCES connector_sync ON DELETE CASCADE,
    key              text NOT NULL,
    etag             text NOT NULL,
    organization_id  bigint NOT NULL,
    size_bytes       bigint NOT NULL,
    status           text NOT NULL CHECK (status IN ('stored', 'uploaded', 'unchanged', 'rejected', 'failed')),
    line             json NOT NULL,                 -- the line of the manifest
    PRIMARY KEY (sync_id, key, etag)
);

-- Messages that were pushed in, so that one that comes again changes nothing.
CREATE TABLE connector_delivery (
    connector_id     bigint NOT NULL,
    delivery_id      text NOT NULL CHECK (length(delivery_id) BETWEEN 1 AND 200),
    organization_id  bigint NOT NULL,
    body_sha256      text NOT NULL,
    sync_id          uuid NOT NULL,
    received_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (connector_id, delivery_id),
    FOREIGN KEY (organization_id, connector_id) REFERENCES connector (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX connector_delivery_received ON connector_delivery (received_at);

SELECT app_tenant_table(name) FROM unnest(ARRAY['inventory', 'connector', 'connector_sync', 'connector_object',
    'connector_sync_line', 'connector_delivery']) AS name;
