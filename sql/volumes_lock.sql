-- locks on files, in one session; specs/volumes_lock.spec has several

SELECT difs_put('/lock/f', '0123456789', parents => true);
\set VERBOSITY terse
CREATE TEMP TABLE fence (number bigint);
CREATE VIEW pg_temp.held AS SELECT path, mode, scope, granted, "offset", length, fence IS NOT NULL AS fence, owner = current_user AS mine FROM difs.locks;
-- of the transaction
BEGIN;
INSERT INTO fence SELECT difs_lock('/lock/f');
INSERT INTO fence SELECT difs_lock('/lock', 'shared');
SELECT * FROM held ORDER BY path;
COMMIT;
SELECT * FROM held;
BEGIN;
SAVEPOINT s;
INSERT INTO fence SELECT difs_lock('/lock/f', "offset" => 5, length => 3);
SELECT path, mode, "offset" FROM held;
ROLLBACK TO s;
SELECT * FROM held;
COMMIT;
-- of the session
INSERT INTO fence SELECT difs_lock('/lock/f', scope => 'session');
INSERT INTO fence SELECT difs_lock('/lock/f', 'shared', scope => 'session', "offset" => 2, length => 9);
SELECT path, mode, scope, granted FROM held;
SELECT difs_unlock('/lock/f', "offset" => 2, length => 8);
SELECT difs_unlock('/lock/f', "offset" => 2, length => 9);
SELECT difs_unlock('/lock/f', "offset" => 2, length => 9);
SELECT difs_unlock('/lock/f');
SELECT difs_unlock('/lock/f');
SELECT * FROM held;
-- as often as it was locked
SELECT difs_lock('/lock/f', scope => 'session') > 0, difs_lock('/lock/f', scope => 'session') > 0;
SELECT difs_unlock('/lock/f');
SELECT count(*) FROM held;
SELECT difs_unlock('/lock/f');
SELECT count(*) FROM held;
-- a rollback leaves it, and what ends all advisory locks ends it
BEGIN;
SELECT difs_lock('/lock/f', scope => 'session') > 0;
ROLLBACK;
SELECT count(*) FROM held;
SELECT pg_advisory_unlock_all();
SELECT count(*) FROM held;
SELECT difs_unlock('/lock/f');
-- of an owner: against everybody else, and other owners
INSERT INTO fence SELECT difs_lock('/lock/f', scope => 'owner', owner => 'job 1', ttl => '1 hour', "offset" => 0, length => 100);
SELECT path, mode, scope, granted, "offset", length, fence FROM held;
SELECT difs_lock('/lock/f', timeout => '0');
SELECT difs_lock('/lock/f', scope => 'session', timeout => '10 ms', "offset" => 99, length => 1);
SELECT difs_lock('/lock/f', scope => 'owner', owner => 'job 2', ttl => '1 hour', timeout => '0', "offset" => 50, length => 100);
SELECT * FROM difs.locks WHERE scope <> 'owner';
SELECT difs_lock('/lock/f', timeout => '0', "offset" => 100) > 0 AS beside_it;
-- renewed: the same number, a later time
CREATE TEMP TABLE before AS SELECT fence, expires FROM difs.locks;
SELECT difs_lock('/lock/f', scope => 'owner', owner => 'job 1', ttl => '2 hours', "offset" => 0, length => 100) = (SELECT fence FROM before) AS same;
SELECT count(*), min(l.expires) > min(b.expires) AS later FROM difs.locks l JOIN before b USING (fence);
SELECT difs_unlock('/lock/f', 'job 2', 0, 100);
SELECT difs_unlock('/lock/f', 'job 1', 0, 100);
SELECT difs_unlock('/lock/f', 'job 1', 0, 100);
SELECT count(*) FROM held;
-- shared by several owners
SELECT difs_lock('/lock/f', 'shared', 'owner', owner => 'job ' || i, ttl => '1 hour') > 0 FROM generate_series(1, 2) i;
SELECT difs_lock('/lock/f', 'exclusive', 'owner', '0', owner => 'job 1', ttl => '1 hour');
SELECT difs_unlock('/lock/f', 'job 2');
SELECT difs_lock('/lock/f', 'exclusive', 'owner', '0', owner => 'job 1', ttl => '1 hour') > 0 AS alone;
SELECT difs_unlock('/lock/f', 'job 1');
SELECT count(*) FROM held;
-- one that is dead: its time runs out, and the next number is higher
INSERT INTO fence SELECT difs_lock('/lock/f', scope => 'owner', owner => 'dead', ttl => '50 ms');
INSERT INTO fence SELECT difs_lock('/lock/f', timeout => '1 hour');
SELECT difs_unlock('/lock/f', 'dead');
SELECT bool_and(number > before) AS rising, count(*) FROM (SELECT number, lag(number, 1, 0::bigint) OVER (ORDER BY ctid) AS before FROM fence) AS f;
SELECT count(*) FROM difs.lock WHERE owner = 'dead';
SELECT doomed >= 0 AS collected FROM difs_collect();
SELECT count(*) FROM difs.lock WHERE owner = 'dead';

