//! The store that lasts: one SQLite file in write-ahead mode, synced at every commit.
//!
//! A commit is in the log (`-wal`) and synced before it is acknowledged, so that a crash loses nothing that
//! was acknowledged and shows no transaction in part. Ids are blobs, numbers are SQLite's signed integers.

use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use djembe_protocol::id::{EnvelopeId, GroupId, Lane, LogId, PeerId, Seq};
use djembe_protocol::persist::{Answer, Frontier, GroupRecord, Query, StoreOp, StoredEnvelope};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params,
};

use super::{SEQ_MAX, Store, StoreError, check};

/// What stands in the file's header to say that it is ours: "DJMB".
const APPLICATION_ID: i64 = 0x444a_4d42;
/// The layout below. A change raises it and brings a migration.
const SCHEMA_VERSION: i64 = 1;
/// How long a program that looks into the file may hold us up.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);

/// Of each connection; the file itself remembers that it is in write-ahead mode. The cache is small because
/// the whole process is to idle in 12 MiB, and the system caches the file as well. The log is cut back after
/// a burst.
const SETTINGS: &str =
    "PRAGMA synchronous = FULL; PRAGMA cache_size = -512; PRAGMA journal_size_limit = 4194304;";

/// Envelopes lie in order of arrival, with their key in an index beside them. Measured against rows that lie
/// in the key's order (`WITHOUT ROWID`), with 100 authors who write in turn: 1.6 times the envelopes a
/// second, 0.4 ms instead of 12 to take up a group of large ones (their bytes stay out of the way of a
/// search), for 7 % more space. The other tables have short rows and lie in their key's order.
const SCHEMA: &str = "
    CREATE TABLE node (id INTEGER PRIMARY KEY CHECK (id = 0), incarnation INTEGER NOT NULL) STRICT;
    CREATE TABLE reservation (
        group_id BLOB NOT NULL, lane INTEGER NOT NULL, upto INTEGER NOT NULL,
        PRIMARY KEY (group_id, lane)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE frontier (
        group_id BLOB NOT NULL, author BLOB NOT NULL, lane INTEGER NOT NULL,
        next INTEGER NOT NULL, head BLOB NOT NULL, floor INTEGER NOT NULL,
        PRIMARY KEY (group_id, author, lane)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE envelope (
        group_id BLOB NOT NULL, author BLOB NOT NULL, lane INTEGER NOT NULL, seq INTEGER NOT NULL,
        skip INTEGER NOT NULL, id BLOB NOT NULL, bytes BLOB NOT NULL,
        PRIMARY KEY (group_id, author, lane, seq)
    ) STRICT;";

/// A store in a file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    own: PeerId,
    path: PathBuf,
    db: Connection,
}

impl Sqlite {
    /// Opens the store of the node `own`, after creating it (0600) if it is missing.
    pub(crate) fn open(path: &Path, own: PeerId) -> Result<Self, StoreError> {
        create_file(path)?;
        let db = connect(path)?;
        Ok(Self { own, path: path.to_owned(), db })
    }
}

impl Store for Sqlite {
    fn apply(&mut self, batches: &[&[StoreOp]]) -> Result<(), StoreError> {
        batches.iter().try_for_each(|ops| check(ops))?;
        write(&mut self.db, batches).map_err(|error| failed(&self.path, &error))
    }

    fn query(&mut self, query: &Query) -> Answer {
        let answer = match query {
            Query::Group(group) => read_group(&self.db, group, &self.own).map(Answer::Group),
            Query::Range { group, log, from, to, bytes_max } => {
                read_range(&self.db, group, log, Numbers { from: *from, to: *to }, *bytes_max)
                    .map(Answer::Range)
            }
        };
        answer.unwrap_or_else(|error| Answer::Failed(failed(&self.path, &error).to_string()))
    }

    fn next_incarnation(&mut self) -> Result<u64, StoreError> {
        let sql = "INSERT INTO node (id, incarnation) VALUES (0, 1)
            ON CONFLICT DO UPDATE SET incarnation = incarnation + 1 RETURNING incarnation";
        let incarnation = self.db.query_row(sql, [], |row| unsigned(row, 0));
        incarnation.map_err(|error| failed(&self.path, &error))
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        let Self { path, db, .. } = *self;
        // The last connection to close would do this too, and keep silent about failures.
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .and_then(|()| db.close().map_err(|(_, error)| error))
            .map_err(|error| failed(&path, &error))
    }
}

/// SQLite would make a file that others can read; the files beside it take over this one's permissions.
fn create_file(path: &Path) -> Result<(), StoreError> {
    let created = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let path = || path.to_owned();
    match created.map(drop).map_err(|error| (error.kind(), error)) {
        Ok(()) | Err((ErrorKind::AlreadyExists, _)) => Ok(()),
        Err((ErrorKind::ReadOnlyFilesystem, _)) => Err(StoreError::ReadOnly { path: path() }),
        Err((ErrorKind::StorageFull | ErrorKind::QuotaExceeded, _)) => Err(StoreError::Full { path: path() }),
        Err((ErrorKind::PermissionDenied | ErrorKind::NotFound | ErrorKind::NotADirectory, _)) => {
            Err(StoreError::NotReadable { path: path() })
        }
        Err((_, error)) => Err(StoreError::Io { path: path(), cause: error.to_string() }),
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let failed = |error| failed(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(failed)?;
    if db.is_readonly("main").map_err(failed)? {
        return Err(StoreError::ReadOnly { path: path.to_owned() });
    }
    db.busy_timeout(BUSY_PATIENCE).map_err(failed)?;
    db.execute_batch(SETTINGS).map_err(failed)?;
    match versions(&db).map_err(failed)? {
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(db),
        (APPLICATION_ID, found) if found > SCHEMA_VERSION => {
            Err(StoreError::Newer { path: path.to_owned(), found, known: SCHEMA_VERSION })
        }
        (0, 0) if is_empty(&db).map_err(failed)? => {
            create_schema(&mut db).map_err(failed)?;
            Ok(db)
        }
        _ => Err(StoreError::Foreign { path: path.to_owned() }),
    }
}

fn versions(db: &Connection) -> rusqlite::Result<(i64, i64)> {
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get(0));
    Ok((pragma("application_id")?, pragma("user_version")?))
}

fn is_empty(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))
}

