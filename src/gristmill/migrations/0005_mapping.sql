-- Mappings of columns to fields.
SELECT 1;
