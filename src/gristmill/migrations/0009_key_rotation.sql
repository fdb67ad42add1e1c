-- A key that was rotated has a successor with its rights and its lifetime, and is not rotated again.
ALTER TABLE api_key ADD COLUMN rotated_at timestamptz;
