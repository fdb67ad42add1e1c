-- Tenants, keys, money, events. Every tenant table carries organization_id and a row-level security policy.

CREATE FUNCTION app_organization() RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('gristmill.organization_id', true), '')::bigint $$;

-- The tenant. Owns everything below.
CREATE TABLE organization (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- A secret that opens the API. Only its SHA-256 is kept; the secret itself is shown once.
CREATE TABLE api_key (
    id               uuid PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    agent_id         bigint,                    -- limits the key to one agent; NULL for the whole organization
    name             text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    scope            text NOT NULL CHECK (scope IN ('admin', 'usage')),
    secret_sha256    bytea NOT NULL UNIQUE CHECK (octet_length(secret_sha256) = 32),
    last_four        text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    last_used_at     timestamptz,               -- written at most once a minute
    expires_at       timestamptz,
    revoked_at       timestamptz
);
CREATE INDEX api_key_organization ON api_key (organization_id, created_at);

-- A browser's login: a one-time link is traded for a session; both are kept only as SHA-256.
CREATE TABLE login (
    token_sha256     bytea PRIMARY KEY CHECK (octet_length(token_sha256) = 32),
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    kind             text NOT NULL CHECK (kind IN ('link', 'session')),
    csrf             text NOT NULL DEFAULT '',  -- token that every form of this session must send
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL
);

-- The first answer to each Idempotency-Key, so that the same call again gets the same answer.
CREATE TABLE idempotency (
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    key              bytea NOT NULL,            -- a digest: only whoever has the key itself opens the answer
    call             text NOT NULL,             -- method and path
    body_digest      bytea NOT NULL,
    status           int NOT NULL,
    answer           bytea,                     -- sealed, since it may hold a secret that is shown once
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, key)
);

-- Money of one organization, in micro-USD. No column can go below zero, whatever the concurrency.
CREATE TABLE ledger_account (
    organization_id      bigint PRIMARY KEY REFERENCES organization ON DELETE CASCADE,
    available_micro_usd  bigint NOT NULL DEFAULT 0 CHECK (available_micro_usd >= 0),
    held_micro_usd       bigint NOT NULL DEFAULT 0 CHECK (held_micro_usd >= 0),
    spent_micro_usd      bigint NOT NULL DEFAULT 0 CHECK (spent_micro_usd >= 0),
    funded_micro_usd     bigint NOT NULL DEFAULT 0,
    -- Double entry: what came in is what is available, held or spent.
    CONSTRAINT ledger_balances CHECK (funded_micro_usd = available_micro_usd + held_micro_usd + spent_micro_usd)
);

-- Append-only moves between the four accounts of an organization.
CREATE TABLE ledger_entry (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    kind             text NOT NULL CHECK (kind IN ('top_up', 'hold', 'settle', 'release', 'refund', 'adjustment')),
    debit            text NOT NULL CHECK (debit IN ('funded', 'available', 'held', 'spent')),
    credit           text NOT NULL CHECK (credit IN ('funded', 'available', 'held', 'spent')),
    amount_micro_usd bigint NOT NULL CHECK (amount_micro_usd >= 0),
    key              text NOT NULL,             -- what the move is for; the same key never moves money twice
    batch_id         uuid,
    row_number       int,
    note             text NOT NULL DEFAULT '',
    created_at       timestamptz NOT NULL DEFAULT now(),
    CHECK (debit <> credit)
);
CREATE UNIQUE INDEX ledger_entry_key ON ledger_entry (organization_id, key);
CREATE INDEX ledger_entry_batch ON ledger_entry (batch_id, row_number) WHERE batch_id IS NOT NULL;

-- The outbox: an event commits with the change that caused it.
CREATE TABLE event (
    id               uuid PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    kind             text NOT NULL,             -- for example agent.batch.completed
    subject          text NOT NULL,             -- the object it is about, for example batch:0198...
    data             json NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX event_organization ON event (organization_id, id);

-- Which version of the job engine made its tables in schema dbos; one row.
CREATE TABLE engine_schema (
    one      boolean PRIMARY KEY CHECK (one),
    version  text NOT NULL
);

-- A live process that runs work. Its id is the lease on every row it holds.
CREATE TABLE worker (
    id          uuid PRIMARY KEY,
    host        text NOT NULL,                  -- machine, boot and process namespace: where its pid means something
    pid         int NOT NULL,
    queues      text[] NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    seen_at     timestamptz NOT NULL DEFAULT now()
);
