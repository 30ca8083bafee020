BEGIN TRANSACTION;
CREATE TABLE items (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    proxy TEXT NOT NULL,
    state TEXT NOT NULL,
    server TEXT NOT NULL,
    tool TEXT NOT NULL,
    -- The tool's name in lower case, to be searched.
    tool_key TEXT NOT NULL,
    risk TEXT NOT NULL,
    why TEXT NOT NULL,
    question TEXT NOT NULL,
    description TEXT,
    hints TEXT NOT NULL,
    digest TEXT NOT NULL,
    client TEXT,
    -- What the server calls the tool, and the client itself, beside their names.
    title TEXT,
    client_title TEXT,
    -- The channel that a verdict came through; none is the inbox.
    engine TEXT,
    asked_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    parked_until_ms INTEGER,
    closed_ms INTEGER,
    reason TEXT,
    cover_ms INTEGER,
    assurance TEXT,
    decided_ms INTEGER,
    signature BLOB,
    -- Of a verdict: 1 is for the proxy to take, 2 is taken and may still turn out not to count, 3 did
    -- not count.
    delivery INTEGER,
    -- Both follow from other columns; generated ones would keep indexes from being enough.
    open INTEGER NOT NULL CHECK (open = (state IN ('waiting', 'parked'))),
    due_ms INTEGER CHECK (due_ms IS
        CASE state WHEN 'waiting' THEN expires_ms WHEN 'parked' THEN parked_until_ms END),
    -- Three forms of a call, last since they are long: as it is shown; as it was asked, from a verdict
    -- until its proxy has found that it counts; and without secrets, as its proxy knows them, from the
    -- question to the verdict.
    call TEXT NOT NULL,
    whole TEXT,
    redacted TEXT
) STRICT;
INSERT INTO "items" VALUES(1,'waits','p','waiting','files','delete_User','delete_user','high','it deletes','Allow this tool call?','Deletes a user.','destructive','abababababababababababababababababababababababababababababababab',NULL,NULL,NULL,NULL,1000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1,NULL,'{"name":"delete_User","arguments":{"n":1.0,"password":"hunter2"}}',NULL,'{"name":"delete_User","arguments":{"n":1.0,"password":"[redacted]"}}');
INSERT INTO "items" VALUES(2,'decided','p','approved','files','delete_User','delete_user','high','it deletes','Allow this tool call?','Deletes a user.','destructive','abababababababababababababababababababababababababababababababab',NULL,NULL,NULL,NULL,1001,NULL,NULL,2001,'because',1500,'inbox-passphrase',2001,X'010203',1,0,NULL,'{"name":"delete_User","arguments":{"n":1.0,"password":"[redacted]"}}','{"name":"delete_User","arguments":{"n":1.0,"password":"hunter2"}}',NULL);
INSERT INTO "items" VALUES(3,'taken','p','denied','files','delete_User','delete_user','high','it deletes','Allow this tool call?','Deletes a user.','destructive','abababababababababababababababababababababababababababababababab',NULL,NULL,NULL,NULL,1002,NULL,NULL,2000,'because',1500,'inbox-passphrase',2000,X'010203',NULL,0,NULL,'{"name":"delete_User","arguments":{"n":1.0,"password":"[redacted]"}}',NULL,NULL);
INSERT INTO "items" VALUES(4,'closed','p','withdrawn','files','delete_User','delete_user','high','it deletes','Allow this tool call?','Deletes a user.','destructive','abababababababababababababababababababababababababababababababab',NULL,NULL,NULL,NULL,1003,NULL,NULL,2002,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,'{"name":"delete_User","arguments":{"n":1.0,"password":"[redacted]"}}',NULL,NULL);
INSERT INTO "items" VALUES(5,'elsewhere','','approved','files','delete_User','delete_user','high','it deletes','Allow this tool call?','Deletes a user.','destructive','abababababababababababababababababababababababababababababababab',NULL,NULL,NULL,'elicitation',1000,5000,NULL,2003,'because',1500,'caller-relayed',2003,NULL,NULL,0,NULL,'{"name":"delete_User","arguments":{"n":1.0,"password":"[redacted]"}}',NULL,NULL);
CREATE TABLE tokens (
    kind TEXT NOT NULL,
    hash BLOB NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, hash)
) STRICT, WITHOUT ROWID;
INSERT INTO "tokens" VALUES('session',X'0101010101010101010101010101010101010101010101010101010101010101',9000000000000);
CREATE INDEX lists ON items (open, asked_ms, seq, state, server, tool_key);
CREATE INDEX due ON items (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX ended ON items (closed_ms, delivery) WHERE closed_ms IS NOT NULL;
CREATE INDEX owners ON items (proxy, open) WHERE open = 1;
CREATE INDEX deliveries ON items (delivery, proxy) WHERE delivery IS NOT NULL;
COMMIT;
