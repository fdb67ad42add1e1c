-- How the columns of tables with certain headers feed certain fields: one line a version, never changed.
-- The newest version counts. After a person's edit no proposal is kept any more.
CREATE TABLE column_mapping (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id  bigint NOT NULL REFERENCES organization ON DELETE CASCADE,
    agent_id         bigint,                        -- NULL: for every agent of the organization
    fieldset         text NOT NULL,                 -- `lead`, or a hash of the wanted fields
    fingerprint      text NOT NULL,                 -- of the headers
    version          int NOT NULL CHECK (version > 0),
    edited           boolean NOT NULL,              -- by a person
    mapping          json NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (organization_id, agent_id) REFERENCES agent (organization_id, id) ON DELETE CASCADE,
    UNIQUE NULLS NOT DISTINCT (organization_id, agent_id, fieldset, fingerprint, version)
);

SELECT app_tenant_table('column_mapping');
