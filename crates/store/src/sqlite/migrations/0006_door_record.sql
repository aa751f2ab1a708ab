-- What a door keeps for itself: registries, hooks, what a foreign client has said.
CREATE TABLE door_record (
    door       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    body       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (door, kind, id)
) STRICT, WITHOUT ROWID;
