-- Secrets, subscriptions, deliveries, channels, pending items.

-- A master key that has sealed data keys here. Its id is a check value of the key; the key itself is never stored.
CREATE TABLE master_key (
    id          text PRIMARY KEY,
    is_current  boolean NOT NULL,               -- seals what is new
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX master_key_current ON master_key (is_current) WHERE is_current;

-- An entry of the vault: one or more named values that open something elsewhere.
CREATE TABLE secret (
    id               uuid PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    name             text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    owner            text,                      -- the object that keeps it, such as webhook:0198...; NULL: a person
    redacted         json NOT NULL,             -- name of a value -> gm_byo_****1234
    version          int NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    last_used_at     timestamptz,               -- written at most once a minute
    last_tested_at   timestamptz,
    last_test_ok     boolean,
    UNIQUE (organization_id, id)
);
CREATE UNIQUE INDEX secret_owner ON secret (organization_id, owner) WHERE owner IS NOT NULL;
CREATE INDEX secret_organization ON secret (organization_id, created_at, id);

-- The values of a secret, sealed by a data key of their own, which a master key seals.
CREATE TABLE secret_version (
    secret_id        uuid NOT NULL,
    version          int NOT NULL,
    organization_id  bigint NOT NULL,
    key_id           text NOT NULL REFERENCES master_key,
    wrapped_key      bytea NOT NULL,
    sealed           bytea NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    valid_until      timestamptz,               -- of a version that another has followed
    PRIMARY KEY (secret_id, version),
    FOREIGN KEY (organization_id, secret_id) REFERENCES secret (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX secret_version_key ON secret_version (key_id, secret_id, version);
CREATE INDEX secret_version_old ON secret_version (valid_until) WHERE valid_until IS NOT NULL;

-- Who needs a secret; while a line is here the secret can't be deleted.
CREATE TABLE secret_reference (
    secret_id        uuid NOT NULL,
    referrer         text NOT NULL CHECK (length(referrer) BETWEEN 1 AND 200), -- such as agent:12
    organization_id  bigint NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (secret_id, referrer),
    FOREIGN KEY (organization_id, secret_id) REFERENCES secret (organization_id, id)
);
CREATE INDEX secret_reference_referrer ON secret_reference (organization_id, referrer);

-- Every time that values were revealed inside, and what for. Stays when the secret is deleted.
CREATE TABLE secret_use (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    secret_id        uuid NOT NULL,
    version          int NOT NULL,
    purpose          text NOT NULL,
    used_at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX secret_use_secret ON secret_use (organization_id, secret_id, id);

SELECT app_tenant_table(name) FROM unnest(ARRAY['secret', 'secret_version', 'secret_reference', 'secret_use']) AS name;
REVOKE UPDATE, DELETE ON secret_use FROM gristmill_app, gristmill_system;
GRANT SELECT, INSERT ON master_key TO gristmill_app, gristmill_system;
GRANT UPDATE ON master_key TO gristmill_system;

-- Who is told of events: a subscription of the organization, a channel of an agent, or the callback of batches.
-- Each is a lane: one worker at a time sends what it is owed.
CREATE TABLE receiver (
    id               uuid PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    agent_id         bigint,                    -- of a channel: only this agent's events, and the organization's
    form             text NOT NULL CHECK (form IN ('webhook', 'channel', 'callback')),
    kind             text NOT NULL,             -- how it is told: WEBHOOK, EMAIL, ...
    name             text NOT NULL DEFAULT '',
    config           json NOT NULL,
    secret_id        uuid,
    public_key       text,                      -- of a webhook that is signed with a private key
    topics           text[] NOT NULL,           -- kinds of events, whole or with a * at the end, or topics of channels
    fingerprint      bytea,                     -- of a channel: equal ones reach the same people
    ordered          boolean NOT NULL,          -- whether a delivery waits until the one before it has ended
    status           text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'disabled')),
    reason           text,                      -- of disabled, in words
    failures         int NOT NULL DEFAULT 0,    -- attempts that failed since the last one that did not
    failing_since    timestamptz,
    last_delivered_at timestamptz,
    last_error       text,
    worker_id        uuid,                      -- the lease: which worker sends now
    due_at           timestamptz,               -- when something is to be sent; NULL: nothing, or it is being sent
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organization_id, id),
    CHECK ((form = 'channel') = (agent_id IS NOT NULL)),
    FOREIGN KEY (organization_id, agent_id) REFERENCES agent (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, secret_id) REFERENCES secret (organization_id, id)
) WITH (fillfactor = 70);
CREATE INDEX receiver_organization ON receiver (organization_id, form, created_at, id);
CREATE INDEX receiver_agent ON receiver (agent_id) WHERE agent_id IS NOT NULL;
CREATE INDEX receiver_worker ON receiver (worker_id) WHERE worker_id IS NOT NULL;
CREATE INDEX receiver_due ON receiver (due_at) WHERE due_at IS NOT NULL AND worker_id IS NULL AND status = 'active';
CREATE UNIQUE INDEX receiver_callback ON receiver (organization_id, (config->>'url')) WHERE form = 'callback';

-- One event on its way to one receiver.
CREATE TABLE delivery (
    receiver_id      uuid NOT NULL,
    event_id         uuid NOT NULL REFERENCES event,
    organization_id  bigint NOT NULL,
    place            bigint GENERATED ALWAYS AS IDENTITY, -- its order among those of the receiver
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'dead')),
    tries            int NOT NULL DEFAULT 0,    -- failed attempts since it was made or replayed: its rung on the ladder
    attempts         int NOT NULL DEFAULT 0,    -- attempts in all
    next_at          timestamptz NOT NULL DEFAULT now(), -- of a pending one: not before
    created_at       timestamptz NOT NULL DEFAULT now(),
    ended_at         timestamptz,
    PRIMARY KEY (receiver_id, event_id),
    FOREIGN KEY (organization_id, receiver_id) REFERENCES receiver (organization_id, id) ON DELETE CASCADE
) WITH (fillfactor = 70);
CREATE INDEX delivery_place ON delivery (receiver_id, place);
CREATE INDEX delivery_pending ON delivery (receiver_id, place) WHERE status = 'pending';
CREATE INDEX delivery_due ON delivery (receiver_id, next_at) WHERE status = 'pending';
CREATE INDEX delivery_ended ON delivery (ended_at) WHERE ended_at IS NOT NULL;

