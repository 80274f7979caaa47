-- uploads and locations: arguments, errors and rights; what goes between clients and servers is in t/250_upload.pl
\set VERBOSITY terse
SELECT difs_mkdir('/upload') > 0 AS made;
SELECT difs_volume_create('upload', replicas => 1, segment_size => 65536, compression => 'none') > 0 AS made;

-- what cannot be begun
SELECT * FROM difs_upload_begin(NULL);
SELECT * FROM difs_upload_begin('upload');
SELECT * FROM difs_upload_begin('nowhere:/f');
SELECT * FROM difs_upload_begin('/upload/missing/f');
SELECT * FROM difs_upload_begin('/upload');
SELECT * FROM difs_upload_begin('/upload/f/');
SELECT * FROM difs_upload_begin('/upload/f', -1);
SELECT * FROM difs_upload_begin('/upload/f', 1, 'text');
SELECT * FROM difs_upload_begin('/upload/f', 1, create_only => NULL);
SELECT * FROM difs_upload_begin('/upload/f', 1, create_only => true, if_version => 3);
SELECT * FROM difs_upload_begin('/upload/f', 1, if_version => -1);
SELECT * FROM difs_upload_begin('/upload/f', 1, if_version => 3);
SELECT * FROM difs_upload_begin('/upload/a/b/f', 1, if_version => 3, parents => true);
SELECT difs_put('/upload/there', 'there');
SELECT * FROM difs_upload_begin('/upload/there', 1, create_only => true);
SELECT * FROM difs_upload_begin('/upload/there', 1, if_version => 2);
SELECT * FROM difs_upload_begin('/upload/there/f', 1);
SELECT * FROM difs_upload_begin('/upload/there/a/f', 1, parents => true);
BEGIN READ ONLY;
SELECT * FROM difs_upload_begin('/upload/f', 1);
ROLLBACK;

-- what cannot be gone on with
SELECT * FROM difs_upload_place(NULL, 0, 1);
SELECT * FROM difs_upload_place(1, 0, 1);
SELECT difs_upload_receipts(1, '{}');
SELECT difs_upload_commit(1);
SELECT difs_upload_cancel(1);
SELECT * FROM difs_upload_resume(1);
SELECT * FROM difs_upload_resume('/upload/f');

-- a file without bytes needs no server
BEGIN;
SELECT upload FROM difs_upload_begin('upload:/a/b/empty', 0, 'text/html; charset=utf-8', parents => true) \gset
SELECT segment_size, compression, compression_level, replicas, expires FROM difs_upload_begin('upload:/f');
SELECT * FROM difs_upload_place(:upload, 0, 1);
ROLLBACK;
BEGIN;
SELECT upload FROM difs_upload_begin('upload:/a/b/empty', 0, 'text/html; charset=utf-8', parents => true) \gset
SELECT difs_exists('upload:/a') AS before_the_commit;
SELECT difs_upload_commit(:upload);
SAVEPOINT a;
\set VERBOSITY sqlstate
SELECT difs_upload_commit(:upload);
\set VERBOSITY terse
ROLLBACK TO a;
COMMIT;
SELECT size, version FROM difs_stat('upload:/a/b/empty');
SELECT difs_getattr('upload:/a/b/empty') ->> 'media_type' AS media_type;
SELECT * FROM difs_locate('upload:/a/b/empty');

-- places and sizes
SELECT upload FROM difs_upload_begin('upload:/f', 200000, resumable => true) \gset
SELECT number, epoch, cardinality(servers), length(token), segment > 0 AS has_segment, block_group > 0 AS has_group FROM difs_upload_place(:upload, 1, 3);
SELECT * FROM difs_upload_place(:upload, 1, 4);
SELECT * FROM difs_upload_place(:upload, -1, 1);
SELECT * FROM difs_upload_place(:upload, 0, 0);
SELECT * FROM difs_upload_place(:upload, 0, 1025);
SELECT * FROM difs_upload_place(:upload, 9223372036854775807, 1);
SELECT count(DISTINCT segment) FROM (SELECT * FROM difs_upload_place(:upload, 0, 1) UNION ALL SELECT * FROM difs_upload_place(:upload, 0, 1)) AS place;
SELECT difs_upload_commit(:upload);
SELECT difs_upload_commit(:upload, size => 100);
SELECT difs_upload_receipts(:upload, NULL);
SELECT difs_upload_receipts(:upload, '{}');
SELECT difs_upload_receipts(:upload, ARRAY[NULL]::bytea[]);
SELECT difs_upload_receipts(:upload, ARRAY['']::bytea[]);
SELECT difs_upload_receipts(:upload, ARRAY[repeat('R', 200)]::bytea[]);
SELECT path, size, segment_size, compression, compression_level, replicas, expires > now() + interval '23 hours' AS expires_later, done
FROM difs_upload_resume('upload:/f');
SELECT path, size, segments FROM difs.uploads WHERE upload = :upload;
SELECT difs_upload_cancel(:upload);
\set VERBOSITY sqlstate
SELECT difs_upload_cancel(:upload);
\set VERBOSITY terse
SELECT upload FROM difs_upload_begin('upload:/f', resumable => true) \gset
SELECT difs_upload_commit(:upload, size => -1);
SELECT difs_upload_commit(:upload, size => 1);
SELECT difs_upload_commit(:upload, size => 0);

-- where bytes are
SELECT difs_put('upload:/g', convert_to(repeat('0123456789', 10000), 'UTF8'));
SELECT file_offset, length, segment_offset, stored_length, raw_length, codec, cardinality(servers), length(token), data IS NULL AS not_here FROM difs_locate('upload:/g');
SELECT file_offset, length, segment_offset FROM difs_locate('upload:/g', 65530, 10);
SELECT * FROM difs_locate('upload:/g', 100000);
SELECT * FROM difs_locate('upload:/g', 10, 0);
SELECT * FROM difs_locate('upload:/g', -1);
SELECT * FROM difs_locate('upload:/g', 0, -1);
SELECT * FROM difs_locate('upload:/g', version => 2);
SELECT * FROM difs_locate('upload:/');
SELECT * FROM difs_locate('upload:/nothing');
SELECT difs_truncate('upload:/g', 70000) > 0 AS truncated;
SELECT file_offset, length, segment_offset, length(data) FROM difs_locate('upload:/g');

-- nobody but functions writes the tables
CREATE ROLE upload_nobody;
SET ROLE upload_nobody;
SELECT * FROM difs.upload;
SELECT * FROM difs.receipt;
SELECT count(*) FROM difs.uploads;
SELECT * FROM difs_upload_begin('/upload/f', 1);
SELECT * FROM difs_upload_begin('/upload/a/b/c/f', 1, parents => true);
SELECT * FROM difs_upload_begin('/upload/there', 1);
RESET ROLE;
DROP ROLE upload_nobody;
SELECT count(*) FROM difs.upload;
SELECT difs_delete('/upload', recursive => true);
SELECT difs_volume_drop('upload', force => true);
