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