-- every pair of small ranges: they exclude each other if they overlap
CREATE FUNCTION taken(a int, al int, b int, bl int, m text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM difs_lock('/lock/f', scope => 'owner', owner => 'a', ttl => '1 hour', "offset" => a, length => al);
    PERFORM difs_lock('/lock/f', m, scope => 'owner', owner => 'b', ttl => '1 hour', timeout => '0', "offset" => b, length => bl);
    RAISE SQLSTATE '00D1F';
EXCEPTION WHEN lock_not_available THEN RETURN true;
    WHEN SQLSTATE '00D1F' THEN RETURN false;
END $$;
SELECT bool_and(taken(a, al, b, bl, m) = (a < b + bl AND b < a + al)) AS right, count(*)
FROM generate_series(0, 3) a, generate_series(1, 3) al, generate_series(0, 5) b, generate_series(1, 2) bl, (VALUES ('shared'), ('exclusive')) AS v (m);
DROP FUNCTION taken;

-- bad input
SELECT difs_lock('/lock/none');
SELECT difs_lock(NULL);
SELECT difs_lock('/lock/f', 'write');
SELECT difs_lock('/lock/f', scope => 'world');
SELECT difs_lock('/lock/f', scope => 'owner');
SELECT difs_lock('/lock/f', scope => 'owner', owner => 'x');
SELECT difs_lock('/lock/f', owner => 'x');
SELECT difs_lock('/lock/f', ttl => '1 s');
SELECT difs_lock('/lock/f', scope => 'owner', owner => '', ttl => '1 s');
SELECT difs_lock('/lock/f', scope => 'owner', owner => repeat('x', 256), ttl => '1 s');
SELECT difs_lock('/lock/f', scope => 'owner', owner => 'x', ttl => '-1 s');
SELECT difs_lock('/lock/f', scope => 'owner', owner => 'x', ttl => '178000000 years');
SELECT difs_lock('/lock/f', timeout => '-1 s');
SELECT difs_lock('/lock/f', "offset" => -1);
SELECT difs_lock('/lock/f', "offset" => 9223372036854775807);
SELECT difs_lock('/lock/f', length => 0);
SELECT difs_lock('/lock/f', length => -1);
SELECT difs_lock('/lock/f', length => 9223372036854775807);
SELECT difs_lock('/lock/f', "offset" => 9223372036854775800, length => 8);
SELECT difs_lock('/lock/f', "offset" => 9223372036854775800, length => 6) > 0 AS at_the_end;
SELECT difs_lock('/lock/f', "offset" => 1, length => 9223372036854775805) > 0 AS nearly_all;
SELECT difs_unlock('/lock/none');
SELECT difs_unlock('/lock/f', "offset" => -1);
SELECT count(*) FROM held;
SELECT difs_delete('/lock', recursive => true);
SELECT * FROM difs_fsck();
