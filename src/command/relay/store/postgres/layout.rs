//! The table of segments, and checks of the server that has it.

use anyhow::{Result, ensure};
use tokio_postgres::Client;

use super::failure;
use super::settings::Settings;

/// Version of the table, which its comment names.
const VERSION: &str = "ansible-notify 1";
/// Oldest version of the server, as `server_version_num`.
const OLDEST: i32 = 140_000;

/// A segment is pending until it is done or aside. Its number gives the order in its partition.
const CREATE: &str = "
CREATE TABLE ansible_notify_segments (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition integer NOT NULL,
    id text NOT NULL UNIQUE,
    tenant text NOT NULL,
    form text NOT NULL,
    packed bytea NOT NULL,
    size integer NOT NULL,
    stored timestamptz NOT NULL DEFAULT now(),
    done timestamptz,
    aside text
) WITH (autovacuum_vacuum_scale_factor = 0.01, fillfactor = 80);
ALTER TABLE ansible_notify_segments ALTER COLUMN packed SET STORAGE EXTERNAL;
CREATE INDEX ansible_notify_pending ON ansible_notify_segments (partition, number) INCLUDE (size)
    WHERE done IS NULL AND aside IS NULL;
CREATE INDEX ansible_notify_done ON ansible_notify_segments (done) WHERE done IS NOT NULL;
CREATE INDEX ansible_notify_stored ON ansible_notify_segments (stored);
COMMENT ON TABLE ansible_notify_segments IS 'ansible-notify 1';
";

/// Settings of a session: answers only after the commit is on disk, and an end to connections that nobody hears of.
pub const SESSION: &str = "
SET synchronous_commit = on;
SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
SET tcp_user_timeout = 10000;
SET statement_timeout = 10000;
";

/// A session with locks asks five times a second. One that does not has ended, or its process hangs.
pub const READER: &str = "SET idle_session_timeout = 5000;";

/// Returns what has to be created before segments can be stored; with `apply`, does it.
pub async fn prepare(client: &Client, apply: bool) -> Result<Vec<String>> {
    let asked = "SELECT to_regclass('ansible_notify_segments') IS NOT NULL, \
                 coalesce(obj_description(to_regclass('ansible_notify_segments')), '')";
    let row = client.query_one(asked, &[]).await.map_err(failure)?;
    let (exists, version): (bool, String) = (row.get(0), row.get(1));
    if exists {
        ensure!(
            version == VERSION,
            "the table `ansible_notify_segments` has another layout (`{version}`) than this program needs (`{VERSION}`)"
        );
        return Ok(Vec::new());
    }
    if apply {
        client.batch_execute(CREATE).await.map_err(failure)?;
    }
    Ok(vec![
        "there is no table `ansible_notify_segments`".to_owned(),
    ])
}

/// Refuses servers that are too old, or that lose what they have committed.
pub async fn check(client: &Client, settings: &Settings) -> Result<()> {
    let asked = "SELECT current_setting('server_version_num')::integer, current_setting('fsync'), \
                 current_setting('full_page_writes'), current_setting('synchronous_standby_names'), \
                 (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum'))";
    let row = client.query_one(asked, &[]).await.map_err(failure)?;
    let version: i32 = row.get(0);
    ensure!(
        version >= OLDEST,
        "PostgreSQL {} is too old; {} or newer is needed",
        version / 10_000,
        OLDEST / 10_000
    );
    for (number, name) in [(1, "fsync"), (2, "full_page_writes")] {
        let value: String = row.get(number);
        ensure!(
            value == "on",
            "PostgreSQL has `{name} = {value}`, so it loses events that it has committed; set it to `on`"
        );
    }
    if settings.require_standby {
        let (names, count): (String, i64) = (row.get(3), row.get(4));
        ensure!(
            !names.is_empty() && count > 0,
            "`require_standby` is set, and PostgreSQL has no synchronous standby now; set `synchronous_standby_names`, and \
             let the user read it with `GRANT pg_monitor`"
        );
    }
    Ok(())
}
