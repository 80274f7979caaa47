# Systems.pm - what is compared: for each, which part of the load generator does it, where it keeps its objects, and what an
# acknowledgement means.
package Bench::Systems;
use strict;
use warnings;

my %systems = (
	'difs' => {
		label => 'difs, 1 replica', load => 'difs', volume => 'one', replicas => 1,
		durable => 'yes, by its chunk server' },
	'difs-2' => {
		label => 'difs, 2 replicas', load => 'difs', volume => 'two', replicas => 2,
		durable => 'yes, by both chunk servers' },
	'difs-4m' => {
		label => 'difs, 4 MiB segments', load => 'difs', volume => 'four', replicas => 1,
		durable => 'yes, by its chunk server' },
	'difs-text' => {
		label => 'difs, zstd', load => 'difs', volume => 'text', replicas => 1,
		durable => 'yes, by its chunk server' },
	'difs-plain' => {
		label => 'difs, no cache', load => 'difs', volume => 'one', replicas => 1, port => 5433,
		durable => 'yes, by its chunk server' },
	'lo' => { label => 'large object', load => 'lo', durable => 'yes, by WAL' },
	'bytea' => { label => 'bytea EXTERNAL', load => 'bytea', durable => 'yes, by WAL' },
	'rows' => { label => 'plain tables', load => 'rows', durable => 'yes, by WAL' },
	'files' => { label => 'plain files', load => 'files', durable => 'yes, fdatasync and fsync of the directory' },
	'moosefs' => { label => 'MooseFS', load => 'files', durable => 'bytes yes (fsync), names no (in memory, not synced)' });

sub get
{
	my ($name) = @_;
	return $systems{$name} // die "there is no system $name";
}

# Statements that make what the systems need.
sub tables
{
	return <<'SQL';
CREATE SCHEMA bench;
CREATE TABLE bench.value (id bigint PRIMARY KEY, data bytea);
ALTER TABLE bench.value ALTER data SET STORAGE EXTERNAL;
CREATE TABLE bench.inode (ino bigint PRIMARY KEY, kind "char" NOT NULL, mode integer NOT NULL, owner oid NOT NULL,
	nlink integer NOT NULL, version integer NOT NULL, size bigint NOT NULL, atime timestamptz NOT NULL, mtime timestamptz NOT NULL,
	ctime timestamptz NOT NULL, btime timestamptz NOT NULL);
CREATE TABLE bench.dentry (parent bigint NOT NULL, name text COLLATE "C" NOT NULL, ino bigint NOT NULL, PRIMARY KEY (parent, name));
SQL
}

sub volumes
{
	return <<'SQL';
SELECT difs_volume_create('one', replicas => 1, compression => 'none');
SELECT difs_volume_create('two', replicas => 2, compression => 'none');
SELECT difs_volume_create('four', replicas => 1, compression => 'none', segment_size => 4194304);
SELECT difs_volume_create('text', replicas => 1, compression => 'zstd');
SQL
}

1;
