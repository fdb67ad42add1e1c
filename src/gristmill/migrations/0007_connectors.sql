-- Connectors, syncs, the ledger of objects, inventory.
SELECT 1;
