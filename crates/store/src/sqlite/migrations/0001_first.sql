-- The file is known by its application id: 'GRNR'.
PRAGMA application_id = 1196576338;

CREATE TABLE schema (
    version    INTEGER PRIMARY KEY,
    applied_at INTEGER NOT NULL
) STRICT;

CREATE TABLE identity (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    store_id BLOB NOT NULL,
    era      INTEGER NOT NULL,
    secret   BLOB NOT NULL,
    probe    INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What lists and reconcilers ask for. The folded state is in `fold`; what output alone
-- changes (last_seq, active_at, usage) is here and only here.
CREATE TABLE session (
    sid            INTEGER PRIMARY KEY,
    uid            BLOB NOT NULL UNIQUE,
    name           TEXT NOT NULL UNIQUE,
    owner          TEXT NOT NULL,
    shared         INTEGER NOT NULL,
    title          TEXT,
    agent          TEXT NOT NULL,
    status         TEXT NOT NULL,
    life           INTEGER NOT NULL,
    parent         BLOB,
    home           BLOB,
    live_runner    BLOB,
    slot_runner    BLOB,
    needs_since    INTEGER,
    stopping       INTEGER NOT NULL,
    idle_limited   INTEGER NOT NULL,
    ttl_limited    INTEGER NOT NULL,
    last_seq       INTEGER NOT NULL,
    active_at      INTEGER NOT NULL,
    input_tokens   INTEGER NOT NULL,
    output_tokens  INTEGER NOT NULL,
    cost_micro_usd INTEGER NOT NULL
) STRICT;
CREATE INDEX session_active ON session (active_at);
CREATE INDEX session_agent ON session (agent);
CREATE INDEX session_status ON session (status);
CREATE INDEX session_parent ON session (parent) WHERE parent IS NOT NULL;
CREATE INDEX session_home ON session (home) WHERE home IS NOT NULL;
CREATE INDEX session_live ON session (live_runner) WHERE live_runner IS NOT NULL;
CREATE INDEX session_slot ON session (slot_runner) WHERE slot_runner IS NOT NULL;
CREATE INDEX session_needs ON session (needs_since) WHERE needs_since IS NOT NULL;
CREATE INDEX session_stopping ON session (sid) WHERE stopping = 1;
CREATE INDEX session_idle ON session (sid) WHERE idle_limited = 1;
CREATE INDEX session_ttl ON session (sid) WHERE ttl_limited = 1;
CREATE INDEX session_life ON session (life) WHERE life > 0;

CREATE TABLE fold (
    sid    INTEGER PRIMARY KEY REFERENCES session (sid) ON DELETE CASCADE,
    format INTEGER NOT NULL,
    state  TEXT NOT NULL
) STRICT;

CREATE TABLE label (
    sid   INTEGER NOT NULL REFERENCES session (sid) ON DELETE CASCADE,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (sid, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX label_value ON label (key, value, sid);

-- Sessions that are gone. What is left of their logs is purged bit by bit.
CREATE TABLE removed (
    sid    INTEGER PRIMARY KEY,
    uid    BLOB NOT NULL UNIQUE,
    name   TEXT NOT NULL,
    at     INTEGER NOT NULL,
    purged INTEGER NOT NULL
) STRICT;
CREATE INDEX removed_name ON removed (name);
CREATE INDEX removed_left ON removed (sid) WHERE purged = 0;

CREATE TABLE event (
    sid  INTEGER NOT NULL,
    seq  INTEGER NOT NULL,
    at   INTEGER NOT NULL,
    run  BLOB,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (sid, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    rid            INTEGER PRIMARY KEY,
    id             BLOB NOT NULL UNIQUE,
    sid            INTEGER NOT NULL,
    status         TEXT NOT NULL,
    prompt         TEXT,
    input          TEXT,
    mode           TEXT NOT NULL,
    result         TEXT,
    error_code     TEXT,
    error_message  TEXT,
    input_tokens   INTEGER NOT NULL DEFAULT 0,
    output_tokens  INTEGER NOT NULL DEFAULT 0,
    cost_micro_usd INTEGER NOT NULL DEFAULT 0,
    callback       INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    started_at     INTEGER,
    ended_at       INTEGER
) STRICT;
CREATE INDEX run_session ON run (sid);

CREATE TABLE outbox (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    parent   BLOB NOT NULL,
    child    BLOB NOT NULL,
    child_id TEXT NOT NULL,
    run      BLOB NOT NULL,
    status   TEXT NOT NULL,
    text     TEXT NOT NULL,
    UNIQUE (parent, run)
) STRICT;

-- One contiguous high-water mark for each journal stream.
CREATE TABLE mark (
    sid    INTEGER NOT NULL REFERENCES session (sid) ON DELETE CASCADE,
    epoch  INTEGER NOT NULL,
    writer INTEGER NOT NULL,
    top    INTEGER NOT NULL,
    PRIMARY KEY (sid, epoch, writer)
) STRICT, WITHOUT ROWID;

CREATE TABLE runner (
    id         BLOB PRIMARY KEY,
    credential BLOB NOT NULL UNIQUE,
    info       TEXT NOT NULL,
    instance   INTEGER NOT NULL,
    draining   INTEGER NOT NULL,
    seen_at    INTEGER,
    created_at INTEGER NOT NULL
) STRICT;

-- Counts changes of a runner's assignments. It outlives the runner's row, so that one
-- that joins anew never sees a number go back.
CREATE TABLE revision (
    runner BLOB PRIMARY KEY,
    rev    INTEGER NOT NULL
) STRICT;

CREATE TABLE assignment (
    uid    BLOB NOT NULL,
    epoch  INTEGER NOT NULL,
    runner BLOB NOT NULL,
    rev    INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    body   TEXT NOT NULL,
    PRIMARY KEY (uid, epoch)
) STRICT;
CREATE INDEX assignment_rev ON assignment (runner, rev);
CREATE INDEX assignment_closed ON assignment (runner, rev) WHERE closed = 1;

CREATE TABLE agent_version (
    name    TEXT NOT NULL,
    version INTEGER NOT NULL,
    source  TEXT NOT NULL,
    digest  TEXT NOT NULL,
    spec    TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;

CREATE TABLE agent (
    name    TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    health  TEXT NOT NULL,
    error   TEXT,
    FOREIGN KEY (name, version) REFERENCES agent_version (name, version)
) STRICT;

CREATE TABLE source (
    reference TEXT PRIMARY KEY
) STRICT;

CREATE TABLE token (
    id         BLOB PRIMARY KEY,
    hash       BLOB NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    principal  TEXT NOT NULL,
    once       INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE idempotency (
    scope  TEXT NOT NULL,
    key    TEXT NOT NULL,
    body   BLOB NOT NULL,
    status INTEGER NOT NULL,
    answer BLOB NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT;
CREATE INDEX idempotency_at ON idempotency (at);
