-- Spans of wall time in which a coordinator was up: the time that a session's ttl counts.
-- The order is that of the rows, not that of the clock.
CREATE TABLE span (
    id INTEGER PRIMARY KEY,
    began INTEGER NOT NULL,
    ended INTEGER NOT NULL
);
