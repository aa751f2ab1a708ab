-- The compute whose journal is still awaited, where a run's end has overtaken its text.
ALTER TABLE outbox ADD COLUMN awaits INTEGER;
