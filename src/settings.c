/*
 * settings.c - definition of the configuration parameters (settings.h).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"

#include "src/atime.h"
#include "src/settings.h"
#include "src/shmem.h"
#include "src/staging.h"

int difs_local_servers = 1;
char *difs_local_directory = "";
int difs_stream_pool_size = 256 * 1024;
int difs_stream_slots = 8192;
int difs_max_databases = 8;
int difs_cache_size = 128;
char *difs_key_file = "";
int difs_tls = DIFS_TLS_OFF;
DifsTlsFiles difs_tls_files = {"", "", ""};
char *difs_server_program = "";
char *difs_advertise_address = "";
int difs_block_group_size = 256 * 1024;
bool difs_auto_claim = false;
int difs_health_interval = 2000;
int difs_repair_interval = 60 * 1000;
int difs_repair_delay = 10 * 60 * 1000;
int difs_repair_rate = 100 * 1024;
int difs_scrub_interval = 14 * 24 * 3600;
int difs_scrub_rate = 64 * 1024;
int difs_scrub_pause_ms = 60 * 1000;
int difs_collect_interval = 60 * 1000;
int difs_retain = 0;
char *difs_volume = "main";
int difs_server_timeout = 10000;
int difs_hedge_delay = 100;
int difs_staging = DIFS_STAGING_AUTO;
int difs_atime = DIFS_ATIME_OFF;
int difs_staging_limit = 16 * 1024;
int difs_unstage_interval = 30 * 1000;
int difs_token_lifetime = 300;
int difs_upload_expire = 24 * 3600;
int difs_compact_interval = 5 * 60 * 1000;
int difs_log_min_duration = -1;
bool difs_track = true;
int difs_sample_interval = 60 * 1000;
int difs_sample_keep = 7 * 24 * 3600;
int difs_metrics_port = 0;
char *difs_metrics_address = "127.0.0.1";
int difs_umask = 0022;
int difs_max_inserts = 2;
int difs_insert_queue = 1000;
int difs_insert_max_size = 10 * 1024;
int difs_insert_timeout = 60;
int difs_insert_retries = 3;
int difs_insert_keep = 7 * 24 * 3600;
bool difs_insert_private_addresses = false;
char *difs_insert_directory = "";
char *difs_insert_ca_file = "";

static const struct config_enum_entry staging_modes[] = {
	{"never", DIFS_STAGING_NEVER, false},
	{"auto", DIFS_STAGING_AUTO, false},
	{"always", DIFS_STAGING_ALWAYS, false},
	{NULL, 0, false},
};

static const struct config_enum_entry tls_modes[] = {
	{"off", DIFS_TLS_OFF, false},
	{"require", DIFS_TLS_REQUIRE, false},
	{"verify-ca", DIFS_TLS_VERIFY_CA, false},
	{"verify-full", DIFS_TLS_VERIFY_FULL, false},
	{NULL, 0, false},
};

static const struct config_enum_entry atime_modes[] = {
	{"off", DIFS_ATIME_OFF, false},
	{"relatime", DIFS_ATIME_RELATIME, false},
	{NULL, 0, false},
};

static void define_fixed_at_start(void);
static void define_on_reload(void);
static void define_monitoring(void);
static void define_tls(void);
static void define_inserts(void);
static void define_of_session(void);
static void assign_scrub_interval(int interval_s, void *extra);
static const char *show_umask(void);

void
difs_settings_define(bool preloading)
{
	if (preloading)
		define_fixed_at_start();
	define_on_reload();
	define_monitoring();
	define_tls();
	define_inserts();
	define_of_session();
	MarkGUCPrefixReserved("difs");
}

char *
difs_settings_local_directory(void)
{
	return difs_local_directory[0] != '\0' ? pstrdup(difs_local_directory) : psprintf("%s.difs", DataDir);
}

char *
difs_settings_key_file(void)
{
	return difs_key_file[0] != '\0' ? pstrdup(difs_key_file) :
									  psprintf("%s/cluster.key", difs_settings_local_directory());
}

static void
define_fixed_at_start(void)
{
	DefineCustomIntVariable("difs.local_servers",
							"Number of embedded chunk servers that are started beside the data directory.",
							"0 starts none: chunk servers are then added with difs_server_add().",
							&difs_local_servers, 1, 0, DIFS_MAX_LOCAL_SERVERS,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("difs.local_directory",
							   "Directory in which embedded chunk servers keep their data.",
							   "Empty means the data directory's name with \".difs\" appended.",
							   &difs_local_directory, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.stream_pool_size",
							"Shared memory for segments on their way to chunk servers.",
							"Must be larger than the largest segment.",
							&difs_stream_pool_size, 256 * 1024, 4 * 1024, 64 * 1024 * 1024,
							PGC_POSTMASTER, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.stream_slots",
							"Number of segments that can be on their way to chunk servers, or stored and not yet committed, at once.",
							"A backend is guaranteed a quarter of these divided by the number of backends.",
							&difs_stream_slots, 8192, 1024, 1024 * 1024,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.max_databases",
							"Number of databases that can use difs at once.",
							NULL,
							&difs_max_databases, 8, 1, 256,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.cache_size",
							"Shared memory for segments that are read often.",
							"0 turns the cache off.",
							&difs_cache_size, 128, 0, 16 * 1024 * 1024,
							PGC_POSTMASTER, GUC_UNIT_MB, NULL, NULL, NULL);
}

static void
define_on_reload(void)
{
	DefineCustomStringVariable("difs.key_file",
							   "File with the key that this server and its chunk servers share.",
							   "Empty means cluster.key in difs.local_directory.",
							   &difs_key_file, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("difs.server_program",
							   "Program that is started as embedded chunk server.",
							   "Empty means difsd beside the postgres program.",
							   &difs_server_program, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("difs.advertise_address",
							   "Address on which embedded chunk servers listen, and that is announced to readers.",
							   "Empty means 127.0.0.1.",
							   &difs_advertise_address, "",
							   PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.block_group_size",
							"Size of new block groups.",
							NULL,
							&difs_block_group_size, 256 * 1024, 16 * 1024, 4 * 1024 * 1024 - 1,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomBoolVariable("difs.auto_claim",
							 "Take over the right to write to files after promotion of a standby or restore of a backup.",
							 "Whoever held it before can only read from then on. Never taken back from a server that has taken it.",
							 &difs_auto_claim, false,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.health_interval",
							"Time between two looks at each chunk server.",
							NULL,
							&difs_health_interval, 2000, 100, 600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.repair_interval",
							"Time between two looks at which chunk servers hold which block groups.",
							"0 looks only when asked to.",
							&difs_repair_interval, 60 * 1000, 0, 24 * 3600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.repair_delay",
							"Time after which the copies on a chunk server that does not answer are made anew on others.",
							NULL,
							&difs_repair_delay, 10 * 60 * 1000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.repair_rate",
							"Bytes a second that repair, draining and rebalancing copy.",
							"0 means as fast as the chunk servers can.",
							&difs_repair_rate, 100 * 1024, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.scrub_interval",
							"Time within which every byte on chunk servers is read again and checked.",
							"0 turns that off.",
							&difs_scrub_interval, 14 * 24 * 3600, 0, 10 * 365 * 24 * 3600,
							PGC_SIGHUP, GUC_UNIT_S, NULL, assign_scrub_interval, NULL);
	DefineCustomIntVariable("difs.scrub_rate",
							"Bytes a second that are read to check them, from all chunk servers together.",
							"0 means unlimited.",
							&difs_scrub_rate, 64 * 1024, 0, MAX_KILOBYTES,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.collect_interval",
							"Time between two rounds of collection.",
							"0 means that only difs_collect() runs one.",
							&difs_collect_interval, 60 * 1000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.retain",
							"Time for which deleted content is kept for a restore to an earlier point.",
							"0 keeps it only as long as a snapshot, standby, slot or hold may want it.",
							&difs_retain, 0, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.token_lifetime",
							"Time for which a client may use a token to write or read a segment.",
							"The clocks of this server and of chunk servers must agree to a fraction of it.",
							&difs_token_lifetime, 300, 1, 24 * 3600,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.upload_expire",
							"Time after which a resumable upload that nobody goes on with is dropped.",
							NULL,
							&difs_upload_expire, 24 * 3600, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.staging_limit",
							"Bytes that may be staged in the database.",
							"Beyond it, writes fail until chunk servers can be reached.",
							&difs_staging_limit, 16 * 1024, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.unstage_interval",
							"Time between two attempts to move staged segments to chunk servers.",
							"It is also done as soon as chunk servers can be reached again. 0: only then.",
							&difs_unstage_interval, 30 * 1000, 0, 24 * 3600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.compact_interval",
							"Time between two rounds of putting together files that were written in many small parts.",
							"0 means that only difs_compact() runs one.",
							&difs_compact_interval, 5 * 60 * 1000, 0, 24 * 3600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

static void
define_monitoring(void)
{
	DefineCustomIntVariable("difs.sample_interval",
							"Time between two notes of how a database and its chunk servers are doing.",
							"They are in difs.stat_samples and difs.stat_server_samples. 0 takes none.",
							&difs_sample_interval, 60 * 1000, 0, 24 * 3600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.sample_keep",
							"Time for which these notes are kept.",
							NULL,
							&difs_sample_keep, 7 * 24 * 3600, 60, 10 * 365 * 24 * 3600,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.metrics_port",
							"Port on which metrics for Prometheus are served by HTTP.",
							"Everybody who reaches it may read them. 0 serves none.",
							&difs_metrics_port, 0, 0, 65535,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("difs.metrics_address",
							   "Address on which metrics for Prometheus are served.",
							   NULL,
							   &difs_metrics_address, "127.0.0.1",
							   PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_tls(void)
{
	DefineCustomEnumVariable("difs.tls",
							 "Whether connections to chunk servers use TLS, and how the server's certificate is verified.",
							 "The words mean what they mean in libpq's sslmode.",
							 &difs_tls, DIFS_TLS_OFF, tls_modes,
							 PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("difs.tls_ca_file",
							   "File with the certificates of the CAs whose chunk servers are believed.",
							   "Needed for difs.tls = verify-ca and verify-full.",
							   (char **) &difs_tls_files.ca, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("difs.tls_cert_file",
							   "File with the certificate of this server, for chunk servers that ask for one and for embedded ones.",
							   NULL,
							   (char **) &difs_tls_files.certificate, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("difs.tls_key_file",
							   "File with the private key of difs.tls_cert_file.",
							   NULL,
							   (char **) &difs_tls_files.key, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

static void
define_inserts(void)
{
	DefineCustomIntVariable("difs.max_inserts",
							"Number of processes of difs_insert() that are worked at at once, in each database.",
							"0 begins none.",
							&difs_max_inserts, 2, 0, DIFS_MAX_INSERTS,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.insert_queue",
							"Number of processes of difs_insert() that have not ended, of each role.",
							NULL,
							&difs_insert_queue, 1000, 0, INT_MAX,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.insert_max_size",
							"Largest content that difs_insert() fetches.",
							"0 means that there is no limit.",
							&difs_insert_max_size, 10 * 1024, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.insert_timeout",
							"Time without a byte after which difs_insert() gives a connection up.",
							NULL,
							&difs_insert_timeout, 60, 1, 24 * 3600,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.insert_retries",
							"How often difs_insert() goes on after its connection has broken without a byte in between.",
							NULL,
							&difs_insert_retries, 3, 0, 1000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.insert_keep",
							"Time for which processes of difs_insert() can be asked for after their end.",
							NULL,
							&difs_insert_keep, 7 * 24 * 3600, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomBoolVariable("difs.insert_private_addresses",
							 "Whether difs_insert() connects to addresses that are not public: this machine, and networks such as 10.0.0.0/8.",
							 NULL,
							 &difs_insert_private_addresses, false,
							 PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("difs.insert_directory",
							   "Directory of this server below which difs_insert() reads files.",
							   "Empty means that it reads none.",
							   &difs_insert_directory, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("difs.insert_ca_file",
							   "File with the certificates of the CAs whose https servers difs_insert() believes.",
							   "Empty means those of the system.",
							   &difs_insert_ca_file, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

static void
define_of_session(void)
{
	DefineCustomStringVariable("difs.volume",
							   "Volume of paths that name none.",
							   NULL,
							   &difs_volume, "main",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.server_timeout",
							"Longest time that a call waits for chunk servers that do not answer.",
							"A server that is silent for half of it is given up and another one is tried.",
							&difs_server_timeout, 10000, 200, 3600 * 1000,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.hedge_delay",
							"Silence of a chunk server after which a read is asked of another one too.",
							"The first good answer counts. -1 never asks two.",
							&difs_hedge_delay, 100, -1, 3600 * 1000,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomEnumVariable("difs.staging",
							 "Whether writes go to the database's own tables when chunk servers cannot be reached.",
							 "\"auto\": then; \"always\": without trying chunk servers first; \"never\": they fail instead.",
							 &difs_staging, DIFS_STAGING_AUTO, staging_modes,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("difs.atime",
							 "Whether reading a file moves its atime.",
							 "\"relatime\": if it is not newer than mtime and ctime, or a day old.",
							 &difs_atime, DIFS_ATIME_OFF, atime_modes,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.log_min_duration",
							"Time above which operations on files are logged, with what they waited for.",
							"0 logs all of them, -1 none.",
							&difs_log_min_duration, -1, -1, INT_MAX,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable("difs.track",
							 "Whether requests to chunk servers and segments are counted, for the views difs.stat_io and difs.stat_streamer.",
							 NULL,
							 &difs_track, true,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("difs.umask",
							"Permission bits that new files (0666) and directories (0777) do not get.",
							"An octal number begins with 0.",
							&difs_umask, 0022, 0, 0777,
							PGC_USERSET, 0, NULL, NULL, show_umask);
}

/* A twentieth of the interval, between a second and a minute. */
static void
assign_scrub_interval(int interval_s, void *extra)
{
	difs_scrub_pause_ms = interval_s == 0 ? 0 : (interval_s >= 1200 ? 60000 : Max(interval_s * 50, 1000));
}

static const char *
show_umask(void)
{
	static char octal[8];

	snprintf(octal, sizeof(octal), "%04o", (unsigned int) difs_umask);
	return octal;
}
