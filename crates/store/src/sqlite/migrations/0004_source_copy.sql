-- What a source that is not on this machine said when it was last reached.
CREATE TABLE source_copy (
    source     TEXT PRIMARY KEY,
    tag        TEXT,
    text       TEXT NOT NULL,
    fetched_at INTEGER NOT NULL
) STRICT;
