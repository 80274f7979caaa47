/*
 * settings.h - the configuration parameters, all named difs.<something>.
 *
 * README's table of settings has the meaning of each; settings.c defines them.
 */
#ifndef DIFS_SETTINGS_H
#define DIFS_SETTINGS_H

#include "common/tls.h"

/* fixed at server start */
#define DIFS_SLOWEST_BYTES_PER_MS 64 /* of a network that is worth waiting for: deadlines grow with what is to be sent */

extern int difs_local_servers;	   /* difs.local_servers: embedded chunk servers, 0 .. 16 */
extern char *difs_local_directory; /* difs.local_directory: where they keep their data; '' = <data directory>.difs */
extern int difs_stream_pool_size;  /* difs.stream_pool_size, in kB */
extern int difs_stream_slots;	   /* difs.stream_slots: segments on their way at once */
extern int difs_max_databases;	   /* difs.max_databases */
extern int difs_cache_size;		   /* difs.cache_size, in MB; 0 = no cache */

/* re-read on reload */
extern char *difs_key_file;			 /* difs.key_file: '' = <local directory>/cluster.key */
extern int difs_tls;				 /* difs.tls: DifsTlsMode of connections to chunk servers */
extern DifsTlsFiles difs_tls_files;	 /* difs.tls_ca_file, difs.tls_cert_file, difs.tls_key_file: '' = none */
extern char *difs_server_program;	 /* difs.server_program: '' = difsd beside the postgres program */
extern char *difs_advertise_address; /* difs.advertise_address: what embedded servers announce and listen on */
extern int difs_block_group_size;	 /* difs.block_group_size, in kB */
extern bool difs_auto_claim;		 /* difs.auto_claim: take the claim after promotion or restore */
extern int difs_health_interval;	 /* difs.health_interval, in ms */
extern int difs_repair_interval;	 /* difs.repair_interval, in ms */
extern int difs_repair_delay;		 /* difs.repair_delay, in ms */
extern int difs_repair_rate;		 /* difs.repair_rate, in kB a second; 0 = no bound */
extern int difs_scrub_interval;		 /* difs.scrub_interval, in s: everything is read again within this; 0 = never */
extern int difs_scrub_rate;			 /* difs.scrub_rate, in kB a second; 0 = unlimited */
extern int difs_scrub_pause_ms;		 /* follows from difs.scrub_interval: between two looks at what is due */
extern int difs_collect_interval;	 /* difs.collect_interval, in ms; 0 = only when asked to */
extern int difs_retain;				 /* difs.retain, in s: how long deleted content is kept */
extern int difs_token_lifetime;		 /* difs.token_lifetime, in s */
extern int difs_upload_expire;		 /* difs.upload_expire, in s */
extern int difs_staging_limit;		 /* difs.staging_limit, in MB */
extern int difs_unstage_interval;	 /* difs.unstage_interval, in ms */
extern int difs_compact_interval;	 /* difs.compact_interval, in ms; 0 = only when asked to */

extern int difs_sample_interval;   /* difs.sample_interval, in ms; 0 = no samples are taken */
extern int difs_sample_keep;	   /* difs.sample_keep, in s */
extern int difs_metrics_port;	   /* difs.metrics_port; 0 = metrics are not served */
extern char *difs_metrics_address; /* difs.metrics_address */

/* re-read on reload: difs_insert() */
extern int difs_max_inserts;			   /* difs.max_inserts: helpers of one database; 0 = none */
extern int difs_insert_queue;			   /* difs.insert_queue: processes of one role that have not ended */
extern int difs_insert_max_size;		   /* difs.insert_max_size, in MB; 0 = no limit */
extern int difs_insert_timeout;			   /* difs.insert_timeout, in s */
extern int difs_insert_retries;			   /* difs.insert_retries */
extern int difs_insert_keep;			   /* difs.insert_keep, in s */
extern bool difs_insert_private_addresses; /* difs.insert_private_addresses */
extern char *difs_insert_directory;		   /* difs.insert_directory: '' = none */
extern char *difs_insert_ca_file;		   /* difs.insert_ca_file: '' = the system's */

/* of a session */
extern char *difs_volume;		  /* difs.volume: volume of paths that name none */
extern int difs_server_timeout;	  /* difs.server_timeout, in ms */
extern int difs_hedge_delay;	  /* difs.hedge_delay, in ms; -1 = off */
extern int difs_staging;		  /* difs.staging: DifsStagingMode */
extern int difs_atime;			  /* difs.atime: DifsAtimeMode */
extern int difs_log_min_duration; /* difs.log_min_duration, in ms; -1 = never (slow.h) */
extern bool difs_track;			  /* difs.track: requests and segments are counted (counters.h) */
extern int difs_umask;			  /* difs.umask: bits that new files and directories do not get */

/* Defines them all; reserves the prefix. preloading: also those that are fixed at server start. */
extern void difs_settings_define(bool preloading);

/* Directory of the embedded servers, and the key file in force. Palloc'd. */
extern char *difs_settings_local_directory(void);
extern char *difs_settings_key_file(void);

#endif
