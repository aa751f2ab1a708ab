-- What was kept of the files at a run's end.
ALTER TABLE run ADD COLUMN files TEXT;

-- Ends of runs are found without reading a log.
CREATE INDEX event_run_end ON event (sid, seq) WHERE type IN ('run.completed', 'run.failed',
    'run.stopped');