/// A crash in between leaves an empty database, which the next opening takes up again.
fn create_schema(db: &mut Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()
}

fn write(db: &mut Connection, batches: &[&[StoreOp]]) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for op in batches.iter().copied().flatten() {
        match op {
            StoreOp::Reserve { group, lane, upto } => reserve(&transaction, group, *lane, *upto)?,
            StoreOp::Append(envelope) => append(&transaction, envelope)?,
            StoreOp::Frontier(frontier) => set_frontier(&transaction, frontier)?,
        }
    }
    transaction.commit()
}

fn reserve(db: &Transaction<'_>, group: &GroupId, lane: Lane, upto: Seq) -> rusqlite::Result<()> {
    let sql = "INSERT INTO reservation VALUES (?1, ?2, ?3)
        ON CONFLICT DO UPDATE SET upto = max(upto, excluded.upto)";
    db.prepare_cached(sql)?.execute(params![group.0, lane as u8, signed(upto)])?;
    Ok(())
}

fn append(db: &Transaction<'_>, envelope: &StoredEnvelope) -> rusqlite::Result<()> {
    let StoredEnvelope { group, log, seq, skip, id, bytes } = envelope;
    let sql = "INSERT INTO envelope VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
    let key = (group.0, log.author.0, log.lane as u8, signed(*seq));
    db.prepare_cached(sql)?.execute(params![key.0, key.1, key.2, key.3, skip, id.0, &bytes[..]])?;
    // Every log has a frontier, so that the logs of a group are found without a walk over its envelopes.
    let sql = "INSERT INTO frontier VALUES (?1, ?2, ?3, 0, ?4, 0) ON CONFLICT DO NOTHING";
    db.prepare_cached(sql)?.execute(params![key.0, key.1, key.2, EnvelopeId::NONE.0])?;
    Ok(())
}