-- One request of a delivery, and what came of it.
CREATE TABLE delivery_attempt (
    receiver_id      uuid NOT NULL,
    event_id         uuid NOT NULL,
    number           int NOT NULL,
    organization_id  bigint NOT NULL,
    sent_at          timestamptz NOT NULL,
    duration_ms      int NOT NULL,
    request          json NOT NULL,
    status           int,                       -- of HTTP
    answer           text,                      -- the beginning of the answer
    error            text,
    PRIMARY KEY (receiver_id, event_id, number),
    FOREIGN KEY (receiver_id, event_id) REFERENCES delivery ON DELETE CASCADE
);

-- Receivers that are owed something new. Lines are only added and taken, so that no transaction which emits an event
-- waits for another one, or for a worker that sends.
CREATE TABLE receiver_wake (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    receiver_id      uuid NOT NULL
);

-- Something that a person must look at.
CREATE TABLE pending_item (
    id               uuid PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    agent_id         bigint,                    -- NULL: of the organization
    kind             text NOT NULL CHECK (length(kind) BETWEEN 1 AND 100), -- for example DATA_SOURCE_PULL_FAILED
    key              text NOT NULL,             -- what it is about; an open item of the same is not filed twice
    message          text NOT NULL,
    facts            json NOT NULL,
    times            int NOT NULL DEFAULT 1,    -- how often it was filed
    created_at       timestamptz NOT NULL DEFAULT now(),
    seen_at          timestamptz NOT NULL DEFAULT now(), -- when it was filed last
    resolved_at      timestamptz,
    resolution       json,                      -- decision and note
    FOREIGN KEY (organization_id, agent_id) REFERENCES agent (organization_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX pending_item_open ON pending_item (organization_id, coalesce(agent_id, 0), kind, key)
    WHERE resolved_at IS NULL;
CREATE INDEX pending_item_agent ON pending_item (organization_id, agent_id, id);

SELECT app_tenant_table(name) FROM unnest(ARRAY['receiver', 'delivery', 'delivery_attempt', 'receiver_wake',
    'pending_item']) AS name;
