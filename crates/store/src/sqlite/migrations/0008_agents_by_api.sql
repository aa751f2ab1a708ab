-- Versions of agents: why nothing can be started of one, and whether it was taken back.
ALTER TABLE agent_version ADD COLUMN failure TEXT;
ALTER TABLE agent_version ADD COLUMN withdrawn INTEGER NOT NULL DEFAULT 0;
-- Agents that take nothing new, in service or not.
CREATE TABLE agent_disabled (
    name TEXT PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- For whom of its owner's users a session is.
ALTER TABLE session ADD COLUMN user TEXT;
CREATE INDEX session_user ON session (user) WHERE user IS NOT NULL;
