-- How far each person has seen each session.
CREATE TABLE seen (
    sid       INTEGER NOT NULL REFERENCES session (sid) ON DELETE CASCADE,
    principal TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    PRIMARY KEY (principal, sid)
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_session ON seen (sid);

-- Receipts are found without reading a log.
CREATE INDEX event_receipt ON event (sid, seq) WHERE type IN ('session.stopped',
    'session.finished', 'session.failed', 'session.interrupted', 'session.late_receipt');
