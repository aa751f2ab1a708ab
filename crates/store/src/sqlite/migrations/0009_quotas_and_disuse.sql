-- What quotas count is counted in an index: who has what is active, and what exists.
CREATE INDEX session_up ON session (owner, user)
    WHERE live_runner IS NOT NULL OR needs_since IS NOT NULL;
CREATE INDEX session_kept ON session (owner, user) WHERE life = 0;
-- When it was last used, by the clock of the coordinator: entries of the log have their own.
ALTER TABLE session ADD COLUMN used_at INTEGER NOT NULL DEFAULT 0;
UPDATE session SET used_at = active_at;