fn set_frontier(db: &Transaction<'_>, frontier: &Frontier) -> rusqlite::Result<()> {
    let Frontier { group, log, next, head, floor } = frontier;
    let sql = "INSERT OR REPLACE INTO frontier VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let values = params![group.0, log.author.0, log.lane as u8, signed(*next), head.0, signed(*floor)];
    db.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn read_group(db: &Connection, group: &GroupId, own: &PeerId) -> rusqlite::Result<GroupRecord> {
    let mut frontiers = db.prepare(
        "SELECT author, lane, next, head, floor FROM frontier WHERE group_id = ?1 ORDER BY author, lane",
    )?;
    let frontiers = frontiers.query_map([group.0], |row| {
        Ok(Frontier {
            group: *group,
            log: log(row)?,
            next: unsigned(row, 2)?,
            head: EnvelopeId(row.get(3)?),
            floor: unsigned(row, 4)?,
        })
    })?;
    // CROSS JOIN keeps this order of loops: one short look at the end of each log.
    let mut above = db.prepare(
        "SELECT author, lane, seq, skip, id FROM frontier CROSS JOIN envelope USING (group_id, author, lane)
        WHERE group_id = ?1 AND seq >= next ORDER BY author, lane, seq",
    )?;
    let above = above.query_map([group.0], |row| {
        let seq = unsigned(row, 2)?;
        Ok((log(row)?, seq, skip(row, 3, seq)?, EnvelopeId(row.get(4)?)))
    })?;
    let mut reserved = db.prepare("SELECT lane, upto FROM reservation WHERE group_id = ?1 ORDER BY lane")?;
    let reserved = reserved.query_map([group.0], |row| Ok((lane(row, 0)?, unsigned(row, 1)?)))?;
    let mut own_head = db.prepare(
        "SELECT seq, id FROM envelope WHERE group_id = ?1 AND author = ?2 AND lane = ?3
        ORDER BY seq DESC LIMIT 1",
    )?;
    let mut own_heads = Vec::new();
    for lane in Lane::ALL {
        let head = own_head.query_row(params![group.0, own.0, lane as u8], |row| {
            Ok((lane, unsigned(row, 0)?, EnvelopeId(row.get(1)?)))
        });
        own_heads.extend(head.optional()?);
    }
    Ok(GroupRecord {
        frontiers: frontiers.collect::<Result<_, _>>()?,
        above: above.collect::<Result<_, _>>()?,
        reserved: reserved.collect::<Result<_, _>>()?,
        own_heads,
    })
}

struct Numbers {
    from: Seq,
    to: Seq,
}

fn read_range(
    db: &Connection,
    group: &GroupId,
    log: &LogId,
    numbers: Numbers,
    bytes_max: usize,
) -> rusqlite::Result<Vec<StoredEnvelope>> {
    let mut found = Vec::new();
    if numbers.from > SEQ_MAX {
        return Ok(found);
    }
    let mut range = db.prepare_cached(
        "SELECT seq, skip, id, bytes FROM envelope
        WHERE group_id = ?1 AND author = ?2 AND lane = ?3 AND seq BETWEEN ?4 AND ?5 ORDER BY seq",
    )?;
    let (from, to) = (signed(numbers.from), signed(numbers.to.min(SEQ_MAX)));
    let mut rows = range.query(params![group.0, log.author.0, log.lane as u8, from, to])?;
    let mut n_bytes = 0;
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(3)?.as_blob()?;
        n_bytes += bytes.len();
        if n_bytes > bytes_max && !found.is_empty() {
            break;
        }
        let seq = unsigned(row, 0)?;
        found.push(StoredEnvelope {
            group: *group,
            log: *log,
            seq,
            skip: skip(row, 1, seq)?,
            id: EnvelopeId(row.get(2)?),
            bytes: Bytes::copy_from_slice(bytes),
        });
    }
    Ok(found)
}

/// Author and lane, from the first two columns.
fn log(row: &Row<'_>) -> rusqlite::Result<LogId> {
    Ok(LogId { author: PeerId(row.get(0)?), lane: lane(row, 1)? })
}

fn lane(row: &Row<'_>, column: usize) -> rusqlite::Result<Lane> {
    struct Column(Lane);
    impl FromSql for Column {
        fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
            let number = value.as_i64()?;
            let lane = u8::try_from(number).ok().and_then(Lane::from_u8);
            lane.map(Self).ok_or(FromSqlError::OutOfRange(number))
        }
    }
    row.get(column).map(|Column(lane)| lane)
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// How many numbers before `seq` were never issued: there are no more than `seq`.
fn skip(row: &Row<'_>, column: usize, seq: Seq) -> rusqlite::Result<u32> {
    let skip: u32 = row.get(column)?;
    let error = || rusqlite::Error::IntegralValueOutOfRange(column, i64::from(skip));
    if u64::from(skip) <= seq { Ok(skip) } else { Err(error()) }
}

/// What goes in was checked, so that nothing is lost here.
fn signed(seq: Seq) -> i64 {
    assert!(seq <= SEQ_MAX, "numbers are checked before they come here");
    seq as i64
}

/// Names an error by its cause.
fn failed(path: &Path, error: &rusqlite::Error) -> StoreError {
    use rusqlite::Error;
    let path = path.to_owned();
    let cause = error.to_string();
    match error {
        // A value that we never write.
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..) => StoreError::Corrupt { path, cause },
        _ => match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Corrupt { path, cause },
            Some(ErrorCode::ReadOnly) => StoreError::ReadOnly { path },
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => StoreError::NotReadable { path },
            Some(ErrorCode::DiskFull) => StoreError::Full { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { path },
            _ => StoreError::Io { path, cause },
        },
    }
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
