-- Secrets, subscriptions, deliveries, channels, pending items.
SELECT 1;
