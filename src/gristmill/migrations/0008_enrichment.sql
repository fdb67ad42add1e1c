-- Enrichment: jobs, providers' answers, hunts under way; and payments.

-- One organization holds what people without a key uploaded, until they link it to their own.
ALTER TABLE organization ADD COLUMN anonymous boolean NOT NULL DEFAULT false;
CREATE UNIQUE INDEX organization_anonymous ON organization (anonymous) WHERE anonymous;

-- An uploaded lead file on its way through enrichment. Its rows are a batch's, its id is the batch's.
CREATE TABLE batch_enrich_job (
    batch_id         uuid PRIMARY KEY REFERENCES batch ON DELETE CASCADE,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    inventory_id     uuid NOT NULL,                 -- the file as it came
    mapping          json NOT NULL,                 -- field -> columns, with evidence; what names a row
    process_limit    int,                           -- rows beyond it are kept as skipped
    token_sha256     bytea CHECK (octet_length(token_sha256) = 32), -- an anonymous upload's, until it is linked
    token_expires_at timestamptz,
    linked_at        timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    CHECK ((token_sha256 IS NULL) = (token_expires_at IS NULL))
);
CREATE INDEX batch_enrich_job_organization ON batch_enrich_job (organization_id, batch_id DESC);
CREATE INDEX batch_enrich_job_expires ON batch_enrich_job (token_expires_at) WHERE token_expires_at IS NOT NULL;
SELECT app_tenant_table('batch_enrich_job');

-- What a provider answered, by what it was asked: asked again while it is good, nobody is called or paid.
CREATE TABLE provider_answer (
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    input_hash       bytea NOT NULL CHECK (octet_length(input_hash) = 16), -- of provider, its config, and the question
    provider         text NOT NULL,
    finding          json NOT NULL,
    row_id           uuid,                          -- the row that paid for it
    fetched_at       timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    PRIMARY KEY (organization_id, input_hash)
);
CREATE INDEX provider_answer_expires ON provider_answer (expires_at);
SELECT app_tenant_table('provider_answer');

-- Steps of hunts under way, for whoever watches; a row that has ended keeps its whole trace itself.
CREATE TABLE hunt_step (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    batch_id         uuid NOT NULL,
    row_number       int NOT NULL,
    step             json NOT NULL,
    at               timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX hunt_step_row ON hunt_step (batch_id, row_number, id);
CREATE INDEX hunt_step_at ON hunt_step (at);
SELECT app_tenant_table('hunt_step');

-- Money that comes in through x402. The balance is credited when, and only when, one becomes settled.
CREATE TABLE payment (
    id               uuid PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    status           text NOT NULL CHECK (status IN ('settlement_pending', 'settled', 'failed')),
    network          text NOT NULL,                 -- CAIP-2, such as eip155:8453
    asset            text NOT NULL,                 -- address of the token, in lower case
    payer            text NOT NULL,                 -- address that signed, in lower case
    nonce            text NOT NULL,                 -- of the authorization, in lower case
    amount_micro_usd bigint NOT NULL CHECK (amount_micro_usd > 0),
    purpose          text NOT NULL,                 -- what was being paid for, such as enrich_start:0198...
    payload          json NOT NULL,                 -- the signed authorization, to be settled again with the same effect
    requirements     json NOT NULL,
    transaction      text,                          -- hash, once there is one
    reason           text NOT NULL DEFAULT '',      -- why it failed, or why it is not settled yet
    tries            int NOT NULL DEFAULT 0,        -- settlements asked for
    next_try_at      timestamptz,
    valid_before     timestamptz NOT NULL,          -- the authorization is worthless from then on
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payment_once UNIQUE (network, asset, payer, nonce)
);
CREATE INDEX payment_organization ON payment (organization_id, id DESC);
CREATE INDEX payment_open ON payment (next_try_at) WHERE status = 'settlement_pending';
SELECT app_tenant_table('payment');
