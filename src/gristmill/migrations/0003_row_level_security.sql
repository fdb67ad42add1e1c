-- The second wall between tenants: even a query that forgot its WHERE sees one organization.
-- A later migration calls this for each table it makes.
CREATE FUNCTION app_tenant_table(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON %I TO gristmill_app'
        ' USING (organization_id = (SELECT app_organization()))'
        ' WITH CHECK (organization_id = (SELECT app_organization()))', name);
    EXECUTE format('CREATE POLICY system ON %I TO gristmill_system USING (true) WITH CHECK (true)', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO gristmill_app, gristmill_system', name);
END $$;
REVOKE ALL ON FUNCTION app_tenant_table(text) FROM PUBLIC;

SELECT app_tenant_table(name) FROM unnest(ARRAY['api_key', 'login', 'idempotency', 'ledger_account', 'ledger_entry',
    'event', 'data_source', 'data_source_snapshot', 'agent', 'agent_day', 'batch', 'batch_row', 'batch_progress',
    'seat', 'pace']) AS name;

ALTER TABLE organization ENABLE ROW LEVEL SECURITY;
ALTER TABLE organization FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON organization TO gristmill_app USING (id = (SELECT app_organization()));
CREATE POLICY system ON organization TO gristmill_system USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO gristmill_app, gristmill_system;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO gristmill_app, gristmill_system;
-- The ledger and the outbox are append-only for everyone.
-- Which changes the schema has had is nobody's business but the owner's.
REVOKE ALL ON engine_schema, _yoyo_migration, _yoyo_log, _yoyo_version, yoyo_lock FROM gristmill_app, gristmill_system;
REVOKE UPDATE, DELETE ON ledger_entry, event FROM gristmill_app, gristmill_system;
REVOKE ALL ON FUNCTION app_analyze_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app_analyze_rows() TO gristmill_app, gristmill_system;
